//! Processes of ours under test: on free ports of loopback, ended when dropped.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take to happen on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `forebay`, with what it says.
pub(crate) struct Forebay {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Forebay {
    /// Starts it with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forebay"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("forebay starts");
        let said = Arc::new(Mutex::new(String::new()));
        listen(child.stdout.take().expect("piped"), &said);
        listen(child.stderr.take().expect("piped"), &said);
        Self { child, said }
    }

    /// Test engines that serve `model`; returns where they listen.
    pub(crate) fn engines(count: u16, more: &[&str]) -> (Self, Vec<SocketAddr>) {
        let mut arguments = vec!["engine", "--model", "demo"];
        arguments.extend((0..count).flat_map(|_| ["--listen", "127.0.0.1:0"]));
        arguments.extend(more);
        let engines = Self::start(&arguments);
        let count = usize::from(count);
        eventually("the engines listen", || addresses(&engines.said()).len() == count);
        let listening = addresses(&engines.said());
        (engines, listening)
    }

    /// The gate with these arguments; `faces` are arguments that take an address and are given a
    /// free port each, in that order.
    pub(crate) fn gate(fleet: &Path, faces: &[&str], more: &[&str]) -> (Self, Vec<SocketAddr>) {
        let fleet = fleet.to_str().expect("text");
        let mut arguments = vec!["run", "--fleet", fleet];
        let addresses: Vec<SocketAddr> = faces.iter().map(|_| free_address()).collect();
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        arguments.extend(faces.iter().zip(&texts).flat_map(|(face, at)| [*face, at.as_str()]));
        arguments.extend(more);
        let gate = Self::start(&arguments);
        for text in &texts {
            eventually("a face listens", || {
                let said = gate.said();
                assert!(!said.contains("error:"), "{said}");
                said.contains(text.as_str())
            });
        }
        (gate, addresses)
    }

    /// Everything that it has said.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until it ends by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Forebay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stream: impl std::io::Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut said = said.lock().expect("no panic");
            said.push_str(&line);
            said.push('\n');
        }
    });
}

/// Addresses in lines such as `http://127.0.0.1:8000`.
fn addresses(said: &str) -> Vec<SocketAddr> {
    said.lines().filter_map(|line| line.strip_prefix("http://")?.parse().ok()).collect()
}

/// An address of loopback where nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port")
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder for one test, removed afterwards.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("forebay-suite-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.0.join(file);
        std::fs::write(&path, text).expect("a file in a temporary folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The demo fleet with other endpoints.
pub(crate) fn demo_fleet(endpoints: &[SocketAddr]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/fleets/gate-demo.yaml");
    let text = std::fs::read_to_string(root).expect("the demo fleet is in the repository");
    let start = text.find("    endpoints: [").expect("it has endpoints");
    let end = start + text[start..].find('\n').expect("and goes on");
    let quoted: Vec<_> = endpoints.iter().map(|at| format!("\"{at}\"")).collect();
    format!("{}    endpoints: [{}]{}", &text[..start], quoted.join(", "), &text[end..])
}
