//! The engine's metrics as whole numbers; they become `f64` only in a sample.
//!
//! As vLLM 0.33: TTFT and inter-token latency are observed live, everything about a whole request
//! when it finishes. A prompt's tokens are counted in the step that yields its first token, all
//! of them in `prompt_tokens_total`, those computed here (not found in a cache, not transferred)
//! in `iteration_tokens_total`, which is observed only in steps that yield tokens. Aborted
//! requests count nowhere.

use super::leap::Leap;
use crate::observe::histogram::BUCKETS_MAX;
use crate::observe::{Buckets, EngineSample, Histogram};
use crate::time::{PICOS_PER_SECOND, Picos};

/// Upper bounds in whole units, padded with `u64::MAX`.
type Bounds = [u64; BUCKETS_MAX];

const fn whole_bounds(buckets: Buckets, units: f64) -> Bounds {
    let mut whole = [u64::MAX; BUCKETS_MAX];
    let bounds = buckets.bounds();
    let mut index = 0;
    while index < bounds.len() {
        whole[index] = (bounds[index] * units + 0.5) as u64;
        index += 1;
    }
    whole
}

static TTFT: Bounds = whole_bounds(Buckets::Ttft, PICOS_PER_SECOND as f64);
static INTER_TOKEN: Bounds = whole_bounds(Buckets::InterToken, PICOS_PER_SECOND as f64);
static LATENCY: Bounds = whole_bounds(Buckets::RequestLatency, PICOS_PER_SECOND as f64);
static ITERATION: Bounds = whole_bounds(Buckets::IterationTokens, 1.0);
static LENGTHS: Bounds = whole_bounds(Buckets::Lengths, 1.0);

fn bounds(buckets: Buckets) -> &'static Bounds {
    match buckets {
        Buckets::Ttft => &TTFT,
        Buckets::InterToken => &INTER_TOKEN,
        Buckets::RequestLatency => &LATENCY,
        Buckets::IterationTokens => &ITERATION,
        Buckets::Lengths => &LENGTHS,
    }
}

/// A histogram in whole units (picoseconds or tokens).
#[derive(Clone, Debug)]
pub(super) struct Tally {
    buckets: Buckets,
    counts: [u64; BUCKETS_MAX],
    sum: u128,
}

impl Tally {
    const fn new(buckets: Buckets) -> Self {
        Self { buckets, counts: [0; BUCKETS_MAX], sum: 0 }
    }

    /// Adds `times` observations of `value`.
    pub(super) fn observe(&mut self, value: u64, times: u64) {
        let bucket = bounds(self.buckets).partition_point(|&bound| bound < value);
        self.counts[bucket.min(BUCKETS_MAX - 1)] += times;
        self.sum += u128::from(value) * u128::from(times);
    }

    /// Adds `times` observations of each of `first, first + growth, ...`, `count` values.
    pub(super) fn observe_line(&mut self, first: u64, growth: u64, count: u64, times: u64) {
        if count == 0 {
            return;
        }
        let last = first + growth * (count - 1);
        let bounds = bounds(self.buckets);
        let mut bucket = bounds.partition_point(|&bound| bound < first);
        let mut done = 0;
        while bounds[bucket] < last {
            // `growth` is not 0 here, because first <= bound < last.
            let within = (bounds[bucket] - first) / growth + 1;
            self.counts[bucket] += (within - done) * times;
            done = within;
            bucket += 1;
        }
        self.counts[bucket] += (count - done) * times;
        let twice = (u128::from(first) + u128::from(last)) * u128::from(count);
        self.sum += twice / 2 * u128::from(times);
    }

    fn histogram(&self, units: f64) -> Histogram {
        let mut histogram = Histogram::new(self.buckets);
        for (count, whole) in histogram.counts.iter_mut().zip(self.counts) {
            *count = whole as f64;
        }
        histogram.sum = self.sum as f64 / units;
        histogram
    }
}

/// All that one engine counts.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    pub(super) requests_finished: u64,
    pub(super) preemptions: u64,
    pub(super) prefix_queries_tokens: u64,
    pub(super) prefix_hits_tokens: u64,
    pub(super) ttft: Tally,
    pub(super) itl: Tally,
    pub(super) tpot: Tally,
    pub(super) queue_time: Tally,
    pub(super) e2e: Tally,
    pub(super) iteration_tokens: Tally,
    pub(super) prompt_lengths: Tally,
    pub(super) generation_lengths: Tally,
}

/// Gauges that go with the counters into a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauges {
    pub(super) running: u32,
    pub(super) waiting: u32,
    pub(super) waiting_deferred: u32,
    pub(super) kv_usage: f64,
    pub(super) kv_capacity_tokens: u64,
}

/// When one request came to its stages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) arrival: Picos,
    pub(super) first_scheduled: Picos,
    pub(super) first_token: Picos,
    pub(super) last_token: Picos,
}

impl Meters {
    pub(super) const fn new() -> Self {
        Self {
            prompt_tokens: 0,
            generation_tokens: 0,
            requests_finished: 0,
            preemptions: 0,
            prefix_queries_tokens: 0,
            prefix_hits_tokens: 0,
            ttft: Tally::new(Buckets::Ttft),
            itl: Tally::new(Buckets::InterToken),
            tpot: Tally::new(Buckets::InterToken),
            queue_time: Tally::new(Buckets::RequestLatency),
            e2e: Tally::new(Buckets::RequestLatency),
            iteration_tokens: Tally::new(Buckets::IterationTokens),
            prompt_lengths: Tally::new(Buckets::Lengths),
            generation_lengths: Tally::new(Buckets::Lengths),
        }
    }

    /// The decode tokens of the first `steps` steps of a leap.
    pub(super) fn decodes(&mut self, leap: &Leap, steps: u32) {
        let decodes = u64::from(leap.decodes);
        self.generation_tokens += decodes * u64::from(steps);
        self.itl.observe_line(leap.first_step, leap.growth, u64::from(steps), decodes);
    }

    /// A finished request; its time per output token is floored to the picosecond, and 0 for one
    /// token, as vLLM records it.
    pub(super) fn finished(&mut self, times: &Times, prompt_tokens: u32, output_tokens: u32) {
        let Times { arrival, first_scheduled, first_token, last_token } = *times;
        let gaps = u64::from(output_tokens) - 1;
        self.requests_finished += 1;
        self.tpot.observe((last_token - first_token).checked_div(gaps).unwrap_or(0), 1);
        self.queue_time.observe(first_scheduled - arrival, 1);
        self.e2e.observe(last_token - arrival, 1);
        self.prompt_lengths.observe(u64::from(prompt_tokens), 1);
        self.generation_lengths.observe(u64::from(output_tokens), 1);
    }

    /// The page that shows these counters and gauges.
    pub(super) fn page(&self, gauges: &Gauges) -> EngineSample {
        let second = PICOS_PER_SECOND as f64;
        EngineSample {
            running: f64::from(gauges.running),
            waiting: f64::from(gauges.waiting),
            waiting_deferred: f64::from(gauges.waiting_deferred),
            kv_usage: gauges.kv_usage,
            kv_capacity_tokens: gauges.kv_capacity_tokens as f64,
            prompt_tokens_total: self.prompt_tokens as f64,
            generation_tokens_total: self.generation_tokens as f64,
            requests_finished_total: self.requests_finished as f64,
            preemptions_total: self.preemptions as f64,
            prefix_queries_tokens_total: self.prefix_queries_tokens as f64,
            prefix_hits_tokens_total: self.prefix_hits_tokens as f64,
            ttft: self.ttft.histogram(second),
            itl: self.itl.histogram(second),
            tpot: self.tpot.histogram(second),
            queue_time: self.queue_time.histogram(second),
            e2e: self.e2e.histogram(second),
            iteration_tokens: self.iteration_tokens.histogram(1.0),
            prompt_lengths: self.prompt_lengths.histogram(1.0),
            generation_lengths: self.generation_lengths.histogram(1.0),
        }
    }
}
