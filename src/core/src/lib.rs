//! The pure heart of Forebay: the words as types, the physics of engines, and the decisions.
//!
//! Nothing here reads a clock, draws randomness or does I/O: time, randomness and observations
//! are arguments, so the same code runs in the twin and live.

#![forbid(unsafe_code)]

pub mod admit;
pub mod api;
pub mod capacity;
pub mod demand;
pub mod engine;
pub mod explain;
pub mod fleet;
pub mod gate;
pub mod ids;
pub mod learn;
pub mod manifest;
pub mod observe;
pub mod pick;
pub mod plan;
pub mod scenario;
pub mod sync;
pub mod time;
pub mod units;
