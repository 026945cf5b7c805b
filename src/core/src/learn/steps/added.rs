//! What counters gained between two pages, and whether it can be believed.

use super::{GAPS_MIN, LeftOut, StepWindow};
use crate::engine::profile::Limits;
use crate::observe::{EngineSample, Histogram};
use crate::time::Span;

/// A finished prefill is one observation of a long step; a gap one of a short step.
const PREFILL_WEIGHT: f64 = 20.0;
/// By how much the steps of a window may seem to outlast it: a mean gap weighs long steps more
/// than short ones.
const OVERRUN_MAX: f64 = 2.0;
/// Preemptions per prompt up to which what they compute again can be estimated.
const PREEMPTED_SHARE_MAX: f64 = 0.2;
/// Longest believable step, s; the physics tabulates no longer one.
const STEP_SECONDS_MAX: f64 = 100.0;

/// Counters in floating point do not add up to the last digit.
const ROUNDING: f64 = 1e-6;

/// What counters gained between two pages.
pub(super) struct Added {
    gaps: f64,
    gap_seconds: f64,
    iterations: Histogram,
    generated: f64,
    first_tokens: f64,
    prompt_tokens: f64,
    preemptions: f64,
    finished: f64,
    prefill_seconds: f64,
    finished_spread: f64,
    running: f64,
    kv_tokens: f64,
}

impl Added {
    pub(super) fn between(first: &EngineSample, last: &EngineSample) -> Result<Self, LeftOut> {
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
            finished_spread: prompts
                .moments()
                .map_or(1.0, |(mean, squared)| (squared / (mean * mean)).max(1.0)),
            running: gauge(|page| page.running)?,
            kv_tokens: gauge(|page| page.kv_usage * page.kv_capacity_tokens)?,
            iterations,
        })
    }

    pub(super) fn decode_window(&self, span: Span, limits: &Limits) -> Result<StepWindow, LeftOut> {
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
        // KV per request scatters far less than KV: what two instants show of it stands for the
        // window, while the number of requests is known over all of its steps.
        let context = if self.running > 0.0 { self.kv_tokens / self.running } else { 0.0 };
        // A preempted sequence computes its prompt and output again.
        let again = self.preemptions * context;
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
            prompt_spread: self.prompt_spread(decodes),
            kv_tokens: decodes * context,
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
            && (steps.is_none() || self.iterations.sum >= self.gaps * (1.0 - ROUNDING));
        if believable { Ok(window) } else { Err(LeftOut::Contradiction) }
    }

    pub(super) fn prefill_window(
        &self,
        span: Span,
        limits: &Limits,
    ) -> Result<StepWindow, LeftOut> {
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
            prompt_spread: self.prompt_spread(0.0),
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
        for (count, prompt) in self.large_steps(decodes) {
            seen += count;
            chunks += count * (prompt / room).max(1.0);
        }
        let extra = if seen > 0.0 { chunks / seen } else { 1.0 };
        (seen.max(by_chance).min(self.first_tokens) * extra).max(by_budget)
    }

    /// Mean square of the prompts that were computed over the square of their mean, from the steps
    /// that they were computed in: those that finish in a window are others.
    fn prompt_spread(&self, decodes: f64) -> f64 {
        let (mut steps, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for (count, prompt) in self.large_steps(decodes) {
            steps += count;
            sum += count * prompt;
            squares += count * prompt * prompt;
        }
        if steps <= 0.0 || sum <= 0.0 {
            return self.finished_spread;
        }
        // Several prompts in a step: the square of their sum is not the sum of their squares.
        let together = (self.first_tokens / steps).max(1.0);
        (self.first_tokens * squares / together / (sum * sum)).max(1.0)
    }

    /// Steps in buckets that decodes alone do not reach: how many, and prompt tokens in each.
    fn large_steps(&self, decodes: f64) -> impl Iterator<Item = (f64, f64)> {
        let most_decodes = decodes.max(self.running) * 1.25 + 2.0;
        let bounds = self.iterations.buckets.bounds();
        let counts = self.iterations.counts.iter().enumerate().take(bounds.len() + 1);
        counts.filter_map(move |(index, &count)| {
            let low = if index == 0 { 0.0 } else { bounds[index - 1] };
            let high = bounds.get(index).copied().unwrap_or(low * 2.0);
            let large = low >= most_decodes && count > 0.0;
            large.then(|| (count, f64::midpoint(low, high) - decodes))
        })
    }
}

pub(in crate::learn) fn gained(first: f64, last: f64) -> Result<f64, LeftOut> {
    if !first.is_finite() || !last.is_finite() {
        Err(LeftOut::NotANumber)
    } else if last < first {
        Err(LeftOut::CounterReset)
    } else {
        Ok(last - first)
    }
}

pub(in crate::learn) fn histogram_gained(
    first: &Histogram,
    last: &Histogram,
) -> Result<Histogram, LeftOut> {
    let mut added = *last;
    for (added, then) in added.counts.iter_mut().zip(&first.counts) {
        *added = gained(*then, *added)?;
    }
    added.sum = gained(first.sum, last.sum)?;
    Ok(added)
}
