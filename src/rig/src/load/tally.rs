//! What became of the requests of one stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Options;

/// What became of one request.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Answered whole.
    Answered {
        /// From due to first byte; streamed answers only.
        first: Option<Duration>,
        /// Mean time of a token after the first; streamed answers only.
        per_token: Option<Duration>,
    },
    /// Answered with an error status, and its reason.
    Refused(String),
    /// No answer, or half of one.
    Failed(String),
}

/// Counts and latencies of one stream.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) offered: u64,
    pub(super) answered: u64,
    /// Refusals and failures by what they were.
    pub(super) others: BTreeMap<String, u64>,
    pub(super) latency: Samples,
    pub(super) first: Samples,
    pub(super) per_token: Samples,
    pub(super) refusal: Samples,
    /// How late requests left.
    pub(super) lateness: Samples,
    /// Answers by the second in which they ended.
    pub(super) by_second: Vec<u64>,
    /// Answers between the warm-up and the end of the load.
    pub(super) in_window: u64,
    pub(super) longest_gap: Duration,
    last_answer: Option<Instant>,
    pub(super) told: Samples,
    pub(super) back_answered: u64,
    pub(super) back_others: BTreeMap<String, u64>,
    warm_up: Duration,
    span: Duration,
}

impl Tally {
    pub(super) fn new(options: &Options) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            offered: 0,
            answered: 0,
            others: BTreeMap::new(),
            latency: Samples::default(),
            first: Samples::default(),
            per_token: Samples::default(),
            refusal: Samples::default(),
            lateness: Samples::default(),
            by_second: Vec::new(),
            in_window: 0,
            longest_gap: Duration::ZERO,
            last_answer: None,
            told: Samples::default(),
            back_answered: 0,
            back_others: BTreeMap::new(),
            warm_up: options.warm_up,
            span: options.span,
        }))
    }

    pub(super) fn offered(&mut self, due: Instant, now: Instant) {
        self.offered += 1;
        self.lateness.record(now.saturating_duration_since(due));
    }

    pub(super) fn ended(&mut self, start: Instant, due: Instant, at: Instant, outcome: &Outcome) {
        match outcome {
            Outcome::Answered { first, per_token } => {
                self.answered += 1;
                self.latency.record(at.saturating_duration_since(due));
                first.iter().for_each(|first| self.first.record(*first));
                per_token.iter().for_each(|span| self.per_token.record(*span));
                self.count_answer(start, at);
            }
            Outcome::Refused(what) => {
                self.refusal.record(at.saturating_duration_since(due));
                *self.others.entry(what.clone()).or_default() += 1;
            }
            Outcome::Failed(what) => *self.others.entry(what.clone()).or_default() += 1,
        }
    }

    fn count_answer(&mut self, start: Instant, at: Instant) {
        let after = at.saturating_duration_since(start);
        let second = after.as_secs() as usize;
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0);
        }
        self.by_second[second] += 1;
        if after >= self.warm_up && after < self.span {
            self.in_window += 1;
            let since = self.last_answer.unwrap_or(start + self.warm_up);
            self.longest_gap = self.longest_gap.max(at.saturating_duration_since(since));
            self.last_answer = Some(at);
        }
    }

    pub(super) fn told(&mut self, span: Duration) {
        self.told.record(span);
    }

    pub(super) fn came_back(
        &mut self,
        start: Instant,
        due: Instant,
        at: Instant,
        outcome: &Outcome,
    ) {
        match outcome {
            Outcome::Answered { .. } => {
                self.back_answered += 1;
                self.latency.record(at.saturating_duration_since(due));
                self.count_answer(start, at);
            }
            Outcome::Refused(what) | Outcome::Failed(what) => {
                *self.back_others.entry(what.clone()).or_default() += 1;
            }
        }
    }
}

/// Spans of time, all of them, so that percentiles are exact: 4 bytes each.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<u32>);

impl Samples {
    fn record(&mut self, span: Duration) {
        self.0.push(u32::try_from(span.as_micros()).unwrap_or(u32::MAX));
    }

    /// In rising order, microseconds.
    pub(super) fn sorted(&self) -> Vec<u32> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
    }
}
