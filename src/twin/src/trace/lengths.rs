//! Distributions of prompt and output lengths.

use rand::Rng;

use super::alias::AliasTable;
use super::draw::open_unit;

/// Longest length that is ever drawn: beyond the context of any engine.
pub(super) const TOKENS_MAX: u32 = 1 << 22;

/// A distribution of token counts; draws are at least 1.
#[derive(Clone, Debug)]
pub(super) enum LengthDistribution {
    /// Log-normal, cut off at a maximum (draws beyond it become the maximum).
    LogNormal {
        /// Logarithm of the median.
        log_median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Largest length.
        tokens_max: u32,
    },
    /// Straight lines between quantiles on a logarithmic scale.
    Quantiles(Box<[QuantilePoint]>),
    /// Shares of single lengths.
    Histogram(AliasTable),
}

/// A share of lengths, 0..1, is at most `tokens`.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuantilePoint {
    pub(super) share: f64,
    pub(super) log_tokens: f64,
}

impl LengthDistribution {
    /// One length.
    pub(super) fn draw(&self, random: &mut impl Rng) -> u32 {
        match self {
            Self::LogNormal { log_median, sigma, tokens_max } => {
                let normal: f64 =
                    rand_distr::Distribution::sample(&rand_distr::StandardNormal, random);
                whole(sigma.mul_add(normal, *log_median).exp()).min(*tokens_max)
            }
            Self::Quantiles(points) => {
                let share = open_unit(random);
                let above =
                    points.partition_point(|point| point.share < share).clamp(1, points.len() - 1);
                let (low, high) = (points[above - 1], points[above]);
                let part = (share - low.share) / (high.share - low.share);
                whole((high.log_tokens - low.log_tokens).mul_add(part, low.log_tokens).exp())
            }
            Self::Histogram(table) => table.draw(random),
        }
    }
}

fn whole(tokens: f64) -> u32 {
    tokens.round().clamp(1.0, f64::from(TOKENS_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Purpose, stream};
    use super::*;

    fn mean_and_median(distribution: &LengthDistribution) -> (f64, u32) {
        let mut random = stream(3, Purpose::Lengths, 0);
        let mut draws: Vec<u32> = (0..100_000).map(|_| distribution.draw(&mut random)).collect();
        draws.sort_unstable();
        let total: f64 = draws.iter().map(|&tokens| f64::from(tokens)).sum();
        (total / draws.len() as f64, draws[draws.len() / 2])
    }

    #[test]
    fn a_log_normal_has_its_median_and_mean() {
        let sigma = (2.0 * (1115.0_f64 / 663.0).ln()).sqrt();
        let lengths = LengthDistribution::LogNormal {
            log_median: 663.0_f64.ln(),
            sigma,
            tokens_max: 1_000_000,
        };
        let (mean, median) = mean_and_median(&lengths);
        assert!((mean / 1115.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((f64::from(median) / 663.0 - 1.0).abs() < 0.02, "{median}");
    }

    #[test]
    fn quantiles_are_met() {
        let point = |share, tokens: f64| QuantilePoint { share, log_tokens: tokens.ln() };
        let points = [point(0.0, 10.0), point(0.5, 100.0), point(1.0, 1000.0)];
        let (mean, median) = mean_and_median(&LengthDistribution::Quantiles(points.into()));
        assert!((95..=105).contains(&median), "{median}");
        // Log-uniform between 10 and 1000: (1000 - 10) / ln(100).
        assert!((mean / 214.97 - 1.0).abs() < 0.02, "{mean}");
    }
}
