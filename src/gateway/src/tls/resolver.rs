//! The certificate in force.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Files, TlsError, self_signed};

/// Hands the certificate in force to each handshake.
#[derive(Debug)]
pub struct Resolver {
    current: ArcSwap<CertifiedKey>,
    /// `None`: self-signed, never changes.
    files: Option<Files>,
    fingerprint: AtomicU64,
}

impl Resolver {
    /// From files.
    ///
    /// # Errors
    /// If they cannot be read, or do not fit each other.
    pub fn from_files(files: Files) -> Result<Arc<Self>, TlsError> {
        let fingerprint = AtomicU64::new(files.fingerprint()?);
        let current = ArcSwap::from_pointee(files.read()?);
        Ok(Arc::new(Self { current, files: Some(files), fingerprint }))
    }

    /// With a certificate made now and signed by itself, for encryption among parties that do not
    /// check whom they talk to (as llm-d's picker has it by default).
    ///
    /// # Errors
    /// If none can be made.
    pub fn self_signed() -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(self_signed::make()?);
        Ok(Arc::new(Self { current, files: None, fingerprint: AtomicU64::new(0) }))
    }

    /// Looks at the files; true if they hold another certificate, which new connections get.
    ///
    /// # Errors
    /// If they cannot be used; the certificate in force stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let Some(files) = &self.files else { return Ok(false) };
        let fingerprint = files.fingerprint()?;
        if fingerprint == self.fingerprint.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.current.store(Arc::new(files.read()?));
        self.fingerprint.store(fingerprint, Ordering::Relaxed);
        Ok(true)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}
