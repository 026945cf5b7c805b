//! From two successive pages of one engine to per-step means: what can be regressed on.
//!
//! Gauges of running requests and KV move together and tell little apart; means over the steps of
//! a window do not share that fault. `iteration_tokens` holds a prompt's tokens in the step that
//! yields its first token and no step without a token, so steps that compute only a chunk for
//! nobody else are missing from it; and a gap between tokens is observed once per sequence, so a
//! mean gap weighs each step by its decodes.

use serde::{Deserialize, Serialize};

use super::predict::{Mix, Part};
use crate::engine::profile::Limits;
use crate::fleet::Role;
use crate::observe::{Aged, EngineSample, Histogram};
use crate::time::Span;

/// Longest window whose means still describe one state of the engine: eight scrapes at 15 s.
pub const WINDOW_MAX: Span = Span::from_secs(120);
/// Fewest gaps (or finished prefills times [`PREFILL_WEIGHT`]) that make a mean worth learning
/// from.
pub const GAPS_MIN: f64 = 100.0;
/// A finished prefill is one observation of a long step; a gap one of a short step.
const PREFILL_WEIGHT: f64 = 20.0;
/// By how much the steps of a window may seem to outlast it: a mean gap weighs long steps more
/// than short ones.
const OVERRUN_MAX: f64 = 2.0;
/// Preemptions per prompt up to which what they compute again can be estimated.
const PREEMPTED_SHARE_MAX: f64 = 0.2;
/// Longest believable step, s; the physics tabulates no longer one.
const STEP_SECONDS_MAX: f64 = 100.0;

/// Why a window says nothing that may be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LeftOut {
    /// The second page is not later than the first: a clock stepped back, or a page came twice.
    ClockSkew,
    /// The pages lie too far apart for one mean: see [`WINDOW_MAX`].
    Gap,
    /// A counter fell: the engine restarted, or a series vanished and came back.
    CounterReset,
    /// A value that is needed is not a number: absent, or an engine that says so.
    NotANumber,
    /// Nothing was generated.
    Idle,
    /// Too few gaps for a mean: see [`GAPS_MIN`].
    TooFew,
    /// Many requests were preempted: what is computed again shows in no counter.
    Preempted,
    /// Counters contradict one another: part of the page is missing, or of another engine.
    Contradiction,
    /// The replica is new, or restarted: its first steps compile and capture.
    WarmingUp,
    /// No parameter would be moved by it: the regressors do not move.
    NotExcited,
}

impl LeftOut {
    /// All reasons, in the order in which they are looked for.
    pub const ALL: [Self; 10] = [
        Self::ClockSkew,
        Self::Gap,
        Self::NotANumber,
        Self::CounterReset,
        Self::Idle,
        Self::TooFew,
        Self::Preempted,
        Self::Contradiction,
        Self::WarmingUp,
        Self::NotExcited,
    ];

    /// The reason for a reader.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::ClockSkew => "the later page carries an earlier or the same time",
            Self::Gap => "pages too far apart",
            Self::CounterReset => "a counter fell: restart, or a series that came back",
            Self::NotANumber => "a value is absent or not a number",
            Self::Idle => "nothing was generated",
            Self::TooFew => "too few tokens for a mean",
            Self::Preempted => "many requests were preempted",
            Self::Contradiction => "counters contradict one another",
            Self::WarmingUp => "the replica was warming up",
            Self::NotExcited => "no coefficient would be moved by it",
        }
    }
}

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
    /// KV tokens held, mean of both pages.
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
        let decode = Part {
            weight: 1.0,
            tokens: self.decodes,
            kv_tokens: self.kv_tokens,
            pairs: 0.0,
            padded: true,
        };
        if self.prefill_steps <= 0.0 || self.prefill_tokens <= 0.0 {
            return Mix::one(decode);
        }
        // Prompts meet the sequences that decode over time, not over steps: an engine that idles
        // in between is empty for many of them.
        let over_time = self.seconds * self.observations / self.window_s;
        let met = over_time.min(self.decodes);
        let share = (self.prefill_steps * met / self.observations).clamp(0.0, 1.0);
        let chunk = (self.prefill_tokens / self.prefill_steps).min(budget);
        let prefill = Part {
            weight: share,
            tokens: self.decodes + chunk,
            kv_tokens: self.kv_tokens,
            pairs: self.pairs() / self.prefill_steps,
            padded: false,
        };
        Mix::two(Part { weight: 1.0 - share, ..decode }, prefill)
    }

    /// A prompt's time is that of the step that it shares with others; prompts that fill more
    /// than a step wait for all of theirs.
    fn prefill_mix(&self, budget: f64) -> Mix {
        let steps = self.steps.unwrap_or(self.prompts).max(1.0);
        let together = 1.0 + others_in_step(self.prompts / steps);
        let tokens = self.prefill_tokens / self.prompts * together;
        let pairs = self.pairs() / self.prompts * together;
        let full = (tokens / budget).max(1.0);
        Mix::one(Part {
            weight: full,
            tokens: tokens / full,
            kv_tokens: self.cached_tokens / self.prompts * together / full,
            pairs: pairs / full,
            padded: false,
        })
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

/// What counters gained between two pages.
struct Added {
    gaps: f64,
    gap_seconds: f64,
    iterations: Histogram,
    generated: f64,
    first_tokens: f64,
    prompt_tokens: f64,
    preemptions: f64,
    finished: f64,
    prefill_seconds: f64,
    prompt_spread: f64,
    running: f64,
    kv_tokens: f64,
}

impl Added {
    fn between(first: &EngineSample, last: &EngineSample) -> Result<Self, LeftOut> {
        let counter = |read: fn(&EngineSample) -> f64| gained(read(first), read(last));
        let histogram =
            |read: fn(&EngineSample) -> &Histogram| histogram_gained(read(first), read(last));
        let itl = histogram(|page| &page.itl)?;
        let iterations = histogram(|page| &page.iteration_tokens)?;
        let ttft = histogram(|page| &page.ttft)?;
        let e2e = histogram(|page| &page.e2e)?;
        let queue_time = histogram(|page| &page.queue_time)?;
        let prompts = histogram(|page| &page.prompt_lengths)?;
        let gauge = |read: fn(&EngineSample) -> f64| {
            let mean = f64::midpoint(read(first), read(last));
            if mean.is_finite() && mean >= 0.0 { Ok(mean) } else { Err(LeftOut::NotANumber) }
        };
        Ok(Self {
            gaps: itl.count(),
            gap_seconds: itl.sum,
            generated: counter(|page| page.generation_tokens_total)?,
            first_tokens: ttft.count(),
            prompt_tokens: counter(|page| page.prompt_tokens_total)?,
            preemptions: counter(|page| page.preemptions_total)?,
            finished: e2e.count(),
            prefill_seconds: e2e.sum - queue_time.sum,
            prompt_spread: prompts
                .moments()
                .map_or(1.0, |(mean, squared)| (squared / (mean * mean)).max(1.0)),
            running: gauge(|page| page.running)?,
            kv_tokens: gauge(|page| page.kv_usage * page.kv_capacity_tokens)?,
            iterations,
        })
    }

    fn decode_window(&self, span: Span, limits: &Limits) -> Result<StepWindow, LeftOut> {
        if self.generated <= 0.0 && self.gaps <= 0.0 {
            return Err(LeftOut::Idle);
        }
        if self.preemptions > PREEMPTED_SHARE_MAX * self.first_tokens {
            return Err(LeftOut::Preempted);
        }
        if self.gaps < GAPS_MIN {
            return Err(LeftOut::TooFew);
        }
        let (seconds, window_s) = (self.gap_seconds / self.gaps, span.as_seconds());
        let counted = self.iterations.count();
        let steps = (counted > 0.0).then_some(counted);
        let decodes = steps.map_or(self.running, |steps| self.gaps / steps);
        // A preempted sequence computes its prompt and output again.
        let resident = if decodes > 0.0 { self.kv_tokens / decodes } else { 0.0 };
        let again = self.preemptions * resident;
        let window = StepWindow {
            window_s,
            seconds,
            observations: self.gaps,
            steps,
            decodes,
            prefill_tokens: self.computed() + again,
            cached_tokens: (self.prompt_tokens - self.computed()).max(0.0),
            prompts: self.first_tokens,
            prefill_steps: self.prefill_steps(decodes, limits),
            prompt_spread: self.prompt_spread,
            kv_tokens: self.kv_tokens,
            prefill_only: false,
        };
        let most = f64::from(limits.max_num_seqs) + 1.0;
        let running_mean = self.gap_seconds / window_s;
        let stepping = steps.map_or(0.0, |steps| steps * seconds);
        let believable = seconds > 0.0
            && seconds < STEP_SECONDS_MAX
            && decodes > 0.0
            && decodes <= most
            && running_mean <= most * OVERRUN_MAX
            && stepping <= window_s * OVERRUN_MAX
            && (steps.is_none() || self.iterations.sum >= self.gaps);
        if believable { Ok(window) } else { Err(LeftOut::Contradiction) }
    }

    fn prefill_window(&self, span: Span, limits: &Limits) -> Result<StepWindow, LeftOut> {
        if self.first_tokens <= 0.0 && self.finished <= 0.0 {
            return Err(LeftOut::Idle);
        }
        if self.preemptions > 0.0 {
            return Err(LeftOut::Preempted);
        }
        if self.finished * PREFILL_WEIGHT < GAPS_MIN || self.first_tokens <= 0.0 {
            return Err(LeftOut::TooFew);
        }
        let counted = self.iterations.count();
        let window = StepWindow {
            window_s: span.as_seconds(),
            seconds: self.prefill_seconds / self.finished,
            observations: self.finished,
            steps: (counted > 0.0).then_some(counted),
            decodes: 0.0,
            prefill_tokens: self.computed(),
            cached_tokens: (self.prompt_tokens - self.computed()).max(0.0),
            prompts: self.first_tokens,
            prefill_steps: self.prefill_steps(0.0, limits),
            prompt_spread: self.prompt_spread,
            kv_tokens: 0.0,
            prefill_only: true,
        };
        let believable = window.seconds > 0.0
            && window.seconds < STEP_SECONDS_MAX
            && window.prefill_tokens > 0.0
            && counted <= self.first_tokens;
        if believable { Ok(window) } else { Err(LeftOut::Contradiction) }
    }

    /// Prompt tokens computed here. `iteration_tokens` leaves out what was cached or transferred;
    /// without it all prompt tokens count as computed.
    fn computed(&self) -> f64 {
        if self.iterations.count() > 0.0 {
            (self.iterations.sum - self.generated).clamp(0.0, self.prompt_tokens)
        } else {
            self.prompt_tokens
        }
    }

    /// Steps with prompt tokens in them: those whose tokens lie in a bucket that decodes alone do
    /// not reach, each counted as often as the budget makes it.
    fn prefill_steps(&self, decodes: f64, limits: &Limits) -> f64 {
        let counted = self.iterations.count();
        let tokens = self.computed();
        if self.first_tokens <= 0.0 || tokens <= 0.0 {
            return 0.0;
        }
        // Prompts that come at random and are taken together at the next border.
        let by_chance = if counted > 0.0 {
            counted * (1.0 - (-self.first_tokens / counted).exp())
        } else {
            self.first_tokens
        };
        let room = (f64::from(limits.max_num_batched_tokens) - decodes).max(1.0);
        let by_budget = tokens / room;
        let (mut seen, mut chunks) = (0.0, 0.0);
        let most_decodes = decodes.max(self.running) * 1.25 + 2.0;
        let bounds = self.iterations.buckets.bounds();
        for (index, count) in self.iterations.counts.iter().enumerate().take(bounds.len() + 1) {
            let low = if index == 0 { 0.0 } else { bounds[index - 1] };
            if low >= most_decodes {
                let high = bounds.get(index).copied().unwrap_or(low * 2.0);
                let middle = f64::midpoint(low, high) - decodes;
                seen += count;
                chunks += count * (middle / room).max(1.0);
            }
        }
        let extra = if seen > 0.0 { chunks / seen } else { 1.0 };
        (seen.max(by_chance).min(self.first_tokens) * extra).max(by_budget)
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

pub(super) fn gained(first: f64, last: f64) -> Result<f64, LeftOut> {
    if !first.is_finite() || !last.is_finite() {
        Err(LeftOut::NotANumber)
    } else if last < first {
        Err(LeftOut::CounterReset)
    } else {
        Ok(last - first)
    }
}

pub(super) fn histogram_gained(first: &Histogram, last: &Histogram) -> Result<Histogram, LeftOut> {
    let mut added = *last;
    for (added, then) in added.counts.iter_mut().zip(&first.counts) {
        *added = gained(*then, *added)?;
    }
    added.sum = gained(first.sum, last.sum)?;
    Ok(added)
}
