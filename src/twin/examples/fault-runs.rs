//! `cargo run --release -p forebay-twin --example fault-runs -- --runs 1000 [--policy SPEC]
//! [--from SEED] [--threads N]`: a policy under seeded faults; fails when a rule was broken.

#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use forebay_twin::fault_runs::{FaultRun, fault_runs};

/// Runs named in the output.
const WORST: usize = 5;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut policy, mut runs, mut from, mut threads) = ("forebay".to_owned(), 1_000, 0, 2);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--policy" => policy = value,
            "--runs" => runs = value.parse()?,
            "--from" => from = value.parse()?,
            "--threads" => threads = value.parse()?,
            _ => {
                let known = "--policy, --runs, --from, --threads";
                return Err(format!("unknown argument {argument}; known are {known}").into());
            }
        }
    }
    let mut results = fault_runs(&policy.parse()?, from..from + runs, threads)?;
    let mean = |read: fn(&FaultRun) -> f64| {
        results.iter().map(read).sum::<f64>() / results.len().max(1) as f64
    };
    let cost: (f64, f64) = (mean(|run| run.cost_usd), mean(|run| run.fault_free_cost_usd));
    println!("{policy}: {} runs from seed {from}", results.len());
    println!(
        "cost under faults / without: {:.3} of the sums, {:.3} in the mean of the runs",
        cost.0 / cost.1,
        mean(FaultRun::cost_ratio)
    );
    let (with, without) = (mean(|run| run.attainment.0), mean(|run| run.attainment.1));
    println!("attainment: {:.2} % under faults, {:.2} % without", with * 100.0, without * 100.0);
    println!("changes per run: {:.1}", mean(|run| run.changes as f64));

    results.sort_by(|left, right| right.cost_ratio().total_cmp(&left.cost_ratio()));
    println!("dearest:");
    for run in results.iter().take(WORST) {
        println!("  seed {}: {:.2}x, {:?}", run.seed, run.cost_ratio(), run.faults);
    }
    let mut broken: BTreeMap<_, (u64, String)> = BTreeMap::new();
    for run in &results {
        for violation in &run.violations {
            let first =
                || (0, format!("seed {} at {}: {}", run.seed, violation.at, violation.what));
            broken.entry(violation.broken).or_insert_with(first).0 += 1;
        }
    }
    let failed = results.iter().filter(|run| !run.violations.is_empty()).count();
    println!("runs that broke a rule: {failed}");
    for (rule, (count, first)) in &broken {
        println!("  {rule:?} {count} times, for instance {first}");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
