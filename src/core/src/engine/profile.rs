//! What one engine is: its step-time physics, KV cache, limits and fixed overheads, and how
//! honest those figures are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that decides how fast one replica serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EngineProfile {
    /// Unique name, for instance `llama-3.1-8b-fp8-l40s-tp1`; variants refer to it. In a manifest
    /// it is `metadata.name` and nowhere else; whoever reads the manifest fills it in.
    #[serde(skip)]
    pub name: String,
    /// Model, as the field abbreviates it: `llama-3.1-8b`.
    pub model: String,
    /// Weight format: `bf16`, `fp8`, ...
    pub quantization: String,
    /// Accelerator, as the field abbreviates it: `l40s`, `h100_sxm`.
    pub accelerator: String,
    /// Accelerators per replica (tensor parallelism).
    #[schemars(range(min = 1, max = 72))]
    pub tensor_parallel: u32,
    /// Engine and version that the coefficients describe.
    pub engine: String,
    /// Step-time coefficients.
    pub step_time: StepTime,
    /// KV cache of one replica.
    pub kv: KvCache,
    /// Scheduler limits; any policy may tune them.
    pub limits: Limits,
    /// Fixed time per request outside the step loop (tokenise, HTTP, first-step queue), ms.
    /// It adds to TTFT only.
    #[schemars(range(min = 0.0, max = 60_000.0))]
    pub request_overhead_ms: f64,
    /// Where the figures come from.
    pub evidence: Evidence,
}

/// Coefficients of the unified step-time model
/// `T = calibration * (h + ((w + m*touched(N))^q + (g*N)^q)^(1/q) + c*K + e*A)`:
/// N tokens in the step, K KV tokens read, A pairs of chunk token and context token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepTime {
    /// h: fixed time per step, ms.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub fixed_ms: f64,
    /// w: time to read the dense weights, ms.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub weights_ms: f64,
    /// m: time to read all experts, ms; 0 for a dense model.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e6))]
    pub experts_ms: f64,
    /// Share of the experts that one token touches (top-k / E); 0 for a dense model.
    /// `touched(N) = 1 - (1 - share)^N`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub expert_share_per_token: f64,
    /// g: compute time per thousand tokens, ms.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub compute_ms_per_ktoken: f64,
    /// q: how sharply reading weights and computing overlap (1 = add, large = maximum).
    #[schemars(range(min = 1.0, max = 100.0))]
    pub overlap_exponent: f64,
    /// c: time per thousand KV tokens read, ms.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub kv_read_ms_per_ktoken: f64,
    /// e: time per million token pairs of prefill attention, ms.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub attention_ms_per_mpair: f64,
    /// Measured over modelled; multiplies the whole step.
    #[schemars(range(min = 0.01, max = 100.0))]
    pub calibration: f64,
}

/// The KV cache of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KvCache {
    /// Tokens that fit in one replica.
    #[schemars(range(min = 1))]
    pub capacity_tokens: u64,
    /// Tokens in one block; vLLM's default is 16.
    #[schemars(range(min = 1, max = 1_024))]
    pub block_tokens: u32,
    /// Bytes per token over the whole replica: what a transfer moves.
    #[schemars(range(min = 1))]
    pub bytes_per_token: u64,
}

/// vLLM v1 scheduler limits (`vllm/config/scheduler.py`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// `max_num_batched_tokens`: token budget of one step.
    #[schemars(range(min = 1))]
    pub max_num_batched_tokens: u32,
    /// `max_num_seqs`: sequences in the running batch.
    #[schemars(range(min = 1))]
    pub max_num_seqs: u32,
}

/// How a profile's figures were come by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    /// The weakest link of the chain of figures.
    pub level: EvidenceLevel,
    /// Where the coefficients come from, with version.
    pub source: String,
    /// Mean absolute error of the step-time fit, percent; absent when nobody measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_time_mape_percent: Option<f64>,
    /// Anything a reader must know before believing the figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// From the most to the least trustworthy.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum EvidenceLevel {
    /// End-to-end serving runs on this accelerator.
    Measured,
    /// Kernels measured on this accelerator, their composition into a step modelled.
    Modelled,
    /// Carried over from another accelerator or model.
    Estimated,
}
