//! The running batch: everybody in order of admission, and the decodes as one body that is never
//! touched one by one.
//!
//! All decodes advance together, so one step counter moves them all. A decode is known by the
//! step after which it finishes; its length and the block that it needs next follow from that.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;
/// Entries of departed decodes that the heap may carry beyond the live ones before it is cleaned.
/// Tests make it small, so that cleaning happens.
const STALE_SLACK: usize = if cfg!(test) { 1 } else { 64 };

/// The running batch.
#[derive(Debug)]
pub(super) struct Batch {
    block_tokens: u64,
    /// Older and newer neighbours by slot.
    links: Vec<(u32, u32)>,
    oldest: u32,
    newest: u32,
    len: u32,
    /// Steps so far.
    step: u64,
    /// `step % block_tokens`.
    phase: u32,
    decodes: u32,
    /// Computed tokens of all decodes.
    context: u64,
    /// Decodes by the phase of the step in which they need a new block.
    need_by_phase: Vec<u32>,
    /// (step, admission, slot): the order in which decodes finish.
    finishes: BinaryHeap<Reverse<(u64, u64, u32)>>,
    stale: usize,
    admissions: u64,
}

impl Batch {
    pub(super) fn new(block_tokens: u32) -> Self {
        Self {
            block_tokens: u64::from(block_tokens),
            links: Vec::new(),
            oldest: NONE,
            newest: NONE,
            len: 0,
            step: 0,
            phase: 0,
            decodes: 0,
            context: 0,
            need_by_phase: vec![0; block_tokens as usize],
            finishes: BinaryHeap::new(),
            stale: 0,
            admissions: 0,
        }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn step(&self) -> u64 {
        self.step
    }

    pub(super) const fn decodes(&self) -> u32 {
        self.decodes
    }

    pub(super) const fn context(&self) -> u64 {
        self.context
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(super) fn newest(&self) -> Option<u32> {
        (self.newest != NONE).then_some(self.newest)
    }

    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        let newer = self.links[slot as usize].1;
        (newer != NONE).then_some(newer)
    }

    /// Puts a slot at the end; returns its place in the order of admission.
    pub(super) fn append(&mut self, slot: u32) -> u64 {
        if self.links.len() <= slot as usize {
            self.links.resize(slot as usize + 1, (NONE, NONE));
        }
        self.links[slot as usize] = (self.newest, NONE);
        match self.links.get_mut(self.newest as usize) {
            Some(newest) => newest.1 = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
        self.len += 1;
        self.admissions += 1;
        self.admissions
    }

    /// Takes a slot out of the order; a decode must [`Self::stop_decode`] first.
    pub(super) fn remove(&mut self, slot: u32) {
        let (older, newer) = self.links[slot as usize];
        match self.links.get_mut(older as usize) {
            Some(older) => older.1 = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer as usize) {
            Some(newer) => newer.0 = older,
            None => self.newest = older,
        }
        self.len -= 1;
    }

    /// A slot with `computed` tokens begins to decode and will generate `left` more; returns the
    /// step after which it is finished.
    pub(super) fn start_decode(
        &mut self,
        slot: u32,
        admission: u64,
        computed: u32,
        left: u32,
    ) -> u64 {
        let finish = self.step + u64::from(left);
        self.decodes += 1;
        self.context += u64::from(computed);
        let phase = self.need_phase(computed);
        self.need_by_phase[phase] += 1;
        self.finishes.push(Reverse((finish, admission, slot)));
        finish
    }

    /// A decode with `computed` tokens leaves; `finished` says that its heap entry is gone.
    pub(super) fn stop_decode(&mut self, computed: u32, finished: bool) {
        self.decodes -= 1;
        self.context -= u64::from(computed);
        let phase = self.need_phase(computed);
        self.need_by_phase[phase] -= 1;
        self.stale += usize::from(!finished);
    }

    /// The phase in which a decode with `computed` tokens now needs a new block.
    fn need_phase(&self, computed: u32) -> usize {
        let into_block = u64::from(computed) % self.block_tokens;
        let ahead = if into_block == 0 { 0 } else { self.block_tokens - into_block };
        ((u64::from(self.phase) + ahead) % self.block_tokens) as usize
    }

    /// The next decode to finish and its step. `live` tells whether (admission, slot) still
    /// decodes.
    pub(super) fn next_finish(&mut self, live: impl Fn(u64, u32) -> bool) -> Option<(u64, u32)> {
        if self.stale > self.finishes.len() / 2 + STALE_SLACK {
            self.finishes.retain(|Reverse((_, admission, slot))| live(*admission, *slot));
            self.stale = 0;
        }
        while let Some(&Reverse((step, admission, slot))) = self.finishes.peek() {
            if self.stale == 0 || live(admission, slot) {
                return Some((step, slot));
            }
            self.finishes.pop();
            self.stale -= 1;
        }
        None
    }

    /// Removes the entry that [`Self::next_finish`] has shown.
    pub(super) fn pop_finish(&mut self) {
        self.finishes.pop();
    }

    /// All decodes have computed `steps` more tokens.
    pub(super) fn advance(&mut self, steps: u32) {
        self.step += u64::from(steps);
        self.phase = ((u64::from(self.phase) + u64::from(steps)) % self.block_tokens) as u32;
        self.context += u64::from(self.decodes) * u64::from(steps);
    }

    /// Blocks that the decodes need in the step now to be scheduled.
    pub(super) fn need_now(&self) -> u32 {
        self.need_by_phase[self.phase as usize]
    }

    /// Blocks that the decodes need from the second to the last of `steps` steps from now.
    pub(super) fn need_after_first(&self, steps: u32) -> u64 {
        let count = u64::from(steps.saturating_sub(1));
        let rounds = count / self.block_tokens;
        let rest = count % self.block_tokens;
        let rest = (1..=rest).map(|ahead| u64::from(self.need_ahead(ahead))).sum::<u64>();
        rounds * u64::from(self.decodes) + rest
    }

    /// Of `steps` steps from now, the first of which has its blocks already, those for which
    /// `free` blocks suffice.
    pub(super) fn steps_within(&self, steps: u32, free: u32) -> u32 {
        let bound = (u64::from(steps) / self.block_tokens + 1) * u64::from(self.decodes);
        if bound <= u64::from(free) || self.decodes == 0 {
            return steps;
        }
        let rounds = u64::from(free) / u64::from(self.decodes);
        let mut left = u64::from(free) - rounds * u64::from(self.decodes);
        let mut within = 1 + rounds * self.block_tokens;
        for ahead in 1..=self.block_tokens {
            let need = u64::from(self.need_ahead(ahead));
            if need > left {
                break;
            }
            left -= need;
            within += 1;
        }
        within.min(u64::from(steps)) as u32
    }

    fn need_ahead(&self, ahead: u64) -> u32 {
        let phase = u64::from(self.phase) + ahead;
        let wrapped = if phase < self.block_tokens {
            phase
        } else if phase < 2 * self.block_tokens {
            phase - self.block_tokens
        } else {
            phase % self.block_tokens
        };
        self.need_by_phase[wrapped as usize]
    }
}
