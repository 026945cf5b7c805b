//! `forebay.fleet.v1` on the wire, and to and from what [`forebay_core::sync`] says.

mod from_gate;
mod to_gate;

/// Generated from `proto/forebay/fleet/v1/fleet.proto`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the protocol file says what each field is"
)]
pub mod v1 {
    tonic::include_proto!("forebay.fleet.v1");
}

use forebay_core::sync::{GateName, Mark, MessageError, Term};

/// A message that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A part is not there.
    #[error("a message without its {0}; it was left out: does the other side run another version?")]
    Missing(&'static str),
    /// It is beyond its bounds.
    #[error(transparent)]
    Bounds(#[from] MessageError),
}

fn gate(gate: Option<v1::GateName>) -> Result<GateName, WireError> {
    let gate = gate.ok_or(WireError::Missing("gate"))?;
    Ok(GateName { name: gate.name, incarnation: gate.incarnation })
}

fn gate_out(gate: GateName) -> v1::GateName {
    v1::GateName { name: gate.name, incarnation: gate.incarnation }
}

fn mark(mark: Option<v1::Mark>) -> Result<Mark, WireError> {
    let mark = mark.ok_or(WireError::Missing("mark"))?;
    Ok(Mark { term: Term(mark.term), holder: mark.holder, sequence: mark.sequence })
}

fn mark_out(mark: Mark) -> v1::Mark {
    v1::Mark { term: mark.term.0, holder: mark.holder, sequence: mark.sequence }
}
