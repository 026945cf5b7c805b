//! How long a replica takes to get ready, node provisioning apart, learned from what the scale
//! target shows in successive views.
//!
//! A view shows states, not moments: what happened between two views is known to lie between
//! them. A replica that went away without a new endpoint was cancelled, so its start lasted at
//! least until the view before.

use serde::{Deserialize, Serialize};

use super::log_normal::LogNormal;
use crate::fleet::StartUp;
use crate::ids::EndpointId;
use crate::plan::ScaleTarget;
use crate::time::{Span, Time};

/// Spread of node provisioning before any data.
const NODE_SIGMA: f64 = 0.3;
/// A replica that waits longer than this for its node waits for stock, not for a node.
pub const NODE_WAIT_MAX: Span = Span::from_secs(1_800);
/// Of the expected provisioning time: a wait that surely took less found a node that was there,
/// one that surely took more did not.
const NODE_THERE_SHARE: f64 = 0.5;
/// Starts that the even prior on finding a node counts as.
const PRIOR_STARTS: f64 = 1.0;
/// Starts remembered of whether a node was there.
const STARTS_MAX: f64 = 40.0;
/// Replicas tracked while they start, per variant; more at once are not learned from.
const TRACKED_MAX: usize = 1_024;

/// A duration that is learned, s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DurationEstimate {
    /// Half of them are shorter.
    pub median_s: f64,
    /// Standard deviation of the median itself.
    pub median_deviation_s: f64,
    /// Nine in ten are shorter, its own uncertainty included.
    pub p90_s: f64,
    /// Starts learned from; 0 = the manifest alone.
    pub samples: f64,
}

/// Start-up of one variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartUpEstimate {
    /// From having a node to ready.
    pub engine: DurationEstimate,
    /// From being asked for to having a node, where one has to be provisioned.
    pub node: DurationEstimate,
    /// Share of starts that found a node with room, 0..1.
    pub node_there_share: f64,
    /// Starts that waited for stock instead: see [`NODE_WAIT_MAX`].
    pub out_of_stock: u64,
}

impl StartUpEstimate {
    /// Median from being asked for to ready when a node has to be provisioned, s.
    #[must_use]
    pub fn median_with_node_s(&self) -> f64 {
        self.engine.median_s + self.node.median_s
    }

    /// Nine in ten are ready within this when a node has to be provisioned, s.
    #[must_use]
    pub fn p90_with_node_s(&self) -> f64 {
        let over = |duration: &DurationEstimate| duration.p90_s - duration.median_s;
        self.median_with_node_s() + over(&self.engine).hypot(over(&self.node))
    }
}

/// What is kept between restarts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StartUpBelief {
    engine: LogNormal,
    node: LogNormal,
    node_there: f64,
    starts: f64,
    out_of_stock: u64,
}

impl StartUpBelief {
    fn new(start_up: &StartUp, node_provisioning: Span) -> Self {
        Self {
            engine: LogNormal::new(start_up.median().as_seconds(), start_up.sigma),
            node: LogNormal::new(node_provisioning.as_seconds(), NODE_SIGMA),
            node_there: PRIOR_STARTS / 2.0,
            starts: PRIOR_STARTS,
            out_of_stock: 0,
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        self.engine.is_sound()
            && self.node.is_sound()
            && self.node_there >= 0.0
            && self.node_there <= self.starts
            && self.starts > 0.0
    }
}

/// Learns the start-up of one variant.
#[derive(Clone, Debug)]
pub struct StartUpLearner {
    belief: StartUpBelief,
    tracked: Vec<Pod>,
    ready: Vec<EndpointId>,
    viewed_at: Option<Time>,
}

/// A replica between being asked for and ready.
#[derive(Clone, Copy, Debug)]
struct Pod {
    asked_at: Time,
    /// When it got its node: not before, not after; `None` = it waits.
    node: Option<(Time, Time)>,
    seen: bool,
}

impl StartUpLearner {
    /// Believes what the manifests say.
    #[must_use]
    pub fn new(start_up: &StartUp, node_provisioning: Span) -> Self {
        Self {
            belief: StartUpBelief::new(start_up, node_provisioning),
            tracked: Vec::new(),
            ready: Vec::new(),
            viewed_at: None,
        }
    }

    pub(super) const fn belief(&self) -> &StartUpBelief {
        &self.belief
    }

    pub(super) fn restore(&mut self, belief: StartUpBelief) {
        self.belief = belief;
    }

    /// Compares the target with how it looked before. Views that do not move on are passed over.
    pub fn observe(&mut self, now: Time, target: &ScaleTarget) {
        if self.viewed_at.is_some_and(|before| now <= before) {
            return;
        }
        let before = self.viewed_at.unwrap_or(now);
        for pod in &mut self.tracked {
            pod.seen = false;
        }
        for &asked_at in &target.starting_since {
            self.see_starting(asked_at, before, now);
        }
        for &asked_at in &target.unschedulable_since {
            self.see_waiting(asked_at);
        }
        let new = target
            .endpoints_ready
            .iter()
            .filter(|endpoint| self.ready.binary_search(endpoint).is_err())
            .count();
        if self.viewed_at.is_some() {
            self.settle_gone(new, before, now);
        }
        self.tracked.retain(|pod| pod.seen);
        self.ready.clone_from(&target.endpoints_ready);
        self.ready.sort_unstable();
        self.viewed_at = Some(now);
    }

    /// A replica has a node: one known to start, else one that waited, else one never seen.
    fn see_starting(&mut self, asked_at: Time, before: Time, now: Time) {
        let with = |started: bool| {
            move |pod: &&mut Pod| {
                !pod.seen && pod.asked_at == asked_at && pod.node.is_some() == started
            }
        };
        if let Some(pod) = self.tracked.iter_mut().find(with(true)) {
            pod.seen = true;
        } else if let Some(pod) = self.tracked.iter_mut().find(with(false)) {
            pod.seen = true;
            pod.node = Some((before, now));
            self.learn_node(before.since(asked_at).as_seconds(), now.since(asked_at).as_seconds());
        } else if self.tracked.len() < TRACKED_MAX {
            self.tracked.push(Pod { asked_at, node: Some((asked_at, now)), seen: true });
            self.learn_node(0.0, now.since(asked_at).as_seconds());
        }
    }

    fn see_waiting(&mut self, asked_at: Time) {
        let same = |pod: &&mut Pod| !pod.seen && pod.asked_at == asked_at && pod.node.is_none();
        if let Some(pod) = self.tracked.iter_mut().find(same) {
            pod.seen = true;
        } else if self.tracked.len() < TRACKED_MAX {
            self.tracked.push(Pod { asked_at, node: None, seen: true });
        }
    }

    /// Replicas that show no more: the oldest became the endpoints that are new, the others were
    /// cancelled.
    fn settle_gone(&mut self, new_endpoints: usize, before: Time, now: Time) {
        let mut gone: Vec<Pod> = self.tracked.iter().filter(|pod| !pod.seen).copied().collect();
        gone.sort_by_key(|pod| (pod.node.is_none(), pod.asked_at));
        for (index, pod) in gone.into_iter().enumerate() {
            // Without a view of it starting, it got its node and got ready since the last view.
            let (node_from, node_to) = pod.node.unwrap_or((before, now));
            let least = before.since(node_to).as_seconds();
            if index < new_endpoints {
                let most = now.since(node_from).as_seconds();
                self.belief.engine.observe(least, most);
            } else if pod.node.is_some() {
                self.belief.engine.observe(least, f64::INFINITY);
            }
        }
    }

    fn learn_node(&mut self, least_s: f64, most_s: f64) {
        let belief = &mut self.belief;
        if least_s > NODE_WAIT_MAX.as_seconds() {
            belief.out_of_stock += 1;
            return;
        }
        let there_s = NODE_THERE_SHARE * belief.node.median_s();
        let found = if most_s < there_s {
            1.0
        } else if least_s >= there_s {
            belief.node.observe(least_s, most_s);
            0.0
        } else {
            return;
        };
        belief.node_there += found;
        belief.starts += 1.0;
        if belief.starts > STARTS_MAX {
            let keep = STARTS_MAX / belief.starts;
            belief.starts *= keep;
            belief.node_there *= keep;
        }
    }

    /// What is believed now.
    #[must_use]
    pub fn estimate(&self) -> StartUpEstimate {
        let duration = |learned: &LogNormal| DurationEstimate {
            median_s: learned.median_s(),
            median_deviation_s: learned.median_deviation_s(),
            p90_s: learned.p90_s(),
            samples: learned.samples(),
        };
        StartUpEstimate {
            engine: duration(&self.belief.engine),
            node: duration(&self.belief.node),
            node_there_share: self.belief.node_there / self.belief.starts,
            out_of_stock: self.belief.out_of_stock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learner() -> StartUpLearner {
        let start_up = StartUp {
            image: Span::from_secs(20),
            weights: Span::from_secs(20),
            compile: Span::from_secs(10),
            warm_up: Span::from_secs(10),
            sigma: 0.3,
        };
        StartUpLearner::new(&start_up, Span::from_secs(120))
    }

    fn at(second: u64) -> Time {
        Time::ZERO + Span::from_secs(second)
    }

    /// Views each 15 s of replicas asked for at times, which have their node after `node` and are
    /// ready after `engine` more seconds.
    fn watch(learner: &mut StartUpLearner, asked: &[u64], node: u64, engine: u64, until: u64) {
        for now in (0..=until).step_by(15) {
            let mut target = ScaleTarget::default();
            for (index, &asked) in asked.iter().enumerate().filter(|(_, asked)| **asked <= now) {
                if now < asked + node {
                    target.unschedulable_since.push(at(asked));
                } else if now < asked + node + engine {
                    target.starting_since.push(at(asked));
                } else {
                    target.endpoints_ready.push(EndpointId(index as u32));
                }
            }
            learner.observe(at(now), &target);
        }
    }

    #[test]
    fn node_and_engine_are_learned_apart() {
        let mut learner = learner();
        let asked: Vec<u64> = (0..30).map(|start| start * 601 / 2).collect();
        watch(&mut learner, &asked, 240, 150, 12_000);
        let learned = learner.estimate();
        assert!((learned.engine.median_s / 150.0 - 1.0).abs() < 0.12, "{:?}", learned.engine);
        assert!((learned.node.median_s / 240.0 - 1.0).abs() < 0.12, "{:?}", learned.node);
        assert!(learned.engine.samples > 25.0 && learned.node.samples > 25.0);
        assert!(learned.engine.median_deviation_s < 15.0);
        assert!(learned.p90_with_node_s() > learned.median_with_node_s());
        assert!(learned.node_there_share < 0.1);
    }

    #[test]
    fn a_node_that_was_there_is_no_fast_provisioning() {
        let mut learner = learner();
        let asked: Vec<u64> = (0..20).map(|start| 7 + start * 300).collect();
        watch(&mut learner, &asked, 0, 90, 7_000);
        let learned = learner.estimate();
        assert!((learned.node.median_s - 120.0).abs() < 1.0, "{:?}", learned.node);
        assert!(learned.node_there_share > 0.9);
        assert!((learned.engine.median_s / 90.0 - 1.0).abs() < 0.15, "{:?}", learned.engine);
    }

    #[test]
    fn a_replica_seen_late_or_cancelled_is_censored_not_wrong() {
        // First seen when it has long been starting: it took between 0 and all of that time.
        let mut late = learner();
        let starting = ScaleTarget { starting_since: vec![at(0)], ..ScaleTarget::default() };
        let ready = ScaleTarget { endpoints_ready: vec![EndpointId(0)], ..ScaleTarget::default() };
        late.observe(at(900), &starting);
        late.observe(at(915), &ready);
        let learned = late.estimate().engine;
        assert!((learned.median_s - 60.0).abs() < 6.0, "{learned:?}");
        // Cancelled after 30 s: no 30 s start.
        let mut cancelled = learner();
        for round in 0..40 {
            let from = round * 1_000;
            let starting = ScaleTarget { starting_since: vec![at(from)], ..ScaleTarget::default() };
            cancelled.observe(at(from + 1), &starting);
            cancelled.observe(at(from + 31), &starting);
            cancelled.observe(at(from + 46), &ScaleTarget::default());
        }
        assert!(cancelled.estimate().engine.median_s > 58.0, "{:?}", cancelled.estimate().engine);
        // What was ready before we looked is no start.
        let mut present = learner();
        present.observe(at(0), &ScaleTarget::default());
        present.observe(at(15), &ready);
        assert!(present.estimate().engine.samples.abs() < 1e-12);
    }

    #[test]
    fn waiting_for_stock_is_not_provisioning() {
        let mut learner = learner();
        watch(&mut learner, &[0], 4_000, 60, 5_000);
        let learned = learner.estimate();
        assert_eq!(learned.out_of_stock, 1);
        assert!((learned.node.median_s - 120.0).abs() < 1e-9);
    }
}
