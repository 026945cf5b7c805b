//! Which endpoint has how much of a prompt cached, as far as our own dispatches tell.
//!
//! Identities are chained: one stands for everything before it, so the longest known prefix is
//! found by doubling steps and bisection, not by walking all pieces.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use super::table::EndpointTable;
use crate::engine::Prefix;
use crate::gate::RequestHasher;
use crate::ids::EndpointId;

/// Pieces remembered in each of two generations: whatever arrives, a hundred thousand conversations
/// are held in some 10 MB, and in 45 MB if every piece is shared by many endpoints. Seven eighths of
/// a power of two is where a table is full before it doubles.
const PIECES_MAX: usize = 7 * (1 << 14);

/// Pieces of one prompt that are looked at: 131,072 tokens in pieces of 64.
const PROMPT_PIECES_MAX: usize = 2_048;

/// Endpoints remembered per piece: a system prompt that everybody has needs no more to be found.
const HOLDERS_MAX: usize = 16;

/// An endpoint that holds a piece, with its clock when it was last sent there.
#[derive(Clone, Copy, Debug)]
struct Holder {
    endpoint: EndpointId,
    stamp_tokens: u64,
}

/// Who holds a piece, the one noted first apart: most pieces have one holder, and a prompt of
/// hundreds of pieces should not cost hundreds of allocations.
#[derive(Clone, Debug)]
struct Holders {
    first: Holder,
    others: Option<Box<Others>>,
}

/// Those noted after the first.
#[derive(Clone, Debug, Default)]
struct Others {
    holders: Vec<Holder>,
}

type Pieces = HashMap<u64, Holders, BuildHasherDefault<RequestHasher>>;

/// What one endpoint took in, and how much of it its cache can still hold.
#[derive(Clone, Copy, Debug)]
struct Cache {
    prefilled_tokens: u64,
    capacity_tokens: u64,
}

/// Blocks of prompts by endpoint, in bounded memory: two generations, the older of which is
/// dropped when the younger is full.
#[derive(Debug, Default)]
pub struct PrefixIndex {
    young: Pieces,
    old: Pieces,
    caches: EndpointTable<Cache>,
}

/// Tokens of one prompt that are cached, by endpoint: those that matter, without allocating.
#[derive(Clone, Copy, Debug)]
pub struct Cached {
    found: [(EndpointId, u32); HOLDERS_MAX],
    count: usize,
}

impl Default for Cached {
    fn default() -> Self {
        Self { found: [(EndpointId(0), 0); HOLDERS_MAX], count: 0 }
    }
}

impl Cached {
    /// Endpoints with what they have, tokens.
    #[must_use]
    pub fn found(&self) -> &[(EndpointId, u32)] {
        &self.found[..self.count]
    }

    /// Tokens that an endpoint has; 0 where nothing is known.
    #[must_use]
    pub fn at(&self, endpoint: EndpointId) -> u32 {
        let known = self.found().iter().find(|(known, _)| *known == endpoint);
        known.map_or(0, |(_, tokens)| *tokens)
    }

    fn note(&mut self, endpoint: EndpointId, tokens: u32) {
        let known = self.found[..self.count].iter_mut().find(|(known, _)| *known == endpoint);
        match known {
            Some((_, most)) => *most = tokens.max(*most),
            None if self.count < HOLDERS_MAX => {
                self.found[self.count] = (endpoint, tokens);
                self.count += 1;
            }
            None => {}
        }
    }
}

impl Holders {
    fn iter(&self) -> impl Iterator<Item = &Holder> {
        let others = self.others.iter().flat_map(|others| &others.holders);
        std::iter::once(&self.first).chain(others)
    }

    /// Notes a holder. Beyond [`HOLDERS_MAX`] the one that was noted first makes room.
    fn note(&mut self, holder: Holder) {
        if self.first.endpoint == holder.endpoint {
            self.first = holder;
            return;
        }
        let others = &mut self.others.get_or_insert_default().holders;
        if let Some(known) = others.iter_mut().find(|known| known.endpoint == holder.endpoint) {
            *known = holder;
            return;
        }
        if 1 + others.len() == HOLDERS_MAX {
            self.first = others.remove(0);
        }
        others.push(holder);
    }
}

impl PrefixIndex {
    /// An endpoint appears, with what its cache holds at most.
    pub fn add(&mut self, endpoint: EndpointId, capacity_tokens: u64) {
        if self.caches.slot(endpoint).is_none() {
            self.caches.insert(endpoint, Cache { prefilled_tokens: 0, capacity_tokens });
        }
    }

    /// An endpoint is gone; its pieces are found no more, and make room when their turn comes.
    pub fn remove(&mut self, endpoint: EndpointId) {
        self.caches.remove(endpoint);
    }

    /// Pieces remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who has how much of this prompt. Endpoints that have less than the one with most may be
    /// understated, by half at most.
    #[must_use]
    pub fn cached(&self, prompt_tokens: u32, prefix: &Prefix) -> Cached {
        let mut cached = Cached::default();
        let ids = &prefix.ids[..prefix.ids.len().min(PROMPT_PIECES_MAX)];
        let mut look = |index: usize| {
            let tokens = (index as u32 + 1).saturating_mul(prefix.piece_tokens).min(prompt_tokens);
            let mut any = false;
            for holder in self.holders(ids[index]).into_iter().flat_map(Holders::iter) {
                if self.keeps(holder) {
                    cached.note(holder.endpoint, tokens);
                    any = true;
                }
            }
            any
        };
        if ids.is_empty() || !look(0) {
            return cached;
        }
        // Known at `known`, and not (or not there) at `unknown`.
        let (mut known, mut unknown) = (0, 1);
        while unknown < ids.len() && look(unknown) {
            known = unknown;
            unknown = 2 * unknown + 1;
        }
        unknown = unknown.min(ids.len());
        while unknown - known > 1 {
            let middle = known + (unknown - known) / 2;
            if look(middle) { known = middle } else { unknown = middle }
        }
        cached
    }

    /// Notes that a prompt was sent to an endpoint.
    pub fn record(&mut self, endpoint: EndpointId, uncached_tokens: u32, prefix: &Prefix) {
        let Some(cache) = self.caches.get_mut(endpoint) else { return };
        cache.prefilled_tokens += u64::from(uncached_tokens);
        let stamp_tokens = cache.prefilled_tokens;
        for id in prefix.ids.iter().take(PROMPT_PIECES_MAX) {
            if self.young.len() >= PIECES_MAX {
                std::mem::swap(&mut self.old, &mut self.young);
                self.young.clear();
            }
            let holder = Holder { endpoint, stamp_tokens };
            match self.young.entry(*id) {
                Entry::Occupied(mut entry) => entry.get_mut().note(holder),
                Entry::Vacant(entry) => match self.old.remove(id) {
                    Some(holders) => entry.insert(holders).note(holder),
                    None => {
                        entry.insert(Holders { first: holder, others: None });
                    }
                },
            }
        }
    }

    fn holders(&self, id: u64) -> Option<&Holders> {
        self.young.get(&id).or_else(|| self.old.get(&id))
    }

    /// Whether it is still there: an engine forgets what it used least recently, so about what
    /// its cache holds ago.
    fn keeps(&self, holder: &Holder) -> bool {
        self.caches.get(holder.endpoint).is_some_and(|cache| {
            cache.prefilled_tokens.saturating_sub(holder.stamp_tokens) <= cache.capacity_tokens
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(ids: impl IntoIterator<Item = u64>) -> Prefix {
        Prefix { ids: ids.into_iter().collect(), piece_tokens: 16 }
    }

    fn index() -> PrefixIndex {
        let mut index = PrefixIndex::default();
        for endpoint in 0..3 {
            index.add(EndpointId(endpoint), 10_000);
        }
        index
    }

    #[test]
    fn the_longest_known_prefix_is_found_whatever_its_length() {
        for length in 1..70 {
            let mut index = index();
            index.record(EndpointId(1), 0, &prefix(0..length));
            let cached = index.cached(16 * 100, &prefix(0..100));
            assert_eq!(cached.at(EndpointId(1)), 16 * length as u32, "{length}");
            assert_eq!(cached.at(EndpointId(0)), 0);
            let other = index.cached(16 * 100, &prefix((0..length - 1).chain(500..600)));
            assert_eq!(other.at(EndpointId(1)), 16 * (length as u32 - 1));
        }
    }

    #[test]
    fn a_shorter_holder_is_known_to_at_least_half() {
        let mut index = index();
        index.record(EndpointId(1), 0, &prefix(0..64));
        index.record(EndpointId(2), 0, &prefix(0..40));
        let cached = index.cached(16 * 64, &prefix(0..64));
        assert_eq!(cached.at(EndpointId(1)), 1_024);
        assert!((320..=640).contains(&cached.at(EndpointId(2))), "{cached:?}");
        assert_eq!(index.cached(1_000, &prefix(0..64)).at(EndpointId(1)), 1_000, "the last piece");
    }

    #[test]
    fn what_the_cache_has_turned_over_is_not_there_any_more() {
        let mut index = index();
        index.record(EndpointId(1), 100, &prefix([7]));
        index.record(EndpointId(1), 9_000, &prefix([8]));
        assert_eq!(index.cached(16, &prefix([7])).at(EndpointId(1)), 16);
        index.record(EndpointId(1), 1_500, &prefix([9]));
        assert!(index.cached(16, &prefix([7])).found().is_empty());
        index.remove(EndpointId(1));
        assert!(index.cached(16, &prefix([9])).found().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_latest_is_kept() {
        let mut index = index();
        for document in 0..600_u64 {
            let ids = (0..1_024).map(|piece| (document << 32) | piece);
            index.record(EndpointId(1), 0, &prefix(ids));
            assert!(index.len() <= 2 * PIECES_MAX);
        }
        let last = (0..1_024).map(|piece| (599 << 32) | piece);
        assert_eq!(index.cached(u32::MAX, &prefix(last)).at(EndpointId(1)), 16 * 1_024);
    }
}
