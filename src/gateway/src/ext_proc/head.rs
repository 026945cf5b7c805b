//! The head of a request: its headers, who handed it over, what other filters say of it.

use std::net::IpAddr;

use bytes::Bytes;
use forebay_core::admit::Facts;
use prost::Message as _;

use super::wire::{HeaderMap, HeaderValue, Metadata};
use super::{Settings, metadata};
use crate::front::RequestLine;

/// Where conformance tests say which endpoints a request may go to.
const HEADER_TEST_SELECTION: &str = "test-epp-endpoint-selection";

/// What is known of a request besides its body.
#[derive(Debug, Default)]
pub struct Head {
    headers: Vec<HeaderValue>,
    /// As it came last, since the same comes with every message.
    metadata_wire: Bytes,
    metadata: Option<Metadata>,
    peer: Option<IpAddr>,
    /// `None`: all.
    candidates: Option<Vec<Box<str>>>,
    pub(super) model: Option<String>,
}

impl Head {
    pub(super) fn new(headers: Option<HeaderMap>, peer: Option<IpAddr>) -> Self {
        let headers = headers.map(|map| map.headers).unwrap_or_default();
        Self { headers, peer, ..Self::default() }
    }

    /// Takes the metadata that came with a message; what came first counts. A hint that cannot be
    /// read names nobody.
    pub(super) fn learn(&mut self, wire: Bytes) {
        if wire.is_empty() || wire == self.metadata_wire {
            return;
        }
        let metadata = Metadata::decode(wire.clone());
        self.metadata_wire = wire;
        let Ok(metadata) = metadata else {
            self.candidates.get_or_insert_default();
            return;
        };
        if self.candidates.is_none() {
            self.candidates = metadata::subset(&metadata);
        }
        if self.metadata.is_none() {
            self.metadata = Some(metadata);
        }
    }

    /// Restricts the request to what a conformance test asks for.
    pub(super) fn obey(&mut self, settings: &Settings) {
        let Some(ports) = &settings.conformance_ports else { return };
        let Some(selection) = self.header(HEADER_TEST_SELECTION) else { return };
        let mut chosen = Vec::new();
        for entry in metadata::list(selection) {
            let address = entry.parse::<IpAddr>().ok();
            match address {
                Some(ip) => chosen.extend(
                    ports
                        .iter()
                        .map(|port| std::net::SocketAddr::new(ip, *port).to_string().into()),
                ),
                None => chosen.push(entry),
            }
        }
        self.candidates = Some(chosen);
    }

    /// The endpoints that it may go to; `None` = all.
    #[must_use]
    pub fn candidates(&self) -> Option<&[Box<str>]> {
        self.candidates.as_deref()
    }

    /// Names of the headers that came, as Envoy writes them: in lower case.
    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header.key == name)
    }

    pub(super) fn path(&self) -> &str {
        find(&self.headers, ":path").unwrap_or_default()
    }

    /// Method and path.
    pub(super) fn line(&self) -> Option<RequestLine<'_>> {
        let (method, path) = (find(&self.headers, ":method")?, find(&self.headers, ":path")?);
        Some(RequestLine { method, path })
    }

    /// Whether requests of this method usually have a body.
    pub(super) fn expects_body(&self) -> bool {
        !matches!(
            find(&self.headers, ":method"),
            Some("GET" | "HEAD" | "OPTIONS" | "DELETE" | "TRACE" | "CONNECT")
        )
    }
}

/// The first header of that name, if it is text. Envoy writes names in lower case.
pub(super) fn find<'a>(headers: &'a [HeaderValue], name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.key == name).and_then(value)
}

/// A value arrives in one of two fields.
fn value(header: &HeaderValue) -> Option<&str> {
    let raw = if header.raw_value.is_empty() { &header.value } else { &header.raw_value };
    std::str::from_utf8(raw).ok()
}

impl Facts for Head {
    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|header| header.key == name);
        let first = values.next()?;
        if values.next().is_some() { None } else { value(first) }
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    fn claim(&self, namespace: &str, claim: &str) -> Option<&str> {
        metadata::claim(self.metadata.as_ref()?, namespace, claim)
    }

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}
