//! A world for the tests of gates.

use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};
use forebay_core::fleet::{
    CapacityType, Fleet, FleetRails, Late, Role, Slo, StartUp, Tier, Transfer, Variant, World,
};
use forebay_core::ids::{AcceleratorId, FleetId};
use forebay_core::time::Span;

/// Tier 0 `high` (priority 10), tier 1 `low` (priority 0), tier 2 `batch` (priority -1,
/// deferrable); variants 0 aggregated, 1 prefill, 2 decode of one fleet.
pub(super) fn world() -> World {
    let latency =
        Slo::Latency { ttft: Span::from_secs(60), tpot: Span::from_secs(1), percentile: 0.99 };
    let completion = Slo::Completion { within: Span::from_secs(3_600), percentile: 0.99 };
    World {
        fleets: vec![Fleet {
            name: "chat".to_owned(),
            models: vec!["m".to_owned()],
            variants: 0..3,
            slos: vec![Some(latency), Some(latency), Some(completion)],
            transfer: Transfer { setup: Span::from_millis(5), bytes_per_second: 1e10 },
            rails: FleetRails::default(),
        }],
        variants: [Role::Both, Role::Prefill, Role::Decode].map(variant).to_vec(),
        tiers: vec![tier("high", 10, false), tier("low", 0, false), tier("batch", -1, true)],
        accelerators: Vec::new(),
    }
}

fn tier(name: &str, priority: i32, deferrable: bool) -> Tier {
    Tier {
        name: name.to_owned(),
        priority,
        floor: 0.0,
        deferrable,
        hold_max: Span::from_secs(60),
        late: Late::Refuse,
    }
}

fn variant(role: Role) -> Variant {
    let none = Span::ZERO;
    Variant {
        fleet: FleetId(0),
        name: role.name().to_owned(),
        role,
        accelerator: AcceleratorId(0),
        accelerators_per_replica: 1,
        profile: profile(),
        replicas_min: 0,
        replicas_max: 1_000,
        replicas_initial: 0,
        drain_max: Span::from_secs(60),
        start_up: StartUp { image: none, weights: none, compile: none, warm_up: none, sigma: 0.0 },
        capacity_type: CapacityType::OnDemand,
    }
}

fn profile() -> EngineProfile {
    EngineProfile {
        name: "test".to_owned(),
        model: "m".to_owned(),
        quantization: "bf16".to_owned(),
        accelerator: "a".to_owned(),
        tensor_parallel: 1,
        engine: "none".to_owned(),
        step_time: StepTime {
            fixed_ms: 1.0,
            weights_ms: 10.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 50.0,
            overlap_exponent: 1.0,
            kv_read_ms_per_ktoken: 0.05,
            attention_ms_per_mpair: 0.1,
            calibration: 1.0,
        },
        kv: KvCache { capacity_tokens: 400_000, block_tokens: 16, bytes_per_token: 131_072 },
        limits: Limits { max_num_batched_tokens: 2_048, max_num_seqs: 256 },
        request_overhead_ms: 5.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "made up for a test".to_owned(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}
