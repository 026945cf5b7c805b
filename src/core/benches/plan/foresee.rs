//! The forecaster, and the questions put to what is known of capacity.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use forebay_core::capacity::{self, Sizer, TierAsk};
use forebay_core::demand::{Forecaster, Moments, TierLoad, Workload};
use forebay_core::fleet::{Role, Slo};
use forebay_core::ids::VariantId;
use forebay_core::time::{Span, Time};

use crate::engines::profile;

const STEP: Span = Span::from_secs(15);

/// A wave with noise, for ten hours: every horizon has all of its scores.
fn forecaster() -> (Forecaster, Time) {
    let mut forecaster = Forecaster::new(STEP);
    let (mut now, mut state) = (Time::ZERO, 7_u64);
    for step in 0..2_400 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let noise = (state >> 33) as f64 / (1_u64 << 31) as f64;
        forecaster.observe(now, 10.0 + 4.0 * (f64::from(step) / 900.0).sin() + 3.0 * noise);
        now += STEP;
    }
    (forecaster, now)
}

pub(crate) fn forecasts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forecast");
    let (forecaster, now) = forecaster();
    group.bench_function("observe a value", |bencher| {
        bencher.iter_batched(
            || forecaster.clone(),
            |mut forecaster| {
                forecaster.observe(now, 11.0);
                forecaster
            },
            BatchSize::SmallInput,
        );
    });
    let lead = Span::from_secs(200);
    group.bench_function("look ahead over a lead", |bencher| {
        bencher.iter(|| forecaster.ahead(black_box(now), lead, 0.9));
    });
    group.finish();
}

pub(crate) fn capacities(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capacity");
    let profile = profile(1.0);
    let workload = Workload {
        prompt_tokens: Moments::with_variation(900.0, 1.2),
        output_tokens: Moments::with_variation(200.0, 0.9),
        cached_share: 0.2,
        dispersion: 1.5,
    };
    let slo = |ttft: u64| Slo::Latency {
        ttft: Span::from_secs(ttft),
        tpot: Span::from_millis(100),
        percentile: 0.99,
    };
    let load = |requests_per_s| TierLoad { requests_per_s, workload };
    let loads = [load(30.0), load(20.0), load(10.0)];
    let asks: Vec<TierAsk<'_>> = loads
        .iter()
        .zip([2, 5, 20])
        .map(|(load, ttft)| TierAsk { load, slo: Some(slo(ttft)) })
        .collect();
    group.bench_function("what ten replicas hold, closed form", |bencher| {
        bencher.iter(|| {
            capacity::sustainable(black_box(&profile), Role::Both, &workload, &slo(2), 10)
        });
    });
    group.bench_function("what one tier needs, closed form", |bencher| {
        bencher.iter(|| capacity::needed(black_box(&profile), Role::Both, &asks[..1], 0.0));
    });
    group.bench_function("what three tiers need, closed form", |bencher| {
        bencher.iter(|| capacity::needed(black_box(&profile), Role::Both, &asks, 0.0));
    });
    let mut sizer = Sizer::default();
    let variant = VariantId(0);
    sizer.size(variant, &profile, Role::Both, &asks, 0.0);
    while sizer.refresh(1) > 0 {}
    group.bench_function("what three tiers need, from replays", |bencher| {
        bencher.iter(|| sizer.size(variant, black_box(&profile), Role::Both, &asks, 0.0));
    });
    group.bench_function("what one tier needs, from replays", |bencher| {
        bencher.iter(|| sizer.size(variant, black_box(&profile), Role::Both, &asks[..1], 0.0));
    });
    group.bench_function("what ten replicas hold, from replays", |bencher| {
        bencher.iter(|| sizer.held(black_box(variant), 2, 10));
    });
    group.finish();
}
