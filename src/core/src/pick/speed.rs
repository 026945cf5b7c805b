//! How fast one engine of a variant is, in the few figures that a pick needs.

use crate::engine::profile::EngineProfile;
use crate::engine::work::step_seconds;
use crate::time::Span;

/// Nanoseconds of one second.
const NANOS: f64 = 1e9;

/// Predictions of one variant's engines, from its profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Speed {
    profile: EngineProfile,
    /// Time per prompt token in a full prefill chunk, ns.
    pub prompt_ns_per_token: f64,
    /// What one more running sequence adds to a step, ns.
    pub sequence_ns: f64,
    /// A step with one sequence, and the fixed time of a request, ns.
    pub base_ns: f64,
    /// Tokens of one prefill chunk.
    pub chunk_tokens: u64,
    /// Moving the KV of one prompt token here, ns.
    pub transfer_ns_per_token: f64,
    /// Setting up a transfer, ns.
    pub transfer_ns: f64,
}

impl Speed {
    /// Figures of a profile whose sequences read `context_tokens` of KV each in the mean.
    #[must_use]
    pub fn new(
        profile: &EngineProfile,
        transfer: &crate::fleet::Transfer,
        context_tokens: f64,
    ) -> Self {
        let step = &profile.step_time;
        let chunk = f64::from(profile.limits.max_num_batched_tokens.max(1));
        let kv_s = step.calibration * step.kv_read_ms_per_ktoken * 1e-6 * context_tokens;
        let slope_s = (step_seconds(step, chunk) - step_seconds(step, 1.0)) / chunk;
        let bytes = profile.kv.bytes_per_token as f64;
        Self {
            prompt_ns_per_token: step_seconds(step, chunk) / chunk * NANOS,
            sequence_ns: (slope_s + kv_s) * NANOS,
            base_ns: step_seconds(step, 1.0) * NANOS + profile.request_overhead_ms * 1e6,
            chunk_tokens: u64::from(profile.limits.max_num_batched_tokens.max(1)),
            transfer_ns_per_token: bytes / transfer.bytes_per_second.max(1.0) * NANOS,
            transfer_ns: transfer.setup.0 as f64,
            profile: profile.clone(),
        }
    }

    /// Mean time of a step of `batch` sequences of `context_tokens` each that carries
    /// `prompt_per_output` prompt tokens for each token generated, s: what a sequence waits for
    /// each of its tokens where the engine is kept full.
    #[must_use]
    pub fn step_s(&self, batch: u32, context_tokens: f64, prompt_per_output: f64) -> f64 {
        let step = &self.profile.step_time;
        let kv_tokens = f64::from(batch) * context_tokens;
        step_seconds(step, f64::from(batch) * (1.0 + prompt_per_output))
            + step.calibration * step.kv_read_ms_per_ktoken * 1e-6 * kv_tokens
    }

    /// Most sequences whose mean step keeps within `tpot`; `None` where not even one does, so
    /// that holding back would protect nobody.
    #[must_use]
    pub fn batch_within(
        &self,
        tpot: Span,
        context_tokens: f64,
        prompt_per_output: f64,
    ) -> Option<u32> {
        let fits =
            |batch| self.step_s(batch, context_tokens, prompt_per_output) <= tpot.as_seconds();
        let (mut within, mut beyond) = (1, self.sequences_max() + 1);
        if !fits(within) {
            return None;
        }
        while beyond - within > 1 {
            let middle = within + (beyond - within) / 2;
            if fits(middle) { within = middle } else { beyond = middle }
        }
        Some(within)
    }

    /// Most sequences that the engine runs at a time.
    #[must_use]
    pub fn sequences_max(&self) -> u32 {
        self.profile.limits.max_num_seqs.max(1)
    }

    /// Tokens that the engine's KV cache holds.
    #[must_use]
    pub const fn kv_tokens(&self) -> u64 {
        self.profile.kv.capacity_tokens
    }
}
