//! Starts Envoy with a shipped configuration, ports substituted.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Envoy takes a second or two on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A shipped configuration, with what a test adds to it.
#[derive(Clone, Debug)]
pub(super) struct Config {
    file: &'static str,
    /// Text to replace, and by what; each must occur.
    changes: Vec<(String, String)>,
}

impl Config {
    /// Answers pass through the picker.
    pub(super) const fn answers_pass() -> Self {
        Self { file: "answers-pass.yaml", changes: Vec::new() }
    }

    /// Answers do not pass through the picker.
    pub(super) const fn answers_survive() -> Self {
        Self { file: "answers-survive.yaml", changes: Vec::new() }
    }

    /// No picker: the webhook is asked about every request.
    pub(super) const fn ext_authz() -> Self {
        Self { file: "ext-authz.yaml", changes: Vec::new() }
    }

    pub(super) fn with(mut self, from: &str, to: &str) -> Self {
        self.changes.push((from.into(), to.into()));
        self
    }

    pub(super) fn path(&self) -> PathBuf {
        root().join("policies/envoy").join(self.file)
    }

    fn text(&self) -> String {
        let mut text = std::fs::read_to_string(self.path()).unwrap();
        for (from, to) in &self.changes {
            assert!(text.contains(from), "{from} is not in {}", self.file);
            text = text.replacen(from, to, 1);
        }
        text
    }
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Envoy's binary: on the path, or where `tests/run` puts it.
pub(super) fn binary() -> Option<PathBuf> {
    let installed = root().join(".cache/tools/envoy/lib");
    let pythons = std::fs::read_dir(installed).into_iter().flatten().filter_map(Result::ok);
    let packaged = pythons.map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&paths).map(|folder| folder.join("envoy"));
    let found = packaged.chain(named).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("no Envoy here: skipped; tests/run installs it");
    }
    found
}

pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running Envoy; ends with the value.
pub(super) struct Proxy {
    pub(super) address: String,
    process: Child,
    config: PathBuf,
}

impl Proxy {
    /// Starts Envoy, which asks the picker at `ip:port`; `None` where there is no Envoy.
    pub(super) async fn start(config: &Config, picker: &str) -> Option<Self> {
        let binary = binary()?;
        let (listener, admin) = (free_port(), free_port());
        let picker_port = picker.rsplit_once(':').unwrap().1;
        let text = config
            .text()
            .replacen("port_value: 8080", &format!("port_value: {listener}"), 1)
            .replacen("port_value: 9901", &format!("port_value: {admin}"), 1)
            .replacen("port_value: 9002", &format!("port_value: {picker_port}"), 1);
        let path = std::env::temp_dir()
            .join(format!("forebay-envoy-{}-{listener}.yaml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let process = Command::new(binary)
            .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "error", "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{listener}");
        let proxy = Self { address, process, config: path };
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(&proxy.address).await.is_err() {
            assert!(Instant::now() < until, "Envoy did not start");
            sleep(Duration::from_millis(50)).await;
        }
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}
