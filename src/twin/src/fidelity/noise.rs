//! The noise floor: how far apart repeated measurements of one configuration are. No simulation
//! can be closer to a single measurement than measurements are to each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::errors::quantile;
use super::measured::Repeat;

/// How far apart repeated measurements are: |a - b| over their mean, over all pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Pairs of one engine version.
    pub same_version: Spread,
    /// Pairs of different engine versions.
    pub other_version: Spread,
}

/// Differences of pairs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Pairs compared; figures copied from one listing to another do not count.
    pub pairs: u64,
    /// Median difference of TTFT, a share of it.
    pub ttft_median: Option<f64>,
    /// 90th percentile of the same.
    pub ttft_p90: Option<f64>,
    /// Median difference of TPOT, a share of it.
    pub tpot_median: Option<f64>,
    /// 90th percentile of the same.
    pub tpot_p90: Option<f64>,
}

/// Compares all measurements that share a configuration.
#[must_use]
pub(super) fn noise_floor(repeats: &[Repeat]) -> NoiseFloor {
    let mut by_configuration: BTreeMap<_, Vec<&Repeat>> = BTreeMap::new();
    for repeat in repeats {
        by_configuration.entry(&repeat.configuration).or_default().push(repeat);
    }
    let (mut same, mut other) = (Pairs::default(), Pairs::default());
    for repeats in by_configuration.values() {
        for (index, a) in repeats.iter().enumerate() {
            for b in &repeats[index + 1..] {
                let copied = one_figure(a.ttft_ms, b.ttft_ms) && one_figure(a.tpot_ms, b.tpot_ms);
                if !copied {
                    if a.version == b.version { &mut same } else { &mut other }.add(a, b);
                }
            }
        }
    }
    NoiseFloor { same_version: same.spread(), other_version: other.spread() }
}

/// Whether two figures are one figure written twice: equal to nine digits.
fn one_figure(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs()
}

#[derive(Default)]
struct Pairs {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, a: &Repeat, b: &Repeat) {
        let difference = |a: f64, b: f64| (a - b).abs() / f64::midpoint(a, b);
        self.ttft.push(difference(a.ttft_ms, b.ttft_ms));
        self.tpot.push(difference(a.tpot_ms, b.tpot_ms));
    }

    fn spread(self) -> Spread {
        Spread {
            pairs: self.ttft.len() as u64,
            ttft_median: quantile(&self.ttft, 0.5),
            ttft_p90: quantile(&self.ttft, 0.9),
            tpot_median: quantile(&self.tpot, 0.5),
            tpot_p90: quantile(&self.tpot, 0.9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_compared_within_and_across_versions_but_not_with_copies() {
        let repeat = |sweep: &str, version: &str, ttft_ms, tpot_ms| Repeat {
            configuration: (sweep.to_owned(), 8),
            version: version.to_owned(),
            ttft_ms,
            tpot_ms,
        };
        let floor = noise_floor(&[
            repeat("a", "1", 90.0, 10.0),
            repeat("a", "1", 110.0, 10.0),
            repeat("a", "1", 90.0, 10.0),
            repeat("a", "2", 100.0, 30.0),
            repeat("b", "1", 500.0, 50.0),
        ]);
        // 90 with 110 twice (the copy of 90 is no pair with 90); each of the three with version 2.
        assert_eq!((floor.same_version.pairs, floor.other_version.pairs), (2, 3));
        assert!((floor.same_version.ttft_median.unwrap() - 0.2).abs() < 1e-12);
        assert!((floor.other_version.tpot_p90.unwrap() - 1.0).abs() < 1e-12);
    }
}
