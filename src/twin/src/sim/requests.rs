//! The way of one request: to the gate, into engines, from prefill to decode, to its outcome.

use forebay_core::engine::{Engine, EngineEvent, EngineEventKind, Part, Work};
use forebay_core::fleet::Slo;
use forebay_core::gate::{Arrival, GateEffect, GateEvent};
use forebay_core::ids::{EndpointId, FleetId, RequestId};
use forebay_core::time::{PICOS_PER_SECOND, Picos, Span, Time};

use super::calendar::Event;
use super::flights::{Flight, Place, prefix_of};
use super::replicas::State;
use super::score::Outcome;
use super::{Simulation, slo_of};
use crate::sim::traffic::Incoming;

/// How long a prefill engine keeps blocks for a decode engine that was lost
/// (`kv_lease_duration` of vLLM's NIXL connector).
const KV_LEASE: Span = Span::from_secs(30);

impl Simulation<'_> {
    /// A request comes into being.
    pub(super) fn arrive(&mut self, incoming: Incoming) {
        let share = &self.scenario.shares[incoming.share];
        let (fleet, tier) = (share.fleet, share.tier);
        let deadline = self.now
            + match slo_of(self.world, fleet, tier) {
                Some(Slo::Latency { ttft, .. }) => ttft.as_picos(),
                Some(Slo::Completion { within, .. }) => within.as_picos(),
                None => self.world.tiers[tier.index()].hold_max.as_picos(),
            };
        let prefix = prefix_of(incoming.prefix, self.traffic.piece_tokens());
        let scored = self.now >= self.scenario.unscored.as_picos();
        let timeline_step = self.timeline.current_step();
        let id = self.flights.insert(|id| Flight {
            id,
            fleet,
            tier,
            share: incoming.share,
            flow: incoming.flow,
            weight: incoming.weight,
            prompt_tokens: incoming.prompt_tokens,
            output_tokens: incoming.output_tokens,
            prefix,
            arrived_at: self.now,
            deadline,
            first_token_at: None,
            overhead: 0,
            place: Place::Client,
            order: None,
            attempt: 0,
            scored,
            timeline_step,
            pulled: false,
        });
        if let Some(flight) = self.flights.get(id) {
            self.routers[fleet.index()].arrived(flight);
            self.timeline.arrived(flight);
        }
        self.come(id);
    }

    /// A request knocks at its gate, for the first time or again.
    pub(super) fn knock(&mut self, id: RequestId) {
        let now = Time::from_picos(self.now);
        let Some(flight) = self.flights.get_mut(id) else { return };
        flight.place = Place::Gate;
        flight.attempt += 1;
        let (fleet, attempt, tier) = (flight.fleet, flight.attempt, flight.tier);
        self.deliver_scrapes(fleet);
        let Some(flight) = self.flights.get(id) else { return };
        let arrival = Arrival {
            flow: flight.flow,
            weight: flight.weight,
            prefix: flight.prefix.as_ref(),
            place: flight.order,
            ..Arrival::new(id, tier, flight.prompt_tokens, Time::from_picos(flight.deadline))
        };
        let seat = &mut self.gates[fleet.index()];
        let mut effects = std::mem::take(&mut seat.effects);
        seat.gate.step(now, GateEvent::Arrived(&arrival), &mut effects);
        self.carry_out_effects(fleet, effects);
        let held = self
            .flights
            .get(id)
            .is_some_and(|flight| flight.place == Place::Gate && flight.attempt == attempt);
        if held {
            let hold = self.world.tiers[tier.index()].hold_max.as_picos();
            self.calendar.push(self.now + hold, Event::HoldOver { request: id, attempt });
        }
    }

    /// Tells a gate of an event and does what it wants done.
    pub(super) fn tell_gate(&mut self, fleet: FleetId, event: GateEvent<'_>) {
        self.deliver_scrapes(fleet);
        let now = Time::from_picos(self.now);
        let seat = &mut self.gates[fleet.index()];
        let mut effects = std::mem::take(&mut seat.effects);
        seat.gate.step(now, event, &mut effects);
        self.carry_out_effects(fleet, effects);
    }

    pub(super) fn carry_out_effects(&mut self, fleet: FleetId, mut effects: Vec<GateEffect>) {
        for effect in effects.drain(..) {
            match effect {
                GateEffect::Dispatch { request, endpoint, prefill } => {
                    self.dispatch(request, endpoint, prefill);
                }
                GateEffect::Refuse { request, retry_after, place, .. } => {
                    if let Some(flight) = self.flights.get_mut(request) {
                        flight.order = place;
                    }
                    self.refused(request, retry_after);
                }
            }
        }
        let seat = &mut self.gates[fleet.index()];
        if seat.effects.capacity() < effects.capacity() {
            seat.effects = effects;
        }
        let due = seat.gate.next_deadline().map(Time::as_picos);
        if due != seat.due_at {
            seat.due_at = due;
            seat.turn += 1;
            if let Some(at) = due {
                // A deadline that has passed would stop virtual time.
                let event = Event::Gate { fleet, turn: seat.turn };
                self.calendar.push(at.max(self.now + 1), event);
            }
        }
    }

    pub(super) fn gate_due(&mut self, fleet: FleetId, turn: u32) {
        let seat = &mut self.gates[fleet.index()];
        if seat.turn == turn {
            seat.due_at = None;
            self.tell_gate(fleet, GateEvent::Due);
        }
    }

    fn dispatch(&mut self, id: RequestId, endpoint: EndpointId, prefill: Option<EndpointId>) {
        let held = self.flights.get(id).is_some_and(|flight| flight.place == Place::Gate);
        if !held {
            return;
        }
        let serves = |endpoint: EndpointId| {
            self.replicas.get(endpoint.index()).is_some_and(|replica| replica.state == State::Ready)
        };
        if !serves(endpoint) || !prefill.is_none_or(serves) {
            self.break_off(id);
            return;
        }
        let overhead =
            self.overhead(endpoint) + prefill.map_or(0, |prefill| self.overhead(prefill));
        let place = match prefill {
            Some(prefill) => Place::Prefill { prefill, decode: endpoint },
            None => Place::Engine { endpoint },
        };
        let Some(flight) = self.flights.get_mut(id) else { return };
        flight.place = place;
        flight.overhead = overhead;
        self.routers[flight.fleet.index()].dispatched(flight);
        self.replicas[endpoint.index()].in_flight += 1;
        if let Some(prefill) = prefill {
            self.replicas[prefill.index()].in_flight += 1;
            self.submit(prefill, id, Part::Prefill);
        } else {
            self.submit(endpoint, id, Part::Whole);
        }
    }

    fn overhead(&self, endpoint: EndpointId) -> Picos {
        let variant = self.replicas[endpoint.index()].variant;
        let milliseconds = self.world.variants[variant.index()].profile.request_overhead_ms;
        Span::from_seconds(milliseconds / 1e3).as_picos()
    }

    fn submit(&mut self, endpoint: EndpointId, id: RequestId, part: Part) {
        let Some(flight) = self.flights.get(id) else { return };
        let work = Work {
            request: id,
            prompt_tokens: flight.prompt_tokens,
            output_tokens: flight.output_tokens,
            part,
            prefix: flight.prefix.clone(),
        };
        self.operate(endpoint, |engine, now, events| engine.submit(now, work, events));
    }

    /// Does something to an engine: first brings it up to now, afterwards takes in what happened
    /// and when it is due again.
    pub(super) fn operate(
        &mut self,
        endpoint: EndpointId,
        operation: impl FnOnce(&mut Engine, Picos, &mut Vec<EngineEvent>),
    ) {
        self.note_scrape(endpoint);
        let now = self.now;
        let mut events = self.buffers.pop().unwrap_or_default();
        let replica = &mut self.replicas[endpoint.index()];
        let Some(engine) = replica.engine.as_mut() else { return };
        if engine.next_event_at().is_some_and(|at| at <= now) {
            engine.advance(now, &mut events);
        }
        operation(engine, now, &mut events);
        let due = engine.next_event_at();
        if due != replica.due_at {
            replica.due_at = due;
            replica.turn += 1;
            if let Some(at) = due {
                self.calendar.push(at, Event::Engine { endpoint, turn: replica.turn });
            }
        }
        for event in events.drain(..) {
            self.engine_event(endpoint, event);
        }
        self.buffers.push(events);
    }

    pub(super) fn engine_due(&mut self, endpoint: EndpointId, turn: u32) {
        if self.replicas[endpoint.index()].turn == turn {
            self.operate(endpoint, |_, _, _| {});
        }
    }

    fn engine_event(&mut self, endpoint: EndpointId, event: EngineEvent) {
        let id = event.request;
        let Some(flight) = self.flights.get_mut(id) else { return };
        let fleet = flight.fleet;
        match event.kind {
            EngineEventKind::FirstToken => {
                let at = event.at + flight.overhead;
                self.routers[fleet.index()].first_token(flight, at);
                flight.first_token_at = Some(at);
                self.tell_gate(fleet, GateEvent::FirstToken { request: id });
            }
            EngineEventKind::Finished => {
                let (at, output_tokens) = (event.at + flight.overhead, flight.output_tokens);
                self.left(endpoint);
                self.conclude(id, Outcome::Finished { at }, true);
                self.tell_gate(fleet, GateEvent::Finished { request: id, output_tokens });
                self.pull(fleet);
            }
            EngineEventKind::PrefillDone => self.prefill_done(id),
            EngineEventKind::KvWanted { tokens } => self.kv_wanted(id, tokens),
            EngineEventKind::TooLarge => {
                self.left(endpoint);
                self.leave_partner(id, endpoint);
                self.break_off(id);
            }
        }
    }

    /// A request holds nothing in this engine any more.
    fn left(&mut self, endpoint: EndpointId) {
        let replica = &mut self.replicas[endpoint.index()];
        replica.in_flight = replica.in_flight.saturating_sub(1);
        self.end_drain_if_idle(endpoint);
    }

    fn prefill_done(&mut self, id: RequestId) {
        let Some(flight) = self.flights.get_mut(id) else { return };
        let Place::Prefill { prefill, decode } = flight.place else { return };
        let fleet = flight.fleet;
        flight.place = Place::Transfer { prefill, decode };
        self.tell_gate(fleet, GateEvent::PrefillDone { request: id });
        let state = self.replicas[decode.index()].state;
        if matches!(state, State::Ready | State::Draining) {
            self.submit(decode, id, Part::Decode);
        } else {
            self.calendar.push(
                self.now + KV_LEASE.as_picos(),
                Event::LeaseOver { request: id, endpoint: prefill },
            );
            self.break_off(id);
        }
    }

    fn kv_wanted(&mut self, id: RequestId, tokens: u32) {
        let Some(flight) = self.flights.get(id) else { return };
        let Place::Transfer { prefill, .. } = flight.place else { return };
        if tokens == 0 {
            self.kv_arrived(id);
            return;
        }
        let variant = &self.world.variants[self.replicas[prefill.index()].variant.index()];
        let transfer = &self.world.fleets[flight.fleet.index()].transfer;
        let bytes = f64::from(tokens) * variant.profile.kv.bytes_per_token as f64;
        let seconds = bytes / transfer.bytes_per_second;
        let span = transfer.setup.as_picos() + (seconds * PICOS_PER_SECOND as f64) as Picos;
        self.calendar.push(self.now + span, Event::KvArrived { request: id });
    }

    pub(super) fn kv_arrived(&mut self, id: RequestId) {
        let Some(flight) = self.flights.get_mut(id) else { return };
        let Place::Transfer { prefill, decode } = flight.place else { return };
        flight.place = Place::Engine { endpoint: decode };
        self.operate(decode, |engine, now, _| engine.kv_loaded(now, id));
        self.release(prefill, id);
    }

    /// A prefill engine may forget a request's KV.
    pub(super) fn release(&mut self, endpoint: EndpointId, id: RequestId) {
        self.operate(endpoint, |engine, now, _| engine.release(now, id));
        self.left(endpoint);
    }

    /// Everybody in an engine that ended is broken off.
    pub(super) fn fail_requests_of(&mut self, endpoint: EndpointId) {
        let mut requests = Vec::new();
        if let Some(engine) = &self.replicas[endpoint.index()].engine {
            engine.in_flight(&mut requests);
        }
        for id in requests {
            self.leave_partner(id, endpoint);
            self.break_off(id);
        }
    }

    /// Frees what a request holds on the other engine of its pair.
    fn leave_partner(&mut self, id: RequestId, lost: EndpointId) {
        let Some(flight) = self.flights.get(id) else { return };
        match flight.place {
            Place::Prefill { prefill, decode } if prefill == lost => self.left(decode),
            Place::Transfer { prefill, decode } if prefill == lost => {
                self.operate(decode, |engine, now, _| {
                    engine.abort(now, id);
                });
                self.left(decode);
            }
            Place::Transfer { prefill, decode } if decode == lost => {
                let event = Event::LeaseOver { request: id, endpoint: prefill };
                self.calendar.push(self.now + KV_LEASE.as_picos(), event);
            }
            _ => {}
        }
    }

    /// A request breaks off after it was sent on.
    fn break_off(&mut self, id: RequestId) {
        let Some(flight) = self.flights.get(id) else { return };
        let (fleet, sent) = (flight.fleet, flight.place != Place::Gate);
        self.conclude(id, Outcome::Failed, sent);
        self.tell_gate(fleet, GateEvent::Failed { request: id });
        self.pull(fleet);
    }

    /// The one outcome of a request; `sent` when an engine had it.
    pub(super) fn conclude(&mut self, id: RequestId, outcome: Outcome, sent: bool) {
        let Some(flight) = self.flights.remove(id) else { return };
        self.clients.forget(&flight);
        self.routers[flight.fleet.index()].ended(&flight, outcome, sent);
        let slo = slo_of(self.world, flight.fleet, flight.tier);
        let attained = self.scores.record(&flight, outcome, slo);
        if !attained {
            self.timeline.missed(&flight);
        }
    }

    /// The run ends: whoever has no outcome has waited too long.
    pub(super) fn time_out_the_rest(&mut self) {
        let rest: Vec<(RequestId, bool)> = self
            .flights
            .iter()
            .map(|flight| (flight.id, !matches!(flight.place, Place::Client | Place::Gate)))
            .collect();
        for (id, sent) in rest {
            self.conclude(id, Outcome::TimedOut, sent);
        }
    }
}
