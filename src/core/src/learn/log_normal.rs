//! A log-normal duration with a prior: normal-inverse-gamma on its logarithm, learned also from
//! durations that are only known to lie within bounds.

use serde::{Deserialize, Serialize};

/// Observations that the prior counts as.
const PRIOR_WEIGHT: f64 = 4.0;
/// Observations that count at most: older ones fade, as images and registries change.
const WEIGHT_MAX: f64 = 40.0;
/// Least spread believed in: no start takes the same time twice.
const SIGMA_MIN: f64 = 0.15;
/// Normal quantile of 90 %.
const Z_90: f64 = 1.281_551_565_545;
/// Shortest duration told apart, s.
const SECONDS_MIN: f64 = 0.5;
/// Points at which the density within bounds is summed.
const POINTS: usize = 32;
/// Logarithms further than this many deviations from the mean count for nothing.
const DEVIATIONS_MAX: f64 = 6.0;

/// What is believed of a log-normal duration in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LogNormal {
    mean: f64,
    weight: f64,
    shape: f64,
    rate: f64,
    samples: f64,
}

impl LogNormal {
    pub(super) fn new(median_s: f64, sigma: f64) -> Self {
        let sigma = sigma.max(SIGMA_MIN);
        let mean = median_s.max(SECONDS_MIN).ln();
        let shape = PRIOR_WEIGHT;
        Self { mean, weight: PRIOR_WEIGHT, shape, rate: shape * sigma * sigma, samples: 0.0 }
    }

    /// Whether every figure is one that learning could have produced.
    pub(super) fn is_sound(&self) -> bool {
        let all = [self.mean, self.weight, self.shape, self.rate, self.samples];
        all.iter().all(|figure| figure.is_finite())
            && self.weight > 0.0
            && self.shape > 0.0
            && self.rate > 0.0
    }

    /// Learns from a duration between two bounds, s; an infinite upper bound says that it was cut
    /// off. Bounds that leave it as open as before teach (almost) nothing.
    pub(super) fn observe(&mut self, low_s: f64, high_s: f64) {
        if low_s.is_nan() || high_s.is_nan() || high_s < low_s {
            return;
        }
        let sigma = self.sigma();
        let reach = DEVIATIONS_MAX * sigma;
        let low = low_s.max(SECONDS_MIN).ln();
        // Beyond all belief on one side the nearer bound is what was seen.
        let high = high_s.max(SECONDS_MIN).ln();
        let (from, to) = (low.max(self.mean - reach), high.min(self.mean + reach));
        let (value, variance) = if to > from {
            self.moments_between(from, to, sigma)
        } else {
            (if high < self.mean { high } else { low }, 0.0)
        };
        let narrowed = (1.0 - variance / (sigma * sigma)).clamp(0.0, 1.0);
        let total = self.weight + narrowed;
        let distance = value - self.mean;
        self.rate +=
            0.5 * (narrowed * distance * distance * self.weight / total + narrowed * variance);
        self.shape += narrowed / 2.0;
        self.mean += narrowed * distance / total;
        self.weight = total;
        self.samples += narrowed;
        if self.weight > WEIGHT_MAX {
            let keep = WEIGHT_MAX / self.weight;
            self.weight = WEIGHT_MAX;
            self.shape *= keep;
            self.rate *= keep;
        }
    }

    /// Mean and variance of the logarithm where it is known to lie between two bounds.
    fn moments_between(&self, from: f64, to: f64, sigma: f64) -> (f64, f64) {
        let (mut mass, mut first, mut second) = (0.0, 0.0, 0.0);
        for point in 0..POINTS {
            let value = from + (to - from) * (point as f64 + 0.5) / POINTS as f64;
            let deviations = (value - self.mean) / sigma;
            let density = (-0.5 * deviations * deviations).exp();
            mass += density;
            first += density * value;
            second += density * value * value;
        }
        if mass <= 0.0 {
            return (f64::midpoint(from, to), 0.0);
        }
        let mean = first / mass;
        (mean, (second / mass - mean * mean).max(0.0))
    }

    fn sigma(&self) -> f64 {
        (self.rate / self.shape).sqrt().max(SIGMA_MIN)
    }

    /// Observations learned from; one within bounds counts for as much as it told.
    pub(super) const fn samples(&self) -> f64 {
        self.samples
    }

    pub(super) fn median_s(&self) -> f64 {
        self.mean.exp()
    }

    /// Standard deviation of the median itself, s.
    pub(super) fn median_deviation_s(&self) -> f64 {
        self.median_s() * self.sigma() / self.weight.sqrt()
    }

    /// The duration that the next one stays within nine times in ten, s, the uncertainty of median
    /// and spread included.
    pub(super) fn p90_s(&self) -> f64 {
        let freedom = 2.0 * self.shape;
        let student = Z_90 * (1.0 + (Z_90 * Z_90 + 1.0) / (4.0 * freedom));
        (self.mean + student * self.sigma() * (1.0 + 1.0 / self.weight).sqrt()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal quantiles of equal steps: a sample without luck.
    const SAMPLE: [f64; 10] = [-1.64, -1.04, -0.67, -0.39, -0.13, 0.13, 0.39, 0.67, 1.04, 1.64];

    #[test]
    fn it_finds_median_and_spread_from_a_wrong_prior() {
        let mut learned = LogNormal::new(60.0, 0.1);
        for round in 0..5 {
            for z in SAMPLE {
                let seconds = 180.0 * (0.3 * z + 0.01 * f64::from(round)).exp();
                learned.observe(seconds, seconds);
            }
        }
        assert!((learned.median_s() / 180.0 - 1.0).abs() < 0.15, "{}", learned.median_s());
        assert!((220.0..420.0).contains(&learned.p90_s()), "{}", learned.p90_s());
    }

    #[test]
    fn bounds_tell_as_much_as_they_are_narrow() {
        let mut open = LogNormal::new(60.0, 0.3);
        open.observe(0.0, f64::INFINITY);
        assert!(open.samples() < 0.02 && (open.median_s() - 60.0).abs() < 0.1);
        let mut narrow = LogNormal::new(60.0, 0.3);
        narrow.observe(95.0, 105.0);
        assert!(narrow.samples() > 0.9 && narrow.median_s() > 63.0);
        let mut cut_off = LogNormal::new(60.0, 0.3);
        cut_off.observe(100.0, f64::INFINITY);
        assert!(cut_off.median_s() > 63.0 && cut_off.median_s() < 90.0);
        let mut nonsense = open;
        nonsense.observe(f64::NAN, 1.0);
        assert_eq!(nonsense, open);
    }
}
