//! A small world for the tests of planning.

use crate::engine::profile::{EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime};
use crate::fleet::{
    AcceleratorClass, CapacityType, Fleet, FleetRails, Late, Role, Slo, StartUp, Tier, Transfer,
    Variant, World,
};
use crate::ids::{AcceleratorId, EndpointId, FleetId, VariantId};
use crate::observe::{EngineSample, RouterSample, RouterTierSample, Store};
use crate::plan::{FleetView, ScaleTarget};
use crate::time::{Span, Time, WallTime};
use crate::units::UsdPerHour;

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

/// One fleet with the given variants, on accelerator classes of 3, 1 and 2 $/h in turn. A new
/// replica is ready after 60 s for its node and 120 s for itself.
pub(crate) fn world(variants: &[(&str, Role)]) -> World {
    let variants: Vec<Variant> = variants
        .iter()
        .enumerate()
        .map(|(index, (name, role))| Variant {
            fleet: FleetId(0),
            name: (*name).to_owned(),
            role: *role,
            accelerator: AcceleratorId((index % 3) as u8),
            accelerators_per_replica: 1,
            profile: profile(),
            replicas_min: 1,
            replicas_max: 20,
            replicas_initial: 1,
            drain_max: Span::from_secs(60),
            start_up: StartUp {
                image: Span::from_secs(30),
                weights: Span::from_secs(60),
                compile: Span::from_secs(20),
                warm_up: Span::from_secs(10),
                sigma: 0.0,
            },
            capacity_type: CapacityType::OnDemand,
        })
        .collect();
    let class = |name: &str, price: f64| AcceleratorClass {
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
    };
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
        accelerators: vec![class("a", 3.0), class("b", 1.0), class("c", 2.0)],
    }
}

/// Targets and scrapes around a planner.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) targets: Vec<ScaleTarget>,
    pub(crate) store: Store,
    requests: f64,
}

impl Bench {
    pub(crate) fn new(world: World) -> Self {
        let targets = world.variants.iter().map(|_| ScaleTarget::default()).collect();
        let mut bench = Self { world, targets, store: Store::default(), requests: 0.0 };
        for index in 0..bench.world.variants.len() {
            bench.ready(index, 1);
        }
        bench
    }

    /// Makes a variant have exactly `count` ready replicas.
    pub(crate) fn ready(&mut self, variant: usize, count: u32) {
        let target = &mut self.targets[variant];
        target.replicas_desired = count;
        target.replicas_current = count;
        target.endpoints_ready = (0..count).map(|n| EndpointId(variant as u32 * 100 + n)).collect();
    }

    /// Scrapes everything, `requests` having arrived since the last time, of 1,000 prompt and 100
    /// output tokens each.
    pub(crate) fn scrape(&mut self, second: f64, requests: f64, queued: f64) {
        let at = Time::from_seconds(second);
        self.requests += requests;
        let tier = RouterTierSample {
            queued,
            requests_total: self.requests,
            prompt_tokens_total: self.requests * 1_000.0,
            ..RouterTierSample::default()
        };
        let sample = RouterSample { tiers: vec![tier], saturation: f64::NAN };
        self.store.record_router(FleetId(0), at, sample);
        for (index, target) in self.targets.iter().enumerate() {
            for endpoint in &target.endpoints_ready {
                let mut sample = EngineSample::idle(100_000.0);
                sample.generation_lengths.observe(100.0, self.requests.max(1.0));
                self.store.record_engine(*endpoint, VariantId(index as u16), at, sample);
            }
        }
    }

    /// What a planner is shown.
    pub(crate) fn view(&self) -> FleetView<'_> {
        FleetView {
            world: &self.world,
            targets: &self.targets,
            metrics: &self.store,
            origin: WallTime::default(),
        }
    }
}
