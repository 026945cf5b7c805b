//! Who calls: checked before a body is read.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::request::Parts;
use xxhash_rust::xxh3::xxh3_64;

use super::{Admission, Problem};

/// Header for a token where `authorization` belongs to somebody else.
pub(super) const HEADER_TOKEN: &str = "x-forebay-token";

/// The name in a client certificate that TLS has verified, put among a request's extensions by
/// the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName(pub Arc<str>);

/// Somebody who may ask.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Whose leases and tickets are whose: by token, or certificate, or else address.
    pub(super) holder: u64,
    /// From where.
    pub(super) peer: Option<SocketAddr>,
    /// The name in a verified certificate.
    pub(super) certificate: Option<Arc<str>>,
    /// Whatever else it said.
    pub(super) headers: HeaderMap,
}

impl FromRequestParts<Admission> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, face: &Admission) -> Result<Self, Problem> {
        Self::of(parts, face, true)
    }
}

impl Caller {
    /// Who calls, if he may. `bearer`: a token may come in `authorization`, too; elsewhere that
    /// header is the end user's.
    pub(super) fn of(parts: &Parts, face: &Admission, bearer: bool) -> Result<Self, Problem> {
        let extensions = &parts.extensions;
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let certificate = extensions.get::<CertificateName>().map(|name| Arc::clone(&name.0));
        let text = |name: &str| parts.headers.get(name)?.to_str().ok();
        let token = text(HEADER_TOKEN)
            .or_else(|| text("authorization").filter(|_| bearer).and_then(bearer_token));
        let access = face.access();
        let holder = match (&certificate, token) {
            (Some(name), _) => xxh3_64(name.as_bytes()),
            (None, Some(token)) if access.wants_token() && access.knows(token) => {
                xxh3_64(token.as_bytes())
            }
            (None, _) if access.wants_token() => return Err(Problem::NotLetIn),
            (None, _) => peer.map_or(0, |peer| xxh3_64(peer.ip().to_string().as_bytes())),
        };
        Ok(Self { holder, peer, certificate, headers: parts.headers.clone() })
    }
}

/// The token of `Bearer TOKEN`.
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of a header that is there once and is text.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}
