//! Identity of a prompt's content: chained hashes of equal pieces of its text.

use forebay_core::engine::Prefix;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::prompt::TEXT_BYTES_PER_TOKEN;

/// Tokens of one piece: a multiple of the KV block sizes in use (16, 32, 64), and coarse enough
/// that 4 KiB of text are 16 look-ups.
pub const PIECE_TOKENS: u32 = 64;

/// Bytes of text in one piece, at the usual bytes per token. Token ids count four bytes each.
pub const PIECE_BYTES: usize = PIECE_TOKENS as usize * TEXT_BYTES_PER_TOKEN as usize;

/// Pieces identified of one prompt: 262,144 tokens. What follows is taken as not shared.
pub const PIECES_MAX: usize = 4_096;

/// Stands between texts; no byte of UTF-8 has this value.
const SEPARATOR: u8 = 0xFF;

/// Hashes text as it comes, in any cuts.
#[derive(Debug)]
pub(super) struct Pieces {
    ids: Vec<u64>,
    last: u64,
    partial: [u8; PIECE_BYTES],
    partial_len: usize,
}

impl Pieces {
    /// Pieces of prompts that share nothing with those of another `root`: KV differs by model and
    /// by cache salt.
    pub(super) fn new(root: &[&[u8]]) -> Self {
        let last = root.iter().fold(0, |seed, part| xxh3_64_with_seed(part, seed).wrapping_add(1));
        Self { ids: Vec::new(), last, partial: [0; PIECE_BYTES], partial_len: 0 }
    }

    /// The next text, with its end marked.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.bytes(text);
        self.bytes(&[SEPARATOR]);
    }

    /// Something whose content matters, but not as text: an image.
    pub(super) fn opaque(&mut self, content: &[u8]) {
        self.bytes(&xxh3_64(content).to_le_bytes());
    }

    /// The next token id.
    pub(super) fn token(&mut self, id: u64) {
        self.bytes(&(id as u32).to_le_bytes());
    }

    fn bytes(&mut self, mut bytes: &[u8]) {
        if self.ids.len() >= PIECES_MAX {
            return;
        }
        if self.partial_len > 0 {
            let (taken, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES - self.partial_len));
            self.partial[self.partial_len..self.partial_len + taken.len()].copy_from_slice(taken);
            self.partial_len += taken.len();
            bytes = rest;
            if self.partial_len < PIECE_BYTES {
                return;
            }
            let whole = self.partial;
            self.piece(&whole);
            self.partial_len = 0;
        }
        let mut pieces = bytes.chunks_exact(PIECE_BYTES);
        for piece in &mut pieces {
            self.piece(piece);
        }
        let rest = pieces.remainder();
        self.partial[..rest.len()].copy_from_slice(rest);
        self.partial_len = rest.len();
    }

    fn piece(&mut self, piece: &[u8]) {
        if self.ids.len() < PIECES_MAX {
            self.last = xxh3_64_with_seed(piece, self.last);
            self.ids.push(self.last);
        }
    }

    /// The identity of all that came; none of nothing.
    pub(super) fn finish(mut self) -> Option<Prefix> {
        if self.partial_len > 0 {
            let partial = self.partial;
            self.piece(&partial[..self.partial_len]);
        }
        (!self.ids.is_empty()).then(|| Prefix { ids: self.ids.into(), piece_tokens: PIECE_TOKENS })
    }
}
