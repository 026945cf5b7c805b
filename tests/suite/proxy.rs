//! The standalone gate between real processes: a load, the proxy, engines.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Folder, Forebay, demo_fleet};

/// Sends a load and returns what it reports.
fn load(at: SocketAddr, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["load", "--model", "demo", "--json", "-", "--url", &format!("http://{at}")])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("the load runs");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("a report")
}

fn stream<'a>(report: &'a Value, name: &str) -> &'a Value {
    let streams = report["streams"].as_array().unwrap();
    streams.iter().find(|stream| stream["name"] == name).expect("the stream is there")
}

fn count(stream: &Value, field: &str) -> u64 {
    stream[field].as_u64().unwrap()
}

/// What became of those that were not answered, by status and reason.
fn others(stream: &Value) -> Vec<(&str, u64)> {
    let others = stream["others"].as_object().unwrap();
    others.iter().map(|(what, count)| (what.as_str(), count.as_u64().unwrap())).collect()
}

#[test]
fn at_three_times_what_fits_the_upper_tier_hardly_notices_and_the_lower_gets_the_rest() {
    // Two slots of 100 ms on each of four engines: 80 requests a second.
    let folder = Folder::new("overload");
    let (_engines, engines) = Forebay::engines(4, &["--fixed-ms", "100", "--slots", "2"]);
    let fleet = folder.write("fleet.yaml", &demo_fleet(&engines));
    let (_gate, at) = Forebay::gate(&fleet, &["--listen"], &[]);
    let report = load(
        at[0],
        &[
            "--seconds=8",
            "--warm-up=2",
            "--service-ms=100",
            "--prompt=32",
            "--stream=high:rate=40,tier=interactive",
            "--stream=low:rate=200,tier=batch",
        ],
    );
    let (high, low) = (stream(&report, "high"), stream(&report, "low"));
    for stream in [high, low] {
        let others = others(stream);
        let all = count(stream, "answered") + others.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!(all, count(stream, "offered"), "each in exactly one outcome");
        // Busy machines cannot make these fail: they are answers, not times.
        assert!(others.iter().all(|(what, _)| what.starts_with("429 rejected-")), "{others:?}");
    }
    let answered = |stream: &Value| count(stream, "answered") as f64;
    let share = answered(high) / count(high, "offered") as f64;
    assert!(share > 0.8, "{share} of the upper tier were answered");
    let used =
        (high["answered_per_s"].as_f64().unwrap() + low["answered_per_s"].as_f64().unwrap()) / 80.0;
    assert!(used > 0.5, "{used} of the capacity was used");
    let p50 = |stream: &Value| stream["beyond_service_ms"]["p50"].as_f64().unwrap();
    assert!(p50(high) < 1_000.0, "{} ms", p50(high));
    assert!(p50(high) < p50(low), "tiers are kept apart");
    assert!(low["answered_per_s"].as_f64().unwrap() > 2.0, "the lower tier does not starve");
}

#[test]
fn streams_come_through_whole_with_their_usage() {
    let folder = Folder::new("streams");
    let (_engines, engines) = Forebay::engines(2, &["--speed", "20"]);
    let fleet = folder.write("fleet.yaml", &demo_fleet(&engines));
    let (_gate, at) = Forebay::gate(&fleet, &["--listen", "--metrics"], &[]);
    let arguments = ["--rate=20", "--seconds=2", "--output=50", "--stream-answers"];
    let report = load(at[0], &arguments);
    let all = stream(&report, "all");
    assert_eq!(count(all, "answered"), count(all, "offered"), "{:?}", others(all));
    assert_eq!(count(&all["ttft_ms"], "count"), count(all, "offered"));
    assert!(count(all, "offered") > 10);
}

#[test]
fn a_dead_engine_breaks_its_own_answers_and_no_others() {
    let folder = Folder::new("dead");
    let slow = ["--fixed-ms", "50", "--token-ms", "20"];
    let (_alive, alive) = Forebay::engines(1, &slow);
    let (dying, dead) = Forebay::engines(1, &slow);
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[alive[0], dead[0]]));
    let (_gate, at) = Forebay::gate(&fleet, &["--listen"], &["--scrape-seconds", "0.1"]);
    let report = std::thread::scope(|scope| {
        let loaded = scope.spawn(|| {
            load(at[0], &["--rate=20", "--seconds=6", "--output=40", "--stream-answers"])
        });
        std::thread::sleep(std::time::Duration::from_secs(3));
        dying.signal("KILL");
        loaded.join().expect("the load ends")
    });
    let all = stream(&report, "all");
    let others = others(all);
    let broken: u64 = others.iter().map(|(_, count)| count).sum();
    assert_eq!(count(all, "answered") + broken, count(all, "offered"), "none is lost");
    let known = |what: &str| what == "broke off" || what.starts_with("502 engine_unreachable");
    assert!(others.iter().all(|(what, _)| known(what)), "{others:?}");
    assert!(broken > 0, "somebody was being answered there");
    assert!(count(all, "answered") > count(all, "offered") / 2, "{others:?}");
}
