//! Serves gRPC on a listener: HTTP/2 with limits that fit thousands of held streams from one
//! proxy, with or without TLS.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::connections::{self, Peer, Stream};
use crate::tls::TlsServer;

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

/// Serves until `stop` resolves, each connection by what `service` makes for its peer; then takes
/// no more connections, and returns when those that are open have ended their streams.
pub async fn serve<S>(
    listener: TcpListener,
    service: impl Fn(&Peer) -> S + Clone + Send + Sync + 'static,
    tls: Option<Arc<TlsServer>>,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let builder = builder();
    let speak = move |stream: Stream, peer: Peer| {
        builder.serve_connection(stream, TowerToHyperService::new(service(&peer)))
    };
    connections::serve(listener, tls, stop, speak).await;
}

/// One service with another beside it on the same listener, whose path begins with its name.
#[derive(Clone, Debug)]
pub struct Beside<A, B> {
    /// Gets all that is not for the other.
    pub main: A,
    /// Gets what names it.
    pub beside: B,
}

impl<A, B> Service<Request<Incoming>> for Beside<A, B>
where
    A: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    B: Service<
            Request<Incoming>,
            Response = Response<Body>,
            Error = Infallible,
            Future = A::Future,
        > + NamedService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = A::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(self.main.poll_ready(context))?;
        self.beside.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> A::Future {
        let mut parts = request.uri().path().split('/');
        if parts.nth(1) == Some(B::NAME) {
            self.beside.call(request)
        } else {
            self.main.call(request)
        }
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
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
    builder
}
