//! Finds members at the top level of a JSON object that comes in pieces, byte by byte, without
//! keeping any of it.

use memchr::memchr2;

/// Longest name of a member that is looked for, bytes.
const NAME_BYTES_MAX: usize = 16;

/// Where a value that is looked for starts or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its first byte is at this index of the chunk.
    Start(usize),
    /// Its last byte is before this index of the chunk.
    End(usize),
}

/// State between two bytes of the object.
#[derive(Debug)]
pub(super) struct Scanner {
    wanted: &'static [&'static str],
    depth: u32,
    /// The outermost value is an object.
    object: bool,
    lexical: Lexical,
    place: Place,
    name: [u8; NAME_BYTES_MAX],
    /// Longer than the buffer where the name cannot match.
    name_len: usize,
    /// The member under way is one that is looked for.
    found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lexical {
    Plain,
    Text,
    Escape,
}

/// Where in a member of the outermost object we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    BeforeName,
    Name,
    BeforeValue,
    Value,
    After,
}

impl Scanner {
    /// For members with one of these names, of at most [`NAME_BYTES_MAX`] bytes each.
    pub(super) const fn new(wanted: &'static [&'static str]) -> Self {
        Self {
            wanted,
            depth: 0,
            object: false,
            lexical: Lexical::Plain,
            place: Place::After,
            name: [0; NAME_BYTES_MAX],
            name_len: 0,
            found: false,
        }
    }

    /// The next mark at or after `cursor`, which moves on; `None` at the end of the chunk, and the
    /// next chunk goes on from there.
    pub(super) fn next(&mut self, chunk: &[u8], cursor: &mut usize) -> Option<Mark> {
        while let Some(&byte) = chunk.get(*cursor) {
            let at = *cursor;
            match self.lexical {
                Lexical::Escape => {
                    self.lexical = Lexical::Text;
                    *cursor += 1;
                }
                Lexical::Text => {
                    let rest = &chunk[at..];
                    let length = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    self.name_bytes(&rest[..length]);
                    *cursor = at + length;
                    if let Some(&end) = rest.get(length) {
                        *cursor += 1;
                        if end == b'\\' {
                            self.lexical = Lexical::Escape;
                            self.name_len = NAME_BYTES_MAX + 1;
                        } else if self.text_ends() {
                            return Some(Mark::End(*cursor));
                        }
                    }
                }
                Lexical::Plain => {
                    *cursor += 1;
                    if let Some(mark) = self.plain(byte, at) {
                        return Some(mark);
                    }
                }
            }
        }
        None
    }

    fn name_bytes(&mut self, bytes: &[u8]) {
        if self.place == Place::Name && self.depth == 1 {
            if let Some(room) = self.name.get_mut(self.name_len..self.name_len + bytes.len()) {
                room.copy_from_slice(bytes);
                self.name_len += bytes.len();
            } else {
                self.name_len = NAME_BYTES_MAX + 1;
            }
        }
    }

    /// True if a value that is looked for ends with it.
    fn text_ends(&mut self) -> bool {
        self.lexical = Lexical::Plain;
        self.depth == 1 && self.place == Place::Value && self.value_ends()
    }

    fn value_ends(&mut self) -> bool {
        self.place = Place::After;
        std::mem::take(&mut self.found)
    }

    fn plain(&mut self, byte: u8, at: usize) -> Option<Mark> {
        match byte {
            b'"' => {
                self.lexical = Lexical::Text;
                if self.depth == 1 && self.place == Place::BeforeName {
                    self.place = Place::Name;
                    self.name_len = 0;
                    return None;
                }
                self.value_starts(at)
            }
            b'{' | b'[' => {
                let mark = self.value_starts(at);
                self.depth = self.depth.saturating_add(1);
                if self.depth == 1 {
                    self.object = byte == b'{';
                    self.place = if self.object { Place::BeforeName } else { Place::After };
                }
                mark
            }
            b'}' | b']' => {
                let bare = self.depth == 1 && self.place == Place::Value;
                self.depth = self.depth.saturating_sub(1);
                if bare {
                    return self.value_ends().then_some(Mark::End(at));
                }
                let nested = self.depth == 1 && self.place == Place::Value;
                (nested && self.value_ends()).then_some(Mark::End(at + 1))
            }
            _ if self.depth != 1 => None,
            b',' => {
                let bare = self.place == Place::Value && self.value_ends();
                self.place = if self.object { Place::BeforeName } else { Place::After };
                bare.then_some(Mark::End(at))
            }
            b':' => {
                if self.place == Place::Name {
                    self.place = Place::BeforeValue;
                    let name = self.name.get(..self.name_len);
                    self.found = self.wanted.iter().any(|wanted| name == Some(wanted.as_bytes()));
                }
                None
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                let bare = self.place == Place::Value && self.value_ends();
                bare.then_some(Mark::End(at))
            }
            _ => self.value_starts(at),
        }
    }

    fn value_starts(&mut self, at: usize) -> Option<Mark> {
        if self.depth == 1 && self.place == Place::BeforeValue {
            self.place = Place::Value;
            return self.found.then_some(Mark::Start(at));
        }
        None
    }
}
