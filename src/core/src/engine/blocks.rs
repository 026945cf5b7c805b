//! KV blocks by count: which are blank, which keep content that nobody holds, in vLLM's eviction
//! order, in run-length form.
//!
//! vLLM's free list starts with blocks without content (never used, or freed while partly
//! filled; reused first), followed by full blocks in the order in which they were freed, the tail
//! of a sequence before its head. So blank blocks are a counter, and the rest is a list of
//! *stretches*: runs of consecutive blocks of one node, evicted from their end. A *node* is one
//! piece of a prefix chain or the private blocks of a preempted request; because children are
//! always evicted before parents, and the end of a piece before its start, what is resident of a
//! node is always its first blocks.

pub(super) const NONE: u32 = u32::MAX;

/// Content that may be found again.
#[derive(Clone, Debug)]
struct Node {
    /// Identity of the piece; meaningless for the blocks of a preempted request.
    id: u64,
    /// The first so many blocks of it are in the cache.
    resident: u32,
    /// The first so many of these are held by live requests.
    held: u32,
    /// Requests that hold `held` blocks.
    holders: u32,
    /// Requests that hold fewer: (blocks, requests) in rising order. Nearly always empty.
    shorter: Vec<(u32, u32)>,
    /// The node's stretch that was freed last, of its lowest blocks.
    stretch: u32,
    /// Belongs to a preempted request.
    private: bool,
}

/// Consecutive blocks that nobody holds, freed together.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// Whose; `NONE` for content that nobody can ask for again.
    node: u32,
    start: u32,
    end: u32,
    older: u32,
    newer: u32,
    /// The node's next stretch, of higher blocks, freed earlier.
    higher: u32,
}

/// All blocks of one engine.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Free, without content.
    blank: u32,
    /// Free, with content: the sum of all stretches.
    idle: u32,
    nodes: Vec<Node>,
    nodes_unused: Vec<u32>,
    stretches: Vec<Stretch>,
    stretches_unused: Vec<u32>,
    oldest: u32,
    newest: u32,
}

impl Blocks {
    pub(super) const fn new(total: u32) -> Self {
        Self {
            blank: total,
            idle: 0,
            nodes: Vec::new(),
            nodes_unused: Vec::new(),
            stretches: Vec::new(),
            stretches_unused: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }

    /// Blocks that no live request holds.
    pub(super) const fn free(&self) -> u32 {
        self.blank + self.idle
    }

    /// Takes `count` blocks; the caller has checked [`Self::free`]. Pieces that lose their last
    /// block are handed to `forget`.
    pub(super) fn take(&mut self, count: u32, mut forget: impl FnMut(u64)) {
        let blank = count.min(self.blank);
        self.blank -= blank;
        let mut missing = count - blank;
        while missing > 0 && self.oldest != NONE {
            let index = self.oldest;
            let Stretch { node, start, end, .. } = self.stretches[index as usize];
            let evicted = missing.min(end - start);
            missing -= evicted;
            self.idle -= evicted;
            self.stretches[index as usize].end -= evicted;
            if node != NONE {
                self.nodes[node as usize].resident -= evicted;
            }
            if evicted == end - start {
                self.unlink(index);
                if node != NONE {
                    self.drop_highest_stretch(node, index);
                    if let Some(id) = self.drop_if_gone(node) {
                        forget(id);
                    }
                }
            }
        }
        debug_assert_eq!(missing, 0, "blocks were taken that are not free");
    }

    /// Gives back blocks without content.
    pub(super) const fn give_blank(&mut self, count: u32) {
        self.blank += count;
    }

    /// Gives back full blocks that nobody can ask for again.
    pub(super) fn give_anonymous(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        self.idle += count;
        match self.stretches.get_mut(self.newest as usize) {
            Some(newest) if newest.node == NONE => newest.end += count,
            _ => {
                self.push(NONE, 0, count, NONE);
            }
        }
    }

    /// Gives back the private full blocks of a preempted request, which may come back for them.
    pub(super) fn give_private(&mut self, count: u32) -> u32 {
        if count == 0 {
            return NONE;
        }
        let node = self.add_node(0, true);
        self.nodes[node as usize].resident = count;
        self.give_stretch(node, 0, count);
        node
    }

    /// Takes back what is left of the private blocks of a preempted request.
    pub(super) fn take_private(&mut self, node: u32) {
        if node != NONE {
            let resident = self.nodes[node as usize].resident;
            self.take_stretches(node, resident);
            self.nodes_unused.push(node);
        }
    }

    /// The preempted request will not come back for its private blocks.
    pub(super) fn abandon_private(&mut self, node: u32) {
        if node != NONE {
            let stretch = self.nodes[node as usize].stretch;
            if let Some(stretch) = self.stretches.get_mut(stretch as usize) {
                stretch.node = NONE;
            }
            self.nodes_unused.push(node);
        }
    }

    pub(super) fn add_node(&mut self, id: u64, private: bool) -> u32 {
        if let Some(index) = self.nodes_unused.pop() {
            let node = &mut self.nodes[index as usize];
            node.shorter.clear();
            *node = Node {
                id,
                resident: 0,
                held: 0,
                holders: 0,
                shorter: std::mem::take(&mut node.shorter),
                stretch: NONE,
                private,
            };
            return index;
        }
        let shorter = Vec::new();
        let node = Node { id, resident: 0, held: 0, holders: 0, shorter, stretch: NONE, private };
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    /// Blocks of a node in the cache.
    pub(super) fn resident(&self, node: u32) -> u32 {
        self.nodes.get(node as usize).map_or(0, |node| node.resident)
    }

    /// Blocks of a node that live requests hold.
    pub(super) fn held(&self, node: u32) -> u32 {
        self.nodes[node as usize].held
    }

    /// One more request holds the first `blocks` of a node; those that were idle are not any more.
    pub(super) fn hold(&mut self, index: u32, blocks: u32) {
        let node = &mut self.nodes[index as usize];
        if blocks == node.held {
            node.holders += 1;
        } else if blocks > node.held {
            if node.holders > 0 {
                node.shorter.push((node.held, node.holders));
            }
            (node.held, node.holders) = (blocks, 1);
            self.take_stretches(index, blocks);
        } else {
            match node.shorter.binary_search_by_key(&blocks, |&(held, _)| held) {
                Ok(place) => node.shorter[place].1 += 1,
                Err(place) => node.shorter.insert(place, (blocks, 1)),
            }
        }
    }

    /// The node now has at least `blocks` blocks in the cache; returns how many of those above
    /// `from` it had already.
    pub(super) fn fill(&mut self, index: u32, from: u32, blocks: u32) -> u32 {
        let node = &mut self.nodes[index as usize];
        let had = node.resident.min(blocks).saturating_sub(from);
        node.resident = node.resident.max(blocks);
        had
    }

    /// A request that held the first `blocks` of a node lets go of them. Those that nobody holds
    /// any more become the newest idle ones.
    pub(super) fn let_go(&mut self, index: u32, blocks: u32) {
        let node = &mut self.nodes[index as usize];
        if blocks < node.held {
            if let Ok(place) = node.shorter.binary_search_by_key(&blocks, |&(held, _)| held) {
                node.shorter[place].1 -= 1;
                if node.shorter[place].1 == 0 {
                    node.shorter.remove(place);
                }
            }
            return;
        }
        node.holders -= 1;
        if node.holders == 0 {
            let end = node.held;
            (node.held, node.holders) = node.shorter.pop().unwrap_or((0, 0));
            let start = node.held;
            self.give_stretch(index, start, end);
        }
    }

    fn give_stretch(&mut self, node: u32, start: u32, end: u32) {
        self.idle += end - start;
        if let Some(newest) = self.stretches.get_mut(self.newest as usize)
            && newest.node == node
            && newest.start == end
        {
            newest.start = start;
            return;
        }
        let higher = self.nodes[node as usize].stretch;
        let stretch = self.push(node, start, end, higher);
        self.nodes[node as usize].stretch = stretch;
    }

    /// The first `blocks` of a node are idle no more.
    fn take_stretches(&mut self, node: u32, blocks: u32) {
        loop {
            let index = self.nodes[node as usize].stretch;
            let Some(stretch) = self.stretches.get_mut(index as usize) else { return };
            if stretch.start >= blocks {
                return;
            }
            if stretch.end > blocks {
                self.idle -= blocks - stretch.start;
                stretch.start = blocks;
                return;
            }
            let Stretch { start, end, higher, .. } = *stretch;
            self.idle -= end - start;
            self.nodes[node as usize].stretch = higher;
            self.unlink(index);
        }
    }

    /// Forgets an evicted stretch, which is the node's highest.
    fn drop_highest_stretch(&mut self, node: u32, evicted: u32) {
        let mut index = self.nodes[node as usize].stretch;
        if index == evicted {
            self.nodes[node as usize].stretch = NONE;
            return;
        }
        while let Some(stretch) = self.stretches.get_mut(index as usize) {
            if stretch.higher == evicted {
                stretch.higher = NONE;
                return;
            }
            index = stretch.higher;
        }
    }

    fn drop_if_gone(&mut self, index: u32) -> Option<u64> {
        let node = &self.nodes[index as usize];
        if node.resident > 0 || node.holders > 0 || node.private {
            return None;
        }
        self.nodes_unused.push(index);
        Some(node.id)
    }

    fn push(&mut self, node: u32, start: u32, end: u32, higher: u32) -> u32 {
        let stretch = Stretch { node, start, end, older: self.newest, newer: NONE, higher };
        let index = if let Some(index) = self.stretches_unused.pop() {
            self.stretches[index as usize] = stretch;
            index
        } else {
            self.stretches.push(stretch);
            self.stretches.len() as u32 - 1
        };
        match self.stretches.get_mut(self.newest as usize) {
            Some(newest) => newest.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
        index
    }

    fn unlink(&mut self, index: u32) {
        let Stretch { older, newer, .. } = self.stretches[index as usize];
        match self.stretches.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.stretches.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        self.stretches_unused.push(index);
    }

    /// Nodes that are in use: what memory is bounded by.
    #[cfg(test)]
    pub(super) fn nodes_in_use(&self) -> usize {
        self.nodes.len() - self.nodes_unused.len()
    }
}
