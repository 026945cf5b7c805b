//! Overload at three times what fits, through the standalone proxy: what is used of the engines,
//! what the upper tier notices, what the lower one gets.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::HeaderName;
use serde::Serialize;

use super::process::Child;
use super::{BenchError, engines, free_port, scenario, write};
use crate::load::{self, Options as LoadOptions, Report as Load, Stream};

/// Engines of so many slots, each holding a request for so long.
const ENGINES: u16 = 8;
const SLOTS: u32 = 4;
const SERVICE_MS: f64 = 200.0;
/// Requests a second that fit: 160.
const CAPACITY_PER_S: f64 = ENGINES as f64 * SLOTS as f64 * 1e3 / SERVICE_MS;
/// Start of each load that does not count: the gate learns what engines hold.
const WARM_UP: Duration = Duration::from_secs(2);

/// How to overload.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `forebay` binary.
    pub forebay: PathBuf,
    /// Folder for configurations; it is there and is not cleaned up here.
    pub folder: PathBuf,
    /// Length of each overload.
    pub span: Duration,
    /// Requests a second of the upper and the lower tier, one measurement each.
    pub mixes: Vec<(f64, f64)>,
    /// Also: twice what fits for 60 s, then half of it for 60 s, everybody who is refused coming
    /// back once, when told.
    pub come_back: bool,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Overloaded {
    /// Upper and lower tier, requests a second; absent where clients came back.
    pub mix: Option<(f64, f64)>,
    /// Share of the engines' capacity that was used after the warm-up.
    pub used: f64,
    /// What the load saw.
    pub load: Load,
}

/// Measures each mix with fresh engines and a fresh gate.
///
/// # Errors
/// [`BenchError`]: a program is missing or died.
pub async fn run(options: &Options) -> Result<Vec<Overloaded>, BenchError> {
    let mut found = Vec::new();
    for &(high, low) in &options.mixes {
        let streams = vec![stream("high", "high", high), stream("low", "low", low)];
        let load = measure(options, streams, options.span, false).await?;
        found.push(Overloaded { mix: Some((high, low)), used: used(&load), load });
    }
    if options.come_back {
        let minute = Duration::from_secs(60);
        let twice = Stream { until: Some(minute), ..stream("twice", "high", 2.0 * CAPACITY_PER_S) };
        let half = Stream { from: minute, ..stream("half", "high", 0.5 * CAPACITY_PER_S) };
        let load = measure(options, vec![twice, half], 2 * minute, true).await?;
        found.push(Overloaded { mix: None, used: used(&load), load });
    }
    Ok(found)
}

fn used(load: &Load) -> f64 {
    load.streams.iter().map(|stream| stream.answered_per_s).sum::<f64>() / CAPACITY_PER_S
}

fn stream(name: &str, tier: &str, rate: f64) -> Stream {
    Stream {
        name: name.into(),
        rate,
        tier: Some(tier.into()),
        model: Some("test-model".into()),
        prompt_tokens: 64,
        output_tokens: 16,
        ..Stream::default()
    }
}

async fn measure(
    options: &Options,
    streams: Vec<Stream>,
    span: Duration,
    come_back: bool,
) -> Result<Load, BenchError> {
    let engines =
        engines::start(&options.forebay, &options.folder, ENGINES, (SERVICE_MS, 0.0), SLOTS)
            .await?;
    let (_gate, url) = gate(&options.forebay, &options.folder, &engines.endpoints()).await?;
    let load = LoadOptions {
        url: url.parse().unwrap_or_default(),
        streams,
        span,
        warm_up: WARM_UP,
        patience: Duration::from_secs(120),
        even: false,
        come_back,
        service: Duration::from_secs_f64(SERVICE_MS / 1e3),
        tier_header: HeaderName::from_static("x-forebay-tier"),
        tenant_header: HeaderName::from_static("x-llm-d-inference-fairness-id"),
        headers: Vec::new(),
        seed: 1,
    };
    Ok(load::run(&load).await?)
}

async fn gate(
    forebay: &Path,
    folder: &Path,
    endpoints: &[String],
) -> Result<(Child, String), BenchError> {
    let fleet = folder.join("overload.yaml");
    write(&fleet, &scenario::two_tiers(endpoints))?;
    let at = format!("127.0.0.1:{}", free_port()?);
    let fleet = fleet.display().to_string();
    let arguments = ["run", "--components", "gate", "--fleet", &fleet, "--listen", &at];
    let child = Child::start(forebay, &arguments, &folder.join("gate.log"))?;
    child.listens(&at).await?;
    Ok((child, format!("http://{at}")))
}

/// The tables of all measurements.
#[must_use]
pub fn table(found: &[Overloaded]) -> String {
    let mut text = String::new();
    for Overloaded { mix, used, load } in found {
        let what = match mix {
            Some((high, low)) => format!("high {high}/s + low {low}/s"),
            None => "2x for 60 s, then 0.5x; who is refused comes back when told".into(),
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "{what} on {CAPACITY_PER_S}/s: {:.1} % of the capacity used\n{}",
            used * 100.0,
            load.table()
        );
    }
    text
}
