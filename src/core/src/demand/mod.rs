//! What is asked of a fleet: arrivals per tier, what they look like, and how much of it is coming.
//!
//! [`observed`] reads it off scrapes, [`forecast`] looks ahead over a lead time, [`budget`] says
//! how safely, and [`deferral`] places what can wait.

pub mod budget;
mod counters;
pub mod deferral;
mod dispersion;
mod engines;
pub mod forecast;
mod lengths;
pub mod missed;
pub mod observed;
#[cfg(test)]
mod observed_tests;
mod pace;

use serde::{Deserialize, Serialize};

pub use budget::Budget;
pub use deferral::{Backlog, Due};
pub use forecast::{Ahead, Forecaster};
pub use missed::{Judged, judge};
pub use observed::{FleetDemand, Observer, Source};
pub use pace::Pace;

/// First two moments of a length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Mean, tokens.
    pub mean: f64,
    /// Mean of the square, tokens squared; at least the square of the mean.
    pub squared: f64,
}

impl Moments {
    /// A length that is always the same.
    #[must_use]
    pub const fn constant(tokens: f64) -> Self {
        Self { mean: tokens, squared: tokens * tokens }
    }

    /// A length with a mean and a coefficient of variation (standard deviation over mean).
    #[must_use]
    pub const fn with_variation(mean: f64, variation: f64) -> Self {
        Self { mean, squared: mean * mean * (1.0 + variation * variation) }
    }

    /// Coefficient of variation, squared; 0 for a length of 0.
    #[must_use]
    pub fn variation_squared(&self) -> f64 {
        if self.mean > 0.0 { (self.squared / (self.mean * self.mean) - 1.0).max(0.0) } else { 0.0 }
    }
}

/// What requests look like, apart from how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Prompt length, cached part included.
    pub prompt_tokens: Moments,
    /// Output length.
    pub output_tokens: Moments,
    /// Share of prompt tokens found in a prefix cache, 0..1.
    pub cached_share: f64,
    /// Variance over mean of the arrivals counted in windows of ten seconds; 1 = Poisson.
    pub dispersion: f64,
}

/// Demand of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TierLoad {
    /// Arrivals per second, admitted or not.
    pub requests_per_s: f64,
    /// What they look like.
    pub workload: Workload,
}

impl TierLoad {
    /// Prompt tokens per second, cached ones included.
    #[must_use]
    pub fn prompt_tokens_per_s(&self) -> f64 {
        self.requests_per_s * self.workload.prompt_tokens.mean
    }

    /// Output tokens per second once these arrivals are served.
    #[must_use]
    pub fn output_tokens_per_s(&self) -> f64 {
        self.requests_per_s * self.workload.output_tokens.mean
    }
}
