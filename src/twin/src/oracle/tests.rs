//! The bound in closed form, against brute force, and against steps that really happened.

use std::collections::BTreeMap;

use forebay_core::engine::profile::{EngineProfile, Limits, StepTime};
use forebay_core::fleet::{CapacityType, Slo, World};
use forebay_core::ids::{FleetId, TierId};
use forebay_core::time::{Span, Time};
use proptest::prelude::*;

use super::bound::Bound;
use super::check::{BoundBroken, check};
use super::clairvoyant::{GateChoice, search};
use super::load::{Load, LoadOptions};
use super::physics::{Need, Rates};
use super::schedule::{Headroom, Schedule};
use super::testing::{compute_only, variant, world};
use crate::report::{Run, TierSummary};
use crate::tune::{Goal, Outcome};

const MINUTE: Span = Span::from_secs(60);

fn options() -> LoadOptions {
    LoadOptions { bucket: MINUTE, ..LoadOptions::new(Time::ZERO, Span::from_secs(3_600)) }
}

/// Prompts of 1,000 tokens and one token out: at 1 s per thousand tokens a second of work each.
/// `per_minute[m]` of them arrive in the middle of minute `m`.
fn prompts(world: &World, tier: u8, per_minute: &[u32]) -> Bound {
    let mut load = Load::new(world, options()).unwrap();
    for (minute, &count) in per_minute.iter().enumerate() {
        let at = Time::ZERO + Span::from_secs(60 * minute as u64 + 30);
        for _ in 0..count {
            load.add(FleetId(0), TierId(tier), at, 1_000, 1, 0);
        }
    }
    Bound::of(load)
}

fn one_variant(start_up: Span) -> World {
    world(vec![variant(0, compute_only(1_000.0), start_up)], &[3.6])
}

fn assert_near(value: f64, expected: f64, share: f64) {
    let off = (value - expected).abs();
    assert!(off <= share * expected.abs(), "{value} is not {expected}");
}

#[test]
fn steady_work_costs_its_time_less_what_may_miss() {
    // 60 minutes of 120 s of work, 3.6 USD/h: 7.2 USD, of which one per cent may miss.
    let bound = prompts(&one_variant(Span::from_secs(180)), 0, &[120; 60]);
    assert_near(bound.cost().0, 7.2 * 0.99, 1e-6);
    assert_near(bound.cash_at(&[0, 0]).0, 7.2, 1e-6);
    assert_near(bound.cash_at(&[3_600, 0]).0, 3.6, 1e-6);
    assert!(bound.cash_at(&[7_200, 0]).0.abs() < 1e-9);
}

#[test]
fn a_valley_shorter_than_a_start_is_held_and_a_longer_one_is_left() {
    // 60 s of work a minute is one replica; start-up is three minutes, a minute costs 0.06 USD.
    let world = one_variant(Span::from_secs(180));
    let short = [60, 60, 60, 60, 0, 0, 60, 60, 60, 60];
    assert_near(prompts(&world, 0, &short).cash_at(&[0, 0]).0, 0.6, 0.01);
    let long: Vec<u32> = [vec![60; 4], vec![0; 20], vec![60; 4]].concat();
    assert_near(prompts(&world, 0, &long).cash_at(&[0, 0]).0, (8.0 + 3.0) * 0.06, 0.01);
}

#[test]
fn deferrable_work_fills_the_valley() {
    // Interactive leaves room for half a replica in the second half hour; batch fits there.
    let world = one_variant(Span::from_secs(180));
    let mut load = Load::new(&world, options()).unwrap();
    for minute in 0..60 {
        let at = Time::ZERO + Span::from_secs(60 * minute + 30);
        let count = if minute < 30 { 60 } else { 30 };
        for _ in 0..count {
            load.add(FleetId(0), TierId(0), at, 1_000, 1, 0);
        }
        if minute < 30 {
            for _ in 0..20 {
                load.add(FleetId(0), TierId(1), at, 1_000, 1, 0);
            }
        }
    }
    // Work in all: 30 * (60 + 20) + 30 * 30 s, none of it idle.
    assert_near(Bound::of(load).cash_at(&[0, 0]).0, 3_300.0 / 1_000.0, 0.01);
}

#[test]
fn the_cheaper_variant_sets_the_price_until_it_runs_out() {
    let minute = Span::from_secs(60);
    let mut cheap = variant(0, compute_only(1_000.0), minute);
    let dear = variant(1, compute_only(500.0), minute);
    // 3.6 USD per hour at 1 s each, or 10.8 USD per hour at half a second: 0.001 or 0.0015 USD.
    let plenty = world(vec![cheap.clone(), dear.clone()], &[3.6, 10.8]);
    assert_near(prompts(&plenty, 0, &[120; 60]).cash_at(&[0, 0]).0, 7.2, 1e-6);
    // With one cheap replica the other minute of work a minute goes to the dear one.
    cheap.replicas_max = 1;
    let scarce = world(vec![cheap, dear], &[3.6, 10.8]);
    assert_near(prompts(&scarce, 0, &[120; 60]).cash_at(&[0, 0]).0, 3.6 + 5.4, 1e-6);
}

#[test]
fn minimums_and_committed_replicas_are_counted() {
    let mut held = variant(0, compute_only(1_000.0), MINUTE);
    held.replicas_min = 3;
    held.replicas_initial = 3;
    let bound = prompts(&world(vec![held], &[3.6]), 0, &[60; 60]);
    // Three replicas from the start to the last arrival at 59.5 min, though one would do.
    assert_near(bound.cash_at(&[0, 0]).0, 3.0 * 3.6 * 59.5 / 60.0, 1e-6);

    let mut committed = variant(0, compute_only(1_000.0), MINUTE);
    committed.capacity_type = CapacityType::Committed;
    let mut world = world(vec![committed, variant(0, compute_only(1_000.0), MINUTE)], &[3.6]);
    world.accelerators[0].committed = 1;
    let bound = prompts(&world, 0, &[180; 60]);
    assert_near(bound.cash_at(&[0, 0]).0, 7.2, 1e-6);
    assert_near(bound.sunk().0, 3.6 * 59.5 / 60.0, 1e-9);
}

#[test]
fn what_is_not_scored_costs_nothing() {
    let world = one_variant(MINUTE);
    let mut load = Load::new(
        &world,
        LoadOptions { scored_from: Time::ZERO + Span::from_secs(900), ..options() },
    )
    .unwrap();
    load.add(FleetId(0), TierId(0), Time::ZERO + Span::from_secs(899), 1_000, 1, 0);
    let bound = Bound::of(load);
    assert_eq!(bound.requests(), [0, 0]);
    assert!(bound.cost().0.abs() < 1e-12);
}

#[test]
fn a_run_cheaper_than_the_bound_is_told() {
    let bound = prompts(&one_variant(MINUTE), 0, &[120; 60]);
    let mut run = Run { policy: "static".into(), cost_usd: 7.3, ..Run::default() };
    let tier = TierSummary { requests: 7_200, attained: 7_200, ..TierSummary::default() };
    run.tiers = BTreeMap::from([("interactive".to_owned(), tier)]);
    assert_eq!(check(&run, &bound), Ok(()));
    run.cost_usd = 7.1;
    assert!(matches!(check(&run, &bound), Err(BoundBroken { bound_usd, .. }) if bound_usd > 7.19));
    // The same cash is honest at 98 %.
    run.tiers.get_mut("interactive").unwrap().attained = 7_056;
    assert_eq!(check(&run, &bound), Ok(()));
}

/// Cheapest whole-number schedule that serves whole prompts in minutes: each interactive one in
/// the minute it came in (it came in the middle of it, with 2 s to go), each deferrable one in
/// that or any later minute. Enumerates placements of deferrable work and replicas.
fn brute_force(interactive: &[u32], batch: &[u32], start_up_minutes: f64) -> f64 {
    fn cost(work: &[u32], start_up: f64) -> f64 {
        let top = work.iter().map(|work| work.div_ceil(60)).max().unwrap_or(0);
        let mut best = vec![0.0; 1 + top as usize];
        for (minute, &work) in work.iter().enumerate() {
            let step = |now: u32| {
                if now * 60 < work {
                    return f64::INFINITY;
                }
                let ways = (0..=top).map(|then| {
                    let starts = if minute == 0 { 0 } else { now.saturating_sub(then) };
                    best[then as usize] + start_up * f64::from(starts)
                });
                f64::from(now) + ways.fold(f64::INFINITY, f64::min)
            };
            best = (0..=top).map(step).collect();
        }
        best.into_iter().fold(f64::INFINITY, f64::min)
    }
    fn place(work: &mut Vec<u32>, batch: &[u32], minute: usize, start_up: f64) -> f64 {
        let Some(&amount) = batch.get(minute) else { return cost(work, start_up) };
        if amount == 0 {
            return place(work, batch, minute + 1, start_up);
        }
        let mut best = f64::INFINITY;
        for target in minute..work.len() {
            work[target] += amount;
            best = best.min(place(work, batch, minute + 1, start_up));
            work[target] -= amount;
        }
        best
    }
    place(&mut interactive.to_vec(), batch, 0, start_up_minutes) * 0.06
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_whole_number_schedule_is_cheaper(
        interactive in prop::collection::vec(0_u32..150, 5),
        batch in prop::collection::vec(0_u32..60, 3),
        start_up in 0_u64..5,
    ) {
        let world = one_variant(Span::from_secs(60 * start_up));
        let mut load = Load::new(&world, options()).unwrap();
        for (tier, counts) in [(0, &interactive), (1, &batch)] {
            for (minute, &count) in counts.iter().enumerate() {
                let at = Time::ZERO + Span::from_secs(60 * minute as u64 + 30);
                for _ in 0..count {
                    load.add(FleetId(0), TierId(tier), at, 1_000, 1, 0);
                }
            }
        }
        let bound = Bound::of(load).cash_at(&[0, 0]).0;
        let cheapest = brute_force(&interactive, &batch, start_up as f64);
        prop_assert!(bound <= cheapest * (1.0 + 1e-9), "{bound} > {cheapest}");
        let work = interactive.iter().chain(&batch).sum::<u32>();
        prop_assert!(bound >= f64::from(work) * 0.001 * (1.0 - 1e-6));
    }

    #[test]
    fn more_load_never_costs_less(
        counts in prop::collection::vec(0_u32..40, 3..20), factor in 2_u32..4,
    ) {
        let mut world = one_variant(Span::from_secs(120));
        for slo in world.fleets[0].slos.iter_mut().flatten() {
            let (Slo::Latency { percentile, .. } | Slo::Completion { percentile, .. }) = slo;
            *percentile = 1.0;
        }
        let more: Vec<u32> = counts.iter().map(|count| count * factor).collect();
        let (one, many) = (prompts(&world, 0, &counts), prompts(&world, 0, &more));
        // Nobody may miss, so the bound grows with the load but for how far the game went.
        let expected = one.cash_at(&[0, 0]).0 * f64::from(factor);
        let cash = many.cash_at(&[0, 0]).0;
        prop_assert!(cash >= one.cash_at(&[0, 0]).0);
        prop_assert!((cash - expected).abs() <= 0.01 * expected, "{cash} {expected}");
        prop_assert!(one.cash_at(&[1, 0]).0 <= one.cash_at(&[0, 0]).0);
    }
}

/// What a mini-engine did: seconds busy, each request's need with the mean gap that it really had,
/// and the most KV, sequences and tokens in any step.
struct Happened {
    busy_s: f64,
    needs: Vec<Need>,
    kv_max: u64,
    limits: Limits,
}

/// Runs requests (arrival step, prompt, output) through steps that carry every running decode and
/// fill `budget` with prompts in order of arrival, after the formula of the profile.
fn steps(step: &StepTime, requests: &[(u32, u32, u32)], budget: u32) -> Happened {
    let mut state: Vec<(u32, u32, f64)> = vec![(0, 0, 0.0); requests.len()];
    let mut happened = Happened {
        busy_s: 0.0,
        needs: Vec::new(),
        kv_max: 0,
        limits: Limits { max_num_batched_tokens: 1, max_num_seqs: 1 },
    };
    let mut number = 0;
    while state.iter().zip(requests).any(|(state, request)| state.1 < request.2) {
        let (mut tokens, mut kv, mut pairs, mut sequences, mut resident) = (0, 0_u64, 0.0, 0, 0);
        let mut decoding = Vec::new();
        let mut left = budget;
        for (index, &(arrives, prompt, output)) in requests.iter().enumerate() {
            let (computed, out, _) = state[index];
            if out >= 1 && out < output {
                tokens += 1;
                left = left.saturating_sub(1);
                kv += u64::from(prompt + out - 1);
                resident += u64::from(prompt + out - 1);
                decoding.push(index);
                sequences += 1;
            } else if out == 0 && arrives <= number && left > 0 {
                let chunk = (prompt - computed).min(left);
                left -= chunk;
                tokens += chunk;
                pairs += f64::from(chunk) * (f64::from(computed) + f64::from(chunk) / 2.0);
                resident += u64::from(computed + chunk);
                state[index].0 += chunk;
                sequences += 1;
            }
        }
        number += 1;
        if tokens == 0 {
            continue;
        }
        let n = f64::from(tokens);
        let touched = 1.0 - (1.0 - step.expert_share_per_token).powf(n);
        let weights = step.weights_ms + step.experts_ms * touched;
        let q = step.overlap_exponent;
        let both = (weights.powf(q) + (step.compute_ms_per_ktoken * n / 1e3).powf(q)).powf(1.0 / q);
        let seconds = step.calibration
            * 1e-3
            * (step.fixed_ms
                + both
                + step.kv_read_ms_per_ktoken * kv as f64 / 1e3
                + step.attention_ms_per_mpair * pairs / 1e6);
        happened.busy_s += seconds;
        happened.kv_max = happened.kv_max.max(resident);
        let limits = &mut happened.limits;
        limits.max_num_batched_tokens = limits.max_num_batched_tokens.max(tokens);
        limits.max_num_seqs = limits.max_num_seqs.max(sequences);
        for &index in &decoding {
            state[index].1 += 1;
            state[index].2 += seconds;
        }
        for (state, request) in state.iter_mut().zip(requests) {
            if state.1 == 0 && state.0 == request.1 {
                state.1 = 1;
            }
        }
    }
    for (&(_, prompt, output), &(_, _, decode_s)) in requests.iter().zip(&state) {
        let gaps = f64::from(output - 1);
        happened.needs.push(Need {
            prompt: f64::from(prompt),
            shared: 0.0,
            gaps,
            gap_max_s: (gaps > 0.0).then(|| decode_s / gaps),
        });
    }
    happened
}

prop_compose! {
    fn any_profile()(
        fixed_ms in 0.0_f64..6.0, weights_ms in 0.5_f64..30.0, experts_ms in 0.0_f64..20.0,
        share in 0.001_f64..0.3, g in 5.0_f64..150.0, q in 1.0_f64..8.0, c in 0.0_f64..0.5,
        e in 0.0_f64..4.0, calibration in 0.7_f64..1.5,
    ) -> EngineProfile {
        let mut profile = compute_only(g);
        profile.step_time = StepTime {
            fixed_ms, weights_ms, experts_ms, expert_share_per_token: share,
            compute_ms_per_ktoken: g, overlap_exponent: q, kv_read_ms_per_ktoken: c,
            attention_ms_per_mpair: e, calibration,
        };
        profile
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn steps_that_happened_never_beat_the_work_bound(
        mut profile in any_profile(),
        requests in prop::collection::vec((0_u32..60, 1_u32..900, 1_u32..90), 1..30),
        budget in 64_u32..1_024,
    ) {
        let happened = steps(&profile.step_time, &requests, budget);
        profile.kv.capacity_tokens = happened.kv_max;
        profile.limits = happened.limits;
        for rates in Rates::candidates(&profile) {
            let work: f64 = happened
                .needs
                .iter()
                .map(|need| rates.prefill_s(need).unwrap() + rates.decode_s(need).unwrap_or(0.0))
                .sum();
            prop_assert!(
                work <= happened.busy_s * (1.0 + 1e-9),
                "{work} > {} with {rates:?}", happened.busy_s
            );
        }
    }
}

#[test]
fn the_work_bound_is_tight_for_a_steady_full_batch() {
    // 64 equal requests decode together: gaps are what the batch of 64 takes, so charging by
    // gaps leaves nothing out but the change of context over the request's life.
    let mut profile = compute_only(48.7);
    profile.step_time = StepTime {
        weights_ms: 13.5,
        overlap_exponent: 1.8,
        kv_read_ms_per_ktoken: 0.2,
        ..profile.step_time
    };
    let requests = vec![(0, 1, 400); 64];
    let happened = steps(&profile.step_time, &requests, 4_096);
    profile.limits = happened.limits.clone();
    let best = Rates::candidates(&profile)
        .iter()
        .map(|rates| {
            let need = |need| Some(rates.prefill_s(need)? + rates.decode_s(need)?);
            happened.needs.iter().filter_map(need).sum::<f64>()
        })
        .fold(0.0, f64::max);
    assert!(best > 0.98 * happened.busy_s, "{best} of {}", happened.busy_s);
}

/// Replica-minutes of a schedule's first variant over an hour.
fn replica_minutes(schedule: &Schedule) -> u32 {
    let at = |minute: u64| {
        let time = Time::ZERO + Span::from_secs(60 * minute);
        schedule.steps.iter().rev().find(|(from, _)| *from <= time).map_or(0, |(_, all)| all[0])
    };
    (0..60).map(at).sum()
}

#[test]
fn a_schedule_covers_the_need_ahead_of_time() {
    let world = one_variant(Span::from_secs(120));
    // One replica is busy for half an hour, then three.
    let counts: Vec<u32> = [vec![60; 30], vec![180; 30]].concat();
    let bound = prompts(&world, 0, &counts);
    let plan =
        |serve| Schedule::plan(&world, &bound, &Headroom { serve, prefill: serve, defer: false });
    // Start-up of two minutes and a bucket: the step up is asked for at minute 27.
    let steps = plan(1.0).steps;
    assert_eq!(steps[0], (Time::ZERO, vec![1]));
    assert_eq!(steps[1], (Time::ZERO + Span::from_secs(27 * 60), vec![3]));
    assert_eq!(plan(0.5).steps[1].1, vec![6]);
}

#[test]
fn the_search_finds_the_headroom_that_just_attains() {
    let world = one_variant(Span::from_secs(120));
    let bound = prompts(&world, 0, &[600; 60]);
    let goal = Goal { attainment: BTreeMap::from([("interactive".to_owned(), 0.99)]) };
    let gates = ["careless", "careful"].map(|name| GateChoice { name: name.into(), defers: false });
    // Ten replicas are busy; the careless gate needs fifteen to attain, the careful one twelve.
    let evaluate = |gate: &GateChoice, schedule: &std::sync::Arc<Schedule>| {
        let replicas = replica_minutes(schedule) / 60;
        let needed = if gate.name == "careless" { 15 } else { 12 };
        let attained = if replicas >= needed { 0.995 } else { 0.9 };
        let attainment = BTreeMap::from([("interactive".to_owned(), attained)]);
        Outcome { cost_usd: f64::from(replicas), attainment }
    };
    let found = search(&world, &bound, &goal, &gates, (24, 2), evaluate).unwrap();
    assert_eq!((found.gate, found.outcome.cost_usd.round() as u32), (1, 12));
    let never = |gate: &GateChoice, schedule: &std::sync::Arc<Schedule>| Outcome {
        attainment: BTreeMap::from([("interactive".to_owned(), 0.5)]),
        ..evaluate(gate, schedule)
    };
    assert_eq!(search(&world, &bound, &goal, &gates, (24, 2), never), None);
}
