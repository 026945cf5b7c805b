//! One whole decision: learn, read the demand, look ahead, size, solve, guard, write down.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use forebay_core::fleet::{
    AcceleratorClass, CapacityType, Fleet, FleetRails, Late, Role, Slo, StartUp, Tier, Transfer,
    Variant, World,
};
use forebay_core::ids::{AcceleratorId, EndpointId, FleetId, VariantId};
use forebay_core::observe::{EngineSample, RouterSample, RouterTierSample, Store};
use forebay_core::plan::forebay::{Forebay, Settings};
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner, ScaleTarget};
use forebay_core::time::{Span, Time, WallTime};
use forebay_core::units::UsdPerHour;

use crate::engines::profile;

const VARIANTS: u16 = 10;
/// Ready replicas of each variant when it begins.
const READY: u32 = 4;
/// Decisions before the one that is measured: an hour, so that scores and replays are there.
const BEFORE: u32 = 240;
/// Between two scrapes and two decisions, s.
const TICK: f64 = 15.0;
/// Requests/s of each of the two tiers.
const RATES: [f64; 2] = [60.0, 40.0];

/// Aggregated, prefill and decode on accelerators of rising price.
fn world() -> World {
    let variant = |index: u16| Variant {
        fleet: FleetId(0),
        name: format!("variant-{index}"),
        role: [Role::Both, Role::Prefill, Role::Decode][usize::from(index % 3)],
        accelerator: AcceleratorId(index as u8),
        accelerators_per_replica: 1,
        profile: profile(1.0 + f64::from(index) / 10.0),
        replicas_min: 0,
        replicas_max: 64,
        replicas_initial: READY,
        drain_max: Span::from_secs(60),
        start_up: StartUp {
            image: Span::from_secs(30),
            weights: Span::from_secs(60),
            compile: Span::from_secs(20),
            warm_up: Span::from_secs(10),
            sigma: 0.2,
        },
        capacity_type: CapacityType::OnDemand,
    };
    let class = |index: u16| AcceleratorClass {
        name: format!("class-{index}"),
        price_committed: None,
        price_on_demand: Some(UsdPerHour(3.6 - f64::from(index) / 4.0)),
        price_spot: None,
        committed: 0,
        quota: Some(40),
        reclaims_per_hour: 0.0,
        accelerators_per_node: 8,
        node_provisioning: Span::from_secs(120),
        node_removal_delay: Span::from_secs(600),
    };
    let tier = |name: &str, priority: i32| Tier {
        name: name.to_owned(),
        priority,
        floor: 0.0,
        deferrable: false,
        hold_max: Span::from_secs(30),
        late: Late::ServeLast,
    };
    let slo = |ttft: u64| Slo::Latency {
        ttft: Span::from_secs(ttft),
        tpot: Span::from_millis(100),
        percentile: 0.99,
    };
    World {
        fleets: vec![Fleet {
            name: "chat".to_owned(),
            models: vec!["chat".to_owned()],
            variants: 0..VARIANTS,
            slos: vec![Some(slo(2)), Some(slo(5))],
            transfer: Transfer { setup: Span::from_millis(1), bytes_per_second: 4e10 },
            rails: FleetRails::default(),
        }],
        variants: (0..VARIANTS).map(variant).collect(),
        tiers: vec![tier("interactive", 100), tier("standard", 0)],
        accelerators: (0..VARIANTS).map(class).collect(),
    }
}

/// A fleet that gets what it is asked for at once.
struct Bench {
    world: World,
    targets: Vec<ScaleTarget>,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let world = world();
        let targets = world.variants.iter().map(|_| ScaleTarget::default()).collect();
        let mut bench = Self { world, targets, store: Store::default() };
        (0..VARIANTS).for_each(|variant| bench.ready(variant, READY));
        bench
    }

    fn ready(&mut self, variant: u16, count: u32) {
        let target = &mut self.targets[usize::from(variant)];
        (target.replicas_desired, target.replicas_current) = (count, count);
        let endpoint = |number| EndpointId(u32::from(variant) * 1_000 + number);
        target.endpoints_ready = (0..count).map(endpoint).collect();
    }

    fn scrape(&mut self, tick: u32) {
        let second = f64::from(tick) * TICK;
        let at = Time::from_seconds(second);
        // The load moves by a third over an hour.
        let requests = second + 190.0 * (1.0 - (second / 600.0).cos());
        let tier = |rate: f64| {
            let mut tier = RouterTierSample {
                requests_total: rate * requests,
                prompt_tokens_total: rate * requests * 900.0,
                output_tokens_total: rate * requests * 200.0,
                ..RouterTierSample::default()
            };
            tier.ttft.observe(0.3, (rate * requests).max(0.0));
            tier.tpot.observe(0.03, (rate * requests).max(0.0));
            tier
        };
        let page = RouterSample { tiers: RATES.map(tier).into(), saturation: f64::NAN };
        self.store.record_router(FleetId(0), at, page);
        for (index, target) in self.targets.iter().enumerate() {
            for endpoint in &target.endpoints_ready {
                let mut page = EngineSample::idle(235_000.0);
                let steps = second * 60.0;
                (page.running, page.kv_usage) = (10.0, 0.1);
                page.generation_tokens_total = 10.0 * steps;
                page.iteration_tokens.observe(10.0, steps);
                page.itl.observe(0.015, 10.0 * steps);
                page.prompt_lengths.observe(900.0, second);
                page.generation_lengths.observe(200.0, second);
                self.store.record_engine(*endpoint, VariantId(index as u16), at, page);
            }
        }
    }

    fn decide(&self, planner: &mut Forebay, tick: u32) -> Vec<PlanEffect> {
        let view = FleetView {
            world: &self.world,
            targets: &self.targets,
            metrics: &self.store,
            origin: WallTime::default(),
        };
        let mut effects = Vec::new();
        let now = Time::from_seconds(f64::from(tick) * TICK);
        planner.step(now, PlanEvent::Due(&view), &mut effects);
        effects
    }
}

/// A fleet and its planner after `ticks`, the next scrape taken.
fn after(ticks: u32) -> (Bench, Forebay) {
    let mut bench = Bench::new();
    let settings = Settings { roll: false, ..Settings::default() };
    let mut planner = Forebay::new(&bench.world, settings);
    for tick in 0..ticks {
        bench.scrape(tick);
        for effect in bench.decide(&mut planner, tick) {
            if let PlanEffect::Scale { variant, replicas, .. } = effect {
                bench.ready(variant.0, replicas);
            }
        }
    }
    bench.scrape(ticks);
    (bench, planner)
}

pub(crate) fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    group.sample_size(20);
    // Replays are made at every fourth decision; the one after it makes none.
    for (name, ticks) in [("without replays", BEFORE + 1), ("with a replay", BEFORE)] {
        let (bench, planner) = after(ticks);
        group.bench_function(format!("{VARIANTS} variants, 2 tiers, {name}"), |bencher| {
            bencher.iter_batched(
                || planner.clone(),
                |mut planner| black_box(bench.decide(&mut planner, ticks)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}
