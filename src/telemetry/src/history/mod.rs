//! The traffic of the past, rebuilt from what a Prometheus recorded of it.
//!
//! Values are read at steps, each with the time of its scrape, and differences are taken here, so
//! that they add up to what the counters counted: nothing is extrapolated as `increase()` does.

mod dialect;
mod fetch;
mod pages;
mod rebuild;
mod request;

use forebay_core::observe::History;

pub use pages::{EnginePages, fetch_pages, fetch_pages_blocking};
pub use request::{HistoryRequest, STEPS_MAX};

/// Start of a path that names a Prometheus.
pub const PREFIX: &str = "prometheus:";

/// A history that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The address or its parameters are wrong.
    #[error("{url}: {what}; {hint}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong.
        what: String,
        /// How to mend it.
        hint: String,
    },
    /// The server does not answer, or not with data.
    #[error("{url}: the Prometheus did not answer {query}: {reason}")]
    Server {
        /// Its address.
        url: String,
        /// What was asked.
        query: String,
        /// Why not, with all causes.
        reason: String,
    },
    /// None of the series that tell of arrivals is there.
    #[error(
        "{url}: no series of arrivals and lengths in the range; looked for {looked_for}; {hint}"
    )]
    MissingSeries {
        /// The server.
        url: String,
        /// Selectors that were tried.
        looked_for: String,
        /// How to mend it.
        hint: String,
    },
}

/// Fetches and rebuilds the history that `prometheus:URL` names.
///
/// The URL's query string holds `start` and `end` (RFC 3339, Unix seconds, `now` or `-24h`; by
/// default the last day), `step` (by default `1m`), `model`, `dialect` (`vllm`, `llm-d`, by default
/// whichever is there), `selector` (further label matchers, such as `role="decode"`) and
/// `token_file` (a file with a bearer token).
///
/// # Errors
/// A wrong address, a server that does not answer, or series that are not there: it says which.
pub async fn fetch(path: &str, now_unix_s: f64) -> Result<History, HistoryError> {
    let request = HistoryRequest::parse(path, now_unix_s)?;
    fetch::history(&request).await
}

/// [`fetch`] for callers without a runtime.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_blocking(path: &str, now_unix_s: f64) -> Result<History, HistoryError> {
    blocking(path, fetch(path, now_unix_s))
}

fn blocking<T>(
    path: &str,
    work: impl Future<Output = Result<T, HistoryError>>,
) -> Result<T, HistoryError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            HistoryError::Server {
                url: path.into(),
                query: "anything".into(),
                reason: error.to_string(),
            }
        })?;
    runtime.block_on(work)
}

#[cfg(test)]
mod live_test;
