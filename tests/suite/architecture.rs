//! The house is laid out as the decisions say: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Our packages, with the only ones of ours that each may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("forebay-core", &[]),
    ("forebay-twin", &["forebay-core"]),
    ("forebay-telemetry", &["forebay-core"]),
    ("forebay-gateway", &["forebay-core"]),
    // A test engine writes the page that telemetry knows.
    ("forebay-rig", &["forebay-core", "forebay-telemetry"]),
    (
        "forebay",
        &["forebay-core", "forebay-gateway", "forebay-rig", "forebay-telemetry", "forebay-twin"],
    ),
];

/// What would bring a clock, a runtime, a socket or luck into the core.
const IMPURE: &[&str] =
    &["tokio", "async-std", "kube", "hyper", "reqwest", "mio", "socket2", "rand", "getrandom"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Normal and build dependencies by package name, over the whole resolved graph.
fn graph(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let name_of: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let edges = node["deps"].as_array().unwrap().iter().filter(|edge| {
            edge["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev")
        });
        let names = edges.map(|edge| name_of[edge["pkg"].as_str().unwrap()].to_owned());
        graph.entry(name_of[node["id"].as_str().unwrap()].to_owned()).or_default().extend(names);
    }
    graph
}

#[test]
fn packages_depend_only_on_whom_they_may() {
    let graph = graph(&metadata());
    let ours: BTreeSet<&str> =
        graph.keys().map(String::as_str).filter(|name| name.starts_with("forebay")).collect();
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, known, "a new package needs its line in ALLOWED, and a reason");
    for (name, allowed) in ALLOWED {
        for used in graph[*name].iter().filter(|used| used.starts_with("forebay")) {
            assert!(allowed.contains(&used.as_str()), "{name} must not depend on {used}");
        }
    }
}

#[test]
fn nothing_impure_reaches_the_core() {
    let graph = graph(&metadata());
    let mut seen = BTreeSet::new();
    let mut open = vec!["forebay-core".to_owned()];
    while let Some(name) = open.pop() {
        if seen.insert(name.clone()) {
            open.extend(graph.get(&name).into_iter().flatten().cloned());
        }
    }
    assert!(seen.len() > 5, "the graph was read");
    let found: Vec<_> = IMPURE.iter().filter(|name| seen.contains(**name)).collect();
    assert!(found.is_empty(), "the core depends on {found:?}");
}
