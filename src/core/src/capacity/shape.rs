//! The mean request on one engine: what a step costs when so many of them share it.

use crate::demand::Workload;
use crate::engine::profile::EngineProfile;
use crate::engine::work::step_seconds;
use crate::fleet::Role;

use super::Limit;

/// Share of the token budget beyond which decodes alone leave no room for prompts.
const DECODE_BUDGET_SHARE_MAX: f64 = 0.95;

/// One workload on one profile in one role, reduced to what the steady state needs.
#[derive(Clone, Debug)]
pub(super) struct Shape<'a> {
    profile: &'a EngineProfile,
    /// Tokens that a request computes before its first token.
    pub(super) uncached: f64,
    /// Gaps between tokens, on average.
    pub(super) gaps: f64,
    /// KV tokens that a decoding request holds, averaged over those that decode.
    pub(super) context: f64,
    /// KV tokens that a mean request holds at its end.
    whole: f64,
    /// Token pairs of a prompt.
    pairs: f64,
    /// KV tokens that a prompt's chunks read.
    prompt_reads: f64,
    /// Squared coefficient of variation of prompts.
    pub(super) prompt_variation_squared: f64,
    /// Variance over mean of arrivals.
    pub(super) dispersion: f64,
}

/// One replica in steady state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady {
    /// Requests per second.
    pub(super) requests_per_s: f64,
    /// Requests that decode.
    pub(super) batch: f64,
    /// Mean step, s.
    pub(super) step_s: f64,
    /// Time of the engine that a prompt takes when prompts queue, s.
    pub(super) prompt_s: f64,
}

/// Steps, some of which carry prompt tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixed {
    /// Mean step, s.
    pub(super) step_s: f64,
    /// Share of steps that carry prompt tokens.
    pub(super) share: f64,
    /// By how much such a step is longer than one without, s.
    pub(super) extra_s: f64,
}

impl<'a> Shape<'a> {
    pub(super) fn new(profile: &'a EngineProfile, role: Role, workload: &Workload) -> Self {
        let prompt = &workload.prompt_tokens;
        let output = &workload.output_tokens;
        let cached = if workload.cached_share.is_finite() {
            workload.cached_share.clamp(0.0, 1.0)
        } else {
            0.0
        };
        let mean = prompt.mean.max(1.0);
        let squared = prompt.squared.max(mean * mean);
        let fresh = 1.0 - cached;
        let budget = f64::from(profile.limits.max_num_batched_tokens.max(1));
        let (uncached, pairs, prompt_reads) = match role {
            // A decode engine computes the last prompt token again, to sample from.
            Role::Decode => (1.0, 0.0, mean),
            Role::Both | Role::Prefill => {
                let uncached = (mean * fresh).max(1.0);
                let chunks_before = (uncached / budget - 1.0).max(0.0) / 2.0;
                let reads = mean * cached + chunks_before * uncached;
                (uncached, squared * fresh * (cached + fresh / 2.0), reads)
            }
        };
        let out = output.mean.max(1.0);
        let gaps = if role == Role::Prefill { 0.0 } else { out - 1.0 };
        // Those who decode longer are met more often.
        let age = if gaps > 0.0 { output.squared.max(out * out) / (2.0 * out) } else { 0.0 };
        Self {
            profile,
            uncached,
            gaps,
            context: mean + age,
            whole: mean + gaps,
            pairs,
            prompt_reads,
            prompt_variation_squared: prompt.variation_squared(),
            dispersion: if workload.dispersion.is_finite() {
                workload.dispersion.max(0.0)
            } else {
                1.0
            },
        }
    }

    pub(super) fn profile(&self) -> &'a EngineProfile {
        self.profile
    }

    fn budget(&self) -> f64 {
        f64::from(self.profile.limits.max_num_batched_tokens.max(1))
    }

    /// Decoding requests that the KV cache holds on average.
    pub(super) fn batch_by_kv(&self) -> f64 {
        self.profile.kv.capacity_tokens as f64 / self.context.max(1.0)
    }

    /// Decoding requests that the scheduler allows.
    pub(super) fn batch_by_sequences(&self) -> f64 {
        f64::from(self.profile.limits.max_num_seqs.max(1))
    }

    /// Most prompts per step: what budget, KV cache and seats leave.
    pub(super) fn prompts_per_step_max(&self) -> f64 {
        let by_budget = self.budget() / (self.uncached + self.gaps);
        if self.gaps <= 0.0 {
            return by_budget;
        }
        let batch = self
            .batch_by_kv()
            .min(self.batch_by_sequences())
            .min(self.budget() * DECODE_BUDGET_SHARE_MAX);
        by_budget.min(batch / self.gaps)
    }

    /// What keeps replicas from more than [`Self::prompts_per_step_max`].
    pub(super) fn ceiling(&self) -> Limit {
        let batch = self.prompts_per_step_max() * self.gaps * (1.0 + 1e-9);
        if self.gaps > 0.0 && batch >= self.batch_by_kv() {
            Limit::Kv
        } else if self.gaps > 0.0 && batch >= self.batch_by_sequences() {
            Limit::Sequences
        } else {
            Limit::Stability
        }
    }

    /// The largest batch that [`Self::prompts_per_step_max`] comes with.
    pub(super) fn batch_max(&self) -> f64 {
        self.prompts_per_step_max() * self.gaps
    }

    /// The mean request does not fit, whatever is done.
    pub(super) fn too_large(&self) -> bool {
        self.whole > self.profile.kv.capacity_tokens as f64
    }

    /// Time of a step with so many decodes and prompts (fractions allowed), s.
    pub(super) fn step_s(&self, batch: f64, prompts: f64) -> f64 {
        let step = &self.profile.step_time;
        let scale = step.calibration * 1e-6;
        step_seconds(step, (batch + prompts * self.uncached).max(1.0))
            + scale
                * step.kv_read_ms_per_ktoken
                * (batch * self.context + prompts * self.prompt_reads)
            + scale * 1e-3 * step.attention_ms_per_mpair * prompts * self.pairs
    }

    /// Steps at a mean number of prompts in each, of an engine that decodes as well.
    pub(super) fn mixed(&self, prompts_per_step: f64) -> Mixed {
        let batch = prompts_per_step * self.gaps;
        let full = (self.budget() - batch).max(1.0) / self.uncached;
        let by_chance = 1.0 - (-prompts_per_step).exp();
        let share = by_chance.max(prompts_per_step / full).min(1.0);
        let plain_s = self.step_s(batch, 0.0);
        let extra_s = self.step_s(batch, prompts_per_step / share.max(1e-12)) - plain_s;
        Mixed { step_s: plain_s + share * extra_s, share, extra_s }
    }

    /// The steady state at a mean number of prompts per step.
    pub(super) fn steady(&self, prompts_per_step: f64) -> Steady {
        let batch = prompts_per_step * self.gaps;
        let full = (self.budget() - batch).max(1.0) / self.uncached;
        let prompt_s = self.step_s(batch, full) / full;
        if self.gaps <= 0.0 {
            // Prompts alone: `prompts_per_step` over its most is the share of time that is busy.
            let busy = prompts_per_step / full;
            let step_s = self.step_s(0.0, full.min(1.0));
            return Steady { requests_per_s: busy / prompt_s, batch: 0.0, step_s, prompt_s };
        }
        let step_s = self.mixed(prompts_per_step).step_s;
        Steady { requests_per_s: prompts_per_step / step_s, batch, step_s, prompt_s }
    }
}
