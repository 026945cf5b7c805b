//! `forebay simulate`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use forebay_core::fleet::{CapacityType, Slo, World};
use forebay_core::time::Span;
use forebay_twin::experiment::Experiment;
use forebay_twin::oracle::check;
use forebay_twin::policy::{self, PolicySpec};
use forebay_twin::report::{
    self, Objective, OracleSummary, Report, Run, SCHEMA, TierTarget, TraceSummary,
};

use crate::cli::SimulateArguments;
use crate::inputs::Inputs;
use crate::output;

/// Policies that are left out when none is asked for: they need something from the user, or are
/// there for the record only.
const NOT_BY_DEFAULT: &[&str] = &["exec", "wva"];

/// A fixed fleet that holds the peaks of the built-in day, as people without an autoscaler run.
const STATIC_BY_DEFAULT: &str = "static:replicas=14";

pub(crate) fn run(arguments: &SimulateArguments) -> Result<()> {
    let inputs = Inputs::load(&arguments.input)?;
    let specs = specs(&arguments.policy)?;
    let experiment = inputs.experiment();
    for spec in &specs {
        experiment.check(spec)?;
    }
    let begun = Instant::now();
    let done = AtomicUsize::new(0);
    let results = experiment.run_all(&specs, inputs.threads, &|index, result| {
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        let said = match result {
            Ok(finished) => format!(
                "{} requests in {:.1} s ({:.0}/s)",
                finished.requests, finished.run.wall_seconds, finished.run.requests_per_wall_second
            ),
            Err(error) => format!("{error}"),
        };
        eprintln!("[{number}/{}] {}: {said}", specs.len(), specs[index]);
    });
    let mut runs = Vec::new();
    let mut requests = 0;
    for result in results {
        let finished = result?;
        requests = finished.requests;
        runs.push(finished.run);
    }
    let oracle = if arguments.no_oracle {
        OracleSummary::default()
    } else {
        ask_oracle(&experiment, &specs, &runs, inputs.threads)?
    };
    eprintln!("{} runs in {:.1} s", runs.len(), begun.elapsed().as_secs_f64());
    let report = assemble(&inputs, requests, oracle, runs);
    if let Some(path) = &arguments.json {
        output::write_json(path, &report)?;
    }
    if let Some(path) = &arguments.html {
        output::write_file(path, &report::html::render(&report))?;
    }
    let json = arguments.json.as_deref();
    let text = report::terminal::render(&report, output::width(), output::colour(json));
    output::show(&text, json)?;
    if let Some(run) = report.runs.iter().find(|run| run.aborted.is_some()) {
        let what = run.aborted.as_deref().unwrap_or_default();
        bail!("policy `{}` gave up: {what}; what was measured until then is above", run.policy);
    }
    Ok(())
}

fn specs(given: &[String]) -> Result<Vec<PolicySpec>> {
    let all = policy::NAMES.iter().map(|(name, _)| *name);
    let texts: Vec<&str> = if given.is_empty() {
        all.filter(|name| !NOT_BY_DEFAULT.contains(name))
            .map(|name| if name == "static" { STATIC_BY_DEFAULT } else { name })
            .collect()
    } else {
        given.iter().map(String::as_str).collect()
    };
    texts
        .into_iter()
        .map(|text| PolicySpec::parse(text).with_context(|| format!("--policy {text}")))
        .collect()
}

/// Runs that the search for the best plan with the future known may spend.
const CLAIRVOYANT_RUNS: u32 = 16;

/// The lower bound, against which every run is held, and the best plan found.
fn ask_oracle(
    experiment: &Experiment<'_>,
    specs: &[PolicySpec],
    runs: &[Run],
    threads: usize,
) -> Result<OracleSummary> {
    let bound = experiment.bound(specs)?;
    for run in runs {
        check::check(run, &bound)?;
    }
    let clairvoyant = experiment.clairvoyant(&bound, CLAIRVOYANT_RUNS, threads)?;
    Ok(OracleSummary {
        lower_bound_cost_usd: Some(bound.cost().0),
        clairvoyant_cost_usd: clairvoyant.map(|found| found.outcome.cost_usd),
    })
}

fn assemble(inputs: &Inputs, requests: u64, oracle: OracleSummary, runs: Vec<Run>) -> Report {
    let world = &inputs.world;
    Report {
        schema: SCHEMA.into(),
        trace: TraceSummary {
            path: inputs.trace.path().to_owned(),
            format: inputs.trace.format().to_owned(),
            requests,
            duration_s: inputs.trace.duration().as_seconds(),
            start_s: inputs.start.as_seconds(),
            notes: inputs.trace.notes().to_vec(),
        },
        fleets: world.fleets.iter().map(|fleet| fleet.name.clone()).collect(),
        scenario: inputs.scenario.name.clone(),
        seed: inputs.seed,
        commit: env!("FOREBAY_COMMIT").to_owned(),
        command: Some(command()),
        tiers: targets(world),
        prices_usd_per_hour: prices(world),
        unscored_s: inputs.scenario.unscored.as_seconds(),
        oracle,
        runs,
    }
}

/// The command line, quoted so that a shell reads it back.
fn command() -> String {
    let quoted = std::env::args().skip(1).map(|argument| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
        if !argument.is_empty() && argument.chars().all(plain) {
            argument
        } else {
            format!("'{}'", argument.replace('\'', r"'\''"))
        }
    });
    std::iter::once("forebay".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ")
}

fn targets(world: &World) -> Vec<TierTarget> {
    let objective = |fleet: &forebay_core::fleet::Fleet, slo: &Slo| {
        let millis = |span: Span| Some(span.as_millis());
        let base = Objective {
            fleet: fleet.name.clone(),
            percentile: slo.percentile(),
            ..Objective::default()
        };
        match *slo {
            Slo::Latency { ttft, tpot, .. } => {
                Objective { ttft_ms: millis(ttft), tpot_ms: millis(tpot), ..base }
            }
            Slo::Completion { within, .. } => {
                Objective { within_s: Some(within.as_seconds()), ..base }
            }
        }
    };
    world
        .tiers
        .iter()
        .enumerate()
        .map(|(index, tier)| TierTarget {
            name: tier.name.clone(),
            deferrable: tier.deferrable,
            objectives: world
                .fleets
                .iter()
                .filter_map(|fleet| Some(objective(fleet, fleet.slos.get(index)?.as_ref()?)))
                .collect(),
        })
        .collect()
}

fn prices(world: &World) -> BTreeMap<String, f64> {
    let mut prices = BTreeMap::new();
    for class in &world.accelerators {
        for (capacity, name) in [
            (CapacityType::Committed, "committed"),
            (CapacityType::OnDemand, "on-demand"),
            (CapacityType::Spot, "spot"),
        ] {
            if let Some(price) = class.price(capacity) {
                prices.insert(format!("{}/{name}", class.name), price.0);
            }
        }
    }
    prices
}
