//! Programs under measurement: started, asked what they spent, killed when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{BenchError, START_MAX};

/// How often a starting program is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Linux counts CPU time in these for programs, whatever its own tick (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A running program.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    program: String,
    log: PathBuf,
}

/// What a process has spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) cpu_s: f64,
    pub(super) rss_mib: f64,
}

impl Spent {
    /// CPU since `before`, and the memory of now.
    pub(super) fn since(self, before: Self) -> Self {
        Self { cpu_s: self.cpu_s - before.cpu_s, ..self }
    }
}

impl Child {
    /// Starts a program; what it writes to stderr goes to `log`.
    pub(super) fn start(
        program: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> Result<Self, BenchError> {
        let failed = |what: &str, source| BenchError::Io {
            what: format!("{what} {}", program.display()),
            source,
        };
        let errors = File::create(log).map_err(|source| failed("no log for", source))?;
        let process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|source| failed("cannot start", source))?;
        let program = program.file_name().unwrap_or_default().to_string_lossy();
        let first = arguments.first().copied().unwrap_or_default();
        Ok(Self { process, program: format!("{program} {first}"), log: log.to_owned() })
    }

    pub(super) fn wrong(&self, what: &str) -> BenchError {
        BenchError::Program {
            program: self.program.clone(),
            what: what.to_owned(),
            log: self.log.display().to_string(),
        }
    }

    /// The first lines that it prints.
    pub(super) async fn lines(&mut self, count: usize) -> Result<Vec<String>, BenchError> {
        let Some(output) = self.process.stdout.take() else { return Ok(Vec::new()) };
        let read = tokio::task::spawn_blocking(move || {
            BufReader::new(output).lines().take(count).collect::<Result<Vec<_>, _>>()
        });
        let lines = tokio::time::timeout(START_MAX, read).await;
        match lines {
            Ok(Ok(Ok(lines))) if lines.len() == count => Ok(lines),
            _ => Err(self.wrong("it did not say where it listens")),
        }
    }

    /// Waits until somebody takes connections there.
    pub(super) async fn listens(&self, address: &str) -> Result<(), BenchError> {
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(self.wrong(&format!("nobody listens on {address} after {} s", START_MAX.as_secs())))
    }

    /// CPU of all its threads and its memory, from `/proc`.
    pub(super) fn spent(&self) -> Result<Spent, BenchError> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{}/{file}", self.process.id()))
                .map_err(|error| self.wrong(&format!("it has died: {error}")))
        };
        let stat = read("stat")?;
        // After the name in brackets: state is the third field, utime and stime the 14th and 15th.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| -> Option<f64> { fields.get(index)?.parse().ok() };
        let cpu = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
        let status = read("status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        match (cpu, rss) {
            (Some(ticks), Some(kib)) => {
                Ok(Spent { cpu_s: ticks / TICKS_PER_SECOND, rss_mib: kib / 1_024.0 })
            }
            _ => Err(self.wrong("/proc does not tell what it spent")),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _status = self.process.wait();
    }
}
