//! Exact plans: a hundred models that share four pools, and one fleet.

use std::hint::black_box;

use criterion::Criterion;
use forebay_core::plan::solve::{Budget, FleetAsk, Instance, Row, Solution, VariantOffer, solve};
use forebay_core::units::UsdPerHour;

use crate::crowd::{crowd, greedy, later};

const MODELS: usize = 100;
/// Sum of the quotas, as a share of what serving everybody takes: from barely enough to ample.
const ROOMS: [f64; 4] = [1.0, 1.05, 1.2, 1.5];
const SEEDS: u64 = 5;
/// What demands move between two plans.
const DRIFT: f64 = 0.1;

#[expect(clippy::expect_used, reason = "a bench of unsound instances would measure nothing")]
fn solved(instance: &Instance, start: Option<&Solution>) -> Solution {
    let plan = start.map(Solution::plan);
    solve(instance, plan.as_ref(), Budget::nodes(20_000_000)).expect("the instance is sound")
}

fn replicas(solution: &Solution) -> Vec<Vec<u32>> {
    let counts = |fleet: &forebay_core::plan::solve::FleetMix| {
        fleet.variants.iter().map(|variant| variant.replicas).collect()
    };
    solution.fleets.iter().map(counts).collect()
}

/// One fleet of prefill and decode on three classes, nothing scarce: what a planner asks most.
fn one_fleet() -> Instance {
    let classes = [("h100", 2.95, 2.1), ("a100", 2.45, 1.0), ("l40s", 1.55, 0.75)];
    let mut variants = Vec::new();
    for (name, price, speed) in classes {
        for (role, load) in [("prefill", 5.3), ("decode", 9.7)] {
            let mut variant =
                VariantOffer::new(format!("{role}-{name}"), Some(UsdPerHour(price)), 64);
            for tier in ["interactive", "all"] {
                let load = if tier == "all" { load * 1.3 } else { load };
                variant.covers.insert(format!("{role}/{tier}"), speed / load);
            }
            variant.uses.insert(name.to_owned(), 1);
            variant.start_cost = 0.2;
            variants.push(variant);
        }
    }
    let rows = ["prefill/interactive", "prefill/all", "decode/interactive", "decode/all"];
    let rows = rows.iter().map(|name| Row::new(*name)).collect();
    let pools = classes.iter().map(|(name, ..)| ((*name).to_owned(), Some(100)));
    Instance {
        pools: pools.collect(),
        fleets: vec![FleetAsk::new("chat", rows, variants)],
        ..Instance::default()
    }
}

/// What the exact plan is worth beside the greedy one, printed before the timings.
fn compare_with_greedy() {
    println!("{MODELS} models x 4 accelerators, {SEEDS} seeds for each room: greedy / exact");
    for room in ROOMS {
        let mut ratios = Vec::new();
        let (mut proven, mut stuck) = (0, 0);
        for seed in 0..SEEDS {
            let cold = solved(&crowd(MODELS, room, seed), None);
            let next = later(&crowd(MODELS, room, seed), &replicas(&cold), DRIFT, seed);
            let warm = solved(&next, Some(&cold));
            for (solution, instance) in [(&cold, &crowd(MODELS, room, seed)), (&warm, &next)] {
                proven += u32::from(solution.optimal);
                match greedy(instance) {
                    Some(cost) => ratios.push(cost / solution.objective),
                    None => stuck += 1,
                }
            }
        }
        ratios.sort_by(f64::total_cmp);
        let said: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        println!("room {room}: {}; {stuck} without a place; {proven} proven", said.join(" "));
    }
}

pub(crate) fn exact_plans(criterion: &mut Criterion) {
    compare_with_greedy();
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(20);
    for room in [1.05, 1.5] {
        let instance = crowd(MODELS, room, 0);
        group.bench_function(format!("100 models x 4, room {room}, cold, gap 0"), |bencher| {
            bencher.iter(|| black_box(solved(&instance, None).objective));
        });
        let cold = solved(&instance, None);
        let next = later(&instance, &replicas(&cold), DRIFT, 1);
        group.bench_function(format!("100 models x 4, room {room}, warm, gap 0"), |bencher| {
            bencher.iter(|| black_box(solved(&next, Some(&cold)).objective));
        });
    }
    let fleet = one_fleet();
    let cold = solved(&fleet, None);
    group.bench_function("one fleet, 6 variants, 4 rows, warm", |bencher| {
        bencher.iter(|| black_box(solved(&fleet, Some(&cold)).objective));
    });
    let budget = Budget { alternatives: 3, ..Budget::default() };
    group.bench_function("one fleet, with three alternatives", |bencher| {
        bencher.iter(|| black_box(solve(&fleet, None, budget).map(|solution| solution.objective)));
    });
    group.finish();
}
