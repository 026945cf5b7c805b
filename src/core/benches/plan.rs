//! The hot paths of planning. Each group lives in a module of its own under `benches/plan/`.
//!
//! `cargo bench -p forebay-core --bench plan`

#[path = "plan/crowd.rs"]
mod crowd;
#[path = "plan/solve.rs"]
mod solve;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, solve::exact_plans);
criterion_main!(benches);
