//! Prometheus histograms with the bucket bounds that vLLM ships.

/// Most buckets of any family, `+Inf` included.
pub const BUCKETS_MAX: usize = 24;

/// A family of bucket bounds: upper bounds without `+Inf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// `vllm:time_to_first_token_seconds`.
    Ttft,
    /// `vllm:inter_token_latency_seconds` and `vllm:request_time_per_output_token_seconds`.
    InterToken,
    /// `vllm:request_queue_time_seconds`, `vllm:e2e_request_latency_seconds`.
    RequestLatency,
    /// `vllm:iteration_tokens_total`.
    IterationTokens,
    /// `vllm:request_prompt_tokens`, `vllm:request_generation_tokens` (the 1-2-5 series up to a
    /// model length of 131,072).
    Lengths,
}

impl Buckets {
    /// Upper bounds in rising order, without `+Inf` (vLLM 0.33.0, `v1/metrics/buckets.py`).
    #[must_use]
    pub const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Ttft => &[
                0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
                7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
            ],
            Self::InterToken => &[
                0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
                10.0, 20.0, 40.0, 80.0,
            ],
            Self::RequestLatency => &[
                0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0,
                120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
            ],
            Self::IterationTokens => &[
                1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0,
                16384.0,
            ],
            Self::Lengths => &[
                1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4,
                1e5,
            ],
        }
    }
}

/// Cumulative-in-time, per-bucket counts of one histogram series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram {
    /// Bucket bounds.
    pub buckets: Buckets,
    /// Observations per bucket (not cumulative over buckets); the one after the last bound is
    /// `+Inf`, the rest unused.
    pub counts: [f64; BUCKETS_MAX],
    /// Sum of all observations.
    pub sum: f64,
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub const fn new(buckets: Buckets) -> Self {
        Self { buckets, counts: [0.0; BUCKETS_MAX], sum: 0.0 }
    }

    /// Adds `times` observations of `value`.
    pub fn observe(&mut self, value: f64, times: f64) {
        let bounds = self.buckets.bounds();
        let bucket = bounds.iter().position(|&bound| value <= bound).unwrap_or(bounds.len());
        self.counts[bucket] += times;
        self.sum += value * times;
    }

    /// Number of observations.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.counts.iter().sum()
    }

    /// Mean of all observations; `None` when there are none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0.0).then(|| self.sum / count)
    }

    /// What was added since `earlier`. A reset (any count that fell) counts from zero, as
    /// Prometheus's `increase` does.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let reset = self.counts.iter().zip(&earlier.counts).any(|(now, then)| now < then);
        if reset {
            return *self;
        }
        let mut difference = *self;
        for (count, then) in difference.counts.iter_mut().zip(&earlier.counts) {
            *count -= then;
        }
        difference.sum -= earlier.sum;
        difference
    }

    /// Adds another histogram of the same family (Prometheus's `sum by (le)`).
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// PromQL's `histogram_quantile`: linear inside the bucket, the highest finite bound when the
    /// rank lies in `+Inf`; `None` without observations.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.count();
        if total <= 0.0 || total.is_nan() {
            return None;
        }
        let rank = quantile * total;
        let bounds = self.buckets.bounds();
        let mut below = 0.0;
        for (index, &bound) in bounds.iter().enumerate() {
            let inside = self.counts[index];
            if below + inside >= rank && inside > 0.0 {
                let start = if index == 0 { 0.0 } else { bounds[index - 1] };
                return Some(start + (bound - start) * (rank - below) / inside);
            }
            below += inside;
        }
        bounds.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_as_promql_does() {
        let mut histogram = Histogram::new(Buckets::InterToken);
        histogram.observe(0.02, 50.0);
        histogram.observe(0.04, 50.0);
        // Rank 90 of 100: 40 of the 50 observations of (0.025, 0.05].
        assert!((histogram.quantile(0.9).unwrap() - 0.045).abs() < 1e-12);
        assert_eq!(Histogram::new(Buckets::Ttft).quantile(0.5), None);
    }

    #[test]
    fn a_counter_that_fell_was_reset() {
        let mut before = Histogram::new(Buckets::Ttft);
        before.observe(0.3, 10.0);
        let mut after = Histogram::new(Buckets::Ttft);
        after.observe(0.3, 4.0);
        assert_eq!(after.since(&before).count() as u64, 4);
        before.merge(&after);
        assert_eq!(before.since(&after).count() as u64, 10);
    }
}
