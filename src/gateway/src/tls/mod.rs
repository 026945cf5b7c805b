//! TLS of all faces: one rustls configuration whose certificate changes when its files do.
//!
//! Connections that are open keep the certificate they began with and are not dropped. A change
//! that cannot be read keeps the last certificate and says so.

mod error;
mod files;
mod name;
mod resolver;
mod self_signed;
mod server;
#[cfg(test)]
mod tests;

pub use error::TlsError;
pub use files::Files;
pub use resolver::Resolver;
pub use server::{RELOAD_INTERVAL, TlsServer};

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Protocols that a face speaks inside TLS, most wanted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// gRPC.
    Http2,
    /// HTTP/2 or HTTP/1.1.
    Http,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A server's configuration; see [`TlsServer::new`].
fn server_config(
    resolver: Arc<Resolver>,
    protocols: Protocols,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in files::certificates(path)? {
                roots.add(certificate).map_err(|error| TlsError::unusable(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                .build()
                .map_err(|error| TlsError::unusable(path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = match protocols {
        Protocols::Http2 => vec![b"h2".to_vec()],
        Protocols::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}
