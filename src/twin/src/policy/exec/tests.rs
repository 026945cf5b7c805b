//! Real programs: one that works, and those that die, hang or talk nonsense.

use std::path::Path;
use std::process::Command;

use forebay_core::fleet::Role;

use super::process::split_words;
use crate::policy::testing::{Bench, world};

/// Plenty for a loaded machine; only the hanging program waits it out, with a shorter one.
const PATIENT: &str = "timeout=60s";

fn bench(spec: &str) -> Bench {
    Bench::new(spec, world(&[("l40s", Role::Both)]))
}

/// One decision of a shell script.
fn decide(script: &str) -> Vec<String> {
    let mut bench = bench(&format!("exec:{PATIENT},command=sh -c '{script}'"));
    let asked = bench.tick(0.0);
    assert_eq!(bench.tick(29.0), [""; 0], "not due");
    asked
}

fn aborted(script: &str) -> String {
    let asked = decide(script);
    let [only] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(only.starts_with("abort: external policy `sh -c "), "{only}");
    only.clone()
}

#[test]
fn a_program_that_answers_is_obeyed() {
    let answer =
        r#"read line; echo "{\"replicas\": {\"chat/l40s\": 5}, \"reason\": \"five\"}"; cat"#;
    assert_eq!(decide(answer), ["l40s=5"]);
}

#[test]
fn death_silence_and_nonsense_end_the_run_with_a_reason() {
    let died = aborted("echo no accelerator today >&2; exit 3");
    assert!(died.contains("exit status: 3") && died.contains("no accelerator today"), "{died}");
    let nonsense = aborted("read line; echo hello; cat");
    assert!(nonsense.contains("answered `hello`") && nonsense.contains("expected"), "{nonsense}");
    let stranger = aborted(r#"read line; echo "{\"replicas\": {\"l4s\": 1}}"; cat"#);
    assert!(stranger.contains("unknown variant `l4s`; did you mean `l40s`?"), "{stranger}");
    let negative = aborted(r#"read line; echo "{\"replicas\": {\"l40s\": -1}}"; cat"#);
    assert!(negative.contains("answered `{"), "{negative}");
    let late = aborted(r#"read line; echo "{\"replicas\": {}, \"decision\": 7}"; cat"#);
    assert!(late.contains("decision 7 where 1 was asked"), "{late}");
}

#[test]
fn a_program_that_hangs_is_killed() {
    let mut bench = bench("exec:timeout=200ms,command=sleep 1000");
    let asked = bench.tick(0.0);
    assert!(asked[0].contains("did not answer within 200ms"), "{asked:?}");
    assert_eq!(bench.tick(1e6), [""; 0], "it is not asked again");
    let mut bench = self::bench("exec:no-such-program-anywhere --x");
    assert!(bench.tick(0.0)[0].contains("cannot start `no-such-program-anywhere`"));
}

#[test]
fn the_python_example_scales_on_what_the_router_has_in_hand() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: python3 is not installed");
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/external_policy.py");
    assert!(example.exists(), "{}", example.display());
    let mut bench = bench(&format!("exec:{PATIENT},command=python3 '{}'", example.display()));
    bench.scrape_router(0.0, f64::NAN, |tier| (tier.queued, tier.running) = (10.0, 100.0));
    // ceil(110 / 16) = 7.
    assert_eq!(bench.tick(0.0), ["l40s=7"]);
    // Down at once would be rash: one at a time.
    bench.scrape_router(30.0, f64::NAN, |_| {});
    assert_eq!(bench.tick(30.0), ["l40s=6"]);
}

#[test]
fn words_are_split_as_a_shell_does() {
    let words = split_words(r#"python3  "my policy.py" --x='a "b"' c\ d """#).unwrap();
    assert_eq!(words, ["python3", "my policy.py", "--x=a \"b\"", "c d", ""]);
    assert!(split_words("sh -c 'oops").is_err());
}
