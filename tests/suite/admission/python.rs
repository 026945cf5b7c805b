//! Programs of others in Python: the OpenAI client library, and Schemathesis, which asks what a
//! description allows and holds the answers against it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::fleet;
use super::http::get;
use crate::support::{Folder, Forebay, eventually};

/// The environment that `tests/run` makes; `None` where it lacks `module`.
fn python(module: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".cache/tools/python/bin/python");
    let mut import = Command::new(&python);
    import.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
    let there = import.status().is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: there is no Python with {module} in .cache/tools/python");
    }
    there.then_some(python)
}

#[test]
fn the_openai_client_is_refused_and_retries_as_its_authors_meant() {
    let Some(python) = python("openai") else { return };
    let folder = Folder::new("openai");
    let (_engines, engines) = Forebay::engines(1, &["--fixed-ms", "5"]);
    let file = folder.write("fleet.yaml", &fleet(&engines));
    let (_gate, at) = Forebay::gate(&file, &["--listen", "--admit"], &["--scrape-seconds", "0.1"]);
    eventually("the engine is seen", || {
        get(at[1], "/v1/budget").body["tiers"][0]["requests"].as_u64().is_some_and(|free| free > 0)
    });
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/openai_client.py");
    let output = Command::new(python).arg(script).arg(format!("http://{}/v1", at[0])).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.ends_with("all is well\n"), "{said}");
}

#[test]
fn whatever_the_description_allows_is_answered_as_it_says() {
    let Some(python) = python("schemathesis") else { return };
    let folder = Folder::new("schemathesis");
    let (_engines, engines) = Forebay::engines(1, &["--fixed-ms", "1"]);
    // Nothing is released here, so soon nobody is let in; nobody is to be held for it either.
    let fleet = fleet(&engines).replace("holdSecondsMax: 20", "holdSecondsMax: 0");
    let file = folder.write("fleet.yaml", &fleet);
    let (gate, at) = Forebay::gate(&file, &["--admit"], &["--scrape-seconds", "0.1"]);
    let root = folder.write("here", "");
    let output = Command::new(python.with_file_name("schemathesis"))
        .current_dir(root.parent().unwrap())
        .args(["run", &format!("http://{}/openapi.json", at[0])])
        // 503 is an answer that the description knows: nobody could serve this. Any other error
        // of a server is none that it knows.
        .args(["--checks", "status_code_conformance,content_type_conformance"])
        .args(["--checks", "response_schema_conformance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "1"])
        .args(["--request-timeout", "30", "--no-color"])
        .env("HYPOTHESIS_STORAGE_DIRECTORY", root.parent().unwrap())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}\n{}", gate.said());
}
