//! Who of several has had least: virtual token counters, for tenants and again for their users.

use std::collections::{BTreeMap, BTreeSet};

/// Virtual tokens per token at weight 1, so that weights up to that many still tell.
const VIRTUAL_PER_TOKEN: f64 = 1_024.0;

/// Smallest and largest weight: beyond that virtual counters would overflow or stand still.
const WEIGHT: (f64, f64) = (1e-3, 1e3);

/// Counters of those who share, and the order of those who have something waiting.
#[derive(Debug, Default)]
pub(super) struct Shares {
    counters: BTreeMap<u64, Counter>,
    /// Those that have something waiting, by what they had.
    active: BTreeSet<(u64, u64)>,
    /// Their weights together.
    weights: f64,
    /// What the one had that was served last: newcomers start there, not at nothing.
    clock: u64,
}

#[derive(Debug)]
struct Counter {
    /// Tokens had, over the weight.
    had: u64,
    weight: f64,
    waits: bool,
}

impl Shares {
    /// Somebody has something waiting now. Being away saves nothing up: he starts at the present,
    /// or, if he had a place in the past, there.
    pub(super) fn enter(&mut self, name: u64, weight: f64, place: Option<u64>) {
        let present = self.active.first().map_or(self.clock, |(had, _)| *had);
        let start = place.map_or(present, |had| had.min(present));
        let weight = weight.clamp(WEIGHT.0, WEIGHT.1);
        let counter =
            self.counters.entry(name).or_insert(Counter { had: start, weight, waits: false });
        if counter.waits {
            self.weights += weight - counter.weight;
        } else {
            counter.had = counter.had.max(start);
            counter.waits = true;
            self.weights += weight;
            self.active.insert((counter.had, name));
        }
        counter.weight = weight;
    }

    /// Somebody has nothing waiting any more.
    pub(super) fn leave(&mut self, name: u64) {
        let Some(counter) = self.counters.get_mut(&name).filter(|counter| counter.waits) else {
            return;
        };
        counter.waits = false;
        self.active.remove(&(counter.had, name));
        self.weights = if self.active.is_empty() { 0.0 } else { self.weights - counter.weight };
        self.clock = self.clock.max(counter.had);
    }

    /// Charges somebody for tokens had, or gives back what he was charged too much.
    pub(super) fn charge(&mut self, name: u64, tokens: i64) {
        let Some(counter) = self.counters.get_mut(&name) else { return };
        let change = (tokens.unsigned_abs() as f64 * VIRTUAL_PER_TOKEN / counter.weight) as u64;
        let had = if tokens < 0 {
            counter.had.saturating_sub(change)
        } else {
            counter.had.saturating_add(change)
        };
        if counter.waits {
            self.active.remove(&(counter.had, name));
            self.active.insert((had, name));
        }
        counter.had = had;
    }

    /// Who is next.
    pub(super) fn first(&self) -> Option<u64> {
        self.active.first().map(|(_, name)| *name)
    }

    /// Who had most of those that wait.
    pub(super) fn last(&self) -> Option<u64> {
        self.active.last().map(|(_, name)| *name)
    }

    /// Those that wait, in order.
    pub(super) fn in_order(&self) -> impl Iterator<Item = u64> + '_ {
        self.active.iter().map(|(_, name)| *name)
    }

    /// Virtual tokens that somebody had.
    pub(super) fn had(&self, name: u64) -> u64 {
        self.counters.get(&name).map_or(self.clock, |counter| counter.had)
    }

    /// Over how many times his own tokens somebody's turn comes: all weights over his.
    pub(super) fn spread(&self, name: u64, weight: f64) -> f64 {
        let weight = weight.clamp(WEIGHT.0, WEIGHT.1);
        let waits = self.counters.get(&name).is_some_and(|counter| counter.waits);
        let others = if waits { 0.0 } else { weight };
        (self.weights + others) / weight
    }

    /// Whether nobody has anything waiting.
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Counters remembered.
    pub(super) fn len(&self) -> usize {
        self.counters.len()
    }

    /// Forgets those that have nothing waiting, and with them what they had.
    pub(super) fn forget_idle(&mut self) {
        self.counters.retain(|_, counter| counter.waits);
    }
}
