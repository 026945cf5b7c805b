//! What a face needs to take TLS connections: its certificate, and whom it lets in.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Protocols, Resolver, TlsError, files, name, server_config};

/// How often files are looked at: a certificate is renewed days before it ends.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// TLS of one face.
#[derive(Debug)]
pub struct TlsServer {
    resolver: Arc<Resolver>,
    protocols: Protocols,
    client_ca: Option<ClientCa>,
    config: ArcSwap<ServerConfig>,
}

/// Authorities whose certificates clients must show.
#[derive(Debug)]
struct ClientCa {
    path: PathBuf,
    fingerprint: AtomicU64,
}

impl TlsServer {
    /// With the certificate of `resolver`. With `client_ca`, a PEM file, clients must show a
    /// certificate that one of its authorities has signed.
    ///
    /// # Errors
    /// If `client_ca` cannot be read or holds no certificate.
    pub fn new(
        resolver: Arc<Resolver>,
        protocols: Protocols,
        client_ca: Option<PathBuf>,
    ) -> Result<Arc<Self>, TlsError> {
        let client_ca = match client_ca {
            None => None,
            Some(path) => {
                let fingerprint = AtomicU64::new(files::fingerprint([&path])?);
                Some(ClientCa { path, fingerprint })
            }
        };
        let path = client_ca.as_ref().map(|ca| ca.path.as_path());
        let config = ArcSwap::new(server_config(Arc::clone(&resolver), protocols, path)?);
        Ok(Arc::new(Self { resolver, protocols, client_ca, config }))
    }

    /// Takes a connection; with it comes the name in the certificate that its client showed.
    ///
    /// # Errors
    /// If the handshake fails: the client breaks it off, or shows no certificate that counts.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<(TlsStream<S>, Option<Arc<str>>)> {
        let stream = TlsAcceptor::from(self.config.load_full()).accept(stream).await?;
        // Where no certificate is asked for none is there, and what is there was verified.
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let name = shown.and_then(|certificate| name::of(certificate)).map(Into::into);
        Ok((stream, name))
    }

    /// Looks at the files; true if they changed, which counts for new connections. Those that are
    /// open keep what they began with.
    ///
    /// # Errors
    /// If they cannot be used; what was before stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let renewed = self.resolver.reload()?;
        let Some(ca) = &self.client_ca else { return Ok(renewed) };
        let fingerprint = files::fingerprint([&ca.path])?;
        if fingerprint == ca.fingerprint.load(Ordering::Relaxed) {
            return Ok(renewed);
        }
        // A configuration of its own, so that no session of the authorities before is resumed.
        let resolver = Arc::clone(&self.resolver);
        self.config.store(server_config(resolver, self.protocols, Some(&ca.path))?);
        ca.fingerprint.store(fingerprint, Ordering::Relaxed);
        Ok(true)
    }

    /// Looks at the files from time to time, as long as it is polled; logs under the name of the
    /// `face`.
    pub async fn keep_fresh(self: Arc<Self>, face: &str) {
        let mut said = None;
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            match self.reload() {
                Ok(changed) => {
                    said = None;
                    if changed {
                        tracing::info!("{face}: other certificates from now on: the files changed");
                    }
                }
                Err(error) => {
                    // Once per fault, not once per look.
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        tracing::error!("{face}: the certificates before stay in force: {text}");
                        said = Some(text);
                    }
                }
            }
        }
    }
}
