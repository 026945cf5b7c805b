//! `forebay tune`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use forebay_twin::experiment::{Experiment, outcome};
use forebay_twin::policy::{self, PolicySpec, to_yaml};
use forebay_twin::tune::{self, Effort, Goal, Outcome, Point, Tuned};
use serde_json::json;

use crate::cli::TuneArguments;
use crate::inputs::Inputs;
use crate::output;

pub(crate) fn run(arguments: &TuneArguments) -> Result<()> {
    ensure!(
        arguments.attainment > 0.0 && arguments.attainment <= 1.0,
        "--attainment {}: expected a share such as 0.99",
        arguments.attainment
    );
    let inputs = Inputs::load(&arguments.input)?;
    let experiment = inputs.experiment();
    let base = PolicySpec::parse(&arguments.policy)
        .with_context(|| format!("--policy {}", arguments.policy))?;
    experiment.check(&base)?;
    let tunables = policy::tunables(base.name());
    let promised = experiment.goal().attainment.into_keys();
    let goal = Goal { attainment: promised.map(|tier| (tier, arguments.attainment)).collect() };
    let effort =
        Effort { runs: arguments.budget, threads: inputs.threads, seed: arguments.input.seed };
    let failure = Mutex::new(None);
    let tuned = tune::search(
        &base,
        tunables,
        &goal,
        effort,
        |spec| evaluate(&experiment, spec, &failure),
        |progress| {
            eprintln!(
                "[{}/{}] {} {}; best so far {} {}",
                progress.done,
                progress.runs,
                progress.last.spec,
                said(progress.last),
                progress.best.spec,
                said(progress.best)
            );
        },
    );
    // A setting that cannot be run is worth nothing; nothing but such settings is an error.
    if let Ok(Some(error)) = failure.into_inner()
        && !tuned.points.iter().any(|point| point.outcome.cost_usd.is_finite())
    {
        return Err(error);
    }
    if let Some(path) = &arguments.json {
        output::write_json(path, &as_json(&inputs, &goal, &tuned))?;
    }
    let json = arguments.json.as_deref();
    if arguments.yaml {
        let yaml = to_yaml(&tuned.best.spec, &inputs.world)?;
        return output::show(&format!("{yaml}# {}\n", tuned.best.spec), json);
    }
    output::show(&summary(arguments.attainment, &tuned), json)
}

fn evaluate(
    experiment: &Experiment<'_>,
    spec: &PolicySpec,
    failure: &Mutex<Option<anyhow::Error>>,
) -> Outcome {
    experiment.run(spec).map_or_else(
        |error| {
            if let Ok(mut failure) = failure.lock() {
                failure.get_or_insert(error.into());
            }
            Outcome { cost_usd: f64::INFINITY, ..Outcome::default() }
        },
        |finished| outcome(&finished.run),
    )
}

/// One setting in a few words: cost and the attainment of each tier.
fn said(point: &Point) -> String {
    let tiers = point.outcome.attainment.iter();
    let shares = tiers.map(|(tier, share)| format!("{tier} {:.2} %", share * 100.0));
    format!("${:.2} ({})", point.outcome.cost_usd, shares.collect::<Vec<_>>().join(", "))
}

/// What was found; its last line is the SPEC.
fn summary(attainment: f64, tuned: &Tuned) -> String {
    let mut text = String::from("Cost over attainment, the settings that no other beats:\n");
    for point in &tuned.frontier.points {
        let mark = if point.attains() { '✓' } else { '✗' };
        let _ = writeln!(text, "  {mark} {}  {}", said(point), point.spec);
    }
    let goal = attainment * 100.0;
    let _ = match tuned.cost_at_goal_usd {
        Some(cost) => writeln!(text, "At exactly {goal} % in every tier: ${cost:.2}."),
        None => writeln!(
            text,
            "No setting tried keeps {goal} % in every tier; the one that misses least follows."
        ),
    };
    let _ = writeln!(text, "{}", tuned.best.spec);
    text
}

fn as_json(inputs: &Inputs, goal: &Goal, tuned: &Tuned) -> serde_json::Value {
    let point = |point: &Point| {
        let attainment: &BTreeMap<String, f64> = &point.outcome.attainment;
        json!({
            "policy": point.spec.to_string(),
            // A run that broke off has no cost.
            "cost_usd": point.outcome.cost_usd.is_finite().then_some(point.outcome.cost_usd),
            "attainment": attainment,
            "attains": point.attains(),
        })
    };
    json!({
        "schema": "forebay.tune/v1",
        "trace": inputs.trace.path(),
        "scenario": inputs.scenario.name,
        "seed": inputs.seed,
        "commit": env!("FOREBAY_COMMIT"),
        "required_attainment": goal.attainment,
        "feasible": tuned.feasible,
        "cost_at_required_attainment_usd": tuned.cost_at_goal_usd,
        "best": point(&tuned.best),
        "frontier": tuned.frontier.points.iter().map(point).collect::<Vec<_>>(),
        "points": tuned.points.iter().map(point).collect::<Vec<_>>(),
    })
}
