//! A certificate that vouches for itself.

use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;

use super::{TlsError, provider};

/// Names in it; nobody who accepts it looks at them.
const NAMES: [&str; 1] = ["localhost"];

pub(super) fn make() -> Result<CertifiedKey, TlsError> {
    let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))
        .map_err(|error| TlsError::SelfSigned(error.to_string()))?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|error| TlsError::SelfSigned(error.to_owned()))?;
    CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider())
        .map_err(|error| TlsError::SelfSigned(error.to_string()))
}
