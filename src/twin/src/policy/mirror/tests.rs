use forebay_core::fleet::Role;
use forebay_core::observe::EngineSample;

use super::*;
use crate::policy::exec::observation_line;
use crate::policy::testing::{Bench, world};

const SPEC: &str = "forebay:roll=0";

fn mirror() -> Mirror {
    Mirror::new(world(&[("l40s", Role::Both)]), PolicySpec::parse(SPEC).unwrap()).unwrap()
}

/// Pages of a replica that serves `per_s` requests of 1,000 prompt and 100 output tokens.
fn page(sample: &mut EngineSample, second: f64, per_s: f64) {
    let requests = second * per_s;
    sample.running = per_s * 2.0;
    sample.prompt_tokens_total = requests * 1_000.0;
    sample.generation_tokens_total = requests * 100.0;
    sample.requests_finished_total = requests;
    sample.prefix_queries_tokens_total = requests * 1_000.0;
    sample.ttft.observe(0.3, requests);
    sample.prompt_lengths.observe(1_000.0, requests);
    sample.generation_lengths.observe(100.0, requests);
    sample.iteration_tokens.observe(30.0, second * 40.0);
    sample.itl.observe(0.02, requests * 99.0);
    sample.tpot.observe(0.02, requests);
    sample.e2e.observe(2.3, requests);
    sample.queue_time.observe(0.1, requests);
}

#[test]
fn what_goes_through_lines_decides_as_what_does_not() {
    let mut bench = Bench::new(SPEC, world(&[("l40s", Role::Both)]));
    let mut mirror = mirror();
    let mut changes = 0;
    for tick in 0..60_u32 {
        let second = f64::from(tick) * 15.0;
        // A rise in the middle.
        let per_s = if tick < 30 { 20.0 } else { 60.0 };
        bench.scrape(0, second, |sample| page(sample, second, per_s / 5.0));
        bench.scrape_router(second, f64::NAN, |tier| {
            tier.requests_total = (20.0 * second).max(60.0 * second - 18_000.0);
            tier.prompt_tokens_total = tier.requests_total * 1_000.0;
            tier.output_tokens_total = tier.requests_total * 100.0;
            tier.ttft.observe(0.3, tier.requests_total);
            tier.tpot.observe(0.02, tier.requests_total);
        });
        let view = FleetView {
            world: &bench.world,
            targets: &bench.targets,
            metrics: &bench.store,
            origin: WallTime::default(),
        };
        let line = observation_line(Time::from_seconds(second), u64::from(tick) + 1, &view);
        let answer: serde_json::Value =
            serde_json::from_str(&mirror.answer(&line).unwrap()).unwrap();
        let asked = bench.tick(second);
        let scaled = asked.iter().find_map(|asked| asked.strip_prefix("l40s="));
        let told = answer["replicas"]["chat/l40s"].as_u64().map(|count| count.to_string());
        assert_eq!(told.as_deref(), scaled, "at {second} s: {answer}");
        assert_eq!(answer["decision"], u64::from(tick) + 1);
        changes += u32::from(scaled.is_some());
    }
    assert!(changes >= 2, "{changes}");
}

#[test]
fn what_cannot_be_understood_is_said_in_a_sentence() {
    let wrong = |line: &str| mirror().answer(line).unwrap_err().to_string();
    assert!(wrong("hello").contains("this is no observation"));
    assert!(wrong("{}").contains("missing field `schema`"));
    let newer = wrong(r#"{"schema": "forebay.observation/v2", "decision": 1}"#);
    assert!(newer.contains("`forebay.observation/v2`; this program reads"), "{newer}");
    let no_time = wrong(r#"{"schema": "forebay.observation/v1", "decision": 1}"#);
    assert!(no_time.contains("missing field `now_s`"), "{no_time}");
    let about = |fleets: &str| {
        let rest = format!(r#""decision": 1, "now_s": 0, "fleets": {fleets}"#);
        format!(r#"{{"schema": "forebay.observation/v1", {rest}}}"#)
    };
    let stranger = wrong(&about(r#"[{"name": "code", "variants": []}]"#));
    assert!(stranger.contains("fleet `code` that the manifests lack"), "{stranger}");
    let less = wrong(&about(r#"[{"name": "chat", "variants": []}]"#));
    assert!(less.contains("lacks the variant `chat/l40s`"), "{less}");
}

#[test]
fn what_is_not_told_is_unknown_and_never_zero() {
    let engine = r#"{"endpoint": 7, "age_s": 1.5, "running": null}"#;
    let variant = format!(
        r#"{{"name": "chat/l40s", "min": 1, "max": 20, "max_num_batched_tokens": 2048,
        "max_num_seqs": 256, "replicas_desired": 1, "replicas_current": 1, "replicas_ready": 1,
        "starting_since_s": [], "unschedulable_since_s": [], "draining": 0,
        "engines": [{engine}]}}"#
    );
    let line = format!(
        r#"{{"schema": "forebay.observation/v1", "decision": 3, "now_s": 30.0,
        "fleets": [{{"name": "chat", "router": null, "variants": [{variant}]}}]}}"#
    );
    let mut mirror = mirror();
    let answer = mirror.answer(&line).unwrap();
    assert!(answer.contains("\"replicas\":{}"), "nobody knows anything: {answer}");
    let now = Time::from_seconds(30.0);
    let (endpoint, page) = mirror.store.engines(VariantId(0), now).next().unwrap();
    assert_eq!((endpoint, page.at), (EndpointId(7), Time::from_seconds(28.5)));
    assert!(page.value.running.is_nan() && page.value.prompt_tokens_total.is_nan());
    assert_eq!(page.value.ttft.mean(), None);
    assert!(mirror.store.router(FleetId(0), now).is_none());
    // The past is refused.
    let earlier = line.replace("30.0", "15.0");
    assert!(mirror.answer(&earlier).unwrap_err().to_string().contains("send them in order"));
}
