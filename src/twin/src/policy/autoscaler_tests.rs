//! `static`, `hpa` and `keda` from SPEC to replicas, against numbers worked out by hand.

use forebay_core::fleet::Role;
use forebay_core::time::Span;

use super::PolicySpec;
use super::testing::{Bench, world};

fn one() -> forebay_core::fleet::World {
    world(&[("l40s", Role::Both)])
}

#[test]
fn static_asks_once_and_fills_variants_in_the_order_named() {
    let mut bench = Bench::new("static:replicas=5", one());
    assert_eq!(bench.tick(0.0), ["l40s=5"]);
    assert_eq!(bench.tick(1e6), [""; 0]);

    let two = || world(&[("a100", Role::Both), ("l40s", Role::Both)]);
    // 25 replicas: l40s up to its maximum of 20 (19 above its minimum), the rest on a100.
    let mut bench = Bench::new("static:replicas=25,variants=l40s|a100", two());
    assert_eq!(bench.tick(0.0), ["l40s=20", "a100=5"]);
    // The cheapest is the second accelerator class, 1 $/h.
    let mut bench = Bench::new("static:replicas=9,fill=cheapest", two());
    assert_eq!(bench.tick(0.0), ["l40s=8", "a100=1"]);
    // Only l40s may be used: a100 is gone from the start.
    let mut bench = Bench::new("static:replicas=9,variants=l40s", two());
    assert_eq!(bench.world.variants[0].replicas_max, 0);
    assert_eq!(bench.tick(0.0), ["l40s=9"]);
    // Each on its own.
    let mut bench = Bench::new("static:replicas=4,fill=each", two());
    assert_eq!(bench.tick(0.0), ["a100=4", "l40s=4"]);
}

#[test]
fn common_keys_change_the_world() {
    let mut world = one();
    let spec =
        "hpa:min=3,max=40,initial=7,engine.max_num_seqs=64,engine.max_num_batched_tokens=512";
    PolicySpec::parse(spec).unwrap().apply(&mut world).unwrap();
    let variant = &world.variants[0];
    assert_eq!((variant.replicas_min, variant.replicas_max, variant.replicas_initial), (3, 40, 7));
    assert_eq!(variant.profile.limits.max_num_seqs, 64);
    assert_eq!(variant.profile.limits.max_num_batched_tokens, 512);
    let error = PolicySpec::parse("static:variants=l4s").unwrap().apply(&mut world).unwrap_err();
    assert!(error.to_string().contains("did you mean `l40s`?"), "{error}");
}

#[test]
fn every_tunable_in_force_is_reported_and_unknown_keys_are_named() {
    let parameters = PolicySpec::parse("keda:target=4").unwrap().parameters(&one()).unwrap();
    let shown = |key: &str| parameters.get(key).map(String::as_str);
    assert_eq!(shown("target"), Some("4"));
    assert_eq!(shown("metric"), Some("running"));
    assert_eq!(shown("up.policies"), Some("4/15s|100%/15s"));
    assert_eq!(shown("down.window"), Some("300s"));
    assert_eq!(shown("polling"), Some("30s"));
    assert_eq!(shown("gate"), Some("stock"));
    let error = PolicySpec::parse("hpa:polling=3").unwrap().parameters(&one()).unwrap_err();
    assert!(error.to_string().contains("unknown key `polling`"), "{error}");
    let error = PolicySpec::parse("hpa:metric=runing").unwrap().parameters(&one()).unwrap_err();
    assert!(error.to_string().contains("did you mean `running`?"), "{error}");
}

#[test]
fn hpa_takes_the_largest_of_several_metrics() {
    let mut bench = Bench::new("hpa:metric=running|kv,target=16|0.5,initial=4", one());
    // Running 4 * 10 / 16 = 2.5; KV 4 * 0.9 / 0.5 = 7.2: 8. Rate: max(4 + 4, 8) = 8.
    bench.scrape(0, 0.0, |page| (page.running, page.kv_usage) = (10.0, 0.9));
    assert_eq!(bench.tick(0.0), ["l40s=8"]);
    // Not due before 15 s.
    assert_eq!(bench.tick(14.0), [""; 0]);
}

#[test]
fn hpa_without_metrics_holds_and_with_some_missing_never_goes_down() {
    let mut bench =
        Bench::new("hpa:metric=running|queue,target=16|1,initial=6,down.window=0", one());
    assert_eq!(bench.tick(0.0), [""; 0]);
    // Engines idle (wants 0), router silent: hold.
    bench.scrape(0, 15.0, |page| page.running = 0.0);
    assert_eq!(bench.tick(15.0), [""; 0]);
    // Up is allowed: 6 * 20 / 16 = 7.5.
    bench.scrape(0, 30.0, |page| page.running = 20.0);
    assert_eq!(bench.tick(30.0), ["l40s=8"]);
    // Both there and idle: down to the minimum of 1.
    bench.scrape(0, 45.0, |page| page.running = 0.0);
    bench.scrape_router(45.0, f64::NAN, |_| {});
    assert_eq!(bench.tick(45.0), ["l40s=1"]);
}

#[test]
fn a_nan_gauge_is_a_metric_that_cannot_be_read() {
    let mut bench = Bench::new("hpa:metric=running,initial=6,down.window=0", one());
    bench.scrape(0, 0.0, |page| page.running = f64::NAN);
    assert_eq!(bench.tick(0.0), [""; 0]);
}

#[test]
fn hpa_on_rates_reads_counters() {
    let mut bench = Bench::new("hpa:metric=prompt_tokens,target=1000,initial=2", one());
    // One scrape is no rate: hold.
    bench.scrape(0, 0.0, |page| page.prompt_tokens_total = 50_000.0);
    assert_eq!(bench.tick(0.0), [""; 0]);
    // 30,000 tokens in 15 s on each of two engines: 4,000/s: 4 replicas.
    bench.scrape(0, 15.0, |page| page.prompt_tokens_total = 80_000.0);
    assert_eq!(bench.tick(15.0), ["l40s=4"]);
}

#[test]
fn a_pods_metric_waits_for_replicas_that_load() {
    let mut bench = Bench::new("hpa:metric=running,type=Pods,target=20,initial=2", one());
    bench.scrape(0, 0.0, |page| page.running = 30.0);
    // (30 + 30) / 2 / 20 = 1.5 of 2 pods: 3.
    let slow = |bench: &mut Bench, variant: usize, replicas: u32| {
        bench.starting(variant, replicas, 0.0);
    };
    assert_eq!(bench.tick_slow(0.0, slow), ["l40s=3"]);
    // The third loads and shows nothing: (30 + 30 + 0) / 3 = 20, ratio 1: hold.
    assert_eq!(bench.tick_slow(15.0, slow), [""; 0]);
}

#[test]
fn keda_goes_to_zero_after_the_cooldown_and_wakes_on_activity() {
    let spec = "keda:metric=queue|inflight,target=1|16,min=0,initial=1,polling=15s,cooldown=60s";
    let mut bench = Bench::new(spec, one());
    bench.scrape_router(0.0, f64::NAN, |tier| tier.running = 3.0);
    assert_eq!(bench.tick(0.0), [""; 0]);
    bench.scrape_router(15.0, f64::NAN, |_| {});
    assert_eq!(bench.tick(15.0), [""; 0]);
    assert_eq!(bench.tick(60.0), [""; 0]);
    // Last active at 0 s; more than 60 s ago at the poll of 75 s.
    assert_eq!(bench.tick(75.0), ["l40s=0"]);
    // The HPA is off at zero; KEDA wakes one at its next poll.
    bench.scrape_router(80.0, f64::NAN, |tier| tier.queued = 40.0);
    assert_eq!(bench.tick(89.0), [""; 0]);
    assert_eq!(bench.tick(90.0), ["l40s=1"]);
    // Then the HPA: 40 wanted, max(1 + 4, 2) = 5 in the first period.
    assert_eq!(bench.tick(105.0), ["l40s=5"]);
}

#[test]
fn keda_reads_an_absent_series_as_zero_and_scales_down_on_it() {
    let quiet = "keda:metric=running,target=16,initial=8,down.window=0";
    // No engine scraped at all: 0, down to minReplicas; the HPA alone would have held.
    assert_eq!(Bench::new(quiet, one()).tick(0.0), ["l40s=1"]);
    let strict = format!("{quiet},ignore_null=false");
    assert_eq!(Bench::new(&strict, one()).tick(0.0), [""; 0]);
}

#[test]
fn roles_have_their_own_metrics_and_a_split_keeps_them_together() {
    let split = || world(&[("p", Role::Prefill), ("d", Role::Decode)]);
    let spec = "hpa:prefill.metric=waiting,prefill.target=4,decode.target=10,initial=2";
    let mut bench = Bench::new(spec, split());
    bench.scrape(0, 0.0, |page| page.waiting = 6.0);
    bench.scrape(1, 0.0, |page| page.running = 25.0);
    // Prefill 12 / 4 = 3; decode 50 / 10 = 5.
    assert_eq!(bench.tick(0.0), ["p=3", "d=5"]);

    // In units of 1:2: prefill wants 3 units, decode ceil(5 / 2) = 3 units.
    let mut bench = Bench::new(&format!("{spec},pd_split=1:2"), split());
    bench.scrape(0, 0.0, |page| page.waiting = 6.0);
    bench.scrape(1, 0.0, |page| page.running = 25.0);
    assert_eq!(bench.tick(0.0), ["p=3", "d=6"]);
}

#[test]
fn the_sync_period_is_a_tunable() {
    let mut bench = Bench::new("hpa:sync=5s,initial=2", one());
    bench.scrape(0, 0.0, |page| page.running = 32.0);
    assert_eq!(bench.tick(0.0), ["l40s=4"]);
    bench.scrape(0, 5.0, |page| page.running = 32.0);
    // 4 * 32 / 16 = 8; the period began with 2: max(2 + 4, 4) = 6.
    assert_eq!(bench.tick(5.0), ["l40s=6"]);
    assert_eq!(Span::from_secs(5).to_string(), "5s");
}
