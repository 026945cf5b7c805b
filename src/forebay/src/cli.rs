//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench_gate::{BenchArguments, FloorArguments, OverloadArguments};
use crate::engine::EngineArguments;
use crate::load::LoadArguments;
use crate::run::RunArguments;

/// Keeps fleets of LLM inference engines at their service-level objectives for the least money.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay traffic against scaling policies: what each costs and how many requests miss.
    ///
    /// Without arguments: a built-in day on a built-in fleet, all policies at their defaults.
    Simulate(SimulateArguments),
    /// Search a policy's tunables for the least cost that keeps every tier's SLO.
    Tune(TuneArguments),
    /// Say why the planner did what it did at a moment of a replay, or list what it changed.
    Explain(ExplainArguments),
    /// What to hold for a demand, at what price, what binds, and what else would do.
    Plan(PlanArguments),
    /// Run the gate in front of engines: as a reverse proxy, as Envoy's endpoint picker, as a
    /// request admission webhook.
    Run(Box<RunArguments>),
    /// Compare the simulated engines with measured serving runs.
    Fidelity(FidelityArguments),
    /// Foresee the work of a trace at several lead times: errors, coverage and excess.
    Forecast(ForecastArguments),
    /// Compare what replicas are said to hold with what simulated ones hold.
    ///
    /// Over a grid of workloads, objectives and engines: the largest rate at which enough requests
    /// attain, as the planner sizes and as the twin finds it.
    Capacity(CapacityArguments),
    /// Turn history into an engine profile: step-time physics fitted to scrapes.
    Fit(FitArguments),
    /// Generate the engine profiles from published kernel measurements.
    Profiles(ProfilesArguments),
    /// Serve as a test engine: simulated physics behind the HTTP interface of vLLM.
    ///
    /// It runs no model. Tokens come when the simulated engine would have generated them; faults
    /// come on demand (docs/test-engine.md).
    Engine(EngineArguments),
    /// Send an open-loop load and say what became of it.
    Load(LoadArguments),
    /// Pick endpoints for Envoy in turn, without looking at anything: the floor of `bench-gate`.
    #[command(hide = true)]
    FloorPicker(FloorArguments),
    /// Measure what the gate costs behind a real Envoy, against a picker that does nothing.
    #[command(hide = true)]
    BenchGate(BenchArguments),
    /// Overload the gate threefold through its proxy, without telling it what engines hold.
    #[command(hide = true)]
    BenchOverload(OverloadArguments),
}

/// The fleet and its traffic.
#[derive(Args, Clone, Debug)]
pub(crate) struct InputArguments {
    /// Manifests (YAML): InferenceFleet, TrafficPolicy, AcceleratorClass, EngineProfile, Scenario.
    /// Repeat it for several files; a name without a path means a built-in fleet.
    #[arg(long, value_name = "FILE", default_value = "chat-8b")]
    pub(crate) fleet: Vec<String>,

    /// Scenario: how traffic is shared out to tiers and tenants, and which faults happen. A name
    /// in the files or built in, or a file.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) scenario: Option<String>,

    /// Traffic: an Azure or BurstGPT CSV, a Mooncake JSONL, a ServeGen folder, a generator YAML,
    /// `prometheus:URL`, or `builtin:day`.
    #[arg(long, value_name = "PATH", default_value = "builtin:day")]
    pub(crate) trace: String,

    /// Part of the traffic to replay, as `0h..24h` or `30m..2h`.
    #[arg(long, value_name = "FROM..TO")]
    pub(crate) window: Option<String>,

    /// Multiply the rate of arrivals.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) rate_scale: f64,

    /// Seed of every random draw.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Runs at the same time; 0 = one for each core.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

#[derive(Args, Debug)]
pub(crate) struct SimulateArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// Policy as `name[:key=value,...]` or `exec:COMMAND`; repeat it to compare several.
    #[arg(long, value_name = "SPEC")]
    pub(crate) policy: Vec<String>,

    /// Leave the oracles out (the lower bound and the best plan with the future known).
    #[arg(long)]
    pub(crate) no_oracle: bool,

    /// Write the report as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,

    /// Write the report as one self-contained page.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// Policy to ask; only those explain themselves that are ours.
    #[arg(long, value_name = "SPEC", default_value = "forebay")]
    pub(crate) policy: String,

    /// The moment, from the start of the window: `14:05` or `3h20m`. Without it: one line for
    /// each decision that changed something.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,

    /// Decisions about this fleet only.
    #[arg(long, value_name = "NAME")]
    pub(crate) of: Option<String>,

    /// Write the records as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct TuneArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// Policy whose tunables are searched; those given in the SPEC stay as they are.
    #[arg(long, value_name = "SPEC")]
    pub(crate) policy: String,

    /// Share of requests that must attain in every tier.
    #[arg(long, value_name = "SHARE", default_value_t = 0.99)]
    pub(crate) attainment: f64,

    /// Runs to spend.
    #[arg(long, value_name = "RUNS", default_value_t = 40)]
    pub(crate) budget: u32,

    /// Print the HPA or ScaledObject to apply instead of the frontier.
    #[arg(long)]
    pub(crate) yaml: bool,

    /// Write the search as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("question").required(true)
    .args(["demand", "stdio", "instance", "schema"]))]
pub(crate) struct PlanArguments {
    /// Manifests (YAML) of the fleets, as for `simulate`; a name without a path means a built-in
    /// fleet.
    #[arg(long, value_name = "FILE", default_value = "chat-8b")]
    pub(crate) fleet: Vec<String>,

    /// What to hold for this demand: a file (docs/plan-demand.md), `trace:PATH[?window=FROM..TO]`
    /// for the busiest ten minutes of a trace, or a line as
    /// `interactive:rate=30,prompt=1115,output=183,cached=20%;batch:rate=5,...`.
    #[arg(long, value_name = "FILE|SPEC")]
    pub(crate) demand: Option<String>,

    /// With `--demand`: no gate serves tiers by priority; all requests share one queue.
    #[arg(long, requires = "demand")]
    pub(crate) one_queue: bool,

    /// Be an external policy: read observations on stdin, answer each on stdout
    /// (docs/external-policy.md).
    #[arg(long)]
    pub(crate) stdio: bool,

    /// With `--stdio`: settings of the planner, as `forebay[:key=value,...]`. Nothing is rolled
    /// forward in simulation there: keep `roll=0`.
    #[arg(long, value_name = "SPEC", default_value = "forebay:roll=0", requires = "stdio")]
    pub(crate) policy: String,

    /// Solve a bare instance (YAML or JSON, `-` for stdin): needs, variants with what they cover
    /// and cost, pools and limits.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) instance: Option<PathBuf>,

    /// Print the JSON schema of an instance.
    #[arg(long, hide = true)]
    pub(crate) schema: bool,

    /// Next best mixes to show for each fleet.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) alternatives: usize,

    /// Partial mixes to look at before the best one found is taken, with the gap that is proven.
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    pub(crate) nodes: u64,

    /// Write the answer as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct FidelityArguments {
    /// Measured serving runs (CSV with the columns of `measured_serving_ttft_tpot.csv`).
    #[arg(long, value_name = "CSV")]
    pub(crate) measured: PathBuf,

    /// Write the comparison as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ForecastArguments {
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// Lead times.
    #[arg(long, value_name = "SPANS", value_delimiter = ',', default_value = "2m,4m,8m")]
    pub(crate) lead: Vec<String>,

    /// Share of maxima that the upper end is to cover.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub(crate) quantile: f64,

    /// Write scores and series as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct CapacityArguments {
    /// How much is tried: `small` takes seconds, `full` minutes.
    #[arg(long, value_enum, default_value = "small")]
    pub(crate) grid: CapacityGrid,

    /// Seed that the points are drawn from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Points at the same time; 0 = one for each core.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,

    /// Write the comparison as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CapacityGrid {
    /// A dozen points, short runs.
    Small,
    /// Hundreds of points, long runs.
    Full,
}

#[derive(Args, Debug)]
pub(crate) struct FitArguments {
    /// Windows of scrapes (CSV, columns in docs/fit.md).
    #[arg(long, value_name = "FILE", conflicts_with = "prometheus")]
    pub(crate) samples: Option<PathBuf>,

    /// A Prometheus that scraped the engines, with range and selectors as for `--trace`:
    /// `http://host:9090?start=-24h&step=1m&model=NAME`.
    #[arg(long, value_name = "URL", required_unless_present = "samples")]
    pub(crate) prometheus: Option<String>,

    /// The profile to start from: a built-in name, or a file that holds one. What the history does
    /// not tell stays as it says.
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) profile: Option<String>,

    /// The engines of `--prometheus` prefill only.
    #[arg(long)]
    pub(crate) prefill: bool,

    /// Write the profile to a file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Write the report as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ProfilesArguments {
    /// Folder with the published tables.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// Folder to write to, one file for each model.
    #[arg(long, value_name = "DIR", default_value = "policies/profiles")]
    pub(crate) out: PathBuf,
}
