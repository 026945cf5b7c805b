//! The webhook on a socket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::Admission;

/// Connections at one time: each holds at most one question at a time over HTTP/1.1.
const CONNECTIONS_MAX: usize = 16_384;
/// Whoever has not sent the head of a request by then holds a connection for nothing.
const HEADER_READ_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// After `shutdown`, answers in the making have this long.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// After an error of the system (no more file handles), accepting goes on.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves the webhook until `shutdown` resolves; questions that are held then are still answered.
/// Errors of single connections end these alone.
pub async fn serve(face: Admission, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let router = face.router();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_BYTES_MAX as u32);
    tokio::pin!(shutdown);
    let timer = tokio::spawn(face.keep_time());
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = async { (slot.await, listener.accept().await) } => next,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        // Answers are short: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let service = router.clone().map_request(move |mut request: http::Request<_>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.map(axum::body::Body::new)
        });
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection broke off");
            }
        });
    }
    timer.abort();
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections of the webhook were still open after {DRAIN_MAX:?}");
    }
}
