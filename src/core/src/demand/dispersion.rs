//! How bursty arrivals are: the index of dispersion of their counts, from scrapes.

use serde::{Deserialize, Serialize};

use super::lengths::fade;

/// Windows for which the index is given, s.
const WINDOW_SECONDS: f64 = 10.0;
/// Scrape intervals that differ by more than this share are not compared.
const INTERVAL_TOLERANCE: f64 = 0.1;
/// One step counts at most as much as this many average steps: a flash crowd is news for the
/// forecast, not a property of the arrivals.
const CLIP: f64 = 9.0;
/// Steps before the average is good enough to clip by.
const STEPS_BEFORE_CLIP: f64 = 8.0;
/// Weight of the prior (Poisson) in steps.
const PRIOR_STEPS: f64 = 2.0;

/// Index of dispersion, smoothed.
///
/// From differences of successive counts, so that a drift of the rate is no burst: half the mean
/// square of `c[i] - c[i-1]` over the mean of `c`. The same over pairs of counts tells how the
/// index grows with the window, which carries it from the scrape interval to ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Dispersion {
    single: Index,
    double: Index,
    /// The latest counts of one interval length, newest last; at most four.
    counts: Vec<f64>,
    interval_seconds: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Index {
    steps: f64,
    half_squares: f64,
    means: f64,
}

impl Index {
    fn add(&mut self, then: f64, now: f64) {
        let mean = f64::midpoint(then, now);
        let mut half_square = (now - then) * (now - then) / 2.0;
        if self.steps >= STEPS_BEFORE_CLIP {
            half_square = half_square.min(CLIP * self.value() * mean.max(1.0));
        }
        self.steps += 1.0;
        self.half_squares += half_square;
        self.means += mean;
    }

    fn fade(&mut self, seconds: f64) {
        let left = fade(seconds);
        self.steps *= left;
        self.half_squares *= left;
        self.means *= left;
    }

    /// Variance over mean, drawn to 1 while little was seen.
    fn value(&self) -> f64 {
        if self.steps <= 0.0 || self.means <= 0.0 {
            return 1.0;
        }
        let prior = PRIOR_STEPS * self.means / self.steps;
        (self.half_squares + prior) / (self.means + prior)
    }
}

impl Dispersion {
    /// Takes in the arrivals between two scrapes.
    pub(super) fn add(&mut self, arrivals: f64, seconds: f64) {
        if seconds <= 0.0 || !arrivals.is_finite() {
            return;
        }
        self.single.fade(seconds);
        self.double.fade(seconds);
        if (seconds - self.interval_seconds).abs() > INTERVAL_TOLERANCE * self.interval_seconds {
            self.counts.clear();
            self.interval_seconds = seconds;
        }
        if let Some(&last) = self.counts.last() {
            self.single.add(last, arrivals);
        }
        self.counts.push(arrivals);
        if let [first, second, third, fourth] = self.counts[..] {
            self.double.add(first + second, third + fourth);
            self.counts.drain(..2);
        }
    }

    /// Forgets which count came last: the next one does not follow it.
    pub(super) fn interrupt(&mut self) {
        self.counts.clear();
    }

    /// Variance over mean of counts in windows of ten seconds; 1 (Poisson) where nothing is known.
    pub(super) fn value(&self) -> f64 {
        let (single, double) = (self.single.value(), self.double.value());
        if self.interval_seconds <= 0.0 || single <= 1.0 {
            return 1.0;
        }
        // Excess over Poisson grows between not at all (bursts shorter than the interval) and in
        // proportion to the window (a rate that changes slowly).
        let growth = ((double - 1.0).max(1e-9) / (single - 1.0)).log2().clamp(0.0, 1.0);
        1.0 + (single - 1.0) * (WINDOW_SECONDS / self.interval_seconds).powf(growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repeatable stream of numbers in 0..1.
    fn uniform(state: &mut u64) -> f64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as f64 / (1_u64 << 31) as f64
    }

    /// Arrivals of `burst` requests at once, `mean` requests per interval, drifting up threefold.
    fn bursts(burst: f64, mean: f64) -> Dispersion {
        let (mut state, mut dispersion) = (7, Dispersion::default());
        for step in 0..400 {
            let mean = mean * (1.0 + f64::from(step) / 200.0);
            let (mut clock, mut count) = (0.0, 0.0);
            loop {
                clock -= (1.0 - uniform(&mut state)).ln() * burst / mean;
                if clock > 1.0 {
                    break;
                }
                count += burst;
            }
            dispersion.add(count, 15.0);
        }
        dispersion
    }

    #[test]
    fn poisson_is_one_and_bursts_are_their_size_whatever_the_drift() {
        assert!((Dispersion::default().value() - 1.0).abs() < 1e-12);
        let poisson = bursts(1.0, 150.0).value();
        assert!((0.8..1.4).contains(&poisson), "{poisson}");
        let tens = bursts(10.0, 300.0).value();
        assert!((6.5..14.0).contains(&tens), "{tens}");
    }

    #[test]
    fn one_flash_crowd_does_not_make_arrivals_bursty() {
        let mut dispersion = bursts(1.0, 150.0);
        let before = dispersion.value();
        dispersion.add(5_000.0, 15.0);
        dispersion.add(150.0, 15.0);
        assert!(dispersion.value() < 2.0 * before + 1.0, "{before} {}", dispersion.value());
    }

    #[test]
    fn counts_of_unlike_intervals_are_not_compared() {
        let mut dispersion = Dispersion::default();
        for step in 0..100 {
            let seconds = if step % 2 == 0 { 15.0 } else { 30.0 };
            dispersion.add(10.0 * seconds, seconds);
        }
        assert!((dispersion.value() - 1.0).abs() < 1e-12);
    }
}
