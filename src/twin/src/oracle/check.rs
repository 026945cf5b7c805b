//! The bound against runs: one that is cheaper than the bound at its own attainment shows that the
//! bound, the bill or the count of misses is wrong.

use super::bound::Bound;
use crate::report::Run;

/// Sums of a run's bill may round by this share.
const ROUNDING: f64 = 1e-6;

/// A run cheaper than anybody could have been.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{policy} spent {spent_usd:.4} USD, yet no policy can reach its attainment for less than \
     {bound_usd:.4} USD: the bound, the bill or the count of misses is wrong; report it with the \
     command line"
)]
pub struct BoundBroken {
    /// SPEC of the policy.
    pub policy: String,
    /// Its cash without committed capacity.
    pub spent_usd: f64,
    /// The bound at its attainment.
    pub bound_usd: f64,
}

/// What the bound asks of a run at the attainment that the run had, USD without committed
/// capacity. `None` for a run that ended early: it did not serve the whole trace.
#[must_use]
pub fn bound_for(run: &Run, bound: &Bound) -> Option<f64> {
    if run.aborted.is_some() {
        return None;
    }
    let misses: Vec<u64> = bound
        .tier_names()
        .iter()
        .zip(bound.requests())
        .map(|(name, &requests)| {
            // A tier that the run does not mention is one that it may have missed altogether.
            let attained = run.tiers.get(name).map_or(0, |tier| tier.attained);
            requests.saturating_sub(attained)
        })
        .collect();
    Some(bound.cash_at(&misses).0)
}

/// Holds a run against the bound.
///
/// # Errors
/// The run is cheaper than the bound at its attainment.
pub fn check(run: &Run, bound: &Bound) -> Result<(), BoundBroken> {
    let spent_usd = run.cost_usd - run.cost_committed_usd;
    match bound_for(run, bound) {
        Some(bound_usd) if spent_usd < bound_usd * (1.0 - ROUNDING) => {
            Err(BoundBroken { policy: run.policy.clone(), spent_usd, bound_usd })
        }
        _ => Ok(()),
    }
}
