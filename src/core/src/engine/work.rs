//! What a request costs an engine that is kept busy: replica-seconds, the unit of demand.
//!
//! `k = g*u + e*u*(ctx + u/2) + o*T_dec(B0)/B0 + c*o*(p + o/2)` with `u` uncached prompt tokens
//! after `ctx` cached ones, `p` prompt, `o` output tokens and `B0` the operating batch. Sizing by
//! work rather than by requests survives a drift of lengths.

use super::profile::{EngineProfile, StepTime};

/// Replica-seconds of requests on one variant, at one operating batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkModel {
    /// Compute per prefill token, s.
    compute_s_per_token: f64,
    /// Attention per pair of prefill token and context token, s.
    attention_s_per_pair: f64,
    /// One decode token's share of a step without its KV, s.
    decode_s_per_token: f64,
    /// One KV token read, s.
    kv_read_s_per_token: f64,
    /// The batch assumed, sequences.
    operating_batch: f64,
}

impl WorkModel {
    /// The model at the batch that limits and KV cache allow for requests of these mean lengths.
    #[must_use]
    pub fn new(profile: &EngineProfile, prompt_tokens_mean: f64, output_tokens_mean: f64) -> Self {
        let resident = (prompt_tokens_mean + output_tokens_mean / 2.0).max(1.0);
        let by_kv = profile.kv.capacity_tokens as f64 / resident;
        let batch = by_kv.min(f64::from(profile.limits.max_num_seqs)).max(1.0);
        Self::at_batch(&profile.step_time, batch)
    }

    /// The model at a given operating batch of at least one sequence.
    #[must_use]
    pub fn at_batch(step: &StepTime, batch: f64) -> Self {
        let batch = batch.max(1.0);
        let scale = step.calibration * 1e-3;
        Self {
            compute_s_per_token: scale * step.compute_ms_per_ktoken * 1e-3,
            attention_s_per_pair: scale * step.attention_ms_per_mpair * 1e-6,
            decode_s_per_token: step_seconds(step, batch) / batch,
            kv_read_s_per_token: scale * step.kv_read_ms_per_ktoken * 1e-3,
            operating_batch: batch,
        }
    }

    /// Replica-seconds to prefill `uncached_tokens` after `cached_tokens`.
    #[must_use]
    pub fn prefill_s(&self, uncached_tokens: f64, cached_tokens: f64) -> f64 {
        let pairs = uncached_tokens * (cached_tokens + uncached_tokens / 2.0);
        self.compute_s_per_token * uncached_tokens + self.attention_s_per_pair * pairs
    }

    /// Replica-seconds to decode `output_tokens` after a prompt.
    #[must_use]
    pub fn decode_s(&self, prompt_tokens: f64, output_tokens: f64) -> f64 {
        let kv_reads = output_tokens * (prompt_tokens + output_tokens / 2.0);
        self.decode_s_per_token * output_tokens + self.kv_read_s_per_token * kv_reads
    }

    /// The batch assumed, sequences.
    #[must_use]
    pub const fn operating_batch(&self) -> f64 {
        self.operating_batch
    }
}

/// Time of a step of `tokens` tokens without its KV reads and prefill attention, s.
#[must_use]
pub fn step_seconds(step: &StepTime, tokens: f64) -> f64 {
    let touched = 1.0 - (1.0 - step.expert_share_per_token).powf(tokens);
    let memory = step.weights_ms + step.experts_ms * touched;
    let compute = step.compute_ms_per_ktoken * tokens * 1e-3;
    let q = step.overlap_exponent;
    let overlapped = (memory.powf(q) + compute.powf(q)).powf(1.0 / q);
    step.calibration * (step.fixed_ms + overlapped) * 1e-3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> StepTime {
        StepTime {
            fixed_ms: 1.0,
            weights_ms: 9.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 50.0,
            overlap_exponent: 1.0,
            kv_read_ms_per_ktoken: 0.2,
            attention_ms_per_mpair: 3.0,
            calibration: 1.0,
        }
    }

    #[test]
    fn a_request_costs_what_the_formula_says() {
        let work = WorkModel::at_batch(&step(), 100.0);
        // 1000 tokens at 50 us, and 0.5 Mpairs at 3 ms.
        assert!((work.prefill_s(1_000.0, 0.0) - 0.0515).abs() < 1e-12);
        // A step of 100: 1 + 9 + 5 = 15 ms, 0.15 ms a token; KV: 10 x 1005 tokens at 0.2 us.
        assert!((work.decode_s(1_000.0, 10.0) - (0.0015 + 0.00201)).abs() < 1e-12);
    }

    #[test]
    fn experts_are_read_as_tokens_touch_them() {
        let moe = StepTime { experts_ms: 20.0, expert_share_per_token: 0.1, ..step() };
        assert!(step_seconds(&moe, 1.0) < step_seconds(&moe, 2.0));
        assert!((step_seconds(&moe, 1.0) - (1.0 + 9.0 + 2.0 + 0.05) * 1e-3).abs() < 1e-9);
    }
}
