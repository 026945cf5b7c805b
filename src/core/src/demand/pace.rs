//! Who was slow, the long answers or the short ones.
//!
//! A router's histogram of time per token counts every answer of two tokens and more alike. A
//! short one (fewer than [`TPOT_OUTPUT_TOKENS_MIN`] tokens) has a few gaps only: one prompt computed
//! beside it makes it slow, and no objective speaks of that; it is judged by its whole time. On
//! chat traffic a quarter of all answers are that short, and nearly all that look slow are among
//! them. How often the mean of few gaps and that of many exceed the objective follows from the
//! engines' gaps between tokens and lengths of answers; that splits what the router counted.

use super::budget::normal_cdf;
use super::lengths::buckets;
use crate::fleet::{Role, TPOT_OUTPUT_TOKENS_MIN};
use crate::ids::FleetId;
use crate::observe::{EngineSample, Histogram};
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// How far back engines are read: the answers that end now were written in this time.
const WINDOW: Span = Span::from_secs(60);
/// Fewer answers than this say nothing about their lengths.
const ANSWERS_MIN: f64 = 20.0;
/// Gaps in a row that are long together: a burst of prompts takes several steps.
const RUN_GAPS: f64 = 3.0;

/// What engines tell about the answers that end now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Answers by gaps (one less than tokens): gaps of a typical one, and how many.
    answers: Vec<(f64, f64)>,
    /// One entry for each engine and pause between two scrapes.
    gaps: Vec<Gaps>,
}

/// Gaps between tokens of one engine within a few seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gaps {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Pace {
    /// Reads the engines of a fleet; `None` where too few answers ended to tell.
    pub(crate) fn read(view: &FleetView<'_>, fleet: FleetId, now: Time) -> Option<Self> {
        let mut lengths: Option<Histogram> = None;
        let mut gaps = Vec::new();
        for (id, _) in view.world.variants_of(fleet).filter(|(_, v)| v.role != Role::Prefill) {
            for (endpoint, _) in view.metrics.engines(id, now) {
                let mut before: Option<&EngineSample> = None;
                for page in view.metrics.engine_scrapes(endpoint, now, WINDOW) {
                    if let Some(then) = before {
                        gaps.extend(Gaps::of(&page.value.itl.since(&then.itl)));
                        let gained = page.value.generation_lengths.since(&then.generation_lengths);
                        match &mut lengths {
                            Some(all) => all.merge(&gained),
                            None => lengths = Some(gained),
                        }
                    }
                    before = Some(page.value);
                }
            }
        }
        let answers = by_gaps(&lengths?);
        let known = answers.iter().map(|(_, count)| count).sum::<f64>() >= ANSWERS_MIN;
        (known && !gaps.is_empty()).then_some(Self { answers, gaps })
    }

    /// Of the answers that took longer than `objective` (s per token), the share that were long
    /// enough for it to count, 0..1; and the share of all answers that are too short.
    #[must_use]
    pub fn long_among_slow(&self, objective: f64) -> (f64, f64) {
        let long_enough = f64::from(TPOT_OUTPUT_TOKENS_MIN) - 1.0;
        let (mut long, mut slow, mut short, mut all) = (0.0, 0.0, 0.0, 0.0);
        for &(gaps, count) in &self.answers {
            let is_long = gaps >= long_enough;
            all += count;
            short += if is_long { 0.0 } else { count };
            let over = count * self.over(gaps, objective);
            slow += over;
            long += if is_long { over } else { 0.0 };
        }
        let long = if slow > f64::MIN_POSITIVE { long / slow } else { 0.0 };
        (long, if all > 0.0 { short / all } else { 0.0 })
    }

    /// Share of answers of so many gaps whose mean gap is longer than `objective`.
    fn over(&self, gaps: f64, objective: f64) -> f64 {
        let all: f64 = self.gaps.iter().map(|engine| engine.count).sum();
        let over = self.gaps.iter().map(|engine| engine.count * engine.over(gaps, objective));
        over.sum::<f64>() / all
    }
}

impl Gaps {
    /// Mean and variance of what a histogram gained; the sum is known, squares are those of even
    /// buckets.
    fn of(gained: &Histogram) -> Option<Self> {
        let count = gained.count();
        let mean = gained.mean().filter(|mean| mean.is_finite() && *mean > 0.0)?;
        if !count.is_finite() {
            return None;
        }
        let (mut sum, mut squares) = (0.0, 0.0);
        for (inside, low, width) in buckets(gained) {
            let high = low + width;
            sum += inside * f64::midpoint(low, high);
            squares += inside * (low * low + low * high + high * high) / 3.0;
        }
        let scale = mean * count / sum;
        let variance = (squares / count * scale * scale - mean * mean).max(1e-4 * mean * mean);
        Some(Self { count, mean, variance })
    }

    /// Chance that the mean of so many gaps is longer than `objective`: a gamma distribution by
    /// its mean and variance, its tail by Wilson and Hilferty's cube root (1931).
    fn over(&self, gaps: f64, objective: f64) -> f64 {
        let independent = (gaps / RUN_GAPS).max(1.0);
        let shape = self.mean * self.mean * independent / self.variance;
        let ninth = 1.0 / (9.0 * shape);
        let z = ((objective / self.mean).cbrt() - (1.0 - ninth)) / ninth.sqrt();
        1.0 - normal_cdf(z)
    }
}

/// Answers of two tokens and more, by gaps; a bucket is cut where answers become long enough.
fn by_gaps(lengths: &Histogram) -> Vec<(f64, f64)> {
    let cut = f64::from(TPOT_OUTPUT_TOKENS_MIN) - 1.0;
    let mut answers = Vec::new();
    let mut add = |low: f64, high: f64, count: f64| {
        // Tokens low+1 to high: half of them is that many, less one for the first.
        let gaps = (f64::midpoint(low + 1.0, high) - 1.0).max(0.0);
        if gaps >= 1.0 {
            answers.push((gaps, count));
        }
    };
    for (count, low, width) in buckets(lengths) {
        let high = low + width;
        if low < cut && cut < high {
            let part = (cut - low) / width;
            add(low, cut, count * part);
            add(cut, high, count * (1.0 - part));
        } else {
            add(low, high, count);
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Buckets;

    /// Answers of these lengths, and gaps of which one in so many is a prompt's.
    fn pace(lengths: &[(f64, f64)], prompt_every: f64) -> Pace {
        let mut counted = Histogram::new(Buckets::Lengths);
        for &(tokens, times) in lengths {
            counted.observe(tokens, times);
        }
        let mut gaps = Histogram::new(Buckets::InterToken);
        gaps.observe(0.03, 1_000.0 * (1.0 - 1.0 / prompt_every));
        gaps.observe(0.4, 1_000.0 / prompt_every);
        Pace { answers: by_gaps(&counted), gaps: Gaps::of(&gaps).into_iter().collect() }
    }

    #[test]
    fn what_is_slow_on_a_calm_engine_is_short() {
        let mixed = pace(&[(8.0, 25.0), (200.0, 75.0)], 12.0);
        let (long, short) = mixed.long_among_slow(0.1);
        assert!(long < 0.04, "{long}");
        assert!((short - 0.25).abs() < 1e-9, "{short}");
        // An engine that does little but prompts is slow to everybody.
        let busy = pace(&[(8.0, 25.0), (200.0, 75.0)], 2.0);
        let (long, _) = busy.long_among_slow(0.1);
        assert!((0.74..0.85).contains(&long), "{long}");
    }

    #[test]
    fn a_bucket_is_cut_where_answers_become_long_enough() {
        let mut counted = Histogram::new(Buckets::Lengths);
        counted.observe(1.0, 7.0);
        counted.observe(15.0, 10.0);
        // 11 to 15 tokens are short, 16 to 20 are not; one token has no gap.
        assert_eq!(by_gaps(&counted), [(12.0, 5.0), (17.0, 5.0)]);
    }

    #[test]
    fn the_tail_of_few_gaps_is_that_of_a_skewed_sum() {
        // Exponential gaps of mean 1: the mean of k of them is Erlang, k = 4, above 2: 4.2 %.
        let gaps = Gaps { count: 1.0, mean: 1.0, variance: 1.0 };
        let four = gaps.over(4.0 * RUN_GAPS, 2.0);
        assert!((four - 0.0424).abs() < 0.003, "{four}");
        assert!(gaps.over(1e6, 1.01) < 1e-6 && gaps.over(1e6, 0.99) > 1.0 - 1e-6);
    }
}
