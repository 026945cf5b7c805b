//! The engine of the benchmarks: Llama-3.1-8B in FP8 on an L40S.

use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};

/// Its profile, with steps `times` as long.
pub(crate) fn profile(times: f64) -> EngineProfile {
    EngineProfile {
        name: "bench".to_owned(),
        model: "llama-3.1-8b".to_owned(),
        quantization: "fp8".to_owned(),
        accelerator: "l40s".to_owned(),
        tensor_parallel: 1,
        engine: "vllm".to_owned(),
        step_time: StepTime {
            fixed_ms: 0.0,
            weights_ms: 13.48,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 48.7,
            overlap_exponent: 1.78,
            kv_read_ms_per_ktoken: 0.208,
            attention_ms_per_mpair: 2.61,
            calibration: times,
        },
        kv: KvCache { capacity_tokens: 235_476, block_tokens: 16, bytes_per_token: 131_072 },
        limits: Limits { max_num_batched_tokens: 2_048, max_num_seqs: 256 },
        request_overhead_ms: 20.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "the figures of the engine benchmark".to_owned(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}
