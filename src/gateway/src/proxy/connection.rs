//! Connections of clients: taken, served, drained.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Proxy;

/// Connections at once. Held requests occupy one each, so this bounds them too; beyond it clients
/// wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 16_384;
/// Longest time that a client may take for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Largest head of a request, bytes: prompts are bodies; long are only tokens of identity.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 128;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 1_024;
/// Pause after a connection could not be taken, as when file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Who is at the other end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Its address.
    pub address: Option<IpAddr>,
    /// The name in its certificate, if that was verified.
    pub certificate_name: Option<Arc<str>>,
}

impl Proxy {
    /// Serves HTTP/1.1 and HTTP/2 without TLS until `stopped`; then takes no more connections,
    /// and returns when the last request has ended.
    pub async fn serve(&self, listener: TcpListener, stopped: impl Future<Output = ()>) {
        let mut stopped = std::pin::pin!(stopped);
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let builder = builder();
        loop {
            let accepted = async {
                // Never closed, so there is a permit in the end.
                let permit = Arc::clone(&room).acquire_owned().await.ok();
                (listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                accepted = accepted => accepted,
                () = &mut stopped => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let _only_slower = stream.set_nodelay(true);
            let peer = Peer { address: Some(address.ip()), certificate_name: None };
            let (proxy, peer) = (self.clone(), Arc::new(peer));
            let service =
                service_fn(move |request| answer(proxy.clone(), Arc::clone(&peer), request));
            let served = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            let served = graceful.watch(served);
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    tracing::debug!(%error, "a client's connection ended");
                }
                drop(permit);
            });
        }
        drop(listener);
        graceful.shutdown().await;
    }

    /// Serves one connection that was taken elsewhere, as after a TLS handshake.
    pub async fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: Peer,
        stopped: impl Future<Output = ()>,
    ) {
        let (proxy, peer) = (self.clone(), Arc::new(peer));
        let service = service_fn(move |request| answer(proxy.clone(), Arc::clone(&peer), request));
        let builder = builder();
        let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = stopped => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a client's connection ended");
        }
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
