//! llm-d's saturation detectors (llm-d-router ebab687): one figure for the pool, compared with 1.

use forebay_core::fleet::Role;
use forebay_core::gate::{EndpointLoad, GateEffect};
use forebay_core::ids::EndpointId;
use forebay_core::pick::EndpointTable;
use forebay_core::time::{Span, Time};

use super::picker::{Picker, Prompt};
use super::scorers::Filter;
use super::tunables::{GateSpecError, Tunables};

/// Which detector, and its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Detector {
    /// `utilization-detector`: mean over endpoints of
    /// `max(waiting / queue_depth, kv_usage / kv_usage_max)`; an endpoint whose metrics are missing
    /// or stale counts as 1.
    Utilization {
        /// `queueDepthThreshold`.
        queue_depth: f64,
        /// `kvCacheUtilThreshold`.
        kv_usage_max: f64,
        /// `metricsStalenessThreshold`.
        stale_after: Span,
    },
    /// `concurrency-detector` in its mode `requests`: requests in flight over `concurrency` per
    /// endpoint.
    Concurrency {
        /// `maxConcurrency`.
        concurrency: f64,
    },
}

impl Detector {
    pub(super) fn read(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        let by_concurrency =
            tunables.word("detector", &[("utilization", false), ("concurrency", true)])?;
        let utilization = Self::read_utilization(tunables)?;
        let concurrency = f64::from(tunables.number("concurrency", 100_u32, 1)?);
        Ok(if by_concurrency { Self::Concurrency { concurrency } } else { utilization })
    }

    pub(super) fn read_utilization(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        Ok(Self::Utilization {
            queue_depth: f64::from(tunables.number("queue_depth", 5_u32, 1)?),
            kv_usage_max: tunables.number("kv_usage_max", 0.8, 0.01)?,
            stale_after: tunables.span("stale_after", Span::from_millis(200))?,
        })
    }

    /// When a value that counts now would stop counting, if its scrapes go on failing.
    pub(super) fn stale_at(&self, lost_at: Time) -> Option<Time> {
        match self {
            // Strictly older than the threshold counts as stale.
            Self::Utilization { stale_after, .. } => Some(lost_at + *stale_after + Span(1)),
            Self::Concurrency { .. } => None,
        }
    }

    /// Whether, as a filter that lets nobody through, it lets everybody through.
    pub(super) const fn filters_softly(&self) -> bool {
        matches!(self, Self::Utilization { .. })
    }

    fn score(&self, member: &Member, now: Time) -> f64 {
        match self {
            Self::Concurrency { concurrency } => f64::from(member.in_flight) / concurrency,
            Self::Utilization { queue_depth, kv_usage_max, .. } => match member.load {
                Some(load) if !self.is_stale(member, now) => {
                    (load.waiting / queue_depth).max(load.kv_usage / kv_usage_max)
                }
                _ => 1.0,
            },
        }
    }

    fn is_stale(&self, member: &Member, now: Time) -> bool {
        let stale_at = member.lost_at.and_then(|lost_at| self.stale_at(lost_at));
        stale_at.is_some_and(|stale_at| now >= stale_at)
    }
}

/// The pool as a detector sees it.
#[derive(Debug, Default)]
pub(super) struct Pool {
    members: EndpointTable<Member>,
}

/// One endpoint.
#[derive(Clone, Copy, Debug)]
struct Member {
    role: Role,
    /// The last scrape; `None` before the first.
    load: Option<EndpointLoad>,
    /// Since when its scrapes fail.
    lost_at: Option<Time>,
    in_flight: u32,
}

impl Pool {
    pub(super) fn ready(&mut self, endpoint: EndpointId, role: Role) {
        if self.members.slot(endpoint).is_none() {
            let member = Member { role, load: None, lost_at: None, in_flight: 0 };
            self.members.insert(endpoint, member);
        }
    }

    pub(super) fn remove(&mut self, endpoint: EndpointId) {
        self.members.remove(endpoint);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A gauge that is not a number leaves everything as it was, except that it is no scrape.
    pub(super) fn scraped(&mut self, endpoint: EndpointId, at: Time, load: EndpointLoad) {
        let Some(member) = self.members.get_mut(endpoint) else { return };
        if load.waiting.is_nan() || load.kv_usage.is_nan() {
            member.lost_at.get_or_insert(at);
        } else {
            (member.load, member.lost_at) = (Some(load), None);
        }
    }

    pub(super) fn lost(&mut self, endpoint: EndpointId, now: Time) {
        if let Some(member) = self.members.get_mut(endpoint) {
            member.lost_at.get_or_insert(now);
        }
    }

    /// Whether the detector, standing among the filters, lets an endpoint through: below its own
    /// limit, with the burst that `headroom` allows.
    pub(super) fn admits(
        &self,
        detector: &Detector,
        headroom: f64,
        endpoint: EndpointId,
        now: Time,
    ) -> bool {
        let Some(member) = self.members.get(endpoint) else { return false };
        let burst = 1.0 + headroom;
        match *detector {
            Detector::Concurrency { concurrency } => {
                f64::from(member.in_flight) < (concurrency * burst).floor()
            }
            Detector::Utilization { queue_depth, kv_usage_max, .. } => {
                let fresh = member.load.filter(|_| !detector.is_stale(member, now));
                fresh.is_some_and(|load| {
                    load.waiting < queue_depth * burst && load.kv_usage < kv_usage_max * burst
                })
            }
        }
    }

    pub(super) fn count(&mut self, endpoint: EndpointId, change: i32) {
        if let Some(member) = self.members.get_mut(endpoint) {
            member.in_flight = member.in_flight.saturating_add_signed(change);
        }
    }

    /// Whether any scrapes fail.
    pub(super) fn any_lost(&self) -> bool {
        self.members.values().iter().any(|member| member.lost_at.is_some())
    }

    /// The next time at which a scrape goes stale after `now`.
    pub(super) fn next_stale(&self, detector: &Detector, now: Time) -> Option<Time> {
        let lost = self.members.values().iter().filter_map(|member| member.lost_at);
        lost.filter_map(|lost_at| detector.stale_at(lost_at)).filter(|at| *at > now).min()
    }

    /// The mean over all candidates, whatever their role; an empty pool is full.
    pub(super) fn saturation(&self, detector: &Detector, now: Time) -> f64 {
        self.mean(detector, now, |_| true).unwrap_or(1.0)
    }

    /// The worse of the means over those that may prefill and those that may decode.
    pub(super) fn saturation_by_stage(&self, detector: &Detector, now: Time) -> f64 {
        let prefill = self.mean(detector, now, |role| role != Role::Decode);
        let decode = self.mean(detector, now, |role| role != Role::Prefill);
        match (prefill, decode) {
            (Some(prefill), Some(decode)) => prefill.max(decode),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => 1.0,
        }
    }

    fn mean(&self, detector: &Detector, now: Time, which: impl Fn(Role) -> bool) -> Option<f64> {
        let members = self.members.values().iter().filter(|member| which(member.role));
        let (sum, count) = members.fold((0.0, 0_u32), |(sum, count), member| {
            (sum + detector.score(member, now), count + 1)
        });
        (count > 0).then(|| sum / f64::from(count))
    }
}

/// The detector as a filter of the scheduling profiles; off by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FilterRule {
    pub(super) on: bool,
    /// Burst above the limits, as a share of them.
    pub(super) headroom: f64,
}

impl FilterRule {
    pub(super) fn read(tunables: &mut Tunables<'_>) -> Result<Self, GateSpecError> {
        Ok(Self {
            on: tunables.word("filter", &[("off", false), ("on", true)])?,
            headroom: tunables.number("headroom", 0.0, 0.0)?,
        })
    }

    /// Dispatches with the filter in place, if it is on.
    pub(super) fn dispatch(
        self,
        picker: &mut Picker,
        pool: &Pool,
        detector: &Detector,
        prompt: Prompt<'_>,
        now: Time,
    ) -> GateEffect {
        let admits = |endpoint| pool.admits(detector, self.headroom, endpoint, now);
        let filter = Filter { admits: &admits, soft: detector.filters_softly() };
        picker.dispatch(prompt, self.on.then_some(&filter))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn detector(pairs: &[(&str, &str)]) -> Detector {
        let map: BTreeMap<_, _> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Detector::read(&mut Tunables::new("stock-flow", &map)).unwrap()
    }

    fn load(waiting: f64, kv_usage: f64) -> EndpointLoad {
        EndpointLoad { running: 0.0, waiting, kv_usage }
    }

    fn near(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-12, "{left} {right}");
    }

    #[test]
    fn one_hot_engine_fills_the_pool_and_idle_ones_dilute_it() {
        let mut pool = Pool::default();
        for endpoint in 0..8 {
            pool.ready(EndpointId(endpoint), Role::Both);
            pool.scraped(EndpointId(endpoint), Time::ZERO, load(0.0, 0.0));
        }
        pool.scraped(EndpointId(3), Time::ZERO, load(39.0, 0.4));
        let utilization = detector(&[]);
        near(pool.saturation_by_stage(&utilization, Time::ZERO), 39.0 / 5.0 / 8.0);
        pool.scraped(EndpointId(3), Time::ZERO, load(40.0, 0.4));
        near(pool.saturation_by_stage(&utilization, Time::ZERO), 1.0);
        pool.scraped(EndpointId(3), Time::ZERO, load(0.0, 0.4));
        near(pool.saturation_by_stage(&utilization, Time::ZERO), 0.5 / 8.0);
    }

    #[test]
    fn stages_are_judged_apart_and_the_worse_one_counts() {
        let mut pool = Pool::default();
        let utilization = detector(&[]);
        near(pool.saturation_by_stage(&utilization, Time::ZERO), 1.0);
        for (endpoint, role, waiting) in
            [(1, Role::Prefill, 10.0), (2, Role::Decode, 1.0), (3, Role::Both, 0.0)]
        {
            pool.ready(EndpointId(endpoint), role);
            pool.scraped(EndpointId(endpoint), Time::ZERO, load(waiting, 0.0));
        }
        near(pool.saturation_by_stage(&utilization, Time::ZERO), 1.0);
        near(pool.saturation(&utilization, Time::ZERO), 2.2 / 3.0);
    }

    #[test]
    fn stale_and_missing_scrapes_count_as_full() {
        let mut pool = Pool::default();
        let utilization = detector(&[("stale_after", "200ms")]);
        pool.ready(EndpointId(1), Role::Both);
        near(pool.saturation(&utilization, Time::ZERO), 1.0);
        pool.scraped(EndpointId(1), Time::ZERO, load(1.0, 0.0));
        near(pool.saturation(&utilization, Time::ZERO + Span::from_secs(9)), 0.2);
        let lost_at = Time::ZERO + Span::from_secs(9);
        pool.lost(EndpointId(1), lost_at);
        let stale_at = pool.next_stale(&utilization, lost_at).unwrap();
        near(pool.saturation(&utilization, lost_at + Span::from_millis(200)), 0.2);
        near(pool.saturation(&utilization, stale_at), 1.0);
        assert_eq!(pool.next_stale(&utilization, stale_at), None);
    }

    #[test]
    fn the_concurrency_limit_counts_requests_over_the_pool() {
        let mut pool = Pool::default();
        let concurrency = detector(&[("detector", "concurrency"), ("concurrency", "4")]);
        pool.ready(EndpointId(1), Role::Both);
        pool.ready(EndpointId(2), Role::Both);
        for _ in 0..6 {
            pool.count(EndpointId(1), 1);
        }
        near(pool.saturation_by_stage(&concurrency, Time::ZERO), 0.75);
        pool.count(EndpointId(1), -1);
        near(pool.saturation_by_stage(&concurrency, Time::ZERO), 0.625);
    }
}
