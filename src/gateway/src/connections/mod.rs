//! Connections of clients, for every face: taken within bounds, encrypted where that is wanted,
//! served, drained.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::tls::TlsServer;

/// Connections at once. Held requests of HTTP/1.1 occupy one each, so this bounds them too; beyond
/// it clients wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 16_384;
/// TLS handshakes at once: who they are is not known yet, and each holds some 30 KiB. Beyond it
/// they wait, within [`HANDSHAKE_MAX`].
pub const HANDSHAKES_MAX: usize = 1_024;
/// A client that has not completed its TLS handshake by then is given up.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Pause after a connection could not be taken, as when file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The name in its certificate, if that was verified.
    pub certificate_name: Option<Arc<str>>,
}

/// A connection, encrypted or not.
pub(crate) type Stream = TokioIo<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// Serves connections until `stop` resolves; then takes no more, gives up handshakes, and returns
/// when the last connection has ended its requests. `speak` makes a connection of HTTP of each.
pub(crate) async fn serve<C>(
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
    stop: impl Future<Output = ()>,
    speak: impl Fn(Stream, Peer) -> C + Clone + Send + Sync + 'static,
) where
    C: GracefulConnection + Send + 'static,
    C::Error: Display + Send,
{
    let open = GracefulShutdown::new();
    let stopping = CancellationToken::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            // Never closed, so there is a permit in the end.
            let permit = Arc::clone(&room).acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Answers are small and awaited: waiting to fill a packet only delays them.
        let _only_slower = stream.set_nodelay(true);
        let (speak, watcher) = (speak.clone(), open.watcher());
        let tls = tls.clone().map(|tls| (tls, Arc::clone(&handshakes), stopping.clone()));
        tokio::spawn(async move {
            let _permit = permit;
            let (stream, certificate_name) = match tls {
                None => (Either::Left(stream), None),
                Some((tls, handshakes, stopping)) => {
                    let encrypted = tokio::select! {
                        encrypted = handshake(&tls, stream, &handshakes) => encrypted,
                        () = stopping.cancelled() => return,
                    };
                    match encrypted {
                        Ok((stream, name)) => (Either::Right(Box::new(stream)), name),
                        Err(error) => {
                            tracing::debug!(%address, %error, "no TLS handshake");
                            return;
                        }
                    }
                }
            };
            let connection = speak(TokioIo::new(stream), Peer { address, certificate_name });
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%address, %error, "a connection broke off");
            }
        });
    }
    drop(listener);
    stopping.cancel();
    open.shutdown().await;
}

async fn handshake(
    tls: &TlsServer,
    stream: TcpStream,
    handshakes: &Semaphore,
) -> std::io::Result<(TlsStream<TcpStream>, Option<Arc<str>>)> {
    let handshake = async {
        // Never closed, as above.
        let _permit = handshakes.acquire().await.ok();
        tls.accept(stream).await
    };
    timeout(HANDSHAKE_MAX, handshake).await?
}
