//! What is wrong with a certificate.

use std::path::{Path, PathBuf};

/// Why TLS cannot start, or goes on with its last certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {detail}; give a readable PEM file", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system or the PEM parser says.
        detail: String,
    },
    /// A file can be read, but not used.
    #[error("{}: {detail}; the certificate must come first and belong to the key", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What rustls says.
        detail: String,
    },
    /// The protocol versions do not fit the provider.
    #[error("TLS cannot start: {0}; this is a fault of the build")]
    Protocol(rustls::Error),
    /// No certificate could be made.
    #[error("no self-signed certificate could be made: {0}; give one by its files")]
    SelfSigned(String),
}

impl TlsError {
    pub(super) fn unreadable(path: &Path, detail: &impl std::fmt::Display) -> Self {
        Self::Unreadable { path: path.to_owned(), detail: detail.to_string() }
    }

    pub(super) fn unusable(path: &Path, detail: &impl std::fmt::Display) -> Self {
        Self::Unusable { path: path.to_owned(), detail: detail.to_string() }
    }
}
