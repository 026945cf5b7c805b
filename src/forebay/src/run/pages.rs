//! Metrics and health over plain HTTP.

use std::sync::Arc;

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
pub(super) struct Ready(Arc<watch::Sender<bool>>);

impl Ready {
    pub(super) fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }

    pub(super) fn get(&self) -> bool {
        *self.0.borrow()
    }

    /// Follows it.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
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
