//! What an answer says it cost, read as it passes by.

use std::sync::LazyLock;

use memchr::memchr2;
use memchr::memmem::Finder;

use super::scan::{Mark, Scanner};
use super::{Format, Usage};

/// Longest usage object that is read, bytes; they are some hundred.
const USAGE_BYTES_MAX: usize = 16 * 1024;

/// Longest event that is read, bytes: the last one of the responses API repeats the whole answer.
/// Longer ones pass unread.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

const WANTED: &[&str] = &["usage", "meta_info"];

static USAGE: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"\"usage\""), Finder::new(b"\"meta_info\"")]);

/// What was seen of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What the engine counted, as far as the answer tells.
    pub usage: Usage,
    /// Events with data, the closing `[DONE]` not counted: about the tokens generated, where a
    /// stream does not tell its usage. 0 of answers that are no streams.
    pub events: u64,
    /// Bytes of its body.
    pub bytes: u64,
}

impl Answer {
    /// Tokens generated: as counted by the engine, else events, else unknown.
    #[must_use]
    pub fn output_tokens(&self) -> Option<u32> {
        let events = u32::try_from(self.events).unwrap_or(u32::MAX);
        self.usage.output_tokens.or((events > 0).then_some(events))
    }
}

/// Reads an answer chunk by chunk, cut anywhere.
#[derive(Debug)]
pub struct AnswerReader {
    seen: Answer,
    how: How,
}

#[derive(Debug)]
enum How {
    Json(Object),
    Events(Lines),
    Opaque,
}

impl AnswerReader {
    /// For an answer of this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let how = match format {
            Format::Json => How::Json(Object { scanner: Scanner::new(WANTED), taken: None }),
            Format::Events => How::Events(Lines::default()),
            Format::Opaque => How::Opaque,
        };
        Self { seen: Answer::default(), how }
    }

    /// The next chunk.
    pub fn read(&mut self, chunk: &[u8]) {
        self.seen.bytes += chunk.len() as u64;
        match &mut self.how {
            How::Json(object) => object.read(chunk, &mut self.seen),
            How::Events(lines) => lines.read(chunk, &mut self.seen),
            How::Opaque => {}
        }
    }

    /// What was seen so far; a line without its end counts.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let mut seen = self.seen;
        if let How::Events(lines) = &self.how {
            line(&lines.partial, &mut seen);
        }
        seen
    }
}

/// The usage member of a JSON object.
#[derive(Debug)]
struct Object {
    scanner: Scanner,
    /// Its bytes, while it passes.
    taken: Option<Vec<u8>>,
}

impl Object {
    fn read(&mut self, chunk: &[u8], seen: &mut Answer) {
        let (mut cursor, mut from) = (0, 0);
        while let Some(mark) = self.scanner.next(chunk, &mut cursor) {
            match mark {
                Mark::Start(at) => {
                    self.taken = Some(Vec::new());
                    from = at;
                }
                Mark::End(at) => {
                    self.take(&chunk[from..at]);
                    if let Some(taken) = self.taken.take() {
                        seen.usage = seen.usage.updated(Usage::from_object(&taken));
                    }
                }
            }
        }
        self.take(&chunk[from..]);
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(taken) = &mut self.taken {
            taken.extend_from_slice(bytes);
            if taken.len() > USAGE_BYTES_MAX {
                self.taken = None;
            }
        }
    }
}

/// The lines of a stream of events.
#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    /// That line is too long to be read.
    skipped: bool,
}

impl Lines {
    fn read(&mut self, chunk: &[u8], seen: &mut Answer) {
        let mut rest = chunk;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            if self.skipped {
                self.skipped = false;
            } else if self.partial.is_empty() {
                line(head, seen);
            } else {
                self.partial.extend_from_slice(head);
                line(&self.partial, seen);
                self.partial.clear();
            }
            rest = tail;
        }
        if !self.skipped {
            self.partial.extend_from_slice(rest);
            if self.partial.len() > EVENT_BYTES_MAX {
                self.partial = Vec::new();
                self.skipped = true;
                seen.events += 1;
            }
        }
    }
}

fn line(line: &[u8], seen: &mut Answer) {
    let Some(data) = line.strip_prefix(b"data:") else { return };
    let data = data.trim_ascii();
    if data.is_empty() || data == b"[DONE]" {
        return;
    }
    seen.events += 1;
    if USAGE.iter().any(|name| is_told(data, name)) {
        seen.usage = seen.usage.updated(Usage::from_event(data));
    }
}

/// The member is there and not `null`, which some servers write into each event.
fn is_told(data: &[u8], name: &Finder<'_>) -> bool {
    name.find_iter(data).any(|at| {
        let value = data[at + name.needle().len()..].trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| !value.trim_ascii_start().starts_with(b"null"))
    })
}
