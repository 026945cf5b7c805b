//! Clients that come back without a ticket, known by what they ask: most clients repeat a request
//! as it was and cannot be taught to send anything along.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::queue::Held;
use super::{Arrival, Place, RequestHasher};
use crate::time::{Span, Time};

/// Refusals remembered: 100 bytes each, and a minute of a thousand refusals per second.
const REMEMBERED_MAX: usize = 65_536;

/// Refusals of one and the same request remembered: who sends more copies at a time than this has
/// places of the first ones.
const COPIES_MAX: usize = 64;

/// How long after its refusal a request may still claim its place: the longest time that it is
/// told, and as much again.
const CLAIM_FOR: Span = Span::from_secs(240);

/// Places of refused requests by what they asked. Copies of a request have a place each, and who
/// comes back first has the first of them: nobody can tell copies apart, not even their sender.
#[derive(Debug, Default)]
pub(super) struct Returning {
    places: HashMap<u64, VecDeque<Remembered>, BuildHasherDefault<RequestHasher>>,
    /// When to forget what, the oldest first; what was claimed meanwhile stands here still.
    order: VecDeque<(Time, u64)>,
}

/// What a request asks, hashed: who asks, in which tier, and the length and content of its prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content(u64);

#[derive(Clone, Copy, Debug)]
struct Remembered {
    until: Time,
    place: Place,
}

impl Returning {
    /// Remembers the place of a refused request.
    pub(super) fn refused(&mut self, now: Time, Content(name): Content, place: Place) {
        while self.order.len() >= REMEMBERED_MAX
            || self.order.front().is_some_and(|(until, _)| *until <= now)
        {
            let Some((until, oldest)) = self.order.pop_front() else { break };
            self.forget(oldest, |copy| copy.until <= until);
        }
        let until = now + CLAIM_FOR;
        let copies = self.places.entry(name).or_default();
        if copies.len() < COPIES_MAX {
            copies.push_back(Remembered { until, place });
            self.order.push_back((until, name));
        }
    }

    /// The place of a request that was refused before, once.
    pub(super) fn claim(&mut self, arrival: &Arrival<'_>) -> Option<Place> {
        if self.places.is_empty() {
            return None;
        }
        let Content(name) = Content::of(arrival)?;
        let first = self.places.get_mut(&name)?.pop_front();
        self.forget(name, |_| false);
        first.map(|copy| copy.place)
    }

    /// A request came back with its place: nobody else may claim it.
    pub(super) fn redeemed(&mut self, arrival: &Arrival<'_>, place: &Place) {
        if self.places.is_empty() {
            return;
        }
        if let Some(Content(name)) = Content::of(arrival) {
            self.forget(name, |copy| copy.place.sequence == place.sequence);
        }
    }

    /// Places remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.values().map(VecDeque::len).sum()
    }

    fn forget(&mut self, name: u64, which: impl Fn(&Remembered) -> bool) {
        let Some(copies) = self.places.get_mut(&name) else { return };
        copies.retain(|copy| !which(copy));
        if copies.is_empty() {
            self.places.remove(&name);
        }
    }
}

impl Content {
    /// Of a request that comes; `None` where nothing is known of its prompt.
    pub(super) fn of(arrival: &Arrival<'_>) -> Option<Self> {
        let content = *arrival.prefix?.ids.last()?;
        let Arrival { tier, flow, user, prompt_tokens, .. } = *arrival;
        Some(Self::new([u64::from(tier.0), flow, user, u64::from(prompt_tokens), content]))
    }

    /// Of a request that was taken in.
    pub(super) fn of_held(held: &Held) -> Option<Self> {
        let content = *held.wants.as_deref()?.prefix.as_ref()?.ids.last()?;
        let Held { tier, flow, user, prompt_tokens, .. } = *held;
        Some(Self::new([u64::from(tier.0), flow, user, u64::from(prompt_tokens), content]))
    }

    fn new(parts: [u64; 5]) -> Self {
        let mut hasher = RequestHasher::default();
        parts.into_iter().for_each(|part| hasher.write_u64(part));
        Self(hasher.finish())
    }
}
