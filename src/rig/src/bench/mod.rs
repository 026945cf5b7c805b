//! What a picker costs: Envoy in front of test engines, asked by an open-loop load, once with a
//! picker that does nothing and once with ours, in turn on the same machine.
//!
//! Excess is what a request takes beyond the engine's time of service, from when it was due to its
//! last byte. CPU is that of the picker's process alone, all its threads, idle scraping included.

mod engines;
pub mod overload;
mod process;
mod report;
mod scenario;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use crate::load::{self, LoadError, Options as LoadOptions, Stream};
use process::Child;

pub use report::{Measured, Report};
pub use scenario::{ALL as SCENARIOS, Scenario};

/// Longest wait for a program to take connections.
const START_MAX: Duration = Duration::from_secs(20);
/// Load before each measurement, so that connections stand: for how long, and requests a second.
const WARM_UP: Duration = Duration::from_secs(2);
const WARM_UP_RATE: f64 = 100.0;
/// Slots of an engine: so many that nobody waits for one.
const SLOTS: u32 = 1_024;
/// How long nothing is sent before idling is measured.
const SETTLE: Duration = Duration::from_secs(3);

/// What to measure with which programs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `forebay` binary.
    pub forebay: PathBuf,
    /// The Envoy binary.
    pub envoy: PathBuf,
    /// Folder for configurations; it is there and is not cleaned up here.
    pub folder: PathBuf,
    /// Pickers, in the order in which they take turns.
    pub pickers: Vec<Picker>,
    /// What to measure.
    pub scenarios: Vec<Scenario>,
    /// How often each is measured; medians are reported.
    pub runs: u32,
    /// Multiplies the length of each measurement.
    pub length: f64,
}

/// A picker to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picker {
    /// The one that does nothing ([`crate::picker`]).
    Floor,
    /// Ours, behind ext_proc.
    Forebay,
}

impl Picker {
    /// As reports call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "does nothing",
            Self::Forebay => "forebay",
        }
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A program does not start or has died.
    #[error("{program}: {what}; its output is in {log}")]
    Program {
        /// Which.
        program: String,
        /// What is wrong.
        what: String,
        /// Where it wrote to.
        log: String,
    },
    /// A file or socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The load could not be sent.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Measures everything in turn; `said` gets a line for each measurement.
///
/// # Errors
/// [`BenchError`]: a program is missing or died.
pub async fn run(options: &Options, mut said: impl FnMut(&str)) -> Result<Report, BenchError> {
    let mut report = Report::default();
    for scenario in &options.scenarios {
        for run in 1..=options.runs.max(1) {
            for &picker in &options.pickers {
                let measured = measure(options, scenario, picker).await?;
                said(&format!("{} {run}: {}", scenario.name, measured.line(picker)));
                report.add(scenario, picker, measured);
            }
        }
    }
    Ok(report)
}

async fn measure(
    options: &Options,
    scenario: &Scenario,
    picker: Picker,
) -> Result<Measured, BenchError> {
    let service_ms = (scenario.first_token_ms, scenario.token_ms);
    let (forebay, folder) = (&options.forebay, &options.folder);
    let engines = engines::start(forebay, folder, scenario.engines, service_ms, SLOTS).await?;
    let picking = start_picker(options, scenario, picker, &engines.endpoints()).await?;
    if scenario.rate <= 0.0 {
        tokio::time::sleep(SETTLE).await;
        let spent = picking.child.spent()?;
        let span = Duration::from_secs_f64(scenario.seconds * options.length);
        tokio::time::sleep(span).await;
        return Ok(Measured::idle(picking.child.spent()?.since(spent), span));
    }
    let envoy = start_envoy(options, picking.port).await?;
    let url = format!("http://127.0.0.1:{}", envoy.port);
    let _warmed =
        load::run(&loaded(&url, scenario, WARM_UP_RATE.min(scenario.rate), WARM_UP)).await?;
    let before = [picking.child.spent()?, envoy.child.spent()?];
    let span = Duration::from_secs_f64(scenario.seconds * options.length);
    let load = load::run(&loaded(&url, scenario, scenario.rate, span)).await?;
    let after = [picking.child.spent()?, envoy.child.spent()?];
    let [picker, envoy] = [0, 1].map(|index| after[index].since(before[index]));
    Ok(Measured::loaded(load, picker, envoy))
}

fn loaded(url: &str, scenario: &Scenario, rate: f64, span: Duration) -> LoadOptions {
    let stream = Stream {
        name: scenario.name.into(),
        rate,
        prompt_tokens: scenario.prompt_tokens,
        output_tokens: scenario.output_tokens,
        streamed: scenario.streamed,
        model: Some("test-model".into()),
        ..Stream::default()
    };
    LoadOptions {
        url: url.parse().unwrap_or_default(),
        streams: vec![stream],
        span,
        warm_up: Duration::ZERO,
        patience: Duration::from_secs(60),
        even: false,
        come_back: false,
        service: Duration::from_secs_f64(scenario.service_ms() / 1e3),
        tier_header: HeaderName::from_static("x-forebay-tier"),
        tenant_header: HeaderName::from_static("x-llm-d-inference-fairness-id"),
        headers: Vec::<(HeaderName, HeaderValue)>::new(),
        seed: 1,
    }
}

struct Serving {
    child: Child,
    port: u16,
}

async fn start_picker(
    options: &Options,
    scenario: &Scenario,
    picker: Picker,
    endpoints: &[String],
) -> Result<Serving, BenchError> {
    let port = free_port()?;
    let at = format!("127.0.0.1:{port}");
    let log = options.folder.join("picker.log");
    let child = match picker {
        Picker::Floor => {
            let arguments = ["floor-picker", "--listen", &at, "--endpoints", &endpoints.join(",")];
            Child::start(&options.forebay, &arguments, &log)?
        }
        Picker::Forebay => {
            let fleet = options.folder.join("fleet.yaml");
            write(&fleet, &scenario::fleet(scenario, endpoints))?;
            let fleet = fleet.display().to_string();
            let arguments = ["run", "--components", "gate", "--fleet", &fleet, "--ext-proc", &at];
            Child::start(&options.forebay, &arguments, &log)?
        }
    };
    child.listens(&at).await?;
    Ok(Serving { child, port })
}

async fn start_envoy(options: &Options, picker_port: u16) -> Result<Serving, BenchError> {
    let port = free_port()?;
    let config = include_str!("envoy.yaml")
        .replace("LISTEN_PORT", &port.to_string())
        .replace("PICKER_PORT", &picker_port.to_string());
    let file = options.folder.join("envoy.yaml");
    write(&file, &config)?;
    let file = file.display().to_string();
    // Its own id for shared memory, so that several Envoys do not meet.
    let arguments = ["-c", &file, "-l", "warning", "--use-dynamic-base-id"];
    let child = Child::start(&options.envoy, &arguments, &options.folder.join("envoy.log"))?;
    child.listens(&format!("127.0.0.1:{port}")).await?;
    Ok(Serving { child, port })
}

fn free_port() -> Result<u16, BenchError> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.map(|address| address.port())
        .map_err(|source| BenchError::Io { what: "cannot find a free port".into(), source })
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    let what = || format!("cannot write {}", path.display());
    std::fs::write(path, text).map_err(|source| BenchError::Io { what: what(), source })
}
