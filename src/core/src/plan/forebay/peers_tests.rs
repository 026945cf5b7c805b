//! What other autoscalers are known to fail at, put to the whole planner.

use super::tests::{decide, steady};
use super::*;
use crate::explain::{self, Decision};
use crate::fleet::Role;
use crate::ids::EndpointId;
use crate::observe::EngineSample;
use crate::plan::testing::{Bench, world};

/// Seconds between two decisions.
const TICK: f64 = 15.0;

fn one() -> (Bench, Forebay) {
    let bench = Bench::new(world(&[("l40s", Role::Both)]));
    let planner = Forebay::new(&bench.world, Settings::default());
    (bench, planner)
}

fn asked(bench: &Bench, variant: usize) -> u32 {
    bench.targets[variant].replicas_desired
}

/// Scrapes the router, and those engines that answer with a page.
fn scrape(
    bench: &mut Bench,
    second: f64,
    requests: Option<f64>,
    mut page: impl FnMut(EndpointId) -> Option<EngineSample>,
) {
    let at = Time::from_seconds(second);
    let targets = bench.targets.clone();
    for target in &mut bench.targets {
        target.endpoints_ready.clear();
    }
    if let Some(requests) = requests {
        bench.scrape(second, requests, 0.0);
    }
    bench.targets = targets;
    for (index, target) in bench.targets.iter().enumerate() {
        for endpoint in &target.endpoints_ready {
            if let Some(page) = page(*endpoint) {
                bench.store.record_engine(*endpoint, VariantId(index as u16), at, page);
            }
        }
    }
}

#[test]
fn nothing_drops_just_before_a_burst() {
    let (mut bench, mut planner) = one();
    bench.ready(0, 6);
    // Almost nothing comes while we have watched for less than the window.
    for tick in 0..39 {
        let record = steady(&mut bench, &mut planner, tick, tick + 1, 5.0);
        assert_eq!(asked(&bench, 0), 6, "at tick {tick}: {}", explain::render(&record));
    }
    steady(&mut bench, &mut planner, 39, 45, 80.0);
    assert!(asked(&bench, 0) >= 6);
    // Where no burst comes they do go.
    let (mut bench, mut planner) = one();
    bench.ready(0, 6);
    steady(&mut bench, &mut planner, 0, 80, 5.0);
    assert!(asked(&bench, 0) <= 2, "{}", asked(&bench, 0));
}

#[test]
fn the_start_up_of_one_pool_does_not_freeze_the_other() {
    let mut bench = Bench::new(world(&[("p", Role::Prefill), ("d", Role::Decode)]));
    let mut planner = Forebay::new(&bench.world, Settings::default());
    bench.ready(1, 8);
    // Prefill needs five and has one; the others start for as long as this test runs.
    let mut run = |from: u32, to: u32, per_s: f64| {
        for tick in from..to {
            let second = f64::from(tick) * TICK;
            bench.scrape(second, per_s * TICK, 0.0);
            for (variant, replicas) in decide(&bench, &mut planner, second).0 {
                if variant == 1 {
                    bench.ready(1, replicas);
                    continue;
                }
                let target = &mut bench.targets[0];
                (target.replicas_desired, target.replicas_current) = (replicas, replicas);
                let asked_at = Time::from_seconds(second);
                target.starting_since.resize(replicas as usize - 1, asked_at);
            }
        }
        (asked(&bench, 0), asked(&bench, 1))
    };
    let (prefill, decode) = run(0, 80, 100.0);
    assert!(prefill >= 5 && (2..=4).contains(&decode), "{prefill} {decode}");
    let (_, more) = run(80, 86, 400.0);
    assert!(more > decode, "{more}");
}

#[test]
fn what_waits_for_an_accelerator_is_planned_anew_on_another() {
    // 3 $/h and 1 $/h for the same engine, and no more than one of the cheap is to be had.
    let mut bench = Bench::new(world(&[("dear", Role::Both), ("cheap", Role::Both)]));
    for variant in &mut bench.world.variants {
        variant.replicas_min = 0;
    }
    bench.ready(0, 0);
    let mut planner = Forebay::new(&bench.world, Settings::default());
    let (mut waits_since, mut turned_at) = (None, None);
    for tick in 0..56 {
        let second = f64::from(tick) * TICK;
        bench.scrape(second, 50.0 * TICK, 0.0);
        for (variant, replicas) in decide(&bench, &mut planner, second).0 {
            if variant == 0 {
                turned_at.get_or_insert(second);
                bench.ready(0, replicas);
                continue;
            }
            waits_since.get_or_insert(second);
            let target = &mut bench.targets[1];
            (target.replicas_desired, target.replicas_current) = (replicas, replicas);
            let asked_at = Time::from_seconds(second);
            target.unschedulable_since.resize(replicas.saturating_sub(1) as usize, asked_at);
        }
    }
    let waited = turned_at.unwrap() - waits_since.unwrap();
    assert!((300.0..=330.0).contains(&waited), "{waited}");
    assert!(asked(&bench, 0) >= 2, "{}", asked(&bench, 0));
    assert_eq!(asked(&bench, 1), 1, "what waited without hope is handed back");
}

/// The fewest replicas while the load falls for seven minutes, three times in a row.
fn fewest(window: Span) -> u32 {
    let mut bench = Bench::new(world(&[("l40s", Role::Both)]));
    let mut planner = Forebay::new(&bench.world, Settings { window, ..Settings::default() });
    steady(&mut bench, &mut planner, 0, 120, 100.0);
    let mut fewest = asked(&bench, 0);
    for tick in 120..240 {
        let per_s = if tick % 40 < 28 { 20.0 } else { 100.0 };
        steady(&mut bench, &mut planner, tick, tick + 1, per_s);
        fewest = fewest.min(asked(&bench, 0));
    }
    fewest
}

#[test]
fn load_that_falls_and_comes_back_does_not_flap() {
    // 100/s keep 5.6 busy.
    let held = fewest(Settings::default().window);
    assert!(held >= 5, "{held}");
    let let_go = fewest(Span::ZERO);
    assert!(let_go <= 3, "it is the window that holds them: {let_go}");
}

/// Steps of an engine that decodes ten sequences, some ten times slower than usual.
#[derive(Clone, Copy, Default)]
struct Steps {
    usual: f64,
    slow: f64,
}

impl Steps {
    /// Such a step takes 10.5 ms by the profile.
    const USUAL_S: f64 = 0.0105;

    fn serve(&mut self, seconds: f64, slow: bool) {
        let step = if slow { 10.0 * Self::USUAL_S } else { Self::USUAL_S };
        *(if slow { &mut self.slow } else { &mut self.usual }) += (seconds / step).floor();
    }

    fn page(self) -> EngineSample {
        let mut page = EngineSample::idle(100_000.0);
        let steps = self.usual + self.slow;
        (page.running, page.kv_usage) = (10.0, 0.105);
        page.generation_tokens_total = 10.0 * steps;
        page.iteration_tokens.observe(10.0, steps);
        page.itl.observe(Self::USUAL_S, 10.0 * self.usual);
        page.itl.observe(10.0 * Self::USUAL_S, 10.0 * self.slow);
        page
    }
}

/// The multiplier of the fixed time of a step that three new replicas teach in half an hour, the
/// highest of all decisions; `slow` tells by endpoint and age in scrapes who is.
fn taught(slow: impl Fn(u32, u32) -> bool) -> f64 {
    let (mut bench, mut planner) = one();
    let mut engines: BTreeMap<EndpointId, (u32, Steps)> = BTreeMap::new();
    bench.ready(0, 3);
    let mut highest = 0.0_f64;
    for tick in 0..120 {
        let second = f64::from(tick) * TICK;
        scrape(&mut bench, second, Some(30.0 * TICK), |endpoint| {
            let (age, steps) = engines.entry(endpoint).or_default();
            if *age > 0 {
                steps.serve(TICK, slow(endpoint.0, *age));
            }
            *age += 1;
            Some(steps.page())
        });
        decide(&bench, &mut planner, second);
        let [fixed, ..] = planner.learner.variant(VariantId(0)).physics().multipliers();
        highest = highest.max(fixed.value);
    }
    highest
}

#[test]
fn slow_first_steps_of_new_replicas_teach_nothing() {
    let multiplier = taught(|_, age| age <= 6);
    assert!((0.98..1.02).contains(&multiplier), "{multiplier}");
    let lasting = taught(|_, _| true);
    assert!(lasting > 2.0, "what lasts is believed: {lasting}");
}

#[test]
fn one_unlucky_sample_teaches_no_tiny_capacity() {
    let multiplier = taught(|endpoint, age| endpoint == 1 && age == 16);
    assert!((0.98..1.02).contains(&multiplier), "{multiplier}");
}

#[test]
fn an_engine_that_queues_while_nearly_empty_leaves_the_need_as_it_is() {
    let (mut bench, mut planner) = one();
    let before = steady(&mut bench, &mut planner, 0, 80, 50.0).variants[0].decided;
    let page = |endpoint: EndpointId| {
        let mut page = EngineSample::idle(100_000.0);
        page.generation_lengths.observe(100.0, 60_000.0);
        (page.running, page.waiting) = if endpoint.0 == 0 { (1.0, 8.0) } else { (1.0, 0.0) };
        page.kv_usage = 0.01;
        Some(page)
    };
    scrape(&mut bench, 1_200.0, Some(50.0 * TICK), page);
    let (scales, decisions) = decide(&bench, &mut planner, 1_200.0);
    assert_eq!(scales, [], "{}", explain::render(&decisions[0]));
    assert_eq!(decisions[0].variants[0].decided, before);
}

#[test]
fn engines_that_do_not_answer_are_not_read_as_idle() {
    let (mut bench, mut planner) = one();
    steady(&mut bench, &mut planner, 0, 80, 60.0);
    let held = asked(&bench, 0);
    assert!(held >= 4, "{held}");
    // The load falls, and two of the engines do not answer: nothing may go.
    let fall = |bench: &mut Bench, planner: &mut Forebay, ticks: std::ops::Range<u32>, silent| {
        for tick in ticks {
            let second = f64::from(tick) * TICK;
            scrape(bench, second, Some(5.0 * TICK), |endpoint| {
                let mut page = EngineSample::idle(100_000.0);
                page.generation_lengths.observe(100.0, 100_000.0);
                (endpoint.0 >= silent).then_some(page)
            });
            for (_, replicas) in decide(bench, planner, second).0 {
                bench.ready(0, replicas);
            }
        }
        asked(bench, 0)
    };
    assert_eq!(fall(&mut bench, &mut planner, 80..200, 2), held);
    let whole = fall(&mut bench, &mut planner, 200..300, 0);
    assert!(whole <= 2, "once all answer they go: {whole}");
}

#[test]
fn without_a_router_two_silent_engines_of_four_do_not_halve_the_demand() {
    let (mut bench, mut planner) = one();
    bench.ready(0, 4);
    let mut busy = |ticks: std::ops::Range<u32>, silent: u32| {
        let mut record = Decision::default();
        for tick in ticks {
            let second = f64::from(tick) * TICK;
            scrape(&mut bench, second, None, |endpoint| {
                let mut page = EngineSample::idle(100_000.0);
                let finished = 15.0 * second;
                page.requests_finished_total = finished;
                page.prompt_tokens_total = finished * 1_000.0;
                page.prompt_lengths.observe(1_000.0, finished);
                page.generation_lengths.observe(100.0, finished);
                (endpoint.0 >= silent).then_some(page)
            });
            record = decide(&bench, &mut planner, second).1.remove(0);
        }
        assert_eq!(record.inputs.arrivals_from.as_deref(), Some("engines"));
        record.needs[0].busy_now
    };
    let all = busy(0..80, 0);
    let half = busy(80..100, 2);
    assert!(all > 2.0 && (half / all - 1.0).abs() < 0.05, "{half} for {all}");
}

#[test]
fn what_has_no_price_is_not_taken_for_free() {
    let mut bench = Bench::new(world(&[("priced", Role::Both), ("unpriced", Role::Both)]));
    bench.world.accelerators[1].price_on_demand = None;
    for variant in &mut bench.world.variants {
        variant.replicas_min = 0;
    }
    bench.ready(1, 0);
    let mut planner = Forebay::new(&bench.world, Settings::default());
    let record = steady(&mut bench, &mut planner, 0, 100, 50.0);
    let decided: Vec<u32> = record.variants.iter().map(|variant| variant.decided).collect();
    assert!(decided[0] >= 2 && decided[1] == 0, "{}", explain::render(&record));
}
