//! What a profile predicts for a window of steps, and what its multipliers change.

use crate::engine::profile::{EngineProfile, StepTime};
use crate::engine::work::step_seconds;

/// Parameters that are learned: logarithms of multipliers on the profile.
pub const PARAMETERS: usize = 3;

/// The parameters by name, in order.
pub const PARAMETER_NAMES: [&str; PARAMETERS] = ["fixed and weights", "per token", "KV"];

/// Half the width of the difference that stands for a derivative, in logarithms.
const DIFFERENCE: f64 = 1e-3;

/// Steps of one kind in a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Tokens in one.
    pub tokens: f64,
    /// KV tokens that one reads.
    pub kv_tokens: f64,
    /// Pairs of prompt token and context token that one attends over.
    pub pairs: f64,
    /// Whether only sequences decode, so that the batch is padded to the next captured graph.
    pub padded: bool,
}

/// The steps that make up an observed time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mix {
    /// So many steps, all alike.
    Steps(f64, Part),
    /// One step, of which a share computes somebody's prompt too.
    Shared {
        /// A step without prompt tokens.
        decode: Part,
        /// A step with them.
        mixed: Part,
        /// Mixed steps over all steps.
        mixed_per_step: f64,
        /// Mixed steps per second.
        mixed_per_s: f64,
    },
}

impl Mix {
    /// The time that step-time coefficients give it, s.
    ///
    /// Sequences meet a mixed step in proportion to their time, not to their number of steps: an
    /// engine that idles in between is empty for many prompts. Over time the share is
    /// `mixed_per_s` times the very mean that is asked for, so it is solved for: taking the
    /// observed mean instead would put the observation's noise into its own regressors. An engine
    /// that never idles has no more mixed steps than it has.
    #[must_use]
    pub fn seconds(&self, step: &StepTime) -> f64 {
        match self {
            Self::Steps(count, part) => count * part_seconds(step, part),
            Self::Shared { decode, mixed, mixed_per_step, mixed_per_s } => {
                let alone = part_seconds(step, decode);
                let longer = part_seconds(step, mixed) - alone;
                let by_steps = alone + mixed_per_step.min(1.0) * longer;
                let left = 1.0 - mixed_per_s * longer;
                let over_time = if left > 0.0 { alone / left } else { f64::INFINITY };
                by_steps.min(over_time)
            }
        }
    }

    /// Steps, tokens, KV tokens and pairs that an observed time is made of: what a linear step
    /// time is a sum of.
    #[must_use]
    pub fn totals(&self, observed_s: f64) -> [f64; 4] {
        let of = |part: &Part| {
            let tokens = if part.padded { padded(part.tokens) } else { part.tokens };
            [1.0, tokens, part.kv_tokens, part.pairs]
        };
        match self {
            Self::Steps(count, part) => of(part).map(|total| count * total),
            Self::Shared { decode, mixed, mixed_per_step, mixed_per_s } => {
                let share = mixed_per_step.min(mixed_per_s * observed_s).min(1.0);
                let (decode, mixed) = (of(decode), of(mixed));
                std::array::from_fn(|index| (1.0 - share) * decode[index] + share * mixed[index])
            }
        }
    }

    /// The time under multipliers, s, and how its logarithm moves with that of each multiplier.
    #[must_use]
    pub fn sensitivities(
        &self,
        step: &StepTime,
        parameters: &[f64; PARAMETERS],
    ) -> (f64, [f64; PARAMETERS]) {
        let at = |parameters: &[f64; PARAMETERS]| self.seconds(&scaled(step, parameters));
        let seconds = at(parameters);
        let slopes = std::array::from_fn(|index| {
            let (mut less, mut more) = (*parameters, *parameters);
            less[index] -= DIFFERENCE;
            more[index] += DIFFERENCE;
            (at(&more) / at(&less)).ln() / (2.0 * DIFFERENCE)
        });
        (seconds, slopes)
    }
}

fn part_seconds(step: &StepTime, part: &Part) -> f64 {
    let tokens = if part.padded { padded(part.tokens) } else { part.tokens };
    let reads = step.kv_read_ms_per_ktoken * part.kv_tokens * 1e-3;
    let attention = step.attention_ms_per_mpair * part.pairs * 1e-6;
    step_seconds(step, tokens) + step.calibration * (reads + attention) * 1e-3
}

/// Mean size of the captured graph that a batch of about `sequences` runs in: sizes 1, 2, 4, then
/// each 8 up to 256 and each 16 up to 512 (vLLM's defaults), so half a gap more than the batch.
fn padded(sequences: f64) -> f64 {
    let gap = if sequences <= 2.0 || sequences > 512.0 {
        1.0
    } else if sequences <= 4.0 {
        2.0
    } else if sequences <= 256.0 {
        if sequences < 8.0 { 4.0 } else { 8.0 }
    } else {
        16.0
    };
    sequences + (gap - 1.0) / 2.0
}

/// Step-time coefficients with multipliers applied: positive whatever the parameters are.
#[must_use]
pub fn scaled(step: &StepTime, parameters: &[f64; PARAMETERS]) -> StepTime {
    let [fixed, token, kv] = parameters.map(f64::exp);
    StepTime {
        fixed_ms: step.fixed_ms * fixed,
        weights_ms: step.weights_ms * fixed,
        experts_ms: step.experts_ms * fixed,
        compute_ms_per_ktoken: step.compute_ms_per_ktoken * token,
        attention_ms_per_mpair: step.attention_ms_per_mpair * token,
        kv_read_ms_per_ktoken: step.kv_read_ms_per_ktoken * kv,
        ..step.clone()
    }
}

/// A profile with multipliers applied.
#[must_use]
pub fn scaled_profile(profile: &EngineProfile, parameters: &[f64; PARAMETERS]) -> EngineProfile {
    EngineProfile { step_time: scaled(&profile.step_time, parameters), ..profile.clone() }
}
