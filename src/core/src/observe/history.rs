//! Traffic of the past as metrics recorded it: counts and length histograms per step of time.
//! Telemetry fills it from a Prometheus; the twin draws arrivals from it.

use crate::time::Span;

/// Traffic over a range, in equal steps.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Length of one step; above 0.
    pub step: Span,
    /// The steps in order; `None` where nothing is known (no scrape), which is not zero.
    pub steps: Vec<Option<HistoryStep>>,
    /// What was inferred or left out, in sentences for a reader.
    pub notes: Vec<String>,
}

/// What is known of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryStep {
    /// Requests that arrived; a fraction where a scrape fell into the step's middle.
    pub arrivals: f64,
    /// Prompt lengths, in tokens, of requests counted in the step.
    pub prompt: LengthHistogram,
    /// Output lengths, in tokens, of requests that finished in the step.
    pub output: LengthHistogram,
}

/// Lengths by bucket, as a Prometheus histogram holds them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LengthHistogram {
    /// Upper bounds in tokens, rising; the last may be infinite.
    pub bounds: Vec<f64>,
    /// Observations per bucket (not cumulative), one for each bound.
    pub counts: Vec<f64>,
    /// Sum of all observations, tokens.
    pub sum: f64,
}

impl LengthHistogram {
    /// Number of observations.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.counts.iter().sum()
    }

    /// Mean length; `None` without observations.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0.0).then(|| self.sum / count)
    }

    /// Adds observations to the bucket with that upper bound, which is made if need be.
    pub fn add(&mut self, bound: f64, observations: f64) {
        let place = self.bounds.partition_point(|&known| known < bound);
        if self.bounds.get(place).is_none_or(|&known| known > bound) {
            self.bounds.insert(place, bound);
            self.counts.insert(place, 0.0);
        }
        self.counts[place] += observations;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (&bound, &count) in other.bounds.iter().zip(&other.counts) {
            self.add(bound, count);
        }
        self.sum += other.sum;
    }
}

impl History {
    /// Length of the range.
    #[must_use]
    pub fn length(&self) -> Span {
        Span(self.step.0.saturating_mul(self.steps.len() as u64))
    }

    /// Requests over all known steps.
    #[must_use]
    pub fn arrivals(&self) -> f64 {
        self.steps.iter().flatten().map(|step| step.arrivals).sum()
    }

    /// Steps of which nothing is known.
    #[must_use]
    pub fn unknown_steps(&self) -> usize {
        self.steps.iter().filter(|step| step.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_several_engines_merge_by_bound() {
        let mut one = LengthHistogram::default();
        one.add(10.0, 2.0);
        one.add(f64::INFINITY, 1.0);
        one.sum = 40.0;
        let mut other = LengthHistogram::default();
        other.add(5.0, 1.0);
        other.add(10.0, 3.0);
        other.sum = 20.0;
        one.merge(&other);
        assert_eq!(one.bounds, [5.0, 10.0, f64::INFINITY]);
        assert_eq!(one.counts, [1.0, 5.0, 1.0]);
        assert_eq!(one.mean(), Some(60.0 / 7.0));
        assert_eq!(LengthHistogram::default().mean(), None);
    }

    #[test]
    fn an_unknown_step_is_not_zero() {
        let step = HistoryStep { arrivals: 3.0, ..HistoryStep::default() };
        let history =
            History { step: Span::from_secs(60), steps: vec![Some(step), None], notes: Vec::new() };
        assert_eq!((history.unknown_steps(), history.length()), (1, Span::from_secs(120)));
    }
}
