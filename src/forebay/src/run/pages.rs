//! Metrics and health over plain HTTP.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use forebay_gateway::metrics::{self, Sources};
use tokio::sync::watch;

/// Whether this process takes requests: not before its engines were looked at, not after it was
/// told to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Ready(Arc<Readiness>);

#[derive(Debug, Default)]
struct Readiness {
    ready: watch::Sender<bool>,
    why: Mutex<Why>,
}

#[derive(Debug, Default)]
struct Why {
    /// It would take requests.
    up: bool,
    /// Fleets of which another gate takes the requests, by their place in the list.
    elsewhere: BTreeSet<usize>,
}

impl Ready {
    pub(super) fn set(&self, up: bool) {
        self.change(|why| why.up = up);
    }

    /// Another gate takes a fleet's requests, or does not any more.
    pub(super) fn stand_by(&self, fleet: usize, stands_by: bool) {
        self.change(|why| {
            if stands_by {
                why.elsewhere.insert(fleet);
            } else {
                why.elsewhere.remove(&fleet);
            }
        });
    }

    pub(super) fn get(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Whether it takes requests, or would if no other gate did.
    pub(super) fn is_up(&self) -> bool {
        self.0.why.lock().unwrap_or_else(PoisonError::into_inner).up
    }

    /// Follows it.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Why)) {
        let mut why = self.0.why.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut why);
        self.0.ready.send_replace(why.up && why.elsewhere.is_empty());
    }
}

/// `/metrics`.
pub(super) fn metrics(sources: Sources) -> Router {
    Router::new().route("/metrics", get(page)).with_state(sources)
}

async fn page(State(sources): State<Sources>) -> Response {
    match metrics::page(&sources) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// `/healthz` (this process lives) and `/readyz` (it takes requests).
pub(super) fn health(ready: Ready) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(ready)
}

async fn readyz(State(ready): State<Ready>) -> (StatusCode, &'static str) {
    if ready.get() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
