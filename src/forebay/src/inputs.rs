//! From command-line arguments to a world, a scenario and a trace.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use forebay_core::fleet::World;
use forebay_core::manifest::{self, Manifests, Source, builtin};
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::Span;
use forebay_telemetry::history::fetch_blocking;
use forebay_twin::experiment::Experiment;
use forebay_twin::trace::{self, Options, PROMETHEUS_PREFIX, Trace, parse_window};

use crate::cli::InputArguments;

/// Scenario in force when neither the command line nor the files name one.
const DEFAULT_SCENARIO: &str = "constant-15";

/// Everything that a run needs except its policy.
pub(crate) struct Inputs {
    pub(crate) world: World,
    pub(crate) scenario: ScenarioPlan,
    pub(crate) trace: Trace,
    /// Start of the window, from the start of the trace.
    pub(crate) start: Span,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
}

impl Inputs {
    /// Reads files and opens the trace.
    pub(crate) fn load(arguments: &InputArguments) -> Result<Self> {
        let (world, scenario) = load_world(&arguments.fleet, arguments.scenario.as_deref())?;
        let window = arguments
            .window
            .as_deref()
            .map(parse_window)
            .transpose()
            .map_err(|what| anyhow!("--window: {what}"))?;
        let options = Options { window, rate_scale: arguments.rate_scale, seed: arguments.seed };
        let trace = open_trace(&arguments.trace, &options)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if arguments.threads == 0 { cores } else { arguments.threads };
        let start = window.map_or(Span::ZERO, |(from, _)| Span(from.0));
        Ok(Self { world, scenario, trace, start, seed: arguments.seed, threads })
    }

    /// The comparison that they make up.
    pub(crate) fn experiment(&self) -> Experiment<'_> {
        Experiment {
            world: &self.world,
            scenario: &self.scenario,
            trace: &self.trace,
            duration: self.trace.duration(),
            seed: self.seed,
        }
    }
}

fn open_trace(path: &str, options: &Options) -> Result<Trace> {
    if !path.starts_with(PROMETHEUS_PREFIX) {
        return Ok(trace::open(path, options)?);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let history = fetch_blocking(path, now.as_secs_f64())?;
    Ok(trace::from_history(path, &history, options)?)
}

/// Reads the manifests and resolves them under a scenario.
pub(crate) fn load_world(
    fleets: &[String],
    scenario: Option<&str>,
) -> Result<(World, ScenarioPlan)> {
    let mut sources = Vec::new();
    for fleet in fleets {
        sources.push(read_source(fleet)?);
    }
    let mut scenario = scenario.map(str::to_owned);
    if let Some(path) = scenario.as_deref().filter(|name| looks_like_a_path(name)) {
        let source = read_source(path)?;
        let only = manifest::parse(std::slice::from_ref(&source)).map_err(explained)?;
        let [found] = only.scenarios.as_slice() else {
            bail!("{path} holds {} scenarios; name one that it should be", only.scenarios.len());
        };
        let name = found.name().to_owned();
        sources.push(source);
        scenario = Some(name);
    }
    let manifests: Manifests = manifest::parse(&sources).map_err(explained)?;
    if scenario.is_none() && manifests.scenarios.is_empty() {
        scenario = Some(DEFAULT_SCENARIO.to_owned());
    }
    manifests.resolve(scenario.as_deref()).map_err(explained)
}

fn looks_like_a_path(name: &str) -> bool {
    Path::new(name).extension().is_some() || name.contains('/')
}

/// A file, or what is built in under a name without a path.
pub(crate) fn read_source(fleet: &str) -> Result<Source> {
    if !looks_like_a_path(fleet) {
        return builtin::fleet(fleet).with_context(|| {
            let names: Vec<_> = builtin::fleet_names().collect();
            format!(
                "no built-in fleet `{fleet}`; there are {}; a file needs its ending (.yaml)",
                names.join(", ")
            )
        });
    }
    let text = std::fs::read_to_string(fleet).with_context(|| format!("cannot read {fleet}"))?;
    Ok(Source::new(fleet, text))
}

/// All problems, each with its place, as one error.
pub(crate) fn explained(errors: manifest::Errors) -> anyhow::Error {
    anyhow!("{}", errors)
}
