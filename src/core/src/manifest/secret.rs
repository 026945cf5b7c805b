//! A Kubernetes `Secret` among the manifests, for a policy that refers to one.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::node::{Node, Value};

/// Text that is not to be shown, by key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its `metadata.name`.
    pub name: String,
    /// `data` decoded, and `stringData`, which wins; an entry that is not text is left out.
    pub entries: BTreeMap<String, String>,
}

impl Secret {
    /// The secret that a document is, if it is one. Others' secrets are of many shapes, so
    /// nothing in one is an error here.
    pub(super) fn read(document: &Node) -> Option<Self> {
        if document.text("apiVersion") != Some("v1") || document.text("kind") != Some("Secret") {
            return None;
        }
        let name = document.entry("metadata")?.node.text("name")?.to_owned();
        let encoded = texts(document, "data").filter_map(|(key, text)| {
            let bytes = STANDARD.decode(text.trim()).ok()?;
            Some((key, String::from_utf8(bytes).ok()?))
        });
        let plain = texts(document, "stringData").map(|(key, text)| (key, text.to_owned()));
        Some(Self { name, entries: encoded.chain(plain).collect() })
    }
}

/// The texts of a map.
fn texts<'a>(document: &'a Node, field: &str) -> impl Iterator<Item = (String, &'a str)> {
    let entries = match document.entry(field).map(|entry| &entry.node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter_map(|entry| match &entry.node.value {
        Value::Text(text) => Some((entry.key.clone(), text.as_str())),
        _ => None,
    })
}

impl fmt::Debug for Secret {
    /// Without what is secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.entries.keys().collect();
        formatter.debug_struct("Secret").field("name", &self.name).field("keys", &keys).finish()
    }
}
