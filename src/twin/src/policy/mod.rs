//! Scaling policies: what people run today with its real formulas, anybody's own program, and
//! ours. Each is written as a [`PolicySpec`], and built into a planner that sees nothing but
//! Kubernetes targets and Prometheus.
//!
//! How a policy maps onto several variants and roles: every role of every fleet is one pool,
//! scaled on its own; the variants of a pool are filled in order (`variants=`, `fill=`, see
//! [`common`](self) keys in the documentation of the command line). A key with the prefix
//! `prefill.` or `decode.` holds for that role only, as there is one HPA per Deployment.

mod autoscaler;
mod common;
mod dynamo;
mod dynamo_model;
mod error;
mod exec;
mod fixed;
mod group;
mod hpa;
mod keys;
mod llmd;
mod metric;
mod objects;
mod pools;
mod query;
mod registry;
mod series;
mod spec;
#[cfg(test)]
mod testing;
mod tunables;
mod wva;

pub use error::SpecError;
pub use objects::to_yaml;
pub use registry::{NAMES, build};
pub use spec::PolicySpec;
pub use tunables::{Scale, Tunable, tunables};

#[cfg(test)]
mod autoscaler_tests;
#[cfg(test)]
mod peers_tests;
