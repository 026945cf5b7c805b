//! Lengths of requests, remembered over some minutes: means by tier, spread over the fleet.

use serde::{Deserialize, Serialize};

use super::Moments;
use crate::observe::Histogram;

/// How long a length keeps half of its weight, s: long enough for a few hundred requests on a
/// small fleet, short enough to follow a drift within the hour.
const HALF_LIFE_SECONDS: f64 = 600.0;

/// Weight that is left after some time.
pub(super) fn fade(seconds: f64) -> f64 {
    (-std::f64::consts::LN_2 * seconds.max(0.0) / HALF_LIFE_SECONDS).exp()
}

/// A ratio of two counters, older increments counting less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ratio {
    above: f64,
    below: f64,
}

impl Ratio {
    /// What is left of it after some time.
    pub(super) fn fade(&mut self, seconds: f64) {
        self.above *= fade(seconds);
        self.below *= fade(seconds);
    }

    /// Adds increments of both counters.
    pub(super) fn add(&mut self, above: f64, below: f64) {
        if above.is_finite() && below.is_finite() && below > 0.0 {
            self.above += above;
            self.below += below;
        }
    }

    /// The ratio; `None` before anything was counted.
    pub(super) fn value(&self) -> Option<f64> {
        (self.below > f64::MIN_POSITIVE).then(|| self.above / self.below)
    }

    /// The ratio of fresh increments, leaning on what was before as if `weight` more had been
    /// counted: few new observations move it little.
    pub(super) fn leaning(&self, above: f64, below: f64, weight: f64) -> Option<f64> {
        let Some(before) = self.value() else {
            return (below > 0.0).then(|| above / below);
        };
        Some((above + before * weight) / (below + weight))
    }
}

/// Steepest fall of the density inside a bucket that is looked for, per token.
const FALL_MAX: f64 = 0.1;
/// Halvings of the search for it.
const HALVINGS: u32 = 30;

/// Spread of a length over the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Spread {
    /// What is left of it after some time.
    pub(super) fn fade(&mut self, seconds: f64) {
        let left = fade(seconds);
        self.count *= left;
        self.sum *= left;
        self.squares *= left;
    }

    /// Adds what a histogram of lengths gained. Inside buckets the density falls exponentially,
    /// at the one rate that gives the sum which is known: tails of wide buckets count right.
    /// What lies beyond the last bound is at most twice as long.
    pub(super) fn add(&mut self, gained: &Histogram) {
        if !gained.sum.is_finite() {
            return;
        }
        let sum = |fall: f64| {
            let part = |(count, low, width): (f64, f64, f64)| count * inside(fall, low, width).0;
            buckets(gained).map(part).sum::<f64>()
        };
        let (mut low, mut high) = (0.0, FALL_MAX);
        if sum(low) > gained.sum {
            for _ in 0..HALVINGS {
                let middle = f64::midpoint(low, high);
                if sum(middle) > gained.sum {
                    low = middle;
                } else {
                    high = middle;
                }
            }
        }
        for (count, start, width) in buckets(gained) {
            let (mean, square) = inside(low, start, width);
            self.count += count;
            self.sum += count * mean;
            self.squares += count * square;
        }
    }

    /// Mean of what was added.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.count > f64::MIN_POSITIVE).then(|| self.sum / self.count)
    }

    /// A length of that mean with this spread; constant before anything was counted.
    pub(super) fn around(&self, mean: f64) -> Moments {
        let variation = self
            .mean()
            .filter(|mean| *mean > 0.0)
            .map_or(0.0, |mean| (self.squares / self.count / (mean * mean) - 1.0).max(0.0));
        Moments::with_variation(mean, variation.sqrt())
    }
}

/// Mean and mean square of a length in a bucket whose density falls at a rate per token.
fn inside(fall: f64, low: f64, width: f64) -> (f64, f64) {
    let k = fall * width;
    let (first, second) = if k < 1e-3 {
        (0.5 - k / 12.0, 1.0 / 3.0 - k / 12.0)
    } else {
        let rest = 1.0 / k.exp_m1();
        (1.0 / k - rest, 2.0 / (k * k) - (1.0 + 2.0 / k) * rest)
    };
    let (first, second) = (first * width, second * width * width);
    (low + first, low * low + 2.0 * low * first + second)
}

/// Count, lower bound and width of each bucket that counted something; what lies beyond the last
/// bound is taken to be at most twice as much.
pub(super) fn buckets(histogram: &Histogram) -> impl Iterator<Item = (f64, f64, f64)> {
    let bounds = histogram.buckets.bounds();
    let low = move |index: usize| if index == 0 { 0.0 } else { bounds[index - 1] };
    histogram.counts.iter().enumerate().take(bounds.len() + 1).filter_map(move |(index, &count)| {
        let high = bounds.get(index).copied().unwrap_or(2.0 * low(index));
        (count.is_finite() && count > 0.0).then(|| (count, low(index), high - low(index)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Buckets;

    #[test]
    fn a_ratio_forgets_at_its_half_life_and_leans_on_what_it_knew() {
        let mut ratio = Ratio::default();
        assert_eq!((ratio.value(), ratio.leaning(30.0, 3.0, 10.0)), (None, Some(10.0)));
        ratio.add(100.0, 1.0);
        ratio.fade(HALF_LIFE_SECONDS);
        ratio.add(50.0, 0.5);
        assert_eq!(ratio.value(), Some(100.0));
        // Ten more at 100 beside ten at 0.
        assert_eq!(ratio.leaning(0.0, 10.0, 10.0), Some(50.0));
        ratio.add(f64::NAN, 1.0);
        assert_eq!(ratio.value(), Some(100.0));
    }

    #[test]
    fn spread_of_an_exponential_length_is_about_one() {
        let mut histogram = Histogram::new(Buckets::Lengths);
        for part in 0..10_000 {
            let length = -400.0 * (1.0 - (f64::from(part) + 0.5) / 10_000.0).ln();
            histogram.observe(length, 1.0);
        }
        let mut spread = Spread::default();
        assert_eq!(spread.around(7.0), Moments::constant(7.0));
        spread.add(&histogram);
        let variation = spread.around(400.0).variation_squared();
        assert!((variation - 1.0).abs() < 0.02, "{variation}");
        // NaN counts are no counts.
        histogram.counts[3] = f64::NAN;
        let before = spread;
        let mut poisoned = Spread::default();
        poisoned.add(&histogram);
        assert!(poisoned.around(400.0).squared.is_finite());
        assert_eq!(spread, before);
    }
}
