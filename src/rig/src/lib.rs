//! What end-to-end tests, benchmarks and the demo run against: a test engine that serves simulated
//! physics over HTTP, an open-loop load, and a picker that does nothing. None of it is for
//! production.

#![forbid(unsafe_code)]

pub mod alarm;
pub mod authority;
pub mod bench;
pub mod engine;
pub mod load;
pub mod picker;
