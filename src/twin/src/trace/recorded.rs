//! Recorded traces: a file with one request per line, read as it is needed.
//!
//! Rate scaling never stretches time. Above 1, whole copies of the trace are laid over it, each
//! moved by a few minutes within the window; a fractional part is a copy (below 1: the trace
//! itself) of which each request is kept or dropped by a hash of seed and line.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use forebay_core::time::{Span, Time};

use super::draw::{self, Purpose};
use super::rows::{Row, RowFormat};
use super::{Request, Source, TraceError};

/// Rows that may be out of place: writers that log at completion swap neighbours.
const ROWS_OUT_OF_PLACE_MAX: usize = 4_096;
/// Longest line: a Mooncake prompt of a million tokens has 2,000 identities of at most 20 digits.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Farthest that a copy is moved: far enough to break up simultaneous arrivals, near enough to
/// keep the shape of an hour.
const COPY_SHIFT_MAX: Span = Span::from_secs(600);
/// Most copies laid over one another; each holds the file open.
pub(super) const COPIES_MAX: f64 = 256.0;
/// End of the file that is searched for its last line.
const TAIL_BYTES: u64 = 4 * LINE_BYTES_MAX;

/// A recorded trace, its window and scale.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    path: String,
    format: RowFormat,
    /// Timestamp of the first row: time 0 of the trace.
    origin_nanos: i64,
    window_start: Span,
    /// Length of the window as far as the trace reaches.
    pub(super) length: Span,
    rate_scale: f64,
    seed: u64,
}

impl Recorded {
    /// Looks at both ends of the file. `window` counts from the first row.
    pub(super) fn open(
        path: &str,
        format: RowFormat,
        window: (Time, Time),
        rate_scale: f64,
        seed: u64,
    ) -> Result<Self, TraceError> {
        let empty = || TraceError::Format {
            path: path.into(),
            what: "the trace holds no request".into(),
            hint: "give a file with at least one line after its header".into(),
        };
        let mut lines = Lines::open(path, &format)?;
        let origin_nanos = lines.next_row()?.ok_or_else(empty)?.at_nanos;
        let last_nanos = lines.last_row_nanos()?.unwrap_or(origin_nanos);
        let reach = Span(last_nanos.saturating_sub(origin_nanos).max(0) as u64 + 1);
        let (start, end) = (window.0.since(Time::ZERO), window.1.since(Time::ZERO));
        if start >= reach {
            return Err(TraceError::Format {
                path: path.into(),
                what: format!("the window starts at {start}, the trace ends at {reach}"),
                hint: "choose a window inside the trace".into(),
            });
        }
        let length = Span(end.0.min(reach.0) - start.0);
        Ok(Self {
            path: path.into(),
            format,
            origin_nanos,
            window_start: start,
            length,
            rate_scale,
            seed,
        })
    }

    /// A fresh pass over the trace.
    pub(super) fn stream(&self) -> Result<Box<dyn Source>, TraceError> {
        let copies = self.rate_scale.ceil() as u32;
        let mut passes = Vec::with_capacity(copies as usize);
        for copy in 0..copies {
            let share = (self.rate_scale - f64::from(copy)).min(1.0);
            passes.push(Pass::open(self.clone(), copy, share)?);
        }
        let mut heads = BinaryHeap::with_capacity(passes.len());
        for (index, pass) in passes.iter_mut().enumerate() {
            pass.advance()?;
            if let Some(head) = &pass.head {
                heads.push(Reverse((head.at, index)));
            }
        }
        Ok(Box::new(Overlay { passes, heads, piece_tokens: self.format.piece_tokens() }))
    }
}

/// All copies, merged in order of time.
struct Overlay {
    passes: Vec<Pass>,
    heads: BinaryHeap<Reverse<(Time, usize)>>,
    piece_tokens: u32,
}

impl Source for Overlay {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let index = head.0.1;
        let pass = &mut self.passes[index];
        let request = pass.head.take();
        pass.advance()?;
        match &pass.head {
            Some(next) => head.0.0 = next.at,
            None => {
                std::collections::binary_heap::PeekMut::pop(head);
            }
        }
        Ok(request)
    }

    fn prefix_piece_tokens(&self) -> u32 {
        self.piece_tokens
    }

    fn rows_skipped(&self) -> u64 {
        // Every copy passes the same rows over; they are counted once.
        self.passes.first().map_or(0, |pass| pass.rows_skipped)
    }
}

/// One copy of the window: from its shift to the end, then from the start to its shift.
struct Pass {
    trace: Recorded,
    rows: OrderedRows,
    copy: u32,
    shift: Span,
    /// Requests kept: a hash below this.
    keep_below: u64,
    wrapped: bool,
    head: Option<Request>,
    rows_skipped: u64,
}

impl Pass {
    fn open(trace: Recorded, copy: u32, share: f64) -> Result<Self, TraceError> {
        let rows = OrderedRows::open(&trace)?;
        let reach = COPY_SHIFT_MAX.0.min(trace.length.0);
        let drawn = draw::mix(draw::mix(trace.seed, Purpose::Copies as u64), u64::from(copy));
        let shift = if copy == 0 {
            Span::ZERO
        } else {
            Span(((u128::from(drawn) * u128::from(reach)) >> 64) as u64)
        };
        let keep_below = if share >= 1.0 { u64::MAX } else { (share * u64::MAX as f64) as u64 };
        Ok(Self {
            trace,
            rows,
            copy,
            shift,
            keep_below,
            wrapped: false,
            head: None,
            rows_skipped: 0,
        })
    }

    /// Reads on until `head` is the next request of this copy, or none is left.
    fn advance(&mut self) -> Result<(), TraceError> {
        let length = self.trace.length;
        loop {
            let next = self.rows.next()?;
            let at = next.as_ref().map(|row| row.at.0.checked_sub(self.trace.window_start.0));
            let from = if self.wrapped { Span::ZERO } else { self.shift };
            let to = if self.wrapped { self.shift } else { length };
            match (next, at) {
                (Some(row), Some(Some(at))) if at < to.0 => {
                    if at < from.0 {
                        continue;
                    }
                    if row.prompt_tokens == 0 || row.output_tokens == 0 {
                        self.rows_skipped += 1;
                        continue;
                    }
                    if !self.keeps(row.line) {
                        continue;
                    }
                    let at =
                        if self.wrapped { at + length.0 - self.shift.0 } else { at - self.shift.0 };
                    self.head = Some(Request {
                        at: Time(at),
                        prompt_tokens: row.prompt_tokens,
                        output_tokens: row.output_tokens,
                        client: 0,
                        prefix: self.identities(row.prefix),
                    });
                    return Ok(());
                }
                // Before the window.
                (Some(_), Some(None)) => {}
                // Past the end of this part.
                _ if !self.wrapped && self.shift > Span::ZERO => {
                    self.wrapped = true;
                    self.rows = OrderedRows::open(&self.trace)?;
                }
                _ => {
                    self.head = None;
                    return Ok(());
                }
            }
        }
    }

    fn keeps(&self, line: u64) -> bool {
        let key = draw::mix(self.trace.seed, u64::from(self.copy) << 32 | Purpose::Copies as u64);
        self.keep_below == u64::MAX || draw::mix(key, line) < self.keep_below
    }

    /// Copies are other people's prompts: their identities must not hit the original's cache.
    fn identities(&self, prefix: Option<Arc<[u64]>>) -> Option<Arc<[u64]>> {
        if self.copy == 0 {
            return prefix;
        }
        prefix.map(|ids| ids.iter().map(|&id| draw::mix(u64::from(self.copy), id)).collect())
    }
}

struct TimedRow {
    at: Time,
    line: u64,
    prompt_tokens: u32,
    output_tokens: u32,
    prefix: Option<Arc<[u64]>>,
}

/// Rows in order of time, from a file in which neighbours may have swapped places.
struct OrderedRows {
    lines: Lines,
    origin_nanos: i64,
    /// The next rows of the file, earliest first; those of the same time keep their order.
    waiting: BinaryHeap<Reverse<(i64, u64, WaitingRow)>>,
    emitted_nanos: i64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct WaitingRow {
    prompt_tokens: u32,
    output_tokens: u32,
    prefix: Option<Arc<[u64]>>,
}

impl OrderedRows {
    fn open(trace: &Recorded) -> Result<Self, TraceError> {
        Ok(Self {
            lines: Lines::open(&trace.path, &trace.format)?,
            origin_nanos: trace.origin_nanos,
            waiting: BinaryHeap::new(),
            emitted_nanos: i64::MIN,
        })
    }

    fn next(&mut self) -> Result<Option<TimedRow>, TraceError> {
        while self.waiting.len() < ROWS_OUT_OF_PLACE_MAX {
            let Some(row) = self.lines.next_row()? else { break };
            if row.at_nanos < self.emitted_nanos {
                return Err(self.lines.wrong(
                    "the row is earlier than rows far before it".into(),
                    format!("rows in order of time, none more than {ROWS_OUT_OF_PLACE_MAX} rows out of place"),
                ));
            }
            let waiting = WaitingRow {
                prompt_tokens: row.prompt_tokens,
                output_tokens: row.output_tokens,
                prefix: row.prefix,
            };
            self.waiting.push(Reverse((row.at_nanos, self.lines.line, waiting)));
        }
        Ok(self.waiting.pop().map(|Reverse((at_nanos, line, row))| {
            self.emitted_nanos = at_nanos;
            TimedRow {
                at: Time(at_nanos.saturating_sub(self.origin_nanos).max(0) as u64),
                line,
                prompt_tokens: row.prompt_tokens,
                output_tokens: row.output_tokens,
                prefix: row.prefix,
            }
        }))
    }
}

/// The lines of a file, parsed one by one.
struct Lines {
    path: String,
    format: RowFormat,
    reader: BufReader<File>,
    line: u64,
    buffer: Vec<u8>,
}

impl Lines {
    fn open(path: &str, format: &RowFormat) -> Result<Self, TraceError> {
        let file =
            File::open(path).map_err(|source| TraceError::Io { path: path.into(), source })?;
        let mut lines = Self {
            path: path.into(),
            format: format.clone(),
            reader: BufReader::with_capacity(1 << 16, file),
            line: 0,
            buffer: Vec::new(),
        };
        if format.has_header() {
            lines.read_line()?;
        }
        Ok(lines)
    }

    /// The next row; blank lines do not count as rows.
    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        while self.read_line()? {
            let line = self.buffer.trim_ascii();
            if !line.is_empty() {
                let row = self.format.parse(line);
                return row.map(Some).map_err(|wrong| self.wrong(wrong.what, wrong.expected));
            }
        }
        Ok(None)
    }

    fn read_line(&mut self) -> Result<bool, TraceError> {
        self.buffer.clear();
        let read = (&mut self.reader)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| TraceError::Io { path: self.path.clone(), source })?;
        self.line += u64::from(read > 0);
        if read as u64 == LINE_BYTES_MAX {
            return Err(self.wrong(
                format!("the line is longer than {LINE_BYTES_MAX} bytes"),
                format!("a line of the format {}", self.format.name()),
            ));
        }
        Ok(read > 0)
    }

    /// Timestamp of the last row that can be read near the end; the reader is left there.
    fn last_row_nanos(&mut self) -> Result<Option<i64>, TraceError> {
        let io = |source| TraceError::Io { path: self.path.clone(), source };
        let file = self.reader.get_mut();
        let size = file.seek(SeekFrom::End(0)).map_err(io)?;
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES))).map_err(io)?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail).map_err(io)?;
        // Rows may be out of place: the latest of the last few counts.
        let rows = tail
            .rsplit(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty());
        Ok(rows
            .take(ROWS_OUT_OF_PLACE_MAX)
            .filter_map(|line| self.format.parse(line).ok())
            .map(|row| row.at_nanos)
            .max())
    }

    fn wrong(&self, what: String, expected: String) -> TraceError {
        TraceError::Line { path: self.path.clone(), line: self.line, what, expected }
    }
}
