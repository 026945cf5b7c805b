//! A small world for the oracle's tests.

use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};
use forebay_core::fleet::{
    AcceleratorClass, CapacityType, Fleet, FleetRails, Late, Role, Slo, StartUp, Tier, Transfer,
    Variant, World,
};
use forebay_core::ids::{AcceleratorId, FleetId};
use forebay_core::time::Span;
use forebay_core::units::UsdPerHour;

/// A profile whose steps take `g` ms per thousand tokens and nothing else.
pub(super) fn compute_only(compute_ms_per_ktoken: f64) -> EngineProfile {
    EngineProfile {
        name: "compute-only".into(),
        model: "m".into(),
        quantization: "fp8".into(),
        accelerator: "a".into(),
        tensor_parallel: 1,
        engine: "vllm".into(),
        step_time: StepTime {
            fixed_ms: 0.0,
            weights_ms: 0.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken,
            overlap_exponent: 1.0,
            kv_read_ms_per_ktoken: 0.0,
            attention_ms_per_mpair: 0.0,
            calibration: 1.0,
        },
        kv: KvCache { capacity_tokens: 1 << 20, block_tokens: 16, bytes_per_token: 1 << 17 },
        limits: Limits { max_num_batched_tokens: 2_048, max_num_seqs: 256 },
        request_overhead_ms: 0.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "test".into(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}

/// An aggregated variant at `accelerator` that starts in `start_up`.
pub(super) fn variant(accelerator: u8, profile: EngineProfile, start_up: Span) -> Variant {
    Variant {
        fleet: FleetId(0),
        name: format!("v{accelerator}"),
        role: Role::Both,
        accelerator: AcceleratorId(accelerator),
        accelerators_per_replica: 1,
        profile,
        replicas_min: 0,
        replicas_max: 1_000,
        replicas_initial: 1,
        drain_max: Span::from_secs(60),
        start_up: StartUp {
            image: Span::ZERO,
            weights: start_up,
            compile: Span::ZERO,
            warm_up: Span::ZERO,
            sigma: 0.0,
        },
        capacity_type: CapacityType::OnDemand,
    }
}

/// One fleet of `variants`, on accelerators at `prices` USD per hour, with two tiers:
/// `interactive` (TTFT 2 s, TPOT 100 ms) and `batch` (within an hour), both at 99 %.
pub(super) fn world(variants: Vec<Variant>, prices: &[f64]) -> World {
    let tier = |name: &str, priority, deferrable| Tier {
        name: name.into(),
        priority,
        floor: 0.0,
        deferrable,
        hold_max: Span::from_secs(30),
        late: Late::ServeLast,
    };
    World {
        fleets: vec![Fleet {
            name: "f".into(),
            models: vec!["m".into()],
            variants: 0..variants.len() as u16,
            slos: vec![
                Some(Slo::Latency {
                    ttft: Span::from_secs(2),
                    tpot: Span::from_millis(100),
                    percentile: 0.99,
                }),
                Some(Slo::Completion { within: Span::from_secs(3_600), percentile: 0.99 }),
            ],
            transfer: Transfer { setup: Span::ZERO, bytes_per_second: 1e11 },
            rails: FleetRails::default(),
        }],
        variants,
        tiers: vec![tier("interactive", 10, false), tier("batch", 0, true)],
        accelerators: prices
            .iter()
            .enumerate()
            .map(|(index, &price)| AcceleratorClass {
                name: format!("a{index}"),
                price_committed: Some(UsdPerHour(price)),
                price_on_demand: Some(UsdPerHour(price)),
                price_spot: None,
                committed: 0,
                quota: None,
                reclaims_per_hour: 0.0,
                accelerators_per_node: 8,
                node_provisioning: Span::ZERO,
                node_removal_delay: Span::ZERO,
            })
            .collect(),
    }
}
