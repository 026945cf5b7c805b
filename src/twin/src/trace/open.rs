//! From a path to a trace: find out the format, and hand out passes over it.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use forebay_core::observe::History;
use forebay_core::time::{Span, Time};

use super::pool::Pool;
use super::recorded::{COPIES_MAX, Recorded};
use super::rows::RowFormat;
use super::{Source, TraceError, generator, rebuilt, servegen};

/// Name of the built-in generated day.
pub const BUILTIN_DAY: &str = "builtin:day";
/// Start of a path that names a Prometheus: its history is fetched outside this crate and given to
/// [`from_history`].
pub const PROMETHEUS_PREFIX: &str = "prometheus:";

/// How much of a file's first line is looked at.
const HEAD_BYTES: u64 = 64 << 10;
/// What can be opened, for messages.
const KNOWN: &str = "expected an Azure LLM inference CSV (TIMESTAMP,ContextTokens,GeneratedTokens), \
     a BurstGPT CSV (Timestamp,Model,Request tokens,Response tokens,...), Mooncake JSON lines \
     (timestamp, input_length, output_length, hash_ids), a ServeGen folder (chunk-N-trace.csv), \
     a generator (.yaml), prometheus:URL or builtin:day";

/// What of a trace is wanted, and how much of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Part of the trace, from its start; `None` = all of it.
    pub window: Option<(Time, Time)>,
    /// Factor on the rate; time is never stretched. Recorded traces: whole copies are laid over
    /// the trace, moved by up to ten minutes within the window and with identities of their own;
    /// a fraction keeps each request by a hash of seed and line. Pools and generators: each
    /// client's rate is multiplied, its CV kept.
    pub rate_scale: f64,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { window: None, rate_scale: 1.0, seed: 0 }
    }
}

/// An opened trace: cheap to clone, shared between threads, streamed anew for each run.
#[derive(Clone)]
pub struct Trace {
    path: String,
    format: &'static str,
    notes: Vec<String>,
    duration: Span,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Recorded(Arc<Recorded>),
    Pool(Arc<Pool>),
}

impl Trace {
    fn of_pool(
        path: &str,
        format: &'static str,
        pool: Pool,
        duration: Span,
        notes: Vec<String>,
    ) -> Self {
        Self { path: path.into(), format, notes, duration, content: Content::Pool(Arc::new(pool)) }
    }

    /// As it was asked for.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Name of the format.
    #[must_use]
    pub const fn format(&self) -> &'static str {
        self.format
    }

    /// What was inferred or decided rather than read.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Length of the window, as far as the trace reaches.
    #[must_use]
    pub const fn duration(&self) -> Span {
        self.duration
    }

    /// A fresh pass from the start; every pass of the same trace gives the same requests.
    ///
    /// # Errors
    /// The file is gone, or a line before the window cannot be read.
    pub fn stream(&self) -> Result<Box<dyn Source>, TraceError> {
        match &self.content {
            Content::Recorded(recorded) => recorded.stream(),
            Content::Pool(pool) => Ok(Box::new(pool.stream())),
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Trace")
            .field("path", &self.path)
            .field("format", &self.format)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// Opens a trace, whatever its format: a file, a ServeGen folder, a generator or
/// [`BUILTIN_DAY`].
///
/// # Errors
/// What cannot be read, with file, line and what was expected; an unknown format; a window outside
/// the trace; a rate scale that is not a positive number.
pub fn open(path: &str, options: &Options) -> Result<Trace, TraceError> {
    let wrong = |what: String, hint: &str| {
        Err(TraceError::Format { path: path.into(), what, hint: hint.into() })
    };
    let (window, scale, seed) = checked(path, options)?;
    let pool = |format, pool, duration, notes| Trace::of_pool(path, format, pool, duration, notes);
    if path == BUILTIN_DAY {
        let day = generator::builtin_day(window, scale, seed)?;
        return Ok(pool("generated", day.pool, day.length, day.notes));
    }
    if path.starts_with(PROMETHEUS_PREFIX) {
        return wrong(
            "a Prometheus is no file".into(),
            "fetch its history first and open that (the command line does)",
        );
    }
    if path.starts_with("builtin:") {
        return wrong("no such built-in trace".into(), "the built-in trace is builtin:day");
    }
    let at = Path::new(path);
    if at.is_dir() {
        if !servegen::is_pool(at) {
            return wrong("the folder holds no chunk-N-trace.csv".into(), KNOWN);
        }
        let loaded = servegen::load(path, window, scale, seed)?;
        return Ok(pool("servegen", loaded.pool, loaded.length, loaded.notes));
    }
    if at.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        let generated = generator::load(path, window, scale, seed)?;
        return Ok(pool("generated", generated.pool, generated.length, generated.notes));
    }
    let head = first_line(path)?;
    if head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return wrong("the file is compressed".into(), "unpack it first (gunzip, unzstd)");
    }
    let Some(format) = RowFormat::detect(&head) else {
        return wrong("no known trace format".into(), KNOWN);
    };
    if scale > COPIES_MAX {
        return wrong(format!("the rate scale is {scale}"), "a recorded trace takes at most 256");
    }
    let notes = recorded_notes(&format, scale);
    let name = format.name();
    let recorded = Recorded::open(path, format, window, scale, seed)?;
    Ok(Trace {
        path: path.into(),
        format: name,
        notes,
        duration: recorded.length,
        content: Content::Recorded(Arc::new(recorded)),
    })
}

/// Makes a trace of a history that a Prometheus recorded; `path` is the name it goes by.
///
/// # Errors
/// Nothing known in the range, no lengths, a window outside the range, or a wrong rate scale.
pub fn from_history(path: &str, history: &History, options: &Options) -> Result<Trace, TraceError> {
    let (window, scale, seed) = checked(path, options)?;
    let built = rebuilt::rebuild(path, history, window, scale, seed)?;
    Ok(Trace::of_pool(path, "prometheus", built.pool, built.length, built.notes))
}

/// Window, rate scale and seed, when they can be used.
fn checked(path: &str, options: &Options) -> Result<((Time, Time), f64, u64), TraceError> {
    let scale = options.rate_scale;
    if !(scale > 0.0 && scale.is_finite()) {
        return Err(TraceError::Format {
            path: path.into(),
            what: format!("the rate scale is {scale}"),
            hint: "give a number above 0".into(),
        });
    }
    Ok((options.window.unwrap_or((Time::ZERO, Time::MAX)), scale, options.seed))
}

fn recorded_notes(format: &RowFormat, scale: f64) -> Vec<String> {
    let mut notes = vec![
        "rows without prompt or output tokens record a failure and are passed over".to_owned(),
    ];
    if *format == RowFormat::Mooncake {
        notes.push("arrivals come in the batches in which they were logged".into());
    }
    if scale > 1.0 {
        notes.push(format!(
            "rate scale {scale}: copies moved by up to 10 minutes, with prompts of their own"
        ));
    } else if scale < 1.0 {
        notes.push(format!("rate scale {scale}: each request kept by a hash of seed and line"));
    }
    notes
}

fn first_line(path: &str) -> Result<Vec<u8>, TraceError> {
    let io = |source| TraceError::Io { path: path.into(), source };
    let mut line = Vec::new();
    BufReader::new(File::open(path).map_err(io)?.take(HEAD_BYTES))
        .read_until(b'\n', &mut line)
        .map_err(io)?;
    Ok(line)
}

#[cfg(test)]
mod tests;
