//! The reference KV cache: every block by its number, each full block with its own key, the free
//! list as one queue, as vLLM's `BlockPool`, with the one difference that a block completed with
//! content that is cached already is given back for the cached one.

use std::collections::{BTreeMap, VecDeque};

/// What a full block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// Block of a piece of a shared prefix.
    Piece(u64, u32),
    /// Block of one request, by its serial number.
    Private(usize, u32),
}

#[derive(Clone, Debug, Default)]
struct Block {
    holders: u32,
    key: Option<Key>,
}

#[derive(Clone, Debug)]
pub(super) struct ReferenceKv {
    blocks: Vec<Block>,
    free: VecDeque<usize>,
    cached: BTreeMap<Key, usize>,
    pub(super) evictions: u32,
    pub(super) merges: u32,
}

impl ReferenceKv {
    pub(super) fn new(total: u32) -> Self {
        Self {
            blocks: vec![Block::default(); total as usize],
            free: (0..total as usize).collect(),
            cached: BTreeMap::new(),
            evictions: 0,
            merges: 0,
        }
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn cached_blocks(&self) -> usize {
        self.cached.len()
    }

    /// The longest cached prefix of a key chain, and how many of its blocks nobody holds.
    pub(super) fn lookup(&self, keys: impl Iterator<Item = Key>) -> (Vec<usize>, usize) {
        let mut found = Vec::new();
        for key in keys {
            match self.cached.get(&key) {
                Some(&block) => found.push(block),
                None => break,
            }
        }
        let idle = found.iter().filter(|&&block| self.blocks[block].holders == 0).count();
        (found, idle)
    }

    pub(super) fn touch(&mut self, block: usize) {
        if self.blocks[block].holders == 0 {
            self.free.retain(|&other| other != block);
        }
        self.blocks[block].holders += 1;
    }

    pub(super) fn allocate(&mut self, count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| {
                let block = self.free.pop_front().expect("blocks were checked");
                if let Some(key) = self.blocks[block].key.take() {
                    self.cached.remove(&key);
                    self.evictions += 1;
                }
                self.blocks[block].holders = 1;
                block
            })
            .collect()
    }

    /// A held block has become full; returns the block to go on with.
    pub(super) fn register(&mut self, block: usize, key: Key) -> usize {
        if let Some(&other) = self.cached.get(&key) {
            self.merges += 1;
            self.touch(other);
            self.release(&[block]);
            return other;
        }
        self.blocks[block].key = Some(key);
        self.cached.insert(key, block);
        block
    }

    /// Lets go of a request's blocks, the last first.
    pub(super) fn release(&mut self, blocks: &[usize]) {
        for &block in blocks.iter().rev() {
            self.blocks[block].holders -= 1;
            if self.blocks[block].holders == 0 {
                if self.blocks[block].key.is_some() {
                    self.free.push_back(block);
                } else {
                    self.free.push_front(block);
                }
            }
        }
    }
}
