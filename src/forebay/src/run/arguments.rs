//! Arguments of `forebay run`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::spans::SpanArguments;
use super::tls::TlsArguments;

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// Parts of Forebay that run in this process.
    #[arg(long, value_delimiter = ',', default_value = "gate")]
    pub(crate) components: Vec<Component>,

    /// Manifests (YAML): InferenceFleet whose variants have `endpoints`, TrafficPolicy, and what
    /// else they refer to. Repeat it for several files. They are read again when their content
    /// changes.
    #[arg(
        long,
        value_name = "FILE",
        env = "FOREBAY_FLEET",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) fleet: Vec<String>,

    /// The reverse proxy: OpenAI-compatible paths, passed on to the engine that the gate picks.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,

    /// Envoy's endpoint picker (ext_proc over gRPC).
    #[arg(long, value_name = "ADDR")]
    pub(crate) ext_proc: Option<SocketAddr>,

    /// gRPC health service of the endpoint picker, where it is not on its own port.
    #[arg(long, value_name = "ADDR")]
    pub(crate) ext_proc_health: Option<SocketAddr>,

    /// Ports of the pool, for the conformance tests of the Gateway API Inference Extension: a
    /// request header then chooses endpoints, so never in production.
    #[arg(long, value_name = "PORT", value_delimiter = ',', requires = "ext_proc")]
    pub(crate) conformance_ports: Option<Vec<u16>>,

    /// The request admission webhook and forward-auth.
    #[arg(long, value_name = "ADDR")]
    pub(crate) admit: Option<SocketAddr>,

    /// File with the tokens of the webhook's callers, one to a line. Off loopback these or client
    /// certificates are needed.
    #[arg(long, value_name = "FILE", conflicts_with = "admit_client_ca")]
    pub(crate) admit_tokens: Option<PathBuf>,

    /// Metrics of this process, at `/metrics`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,

    /// `/healthz` and `/readyz`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) health: Option<SocketAddr>,

    /// Seconds between two reads of an engine's page.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = scrape_seconds)]
    pub(crate) scrape_seconds: f64,

    /// Path of the engines' pages.
    #[arg(long, value_name = "PATH", default_value = "/metrics")]
    pub(crate) metrics_path: String,

    /// A controller to follow, as `http://host:port`: capacity on its way, endpoints to drain,
    /// learned physics. Repeat it for every replica. Without one the gate knows what is ready.
    #[arg(long, value_name = "URL", env = "FOREBAY_CONTROLLER", value_delimiter = ',')]
    pub(crate) controller: Vec<String>,

    /// Name of this gate to its controllers, the same after a restart; else the host's and that
    /// of its first face.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(crate) gate_name: Option<String>,

    #[command(flatten)]
    pub(crate) tls: TlsArguments,

    /// Longest time that what is held or in flight may take after SIGTERM, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) grace_seconds: u64,

    #[command(flatten)]
    pub(crate) spans: SpanArguments,

    #[command(flatten)]
    pub(crate) log: LogArguments,
}

/// What is said about what happens.
#[derive(Args, Debug)]
pub(crate) struct LogArguments {
    /// What is logged, to stderr: a level, or `target=level,...`.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "FOREBAY_LOG")]
    pub(crate) log: String,

    /// Log lines as JSON.
    #[arg(long)]
    pub(crate) log_json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Component {
    /// Queues, refuses and places requests.
    Gate,
}

impl RunArguments {
    pub(super) const fn has_face(&self) -> bool {
        self.listen.is_some() || self.ext_proc.is_some() || self.admit.is_some()
    }
}

impl LogArguments {
    /// Starts logging.
    pub(crate) fn start(&self) -> Result<()> {
        let filter = EnvFilter::try_new(&self.log).map_err(|error| anyhow!("--log: {error}"))?;
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        let started =
            if self.log_json { logs.json().try_init() } else { logs.with_target(false).try_init() };
        started.map_err(|error| anyhow!("cannot log: {error}"))
    }
}

/// Pages older than a second steer nothing; more than a hundred reads a second only cost.
fn scrape_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if (0.01..=1.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("expected 0.01 to 1: older pages steer nothing".to_owned())
    }
}
