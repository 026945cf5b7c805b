use super::*;
use crate::fleet::Role;
use crate::ids::{EndpointId, FleetId, TierId, VariantId};
use crate::observe::{EngineSample, RouterSample, RouterTierSample, Store};
use crate::plan::testing::{Bench, world};
use crate::time::{Span, Time};

const WINDOW: Span = Span::from_secs(60);

fn bench() -> Bench {
    Bench::new(world(&[("l40s", Role::Both)]))
}

fn observer() -> Observer {
    Observer::new(FleetId(0), WINDOW)
}

fn see(observer: &mut Observer, bench: &Bench, second: f64) -> Option<FleetDemand> {
    let view = bench.view();
    observer.observe(&view, Time::from_seconds(second))
}

/// A page after `requests` of 1,000 and 100 tokens, all of them finished.
fn page(requests: f64) -> RouterTierSample {
    let mut page = RouterTierSample {
        requests_total: requests,
        prompt_tokens_total: requests * 1_000.0,
        output_tokens_total: requests * 100.0,
        ..RouterTierSample::default()
    };
    page.ttft.observe(0.1, requests);
    page.tpot.observe(0.02, requests);
    page
}

fn route(store: &mut Store, second: f64, tier: RouterTierSample) {
    let sample = RouterSample { tiers: vec![tier], saturation: f64::NAN };
    store.record_router(FleetId(0), Time::from_seconds(second), sample);
}

/// Pages every 15 s from 0, `per_step` requests apart.
fn routed(steps: u32, per_step: f64) -> Bench {
    let mut bench = bench();
    for step in 0..=steps {
        route(&mut bench.store, 15.0 * f64::from(step), page(f64::from(step) * per_step));
    }
    bench
}

fn close(left: f64, right: f64) {
    assert!((left - right).abs() <= 1e-6 * right.abs(), "{left} is not {right}");
}

#[test]
fn a_router_tells_everything_that_came_to_the_door() {
    let mut bench = routed(8, 150.0);
    let last = RouterTierSample {
        queued: 12.0,
        queued_prompt_tokens: 9_000.0,
        errors_total: 30.0,
        ..page(1_350.0)
    };
    route(&mut bench.store, 135.0, last);
    let mut observer = observer();
    let seen = see(&mut observer, &bench, 140.0).unwrap();
    assert_eq!((seen.source, seen.age), (Source::Router, Span::from_secs(5)));
    let load = seen.tier(TierId(0)).unwrap();
    close(load.requests_per_s, 10.0);
    close(load.prompt_tokens_per_s(), 10_000.0);
    close(load.output_tokens_per_s(), 1_000.0);
    close(load.workload.dispersion, 1.0);
    let queued = seen.queued[0].unwrap();
    assert_eq!((queued.requests, queued.prompt_tokens), (12.0, 9_000.0));
    // Three intervals lie in the window; what was refused is among the arrivals.
    close(seen.refused_per_s[0].unwrap(), 30.0 / 45.0);
    assert_eq!(seen.deferrable, [false]);
    close(seen.requests_per_s(), load.requests_per_s);
}

#[test]
fn what_nobody_saw_is_unknown_and_not_zero() {
    let empty = bench();
    assert_eq!(see(&mut observer(), &empty, 10.0), None);
    let mut bench = routed(1, 0.0);
    let seen = see(&mut observer(), &bench, 15.0).unwrap();
    // Nothing came: that is known to be zero.
    assert!(seen.tiers[0].unwrap().requests_per_s.abs() < 1e-12);
    // A tier that the router's page lacks is unknown, beside one that it has.
    let mut two = bench.world.tiers[0].clone();
    two.name = "batch".to_owned();
    bench.world.tiers.push(two);
    let seen = see(&mut observer(), &bench, 15.0).unwrap();
    assert_eq!((seen.tiers[1], seen.queued[1], seen.refused_per_s[1]), (None, None, None));
    // Requests without any finished output are work of unknown size.
    let unfinished = RouterTierSample { requests_total: 100.0, ..RouterTierSample::default() };
    route(&mut bench.store, 30.0, unfinished);
    assert_eq!(see(&mut observer(), &bench, 30.0).unwrap().tiers[0], None);
    // The series went stale: nothing is known.
    assert_eq!(see(&mut observer(), &bench, 400.0), None);
}

#[test]
fn restarts_nan_and_skewed_clocks_do_not_show_in_the_rate() {
    let mut bench = routed(3, 150.0);
    // NaN at 60 s, a restart at 75 s, a page dated before the last one, one from the future.
    let nan = RouterTierSample {
        requests_total: f64::NAN,
        prompt_tokens_total: f64::NAN,
        queued: f64::NAN,
        ..page(600.0)
    };
    route(&mut bench.store, 60.0, nan.clone());
    let seen = see(&mut observer(), &bench, 60.0).unwrap();
    close(seen.tiers[0].unwrap().requests_per_s, 10.0);
    assert_eq!(seen.queued[0], None, "a gauge that is NaN is unknown");
    route(&mut bench.store, 75.0, page(140.0));
    route(&mut bench.store, 70.0, page(141.0));
    route(&mut bench.store, 90.0, page(290.0));
    route(&mut bench.store, 3_600.0, page(1e9));
    let mut observer = observer();
    let seen = see(&mut observer, &bench, 90.0).unwrap();
    let rate = seen.tiers[0].unwrap().requests_per_s;
    assert!((9.0..11.0).contains(&rate), "{rate}");
    assert!(seen.tiers[0].unwrap().workload.dispersion < 2.0);
}

#[test]
fn one_length_says_little_and_many_say_all() {
    let mut bench = routed(20, 150.0);
    let mut observer = observer();
    see(&mut observer, &bench, 300.0);
    // One prompt of a million tokens in a quiet minute: (1e6 + 10 x 1,000) / 11 and not 1e6.
    for step in 21..=24 {
        let prompts = if step == 24 { 4_000_000.0 } else { 3_000_000.0 };
        let more = RouterTierSample {
            requests_total: if step == 24 { 3_001.0 } else { 3_000.0 },
            prompt_tokens_total: prompts,
            ..page(3_000.0)
        };
        route(&mut bench.store, 15.0 * f64::from(step), more);
    }
    let seen = see(&mut observer, &bench, 360.0).unwrap();
    let mean = seen.tiers[0].unwrap().workload.prompt_tokens.mean;
    assert!((80_000.0..110_000.0).contains(&mean), "{mean}");
    // The state survives a restart and stays small.
    let text = serde_json::to_string(&observer).unwrap();
    assert!(text.len() < 2_048, "{}", text.len());
    assert_eq!(serde_json::from_str::<Observer>(&text).unwrap(), observer);
}

/// An engine's page after `finished` requests of 1,000 and 100 tokens.
fn engine(finished: f64, held: f64) -> EngineSample {
    let mut page = EngineSample::idle(100_000.0);
    page.requests_finished_total = finished;
    page.prompt_lengths.observe(1_000.0, finished);
    page.generation_lengths.observe(100.0, finished);
    page.prefix_queries_tokens_total = 1_000.0 * finished;
    page.prefix_hits_tokens_total = 250.0 * finished;
    (page.running, page.waiting) = (held * 0.25, held * 0.75);
    page
}

/// Engines only, each finishing 150 requests per step while `piling` more pile up in it.
fn engines(ready: u32, scraped: u32, piling: f64) -> Bench {
    let mut bench = bench();
    bench.ready(0, ready);
    for step in 0..=4 {
        for endpoint in 0..scraped {
            let page = engine(150.0 * f64::from(step), piling * f64::from(step));
            let at = Time::from_seconds(15.0 * f64::from(step));
            bench.store.record_engine(EndpointId(endpoint), VariantId(0), at, page);
        }
    }
    bench
}

#[test]
fn without_a_router_what_piles_up_in_engines_is_demand() {
    let seen = see(&mut observer(), &engines(2, 2, 30.0), 60.0).unwrap();
    assert_eq!((seen.source, seen.endpoints_seen_share), (Source::Engines, 1.0));
    let load = seen.tiers[0].unwrap();
    // 10/s finished by each of two and 2/s more piling up.
    close(load.requests_per_s, 24.0);
    close(load.workload.cached_share, 0.25);
    close(load.workload.prompt_tokens.mean, 1_000.0);
    close(load.workload.output_tokens.mean, 100.0);
    assert!(load.workload.output_tokens.variation_squared() < 0.1);
    assert_eq!((seen.queued[0], seen.refused_per_s[0]), (None, None));
    // 120 held by each, three quarters of them waiting.
    close(seen.engines_waiting.unwrap(), 180.0);
}

#[test]
fn engines_that_were_not_scraped_are_counted_as_the_others_or_not_at_all() {
    let seen = see(&mut observer(), &engines(4, 3, 0.0), 60.0).unwrap();
    close(seen.endpoints_seen_share, 0.75);
    close(seen.tiers[0].unwrap().requests_per_s, 40.0);
    assert_eq!(see(&mut observer(), &engines(4, 1, 0.0), 60.0), None);
}

#[test]
fn gauges_that_are_nan_are_unknown_waiting() {
    let mut bench = engines(1, 1, 0.0);
    let mut page = engine(750.0, 0.0);
    (page.running, page.waiting, page.waiting_deferred) = (f64::NAN, f64::NAN, f64::NAN);
    bench.store.record_engine(EndpointId(0), VariantId(0), Time::from_seconds(75.0), page);
    let seen = see(&mut observer(), &bench, 75.0).unwrap();
    close(seen.tiers[0].unwrap().requests_per_s, 10.0);
    assert_eq!(seen.engines_waiting, None);
}

#[test]
fn prefill_and_decode_engines_are_not_counted_twice() {
    let mut bench = Bench::new(world(&[("p", Role::Prefill), ("d", Role::Decode)]));
    for step in 0..=4 {
        let (at, finished) = (Time::from_seconds(15.0 * f64::from(step)), 150.0 * f64::from(step));
        let mut prefill = engine(finished, 0.0);
        prefill.generation_lengths = EngineSample::idle(1.0).generation_lengths;
        prefill.generation_lengths.observe(1.0, finished);
        bench.store.record_engine(EndpointId(0), VariantId(0), at, prefill);
        bench.store.record_engine(EndpointId(100), VariantId(1), at, engine(finished, 0.0));
    }
    let load = see(&mut observer(), &bench, 60.0).unwrap().tiers[0].unwrap();
    close(load.requests_per_s, 10.0);
    close(load.workload.output_tokens.mean, 100.0);
}
