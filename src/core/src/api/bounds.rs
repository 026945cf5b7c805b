//! How much a manifest may ask for. Each bound is far above what a real fleet needs and far below
//! what would make a table overflow or a run endless.

/// Fleets decided about together. [`crate::ids::FleetId`] could hold more; a planner could not.
pub const FLEETS_MAX: usize = 64;
/// Variants of one fleet: roles times accelerators times parallelism stays well below.
pub const VARIANTS_PER_FLEET_MAX: usize = 32;
/// Tiers of all policies of a run; [`crate::ids::TierId`] is a `u8` and people cannot rank more.
pub const TIERS_MAX: usize = 16;
/// Accelerator classes of a run; [`crate::ids::AcceleratorId`] is a `u8`.
pub const ACCELERATOR_CLASSES_MAX: usize = 64;
/// Named tenants of a policy; more than that belong in the identity source, not in a manifest.
pub const TENANTS_MAX: usize = 4_096;
/// Shares that a scenario cuts traffic into.
pub const SHARES_MAX: usize = 256;
/// Faults of one scenario.
pub const FAULTS_MAX: usize = 1_000;
/// Items of any other list.
pub const LIST_MAX: usize = 1_024;
/// Replicas of one variant; Kubernetes itself stops at 5000 nodes.
pub const REPLICAS_MAX: u32 = 5_000;
/// Accelerators of one replica: a rack of 72 is the largest domain that one engine spans.
pub const ACCELERATORS_PER_REPLICA_MAX: u32 = 72;
/// Accelerators of one node: the same rack, sold as one.
pub const ACCELERATORS_PER_NODE_MAX: u32 = 72;
/// Accelerators of one class.
pub const ACCELERATORS_MAX: u32 = 1_000_000;
/// Longest drain in seconds: a day, after which any answer has ended.
pub const DRAIN_SECONDS_MAX: u32 = 86_400;
/// Longest time a connection may be held, in seconds: beyond five minutes proxies and client
/// libraries have given up.
pub const HOLD_SECONDS_MAX: u32 = 300;
/// Longest duration of any field, in days: a run cannot be longer.
pub const DURATION_DAYS_MAX: u64 = crate::time::RUN_DAYS_MAX;
/// Highest price per hour: a typing error, not a price, begins here.
pub const AMOUNT_MAX: f64 = 1e9;
/// Largest log-normal spread of a start: at 2, one start in forty takes fifty times the median.
pub const SIGMA_MAX: f64 = 2.0;
/// Largest factor by which a fault may stretch or multiply.
pub const FACTOR_MAX: f64 = 1_000.0;
/// Most requests that queue workers of one fleet have in flight: more than any fleet runs at once.
pub const PULL_CONCURRENCY_MAX: u32 = 1_000_000;
/// Largest weight of one target of a rewrite, as in the Gateway API.
pub const WEIGHT_MAX: u32 = 1_000_000;
