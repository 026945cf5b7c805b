//! What is solved for: the highest need of the last while, row by row.
//!
//! The guard would hold that many anyway. Solving for the need of the moment instead and holding
//! what goes beyond it makes the mix flip between variants with every rounding.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Needs kept per row; falling ones only, so this is far more than a window holds.
const NEEDS_MAX: usize = 512;

/// The recent needs of one fleet's rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Glide {
    rows: BTreeMap<String, VecDeque<(Time, f64)>>,
}

impl Glide {
    /// By how much a row's need is to be raised: the highest need of the window over this one; at
    /// least 1.
    pub(super) fn factor(&mut self, now: Time, row: &str, need: f64, window: Span) -> f64 {
        let needs = self.rows.entry(row.to_owned()).or_default();
        let old = |at: Time| now.since(at) > window;
        while needs.len() >= NEEDS_MAX || needs.front().is_some_and(|(at, _)| old(*at)) {
            needs.pop_front();
        }
        // Those that something as high followed will never again be the highest.
        while needs.back().is_some_and(|(_, before)| *before <= need) {
            needs.pop_back();
        }
        needs.push_back((now, need));
        let highest = needs.front().map_or(need, |(_, highest)| *highest);
        if need > 0.0 { (highest / need).max(1.0) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_that_falls_is_followed_when_the_window_has_passed() {
        let mut glide = Glide::default();
        let mut factor = |second: u64, need: f64| {
            let now = Time::ZERO + Span::from_secs(second);
            glide.factor(now, "both/interactive", need, Span::from_secs(60))
        };
        for (second, need, expected) in
            [(0, 8.0, 1.0), (30, 4.0, 2.0), (45, 5.0, 1.6), (61, 2.5, 2.0), (200, 2.5, 1.0)]
        {
            let found = factor(second, need);
            assert!((found - expected).abs() < 1e-12, "{found} at {second} s");
        }
    }
}
