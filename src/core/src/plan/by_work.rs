//! The first planner: size every pool by work, jump up, glide down.
//!
//! Per fleet and role: `need = work per second / rho + backlog / drain`, work being
//! replica-seconds of the mean request on a variant. Up at once, and down only to the highest need
//! of the glide window (at least the lead time of a start: what was needed that recently may be
//! needed again before it could be bought back). Never down on missing data. The cheapest work
//! first, within quotas.

use std::collections::{BTreeMap, VecDeque};

use super::demand::{self, Backlog, Demand};
use super::fill::{self, Ask, Place};
use super::sizing::{RequestWork, request_work, strictest_tpot};
use super::{FleetView, PlanEffect, PlanEvent, Planner};
use crate::fleet::{Role, Slo};
use crate::ids::FleetId;
use crate::time::{Span, Time};

/// What may be tuned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Work per second that a replica may carry, 0..1: the headroom knob.
    pub rho: f64,
    /// The same for separate prefill replicas, whose queue is the TTFT.
    pub rho_prefill: f64,
    /// Down goes only to the highest need of this span.
    pub window: Span,
    /// Between two decisions.
    pub interval: Span,
    /// Over which rates are taken.
    pub rate_window: Span,
    /// Within which a backlog is to be gone.
    pub drain: Span,
    /// How long a replica may wait for a node before another accelerator is asked.
    pub patience: Span,
    /// Prefill and decode replicas of one unit, if they must grow together.
    pub split: Option<(u32, u32)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // The largest headroom to a tenth at which a generated production-like day keeps 99 %
            // in every tier on a small chat fleet (`forebay simulate`, seed 1).
            rho: 0.6,
            rho_prefill: 0.6,
            window: Span::from_secs(600),
            interval: Span::from_secs(15),
            rate_window: Span::from_secs(60),
            drain: Span::from_secs(120),
            patience: Span::from_secs(300),
            split: None,
        }
    }
}

/// Needs kept per pool: an hour at the shortest sensible interval of 5 s.
const NEEDS_MAX: usize = 720;

/// A scrape older than this says nothing about now; three usual intervals.
const FRESH: Span = Span::from_secs(45);

/// The planner.
#[derive(Clone, Debug)]
pub struct WorkPlanner {
    settings: Settings,
    due: Time,
    /// Mean output length seen last, tokens: it stands in while nothing finishes.
    output_tokens: BTreeMap<FleetId, f64>,
    needs: BTreeMap<(FleetId, Role), VecDeque<(Time, f64)>>,
    /// First demand seen: what was needed before it is not known.
    watched_since: BTreeMap<FleetId, Time>,
}

impl WorkPlanner {
    /// A planner that decides at once and then every interval.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            due: Time::ZERO,
            output_tokens: BTreeMap::new(),
            needs: BTreeMap::new(),
            watched_since: BTreeMap::new(),
        }
    }

    fn decide(&mut self, now: Time, view: &FleetView<'_>, effects: &mut Vec<PlanEffect>) {
        let mut held = fill::accelerators_desired(view);
        for index in 0..view.world.fleets.len() {
            let fleet = FleetId(index as u16);
            let before = self.output_tokens.get(&fleet).copied();
            let seen = demand::observe(view, fleet, now, self.settings.rate_window, before);
            // No data: everything stays as it is.
            let Some(seen) = seen else { continue };
            if seen.output_tokens > 0.0 {
                self.output_tokens.insert(fleet, seen.output_tokens);
            }
            let since = *self.watched_since.entry(fleet).or_insert(now);
            let waiting = demand::backlog(view, fleet, now);
            let mut asks = Vec::new();
            for role in [Role::Both, Role::Prefill, Role::Decode] {
                if let Some(ask) = self.ask(now, view, fleet, role, &seen, &waiting) {
                    asks.push(ask);
                }
            }
            let leads = view.world.variants_of(fleet).map(|(_, v)| lead_time(view.world, v));
            let lead = leads.max().unwrap_or_default();
            let may_shrink = now.since(since) >= lead && all_fresh(view, fleet, now);
            let rules = fill::Rules {
                may_shrink,
                split: self.settings.split,
                patience: self.settings.patience,
                now,
            };
            for Place { variant, replicas, reason } in fill::place(view, &asks, &rules, &mut held) {
                if view.targets[variant.index()].replicas_desired != replicas {
                    effects.push(PlanEffect::Scale { variant, replicas, reason });
                }
            }
        }
    }

    /// What one role needs, in work: the share of it that one replica of each variant carries.
    fn ask(
        &mut self,
        now: Time,
        view: &FleetView<'_>,
        fleet: FleetId,
        role: Role,
        seen: &Demand,
        waiting: &Backlog,
    ) -> Option<Ask> {
        let world = view.world;
        let tpot = strictest_tpot(&world.fleets[fleet.index()]);
        let variants: Vec<_> =
            world.variants_of(fleet).filter(|(_, variant)| variant.role == role).collect();
        let (_, reference) = variants.first()?;
        let lead = variants.iter().map(|(_, variant)| lead_time(world, variant)).max()?;
        let lead = lead + self.settings.interval;
        let rho = if role == Role::Prefill { self.settings.rho_prefill } else { self.settings.rho };
        let one = request_work(&reference.profile, role, tpot, seen);
        let busy = seen.requests_per_s * one.seconds;
        let drain = self.backlog_per_s(view, fleet, waiting) * one.seconds;
        let need = busy / rho + drain;

        let needs = self.needs.entry((fleet, role)).or_default();
        push_bounded(needs, (now, need));
        let glide = Span(self.settings.window.0.max(lead.0));
        let highest = needs
            .iter()
            .filter(|(at, _)| now.since(*at) <= glide)
            .map(|(_, need)| *need)
            .fold(0.0, f64::max);

        // Shares per replica of each variant: replicas of the reference it stands for.
        let shares = variants.iter().map(|(id, variant)| {
            let own = request_work(&variant.profile, role, tpot, seen);
            (*id, if own.seconds > 0.0 { one.seconds / own.seconds } else { 1.0 })
        });
        Some(Ask {
            role,
            need: highest,
            shares: shares.collect(),
            reason: explain(seen, &one, rho, drain, need, highest),
        })
    }

    /// Requests per second that empty the backlog in time. A deferrable tier has half of its
    /// deadline for it. What waits for prefill will want decode next, so both roles count it.
    fn backlog_per_s(&self, view: &FleetView<'_>, fleet: FleetId, waiting: &Backlog) -> f64 {
        let soon = self.settings.drain.as_seconds().max(1.0);
        let slos = &view.world.fleets[fleet.index()].slos;
        let held = waiting.queued.iter().enumerate().map(|(tier, queued)| {
            let span = match slos.get(tier) {
                Some(Some(Slo::Completion { within, .. })) => soon.max(within.as_seconds() / 2.0),
                _ => soon,
            };
            if queued.is_finite() { queued / span } else { 0.0 }
        });
        held.sum::<f64>() + waiting.waiting / soon
    }
}

impl Planner for WorkPlanner {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        let PlanEvent::Due(view) = event else { return };
        if now < self.due {
            return;
        }
        self.due = now + self.settings.interval;
        self.decide(now, view, effects);
    }

    fn next_deadline(&self) -> Option<Time> {
        Some(self.due)
    }
}

/// From the decision to a ready replica, if it needs a new node: the 90th percentile.
pub(super) fn lead_time(world: &crate::fleet::World, variant: &crate::fleet::Variant) -> Span {
    /// Standard normal quantile at 0.9.
    const Z90: f64 = 1.2816;
    let node = world.accelerators[variant.accelerator.index()].node_provisioning;
    let start = variant.start_up.median().as_seconds() * (Z90 * variant.start_up.sigma).exp();
    node + Span::from_seconds(start)
}

/// Whether every ready endpoint of a fleet was scraped lately.
pub(super) fn all_fresh(view: &FleetView<'_>, fleet: FleetId, now: Time) -> bool {
    let router = view.metrics.router(fleet, now);
    let router_fresh = router.is_none_or(|router| now.since(router.at) <= FRESH);
    let engines_fresh = view.world.variants_of(fleet).all(|(id, _)| {
        let fresh = |at: Time| now.since(at) <= FRESH;
        let seen: Vec<_> = view
            .metrics
            .engines(id, now)
            .filter(|(_, sample)| fresh(sample.at))
            .map(|(endpoint, _)| endpoint)
            .collect();
        view.targets[id.index()].endpoints_ready.iter().all(|ready| seen.contains(ready))
    });
    router_fresh && engines_fresh
}

fn push_bounded<T>(history: &mut VecDeque<T>, item: T) {
    if history.len() == NEEDS_MAX {
        history.pop_front();
    }
    history.push_back(item);
}

fn explain(
    seen: &Demand,
    one: &RequestWork,
    rho: f64,
    drain: f64,
    need: f64,
    highest: f64,
) -> String {
    let Demand { requests_per_s, prompt_tokens, cached_share, output_tokens } = seen;
    let cached = cached_share * 100.0;
    let busy = requests_per_s * one.seconds;
    let mut text = format!(
        "{requests_per_s:.2} req/s of {prompt_tokens:.0} ({cached:.0}% cached) + {output_tokens:.0} \
         tokens, {:.3} s each at batch {:.0}: {busy:.2} busy / rho {rho}",
        one.seconds, one.operating_batch
    );
    if drain > 0.005 {
        text.push_str(&format!(" + backlog {drain:.2}"));
    }
    text.push_str(&format!(" = {need:.2}"));
    if highest > need + 0.005 {
        text.push_str(&format!(", gliding down from {highest:.2}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the numbers below were worked out with.
    fn settings() -> Settings {
        Settings { rho: 0.7, ..Settings::default() }
    }
    use crate::plan::testing::{Bench, world};

    fn counts(asked: Vec<(u16, u32, String)>) -> Vec<(u16, u32)> {
        asked.into_iter().map(|(variant, replicas, _)| (variant, replicas)).collect()
    }

    #[test]
    fn a_pool_is_sized_by_work_and_says_so() {
        let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
        let mut planner = WorkPlanner::new(settings());
        // One scrape is no rate: nothing is decided.
        bench.scrape(0.0, 0.0, 0.0);
        assert_eq!(bench.plan(&mut planner, 0.0), []);
        // 50/s of 0.05555 s each keep 2.78 replicas busy; at 0.7: 3.97.
        bench.scrape(15.0, 750.0, 0.0);
        let asked = bench.plan(&mut planner, 15.0);
        assert_eq!((asked[0].0, asked[0].1), (0, 4));
        let reason = &asked[0].2;
        for part in ["50.00 req/s of 1000 (0% cached) + 100 tokens", "2.78 busy / rho 0.7 = 3.97"] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn up_at_once_down_after_the_window_and_never_blind() {
        let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
        let settings = Settings { rate_window: Span::from_secs(20), ..settings() };
        let mut planner = WorkPlanner::new(settings);
        bench.scrape(0.0, 0.0, 0.0);
        bench.scrape(15.0, 1_500.0, 0.0);
        // 100/s: 5.555 / 0.7 = 7.94.
        assert_eq!(counts(bench.plan(&mut planner, 15.0)), [(0, 8)]);
        bench.ready(0, 8);
        // Nothing arrives any more: 8 stay for ten minutes.
        for tick in 2..=41 {
            let second = f64::from(tick) * 15.0;
            bench.scrape(second, 0.0, 0.0);
            assert_eq!(bench.plan(&mut planner, second), [], "at {second} s");
        }
        // The router is scraped, one engine is not: still nothing goes down.
        bench.scrape(630.0, 0.0, 0.0);
        let mut partial = bench.store.clone();
        partial.forget(crate::ids::EndpointId(3));
        std::mem::swap(&mut bench.store, &mut partial);
        assert_eq!(bench.plan(&mut planner.clone(), 630.0), []);
        std::mem::swap(&mut bench.store, &mut partial);
        assert_eq!(counts(bench.plan(&mut planner, 630.0)), [(0, 1)]);
    }

    #[test]
    fn a_backlog_is_drained_on_top() {
        let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
        let mut planner = WorkPlanner::new(settings());
        bench.scrape(0.0, 0.0, 0.0);
        // 3.97 as above, and 4,320 queued in 120 s: 36/s of 0.05555 s: 2.0 more.
        bench.scrape(15.0, 750.0, 4_320.0);
        let asked = bench.plan(&mut planner, 15.0);
        assert_eq!(asked[0].1, 6);
        assert!(asked[0].2.contains("backlog 2.00"), "{}", asked[0].2);
    }

    #[test]
    fn prefill_and_decode_are_sized_apart_or_in_units() {
        let split = || world(&[("p", Role::Prefill), ("d", Role::Decode)]);
        let mut bench = Bench::new(split());
        bench.scrape(0.0, 0.0, 0.0);
        bench.scrape(15.0, 1_500.0, 0.0);
        // 100/s: prefill 4.0 / 0.6 = 6.67; decode 1.555 / 0.7 = 2.22.
        let mut planner = WorkPlanner::new(settings());
        assert_eq!(counts(bench.plan(&mut planner, 15.0)), [(0, 7), (1, 3)]);
        // Units of 2:1: ceil(6.67 / 2) = 4.
        let settings = Settings { split: Some((2, 1)), ..settings() };
        assert_eq!(counts(bench.plan(&mut WorkPlanner::new(settings), 15.0)), [(0, 8), (1, 4)]);
    }

    #[test]
    fn the_cheapest_work_first_within_quota_and_the_old_stay_until_relieved() {
        // b at 1 $/h is cheapest, then c at 2, then a at 3; all equally fast.
        let mut three = world(&[("a", Role::Both), ("b", Role::Both), ("c", Role::Both)]);
        three.accelerators[1].quota = Some(4);
        let mut bench = Bench::new(three);
        let mut planner = WorkPlanner::new(settings());
        bench.scrape(0.0, 0.0, 0.0);
        bench.scrape(15.0, 1_500.0, 0.0);
        // 7.94: one of each is the minimum; 4.94 more: 3 on b up to its quota, 2 on c.
        assert_eq!(counts(bench.plan(&mut planner, 15.0)), [(2, 3), (1, 4)]);

        // Eight ready on the dear a: b and c are asked for, a stays until they are ready.
        let mut bench = Bench::new(bench.world);
        bench.ready(0, 8);
        bench.scrape(0.0, 0.0, 0.0);
        bench.scrape(15.0, 1_500.0, 0.0);
        let mut planner = WorkPlanner::new(settings());
        // Watched for less than a start takes: nothing goes down yet.
        assert_eq!(counts(bench.plan(&mut planner, 15.0)), [(2, 3), (1, 4)]);
        bench.scrape(210.0, 0.0, 0.0);
        bench.scrape(225.0, 1_500.0, 0.0);
        // Ready 10, needed 7.94: two of a may go although b and c are not ready.
        let asked = counts(bench.plan(&mut planner, 225.0));
        assert_eq!(asked, [(0, 6), (2, 3), (1, 4)]);
    }

    #[test]
    fn a_replica_that_finds_no_node_is_asked_for_elsewhere() {
        let two = world(&[("a", Role::Both), ("b", Role::Both)]);
        let mut bench = Bench::new(two);
        bench.scrape(0.0, 0.0, 0.0);
        bench.scrape(15.0, 1_500.0, 0.0);
        let target = &mut bench.targets[1];
        (target.replicas_desired, target.replicas_current) = (7, 7);
        target.unschedulable_since = vec![Time::ZERO; 6];
        let settings = Settings { patience: Span::from_secs(10), ..settings() };
        // 7.94 needed, one of b has a node: 7 on a.
        let asked = counts(bench.plan(&mut WorkPlanner::new(settings), 15.0));
        assert_eq!(asked, [(0, 7)]);
    }
}
