//! The request admission webhook: any proxy or worker asks over HTTP whether a request may go,
//! and where to. It is asked about requests; it is no admission webhook of Kubernetes.
//!
//! - `POST /v1/admit` holds until the request is admitted or refused and answers with an endpoint
//!   and a lease; with `"wait": "ticket"` it answers with a ticket at once.
//! - `GET /v1/admit/{ticket}?wait_s=30` until the ticket is admitted.
//! - `POST /v1/progress` tells that the first token has come: optional, for callers that stream,
//!   and all that the gate knows of their times to the first token.
//! - `POST /v1/release` ends a lease and settles what it cost. A lease that is never released
//!   ends by itself.
//! - `GET /v1/budget`: how much work of each tier may be sent now.
//! - `/auth`: forward authentication for NGINX and Envoy, see [`forward_auth`].
//! - `GET /openapi.json` describes all of this.

pub mod access;
mod admit;
mod answer;
mod ask;
mod budget;
mod caller;
pub mod forward_auth;
mod leases;
mod openapi;
mod problem;
mod progress;
mod release;
mod serve;
#[cfg(test)]
mod tests;

pub use access::{Access, AccessError};
pub use caller::CertificateName;
pub use leases::LeaseMeters;
pub use openapi::description;
pub use serve::serve;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use forebay_core::admit::{TicketId, Tickets};
use forebay_core::time::Time;
use tokio::time::Instant;

use crate::body::BODY_BYTES_MAX;
use crate::front::Fronts;
use ask::Parked;
use leases::LeaseTable;
use problem::Problem;

/// Room around a body for the other members of a question, in bytes.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The webhook in front of one gate. Clones share it.
#[derive(Clone, Debug)]
pub struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fronts: Fronts,
    /// Time zero of leases and tickets.
    origin: Instant,
    access: Access,
    leases: LeaseTable,
    /// Work that waits outside, by the caller that was given the ticket.
    parked: Mutex<Tickets<Parked>>,
    /// Tickets that are asked for at this moment, by their callers.
    asked_for: Mutex<BTreeSet<(TicketId, u64)>>,
}

impl Admission {
    /// A webhook for these gates; `access` says who may ask.
    #[must_use]
    pub fn new(fronts: Fronts, access: Access) -> Self {
        let (leases, parked, asked_for) = Default::default();
        let origin = Instant::now();
        Self { shared: Arc::new(Shared { fronts, origin, access, leases, parked, asked_for }) }
    }

    /// Its paths.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/admit", post(admit::admit))
            .route("/v1/admit/{ticket}", get(admit::redeem))
            .route("/v1/progress", post(progress::progress))
            .route("/v1/release", post(release::release))
            .route("/v1/budget", get(budget::budget))
            .route("/auth", any(forward_auth::authorize))
            .route("/auth/{*path}", any(forward_auth::authorize))
            .route("/openapi.json", get(openapi::serve))
            .fallback(|| async { Problem::NoSuchPath })
            .method_not_allowed_fallback(|| async { Problem::NoSuchMethod })
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX + ENVELOPE_BYTES_MAX))
            .with_state(self.clone())
    }

    /// Gives back the capacity of leases that were never released, as long as it is polled. Run
    /// it beside the server.
    pub async fn keep_time(self) {
        self.shared.leases.keep_time(|| self.now()).await;
    }

    /// What became of leases, for metrics.
    #[must_use]
    pub fn lease_meters(&self) -> LeaseMeters {
        self.shared.leases.meters()
    }

    /// Tickets out.
    #[must_use]
    pub fn tickets(&self) -> usize {
        self.parked().len()
    }

    /// Who may ask, to take over a token file that has changed.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.shared.access
    }

    /// Now, since the webhook began.
    fn now(&self) -> Time {
        Time(self.shared.origin.elapsed().as_nanos() as u64)
    }

    fn parked(&self) -> MutexGuard<'_, Tickets<Parked>> {
        self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked_for(&self) -> MutexGuard<'_, BTreeSet<(TicketId, u64)>> {
        self.shared.asked_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a question as `POST /v1/admit` does.
pub(crate) fn fuzz_question(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<ask::AdmitRequest>(data) {
        let _ = request.checked();
    }
}
