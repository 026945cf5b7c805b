//! Certificate and key as files.

use std::path::{Path, PathBuf};

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{TlsError, provider};

/// Where a certificate and its key are; PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, followed by those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Files {
    /// `tls.crt` and `tls.key` of a folder, as Kubernetes mounts a secret of type TLS.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self { certificate: folder.join("tls.crt"), key: folder.join("tls.key") }
    }

    /// What the files hold, in a number.
    pub(super) fn fingerprint(&self) -> Result<u64, TlsError> {
        fingerprint([&self.certificate, &self.key])
    }

    pub(super) fn read(&self) -> Result<CertifiedKey, TlsError> {
        let certificates = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| TlsError::unreadable(&self.key, &error))?;
        CertifiedKey::from_der(certificates, key, &provider())
            .map_err(|error| TlsError::unusable(&self.certificate, &error))
    }
}

/// What some files hold, in a number: content counts, not time, since mounted secrets are swapped
/// by links.
pub(super) fn fingerprint<const N: usize>(paths: [&PathBuf; N]) -> Result<u64, TlsError> {
    paths.into_iter().try_fold(0, |seed, path| {
        let content = std::fs::read(path).map_err(|error| TlsError::unreadable(path, &error))?;
        Ok(xxh3_64_with_seed(&content, seed))
    })
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::unreadable(path, &error))?;
    if read.is_empty() {
        return Err(TlsError::unreadable(path, &"there is no certificate in it"));
    }
    Ok(read)
}
