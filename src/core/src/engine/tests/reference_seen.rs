//! What the reference engine has seen: every observation kept as it came, and counted only when
//! a page is asked for.

use crate::observe::{Buckets, EngineSample, Histogram};

/// What happened at least once, for the test that asserts that all of it happens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    pub(super) preemptions: u32,
    pub(super) self_preemptions: u32,
    pub(super) evictions: u32,
    pub(super) merges: u32,
    pub(super) blocked_by_blocks: u32,
    pub(super) blocked_by_seats: u32,
    pub(super) blocked_idle: u32,
    pub(super) hits: u32,
    pub(super) hits_partial_piece: u32,
    pub(super) hits_own: u32,
    pub(super) chunked: u32,
    pub(super) loads: u32,
    pub(super) leases: u32,
    pub(super) aborts_waiting: u32,
    pub(super) aborts_running: u32,
    pub(super) aborts_loading: u32,
    pub(super) finished_in_abort: u32,
}

/// Counters and single observations, in tokens and picoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) prompt_tokens: u64,
    pub(super) generation_tokens: u64,
    pub(super) finished: u64,
    pub(super) preemptions: u64,
    pub(super) queries: u64,
    pub(super) hits: u64,
    pub(super) ttft: Vec<u64>,
    pub(super) itl: Vec<u64>,
    pub(super) tpot: Vec<u64>,
    pub(super) queue_time: Vec<u64>,
    pub(super) e2e: Vec<u64>,
    pub(super) iteration: Vec<u64>,
    pub(super) prompts: Vec<u64>,
    pub(super) outputs: Vec<u64>,
}

impl Seen {
    /// The counters and histograms of the page; its gauges are those of an idle engine.
    pub(super) fn page(&self) -> EngineSample {
        let seconds = |buckets, values: &[u64]| histogram(buckets, values, 1e12);
        let tokens = |buckets, values: &[u64]| histogram(buckets, values, 1.0);
        EngineSample {
            prompt_tokens_total: self.prompt_tokens as f64,
            generation_tokens_total: self.generation_tokens as f64,
            requests_finished_total: self.finished as f64,
            preemptions_total: self.preemptions as f64,
            prefix_queries_tokens_total: self.queries as f64,
            prefix_hits_tokens_total: self.hits as f64,
            ttft: seconds(Buckets::Ttft, &self.ttft),
            itl: seconds(Buckets::InterToken, &self.itl),
            tpot: seconds(Buckets::InterToken, &self.tpot),
            queue_time: seconds(Buckets::RequestLatency, &self.queue_time),
            e2e: seconds(Buckets::RequestLatency, &self.e2e),
            iteration_tokens: tokens(Buckets::IterationTokens, &self.iteration),
            prompt_lengths: tokens(Buckets::Lengths, &self.prompts),
            generation_lengths: tokens(Buckets::Lengths, &self.outputs),
            ..EngineSample::idle(0.0)
        }
    }
}

fn histogram(buckets: Buckets, values: &[u64], unit: f64) -> Histogram {
    let mut histogram = Histogram::new(buckets);
    for &value in values {
        let bounds = buckets.bounds();
        let bucket = bounds.iter().position(|bound| value as f64 <= (bound * unit).round());
        histogram.counts[bucket.unwrap_or(bounds.len())] += 1.0;
    }
    histogram.sum = values.iter().map(|&value| u128::from(value)).sum::<u128>() as f64 / unit;
    histogram
}
