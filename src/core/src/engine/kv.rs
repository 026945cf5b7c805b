//! The KV cache of one engine: blocks, and the prefix cache on top of them.
//!
//! A block's content is either shared (it lies wholly inside the prompt, and the trace tells its
//! identity) or private to its request (it holds generated tokens, or the identity is unknown).
//! Where a request completes a block whose content is in the cache already (the last block of a
//! prompt that was found whole is always computed again), it goes on with the cached block and
//! gives its own back as blank. vLLM would keep both; what is found later is the same.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Prefix;
use super::blocks::{Blocks, NONE};

/// What a request holds or may come back for.
#[derive(Debug)]
pub(super) struct Holding {
    /// Nodes of the prefix chain that it holds, in order.
    nodes: Vec<u32>,
    /// Blocks held through them.
    shared: u32,
    /// Its private full blocks, while it is preempted.
    private: u32,
}

impl Default for Holding {
    fn default() -> Self {
        Self { nodes: Vec::new(), shared: 0, private: NONE }
    }
}

/// A prompt's identity in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain<'a> {
    ids: &'a [u64],
    piece_blocks: u32,
    /// Blocks whose identity is known: full blocks inside the prompt.
    blocks: u32,
}

impl<'a> Chain<'a> {
    /// A prefix whose pieces are not whole blocks identifies nothing.
    pub(super) fn new(prefix: Option<&'a Prefix>, prompt_tokens: u32, block_tokens: u32) -> Self {
        let nothing = Self { ids: &[], piece_blocks: 1, blocks: 0 };
        let Some(prefix) = prefix else { return nothing };
        if prefix.piece_tokens == 0 || prefix.piece_tokens % block_tokens != 0 {
            return nothing;
        }
        let piece_blocks = prefix.piece_tokens / block_tokens;
        let known = (prefix.ids.len() as u64).saturating_mul(u64::from(piece_blocks));
        let blocks = known.min(u64::from(prompt_tokens / block_tokens)) as u32;
        Self { ids: &prefix.ids, piece_blocks, blocks }
    }
}

/// The longest cached prefix of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hit {
    /// Blocks found.
    pub(super) blocks: u32,
    /// Those among them that nobody holds: holding them takes them out of the free blocks.
    pub(super) idle: u32,
}

/// The KV cache of one engine.
#[derive(Debug)]
pub(super) struct Kv {
    blocks: Blocks,
    pieces: HashMap<u64, u32, BuildHasherDefault<IdHasher>>,
    /// Nodes of the last [`Kv::find`].
    found: Vec<u32>,
}

impl Kv {
    pub(super) fn new(total: u32) -> Self {
        Self { blocks: Blocks::new(total), pieces: HashMap::default(), found: Vec::new() }
    }

    /// Blocks that no live request holds.
    pub(super) const fn free(&self) -> u32 {
        self.blocks.free()
    }

    /// Takes `count` free blocks, evicting the oldest content.
    pub(super) fn take(&mut self, count: u32) {
        let pieces = &mut self.pieces;
        self.blocks.take(count, |id| {
            pieces.remove(&id);
        });
    }

    /// Looks up the longest cached prefix, of at most `limit` blocks, and remembers it for
    /// [`Kv::hold_found`]. Changes nothing in the order of eviction.
    pub(super) fn find(&mut self, holding: &Holding, chain: Chain<'_>, limit: u32) -> Hit {
        self.found.clear();
        let mut hit = Hit::default();
        let shared_limit = limit.min(chain.blocks);
        for id in chain.ids {
            let wanted = chain.piece_blocks.min(shared_limit - hit.blocks);
            if wanted == 0 {
                break;
            }
            let Some(&node) = self.pieces.get(id) else { break };
            let got = self.blocks.resident(node).min(wanted);
            self.found.push(node);
            hit.blocks += got;
            hit.idle += got.saturating_sub(self.blocks.held(node));
            if got < wanted {
                break;
            }
        }
        if hit.blocks == chain.blocks {
            let private = self.blocks.resident(holding.private);
            hit.blocks += private;
            hit.idle += private;
        }
        hit
    }

    /// The request holds what [`Kv::find`] has just found for it.
    pub(super) fn hold_found(&mut self, holding: &mut Holding, chain: Chain<'_>, hit: Hit) {
        if hit.blocks >= chain.blocks {
            self.blocks.take_private(holding.private);
        } else {
            self.blocks.abandon_private(holding.private);
        }
        holding.private = NONE;
        holding.shared = hit.blocks.min(chain.blocks);
        holding.nodes.clear();
        let mut left = holding.shared;
        for &node in &self.found {
            let blocks = chain.piece_blocks.min(left);
            self.blocks.hold(node, blocks);
            holding.nodes.push(node);
            left -= blocks;
        }
    }

    /// The request's first `full` blocks are full: those with a known identity can be found from
    /// now on.
    pub(super) fn publish(&mut self, holding: &mut Holding, chain: Chain<'_>, full: u32) {
        let until = full.min(chain.blocks);
        while holding.shared < until {
            let piece = holding.shared / chain.piece_blocks;
            let before = piece * chain.piece_blocks;
            let from = holding.shared - before;
            let to = chain.piece_blocks.min(until - before);
            let node = if from > 0 {
                holding.nodes[piece as usize]
            } else {
                let id = chain.ids[piece as usize];
                let node =
                    *self.pieces.entry(id).or_insert_with(|| self.blocks.add_node(id, false));
                holding.nodes.push(node);
                node
            };
            let had = self.blocks.fill(node, from, to);
            self.blocks.give_blank(had);
            self.blocks.hold(node, to);
            if from > 0 {
                self.blocks.let_go(node, from);
            }
            holding.shared = before + to;
        }
    }

    /// The request gives everything back: `allocated` blocks, of which the first `full` are full.
    /// A preempted one may come back for its private blocks.
    pub(super) fn release(
        &mut self,
        holding: &mut Holding,
        chain: Chain<'_>,
        full: u32,
        allocated: u32,
        preempted: bool,
    ) {
        self.blocks.give_blank(allocated - full);
        let private = full - holding.shared;
        if preempted {
            holding.private = self.blocks.give_private(private);
        } else {
            self.blocks.give_anonymous(private);
        }
        for (piece, &node) in holding.nodes.iter().enumerate().rev() {
            let before = piece as u32 * chain.piece_blocks;
            self.blocks.let_go(node, chain.piece_blocks.min(holding.shared - before));
        }
        holding.nodes.clear();
        holding.shared = 0;
    }

    /// The request is gone while it waited: nobody will come back for its private blocks.
    pub(super) fn abandon(&mut self, holding: &mut Holding) {
        self.blocks.abandon_private(holding.private);
        holding.private = NONE;
    }

    #[cfg(test)]
    pub(super) fn nodes_in_use(&self) -> (usize, usize) {
        (self.blocks.nodes_in_use(), self.pieces.len())
    }
}

/// Spreads identities that we made ourselves over a table; fixed, so that runs repeat.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing; the fold brings the good high bits down to where tables look.
        let spread = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}
