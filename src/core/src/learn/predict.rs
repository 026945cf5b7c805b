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
    /// How many of them the observed time is.
    pub weight: f64,
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
pub struct Mix {
    parts: [Option<Part>; 2],
}

impl Mix {
    /// Steps all alike.
    #[must_use]
    pub const fn one(part: Part) -> Self {
        Self { parts: [Some(part), None] }
    }

    /// Steps of two kinds.
    #[must_use]
    pub const fn two(one: Part, other: Part) -> Self {
        Self { parts: [Some(one), Some(other)] }
    }

    /// The time that step-time coefficients give it, s.
    #[must_use]
    pub fn seconds(&self, step: &StepTime) -> f64 {
        self.parts.iter().flatten().map(|part| part.weight * part_seconds(step, part)).sum()
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
