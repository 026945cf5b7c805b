//! `round-robin`: endpoints in turn, whatever they do.

use forebay_core::fleet::Role;
use forebay_core::gate::{Gate, GateEffect, GateEvent, Queued, Refusal};
use forebay_core::ids::{EndpointId, TierId};
use forebay_core::pick::EndpointTable;
use forebay_core::time::Time;

/// Sends each request to the next endpoint in order of identity, and its prompt to the next
/// prefill endpoint where decode is apart.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    decode: Turn,
    prefill: Turn,
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
            GateEvent::Arrived(arrival) => {
                let request = arrival.request;
                effects.push(match self.decode.take() {
                    None => GateEffect::Refuse {
                        request,
                        reason: Refusal::NoEndpoints,
                        retry_after: None,
                    },
                    Some((endpoint, role)) => GateEffect::Dispatch {
                        request,
                        endpoint,
                        prefill: match role {
                            Role::Decode => self.prefill.take().map(|(endpoint, _)| endpoint),
                            Role::Both | Role::Prefill => None,
                        },
                    },
                });
            }
            GateEvent::EndpointReady { endpoint, role, .. } => match role {
                Role::Prefill => self.prefill.add(endpoint, role),
                Role::Both | Role::Decode => self.decode.add(endpoint, role),
            },
            GateEvent::EndpointDraining { endpoint } | GateEvent::EndpointGone { endpoint } => {
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
