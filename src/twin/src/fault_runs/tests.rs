//! A few of the runs that the example makes a thousand of, and the watch itself.

use forebay_core::ids::VariantId;
use forebay_core::observe::{EngineSample, RouterSample, Store};
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner, ScaleTarget};
use forebay_core::time::{Time, WallTime};

use super::*;

/// Orders the same whatever it sees.
struct Stubborn(Vec<(u16, u32, &'static str)>);

impl Planner for Stubborn {
    fn step(&mut self, _: Time, _: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        effects.extend(self.0.iter().map(|(variant, replicas, reason)| PlanEffect::Scale {
            variant: VariantId(*variant),
            replicas: *replicas,
            reason: (*reason).to_owned(),
        }));
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }
}

/// Rules that these orders break in a fleet of four ready replicas whose last one shows this.
fn broken(orders: &[(u16, u32, &'static str)], last: Option<f64>) -> Vec<Broken> {
    let (world, _) = fleet().unwrap();
    let now = Time::from_seconds(100.0);
    let mut store = Store::default();
    let router = RouterSample { tiers: Vec::new(), saturation: f64::NAN };
    store.record_router(FleetId(0), now, router);
    let ready: Vec<_> = (0..4).map(forebay_core::ids::EndpointId).collect();
    for (number, endpoint) in ready.iter().enumerate() {
        let running = if number == 3 { last } else { Some(1.0) };
        if let Some(running) = running {
            let page = EngineSample { running, ..EngineSample::idle(1e5) };
            store.record_engine(*endpoint, VariantId(0), now, page);
        }
    }
    let mut targets = vec![ScaleTarget::default(); world.variants.len()];
    (targets[0].replicas_desired, targets[0].endpoints_ready) = (4, ready);
    let origin = WallTime::default();
    let view = FleetView { world: &world, targets: &targets, metrics: &store, origin };
    let log = Arc::new(Mutex::new(Log::default()));
    let mut planner = Watched::new(Box::new(Stubborn(orders.to_vec())), Arc::clone(&log));
    planner.step(now, PlanEvent::Due(&view), &mut Vec::new());
    log.lock().unwrap().violations.iter().map(|violation| violation.broken).collect()
}

#[test]
fn the_watch_sees_every_rule_that_is_broken() {
    assert_eq!(broken(&[(0, 3, "less")], Some(1.0)), []);
    assert_eq!(broken(&[(0, 3, "less")], None), [Broken::RemovedBlind]);
    assert_eq!(broken(&[(0, 5, "more")], None), []);
    assert_eq!(broken(&[(0, 3, "less")], Some(f64::NAN)), [Broken::RemovedOnNan]);
    assert_eq!(broken(&[(0, 5, " ")], Some(1.0)), [Broken::Unexplained]);
    assert_eq!(broken(&[(0, 13, "more")], Some(1.0)), [Broken::Bounds]);
    assert_eq!(broken(&[(1, 17, "more")], Some(1.0)), [Broken::Quota, Broken::Limit]);
}

#[test]
fn every_kind_of_fault_is_drawn() {
    let (world, _) = fleet().unwrap();
    let kinds: std::collections::BTreeSet<String> = (0..50)
        .flat_map(|seed| faults(seed, &world))
        .map(|fault| format!("{:?}", std::mem::discriminant(&fault.kind)))
        .collect();
    assert_eq!(kinds.len(), 7);
}

#[test]
fn our_policy_keeps_every_rule_under_faults() {
    const RUNS: u64 = 12;
    let spec = "forebay:gate=least-loaded".parse().unwrap();
    let runs = fault_runs(&spec, 0..RUNS, 2).unwrap();
    for run in &runs {
        assert_eq!(run.violations, [], "seed {}: {:?}", run.seed, run.faults);
    }
    assert!(runs.iter().map(|run| run.changes).sum::<u64>() > 4 * RUNS, "it decided something");
    let mean = runs.iter().map(FaultRun::cost_ratio).sum::<f64>() / RUNS as f64;
    assert!((0.8..1.3).contains(&mean), "cost under faults {mean} of that without");
}
