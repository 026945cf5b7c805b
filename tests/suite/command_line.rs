//! The binary as its users run it.

use std::process::{Command, Output};

use serde_json::Value;

fn forebay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A short window of the built-in day, as JSON.
fn simulate(more: &[&str]) -> Value {
    let mut arguments =
        vec!["simulate", "--window", "0h..1h", "--rate-scale", "0.2", "--json", "-"];
    arguments.extend(more);
    let output = forebay(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

fn without_wall_clock(mut report: Value) -> Value {
    for run in report["runs"].as_array_mut().unwrap() {
        for field in ["wall_seconds", "requests_per_wall_second"] {
            run.as_object_mut().unwrap().remove(field).expect("the field is there");
        }
    }
    report.as_object_mut().unwrap().remove("command");
    report
}

#[test]
fn a_report_is_the_same_on_any_number_of_threads() {
    let policies = ["--no-oracle", "--policy", "static", "--policy", "hpa", "--policy", "forebay"];
    let on = |threads| {
        let mut arguments = vec!["--threads", threads];
        arguments.extend(policies);
        without_wall_clock(simulate(&arguments))
    };
    assert_eq!(on("1"), on("3"));
}

#[test]
fn every_policy_reports_every_request_once_and_none_beats_the_bound() {
    let report = simulate(&[]);
    assert_eq!(report["schema"], "forebay.report/v1");
    let bound = report["oracle"]["lower_bound_cost_usd"].as_f64().unwrap();
    assert!(bound > 0.0);
    let runs = report["runs"].as_array().unwrap();
    assert!(runs.len() >= 8, "all policies run by default");
    let scored = |run: &Value| -> u64 {
        let tiers = run["tiers"].as_object().unwrap().values();
        tiers.map(|tier| tier["requests"].as_u64().unwrap()).sum()
    };
    for run in runs {
        assert_eq!(scored(run), scored(&runs[0]), "{}: same traffic for all", run["policy"]);
        assert!(run["cost_usd"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn wrong_input_says_what_where_and_how_to_mend_it() {
    let said = |arguments: &[&str]| {
        let output = forebay(arguments);
        assert!(!output.status.success());
        stderr(&output)
    };
    let unknown = said(&["simulate", "--policy", "hpaa"]);
    assert!(unknown.contains("did you mean `hpa`"), "{unknown}");
    let key = said(&["simulate", "--policy", "hpa:targt=3"]);
    assert!(key.contains("targt") && key.contains("target"), "{key}");
    let fleet = said(&["simulate", "--fleet", "chat-9b"]);
    assert!(fleet.contains("chat-8b"), "{fleet}");
    let trace = said(&["simulate", "--trace", "no/such/trace.csv"]);
    assert!(trace.contains("no/such/trace.csv"), "{trace}");
    let window = said(&["simulate", "--window", "5h..2h"]);
    assert!(window.contains("--window"), "{window}");
}

#[test]
fn a_policy_that_dies_is_reported_with_what_was_measured() {
    let output = forebay(&[
        "simulate",
        "--window",
        "0h..1h",
        "--rate-scale",
        "0.2",
        "--no-oracle",
        "--json",
        "-",
        "--policy",
        "exec:false",
    ]);
    assert!(!output.status.success());
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert!(report["runs"][0]["aborted"].as_str().is_some(), "{report}");
    assert!(report["runs"][0]["cost_usd"].as_f64().unwrap() > 0.0);
}

#[test]
fn tuning_ends_with_the_spec_and_can_print_the_object_to_apply() {
    let tune = |more: &[&str]| {
        let mut arguments = vec![
            "tune",
            "--window",
            "0h..45m",
            "--rate-scale",
            "0.1",
            "--policy",
            "hpa:metric=running,target=8,gate=least-loaded",
            "--budget",
            "4",
        ];
        arguments.extend(more);
        let output = forebay(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let found = tune(&[]);
    let spec = found.lines().last().unwrap();
    assert!(spec.starts_with("hpa:") && spec.contains("target_scale="), "{found}");
    let report = simulate(&["--no-oracle", "--policy", spec]);
    assert_eq!(report["runs"][0]["policy"], spec, "the SPEC reads back");
    let yaml = tune(&["--yaml"]);
    assert!(yaml.contains("kind: HorizontalPodAutoscaler"), "{yaml}");
    assert_eq!(yaml.lines().last(), Some(format!("# {spec}").as_str()));
}

#[test]
fn a_bare_instance_is_answered_on_one_screen_and_as_json() {
    let example = ["plan", "--instance", "docs/plan-instance.yaml"];
    let output = forebay(&example);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), include_str!("golden/plan_instance.txt"));
    let output = forebay(&[example.as_slice(), &["--json", "-"]].concat());
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&answer["optimal"], &answer["gap"]), (&Value::Bool(true), &Value::from(0.0)));
    assert_eq!(stderr(&output), include_str!("golden/plan_instance.txt"));
    let schema = forebay(&["plan", "--schema"]);
    let schema: Value = serde_json::from_str(&stdout(&schema)).unwrap();
    assert!(schema["properties"]["fleets"].is_object(), "{schema}");
    let nothing = forebay(&["plan"]);
    assert!(stderr(&nothing).contains("--instance"), "{}", stderr(&nothing));
    let wrong = forebay(&["plan", "--instance", "docs/plan-instance.md"]);
    assert!(stderr(&wrong).contains("docs/plan-instance.md"), "{}", stderr(&wrong));
}

#[test]
fn a_demand_is_answered_on_one_screen_and_as_json() {
    let example = ["plan", "--fleet", "chat-8b", "--demand", "docs/plan-demand.yaml"];
    let output = forebay(&example);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), include_str!("golden/plan_demand.txt"));
    let output = forebay(&[&example[..], &["--json", "-"]].concat());
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["schema"], "forebay.plan/v1");
    let wrong = forebay(&["plan", "--demand", "interactive:rate=often,prompt=9,output=9"]);
    assert_eq!(wrong.status.code(), Some(1));
    let said = stderr(&wrong);
    assert!(said.contains("--demand:1:13: rate=often") && said.contains("a number"), "{said}");
}

#[test]
fn the_busiest_minutes_of_a_trace_are_a_demand() {
    let trace = "trace:builtin:day?window=0h..20m";
    let output = forebay(&["plan", "--fleet", "chat-8b", "--demand", trace]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("chat-8b: hold ") && said.contains("the busiest ten"), "{said}");
}

/// What a policy cost, and what became of the requests.
fn outcome(run: &Value) -> Value {
    let mut run = run.clone();
    for field in ["policy", "parameters", "wall_seconds", "requests_per_wall_second"] {
        run.as_object_mut().unwrap().remove(field);
    }
    run
}

#[test]
fn our_planner_decides_the_same_as_somebody_elses_policy() {
    let command = env!("CARGO_BIN_EXE_forebay");
    let program = format!(
        "exec:interval=15s,timeout=300s,gate=forebay,command='{command}' plan --stdio --fleet chat-8b"
    );
    let output = forebay(&[
        "simulate",
        "--window",
        "7h..7h25m",
        "--rate-scale",
        "0.5",
        "--json",
        "-",
        "--no-oracle",
        "--policy",
        "forebay:roll=0",
        "--policy",
        &program,
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let [ours, theirs] = report["runs"].as_array().unwrap().as_slice() else { panic!() };
    let starts = ours["replicas"]["chat-8b/l40s"]["starts"].as_u64();
    assert!(starts > Some(0), "something was decided: {starts:?}");
    assert_eq!(outcome(ours), outcome(theirs));
}

#[test]
fn a_program_that_is_told_nonsense_says_so_and_ends() {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["plan", "--stdio", "--fleet", "chat-8b"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let line = b"{\"schema\": \"forebay.observation/v2\", \"decision\": 1}\n";
    child.stdin.take().unwrap().write_all(line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("line 1 of stdin") && said.contains("forebay.observation/v1"), "{said}");
}
