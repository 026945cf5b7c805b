use super::physics::*;
use super::predict::scaled_profile;
use super::steps::{LeftOut, StepWindow};
use super::testing::{BUSY, Engine, State, profile};
use crate::engine::profile::EngineProfile;
use crate::fleet::Role;

/// A number in -1..1 that looks random.
fn noise(index: u64) -> f64 {
    let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A state somewhere in the operating range.
fn moving(index: u64) -> State {
    let swing = |salt: u64| f64::midpoint(1.0, noise(index * 7 + salt));
    State {
        batch: (4.0 + 120.0 * swing(1)).round(),
        // Mean lengths change slowly.
        context: 1_000.0 + 600.0 * (index as f64 / 300.0).sin(),
        prefill_share: 0.3 * swing(3),
        prompt: 200.0 + 1_200.0 * swing(4),
        slower: 1.0 + 0.03 * noise(index),
    }
}

fn window(truth: &EngineProfile, state: &State) -> StepWindow {
    let mut first = Engine::warm();
    first.run(truth, state);
    let mut last = first.clone();
    last.run(truth, state);
    StepWindow::between(first.shown(), last.shown(), &truth.limits, Role::Both).unwrap()
}

fn worst(truth: &EngineProfile, learned: &EngineProfile) -> f64 {
    (0..200)
        .map(|index| {
            let state = State { slower: 1.0, ..moving(index + 10_000) };
            let mix = window(truth, &state).mix(&truth.limits);
            (mix.seconds(&learned.step_time) / mix.seconds(&truth.step_time) - 1.0).abs()
        })
        .fold(0.0, f64::max)
}

#[test]
fn a_wrong_profile_is_put_right_in_every_coefficient() {
    let prior = profile();
    let truth = scaled_profile(&prior, &[-0.26, 0.36, -0.4]);
    let mut learner = PhysicsLearner::default();
    for index in 0..300 {
        learner.observe(&prior, &window(&truth, &moving(index))).unwrap();
    }
    assert!(learner.in_force(), "{:?}", learner.score());
    let learned = learner.profile(&prior);
    assert!(worst(&truth, &prior) > 0.2);
    assert!(worst(&truth, &learned) < 0.02, "{} {:?}", worst(&truth, &learned), learner);
    for (learned, truth) in learner.multipliers().iter().zip([-0.26_f64, 0.36, -0.4]) {
        let off = (learned.value - truth.exp()).abs();
        assert!(off < 4.0 * learned.deviation + 0.02, "{learned:?} {}", truth.exp());
    }
}

#[test]
fn physics_stay_positive_and_within_reach_whatever_is_shown() {
    let prior = profile();
    let mut learner = PhysicsLearner::default();
    for index in 0..400 {
        let slower = if index % 2 == 0 { 1e-3 } else { 1e-2 };
        let state = State { slower, ..moving(index) };
        let shown = window(&prior, &BUSY);
        let shown = StepWindow { seconds: shown.seconds * state.slower, ..shown };
        let _ = learner.observe(&prior, &shown);
    }
    let step = learner.profile(&prior).step_time;
    let least = (-PARAMETER_MAX).exp() * 0.999;
    assert!(step.weights_ms >= 9.0 * least && step.compute_ms_per_ktoken >= 40.0 * least);
    assert!(step.kv_read_ms_per_ktoken >= 0.1 * least && step.weights_ms < 9.0);
}

#[test]
fn one_unlucky_window_teaches_no_tiny_capacity() {
    let prior = profile();
    let mut learner = PhysicsLearner::default();
    for index in 0..40 {
        learner.observe(&prior, &window(&prior, &moving(index))).unwrap();
    }
    let unlucky =
        StepWindow { seconds: 60.0 * window(&prior, &BUSY).seconds, ..window(&prior, &BUSY) };
    learner.observe(&prior, &unlucky).unwrap();
    assert_eq!(learner.clipped(), 1);
    assert!(worst(&prior, &learner.profile(&prior)) < 0.03, "{:?}", learner.multipliers());
    // Nor does it as the very first.
    let mut first = PhysicsLearner::default();
    first.observe(&prior, &unlucky).unwrap();
    assert!(!first.in_force());
    assert_eq!(first.profile(&prior), prior);
}

#[test]
fn where_regressors_do_not_move_nothing_is_made_up() {
    let prior = profile();
    // A quarter slower in all, shown at one short-context state only: KV is 3 % of the step there.
    let still =
        State { batch: 30.0, context: 100.0, prefill_share: 0.0, prompt: 1.0, slower: 1.25 };
    let mut learner = PhysicsLearner::default();
    let shown = window(&prior, &still);
    for _ in 0..3_000 {
        learner.observe(&prior, &shown).unwrap();
    }
    let [fixed, _, kv] = learner.multipliers();
    assert!((kv.value - 1.0).abs() < 1e-9, "KV was never excited: {kv:?}");
    assert!(fixed.value > 1.1);
    let mix = shown.mix(&prior.limits);
    let there = mix.seconds(&learner.profile(&prior).step_time) / shown.seconds;
    assert!((there - 1.0).abs() < 0.01, "at that state it is right: {there}");
    // A window whose time nothing explains: no regressor at all.
    let nothing = EngineProfile {
        step_time: crate::engine::profile::StepTime {
            fixed_ms: 0.0,
            weights_ms: 0.0,
            ..prior.step_time.clone()
        },
        ..prior.clone()
    };
    let empty = StepWindow { decodes: 0.0, kv_tokens: 0.0, prefill_tokens: 0.0, ..shown };
    assert!(matches!(
        learner.observe(&nothing, &empty),
        Err(LeftOut::NotExcited | LeftOut::Contradiction)
    ));
}

#[test]
fn what_was_learned_is_dropped_when_the_profile_does_better() {
    let prior = profile();
    let slow = scaled_profile(&prior, &[0.5, 0.5, 0.5]);
    let mut learner = PhysicsLearner::default();
    for index in 0..60 {
        learner.observe(&prior, &window(&slow, &moving(index))).unwrap();
    }
    assert!(learner.in_force());
    assert!(worst(&slow, &learner.profile(&prior)) < 0.03);
    // The engine was mended: now the profile is right, and is taken back before it is relearned.
    let mut dropped_after = None;
    for index in 0..90 {
        learner.observe(&prior, &window(&prior, &moving(index))).unwrap();
        if !learner.in_force() && dropped_after.is_none() {
            dropped_after = Some(index);
            assert_eq!(learner.profile(&prior), prior);
            let relearned = scaled_profile(&prior, &learner.parameters_learned());
            assert!(worst(&prior, &relearned) > 0.0);
        }
    }
    assert!(dropped_after.is_some_and(|windows| windows < 60), "{dropped_after:?}");
}

#[test]
fn it_keeps_learning_in_overload() {
    let prior = profile();
    let truth = scaled_profile(&prior, &[0.2, 0.2, 0.2]);
    let mut learner = PhysicsLearner::default();
    let full = State { batch: 256.0, context: 1_500.0, prefill_share: 0.5, ..BUSY };
    for index in 0..100 {
        let state = State { context: 1_200.0 + 3.0 * index as f64, ..full };
        let mut first = Engine::warm();
        first.run(&truth, &state);
        first.page.waiting = 500.0;
        let mut last = first.clone();
        last.run(&truth, &state);
        // Blocks run out now and then.
        last.page.preemptions_total += 3.0;
        let shown =
            StepWindow::between(first.shown(), last.shown(), &truth.limits, Role::Both).unwrap();
        learner.observe(&prior, &shown).unwrap();
    }
    assert!(learner.in_force());
    let mix = window(&truth, &full).mix(&truth.limits);
    let there = mix.seconds(&learner.profile(&prior).step_time) / mix.seconds(&truth.step_time);
    assert!((there - 1.0).abs() < 0.02, "{there}");
}

#[test]
fn an_engine_without_steps_learns_one_multiplier() {
    let prior = profile();
    let truth = scaled_profile(&prior, &[0.3, 0.3, 0.3]);
    let mut learner = PhysicsLearner::default();
    for index in 0..100 {
        let shown = StepWindow { steps: None, ..window(&truth, &moving(index)) };
        learner.observe(&prior, &shown).unwrap();
    }
    let [fixed, token, kv] = learner.parameters();
    let apart = (fixed - token).abs().max((token - kv).abs());
    assert!(apart < 1e-12 && (fixed - 0.3).abs() < 0.02, "{fixed} {token} {kv}");
}

#[test]
fn it_says_how_sure_it_is() {
    let prior = profile();
    let mut learner = PhysicsLearner::default();
    let shown = window(&prior, &BUSY);
    let before = learner.predict(&prior, &shown);
    assert!(before.deviation > 0.1 * before.value && before.samples < 1.0);
    for index in 0..100 {
        learner.observe(&prior, &window(&prior, &moving(index))).unwrap();
    }
    let after = learner.predict(&prior, &shown);
    assert!(after.deviation < 0.03 * after.value, "{after:?}");
    assert!((after.value / shown.seconds - 1.0).abs() < 0.03);
}
