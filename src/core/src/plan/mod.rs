//! How many replicas of each variant: the port that every scaling policy fills, ours and the
//! baselines alike, in the twin and live.

pub mod evidence;
pub mod forebay;
pub mod guard;
pub mod question;
pub mod rails;
pub mod roll;
pub mod solve;
#[cfg(test)]
pub(crate) mod testing;
pub mod verdict;

use crate::fleet::World;
use crate::ids::{EndpointId, VariantId};
use crate::observe::Store;
use crate::plan::roll::{RollAnswer, RollRequest};
use crate::time::{Time, WallTime};

/// A scaling policy as a state machine without I/O.
///
/// The driver calls [`Planner::step`] whenever [`Planner::next_deadline`] has come, with what can
/// be known at that moment, and carries out the effects.
pub trait Planner {
    /// Decides. Appends what is to be done to `effects`.
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>);

    /// When the policy wants to be called next; `None` = never again.
    fn next_deadline(&self) -> Option<Time>;
}

/// What a planner is told.
#[derive(Clone, Copy, Debug)]
pub enum PlanEvent<'a> {
    /// Its deadline has come: this is the fleet as Kubernetes and Prometheus show it.
    Due(&'a FleetView<'a>),
    /// What would become of the plans of a [`PlanEffect::Roll`]; comes some time after the
    /// request, or never. A planner that asked for nothing may ignore it.
    Rolled(&'a RollAnswer),
}

/// The fleet as Kubernetes and Prometheus show it; never the simulator's truth.
#[derive(Clone, Copy, Debug)]
pub struct FleetView<'a> {
    /// Manifests, resolved.
    pub world: &'a World,
    /// Scale targets by [`VariantId`].
    pub targets: &'a [ScaleTarget],
    /// Scrapes.
    pub metrics: &'a Store,
    /// The calendar at [`Time::ZERO`]: what schedules are told apart by. A run whose beginning
    /// nobody gave begins on Thursday, 1970-01-01, at 00:00 UTC.
    pub origin: WallTime,
}

/// One scale target as its `/scale` and its pods show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScaleTarget {
    /// `spec.replicas`: what was last asked for.
    pub replicas_desired: u32,
    /// `status.replicas`: pods that exist and are not being deleted, ready or not.
    pub replicas_current: u32,
    /// Ready endpoints.
    pub endpoints_ready: Vec<EndpointId>,
    /// Pods that have a node and are starting, with the time at which each was asked for.
    pub starting_since: Vec<Time>,
    /// Pods that wait for a node, with the time at which each was asked for.
    pub unschedulable_since: Vec<Time>,
    /// Pods that drain before deletion.
    pub draining: u32,
}

/// What a planner wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanEffect {
    /// Write `spec.replicas` of a variant's target.
    Scale {
        /// Which variant.
        variant: VariantId,
        /// How many replicas; the driver clamps to the variant's bounds.
        replicas: u32,
        /// The rule that asked for it, in a few words.
        reason: String,
    },
    /// Simulate candidate plans from the live state on. The driver does so off the fast path and
    /// comes back with [`PlanEvent::Rolled`], or never: a newer request may replace one that has
    /// not been begun.
    Roll(Box<RollRequest>),
    /// What was decided and why, one record per fleet; for the log, the page and `explain`.
    Decided(Box<crate::explain::Decision>),
    /// The policy cannot go on (an external policy died, hung or answered nonsense). The driver
    /// stops deciding and reports what was measured until now.
    Abort {
        /// What went wrong and how to mend it.
        what: String,
    },
}
