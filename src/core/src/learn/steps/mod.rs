//! From two successive pages of one engine to per-step means: what can be regressed on.
//!
//! Gauges of running requests and KV move together and tell little apart; means over the steps of
//! a window do not share that fault. `iteration_tokens` holds a prompt's tokens in the step that
//! yields its first token and no step without a token, so steps that compute only a chunk for
//! nobody else are missing from it; and a gap between tokens is observed once per sequence, so a
//! mean gap weighs each step by its decodes.

mod added;
mod left_out;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(super) use added::{gained, histogram_gained};
pub use left_out::LeftOut;

use self::added::Added;
use super::predict::{Mix, Part};
use crate::engine::profile::Limits;
use crate::fleet::Role;
use crate::observe::{Aged, EngineSample};
use crate::time::Span;

/// Longest window whose means still describe one state of the engine: eight scrapes at 15 s.
pub const WINDOW_MAX: Span = Span::from_secs(120);
/// Fewest gaps that make a mean worth learning from.
pub const GAPS_MIN: f64 = 100.0;

/// Means over the steps of one window of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepWindow {
    /// Length of the window, s.
    pub window_s: f64,
    /// Mean time that was observed, s: of a step as decodes see it, or (engines that only prefill)
    /// from the scheduling of a prompt to its first token.
    pub seconds: f64,
    /// Observations in that mean.
    pub observations: f64,
    /// Steps that yielded tokens; absent where the engine does not count them.
    pub steps: Option<f64>,
    /// Sequences that decode, mean over the steps that yield tokens; without a step counter over
    /// the requests that run.
    pub decodes: f64,
    /// Prompt tokens computed here over the window: neither found in a cache nor transferred.
    pub prefill_tokens: f64,
    /// Prompt tokens found in a cache over the window.
    pub cached_tokens: f64,
    /// Prompts that yielded their first token.
    pub prompts: f64,
    /// Steps that computed prompt tokens, those without a decode included.
    pub prefill_steps: f64,
    /// Mean of the square of the prompts' length over the square of their mean; 1 = all alike.
    pub prompt_spread: f64,
    /// KV tokens that the decodes of a step read: decodes times the KV that a running request
    /// holds, mean of both pages.
    pub kv_tokens: f64,
    /// Whether the engine prefills only: `seconds` is then of a prompt.
    pub prefill_only: bool,
}

impl StepWindow {
    /// The window between two pages of one engine.
    ///
    /// # Errors
    /// [`LeftOut`]: why nothing can be learned from it.
    pub fn between(
        first: Aged<&EngineSample>,
        last: Aged<&EngineSample>,
        limits: &Limits,
        role: Role,
    ) -> Result<Self, LeftOut> {
        if last.at <= first.at {
            return Err(LeftOut::ClockSkew);
        }
        let span = last.at.since(first.at);
        if span > WINDOW_MAX {
            return Err(LeftOut::Gap);
        }
        let added = Added::between(first.value, last.value)?;
        if role == Role::Prefill {
            added.prefill_window(span, limits)
        } else {
            added.decode_window(span, limits)
        }
    }

    /// What a model must predict for the window: steps of each kind, by weight.
    #[must_use]
    pub fn mix(&self, limits: &Limits) -> Mix {
        let budget = f64::from(limits.max_num_batched_tokens);
        if self.prefill_only { self.prefill_mix(budget) } else { self.decode_mix(budget) }
    }

    /// A gap between tokens is a decode step, or a step with a chunk of somebody's prompt in it.
    fn decode_mix(&self, budget: f64) -> Mix {
        let decode =
            Part { tokens: self.decodes, kv_tokens: self.kv_tokens, pairs: 0.0, padded: true };
        if self.prefill_steps <= 0.0 || self.prefill_tokens <= 0.0 {
            return Mix::Steps(1.0, decode);
        }
        let chunk = (self.prefill_tokens / self.prefill_steps).min(budget);
        Mix::Shared {
            decode,
            mixed: Part {
                tokens: self.decodes + chunk,
                pairs: self.pairs() / self.prefill_steps,
                padded: false,
                ..decode
            },
            mixed_per_step: self.prefill_steps * self.decodes / self.observations,
            mixed_per_s: self.prefill_steps / self.window_s,
        }
    }

    /// A prompt's time is that of the step that it shares with others; prompts that fill more
    /// than a step wait for all of theirs.
    fn prefill_mix(&self, budget: f64) -> Mix {
        let steps = self.steps.unwrap_or(self.prompts).max(1.0);
        let together = 1.0 + others_in_step(self.prompts / steps);
        let tokens = self.prefill_tokens / self.prompts * together;
        let pairs = self.pairs() / self.prompts * together;
        let full = (tokens / budget).max(1.0);
        let part = Part {
            tokens: tokens / full,
            kv_tokens: self.cached_tokens / self.prompts * together / full,
            pairs: pairs / full,
            padded: false,
        };
        Mix::Steps(full, part)
    }

    /// Pairs of prompt token and context token over the window.
    fn pairs(&self) -> f64 {
        if self.prompts <= 0.0 {
            return 0.0;
        }
        let (new, cached) = (self.prefill_tokens / self.prompts, self.cached_tokens / self.prompts);
        self.prompts * self.prompt_spread * new * (cached + new / 2.0)
    }
}

/// KV per sequence over the last windows: two instants of one window show few sequences.
///
/// A window's own figure is believed by as many sequences as it shows. Believed alone, KV looks as
/// if it hardly mattered (a regressor with noise counts for less), and prompt tokens, which move
/// with load as KV does, take the blame; not believed at all, a window with long prompts does not
/// show the KV that they hold, with the same result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    kv_tokens: f64,
    sequences: f64,
}

impl Context {
    /// Windows after which an older one weighs 1/e: three minutes of one replica, over which mean
    /// lengths hardly change.
    const WINDOWS: f64 = 12.0;
    /// Sequences, over both pages, that a window's own figure needs to weigh as much as the last
    /// windows together.
    const OWN: f64 = 40.0;

    /// The window with its KV drawn towards that of the last windows.
    pub fn smooth(&mut self, window: &StepWindow) -> StepWindow {
        if window.prefill_only || window.kv_tokens <= 0.0 {
            return *window;
        }
        let keep = (-1.0 / Self::WINDOWS).exp();
        self.kv_tokens = self.kv_tokens * keep + window.kv_tokens;
        self.sequences = self.sequences * keep + window.decodes;
        let usual = window.decodes * self.kv_tokens / self.sequences;
        let shown = 2.0 * window.decodes;
        let own = shown / (shown + Self::OWN);
        StepWindow { kv_tokens: own * window.kv_tokens + (1.0 - own) * usual, ..*window }
    }
}

/// Prompts that share a step with a given one, when steps that take any take `mean` of them and
/// prompts come at random: `mean = a / (1 - e^-a)`, of which a given prompt meets `a` others.
fn others_in_step(mean: f64) -> f64 {
    /// Newton's steps; three are enough for a per mille.
    const ROUNDS: usize = 8;
    if mean <= 1.0 {
        return 0.0;
    }
    let mut others = mean;
    for _ in 0..ROUNDS {
        let none = (-others).exp();
        let value = others / (1.0 - none) - mean;
        let slope = (1.0 - none - others * none) / ((1.0 - none) * (1.0 - none));
        others = (others - value / slope.max(0.1)).max(1e-6);
    }
    others
}
