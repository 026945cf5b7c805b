//! `forebay engine`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use forebay_core::engine::profile::EngineProfile;
use forebay_core::manifest::{self, Source, builtin};
use forebay_rig::engine::{Fixed, Listening, Options, SELF_NOTE, Service, start};

/// Most engines of one process: file descriptors and memory of a small machine.
const ENGINES_MAX: u16 = 1_024;

/// Arguments of `forebay engine`.
#[derive(Args, Debug)]
pub(crate) struct EngineArguments {
    /// Profile whose physics it has: a name (`forebay engine --profile list` lists them) or a file
    /// with one EngineProfile.
    #[arg(long, value_name = "NAME|FILE", default_value = "llama-3.1-8b-fp8-l40s-tp1")]
    profile: String,

    /// Name under which it serves the model, and names of adapters; default: the profile's model.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,

    /// Where to listen; repeat it for several engines in one process. `0.0.0.0:PORT` is one engine
    /// for each address that clients connect to. Port 0: any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    listen: Vec<SocketAddr>,

    /// Engines for each `--listen`, on consecutive ports.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,

    /// Simulated seconds in one second.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    speed: f64,

    /// Seed of the words and lengths of answers.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// No physics: each request is served in a slot, its first token after so many milliseconds.
    #[arg(long, value_name = "MS")]
    fixed_ms: Option<f64>,

    /// With `--fixed-ms`: milliseconds from each token to the next.
    #[arg(long, value_name = "MS", default_value_t = 0.0, requires = "fixed_ms")]
    token_ms: f64,

    /// Requests served at the same time; default: the profile's `maxNumSeqs`, 256 with
    /// `--fixed-ms`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
}

/// Slots of a fixed service that nobody bounded; vLLM's default batch.
const SLOTS_DEFAULT: u32 = 256;

pub(crate) fn run(arguments: &EngineArguments) -> Result<()> {
    let profiles = &builtin::library().map_err(|errors| anyhow!("{errors}"))?.profiles;
    if arguments.profile == "list" {
        let names: String =
            profiles.iter().map(|profile| format!("{}\n", profile.name())).collect();
        return crate::output::print(&names);
    }
    let options = options(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let listening = start(&options).await?;
        announce(&options, &listening);
        crate::signals::stopped().await;
        Ok(())
    })
}

fn options(arguments: &EngineArguments) -> Result<Options> {
    let (service, model) = match arguments.fixed_ms {
        Some(first_token_ms) => {
            let slots = arguments.slots.unwrap_or(SLOTS_DEFAULT);
            if !(first_token_ms >= 0.0 && arguments.token_ms >= 0.0) {
                bail!("--fixed-ms and --token-ms: expected milliseconds, 0 or more");
            }
            let fixed = Fixed { first_token_ms, token_ms: arguments.token_ms, slots };
            (Service::Slots(fixed), "test-model".to_owned())
        }
        None => {
            let mut profile = find(&arguments.profile)?;
            if let Some(slots) = arguments.slots {
                profile.limits.max_num_seqs = slots;
            }
            let model = profile.model.clone();
            (Service::Profile(Box::new(profile)), model)
        }
    };
    let models = if arguments.model.is_empty() { vec![model] } else { arguments.model.clone() };
    let listen = addresses(&arguments.listen, arguments.count)?;
    Ok(Options { models, listen, service, speed: arguments.speed, seed: arguments.seed })
}

fn addresses(listen: &[SocketAddr], count: u16) -> Result<Vec<SocketAddr>> {
    if listen.len() * usize::from(count) > usize::from(ENGINES_MAX) {
        bail!("--count: {count} engines for each address; at most {ENGINES_MAX} in one process");
    }
    let mut addresses = Vec::new();
    for address in listen {
        for index in 0..count {
            let port = match address.port() {
                0 => 0,
                port => port.checked_add(index).context("--count: ports end at 65535")?,
            };
            addresses.push(SocketAddr::new(address.ip(), port));
        }
    }
    Ok(addresses)
}

fn find(profile: &str) -> Result<EngineProfile> {
    let library = &builtin::library().map_err(|errors| anyhow!("{errors}"))?.profiles;
    if let Some(found) = library.iter().find(|known| known.name() == profile) {
        return Ok(found.spec().clone());
    }
    if !profile.contains(['/', '.']) || !std::path::Path::new(profile).exists() {
        bail!(
            "no profile and no file `{profile}`; `forebay engine --profile list` lists those built in"
        );
    }
    let text =
        std::fs::read_to_string(profile).with_context(|| format!("cannot read {profile}"))?;
    let manifests =
        manifest::parse(&[Source::new(profile, text)]).map_err(|errors| anyhow!("{errors}"))?;
    let [only] = manifests.profiles.as_slice() else {
        bail!("{profile} holds {} engine profiles; expected one", manifests.profiles.len());
    };
    Ok(only.spec().clone())
}

fn announce(options: &Options, listening: &Listening) {
    eprintln!("This is a test engine: {SELF_NOTE}. It serves {}.", options.models.join(", "));
    let unspecified = |address: &IpAddr| address.is_unspecified();
    for address in &listening.addresses {
        let each = if unspecified(&address.ip()) { ", one engine per address" } else { "" };
        println!("http://{address}{each}");
    }
}
