//! `round-robin`: endpoints in turn, whatever they do.

use forebay_core::fleet::Role;
use forebay_core::gate::{Arrival, Gate, GateEffect, GateEvent, Queued, Refusal};
use forebay_core::ids::{EndpointId, TierId};
use forebay_core::pick::EndpointTable;
use forebay_core::time::Time;

use super::pd::Splitter;

/// Sends each request to the next endpoint in order of identity, and its prompt to the next
/// prefill endpoint where decode is apart.
#[derive(Debug)]
pub(super) struct RoundRobin {
    decode: Turn,
    prefill: Turn,
    splitter: Splitter,
}

impl RoundRobin {
    pub(super) fn new(splitter: Splitter) -> Self {
        Self { decode: Turn::default(), prefill: Turn::default(), splitter }
    }

    fn dispatch(&mut self, arrival: &Arrival<'_>) -> GateEffect {
        let request = arrival.request;
        let Some((endpoint, role)) = self.decode.take() else {
            let reason = Refusal::NoEndpoints;
            return GateEffect::Refuse { request, reason, retry_after: None, place: None };
        };
        let splits = role == Role::Decode && self.splitter.splits(arrival, endpoint);
        let prefill = if splits { self.prefill.take().map(|(prefill, _)| prefill) } else { None };
        self.splitter.record(arrival, endpoint);
        GateEffect::Dispatch { request, endpoint, prefill }
    }
}

/// Endpoints that take turns; the value is their role.
#[derive(Debug, Default)]
struct Turn {
    endpoints: EndpointTable<Role>,
    next: usize,
}

impl Turn {
    fn add(&mut self, endpoint: EndpointId, role: Role) {
        let (slot, new) = self.endpoints.insert(endpoint, role);
        // Whoever was next stays next.
        if new && slot < self.next {
            self.next += 1;
        }
    }

    fn remove(&mut self, endpoint: EndpointId) {
        if let Some(slot) = self.endpoints.slot(endpoint) {
            self.endpoints.remove(endpoint);
            if slot < self.next {
                self.next -= 1;
            }
        }
    }

    fn take(&mut self) -> Option<(EndpointId, Role)> {
        if self.endpoints.is_empty() {
            return None;
        }
        let slot = if self.next < self.endpoints.len() { self.next } else { 0 };
        self.next = slot + 1;
        Some((self.endpoints.id(slot), self.endpoints.values()[slot]))
    }
}

impl Gate for RoundRobin {
    fn step(&mut self, _now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>) {
        match event {
            GateEvent::Arrived(arrival) => effects.push(self.dispatch(arrival)),
            GateEvent::EndpointReady { endpoint, variant, role } => {
                self.splitter.ready(endpoint, variant);
                match role {
                    Role::Prefill => self.prefill.add(endpoint, role),
                    Role::Both | Role::Decode => self.decode.add(endpoint, role),
                }
            }
            GateEvent::EndpointDraining { endpoint } | GateEvent::EndpointGone { endpoint } => {
                self.splitter.remove(endpoint);
                self.decode.remove(endpoint);
                self.prefill.remove(endpoint);
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn queued(&self, _tier: TierId) -> Queued {
        Queued::default()
    }
}
