//! Connections of clients: how HTTP is spoken on them.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use super::Proxy;
use crate::connections::{self, Peer, Stream};
use crate::tls::TlsServer;

/// Longest time that a client may take for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Largest head of a request, bytes: prompts are bodies; long are only tokens of identity.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 128;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1_024;

impl Proxy {
    /// Serves HTTP/1.1 and HTTP/2, inside TLS where that is given, until `stopped`; then takes no
    /// more connections, and returns when the last request has ended.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<TlsServer>>,
        stopped: impl Future<Output = ()>,
    ) {
        let (proxy, builder) = (self.clone(), builder());
        let speak = move |stream: Stream, peer: Peer| {
            let (proxy, peer) = (proxy.clone(), Arc::new(peer));
            let service =
                service_fn(move |request| answer(proxy.clone(), Arc::clone(&peer), request));
            builder.serve_connection(stream, service).into_owned()
        };
        connections::serve(listener, tls, stopped, speak).await;
    }
}

async fn answer(
    proxy: Proxy,
    peer: Arc<Peer>,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<super::relay::Answer>, std::convert::Infallible> {
    Ok(proxy.answer(&peer, request).await)
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32);
    builder
}
