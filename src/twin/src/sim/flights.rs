//! Requests that are on their way: one slot each from first arrival to its one outcome.

use std::sync::Arc;

use forebay_core::engine::Prefix;
use forebay_core::ids::{EndpointId, FleetId, RequestId, TierId};
use forebay_core::time::Picos;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In its client: waiting for its turn to (re)try.
    Client,
    /// Held by the gate.
    Gate,
    /// In a prefill engine, its decode endpoint chosen.
    Prefill { prefill: EndpointId, decode: EndpointId },
    /// In a decode engine; the prefill engine still holds its KV.
    Transfer { prefill: EndpointId, decode: EndpointId },
    /// In the engine that answers it.
    Engine { endpoint: EndpointId },
}

/// One request on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) id: RequestId,
    pub(super) fleet: FleetId,
    pub(super) tier: TierId,
    /// Place in the scenario's shares: what its client is like.
    pub(super) share: usize,
    /// Tenant, hashed.
    pub(super) flow: u64,
    /// What the tenant may have, relative to others.
    pub(super) weight: f64,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    pub(super) prefix: Option<Prefix>,
    /// First arrival at the gate's door: what TTFT and deadlines count from.
    pub(super) arrived_at: Picos,
    /// When it must be complete, or have its first token.
    pub(super) deadline: Picos,
    pub(super) first_token_at: Option<Picos>,
    /// Time outside the step loops of the engines that served it; adds to TTFT.
    pub(super) overhead: Picos,
    pub(super) place: Place,
    /// What the gate gave it to come back at its old place in order.
    pub(super) order: Option<forebay_core::gate::Place>,
    /// Times it came to the gate.
    pub(super) attempt: u32,
    /// Whether it counts (it arrived after the unscored start).
    pub(super) scored: bool,
    /// Step of the timeline in which it arrived.
    pub(super) timeline_step: u32,
    /// Whether a queue worker pulls it.
    pub(super) pulled: bool,
}

/// Slots of requests on their way. A [`RequestId`] carries its slot in the low half and a count
/// in the high half, so look-up is an index and no identity is ever used twice.
#[derive(Debug, Default)]
pub(super) struct Flights {
    slots: Vec<Option<Flight>>,
    free: Vec<u32>,
    created: u64,
    live: u64,
}

const SLOT_BITS: u32 = 32;

impl Flights {
    /// The identity that the next [`Flights::insert`] gives.
    fn next_id(&mut self) -> RequestId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.created += 1;
        // 2^32 requests of one run before the count wraps; a wrapped count still differs from
        // every request that can be alive at the same time.
        RequestId((self.created << SLOT_BITS) | u64::from(slot))
    }

    /// Takes in a request built around its new identity.
    pub(super) fn insert(&mut self, build: impl FnOnce(RequestId) -> Flight) -> RequestId {
        let id = self.next_id();
        self.slots[slot_of(id)] = Some(build(id));
        self.live += 1;
        id
    }

    /// The request, unless it has its outcome already.
    pub(super) fn get(&self, id: RequestId) -> Option<&Flight> {
        self.slots.get(slot_of(id))?.as_ref().filter(|flight| flight.id == id)
    }

    /// The request, unless it has its outcome already.
    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut Flight> {
        self.slots.get_mut(slot_of(id))?.as_mut().filter(|flight| flight.id == id)
    }

    /// Takes the request out for its outcome.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<Flight> {
        let slot = self.slots.get_mut(slot_of(id))?;
        if slot.as_ref().is_none_or(|flight| flight.id != id) {
            return None;
        }
        self.free.push(slot_of(id) as u32);
        self.live -= 1;
        slot.take()
    }

    /// Requests without an outcome.
    pub(super) const fn live(&self) -> u64 {
        self.live
    }

    /// Requests ever taken in.
    pub(super) const fn created(&self) -> u64 {
        self.created
    }

    /// All requests without an outcome, in order of slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.slots.iter().flatten()
    }
}

const fn slot_of(id: RequestId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}

/// The prefix of a trace's request as engines and gates take it.
pub(super) fn prefix_of(ids: Option<Arc<[u64]>>, piece_tokens: u32) -> Option<Prefix> {
    ids.filter(|_| piece_tokens > 0).map(|ids| Prefix { ids, piece_tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(id: RequestId) -> Flight {
        Flight {
            id,
            fleet: FleetId(0),
            tier: TierId(0),
            flow: 0,
            weight: 1.0,
            prompt_tokens: 1,
            output_tokens: 1,
            prefix: None,
            arrived_at: 0,
            deadline: 0,
            first_token_at: None,
            overhead: 0,
            place: Place::Client,
            order: None,
            attempt: 0,
            scored: true,
            timeline_step: 0,
            pulled: false,
            share: 0,
        }
    }

    #[test]
    fn a_slot_is_used_again_but_an_identity_never() {
        let mut flights = Flights::default();
        let first = flights.insert(flight);
        assert!(flights.remove(first).is_some());
        let second = flights.insert(flight);
        assert_ne!(first, second);
        assert!(flights.get(first).is_none(), "the old identity must not reach the new request");
        assert!(flights.remove(first).is_none());
        assert_eq!((flights.live(), flights.created()), (1, 2));
    }
}
