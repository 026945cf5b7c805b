//! Traffic: arrivals in order of time, from files, generators or a Prometheus.
//!
//! [`open`] finds out what a path is and gives a [`Trace`], which every run streams anew.

mod alias;
mod draw;
mod gaps;
mod generator;
mod lengths;
mod open;
mod pool;
mod rebuilt;
mod recorded;
mod rows;
mod servegen;
mod stratified;
mod timestamp;
mod window;

use std::sync::Arc;

use forebay_core::time::Time;

pub use open::{BUILTIN_DAY, Options, PROMETHEUS_PREFIX, Trace, from_history, open};
pub use window::parse_window;

/// One request of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Arrival, from the start of the window.
    pub at: Time,
    /// Prompt length in tokens; at least 1.
    pub prompt_tokens: u32,
    /// Tokens generated; at least 1.
    pub output_tokens: u32,
    /// Whose request it is, as far as the trace tells (a ServeGen client); 0 otherwise.
    pub client: u32,
    /// Chained content identities of the prompt, if the trace carries them.
    pub prefix: Option<Arc<[u64]>>,
}

/// Arrivals in order of time, drawn one by one so that memory does not grow with the trace.
///
/// The same source built from the same seed yields the same requests.
pub trait Source: Send {
    /// The next request; `None` after the last one.
    ///
    /// # Errors
    /// A line that cannot be read: file, line and what was expected.
    fn next_request(&mut self) -> Result<Option<Request>, TraceError>;

    /// Tokens that one identity in [`Request::prefix`] stands for; 0 without identities.
    fn prefix_piece_tokens(&self) -> u32 {
        0
    }

    /// Rows passed over so far because they record no served request (no prompt or no output
    /// tokens: BurstGPT's failures).
    fn rows_skipped(&self) -> u64 {
        0
    }
}

/// A trace that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file or folder is not there or not readable.
    #[error("cannot read {path}: {source}")]
    Io {
        /// What was to be read.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// One line is not what its format says.
    #[error("{path}:{line}: {what}; expected {expected}")]
    Line {
        /// File.
        path: String,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What would be right.
        expected: String,
    },
    /// No known format.
    #[error("{path}: {what}; {hint}")]
    Format {
        /// File.
        path: String,
        /// What is wrong.
        what: String,
        /// How to mend it.
        hint: String,
    },
}
