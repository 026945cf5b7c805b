//! Serves gRPC on a listener: HTTP/2 with limits that fit thousands of held streams from one
//! proxy, with or without TLS.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower::ServiceExt as _;

/// Streams of one connection. A proxy holds one stream per request, in the queue or in flight, and
/// opens a second connection only at this limit; hyper's default of 200 would cap the queue.
const STREAMS_MAX: u32 = 100_000;

/// Streams that a peer may reset before we have looked at them. The peer is the proxy, and a load
/// test that ends resets thousands at once; the default of 20 would end the whole connection.
const RESETS_MAX: usize = 100_000;

/// Bytes of a body that a proxy may send on one stream ahead of us: a prompt of 100,000 tokens
/// twice over, without a round trip in between.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// A peer that is silent is asked whether it is there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// And given up if it does not answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A client that does not complete its TLS handshake is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// After an error of the listener (too many open files), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves these routes until `stop` resolves; then takes no more connections, and returns when
/// those that are open have ended their streams.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    tls: Option<Arc<ServerConfig>>,
    stop: impl Future<Output = ()>,
) {
    let routes = routes.prepare();
    let tls = tls.map(TlsAcceptor::from);
    let open = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (routes, tls, watcher) = (routes.clone(), tls.clone(), open.watcher());
                tokio::spawn(connection(stream, routes, tls, watcher));
            }
            Err(error) => {
                tracing::warn!("a connection was not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    open.shutdown().await;
}

async fn connection(stream: TcpStream, routes: Routes, tls: Option<TlsAcceptor>, watcher: Watcher) {
    let peer = stream.peer_addr().ok();
    let about = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: peer };
    // Replies are small and awaited.
    let _ = stream.set_nodelay(true);
    let ended = match tls {
        None => speak(stream, about, routes, watcher).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, about, routes, watcher).await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        },
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, "a connection ended: {error}");
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    about: TcpConnectInfo,
    routes: Routes,
    watcher: Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let routes = routes.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(about.clone());
        request
    });
    let routes = routes.map_err(|error: Infallible| match error {});
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    watcher.watch(connection).await.map_err(Into::into)
}
