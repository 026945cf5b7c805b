//! An open-loop load: requests leave when they are due, whether or not earlier ones were answered,
//! and each latency counts from the instant at which the request was due. A generator that waits
//! for answers would slow down exactly when the service does, and hide it.

mod message;
mod report;
mod schedule;
mod send;
mod stream;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use http::header::{HeaderName, HeaderValue};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;

pub use report::{Latency, Report, StreamReport};
pub use stream::{Stream, StreamError};

use crate::alarm::Alarm;
use message::Template;
use schedule::Schedule;
use send::Sender;
use tally::Tally;

/// Idle connections kept; as many as any load here has had in flight at once.
const IDLE_CONNECTIONS_MAX: usize = 16_384;

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where: `http://HOST:PORT`; paths of the OpenAI API are appended.
    pub url: Uri,
    /// What, all at the same time. At least one.
    pub streams: Vec<Stream>,
    /// How long requests fall due, unless a stream ends earlier.
    pub span: Duration,
    /// Answers that arrive before this do not count in rates and gaps.
    pub warm_up: Duration,
    /// Longest wait for an answer.
    pub patience: Duration,
    /// Requests fall due at equal distances instead of at random (Poisson).
    pub even: bool,
    /// Whoever is refused with a time to come back returns once, at that time.
    pub come_back: bool,
    /// Time of service that is no fault of the proxy: subtracted from latencies in the report.
    pub service: Duration,
    /// Header that carries a stream's tier.
    pub tier_header: HeaderName,
    /// Header that carries a stream's tenant.
    pub tenant_header: HeaderName,
    /// More headers for all requests.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Seed of arrivals and prompts.
    pub seed: u64,
}

/// Why a load cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The URL cannot be used.
    #[error("cannot send to {url}: {what}; expected http://HOST:PORT")]
    Url {
        /// As given.
        url: Uri,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No thread for the timer.
    #[error("cannot start the timer's thread: {0}; the system limits threads")]
    Timer(#[from] std::io::Error),
    /// A name or value that HTTP does not allow.
    #[error("stream {stream}: {what} cannot stand in a header; expected visible ASCII")]
    Header {
        /// Which.
        stream: String,
        /// The tier or tenant.
        what: String,
    },
}

type Http = Client<HttpConnector, Full<Bytes>>;

/// Sends the load on the current tokio runtime, waits for what is in flight, and says what became
/// of it.
///
/// # Errors
/// [`LoadError`]: nothing was sent.
pub async fn run(options: &Options) -> Result<Report, LoadError> {
    let wrong = |what| LoadError::Url { url: options.url.clone(), what };
    if options.url.scheme_str() != Some("http") {
        return Err(wrong("only plain HTTP is spoken here"));
    }
    if options.url.authority().is_none() {
        return Err(wrong("it has no host"));
    }
    let alarm = Alarm::start()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Http = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .build(connector);
    let mut tallies = Vec::new();
    let mut senders = Vec::new();
    for stream in &options.streams {
        let template = Template::new(options, stream)?;
        let tally = Tally::new(options);
        senders.push(Arc::new(Sender::new(
            client.clone(),
            alarm.clone(),
            template,
            &tally,
            options,
        )));
        tallies.push(tally);
    }
    let start = Instant::now();
    let mut in_flight = JoinSet::new();
    for (after, stream) in Schedule::new(options) {
        let due = start + after;
        alarm.sleep_until(due).await;
        let sender = Arc::clone(&senders[stream]);
        sender.offered(due);
        in_flight.spawn(sender.send(start, due));
        // What is done is cleared away, so that only what is in flight is held.
        while in_flight.try_join_next().is_some() {}
    }
    while in_flight.join_next().await.is_some() {}
    let took = start.elapsed();
    Ok(Report::new(options, &tallies, took))
}
