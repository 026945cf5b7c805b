//! The engine against a plain step-by-step, block-by-block reference, and against numbers worked
//! out by hand.

mod agree;
mod reference;
mod reference_kv;
mod reference_seen;
mod reference_sequence;
mod worked;

use std::sync::Arc;

use super::physics::Physics;
use super::profile::{EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime};

/// A small profile: 1 ms fixed, 1 ms weights, 10 us per token (added, q = 1), 1 us per 1,000 KV
/// tokens, 100 us per million pairs.
pub(super) fn profile(blocks: u64, block_tokens: u32, limits: Limits) -> EngineProfile {
    EngineProfile {
        name: "test".into(),
        model: "test".into(),
        quantization: "fp8".into(),
        accelerator: "test".into(),
        tensor_parallel: 1,
        engine: "vllm".into(),
        step_time: StepTime {
            fixed_ms: 1.0,
            weights_ms: 1.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 10.0,
            overlap_exponent: 1.0,
            kv_read_ms_per_ktoken: 0.001,
            attention_ms_per_mpair: 0.1,
            calibration: 1.0,
        },
        kv: KvCache {
            capacity_tokens: blocks * u64::from(block_tokens),
            block_tokens,
            bytes_per_token: 1,
        },
        limits,
        request_overhead_ms: 0.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "made up for tests".into(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}

pub(super) fn physics(
    blocks: u64,
    block_tokens: u32,
    max_num_batched_tokens: u32,
    max_num_seqs: u32,
) -> Arc<Physics> {
    let limits = Limits { max_num_batched_tokens, max_num_seqs };
    Physics::new(&profile(blocks, block_tokens, limits.clone()), &limits)
}
