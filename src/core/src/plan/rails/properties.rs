//! Whatever is wanted of guard and rails, what comes out keeps to them.

use proptest::prelude::*;

use super::tests::schedule;
use super::*;
use crate::fleet::{Limits, Pause, Role, World};
use crate::ids::AcceleratorId;
use crate::plan::evidence::{Attainment, PredictionError};
use crate::plan::guard::{Guard, GuardSettings, PoolNeed, Wanted};
use crate::plan::testing::{Bench, world};
use crate::units::UsdPerHour;

/// Seconds between two decisions: some rules see every one, others only the later ones.
const STEP_S: f64 = 47.0;
const VARIANTS: usize = 3;

/// One decision.
#[derive(Clone, Debug)]
struct Tick {
    wanted: [u32; VARIANTS],
    need: Option<f64>,
    missing: bool,
    attainment: Option<f64>,
    error: f64,
    /// Replicas that found no accelerator, per variant.
    stuck: [u32; VARIANTS],
    /// Somebody sets the first variant to this.
    edit: Option<u32>,
}

fn tick() -> impl Strategy<Value = Tick> {
    (
        prop::array::uniform3(0..30_u32),
        prop::option::weighted(0.9, 0.0..40.0_f64),
        prop::bool::weighted(0.2),
        prop::option::of(0.8..1.0_f64),
        0.0..1.0_f64,
        prop::array::uniform3(0..4_u32),
        prop::option::weighted(0.03, 0..20_u32),
    )
        .prop_map(|(wanted, need, missing, attainment, error, stuck, edit)| Tick {
            wanted,
            need,
            missing,
            attainment,
            error,
            stuck,
            edit,
        })
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        prop::option::of(1.0..60.0_f64),
        prop::option::of(0..12_u32),
        prop::option::of(1..8_u32),
        prop::option::of(1..8_u32),
    )
        .prop_map(|(cost, accelerators, added, removed)| Limits {
            cost_per_hour_max: cost.map(UsdPerHour),
            accelerators_max: accelerators.map(|max| (AcceleratorId(1), max)).into_iter().collect(),
            replicas_added_max: added,
            replicas_removed_max: removed,
        })
}

/// A prefill variant and two decode variants of 3, 1 and 2 $/h, one perhaps of unknown price.
fn worlds() -> impl Strategy<Value = World> {
    (limits(), prop::option::of(0..8_u32), any::<bool>(), prop::option::weighted(0.3, 0..3_usize))
        .prop_map(|(limits, minimum, no_scale_in, unknown)| {
            let mut world =
                world(&[("p", Role::Prefill), ("d", Role::Decode), ("e", Role::Decode)]);
            if let Some(class) = unknown {
                world.accelerators[class].price_on_demand = None;
            }
            let rails = &mut world.fleets[0].rails;
            rails.limits = limits;
            rails.schedules = minimum.map(|n| schedule(n, no_scale_in)).into_iter().collect();
            world
        })
}

fn cost(world: &World, replicas: &[u32]) -> Option<f64> {
    let each = |(index, count): (usize, &u32)| {
        let price = world.replica_price(VariantId(index as u16));
        if *count == 0 { Some(0.0) } else { price.map(|price| price.0 * f64::from(*count)) }
    };
    replicas.iter().enumerate().map(each).sum()
}

/// Drives guard and rails through `ticks` and checks every decision.
fn drive(world: World, ticks: &[Tick], pause_at: Option<usize>, start: f64) {
    let mut bench = Bench::new(world);
    let mut guard = Guard::new(GuardSettings::default());
    let mut rails = Rails::new(RailSettings::default());
    let leads = [Span::from_secs(180); VARIANTS];
    let mut changes: Vec<(f64, u32, u32)> = Vec::new();
    for (index, tick) in ticks.iter().enumerate() {
        let second = start + index as f64 * STEP_S;
        let now = Time::from_seconds(second);
        bench.world.fleets[0].rails.paused =
            (pause_at == Some(index)).then_some(Pause { until: None });
        if let Some(edit) = tick.edit {
            bench.ready(0, edit);
        }
        for (target, stuck) in bench.targets.iter_mut().zip(tick.stuck) {
            let stuck = stuck.min(target.replicas_desired);
            target.unschedulable_since = vec![Time::ZERO; stuck as usize];
            target.replicas_current = target.replicas_desired;
            let ready = (target.replicas_desired - stuck) as usize;
            target.endpoints_ready.truncate(ready);
        }
        let known = [FleetEvidence {
            missing: match (tick.missing, tick.need) {
                (true, _) => Some(Missing::Router { age: None }),
                (false, None) => Some(Missing::Demand),
                (false, Some(_)) => None,
            },
            attainment: vec![tick.attainment.map(|share| Attainment { share, requests: 1e3 })],
            prediction_error: Some(PredictionError { relative: tick.error, samples: 100 }),
        }];
        let evidence = Evidence { fleets: &known, leads: &leads };
        let pool = |role: Role, ids: &[u16]| PoolNeed {
            fleet: FleetId(0),
            role,
            need: tick.need,
            shares: ids.iter().map(|id| (VariantId(*id), 1.0)).collect(),
        };
        let wanted = Wanted {
            replicas: tick.wanted.to_vec(),
            pools: vec![pool(Role::Prefill, &[0]), pool(Role::Decode, &[1, 2])],
        };
        let view = bench.view();
        let mut verdicts = Vec::new();
        let mut given = guard.step(now, &view, &wanted, &evidence, &mut verdicts);
        rails.apply(now, &view, &mut given, &evidence, &mut verdicts);

        let held: Vec<u32> = bench.targets.iter().map(|t| t.replicas_desired).collect();
        let at = format!("at {second} s: held {held:?}, {tick:?}, given {given:?}, {verdicts:?}");
        explained(&tick.wanted, &given, &verdicts, &at);
        within_rails(&bench.world, &held, &given, tick, &at);
        let (mut added, mut removed) = (0, 0);
        for variant in 0..VARIANTS {
            let fewest = bench.world.variants[variant].replicas_min;
            // What the fewest ask for is not held up.
            added += given[variant].saturating_sub(held[variant].max(fewest));
            removed += held[variant].saturating_sub(given[variant]);
        }
        changes.push((second, added, removed));
        let lately = changes.iter().filter(|(then, _, _)| second - then < 600.0);
        let (added, removed) = lately.fold((0, 0), |(a, r), (_, x, y)| (a + x, r + y));
        let limits = &bench.world.fleets[0].rails.limits;
        assert!(limits.replicas_added_max.is_none_or(|most| added <= most), "{at}");
        assert!(limits.replicas_removed_max.is_none_or(|most| removed <= most), "{at}");

        guard.asked(now, &view, &given);
        rails.asked(now, &view, &given);
        for (variant, count) in given.iter().enumerate() {
            bench.ready(variant, *count);
        }
    }
    let state = serde_json::to_string(&(&guard, &rails)).unwrap();
    assert!(state.len() < 32_768, "{} bytes", state.len());
}

/// The changes of the verdicts, one after the other, lead from what was wanted to what is given.
fn explained(wanted: &[u32], given: &[u32], verdicts: &[Verdict], at: &str) {
    let mut replicas = wanted.to_vec();
    for verdict in verdicts {
        assert!(!verdict.rule.to_string().is_empty());
        if let Some(change) = verdict.change {
            assert_eq!(replicas[change.variant.index()], change.from, "{at}");
            replicas[change.variant.index()] = change.to;
        }
    }
    assert_eq!(replicas, given, "{at}");
}

fn within_rails(world: &World, held: &[u32], given: &[u32], tick: &Tick, at: &str) {
    let rails = &world.fleets[0].rails;
    if rails.paused.is_some() {
        assert_eq!(held, given, "{at}");
        return;
    }
    if tick.missing || tick.need.is_none() {
        assert!(given.iter().zip(held).all(|(given, held)| given >= held), "{at}");
    }
    for (variant, (given, held)) in world.variants.iter().zip(given.iter().zip(held)) {
        assert!(*given <= variant.replicas_max.max(*held), "{at}");
        assert!(*given >= variant.replicas_min, "{at}");
    }
    // Within each limit, or not grown beyond what must be there.
    let grown = |of: &dyn Fn(usize) -> bool| {
        (0..VARIANTS).any(|index| {
            let fewest = world.variants[index].replicas_min;
            of(index) && given[index] > held[index].max(fewest)
        })
    };
    if let Some(limit) = rails.limits.cost_per_hour_max {
        let within = cost(world, given).is_some_and(|cost| cost <= limit.0 * (1.0 + 1e-6));
        assert!(within || !grown(&|_| true), "{at}");
    }
    for (class, limit) in &rails.limits.accelerators_max {
        let of = |index: usize| world.variants[index].accelerator == *class;
        let taken: u32 = (0..VARIANTS).filter(|index| of(*index)).map(|index| given[index]).sum();
        assert!(taken <= *limit || !grown(&of), "{at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Around the beginning of a schedule at 08:00.
    #[test]
    fn no_decision_leaves_the_rails(
        world in worlds(),
        ticks in prop::collection::vec(tick(), 1..60),
        pause_at in prop::option::of(0..60_usize),
        start in 26_000.0..30_000.0_f64,
    ) {
        drive(world, &ticks, pause_at, start);
    }
}
