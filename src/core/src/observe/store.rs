//! What Prometheus would answer: a bounded history of scrapes with its look-back rule. The twin
//! and the live binary fill the same store; policies and the planner ask only it.

use std::collections::{BTreeMap, VecDeque};

use super::sample::{EngineSample, RouterSample};
use crate::ids::{EndpointId, FleetId, VariantId};
use crate::time::{Span, Time};

/// Prometheus's default look-back: an instant query sees a sample of at most this age.
pub const LOOKBACK: Span = Span::from_secs(300);

/// Scrapes kept per series: ten minutes at 15 s, with a margin for shorter intervals; older ones
/// are dropped.
pub const SCRAPES_MAX: usize = 48;

/// A value with the time at which it was true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aged<T> {
    /// When it was scraped.
    pub at: Time,
    /// What was read.
    pub value: T,
}

/// Bounded history of scrapes.
#[derive(Clone, Debug, Default)]
pub struct Store {
    engines: BTreeMap<EndpointId, Series<EngineSample>>,
    routers: BTreeMap<FleetId, VecDeque<Aged<RouterSample>>>,
}

#[derive(Clone, Debug)]
struct Series<T> {
    variant: VariantId,
    scrapes: VecDeque<Aged<T>>,
}

impl Store {
    /// Records one scrape of an engine. A scrape that failed is not recorded: the last value then
    /// ages, as in Prometheus before its stale marker.
    pub fn record_engine(
        &mut self,
        endpoint: EndpointId,
        variant: VariantId,
        at: Time,
        sample: EngineSample,
    ) {
        let series = self
            .engines
            .entry(endpoint)
            .or_insert_with(|| Series { variant, scrapes: VecDeque::new() });
        push_bounded(&mut series.scrapes, Aged { at, value: sample });
    }

    /// Records one scrape of a fleet's router.
    pub fn record_router(&mut self, fleet: FleetId, at: Time, sample: RouterSample) {
        push_bounded(self.routers.entry(fleet).or_default(), Aged { at, value: sample });
    }

    /// Drops an endpoint's history: its target is gone (Prometheus writes a stale marker).
    pub fn forget(&mut self, endpoint: EndpointId) {
        self.engines.remove(&endpoint);
    }

    /// The newest scrape of each endpoint of a variant, within the look-back.
    pub fn engines(
        &self,
        variant: VariantId,
        now: Time,
    ) -> impl Iterator<Item = (EndpointId, Aged<&EngineSample>)> {
        self.engines.iter().filter(move |(_, series)| series.variant == variant).filter_map(
            move |(endpoint, series)| latest(&series.scrapes, now).map(|aged| (*endpoint, aged)),
        )
    }

    /// The newest scrape of a fleet's router, within the look-back.
    #[must_use]
    pub fn router(&self, fleet: FleetId, now: Time) -> Option<Aged<&RouterSample>> {
        latest(self.routers.get(&fleet)?, now)
    }

    /// First and last scrape of one endpoint in `(now - window, now]`; `None` with fewer than two:
    /// a rate then does not exist.
    #[must_use]
    pub fn engine_window(
        &self,
        endpoint: EndpointId,
        now: Time,
        window: Span,
    ) -> Option<(Aged<&EngineSample>, Aged<&EngineSample>)> {
        ends(&self.engines.get(&endpoint)?.scrapes, now, window)
    }

    /// First and last scrape of a router in `(now - window, now]`; `None` with fewer than two.
    #[must_use]
    pub fn router_window(
        &self,
        fleet: FleetId,
        now: Time,
        window: Span,
    ) -> Option<(Aged<&RouterSample>, Aged<&RouterSample>)> {
        ends(self.routers.get(&fleet)?, now, window)
    }

    /// All scrapes of a router in `(now - window, now]`, oldest first.
    pub fn router_scrapes(
        &self,
        fleet: FleetId,
        now: Time,
        window: Span,
    ) -> impl Iterator<Item = Aged<&RouterSample>> {
        self.routers.get(&fleet).into_iter().flat_map(move |scrapes| within(scrapes, now, window))
    }

    /// All scrapes of one endpoint in `(now - window, now]`, oldest first.
    pub fn engine_scrapes(
        &self,
        endpoint: EndpointId,
        now: Time,
        window: Span,
    ) -> impl Iterator<Item = Aged<&EngineSample>> {
        self.engines
            .get(&endpoint)
            .into_iter()
            .flat_map(move |series| within(&series.scrapes, now, window))
    }
}

fn push_bounded<T>(scrapes: &mut VecDeque<Aged<T>>, scrape: Aged<T>) {
    if scrapes.len() == SCRAPES_MAX {
        scrapes.pop_front();
    }
    scrapes.push_back(scrape);
}

fn within<T>(
    scrapes: &VecDeque<Aged<T>>,
    now: Time,
    window: Span,
) -> impl DoubleEndedIterator<Item = Aged<&T>> {
    scrapes
        .iter()
        .filter(move |scrape| scrape.at <= now && now.since(scrape.at) < window)
        .map(|scrape| Aged { at: scrape.at, value: &scrape.value })
}

fn latest<T>(scrapes: &VecDeque<Aged<T>>, now: Time) -> Option<Aged<&T>> {
    within(scrapes, now, LOOKBACK).next_back()
}

fn ends<T>(scrapes: &VecDeque<Aged<T>>, now: Time, window: Span) -> Option<(Aged<&T>, Aged<&T>)> {
    let mut inside = within(scrapes, now, window);
    let first = inside.next()?;
    let last = inside.next_back()?;
    Some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_stopped_goes_stale_and_never_reads_zero() {
        let mut store = Store::default();
        let (endpoint, variant) = (EndpointId(1), VariantId(0));
        store.record_engine(endpoint, variant, Time::ZERO, EngineSample::idle(1.0));
        let seen = |seconds| store.engines(variant, Time::ZERO + Span::from_secs(seconds)).count();
        assert_eq!(seen(299), 1);
        assert_eq!(seen(300), 0);
        assert!(store.engine_window(endpoint, Time::ZERO, LOOKBACK).is_none());
    }

    #[test]
    fn history_is_bounded() {
        let mut store = Store::default();
        for second in 0..1_000 {
            let at = Time::ZERO + Span::from_secs(second);
            store.record_engine(EndpointId(1), VariantId(0), at, EngineSample::idle(1.0));
        }
        let now = Time::ZERO + Span::from_secs(999);
        let kept = store.engine_scrapes(EndpointId(1), now, Span::from_secs(1_000)).count();
        assert_eq!(kept, SCRAPES_MAX);
    }
}
