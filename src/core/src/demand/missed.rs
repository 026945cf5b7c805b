//! How many requests of a tier missed its SLO, as far as a router's histograms tell.

use serde::{Deserialize, Serialize};

use super::Pace;
use crate::fleet::Slo;
use crate::observe::{Histogram, RouterTierSample};

/// Requests that were judged and those that missed, over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Requests that ended: first tokens and errors.
    pub requests: f64,
    /// Missed, the best estimate: TTFT and TPOT missed independently of each other.
    pub missed: f64,
    /// Missed at least.
    pub missed_low: f64,
    /// Missed at most.
    pub missed_high: f64,
}

/// What a tier's requests attained between two scrapes of its router; `None` when a counter is no
/// number. Refused, timed-out and failed requests missed.
///
/// An objective inside a bucket leaves open which of that bucket's requests met it: the interval
/// spans all and none of them, the estimate spreads them evenly. A request may miss both TTFT and
/// TPOT; only the two counts apart show. The end of a request does not show at all: of a tier with
/// a deadline, errors and first tokens after the deadline count, which is a lower bound. Answers
/// too short for a time per token are told from the long ones by `pace`; without it all count.
#[must_use]
pub fn judge(
    then: &RouterTierSample,
    now: &RouterTierSample,
    slo: &Slo,
    pace: Option<&Pace>,
) -> Option<Judged> {
    let counts = [then.errors_total, now.errors_total];
    if counts.iter().any(|count| !count.is_finite() || *count < 0.0) {
        return None;
    }
    let errors = if now.errors_total < then.errors_total {
        now.errors_total
    } else {
        now.errors_total - then.errors_total
    };
    let ttft = now.ttft.since(&then.ttft);
    let tpot = now.tpot.since(&then.tpot);
    let begun = ttft.count();
    if !(begun.is_finite() && tpot.count().is_finite()) {
        return None;
    }
    let (late, slow) = match slo {
        Slo::Latency { ttft: first, tpot: each, .. } => {
            let (first, each) = (first.as_seconds(), each.as_seconds());
            let slow = Over::of(&tpot, each);
            let long = pace.map_or(slow, |pace| slow.of_long(pace.long_among_slow(each)));
            (Over::of(&ttft, first), long)
        }
        Slo::Completion { within, .. } => (Over::of(&ttft, within.as_seconds()), Over::default()),
    };
    // Errors after the first token are in both; they are few, and counted twice they are safe.
    let either = |late: f64, slow: f64| begun * (late + slow - late * slow);
    Some(Judged {
        requests: begun + errors,
        missed: errors + either(late.likely, slow.likely),
        missed_low: errors + begun * late.low.max(slow.low),
        missed_high: errors + begun * (late.high + slow.high).min(1.0),
    })
}

impl Judged {
    /// Adds another span of time or tier.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.missed += other.missed;
        self.missed_low += other.missed_low;
        self.missed_high += other.missed_high;
    }
}

/// Share of observations above a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Over {
    low: f64,
    likely: f64,
    high: f64,
}

impl Over {
    /// Those among them that were long enough to be judged by their time per token.
    fn of_long(self, (long_among_slow, short_share): (f64, f64)) -> Self {
        let long = 1.0 - short_share;
        let likely = (self.likely * long_among_slow).min(long);
        let low = (self.low - short_share).max(0.0).min(likely);
        Self { low, likely, high: self.high.min(long) }
    }

    fn of(histogram: &Histogram, threshold: f64) -> Self {
        let count = histogram.count();
        if count <= 0.0 {
            return Self::default();
        }
        let bounds = histogram.buckets.bounds();
        let mut over = Self::default();
        let mut start = 0.0;
        for (index, &inside) in histogram.counts.iter().enumerate().take(bounds.len() + 1) {
            let share = inside / count;
            let end = bounds.get(index).copied().unwrap_or(f64::INFINITY);
            if threshold <= start {
                over.low += share;
                over.likely += share;
                over.high += share;
            } else if threshold < end {
                over.high += share;
                // Beyond the last bound nothing tells: all of it may be over.
                let part = if end.is_finite() { (end - threshold) / (end - start) } else { 1.0 };
                over.likely += share * part;
            }
            start = end;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn latency(ttft: f64, tpot: f64) -> Slo {
        let (ttft, tpot) = (Span::from_seconds(ttft), Span::from_seconds(tpot));
        Slo::Latency { ttft, tpot, percentile: 0.99 }
    }

    fn served(ttft: f64, tpot: f64, times: f64) -> RouterTierSample {
        let mut page = RouterTierSample { requests_total: times, ..RouterTierSample::default() };
        page.ttft.observe(ttft, times);
        page.tpot.observe(tpot, times);
        page
    }

    #[test]
    fn an_objective_inside_a_bucket_gives_an_interval() {
        let mut page = served(0.3, 0.03, 80.0);
        page.ttft.observe(2.2, 20.0);
        page.tpot.observe(0.03, 20.0);
        // 2 s lies in (1, 2.5]: a third of its 20 requests is over.
        let judged = judge(&RouterTierSample::default(), &page, &latency(2.0, 0.1), None).unwrap();
        assert_eq!((judged.requests, judged.missed_low, judged.missed_high), (100.0, 0.0, 20.0));
        assert!((judged.missed - 20.0 / 3.0).abs() < 1e-9, "{}", judged.missed);
        // 2.5 s is a bound: nothing is over. 1 s is one: all 20 are.
        let judged = judge(&RouterTierSample::default(), &page, &latency(2.5, 0.1), None).unwrap();
        assert_eq!((judged.missed, judged.missed_high), (0.0, 0.0));
        let judged = judge(&RouterTierSample::default(), &page, &latency(1.0, 0.1), None).unwrap();
        assert_eq!((judged.missed_low, judged.missed, judged.missed_high), (20.0, 20.0, 20.0));
    }

    #[test]
    fn who_was_refused_missed_and_a_restart_counts_from_zero() {
        let then = RouterTierSample { errors_total: 50.0, ..served(0.3, 0.03, 1_000.0) };
        let now = RouterTierSample { errors_total: 5.0, ..served(0.3, 0.03, 95.0) };
        let judged = judge(&then, &now, &latency(2.0, 0.1), None).unwrap();
        assert_eq!((judged.requests, judged.missed, judged.missed_low), (100.0, 5.0, 5.0));
        let broken = RouterTierSample { errors_total: f64::NAN, ..now };
        assert_eq!(judge(&then, &broken, &latency(2.0, 0.1), None), None);
    }

    #[test]
    fn both_objectives_count_between_overlap_and_sum() {
        let mut page = served(0.3, 0.03, 90.0);
        page.ttft.observe(5.0, 10.0);
        page.tpot.observe(0.5, 10.0);
        let judged = judge(&RouterTierSample::default(), &page, &latency(2.5, 0.1), None).unwrap();
        assert_eq!((judged.missed_low, judged.missed_high), (10.0, 20.0));
        assert!((judged.missed - 19.0).abs() < 1e-9, "{}", judged.missed);
        // A deadline sees first tokens only.
        let slo = Slo::Completion { within: Span::from_secs(2), percentile: 0.9 };
        let judged = judge(&RouterTierSample::default(), &page, &slo, None).unwrap();
        assert_eq!((judged.missed_low, judged.missed_high), (10.0, 10.0));
    }

    #[test]
    fn short_answers_are_told_from_slow_ones() {
        // A quarter of the answers is short, and as many are slow: a tenth of those at most.
        let slow = Over { low: 0.24, likely: 0.25, high: 0.26 };
        let long = slow.of_long((0.1, 0.25));
        assert!((long.likely - 0.025).abs() < 1e-9, "{long:?}");
        assert_eq!((long.low, long.high), (0.0, 0.26));
        // More than there are short ones must be long.
        let all = Over { low: 1.0, likely: 1.0, high: 1.0 }.of_long((0.75, 0.25));
        assert_eq!((all.low, all.likely, all.high), (0.75, 0.75, 0.75));
    }
}
