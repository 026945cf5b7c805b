//! Clients that come back without a ticket, known by what they ask: most clients repeat a request
//! as it was and cannot be taught to send anything along.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use super::queue::Held;
use super::{Arrival, Place, RequestHasher};
use crate::ids::TierId;
use crate::time::{Span, Time};

/// Refusals remembered: 64 bytes each, and a minute of a thousand refusals per second.
const REMEMBERED_MAX: usize = 65_536;

/// How long after its refusal a request may still claim its place: the longest time that it is
/// told, and as much again.
const CLAIM_FOR: Span = Span::from_secs(240);

/// Places of refused requests by what they asked.
#[derive(Debug, Default)]
pub(super) struct Returning {
    places: HashMap<u64, Place, BuildHasherDefault<RequestHasher>>,
    order: VecDeque<(Time, u64)>,
}

impl Returning {
    /// Remembers a refused request, if its content is known.
    pub(super) fn refused(&mut self, now: Time, held: &Held, place: Place) {
        let wants = held.wants.as_deref();
        let last = wants.and_then(|wants| wants.prefix.as_ref()).and_then(|it| it.ids.last());
        let Some(content) = last else { return };
        let name = name(held.tier, held.flow, held.user, held.prompt_tokens, *content);
        while self.order.len() >= REMEMBERED_MAX
            || self.order.front().is_some_and(|(until, _)| *until <= now)
        {
            let Some((_, oldest)) = self.order.pop_front() else { break };
            self.places.remove(&oldest);
        }
        if self.places.insert(name, place).is_none() {
            self.order.push_back((now + CLAIM_FOR, name));
        }
    }

    /// The place of a request that was refused before, once.
    pub(super) fn claim(&mut self, arrival: &Arrival<'_>) -> Option<Place> {
        let content = arrival.prefix?.ids.last()?;
        let Arrival { tier, flow, user, prompt_tokens, .. } = *arrival;
        if self.places.is_empty() {
            return None;
        }
        self.places.remove(&name(tier, flow, user, prompt_tokens, *content))
    }
}

fn name(tier: TierId, flow: u64, user: u64, prompt_tokens: u32, content: u64) -> u64 {
    use std::hash::Hasher;
    let mut hasher = RequestHasher::default();
    for part in [u64::from(tier.0), flow, user, u64::from(prompt_tokens), content] {
        hasher.write_u64(part);
    }
    hasher.finish()
}
