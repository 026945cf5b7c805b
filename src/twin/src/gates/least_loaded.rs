//! `least-loaded`: the endpoint with the fewest requests in flight, counted in this process.

use forebay_core::fleet::Role;
use forebay_core::gate::{Arrival, Gate, GateEffect, GateEvent, Queued, Refusal, RequestMap};
use forebay_core::ids::{EndpointId, RequestId, TierId};
use forebay_core::pick::{EndpointTable, Tournament};
use forebay_core::time::Time;

use super::pd::Splitter;

/// Sends each request to the endpoint with the fewest in flight; ties go to the one that was sent
/// the fewest requests ever, then to the oldest. Where decode is apart the prompt goes to the
/// prefill endpoint chosen in the same way among prompts not yet done.
#[derive(Debug)]
pub(super) struct LeastLoaded {
    decode: Group,
    prefill: Group,
    splitter: Splitter,
    requests: RequestMap<Placement>,
}

/// Where a request is.
#[derive(Clone, Copy, Debug)]
struct Placement {
    endpoint: EndpointId,
    /// Until its prompt is done.
    prefill: Option<EndpointId>,
}

/// Endpoints that one choice is made among.
#[derive(Debug, Default)]
struct Group {
    endpoints: EndpointTable<Load>,
    order: Tournament,
}

/// What counts of an endpoint.
#[derive(Clone, Copy, Debug)]
struct Load {
    role: Role,
    in_flight: u32,
    dispatched: u32,
    draining: bool,
}

impl Load {
    fn key(&self) -> u64 {
        if self.draining {
            Tournament::ABSENT
        } else {
            u64::from(self.in_flight) << 32 | u64::from(self.dispatched)
        }
    }
}

impl Group {
    fn add(&mut self, endpoint: EndpointId, role: Role) {
        // An endpoint that is ready again after a cancelled drain still has its requests.
        match self.endpoints.get_mut(endpoint) {
            Some(load) => load.draining = false,
            None => {
                let load = Load { role, in_flight: 0, dispatched: 0, draining: false };
                self.endpoints.insert(endpoint, load);
            }
        }
        self.rebuild();
    }

    fn remove(&mut self, endpoint: EndpointId) {
        if self.endpoints.remove(endpoint).is_some() {
            self.rebuild();
        }
    }

    fn rebuild(&mut self) {
        self.order.rebuild(self.endpoints.values().iter().map(Load::key));
    }

    fn change(&mut self, endpoint: EndpointId, change: impl FnOnce(&mut Load)) {
        // A request may outlive its endpoint: then there is nothing to count.
        if let Some(slot) = self.endpoints.slot(endpoint) {
            let load = &mut self.endpoints.values_mut()[slot];
            change(load);
            self.order.update(slot, load.key());
        }
    }

    fn take(&mut self) -> Option<(EndpointId, Role)> {
        let slot = self.order.least()?;
        let load = &mut self.endpoints.values_mut()[slot];
        load.in_flight += 1;
        load.dispatched = load.dispatched.saturating_add(1);
        let (key, role) = (load.key(), load.role);
        self.order.update(slot, key);
        Some((self.endpoints.id(slot), role))
    }

    fn release(&mut self, endpoint: EndpointId) {
        self.change(endpoint, |load| load.in_flight = load.in_flight.saturating_sub(1));
    }
}

impl LeastLoaded {
    pub(super) fn new(splitter: Splitter) -> Self {
        Self {
            decode: Group::default(),
            prefill: Group::default(),
            splitter,
            requests: RequestMap::default(),
        }
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
        self.requests.insert(request, Placement { endpoint, prefill });
        GateEffect::Dispatch { request, endpoint, prefill }
    }

    fn ended(&mut self, request: RequestId) {
        if let Some(placement) = self.requests.remove(&request) {
            self.decode.release(placement.endpoint);
            if let Some(prefill) = placement.prefill {
                self.prefill.release(prefill);
            }
        }
    }
}

impl Gate for LeastLoaded {
    fn step(&mut self, _now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>) {
        match event {
            GateEvent::Arrived(arrival) => effects.push(self.dispatch(arrival)),
            GateEvent::PrefillDone { request } => {
                let placement = self.requests.get_mut(&request);
                if let Some(prefill) = placement.and_then(|placement| placement.prefill.take()) {
                    self.prefill.release(prefill);
                }
            }
            GateEvent::Finished { request, .. }
            | GateEvent::Failed { request }
            | GateEvent::ClientGone { request } => self.ended(request),
            GateEvent::EndpointReady { endpoint, variant, role } => {
                self.splitter.ready(endpoint, variant);
                match role {
                    Role::Prefill => self.prefill.add(endpoint, role),
                    Role::Both | Role::Decode => self.decode.add(endpoint, role),
                }
            }
            GateEvent::EndpointDraining { endpoint } => {
                self.splitter.remove(endpoint);
                self.decode.change(endpoint, |load| load.draining = true);
                self.prefill.change(endpoint, |load| load.draining = true);
            }
            GateEvent::EndpointGone { endpoint } => {
                self.splitter.remove(endpoint);
                self.decode.remove(endpoint);
                self.prefill.remove(endpoint);
            }
            GateEvent::FirstToken { .. }
            | GateEvent::Scraped { .. }
            | GateEvent::ScrapeLost { .. }
            | GateEvent::Outlook(_)
            | GateEvent::Learned { .. }
            | GateEvent::Due => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn queued(&self, _tier: TierId) -> Queued {
        Queued::default()
    }
}
