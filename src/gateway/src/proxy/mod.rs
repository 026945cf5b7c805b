//! The standalone face: a reverse proxy that asks the gate where each request goes.
//!
//! - Requests that generate ([`route`]) are read whole, so that the gate knows model and prompt;
//!   answers pass through piece by piece as they come, their usage read in passing.
//! - An engine that cannot be reached, breaks the connection before the answer's head, or answers
//!   503 costs one more try on another endpoint; after the head nothing is tried again. Both tries
//!   are one request to its tenant's limits.
//! - A client that leaves takes its request along: out of the queue, and out of the engine, whose
//!   connection is closed.
//! - Hop-by-hop headers end here, those meant for the gate too; everything else goes on, W3C trace
//!   context included.
//! - What the proxy says itself has an error body as OpenAI shapes them; it never says 500.

mod connection;
mod forward;
mod headers;
mod problem;
mod relay;
mod route;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::front::Fronts;

pub use crate::connections::Peer;

/// Longest wait for a connection to an engine: it is near, or it is not there.
pub const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Longest wait for the head of an answer. Answers that are not streamed come whole, after
/// minutes; longer than this, nobody waits any more.
pub const ANSWER_MAX: Duration = Duration::from_secs(1_800);
/// How long an idle connection to an engine is kept: less than the 5 s after which vLLM's server
/// closes it, or requests would run into closed doors.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Idle connections kept for each engine: as many as a large engine serves at once.
const IDLE_PER_ENGINE_MAX: usize = 1_024;

/// The proxy before the gates of some fleets. Clones share it.
#[derive(Clone, Debug)]
pub struct Proxy {
    fronts: Fronts,
    client: Client<HttpConnector, Full<Bytes>>,
    /// When it began, which models are said to have been created; seconds since 1970.
    began_s: u64,
}

impl Proxy {
    /// A proxy before these gates.
    #[must_use]
    pub fn new(fronts: Fronts) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_ENGINE_MAX)
            .build(connector);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self { fronts, client, began_s: since.map_or(0, |since| since.as_secs()) }
    }
}
