//! Envoy's dynamic metadata, in and out.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::HEADER_DESTINATION;
use super::wire::Metadata;

const NAMESPACE: &str = "envoy.lb";
const SUBSET_NAMESPACE: &str = "envoy.lb.subset_hint";
const SUBSET: &str = "x-gateway-destination-endpoint-subset";
const SERVED: &str = "x-gateway-destination-endpoint-served";

/// Entries of a subset hint that are looked at: more endpoints than a pool has.
const SUBSET_ENTRIES_MAX: usize = 10_000;

/// Our choice, as metadata for filters and load balancers that follow.
pub(super) fn destination(endpoint: &str) -> Struct {
    let endpoint = value(Kind::StringValue(endpoint.to_owned()));
    let inner = Struct { fields: [(HEADER_DESTINATION.to_owned(), endpoint)].into() };
    Struct { fields: [(NAMESPACE.to_owned(), value(Kind::StructValue(inner)))].into() }
}

/// The endpoints that the request may go to: `None` where nothing is said, empty = nobody. A hint
/// that cannot be read names nobody.
pub(super) fn subset(metadata: &Metadata) -> Option<Vec<Box<str>>> {
    let hint = metadata.filter_metadata.get(SUBSET_NAMESPACE)?.fields.get(SUBSET)?;
    Some(match &hint.kind {
        Some(Kind::ListValue(ListValue { values })) => values
            .iter()
            .take(SUBSET_ENTRIES_MAX)
            .filter_map(text)
            .map(|entry| entry.trim().into())
            .collect(),
        Some(Kind::StringValue(entries)) => list(entries),
        _ => Vec::new(),
    })
}

/// Entries separated by commas.
pub(super) fn list(entries: &str) -> Vec<Box<str>> {
    let entries = entries.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.take(SUBSET_ENTRIES_MAX).map(Into::into).collect()
}

/// The endpoint that Envoy says it sent the request to.
pub(super) fn served(metadata: &Metadata) -> Option<&str> {
    text(metadata.filter_metadata.get(NAMESPACE)?.fields.get(SERVED)?)
}

/// A claim that a filter before us has verified: at the top of its namespace, or in the payload
/// that it keeps there under a name of its own (as the JWT filter does).
pub(super) fn claim<'a>(metadata: &'a Metadata, namespace: &str, claim: &str) -> Option<&'a str> {
    let fields = &metadata.filter_metadata.get(namespace)?.fields;
    let top = fields.get(claim).and_then(text);
    let mut payloads = fields.values().filter_map(|value| match &value.kind {
        Some(Kind::StructValue(payload)) => payload.fields.get(claim).and_then(text),
        _ => None,
    });
    top.or_else(|| {
        let found = payloads.next();
        // Of two that say it, nobody knows which one counts.
        found.filter(|_| payloads.next().is_none())
    })
}

fn text(value: &Value) -> Option<&str> {
    match &value.kind {
        Some(Kind::StringValue(text)) => Some(text),
        _ => None,
    }
}

const fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}
