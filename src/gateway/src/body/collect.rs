//! Gathers a request body from its chunks.

use bytes::{Bytes, BytesMut};

use super::BodyError;

/// The largest request body that is taken: a prompt of a million tokens is about 4 MB of text, and
/// a queue of thousands must fit in memory.
pub const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Chunks of one body, in order. A body of one chunk is never copied.
#[derive(Debug, Default)]
pub struct Collector {
    first: Bytes,
    all: BytesMut,
}

impl Collector {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] beyond [`BODY_BYTES_MAX`]; the chunk is not kept then.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), BodyError> {
        if self.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge { limit_bytes: BODY_BYTES_MAX });
        }
        if self.is_empty() {
            self.first = chunk;
        } else {
            if self.all.is_empty() {
                self.all.reserve(self.first.len() + chunk.len());
                self.all.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.all.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    /// Nothing so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole body.
    #[must_use]
    pub fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
