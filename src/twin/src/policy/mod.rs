//! Scaling policies: what people run today with its real formulas, anybody's own program, and
//! ours. Each is written as a [`PolicySpec`], and built into a planner that sees nothing but
//! Kubernetes targets and Prometheus.
//!
//! Every role of every fleet is one pool, scaled on its own, as there is one HPA per Deployment;
//! `dynamo` alone looks at all pools of a fleet at once. A key with the prefix `prefill.` or
//! `decode.` holds for that role only.
//!
//! Keys that every policy has:
//!
//! | key | meaning |
//! |---|---|
//! | `gate`, `gate.*` | which gate, and its own tunables |
//! | `engine.max_num_batched_tokens`, `engine.max_num_seqs` | scheduler limits of every variant |
//! | `variants=a\|b` | of each role only these variants are used, in this order; a role of which none is named keeps its own |
//! | `fill=order\|cheapest\|each\|first` | how the variants of a role share it: filled in order (default), the cheapest replica first, each scaled on its own, or only the first scaled |
//! | `min`, `max`, `initial` | bounds and start of each pool |
//! | `pd_split=P:D` | prefill and decode grow together, in units of P and D replicas |

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
mod mirror;
mod objects;
mod pools;
mod query;
mod registry;
mod series;
mod spec;
#[cfg(test)]
pub(crate) mod testing;
mod tunables;
mod wva;

pub use error::SpecError;
pub use mirror::{Mirror, MirrorError};
pub use objects::to_yaml;
pub use registry::{NAMES, build};
pub use spec::PolicySpec;
pub use tunables::{Scale, Tunable, tunables};

#[cfg(test)]
mod autoscaler_tests;
#[cfg(test)]
mod peers_tests;
