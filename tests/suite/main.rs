//! End-to-end suites, one binary for all: link times dominate.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod admission;
mod architecture;
mod command_line;
mod corpus;
mod envoy;
mod fleet_sync;
mod live;
mod proxy;
mod support;
mod tls;
