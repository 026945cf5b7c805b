//! Listening: one process, many addresses, an engine for each.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::clocked::Clocked;
use super::http::{Shared, answer};
use super::{Options, Service};
use crate::alarm::Alarm;

/// Engines behind one address that stands for all; as many as a large test cluster has pods.
const ENGINES_PER_LISTENER_MAX: usize = 1_024;
/// Longest pause after a connection could not be taken, as when file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why engines cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// No thread for the timer.
    #[error("cannot start the timer's thread: {0}; the system limits threads")]
    Timer(#[from] std::io::Error),
    /// Options that make no sense together.
    #[error("{what}; expected {expected}")]
    Options {
        /// What is wrong.
        what: &'static str,
        /// What was expected.
        expected: &'static str,
    },
}

/// Engines that serve until this is dropped.
#[derive(Debug)]
pub struct Listening {
    /// Where, in the order of [`Options::listen`], with the ports that the system chose.
    pub addresses: Vec<SocketAddr>,
    /// Dropped with this: then listeners and connections end.
    _open: watch::Sender<()>,
}

/// Starts engines on the current tokio runtime; each address is bound when this returns.
///
/// # Errors
/// [`StartError`]: an address cannot be bound, or options make no sense.
pub async fn start(options: &Options) -> Result<Listening, StartError> {
    let wrong = |what, expected| Err(StartError::Options { what, expected });
    if options.models.is_empty() {
        return wrong("no model", "at least one name");
    }
    if !(options.speed.is_finite() && options.speed > 0.0) {
        return wrong("the speed is not a positive number", "1 for real time");
    }
    let shared = Arc::new(Shared::new(options.models.clone(), &options.service, options.seed));
    let alarm = Alarm::start()?;
    let (open, closed) = watch::channel(());
    let mut addresses = Vec::new();
    for &address in &options.listen {
        let bound = TcpListener::bind(address).await.and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) = bound.map_err(|source| StartError::Listen { address, source })?;
        addresses.push(address);
        let rooms = Rooms {
            one: address.ip(),
            service: options.service.clone(),
            speed: options.speed,
            alarm: alarm.clone(),
            engines: Mutex::default(),
        };
        tokio::spawn(accept(listener, rooms, Arc::clone(&shared), closed.clone()));
    }
    Ok(Listening { addresses, _open: open })
}

/// The engines behind one listener, by the address that clients connected to.
#[derive(Debug)]
struct Rooms {
    one: IpAddr,
    service: Service,
    speed: f64,
    alarm: Alarm,
    engines: Mutex<HashMap<IpAddr, Arc<Clocked>>>,
}

impl Rooms {
    fn engine(&self, connection: &TcpStream) -> Option<Arc<Clocked>> {
        let address = if self.one.is_unspecified() {
            connection.local_addr().ok()?.ip().to_canonical()
        } else {
            self.one
        };
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(&address) {
            return Some(Arc::clone(engine));
        }
        if engines.len() >= ENGINES_PER_LISTENER_MAX {
            tracing::warn!(%address, "no engine for this address: {ENGINES_PER_LISTENER_MAX} exist");
            return None;
        }
        let engine = Clocked::start(&self.service, self.speed, self.alarm.clone());
        engines.insert(address, Arc::clone(&engine));
        Some(engine)
    }
}

async fn accept(
    listener: TcpListener,
    rooms: Rooms,
    shared: Arc<Shared>,
    mut closed: watch::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closed.changed() => return,
        };
        let connection = match accepted {
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(engine) = rooms.engine(&connection) else { continue };
        let (shared, mut closed) = (Arc::clone(&shared), closed.clone());
        tokio::spawn(async move {
            let _only_slower = connection.set_nodelay(true);
            let service =
                service_fn(|request| answer(Arc::clone(&engine), Arc::clone(&shared), request));
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(connection), service);
            tokio::select! {
                // A client that left, or a fault that was asked for.
                _ended = serving => {}
                _ = closed.changed() => {}
            }
        });
    }
}
