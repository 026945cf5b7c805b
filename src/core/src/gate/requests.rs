//! What a gate remembers of each request that it holds or has sent on.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::ids::RequestId;

/// Facts by request. The hasher is fixed, so runs repeat; do not rely on the order of iteration.
pub type RequestMap<T> = HashMap<RequestId, T, BuildHasherDefault<RequestHasher>>;

/// Spreads our own identities, which count up: one multiplication instead of a keyed hash. Never
/// use it for anything that a client chooses.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHasher(u64);

/// 2^64 over the golden ratio, odd: Knuth's multiplicative hashing.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for RequestHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let product = (self.0 ^ value).wrapping_mul(GOLDEN);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
