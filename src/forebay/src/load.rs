//! `forebay load`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use forebay_rig::load::{self, Options, Stream};
use http::{HeaderName, HeaderValue, Uri};

use crate::output;

/// Arguments of `forebay load`.
#[derive(Args, Debug)]
pub(crate) struct LoadArguments {
    /// Where to send: an engine, or what is in front of engines.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: Uri,

    /// Requests a second, all tiers of `--mix` together.
    #[arg(long, value_name = "R", conflicts_with = "stream")]
    rate: Option<f64>,

    /// Shares of `--rate` by tier, as `high=0.2,low=0.8`.
    #[arg(long, value_name = "TIER=SHARE,...", requires = "rate")]
    mix: Option<String>,

    /// A stream of its own, as `NAME:rate=80,tier=high,tenant=a,tenants=10,model=m,prompt=256,
    /// shared=64,output=64,streamed=true,from=0,until=60`; repeat it for several. Lengths are in
    /// tokens of four bytes, times in seconds.
    #[arg(long, value_name = "SPEC")]
    stream: Vec<String>,

    /// Seconds in which requests fall due.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,

    /// Seconds at the start that do not count in rates and gaps.
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    warm_up: f64,

    /// Prompt tokens, where a stream does not say.
    #[arg(long, value_name = "TOKENS", default_value_t = 256)]
    prompt: u32,

    /// Answer tokens, where a stream does not say.
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    output: u32,

    /// Ask for streamed answers, where a stream does not say.
    #[arg(long)]
    stream_answers: bool,

    /// Model to ask for, where a stream does not say.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// Requests fall due at equal distances instead of at random (Poisson).
    #[arg(long)]
    even: bool,

    /// Whoever is refused with a Retry-After comes back once, when told.
    #[arg(long)]
    come_back: bool,

    /// Longest wait for an answer, seconds.
    #[arg(long, value_name = "S", default_value_t = 120.0)]
    patience: f64,

    /// Time of service that the latency columns leave out, ms.
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    service_ms: f64,

    /// Header that carries the tier.
    #[arg(long, value_name = "NAME", default_value = "x-forebay-tier")]
    tier_header: HeaderName,

    /// Header that carries the tenant.
    #[arg(long, value_name = "NAME", default_value = "x-llm-d-inference-fairness-id")]
    tenant_header: HeaderName,

    /// Another header for all requests, as `name: value`; repeat it for several.
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,

    /// Seed of arrivals and prompts.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Write the report as JSON to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: &LoadArguments) -> Result<()> {
    let options = Options {
        url: arguments.url.clone(),
        streams: streams(arguments)?,
        span: seconds("--seconds", arguments.seconds)?,
        warm_up: seconds("--warm-up", arguments.warm_up)?,
        patience: seconds("--patience", arguments.patience)?,
        even: arguments.even,
        come_back: arguments.come_back,
        service: seconds("--service-ms", arguments.service_ms / 1e3)?,
        tier_header: arguments.tier_header.clone(),
        tenant_header: arguments.tenant_header.clone(),
        headers: arguments.header.iter().map(|text| header(text)).collect::<Result<_>>()?,
        seed: arguments.seed,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let report = runtime.block_on(load::run(&options))?;
    if let Some(json) = &arguments.json {
        output::write_json(json, &report)?;
    }
    output::show(&report.table(), arguments.json.as_deref())
}

fn streams(arguments: &LoadArguments) -> Result<Vec<Stream>> {
    let usual = Stream {
        rate: arguments.rate.unwrap_or(1.0),
        prompt_tokens: arguments.prompt,
        output_tokens: arguments.output.max(1),
        streamed: arguments.stream_answers,
        model: arguments.model.clone(),
        ..Stream::default()
    };
    let Some(mix) = &arguments.mix else {
        if arguments.stream.is_empty() {
            return Ok(vec![usual]);
        }
        let parsed = arguments.stream.iter().map(|text| Ok(Stream::parse(text, &usual)?));
        return parsed.collect();
    };
    let mut streams = Vec::new();
    for part in mix.split(',') {
        let share = part.split_once('=').and_then(|(tier, share)| {
            let share = share.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share))?;
            Some((tier, share))
        });
        let Some((tier, share)) = share else {
            bail!("--mix: `{part}`; expected TIER=SHARE with a share from 0 to 1");
        };
        let (name, rate) = (tier.to_owned(), usual.rate * share);
        streams.push(Stream { name, rate, tier: Some(tier.to_owned()), ..usual.clone() });
    }
    Ok(streams)
}

fn seconds(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{name}: {seconds} is no time"))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    let (name, value) =
        text.split_once(':').with_context(|| format!("--header: `{text}` has no colon"))?;
    let wrong = || format!("--header: `{text}` is no HTTP header");
    Ok((name.trim().parse().with_context(wrong)?, value.trim().parse().with_context(wrong)?))
}
