//! Money and shares as types, so that a price is never added to a bill.

use std::ops::{Add, AddAssign, Mul};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub f64);

/// US dollars per hour.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct UsdPerHour(pub f64);

impl Mul<Span> for UsdPerHour {
    type Output = Usd;
    fn mul(self, span: Span) -> Usd {
        Usd(self.0 * span.as_hours())
    }
}

impl Mul<f64> for UsdPerHour {
    type Output = Self;
    fn mul(self, count: f64) -> Self {
        Self(self.0 * count)
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl std::iter::Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(bills: I) -> Self {
        bills.fold(Self(0.0), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_held_for_a_span_is_a_bill() {
        let bill = UsdPerHour(3.0) * Span::from_secs(1_200);
        assert!((bill.0 - 1.0).abs() < 1e-12);
    }
}
