//! The webhook on a socket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::{Admission, CertificateName};
use crate::connections::{self, Peer, Stream};
use crate::tls::TlsServer;

/// Whoever has not sent the head of a request by then holds a connection for nothing.
const HEADER_READ_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Serves the webhook, inside TLS where that is given, until `shutdown` resolves; returns when the
/// questions that are held then have been answered.
pub async fn serve(
    face: Admission,
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
    shutdown: impl Future<Output = ()>,
) {
    let router = face.router();
    let builder = builder();
    let speak = move |stream: Stream, peer: Peer| {
        let Peer { address, certificate_name } = peer;
        let service = router.clone().map_request(move |mut request: http::Request<_>| {
            request.extensions_mut().insert(ConnectInfo(address));
            if let Some(name) = &certificate_name {
                request.extensions_mut().insert(CertificateName(Arc::clone(name)));
            }
            request.map(axum::body::Body::new)
        });
        builder.serve_connection(stream, TowerToHyperService::new(service)).into_owned()
    };
    let timer = tokio::spawn(face.keep_time());
    connections::serve(listener, tls, shutdown, speak).await;
    timer.abort();
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_BYTES_MAX as u32);
    builder
}
