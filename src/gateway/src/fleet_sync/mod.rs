//! Fleet sync live: the state machines of [`forebay_core::sync`] on tokio, over gRPC
//! (`forebay.fleet.v1`) or in memory where gate and controller share a process.
//!
//! Every message says everything, so a full queue to a slow peer drops messages instead of holding
//! them: the next one says it all again.

mod controller;
mod drive;
mod gate;
mod grpc;
mod memory;
#[cfg(test)]
mod tests;
pub mod wire;

use tokio::sync::mpsc;

pub use crate::clock::Clock;
pub use controller::{ControllerHandle, ControllerSettings, SyncController};
pub use gate::{GateHandle, GateSource, GateState, SyncGate};
pub use grpc::{FleetSyncService, follow};
pub use memory::join;

/// Messages to one peer that wait at most; more are dropped, the next says it all again.
const OUTBOX_MAX: usize = 16;
/// Messages to one of our state machines that wait at most; then senders wait.
const INBOX_MAX: usize = 256;

/// The way to one peer.
pub(crate) type Outbox<T> = mpsc::Sender<T>;

/// Sends, unless the peer is too slow or gone.
fn offer<T>(outbox: &Outbox<T>, message: T) -> bool {
    outbox.try_send(message).is_ok()
}
