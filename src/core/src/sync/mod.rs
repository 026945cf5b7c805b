//! How gates and controllers stay one: what each tells the other, and what holds when they cannot
//! hear each other.
//!
//! Every gate talks to every controller replica, so that followers stay warm and a failover needs
//! no storage. Upwards go cumulative counters and gauges ([`Report`]), downwards, from the leader
//! only, the whole of what it wants ([`Directive`]). Both are latest-wins: a message that was lost
//! needs no repair, one that comes twice or late changes nothing. Times go as spans from the moment
//! of sending, because clocks of different machines differ; a slow message so makes the outlook
//! look later than it is, never earlier.
//!
//! [`GateEnd`] and [`ControllerEnd`] are the state machines of both ends, without I/O: the same
//! messages pass in memory where all runs in one process.

mod controller_end;
mod gate_end;
mod message;

#[cfg(test)]
mod controller_end_tests;
#[cfg(test)]
mod gate_end_tests;
#[cfg(test)]
mod network_tests;

pub use controller_end::{
    ControllerCounts, ControllerEnd, ControllerSyncEffect, ControllerSyncEvent, Drained, Plan,
};
pub use gate_end::{Coming, GateCounts, GateEnd, GateSyncEffect, GateSyncEvent, Guided, Standing};
pub use message::{
    Ack, ComingReplica, Directive, ENDPOINTS_MAX, EndpointReport, FromGate, GateName, Guidance,
    Mark, MessageError, NAME_BYTES_MAX, REPLICAS_MAX, Report, SecondGate, TIERS_MAX, Term,
    TierAdmission, TierReport, ToGate, VARIANTS_MAX, VariantPhysics,
};

use crate::time::Span;

/// Longest time between two reports of a gate, changed or not.
pub const REPORT_INTERVAL: Span = Span::from_secs(1);
/// Shortest time between two reports: changes within it go together.
pub const REPORT_SPACING: Span = Span::from_millis(100);
/// Longest time between two directives of a leader, changed or not: they also say that it lives.
pub const DIRECTIVE_INTERVAL: Span = Span::from_secs(1);
/// A leader that was not heard for so long is taken for lost: three directives that did not come.
pub const LEADER_LOST: Span = Span::from_secs(3);
/// How long a gate goes on with the last outlook of a leader that it lost.
pub const OUTLOOK_KEPT: Span = Span::from_secs(60);
/// A gate that was not heard for so long no longer holds its fleet: another may be the active one.
pub const GATE_LOST: Span = Span::from_secs(5);

/// One connection between a gate and a controller; numbers that the driver gives out and never
/// uses twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);
