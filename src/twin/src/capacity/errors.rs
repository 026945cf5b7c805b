//! How far off capacity is, over points.

use serde::{Deserialize, Serialize};

use super::{Bunching, Compared, Family};

/// Errors of the sustainable rate over some points, as shares of what is held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// Points that hold something.
    pub points: usize,
    /// Median of the error's size.
    pub median: Option<f64>,
    /// 90th percentile of the error's size.
    pub p90: Option<f64>,
    /// 95th percentile of the error, unsafe side up; below 0 when nearly all are safe.
    pub unsafe_p95: Option<f64>,
    /// 5th percentile: how much is given away.
    pub safe_p95: Option<f64>,
    /// Points that hold nothing, and are said to hold nothing or next to nothing.
    pub unreachable_told: usize,
    /// Points that hold nothing, and are said to hold something.
    pub unreachable_missed: usize,
}

/// A rate this small beside the work that replicas can do is next to nothing.
const NEXT_TO_NOTHING: f64 = 0.05;

impl Errors {
    pub(super) fn of(points: &[&Compared], said: impl Fn(&Compared) -> f64) -> Self {
        let holding = points.iter().filter(|one| one.held_per_s > 0.0);
        let mut errors: Vec<f64> = holding.map(|one| said(one) / one.held_per_s - 1.0).collect();
        errors.sort_by(f64::total_cmp);
        let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let nothing: Vec<bool> = points
            .iter()
            .filter(|one| one.held_per_s <= 0.0)
            .map(|one| said(one) <= one.guess_per_s * NEXT_TO_NOTHING)
            .collect();
        let told = nothing.iter().filter(|told| **told).count();
        Self {
            points: errors.len(),
            median: quantile(&sizes, 0.5),
            p90: quantile(&sizes, 0.9),
            unsafe_p95: quantile(&errors, 0.95),
            safe_p95: quantile(&errors, 0.05),
            unreachable_told: told,
            unreachable_missed: nothing.len() - told,
        }
    }
}

/// By how much attainment at the sized rate falls short of the percentile, as a share of all
/// requests: the 95th percentile over some points.
pub(super) fn shortfall_p95(points: &[&Compared]) -> Option<f64> {
    let shortfall = |one: &&Compared| one.point.percentile - one.attained_as_sized;
    let mut shortfalls: Vec<f64> = points.iter().map(shortfall).collect();
    shortfalls.sort_by(f64::total_cmp);
    quantile(&shortfalls, 0.95)
}

/// A quantile of sorted values, between neighbours linear.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = share * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(low + (high - low) * (at - at.floor()))
}

/// Points that have something in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// What.
    pub name: String,
    /// How far off.
    pub errors: Errors,
}

/// What points are told apart by.
type Test = fn(&Compared) -> bool;

pub(super) fn groups(points: &[&Compared]) -> Vec<Group> {
    let tests: [(&str, Test); 15] = [
        ("role both", |one| one.point.role == "both"),
        ("role prefill", |one| one.point.role == "prefill"),
        ("role decode", |one| one.point.role == "decode"),
        ("TTFT binds", |one| one.binding == "ttft"),
        ("TPOT binds", |one| one.binding == "tpot"),
        ("percentile 0.95", |one| one.point.percentile < 0.97),
        ("percentile 0.99", |one| one.point.percentile > 0.97),
        ("Poisson", |one| one.point.dispersion <= 1.0),
        ("bursty, renewal", |one| {
            one.point.dispersion > 1.0 && one.point.bunching == Bunching::Renewal
        }),
        ("bursty, modulated", |one| {
            one.point.dispersion > 1.0 && one.point.bunching == Bunching::Modulated
        }),
        ("log-normal lengths", |one| one.point.lengths == Family::LogNormal),
        ("gamma lengths", |one| one.point.lengths == Family::Gamma),
        ("one replica", |one| one.point.replicas == 1),
        ("2 to 4 replicas", |one| (2..=4).contains(&one.point.replicas)),
        ("6 and more", |one| one.point.replicas > 4),
    ];
    let group = |(name, test): (&str, Test)| {
        let chosen: Vec<&Compared> = points.iter().copied().filter(|one| test(one)).collect();
        Group { name: name.to_owned(), errors: Errors::of(&chosen, |one| one.sized_per_s) }
    };
    tests.into_iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
        assert_eq!(quantile(&[1.0, 2.0, 9.0], 1.0), Some(9.0));
    }
}
