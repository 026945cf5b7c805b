use std::fmt::Write;

use forebay_core::engine::profile::EvidenceLevel::{Measured, Modelled};

use super::*;
use crate::profiles::built_in;

const HEADER: &str = "backend,model_path,accelerator,precision,mode,isl,osl,tp_size,concurrency,\
    measured_ttft_ms,measured_tpot_ms\n";

fn row(model: &str, lengths: (u32, u32), concurrency: u32, ttft_ms: f64, tpot_ms: f64) -> String {
    format!(
        "vllm,{model},h100_sxm,fp8,agg,{},{},2,{concurrency},{ttft_ms},{tpot_ms}\n",
        lengths.0, lengths.1
    )
}

/// A table that `profiles` would have measured, with the figures changed by factors.
fn measured_by(profiles: &[EngineProfile], ttft: f64, tpot: f64) -> String {
    let mut empty = HEADER.to_owned();
    for lengths in [(256, 64), (512, 64), (1024, 128), (2048, 64), (512, 256), (256, 256)] {
        for concurrency in [2, 8, 24] {
            empty += &row("meta-llama/Llama-3.1-70B", lengths, concurrency, 1e6, 1e3);
        }
    }
    let mut table = HEADER.to_owned();
    for run in run(&empty, profiles, &BTreeSet::new()).unwrap().runs {
        table += &row(
            "meta-llama/Llama-3.1-70B",
            (run.prompt_tokens, run.output_tokens),
            run.concurrency,
            run.simulated_ttft_ms * ttft,
            run.simulated_tpot_ms * tpot,
        );
    }
    table
}

#[test]
fn runs_measured_on_the_twin_itself_have_no_error() {
    let profiles = built_in().unwrap();
    let report = run(&measured_by(&profiles, 1.0, 1.0), &profiles, &BTreeSet::new()).unwrap();
    assert_eq!((report.rows, report.scored, report.scope), (18, 18, Scope::All));
    assert!(report.errors.ttft_p90_abs_error.unwrap() < 1e-9);
    assert!(report.errors.tpot_p90_abs_error.unwrap() < 1e-9);
    assert_eq!(report.low_concurrency.rows, 12);
    let off = run(&measured_by(&profiles, 2.0, 0.8), &profiles, &BTreeSet::new()).unwrap();
    assert!((off.ttft_median_abs_error.unwrap() - 0.5).abs() < 1e-9);
    assert!((off.tpot_median_abs_error.unwrap() - 0.25).abs() < 1e-9);
}

#[test]
fn trained_sweeps_are_reported_apart_and_whole() {
    let profiles = built_in().unwrap();
    let table = measured_by(&profiles, 1.0, 1.0);
    let fit = fit::fit(&table, &profiles).unwrap();
    let report = run(&table, &profiles, &fit.trained).unwrap();
    assert_eq!(report.scope, Scope::HeldOut);
    assert_eq!((report.errors.rows, report.trained.rows), (9, 9));
    for one in &report.runs {
        let sweep = |run: &Compared| (run.prompt_tokens, run.output_tokens);
        let mut same = report.runs.iter().filter(|other| sweep(other) == sweep(one));
        assert!(same.all(|other| other.trained == one.trained), "{:?} on both sides", sweep(one));
    }
}

#[test]
fn a_calibration_found_on_one_half_holds_on_the_other() {
    let profiles = built_in().unwrap();
    let truth: Vec<EngineProfile> = profiles
        .iter()
        .map(|profile| {
            let mut profile = profile.clone();
            profile.step_time.calibration *= 1.15;
            profile.step_time.compute_ms_per_ktoken *= 1.3;
            profile.step_time.attention_ms_per_mpair *= 1.3;
            profile.request_overhead_ms += 30.0;
            profile
        })
        .collect();
    let table = measured_by(&truth, 1.0, 1.0);
    // As the generator starts: nothing calibrated yet.
    let fresh: Vec<EngineProfile> = profiles
        .iter()
        .map(|profile| {
            let mut profile = profile.clone();
            profile.step_time.calibration = 1.0;
            profile.evidence.level = Modelled;
            profile
        })
        .collect();
    let before = run(&table, &fresh, &BTreeSet::new()).unwrap();
    let fit = fit::fit(&table, &fresh).unwrap();
    let fitted: Vec<EngineProfile> = fresh
        .iter()
        .map(|profile| fit.profiles.get(&profile.name).unwrap_or(profile).clone())
        .collect();
    let after = run(&table, &fitted, &fit.trained).unwrap();
    assert!(before.tpot_median_abs_error.unwrap() > 0.08, "{:?}", before.errors);
    assert!(before.ttft_median_abs_error.unwrap() > 0.20, "{:?}", before.errors);
    assert!(after.tpot_median_abs_error.unwrap() < 0.03, "{:?}", after.errors);
    assert!(after.ttft_median_abs_error.unwrap() < 0.05, "{:?}", after.errors);
    let name = "llama-3.3-70b-fp8-h100-sxm-tp";
    let level = |parallel: u32| fit.profiles[&format!("{name}{parallel}")].evidence.level;
    assert_eq!((level(2), level(8)), (Measured, Modelled), "own runs, and carried over");
}

#[test]
fn the_same_table_gives_the_same_bytes() {
    let profiles = built_in().unwrap();
    let table = measured_by(&profiles, 1.1, 0.9);
    let once = run(&table, &profiles, &BTreeSet::new()).unwrap();
    let again = run(&table, &profiles, &BTreeSet::new()).unwrap();
    assert_eq!(serde_json::to_string(&once).unwrap(), serde_json::to_string(&again).unwrap());
}

#[test]
fn what_cannot_be_simulated_is_listed_with_its_reason() {
    let profiles = built_in().unwrap();
    let mut table = HEADER.to_owned();
    table += &row("meta-llama/Llama-3.1-70B", (1_000_000, 100), 4, 1.0, 1.0);
    table += &row("nobody/Knows", (100, 100), 4, 1.0, 1.0);
    table += &row("meta-llama/Llama-3.1-70B", (8_000, 100), 64, 100.0, 10.0);
    let report = run(&table, &profiles, &BTreeSet::new()).unwrap();
    assert_eq!((report.rows, report.scored, report.tpot_median_abs_error), (3, 0, None));
    let mut reasons = String::new();
    for left_out in &report.not_scored {
        let _ = write!(reasons, "{} {}; ", left_out.rows, left_out.reason);
    }
    assert!(
        reasons.contains("1 a request does not fit in the KV cache of the profile"),
        "{reasons}"
    );
    assert!(reasons.contains("1 no profile of Knows"), "{reasons}");
    assert!(reasons.contains("1 the figures leave no time to compute the prompts"), "{reasons}");
    assert!(render(&report).contains("no profile of Knows"));
}

#[test]
fn a_wrong_table_is_refused_with_what_is_missing() {
    let error = run("a,b\n1,2\n", &[], &BTreeSet::new()).unwrap_err().to_string();
    assert!(error.contains("no column \"backend\"; found a, b"), "{error}");
    let error = run(
        &format!(
            "{HEADER}{}",
            row("meta-llama/Llama-3.1-70B", (9, 9), 1, 1.0, 1.0).replace(",9,9,", ",x,9,")
        ),
        &built_in().unwrap(),
        &BTreeSet::new(),
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains(":2: isl is \"x\"; expected a finite number"), "{error}");
}
