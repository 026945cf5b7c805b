//! Which headers go on, in both directions.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use crate::front::HEADER_REQUEST_ID;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Where llm-d's sidecar is to have the prompt computed.
const PREFILLER: HeaderName = HeaderName::from_static("x-prefiller-host-port");

/// Headers of one hop (RFC 9110, 7.6.1), and those that we write anew.
const HOP: [HeaderName; 10] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
];

/// The request's identity, as its client gave it.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(HEADER_REQUEST_ID).and_then(|id| id.to_str().ok())
}

pub(super) fn set_json(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// Takes out what ends at this hop, whatever `connection` names included.
fn end_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Headers of a request as they go to an engine.
pub(super) fn to_engine(
    mut headers: HeaderMap,
    stripped: &[String],
    peer: Option<IpAddr>,
    prefill: Option<&str>,
) -> HeaderMap {
    end_hop(&mut headers);
    // The client library writes these two for the engine and the body that it gets.
    headers.remove(HOST);
    headers.remove(CONTENT_LENGTH);
    for name in stripped {
        headers.remove(name.as_str());
    }
    // Only we say where the prompt is computed.
    headers.remove(PREFILLER);
    if let Some(prefill) = prefill.and_then(|prefill| HeaderValue::from_str(prefill).ok()) {
        headers.insert(PREFILLER, prefill);
    }
    if let Some(peer) = peer.and_then(|peer| HeaderValue::from_str(&peer.to_string()).ok()) {
        headers.append(FORWARDED_FOR, peer);
    }
    headers
}

/// Headers of an answer as they go to the client; `resized`: the body may change its length.
pub(super) fn to_client(headers: &mut HeaderMap, resized: bool) {
    end_hop(headers);
    if resized {
        headers.remove(CONTENT_LENGTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_s_headers_end_and_the_rest_goes_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("host", "proxy"),
            ("content-length", "3"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-forebay-tier", "high"),
            ("x-prefiller-host-port", "evil:1"),
            ("x-forwarded-for", "10.0.0.9"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        let engine = to_engine(headers, &["x-forebay-tier".to_owned()], peer, None);
        let mut left: Vec<_> =
            engine.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let expected = [
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("traceparent", traceparent),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.9"),
        ];
        assert_eq!(left, expected);
    }
}
