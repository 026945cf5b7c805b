//! A small world and a scripted Prometheus for the tests of policies.

use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};
use forebay_core::fleet::{
    AcceleratorClass, CapacityType, Fleet, FleetRails, Late, Role, Slo, StartUp, Tier, Transfer,
    Variant, World,
};
use forebay_core::ids::{AcceleratorId, EndpointId, FleetId, VariantId};
use forebay_core::observe::{EngineSample, RouterSample, RouterTierSample, Store};
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner, ScaleTarget};
use forebay_core::time::{Span, Time, WallTime};
use forebay_core::units::UsdPerHour;

use super::PolicySpec;

/// An engine whose step takes 10 ms + 40 ms per thousand tokens + 10 ms per million KV tokens.
pub(crate) fn profile() -> EngineProfile {
    EngineProfile {
        name: "toy".to_owned(),
        model: "toy".to_owned(),
        quantization: "bf16".to_owned(),
        accelerator: "l40s".to_owned(),
        tensor_parallel: 1,
        engine: "vllm".to_owned(),
        step_time: StepTime {
            fixed_ms: 10.0,
            weights_ms: 0.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 40.0,
            overlap_exponent: 1.0,
            kv_read_ms_per_ktoken: 0.01,
            attention_ms_per_mpair: 0.0,
            calibration: 1.0,
        },
        kv: KvCache { capacity_tokens: 100_000, block_tokens: 16, bytes_per_token: 131_072 },
        limits: Limits { max_num_batched_tokens: 2048, max_num_seqs: 256 },
        request_overhead_ms: 0.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "made up for tests".to_owned(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}

fn variant(name: &str, role: Role, accelerator: u8) -> Variant {
    Variant {
        fleet: FleetId(0),
        name: name.to_owned(),
        role,
        accelerator: AcceleratorId(accelerator),
        accelerators_per_replica: 1,
        profile: profile(),
        replicas_min: 1,
        replicas_max: 20,
        replicas_initial: 2,
        drain_max: Span::from_secs(60),
        start_up: StartUp {
            image: Span::from_secs(30),
            weights: Span::from_secs(60),
            compile: Span::from_secs(20),
            warm_up: Span::from_secs(10),
            sigma: 0.0,
        },
        capacity_type: CapacityType::OnDemand,
    }
}

fn accelerator(name: &str, price: f64) -> AcceleratorClass {
    AcceleratorClass {
        name: name.to_owned(),
        price_committed: None,
        price_on_demand: Some(UsdPerHour(price)),
        price_spot: None,
        committed: 0,
        quota: None,
        reclaims_per_hour: 0.0,
        accelerators_per_node: 8,
        node_provisioning: Span::from_secs(60),
        node_removal_delay: Span::from_secs(600),
    }
}

/// One fleet `chat` with the given variants (name, role), on accelerators of 3, 1 and 2 $/h in
/// turn, and one tier with TTFT 2 s and TPOT 100 ms at 0.99.
pub(crate) fn world(variants: &[(&str, Role)]) -> World {
    let variants: Vec<Variant> = variants
        .iter()
        .enumerate()
        .map(|(index, (name, role))| variant(name, *role, (index % 3) as u8))
        .collect();
    let (ttft, tpot) = (Span::from_secs(2), Span::from_millis(100));
    World {
        fleets: vec![Fleet {
            name: "chat".to_owned(),
            models: vec!["toy".to_owned()],
            variants: 0..variants.len() as u16,
            slos: vec![Some(Slo::Latency { ttft, tpot, percentile: 0.99 })],
            transfer: Transfer { setup: Span::ZERO, bytes_per_second: 1e10 },
            rails: FleetRails::default(),
        }],
        variants,
        tiers: vec![Tier {
            name: "standard".to_owned(),
            priority: 0,
            floor: 0.0,
            deferrable: false,
            hold_max: Span::from_secs(30),
            late: Late::ServeLast,
        }],
        accelerators: vec![accelerator("a", 3.0), accelerator("b", 1.0), accelerator("c", 2.0)],
    }
}

/// A policy with the world around it, all of it scripted.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) targets: Vec<ScaleTarget>,
    pub(crate) store: Store,
    planner: Box<dyn Planner + Send>,
}

impl Bench {
    /// Builds the policy against the world that its SPEC changed.
    pub(crate) fn new(spec: &str, mut world: World) -> Self {
        let spec = PolicySpec::parse(spec).unwrap();
        spec.apply(&mut world).unwrap();
        let planner = super::build(&spec, &world).unwrap();
        let targets = world.variants.iter().map(|_| ScaleTarget::default()).collect();
        let mut bench = Self { world, targets, store: Store::default(), planner };
        for index in 0..bench.world.variants.len() {
            let initial = bench.world.variants[index].replicas_initial;
            bench.ready(index, initial);
        }
        bench
    }

    /// Makes a variant have exactly `count` ready replicas, all of them asked for.
    pub(crate) fn ready(&mut self, variant: usize, count: u32) {
        let endpoints = (0..count).map(|n| EndpointId(variant as u32 * 1_000 + n)).collect();
        let target = &mut self.targets[variant];
        target.replicas_desired = count;
        target.replicas_current = count;
        target.endpoints_ready = endpoints;
        target.starting_since.clear();
        target.unschedulable_since.clear();
    }

    /// Scrapes every ready engine of a variant with the same page.
    pub(crate) fn scrape(&mut self, variant: usize, second: f64, page: impl Fn(&mut EngineSample)) {
        for endpoint in self.targets[variant].endpoints_ready.clone() {
            let mut sample = EngineSample::idle(100_000.0);
            page(&mut sample);
            let at = Time::from_seconds(second);
            self.store.record_engine(endpoint, VariantId(variant as u16), at, sample);
        }
    }

    /// Scrapes the router of fleet 0.
    pub(crate) fn scrape_router(
        &mut self,
        second: f64,
        saturation: f64,
        page: impl Fn(&mut RouterTierSample),
    ) {
        let mut tier = RouterTierSample::default();
        page(&mut tier);
        let sample = RouterSample { tiers: vec![tier], saturation };
        self.store.record_router(FleetId(0), Time::from_seconds(second), sample);
    }

    /// Lets the policy decide at `second` if it is due; what it did is carried out at once, the
    /// new replicas ready. Returns what it asked for, as `variant=replicas`.
    pub(crate) fn tick(&mut self, second: f64) -> Vec<String> {
        self.tick_slow(second, |bench, variant, replicas| bench.ready(variant, replicas))
    }

    /// As [`Bench::tick`], with the new replicas starting instead of ready.
    pub(crate) fn tick_slow(
        &mut self,
        second: f64,
        carry_out: impl Fn(&mut Self, usize, u32),
    ) -> Vec<String> {
        self.effects(second)
            .into_iter()
            .map(|effect| match effect {
                PlanEffect::Scale { variant, replicas, reason } => {
                    assert!(!reason.is_empty());
                    carry_out(self, variant.index(), replicas);
                    format!("{}={replicas}", self.world.variants[variant.index()].name)
                }
                PlanEffect::Roll(request) => format!("roll: {}", request.id),
                PlanEffect::Decided(record) => format!("decided: {}", record.binding),
                PlanEffect::Abort { what } => format!("abort: {what}"),
            })
            .collect()
    }

    /// The raw effects of one decision.
    pub(crate) fn effects(&mut self, second: f64) -> Vec<PlanEffect> {
        let now = Time::from_seconds(second);
        let mut effects = Vec::new();
        if self.planner.next_deadline().is_some_and(|due| due <= now) {
            let view = FleetView {
                world: &self.world,
                targets: &self.targets,
                metrics: &self.store,
                origin: WallTime::default(),
            };
            self.planner.step(now, PlanEvent::Due(&view), &mut effects);
            assert!(self.planner.next_deadline().is_none_or(|due| due > now), "not stuck");
        }
        effects
    }

    /// Adds replicas that were asked for but are not ready: `desired` in all, the rest starting.
    pub(crate) fn starting(&mut self, variant: usize, desired: u32, since: f64) {
        let target = &mut self.targets[variant];
        let ready = target.endpoints_ready.len() as u32;
        target.replicas_desired = desired;
        target.replicas_current = desired;
        target.starting_since =
            vec![Time::from_seconds(since); desired.saturating_sub(ready) as usize];
    }
}
