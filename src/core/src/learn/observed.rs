//! Moments of a histogram's observations.

use crate::observe::Histogram;

impl Histogram {
    /// Mean, and mean of the square, of all observations; `None` without any. The mean is exact;
    /// the square takes observations as spread evenly over their bucket, scaled so that their mean
    /// is the exact one.
    #[must_use]
    pub fn moments(&self) -> Option<(f64, f64)> {
        let mean = self.mean().filter(|mean| mean.is_finite() && *mean > 0.0)?;
        let bounds = self.buckets.bounds();
        let (mut count, mut sum, mut squared) = (0.0, 0.0, 0.0);
        for (index, &inside) in self.counts.iter().enumerate().take(bounds.len() + 1) {
            let low = if index == 0 { 0.0 } else { bounds[index - 1] };
            let high = bounds.get(index).copied().unwrap_or(low * 2.0);
            count += inside;
            sum += inside * f64::midpoint(low, high);
            squared += inside * (low * low + low * high + high * high) / 3.0;
        }
        let scale = mean * count / sum;
        Some((mean, (squared / count * scale * scale).max(mean * mean)))
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::{Buckets, Histogram};

    #[test]
    fn moments_keep_the_exact_mean_and_come_near_the_square() {
        let mut histogram = Histogram::new(Buckets::Lengths);
        let lengths: Vec<f64> = (1..2_000).map(f64::from).collect();
        for &length in &lengths {
            histogram.observe(length, 1.0);
        }
        let (mean, squared) = histogram.moments().unwrap();
        let exact = lengths.iter().map(|length| length * length).sum::<f64>() / 1_999.0;
        assert!((mean - 1_000.0).abs() < 1e-9);
        assert!((squared / exact - 1.0).abs() < 0.05, "{squared} for {exact}");
        assert_eq!(Histogram::new(Buckets::Lengths).moments(), None);
    }
}
