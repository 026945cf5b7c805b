//! What is known about a request when it is to be identified.

use std::net::IpAddr;

/// The facts of a request. The face that took it in answers; nothing here is believed that the
/// policy does not trust.
pub trait Facts {
    /// The value of the header of that name, given in lower case. `None` where it is absent, is
    /// not text, or is there **more than once**: of two values one may be a client's own, so
    /// neither vouches for anything.
    fn header(&self, name: &str) -> Option<&str>;

    /// The address of whoever handed the request over to us: the proxy where there is one. `None`
    /// = unknown, which no list of proxies contains.
    fn peer(&self) -> Option<IpAddr>;

    /// A claim of a token that Envoy has verified, from its dynamic metadata.
    fn claim(&self, _namespace: &str, _claim: &str) -> Option<&str> {
        None
    }

    /// The name in a client certificate that was verified.
    fn certificate_name(&self) -> Option<&str> {
        None
    }

    /// The model that the request asks for.
    fn model(&self) -> Option<&str>;

    /// Whether the caller has proved to be one who speaks for others (the webhook's callers, who
    /// hold its token): what he says of a request then counts.
    fn vouched(&self) -> bool {
        false
    }
}
