//! Gives an answer's top-level `model` the name that the client asked for.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use super::Format;
use super::request::quoted;
use super::scan::{Mark, Scanner};

/// Longest name that is compared, bytes as written; a longer one passes as it is.
const NAME_BYTES_MAX: usize = 1_024;

const WANTED: &[&str] = &["model"];

/// Rewrites an answer chunk by chunk, cut anywhere. Every byte outside the value of a top-level
/// `model` that says `from` passes as it came, and at once: only such a value is held back while
/// it is incomplete.
#[derive(Debug)]
pub struct ModelRewriter {
    format: Format,
    from: String,
    to: String,
    scanner: Scanner,
    line: Line,
    /// The value under way.
    held: Option<Vec<u8>>,
}

/// Where in a line of a stream of events we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data:` have come, and nothing else.
    Field(usize),
    Data,
    Other,
}

const FIELD: &[u8] = b"data:";

impl ModelRewriter {
    /// For an answer of this format that names the model `from`, which the client calls `to`.
    #[must_use]
    pub fn new(format: Format, from: &str, to: &str) -> Self {
        Self {
            format,
            from: from.to_owned(),
            to: quoted(to),
            scanner: Scanner::new(WANTED),
            line: Line::Field(0),
            held: None,
        }
    }

    /// What to send for the next chunk; may be empty.
    #[must_use]
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let mut made = Made { chunk: &chunk, copied: 0, bytes: BytesMut::new() };
        match self.format {
            Format::Opaque => return chunk,
            Format::Json => self.object(0, chunk.len(), &mut made),
            Format::Events => self.events(&mut made),
        }
        if made.copied == 0 && made.bytes.is_empty() {
            return chunk;
        }
        made.copy_until(chunk.len());
        made.bytes.freeze()
    }

    /// What was held back, after the last chunk.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        self.held.take().map(Bytes::from).unwrap_or_default()
    }

    fn events(&mut self, made: &mut Made<'_>) {
        let chunk = made.chunk;
        let mut at = 0;
        while at < chunk.len() {
            let end = memchr2(b'\n', b'\r', &chunk[at..]).map(|length| at + length);
            let stop = end.unwrap_or(chunk.len());
            while let (Line::Field(matched), true) = (self.line, at < stop) {
                let matches = FIELD.get(matched) == Some(&chunk[at]);
                self.line = match (matches, matched + 1 == FIELD.len()) {
                    (true, true) => Line::Data,
                    (true, false) => Line::Field(matched + 1),
                    (false, _) => Line::Other,
                };
                at += usize::from(matches);
            }
            if self.line == Line::Data {
                self.object(at, stop, made);
            }
            if end.is_some() {
                // A name that its line does not end is none: it passes before what follows.
                if let Some(held) = self.held.take() {
                    made.bytes.extend_from_slice(&held);
                }
                if self.line == Line::Field(0) {
                    // An empty line ends the event; CR LF makes one too many, which is harmless
                    // since nobody cuts an event's JSON into several lines of data.
                    self.scanner = Scanner::new(WANTED);
                }
                self.line = Line::Field(0);
            }
            at = stop + usize::from(end.is_some());
        }
    }

    /// Bytes `start..end` of the chunk, which belong to the object.
    fn object(&mut self, start: usize, end: usize, made: &mut Made<'_>) {
        let part = &made.chunk[..end];
        let mut cursor = start;
        while let Some(mark) = self.scanner.next(part, &mut cursor) {
            match mark {
                Mark::Start(at) => {
                    made.copy_until(at);
                    self.held = Some(Vec::new());
                }
                Mark::End(at) => {
                    if let Some(mut value) = self.held.take() {
                        made.hold_until(at, &mut value);
                        made.bytes.extend_from_slice(self.named(&value));
                    }
                }
            }
        }
        if let Some(held) = &mut self.held {
            made.hold_until(end, held);
            if held.len() > NAME_BYTES_MAX {
                made.bytes.extend_from_slice(held);
                self.held = None;
            }
        }
    }

    fn named<'a>(&'a self, value: &'a [u8]) -> &'a [u8] {
        let is_from = serde_json::from_slice::<String>(value).is_ok_and(|name| name == self.from);
        if is_from { self.to.as_bytes() } else { value }
    }
}

/// What is made of a chunk.
struct Made<'a> {
    chunk: &'a Bytes,
    /// Bytes of the chunk dealt with.
    copied: usize,
    bytes: BytesMut,
}

impl Made<'_> {
    fn copy_until(&mut self, at: usize) {
        self.bytes.extend_from_slice(&self.chunk[self.copied..at]);
        self.copied = at;
    }

    fn hold_until(&mut self, at: usize, held: &mut Vec<u8>) {
        held.extend_from_slice(&self.chunk[self.copied..at]);
        self.copied = at;
    }
}
