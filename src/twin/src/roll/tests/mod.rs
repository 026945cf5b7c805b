//! Roll-forwards on small fleets, and against the whole twin.

mod against_twin;

use std::ops::Range;

use forebay_core::fleet::{Role, World};
use forebay_core::ids::{EndpointId, FleetId, TierId, VariantId};
use forebay_core::plan::roll::{
    Candidate, EngineLoad, Held, Interval, Lengths, LiveEndpoint, LiveState, PendingReplica,
    QueuesAt, Record, RollAnswer, RollRequest, TierCount, TierOutlook, Verdict, judge,
};
use forebay_core::time::{Span, Time};

use super::course::Course;
use super::rollout::{Outcome, Rollout};
use super::scenario::Futures;
use super::{RollError, roll_forward};
use crate::sim::tests::{at, variant, world};

/// When everything is asked.
const ASKED_S: u64 = 3_600;

fn aggregated() -> World {
    world(vec![variant("l40s", Role::Both, 1)])
}

/// An hour of arrivals whose rate swings by a third around `per_s` in five minutes; 800 prompt
/// and 150 output tokens on average.
fn record(per_s: f32) -> Record {
    let mut record = Record::default();
    for number in 0..240_u64 {
        let swing = 1.0 + (number as f32 / 20.0 * std::f32::consts::TAU).sin() / 3.0;
        let requests = (per_s * 15.0 * swing).round();
        let count = TierCount {
            requests,
            prompt_tokens: requests * 800.0,
            finished: requests,
            output_tokens: requests * 150.0,
        };
        let until = at((number + 1) * 15);
        record.push(Interval { until, span: Span::from_secs(15), tiers: vec![count] });
    }
    let mut lengths = Lengths { counts: vec![0.0; 17], mean: 800.0 };
    lengths.counts[7..11].copy_from_slice(&[20.0, 40.0, 30.0, 10.0]);
    record.prompt_tokens = lengths.clone();
    lengths.counts.rotate_left(2);
    record.output_tokens = Lengths { mean: 150.0, ..lengths };
    record
}

fn plan(replicas: &[u32]) -> Candidate {
    let numbered = replicas.iter().enumerate();
    Candidate { replicas: numbered.map(|(id, count)| (VariantId(id as u16), *count)).collect() }
}

/// What the plans would do at `per_s` requests a second, with as many endpoints ready as the
/// first plan has, all idle.
fn request(per_s: f32, plans: &[&[u32]]) -> RollRequest {
    let idle = EngineLoad { running: 0, waiting: 0, waiting_for_kv: 0, kv_usage: 0.0 };
    let ready = plans[0].iter().enumerate().flat_map(|(variant, &count)| {
        (0..count).map(move |number| LiveEndpoint {
            endpoint: EndpointId(variant as u32 * 100 + number),
            variant: VariantId(variant as u16),
            load: Some(idle),
            draining: false,
        })
    });
    RollRequest {
        id: 7,
        asked_at: at(ASKED_S),
        fleet: FleetId(0),
        candidates: plans.iter().map(|replicas| plan(replicas)).collect(),
        live: LiveState { endpoints: ready.collect(), ..LiveState::default() },
        horizon: Span::from_secs(300),
        record: record(per_s),
        outlooks: Vec::new(),
        variants: Vec::new(),
        seed: 1,
        requests_max: 20_000,
    }
}

fn attainment(answer: &RollAnswer, index: usize) -> f64 {
    answer.candidates[index].tiers[0].attainment
}

fn one(world: &World, request: &RollRequest) -> f64 {
    attainment(&roll_forward(world, request).unwrap(), 0)
}

#[test]
fn too_few_replicas_are_vetoed_and_enough_are_kept() {
    let world = aggregated();
    let mut request = request(30.0, &[&[8], &[1], &[6]]);
    request.requests_max = 80_000;
    let answer = roll_forward(&world, &request).unwrap();
    assert_eq!(answer.candidates[0].verdict, Verdict::Keep);
    let Verdict::Veto(reason) = &answer.candidates[1].verdict else { panic!("{answer:?}") };
    assert!(reason.starts_with("interactive would attain"), "{reason}");
    // What is vetoed gets no more scenarios than it needs.
    assert!(answer.candidates[1].scenarios < answer.candidates[0].scenarios, "{answer:?}");
    let judgement = judge(&world, &answer);
    assert_eq!(judgement.chosen, Some(2), "{}", judgement.explanation);
    assert_eq!(answer.horizon, request.horizon);
    assert!((50_000..90_000).contains(&answer.requests), "{}", answer.requests);
    // 6 or 8 replicas for the horizon at 3.6 dollars an hour.
    let hours = answer.horizon.as_hours();
    let cost = answer.candidates[0].cost.unwrap().0;
    assert!((cost - 8.0 * 3.6 * hours).abs() < 1e-9, "{cost}");
    // 9,000 requests in five minutes: the horizon is cut so that two scenarios of each plan fit.
    request.requests_max = 20_000;
    let answer = roll_forward(&world, &request).unwrap();
    assert!(answer.horizon < request.horizon && answer.horizon > Span::from_secs(60));
    assert!(answer.requests < 24_000, "{}", answer.requests);
}

#[test]
fn the_same_request_has_the_same_answer_and_both_survive_json() {
    let world = aggregated();
    let request = request(10.0, &[&[2], &[3]]);
    let answer = roll_forward(&world, &request).unwrap();
    assert_eq!(answer, roll_forward(&world, &request).unwrap());
    let other = RollRequest { seed: 2, ..request.clone() };
    assert_ne!(answer, roll_forward(&world, &other).unwrap());

    let text = serde_json::to_string(&request).unwrap();
    let mut read: RollRequest = serde_json::from_str(&text).unwrap();
    assert_eq!(roll_forward(&world, &read).unwrap(), answer);
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(serde_json::from_str::<RollAnswer>(&text).unwrap(), answer);

    read.candidates.clear();
    assert_eq!(roll_forward(&world, &read), Err(RollError::Candidates(0)));
    read.candidates.push(Candidate { replicas: vec![(VariantId(9), 1)] });
    assert_eq!(roll_forward(&world, &read), Err(RollError::Variant(9)));
}

#[test]
fn without_a_record_nothing_is_simulated_and_nothing_is_chosen() {
    let world = aggregated();
    let request = RollRequest { record: Record::default(), ..request(10.0, &[&[2]]) };
    let answer = roll_forward(&world, &request).unwrap();
    assert_eq!((answer.requests, answer.candidates[0].scenarios), (0, 0));
    assert_eq!(judge(&world, &answer).chosen, None);
}

/// Attained shares of a plan in the scenarios of a range.
fn shares(course: &Course<'_>, plan: &Candidate, numbers: Range<u64>) -> Vec<f64> {
    let futures = Futures::new(course).unwrap();
    let outcomes = numbers.map(|number| {
        let scenario = futures.scenario(number, Span::from_secs(60));
        Rollout::new(course, &scenario, plan).run()
    });
    let share = |outcome: Outcome| {
        let tier = outcome.tiers[0];
        f64::from(tier.attained) / f64::from(tier.judged)
    };
    outcomes.map(share).collect()
}

#[test]
fn common_random_numbers_reduce_the_variance_of_differences() {
    let world = aggregated();
    let request = request(95.0, &[&[10], &[9]]);
    let course = Course::new(&world, &request);
    let ten = shares(&course, &request.candidates[0], 0..10);
    let nine = shares(&course, &request.candidates[1], 0..10);
    let nine_elsewhere = shares(&course, &request.candidates[1], 10..20);
    let variance = |others: &[f64]| {
        let differences: Vec<f64> = ten.iter().zip(others).map(|(a, b)| a - b).collect();
        let mean = differences.iter().sum::<f64>() / 10.0;
        differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / 9.0
    };
    let (paired, apart) = (variance(&nine), variance(&nine_elsewhere));
    assert!(paired < 0.6 * apart, "{paired} paired, {apart} apart: {ten:?} {nine:?}");
}

#[test]
fn the_queue_counts_and_its_age_counts() {
    let world = aggregated();
    let queued = |age_s| {
        let mut request = request(10.0, &[&[2]]);
        request.live.queue = vec![Held {
            tier: TierId(0),
            arrived_at: at(ASKED_S - age_s),
            requests: 600,
            prompt_tokens: 800.0,
        }];
        roll_forward(&world, &request).unwrap().candidates[0].tiers[0]
    };
    let none = roll_forward(&world, &request(10.0, &[&[2]])).unwrap().candidates[0].tiers[0];
    let (fresh, old) = (queued(0), queued(20));
    assert!(fresh.attainment < none.attainment - 0.02, "{fresh:?} {none:?}");
    // All 600 that wait for 20 s have missed; of the fresh ones the first are in time.
    assert!(old.attainment < fresh.attainment - 0.01, "{old:?} {fresh:?}");
}

#[test]
fn pending_replicas_that_come_late_matter() {
    let world = aggregated();
    let pending = |in_s: Option<u64>| {
        let mut request = request(30.0, &[&[2]]);
        request.candidates = vec![plan(&[6])];
        request.live.pending = vec![
            PendingReplica {
                variant: VariantId(0),
                asked_at: at(ASKED_S - 30),
                ready_at: in_s.map(|seconds| at(ASKED_S + seconds)),
            };
            4
        ];
        one(&world, &request)
    };
    let (soon, late, never) = (pending(Some(5)), pending(Some(100)), pending(None));
    assert!(soon > late + 0.1 && late > never + 0.1, "{soon} {late} {never}");
}

#[test]
fn what_runs_and_what_drains_is_simulated_too() {
    let world = aggregated();
    let mut busy = request(25.0, &[&[3]]);
    for endpoint in &mut busy.live.endpoints {
        endpoint.load =
            Some(EngineLoad { running: 200, waiting: 150, waiting_for_kv: 0, kv_usage: 0.9 });
    }
    let idle = one(&world, &request(25.0, &[&[3]]));
    let full = one(&world, &busy);
    assert!(full < idle - 0.02, "{full} full, {idle} idle");
    // An engine without a page is taken to be like the others of its variant.
    busy.live.endpoints[2].load = None;
    let unknown = one(&world, &busy);
    assert!((unknown - full).abs() < 0.1, "{unknown} {full}");
}

#[test]
fn a_forecast_above_the_record_asks_for_more() {
    let world = aggregated();
    let mut risen = request(15.0, &[&[2]]);
    let before = one(&world, &risen);
    let requests_per_s = vec![(0.1, 30.0), (0.9, 45.0)];
    risen.outlooks = vec![TierOutlook { tier: TierId(0), requests_per_s }];
    let after = one(&world, &risen);
    assert!(after < before - 0.2, "{before} before, {after} after");
}

#[test]
fn prefill_and_decode_apart_are_sized_apart() {
    let variants = vec![variant("p", Role::Prefill, 1), variant("d", Role::Decode, 1)];
    let world = world(variants);
    let mut request = request(25.0, &[&[4, 3], &[1, 3], &[4, 1]]);
    request.requests_max = 40_000;
    let load = |running, kv_usage| EngineLoad { running, waiting: 0, waiting_for_kv: 2, kv_usage };
    for endpoint in &mut request.live.endpoints {
        let prefill = endpoint.variant == VariantId(0);
        endpoint.load = Some(if prefill { load(1, 0.02) } else { load(30, 0.12) });
    }
    let answer = roll_forward(&world, &request).unwrap();
    let all: Vec<f64> = (0..3).map(|index| attainment(&answer, index)).collect();
    assert!(all[0] > 0.97, "{all:?}");
    assert!(all[1] < 0.7, "one prefill replica does 20 prompts a second: {all:?}");
    // Slower transfers are felt.
    let mut slow = world.clone();
    slow.fleets[0].transfer.setup = Span::from_secs(3);
    let slowed = roll_forward(&slow, &request).unwrap();
    assert!(attainment(&slowed, 0) < 0.5, "{slowed:?}");
}

#[test]
fn work_that_can_wait_goes_last() {
    let world = aggregated();
    let mut request = request(25.0, &[&[3]]);
    let alone = one(&world, &request);
    request.live.queue = vec![Held {
        tier: TierId(1),
        arrived_at: Time::ZERO + Span::from_secs(ASKED_S - 60),
        requests: 2_000,
        prompt_tokens: 800.0,
    }];
    let held = |queues_at| {
        let mut request = request.clone();
        request.live.queues_at = queues_at;
        let answer = roll_forward(&world, &request).unwrap();
        answer.candidates[0].tiers.iter().find(|tier| tier.tier == TierId(0)).unwrap().attainment
    };
    let (gate, engines) = (held(QueuesAt::Gate), held(QueuesAt::Engines));
    assert!(gate > alone - 0.05, "{gate} beside a dump, {alone} alone");
    assert!(engines < gate - 0.05, "{engines} without a queue by priority, {gate} with one");
}
