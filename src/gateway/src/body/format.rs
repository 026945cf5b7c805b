//! How an answer is written.

/// What the content headers of an answer say about its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON value.
    Json,
    /// Server-sent events, each with a JSON value.
    Events,
    /// Anything else, compressed bodies included: passes unread.
    Opaque,
}

impl Format {
    /// Of an answer with these `content-type` and `content-encoding` headers.
    #[must_use]
    pub fn of(content_type: Option<&str>, content_encoding: Option<&str>) -> Self {
        let plain = content_encoding
            .is_none_or(|encoding| encoding.trim().is_empty() || is(encoding, "identity"));
        let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        if !plain {
            Self::Opaque
        } else if is(media, "text/event-stream") {
            Self::Events
        } else if is(media, "application/json") {
            Self::Json
        } else {
            Self::Opaque
        }
    }
}

fn is(value: &str, name: &str) -> bool {
    value.trim().eq_ignore_ascii_case(name)
}
