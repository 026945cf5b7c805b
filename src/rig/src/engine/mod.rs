//! A test engine: the physics of [`forebay_core::engine`] behind the HTTP interface of vLLM.
//!
//! It computes nothing: answers are words drawn from a list. What it gets right is *when*: tokens
//! come when the simulated engine would have generated them, requests queue, batch, are preempted
//! and hit the prefix cache as they would there, and its metrics page says so under vLLM's names
//! and at vLLM's length. Every answer says in [`SELF_HEADER`] that it came from a test engine.
//!
//! Prompt tokens are estimated: one for each four bytes of text, rounded up, and four for the
//! template around each chat message ([`ask`]).

mod answer;
pub mod ask;
mod clocked;
mod faults;
mod http;
mod page;
mod prompt;
mod serve;
mod serving;
mod slots;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use forebay_core::engine::profile::EngineProfile;

pub use faults::FAULT_HEADER;
pub use serve::{Listening, StartError, start};

/// Response header in which the engine says what it is.
pub const SELF_HEADER: &str = "x-forebay-test-engine";
/// What it says there.
pub const SELF_NOTE: &str = "simulated; no model runs here";

/// What the engines of one process are like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names under which the model is served; the first is the one that answers bear when the
    /// request names none. At least one.
    pub models: Vec<String>,
    /// Where to listen. An address such as `0.0.0.0:8000` is one engine for each address that
    /// clients connect to; any other is one engine.
    pub listen: Vec<SocketAddr>,
    /// How the engine serves.
    pub service: Service,
    /// Simulated seconds in one second of the clock.
    pub speed: f64,
    /// Seed of the answers' words and lengths.
    pub seed: u64,
}

/// How an engine serves.
#[derive(Clone, Debug)]
pub enum Service {
    /// As the simulated engine of a profile does.
    Profile(Box<EngineProfile>),
    /// Each request holds one of a number of slots for a time that does not depend on the others;
    /// who finds no slot waits, first come first served.
    Slots(Fixed),
}

/// A fixed time of service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fixed {
    /// From getting a slot to the first token, ms.
    pub first_token_ms: f64,
    /// From each token to the next, ms.
    pub token_ms: f64,
    /// Requests served at the same time.
    pub slots: u32,
}
