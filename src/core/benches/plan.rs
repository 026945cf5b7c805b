//! The hot paths of planning. Each group lives in a module of its own under `benches/plan/`.
//!
//! `cargo bench -p forebay-core --bench plan`

#[path = "plan/crowd.rs"]
mod crowd;
#[path = "plan/decision.rs"]
mod decision;
#[path = "plan/engines.rs"]
mod engines;
#[path = "plan/foresee.rs"]
mod foresee;
#[path = "plan/solve.rs"]
mod solve;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    solve::exact_plans,
    decision::decisions,
    foresee::forecasts,
    foresee::capacities
);
criterion_main!(benches);
