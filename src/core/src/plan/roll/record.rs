//! What arrived lately, as scrapes showed it: the material that futures are resampled from.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::fleet::Role;
use crate::ids::FleetId;
use crate::observe::{Buckets, Histogram, RouterTierSample};
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// Intervals kept: an hour at Prometheus's usual 15 s.
pub const INTERVALS_MAX: usize = 240;
/// Scrapes closer together than this are one interval, so that the record reaches at least 40
/// minutes back at any scrape interval.
const INTERVAL_MIN: Span = Span::from_secs(10);
/// A longer gap between two scrapes is not an interval: what arrived in it came at no known time.
const GAP_MAX: Span = Span::from_secs(120);
/// Requests that a distribution of lengths needs to be told from chance.
const LENGTHS_REQUESTS_MIN: f64 = 100.0;
/// Over how long lengths are collected.
const LENGTHS_WINDOW: Span = Span::from_secs(600);

/// What arrived lately at one fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    intervals: VecDeque<Interval>,
    /// Counters at the end of the last interval.
    last: Option<Counters>,
    /// Shape of prompt lengths over all tiers.
    pub prompt_tokens: Lengths,
    /// Shape of output lengths over all tiers.
    pub output_tokens: Lengths,
    /// Share of prompt tokens found in a prefix cache, 0..1.
    pub cached_share: f64,
    /// Whether the router was ever seen to hold a request back.
    pub router_queues: bool,
}

/// Arrivals between two scrapes of the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Time of the later scrape.
    pub until: Time,
    /// Time between the scrapes.
    pub span: Span,
    /// By [`crate::ids::TierId`].
    pub tiers: Vec<TierCount>,
}

/// Arrivals of one tier in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierCount {
    /// Requests that arrived, admitted or not.
    pub requests: f32,
    /// Their prompt tokens.
    pub prompt_tokens: f32,
    /// Requests that finished with more than one token.
    pub finished: f32,
    /// Output tokens of those that finished.
    pub output_tokens: f32,
}

/// Counters of a router at one scrape, by tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Counters {
    at: Time,
    tiers: Vec<[f64; 4]>,
}

/// A distribution of lengths in the buckets of [`Buckets::Lengths`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lengths {
    /// Requests per bucket, one more than there are bounds; empty = not known.
    pub counts: Vec<f64>,
    /// Mean length, tokens; 0 = not known.
    pub mean: f64,
}

impl Lengths {
    fn of(histogram: &Histogram) -> Option<Self> {
        let requests = histogram.count();
        let mean = histogram.mean()?;
        let known = requests.is_finite() && requests >= LENGTHS_REQUESTS_MIN && mean > 0.0;
        let buckets = histogram.buckets.bounds().len() + 1;
        known.then(|| Self { counts: histogram.counts[..buckets].to_vec(), mean })
    }

    /// Lower and upper bound of a bucket, tokens; the last reaches to twice its lower bound.
    #[must_use]
    pub fn bucket(index: usize) -> (f64, f64) {
        let bounds = Buckets::Lengths.bounds();
        let low = if index == 0 { 0.0 } else { bounds[index.min(bounds.len()) - 1] };
        (low, bounds.get(index).copied().unwrap_or(low * 2.0))
    }
}

impl Record {
    /// Takes in the scrapes that are there now. Call it at each decision; a call between two
    /// scrapes changes nothing. Without a router nothing is recorded: what engines could serve is
    /// not what arrived.
    pub fn observe(&mut self, view: &FleetView<'_>, fleet: FleetId, now: Time) {
        let since = self.last.as_ref().map_or(Time::ZERO, |last| last.at);
        let scrapes: Vec<Counters> = view
            .metrics
            .router_scrapes(fleet, now, Span(u64::MAX))
            .filter(|scrape| scrape.at > since || self.last.is_none())
            .map(|scrape| {
                self.router_queues |= scrape.value.tiers.iter().any(|tier| tier.queued > 0.0)
                    || scrape.value.saturation.is_finite();
                Counters { at: scrape.at, tiers: scrape.value.tiers.iter().map(counters).collect() }
            })
            .collect();
        let news = !scrapes.is_empty();
        for counters in scrapes {
            self.take_in(counters);
        }
        if news {
            self.observe_lengths(view, fleet, now);
        }
    }

    /// Intervals, oldest first.
    pub fn intervals(&self) -> impl DoubleEndedIterator<Item = &Interval> + ExactSizeIterator {
        self.intervals.iter()
    }

    /// Adds an interval, for instance from another record of arrivals than scrapes. Intervals
    /// come in order of time.
    pub fn push(&mut self, interval: Interval) {
        if self.intervals.len() == INTERVALS_MAX {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval);
    }

    /// Mean rate of arrivals of a tier over the record, requests per second; `None` without one.
    #[must_use]
    pub fn requests_per_s(&self, tier: usize) -> Option<f64> {
        let seconds: f64 = self.intervals.iter().map(|interval| interval.span.as_seconds()).sum();
        let requests = self.sum(tier, |count| count.requests);
        (seconds > 0.0).then(|| requests / seconds)
    }

    /// Mean prompt length of a tier, tokens; that of all tiers where it had no requests.
    #[must_use]
    pub fn prompt_tokens_mean(&self, tier: usize) -> f64 {
        let requests = self.sum(tier, |count| count.requests);
        if requests > 0.0 {
            self.sum(tier, |count| count.prompt_tokens) / requests
        } else {
            self.prompt_tokens.mean
        }
    }

    /// Mean output length of a tier, tokens; that of all tiers where too few have finished.
    #[must_use]
    pub fn output_tokens_mean(&self, tier: usize) -> f64 {
        let finished = self.sum(tier, |count| count.finished);
        if finished >= LENGTHS_REQUESTS_MIN || (finished > 0.0 && self.output_tokens.mean <= 0.0) {
            self.sum(tier, |count| count.output_tokens) / finished
        } else {
            self.output_tokens.mean
        }
    }

    fn sum(&self, tier: usize, read: fn(&TierCount) -> f32) -> f64 {
        let counts = self.intervals.iter().filter_map(|interval| interval.tiers.get(tier));
        counts.map(|count| f64::from(read(count))).sum()
    }

    fn take_in(&mut self, now: Counters) {
        let Some(last) = &self.last else {
            self.last = Some(now);
            return;
        };
        let span = now.at.since(last.at);
        if span < INTERVAL_MIN {
            return;
        }
        // A counter that fell was reset: what it counted since is all that is known.
        let fell = |then: &[f64; 4], now: &[f64; 4]| now.iter().zip(then).any(|(n, t)| n < t);
        let same_tiers = last.tiers.len() == now.tiers.len();
        let reset = last.tiers.iter().zip(&now.tiers).any(|(then, now)| fell(then, now));
        if span <= GAP_MAX && same_tiers && !reset {
            let tiers = last.tiers.iter().zip(&now.tiers).map(|(then, now)| {
                let added = |index: usize| (now[index] - then[index]) as f32;
                TierCount {
                    requests: added(0),
                    prompt_tokens: added(1),
                    finished: added(2),
                    output_tokens: added(3),
                }
            });
            let interval = Interval { until: now.at, span, tiers: tiers.collect() };
            let known = |count: &TierCount| {
                [count.requests, count.prompt_tokens, count.finished, count.output_tokens]
                    .iter()
                    .all(|value| value.is_finite())
            };
            if interval.tiers.iter().all(known) {
                self.push(interval);
            }
        }
        self.last = Some(now);
    }

    fn observe_lengths(&mut self, view: &FleetView<'_>, fleet: FleetId, now: Time) {
        let mut prompts = Histogram::new(Buckets::Lengths);
        let mut outputs = Histogram::new(Buckets::Lengths);
        let (mut queries, mut hits) = (0.0, 0.0);
        for (id, variant) in view.world.variants_of(fleet) {
            for (endpoint, _) in view.metrics.engines(id, now) {
                let window = view.metrics.engine_window(endpoint, now, LENGTHS_WINDOW);
                let Some((first, last)) = window.map(|(first, last)| (first.value, last.value))
                else {
                    continue;
                };
                // A decode engine sees the prompts that a prefill engine has seen already, and a
                // prefill engine generates one token of each request.
                if variant.role != Role::Decode {
                    prompts.merge(&last.prompt_lengths.since(&first.prompt_lengths));
                    let asked =
                        last.prefix_queries_tokens_total - first.prefix_queries_tokens_total;
                    let found = last.prefix_hits_tokens_total - first.prefix_hits_tokens_total;
                    if asked > 0.0 && (0.0..=asked).contains(&found) {
                        queries += asked;
                        hits += found;
                    }
                }
                if variant.role != Role::Prefill {
                    outputs.merge(&last.generation_lengths.since(&first.generation_lengths));
                }
            }
        }
        // Too few to tell leaves what was known.
        if let Some(lengths) = Lengths::of(&prompts) {
            self.prompt_tokens = lengths;
        }
        if let Some(lengths) = Lengths::of(&outputs) {
            self.output_tokens = lengths;
        }
        if queries > 0.0 {
            self.cached_share = hits / queries;
        }
    }
}

fn counters(tier: &RouterTierSample) -> [f64; 4] {
    [tier.requests_total, tier.prompt_tokens_total, tier.tpot.count(), tier.output_tokens_total]
}
