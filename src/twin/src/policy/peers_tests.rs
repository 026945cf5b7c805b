//! The peers' policies from SPEC to replicas, against numbers worked out by hand, their known
//! weaknesses included where they follow from the formula.

use forebay_core::fleet::Role;
use forebay_core::observe::RouterTierSample;

use super::testing::{Bench, world};
use super::{NAMES, PolicySpec, Scale, tunables};

fn one() -> forebay_core::fleet::World {
    world(&[("l40s", Role::Both)])
}

fn split() -> forebay_core::fleet::World {
    world(&[("p", Role::Prefill), ("d", Role::Decode)])
}

/// A page of a router that has seen `requests` of 1,000 prompt and 100 output tokens.
fn traffic(tier: &mut RouterTierSample, requests: f64) {
    tier.requests_total = requests;
    tier.prompt_tokens_total = requests * 1_000.0;
    tier.output_tokens_total = requests * 100.0;
}

#[test]
fn every_policy_builds_with_its_defaults_and_every_tunable_is_a_key_of_it() {
    for (name, about) in NAMES.iter().filter(|(name, _)| *name != "exec") {
        assert!(!about.is_empty());
        for world in [one(), split()] {
            let spec = PolicySpec::parse(name).unwrap();
            let defaults = spec.parameters(&world).unwrap();
            assert!(defaults.contains_key("gate"));
            for tunable in tunables(name) {
                assert!(tunable.min < tunable.max && tunable.min <= tunable.default, "{tunable:?}");
                let value = match tunable.scale {
                    Scale::Seconds => format!("{}s", tunable.max),
                    _ => tunable.max.to_string(),
                };
                let tuned = spec.with(tunable.key, value);
                tuned.parameters(&world).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}

#[test]
fn llmd_queue_waits_five_minutes_and_then_takes_the_larger_demand() {
    let mut bench = Bench::new("llmd-queue:initial=2", one());
    for tick in 0..20 {
        let second = f64::from(tick) * 15.0;
        bench.scrape_router(second, 0.5, |tier| (tier.queued, tier.running) = (3.0, 100.0));
        assert_eq!(bench.tick(second), [""; 0], "up window at {second} s");
    }
    bench.scrape_router(300.0, 0.5, |tier| (tier.queued, tier.running) = (3.0, 100.0));
    // max(ceil(3 / 1), ceil(100 / 16)) = 7; up by 100 % per 15 s: 4, then 7.
    assert_eq!(bench.tick(300.0), ["l40s=4"]);
    bench.scrape_router(315.0, 0.5, |tier| (tier.queued, tier.running) = (3.0, 100.0));
    assert_eq!(bench.tick(315.0), ["l40s=7"]);
}

#[test]
fn llmd_queue_guard_discounts_what_is_already_coming() {
    let slow = |bench: &mut Bench, variant: usize, replicas: u32| {
        bench.starting(variant, replicas, 0.0);
    };
    let mut bench = Bench::new("llmd-queue:guard=true,initial=4", one());
    bench.scrape_router(0.0, 0.5, |tier| tier.running = 100.0);
    // Demand 100 / 16 = 6.25 > 4 replicas, none pending: ceil(6.25) = 7, at once.
    assert_eq!(bench.tick_slow(0.0, slow), ["l40s=7"]);
    // Demand 8 with 7 replicas, 3 of them pending: max(8 - 3, 7) = 7: no overshoot.
    bench.scrape_router(15.0, 0.5, |tier| tier.running = 128.0);
    assert_eq!(bench.tick_slow(15.0, slow), [""; 0]);
    // Demand 12: max(12 - 3, 7) = 9.
    bench.scrape_router(30.0, 0.5, |tier| tier.running = 192.0);
    assert_eq!(bench.tick_slow(30.0, slow), ["l40s=9"]);
}

#[test]
fn llmd_saturation_alone_can_never_ask_for_many() {
    let mut bench = Bench::new("llmd-saturation:up.window=0,initial=1", one());
    // Twice saturated: ceil(2.0 / 0.7) = 3, however many replicas are saturated.
    bench.scrape_router(0.0, 2.0, |_| {});
    assert_eq!(bench.tick(0.0), ["l40s=2"]);
    bench.scrape_router(15.0, 2.0, |_| {});
    assert_eq!(bench.tick(15.0), ["l40s=3"]);
    bench.scrape_router(30.0, 2.0, |_| {});
    assert_eq!(bench.tick(30.0), [""; 0]);
}

#[test]
fn llmd_tokens_divides_by_the_calibrated_rate_one_pod_at_a_time() {
    let slow_rate = 2_048.0 / 0.09192;
    let peak = super::llmd::peak_prefill_rate(&super::testing::profile());
    // A chunk of 2,048 takes 10 + 81.92 ms.
    assert!((peak - slow_rate).abs() < 1.0, "{peak}");
    let mut bench = Bench::new("llmd-tokens:initial=2,peak_prefill=20000", one());
    bench.scrape(0, 0.0, |page| page.kv_usage = 0.3);
    // 150,000 / 20,000 = 7.5 s; / 1.5 = 5; KV 0.6 / 0.8 = 1. One pod per 180 s: 3.
    bench.scrape_router(0.0, 0.0, |tier| tier.inflight_prompt_tokens = 150_000.0);
    assert_eq!(bench.tick(0.0), ["l40s=3"]);
    assert_eq!(bench.tick(165.0), [""; 0]);
    assert_eq!(bench.tick(180.0), ["l40s=4"]);

    // Split: prefill by backlog, decode by KV.
    let mut bench = Bench::new("llmd-tokens:initial=2,prefill.peak_prefill=20000", split());
    bench.scrape(1, 0.0, |page| page.kv_usage = 1.0);
    bench.scrape_router(0.0, 0.0, |_| {});
    // Prefill has no backlog, its down window holds it; decode 2 / 0.8 = 2.5: 3.
    assert_eq!(bench.tick(0.0), ["d=3"]);
}

/// Feeds the router one scrape each 15 s with `seconds` as the TTFT of ten requests.
fn latency(bench: &mut Bench, from: u32, ticks: u32, seconds: f64) -> Vec<String> {
    let mut asked = Vec::new();
    for tick in from..from + ticks {
        let second = f64::from(tick) * 15.0;
        bench.scrape_router(second, 0.0, |tier| {
            tier.ttft.observe(0.3, 1.0);
            tier.ttft.observe(seconds, f64::from(tick) * 10.0);
        });
        asked.extend(bench.tick(second));
    }
    asked
}

#[test]
fn llmd_slo_follows_its_control_law() {
    let mut bench = Bench::new("llmd-slo:initial=4", one());
    // Requests in (1, 2.5] s: P90 = 1 + 1.5 x 0.9 = 2.35 s, over 2 s: 1.175. One scrape is no
    // rate, so the samples are 0, 1.175, 1.175, 1.175.
    // 15 s: s = 0.5875: 4 + ceil(4 x 0.068) = 5, but 4 of 0 s is in the up window of 30 s.
    // 30 s: s = 0.783: 4 + ceil(4 x 0.424) = 6; lowest of 5 and 6: 5.
    // 45 s: s = 1.175, 5 replicas: 5 + ceil(5 x 1.136) = 11; lowest of 6 and 11: 6.
    let asked = latency(&mut bench, 0, 4, 2.0);
    assert_eq!(asked, ["l40s=5", "l40s=6"]);
}

#[test]
fn llmd_slo_credits_replicas_on_their_way() {
    let law = |current: u32, ready: u32| -> u32 {
        let mut bench = Bench::new("llmd-slo:initial=2,up.window=0,smoothing=15s", one());
        bench.ready(0, ready);
        bench.starting(0, current, 0.0);
        bench.scrape_router(0.0, 0.0, |_| {});
        let _ = bench.tick(0.0);
        bench.scrape_router(15.0, 0.0, |tier| tier.tpot.observe(0.09, 100.0));
        let _ = bench.tick(15.0);
        bench.targets[0].replicas_desired
    };
    // TPOTs in (0.075, 0.1] s: P90 = 0.0975 s, over 0.1 s: s = 0.975. n = 4, all ready: 4 + ceil(4 x 0.7727) = 8.
    assert_eq!(law(4, 4), 8);
    // Half of 8 ready: 0.4875 < 0.55 with the credit: 8 + ceil(8 x -0.1136) = 8: nothing more.
    assert_eq!(law(8, 4), 8);
}

#[test]
fn dynamo_drops_from_two_to_one_on_its_first_tick() {
    let mut bench = Bench::new("dynamo:initial=2", one());
    bench.scrape(0, 4.0, |_| {});
    // Nothing is queued, KV is empty: one less would do. The burst may come.
    assert_eq!(bench.tick(5.0), ["l40s=1"]);
    bench.scrape(0, 9.0, |_| {});
    assert_eq!(bench.tick(10.0), [""; 0]);
}

#[test]
fn dynamo_throughput_is_rate_over_rate_without_headroom_or_backlog() {
    let mut bench = Bench::new("dynamo:mode=throughput,initial=2", one());
    for tick in 0..=12 {
        let second = f64::from(tick) * 15.0;
        bench.scrape_router(second, 0.0, |tier| {
            traffic(tier, second * 40.0);
            tier.queued = 10_000.0;
        });
    }
    // ITL 100 ms, TTFT 2 s: batch 95 (KV): 10 + 41.8 + 1 = 52.8 ms: 17.99/s; 40 / 17.99 = 2.2.
    assert_eq!(bench.tick(179.0), [""; 0]);
    assert_eq!(bench.tick(180.0), ["l40s=3"]);
}

#[test]
fn dynamo_adds_one_only_when_every_engine_is_late() {
    let page = |waiting: f64| {
        move |page: &mut forebay_core::observe::EngineSample| {
            page.waiting = waiting;
            page.running = 10.0;
            page.kv_usage = 0.1;
            page.requests_finished_total = 0.0;
        }
    };
    let mut bench = Bench::new("dynamo:mode=load,initial=2", one());
    bench.scrape(0, 0.0, page(0.0));
    let late = |bench: &mut Bench, second: f64, both: bool| {
        for endpoint in bench.targets[0].endpoints_ready.clone() {
            let mut sample = forebay_core::observe::EngineSample::idle(100_000.0);
            page(0.0)(&mut sample);
            sample.requests_finished_total = 10.0;
            sample.prompt_tokens_total = 10_000.0;
            // 60 waiting of 1,000 tokens: 61,000 tokens in 30 steps: 2.77 s, over 2 s.
            sample.waiting = if both || endpoint.0 == 0 { 60.0 } else { 0.0 };
            let at = forebay_core::time::Time::from_seconds(second);
            bench.store.record_engine(endpoint, forebay_core::ids::VariantId(0), at, sample);
        }
    };
    late(&mut bench, 5.0, false);
    assert_eq!(bench.tick(5.0), [""; 0]);
    late(&mut bench, 10.0, true);
    let slow = |bench: &mut Bench, variant: usize, replicas: u32| {
        bench.starting(variant, replicas, 10.0);
    };
    assert_eq!(bench.tick_slow(10.0, slow), ["l40s=3"]);
    // While the third starts, everything is frozen.
    late(&mut bench, 15.0, true);
    assert_eq!(bench.tick(15.0), [""; 0]);
}

#[test]
fn dynamo_freezes_both_pools_while_one_starts() {
    let mut bench = Bench::new("dynamo:mode=load,initial=2", split());
    bench.starting(0, 3, 0.0);
    bench.scrape(0, 4.0, |_| {});
    bench.scrape(1, 4.0, |_| {});
    // Decode could go down to one, were it not for the prefill replica that starts.
    assert_eq!(bench.tick(5.0), [""; 0]);
    bench.ready(0, 3);
    bench.scrape(0, 9.0, |_| {});
    bench.scrape(1, 9.0, |_| {});
    assert_eq!(bench.tick(10.0), ["p=2", "d=1"]);
}

#[test]
fn wva_moves_by_one_through_an_hpa_that_rounds_it_away_at_eleven() {
    let asked = |initial: u32| {
        let mut bench = Bench::new(&format!("wva:initial={initial},up.window=0"), one());
        bench.scrape(0, 0.0, |page| (page.kv_usage, page.waiting) = (0.9, 400.0));
        bench.tick(0.0)
    };
    // 4 wants 5: ratio 1.25. 11 wants 12: ratio 1.09, within the tolerance of 0.1.
    assert_eq!(asked(4), ["l40s=5"]);
    assert_eq!(asked(11), [""; 0]);
}
