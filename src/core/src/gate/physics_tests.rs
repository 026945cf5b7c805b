//! A gate whose profile is wrong about its engines.

use proptest::prelude::*;

use super::bench::{Bench, Fate, Outcome, Physics, world};
use super::{GateEvent, Refusal};
use crate::fleet::{Late, World};
use crate::ids::VariantId;
use crate::plan::testing;
use crate::time::{Span, Time};

/// A world whose profile says that everything takes so many times as long as it does.
fn wrong_by(times: f64) -> World {
    let mut world = world(&[0.0], Late::Refuse);
    let profile = &mut world.variants[0].profile;
    profile.step_time.calibration = times;
    world
}

/// Prompts of 20 to 3,000 tokens.
fn chat(draw: f64) -> u32 {
    20 + (draw * draw * 2_980.0) as u32
}

/// Of those that came from then on, the share for which it holds.
fn share(outcomes: &[Outcome], from_s: f64, holds: impl Fn(&Outcome) -> bool) -> f64 {
    let from = Time::from_seconds(from_s);
    let later: Vec<_> = outcomes.iter().filter(|outcome| outcome.arrived >= from).collect();
    assert!(later.len() > 100, "{}", later.len());
    later.iter().filter(|outcome| holds(outcome)).count() as f64 / later.len() as f64
}

fn late(outcome: &Outcome) -> bool {
    outcome.fate == Fate::Refused(Refusal::Late)
}

/// In which first tokens are wanted.
const QUARTER: Span = Span::from_millis(250);

/// When enough prompts of every length were answered for each to be judged by its own, s: nothing
/// is believed of prompts of a length because others are slow.
const LEARNED_S: f64 = 16.0;

/// So much of what four engines hold, for 32 s.
fn run(times: f64, physics: Physics, load: f64, within: Span, seed: u64) -> Vec<Outcome> {
    let mut bench = Bench::new(&wrong_by(times), 4, physics, seed);
    let per_second = load * 4.0 * physics.slots as f64 / physics.service(1_000).as_seconds();
    bench.offer(&[per_second], Span::from_secs(32), within, chat);
    bench.run_until(Time::from_seconds(60.0));
    assert_eq!(bench.open(), 0);
    bench.outcomes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// What engines serve in time is not refused, though the profile says that it cannot be.
    #[test]
    fn a_profile_that_is_too_slow_does_not_refuse_what_engines_serve_in_time(
        seed in 0_u64..1_000, times in 3.0_f64..12.0, streams in any::<bool>()
    ) {
        // An answer in one piece shows less: how soon all of it came. And its prompt counts as
        // lying ahead for as long, so that fewer are sent.
        let few = Physics { output_tokens: 2, streams, ..Physics::toy(8) };
        let (physics, load) = if streams { (Physics::toy(8), 0.5) } else { (few, 0.15) };
        let outcomes = run(times, physics, load, QUARTER, seed);
        let attained = share(&outcomes, LEARNED_S, Outcome::attained);
        let refused = share(&outcomes, LEARNED_S, late);
        prop_assert!(attained >= 0.95, "{attained}, {refused} refused, {times} times too slow");
    }

    /// What engines cannot serve in time is refused, though the profile says that they can.
    #[test]
    fn a_profile_that_is_too_fast_does_not_promise_what_engines_cannot_do(
        seed in 0_u64..1_000, times in 9.0_f64..12.0
    ) {
        // The profile says 30 ms and 0.12 ms for each token; nothing comes in a quarter second.
        let slow = Physics {
            first: Span::from_seconds(0.03 * times),
            per_token: Span::from_seconds(0.000_12 * times),
            ..Physics::toy(16)
        };
        let outcomes = run(3.0, slow, 0.5, QUARTER, seed);
        let answered = share(&outcomes, LEARNED_S, |it| matches!(it.fate, Fate::Answered(_)));
        // But for tries: one or two of each length in these seconds, of some 250 requests.
        prop_assert!(answered < 0.1, "{answered} answered, none in time");
        let refused = share(&outcomes, LEARNED_S, late);
        prop_assert!(refused > 0.9, "{refused}");
    }

    /// One that is right decides as it would if nothing were learned.
    #[test]
    fn a_profile_that_is_right_promises_what_it_keeps(seed in 0_u64..1_000) {
        let outcomes = run(1.0, Physics::toy(16), 0.5, Span::from_millis(500), seed);
        let attained = share(&outcomes, 0.0, Outcome::attained);
        prop_assert!(attained >= 0.99, "{attained}");
    }
}

#[test]
fn what_no_engine_can_do_is_tried_ever_more_rarely() {
    let slow = Physics { first: Span::from_secs(3), ..Physics::toy(16) };
    let mut bench = Bench::new(&wrong_by(300.0), 4, slow, 1);
    bench.offer(&[20.0], Span::from_secs(100), QUARTER, |_| 20);
    let tried = bench.sent_tokens[0] / 70;
    assert!((4..=10).contains(&tried), "{tried} of 2,000");
}

#[test]
fn physics_that_were_learned_count_at_once_and_lose_nothing() {
    let mut bench = Bench::new(&wrong_by(1.0), 2, Physics::toy(2), 1);
    bench.offer(&[20.0], Span::from_secs(2), Span::from_secs(2), |_| 500);
    let (held, sent) = (bench.gate.queue.len(), bench.gate.in_flight.len());
    assert!(held > 0 && sent > 0, "{held} {sent}");
    let mut profile = testing::profile();
    profile.step_time.calibration = 100.0;
    bench.tell(GateEvent::Learned { variant: VariantId(0), profile: &profile });
    assert_eq!((bench.gate.queue.len(), bench.gate.in_flight.len()), (held, sent));
    bench.run_until(bench.now + Span::from_secs(60));
    assert_eq!(bench.open(), 0, "everybody has an outcome");
    // Two variants' worth of nonsense changes nothing.
    bench.tell(GateEvent::Learned { variant: VariantId(7), profile: &profile });
}
