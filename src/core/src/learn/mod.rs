//! Engines learned from what they show: step time, start-up time, cached share, output length,
//! each with its uncertainty.
//!
//! A [`Learner`] is fed each view of the fleet and answers, per variant, with the profile in
//! force: the manifest's, with what was learned applied where learning beats it.

mod learner;
pub mod lengths;
mod log_normal;
mod observed;
pub mod physics;
pub mod predict;
mod quarantine;
pub mod rls;
mod snapshot;
pub mod start_up;
pub mod steps;

#[cfg(test)]
mod learner_tests;
#[cfg(test)]
mod physics_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use learner::{LearnedVariant, Learner, Revision};
pub use snapshot::{Snapshot, SnapshotError};

/// A learned figure with its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Standard deviation of the estimate itself, in the figure's unit.
    pub deviation: f64,
    /// Observations that it rests on, those forgotten left out; 0 = the prior alone.
    pub samples: f64,
}
