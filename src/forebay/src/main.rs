//! The `forebay` binary: command line and wiring.

#![forbid(unsafe_code)]

fn main() {}
