//! The way of one request: into the queue, into engines, to its outcome.

use std::cmp::Reverse;

use forebay_core::engine::{Engine, EngineEvent, EngineEventKind, Part, Work};
use forebay_core::fleet::{Late, Role, Slo};
use forebay_core::ids::{RequestId, TierId};
use forebay_core::pick::Tournament;
use forebay_core::plan::roll::QueuesAt;
use forebay_core::time::Picos;

use super::fleet::transfer_picos;
use super::{Billed, Flight, Rollout, Timer};
use crate::roll::scenario::Coming;
use crate::sim::TPOT_OUTPUT_TOKENS_MIN;

/// Work that can wait leaves this much of the KV cache to those who cannot...
const DEFERRABLE_KV_SHARE_MAX: f64 = 0.75;
/// ... and keeps decode steps below this share of the strictest TPOT, as prefill takes time too.
const DEFERRABLE_STEP_SHARE_MAX: f64 = 0.5;

/// Where a request may go: the seat of its decode, and that of its prompt if that is another.
type Place = (u32, Option<u32>);

impl Rollout<'_> {
    pub(super) fn arrive(&mut self, coming: &Coming) {
        let id = self.flights.len() as u32;
        let tier = coming.tier;
        let output_mean = self.course.tiers[tier.index()].output_tokens;
        self.flights.push(Flight {
            tier: Some(tier),
            prompt_tokens: coming.prompt_tokens,
            output_tokens: coming.output_tokens,
            arrived_at: coming.at,
            first_token_at: None,
            seat: 0,
            prefill: None,
            overhead: 0,
            kv_tokens: coming.prompt_tokens.saturating_add(output_mean as u32),
            present: false,
            ended: false,
        });
        self.without_token[tier.index()] += 1;
        self.open += u32::from(matches!(self.slo(tier), Some(Slo::Latency { .. })));
        self.queues[tier.index()].push_back(id);
        self.pump();
    }

    /// Sends on whoever may go: by tier, then by age, then those who are late.
    pub(super) fn pump(&mut self) {
        for tier in 0..self.queues.len() {
            while let Some(&id) = self.queues[tier].front() {
                if self.out_of_time(id, tier) {
                    self.queues[tier].pop_front();
                    continue;
                }
                let Some(place) = self.place(id) else { break };
                self.queues[tier].pop_front();
                self.dispatch(id, place);
            }
            // Nobody passes somebody more important.
            if !self.queues[tier].is_empty() {
                return;
            }
        }
        while let Some(&id) = self.late.front() {
            let tier = self.flights[id as usize].tier.map_or(0, TierId::index);
            if self.gives_up(id, tier) {
                self.late.pop_front();
                self.conclude(id, false);
                continue;
            }
            let Some(place) = self.place(id) else { break };
            self.late.pop_front();
            self.dispatch(id, place);
        }
    }

    /// Whether the head of a queue has left it: refused, given up, or now served last.
    fn out_of_time(&mut self, id: u32, tier: usize) -> bool {
        if self.gives_up(id, tier) {
            self.conclude(id, false);
            return true;
        }
        let flight = self.flights[id as usize];
        let deadline = match self.slo(TierId(tier as u8)) {
            Some(Slo::Latency { ttft, .. }) => flight.arrived_at.saturating_add(ttft.as_picos()),
            Some(Slo::Completion { within, .. }) => {
                flight.arrived_at.saturating_add(within.as_picos())
            }
            None => Picos::MAX,
        };
        if self.now <= deadline {
            return false;
        }
        match self.course.world.tiers[tier].late {
            Late::Refuse => self.conclude(id, false),
            Late::ServeLast => self.late.push_back(id),
        }
        true
    }

    /// Clients of a tier that cannot wait hold their connection no longer than this.
    fn gives_up(&self, id: u32, tier: usize) -> bool {
        let rule = &self.course.world.tiers[tier];
        let held = self.now.saturating_sub(self.flights[id as usize].arrived_at);
        !rule.deferrable && held > rule.hold_max.as_picos()
    }

    fn place(&self, id: u32) -> Option<Place> {
        let flight = &self.flights[id as usize];
        let at_gate = self.course.request.live.queues_at == QueuesAt::Gate;
        let tier = flight.tier.map(TierId::index);
        let waits = at_gate && tier.is_some_and(|tier| self.course.world.tiers[tier].deferrable);
        let best = |prefill: bool| {
            let fits = |role: Role| (role == Role::Prefill) == prefill;
            let seats = self.seats.iter().enumerate().filter(|(index, seat)| {
                seat.open
                    && fits(seat.known.role)
                    && (!at_gate || seat.has_room(flight.kv_tokens))
                    && (!waits || self.spares(*index))
            });
            let crowd = |seat: &super::Seat<'_>| {
                let slots = if at_gate { seat.known.slots } else { 1.0 };
                (f64::from(seat.in_flight) / slots, seat.prefill_tokens)
            };
            let least = seats.min_by(|(_, left), (_, right)| {
                let (left, right) = (crowd(left), crowd(right));
                left.0.total_cmp(&right.0).then(left.1.cmp(&right.1))
            });
            least.map(|(index, _)| index as u32)
        };
        let seat = best(false)?;
        if self.seats[seat as usize].known.role == Role::Both {
            return Some((seat, None));
        }
        Some((seat, Some(best(true)?)))
    }

    /// Whether work that can wait may go there: it must not slow those down who cannot.
    fn spares(&self, index: usize) -> bool {
        let seat = &self.seats[index];
        let physics = &seat.known.physics;
        if seat.prefill_tokens * 2 >= u64::from(physics.token_budget()) {
            return false;
        }
        if seat.known.role == Role::Prefill {
            return true;
        }
        let step = physics.decode_step_picos(seat.in_flight + 1, seat.kv_tokens) as f64;
        let kv = seat.kv_tokens as f64 / physics.capacity_tokens().max(1) as f64;
        kv <= DEFERRABLE_KV_SHARE_MAX
            && self.course.tpot.is_none_or(|tpot| step <= DEFERRABLE_STEP_SHARE_MAX * tpot as f64)
    }

    fn dispatch(&mut self, id: u32, (seat, prefill): Place) {
        let overhead = |seat: u32| self.seats[seat as usize].known.overhead;
        let overhead = overhead(seat) + prefill.map_or(0, overhead);
        let flight = &mut self.flights[id as usize];
        (flight.seat, flight.prefill, flight.overhead) = (seat, prefill, overhead);
        match prefill {
            None => self.send(id, seat, Part::Whole),
            Some(prefill) => {
                // Its place in decode is taken from now on.
                let kv = u64::from(flight.kv_tokens);
                let decode = &mut self.seats[seat as usize];
                decode.in_flight += 1;
                decode.kv_tokens += kv;
                self.send(id, prefill, Part::Prefill);
            }
        }
    }

    /// Puts a request into an engine. The decode of a split request has its place already.
    pub(super) fn send(&mut self, id: u32, seat: u32, part: Part) {
        let flight = &self.flights[id as usize];
        let work = Work {
            request: RequestId(u64::from(id)),
            prompt_tokens: flight.prompt_tokens,
            output_tokens: flight.output_tokens,
            part,
            prefix: if flight.present { None } else { self.course.prefix(flight.prompt_tokens) },
        };
        let (kv, prompt) = (u64::from(flight.kv_tokens), u64::from(flight.prompt_tokens));
        let placed = part == Part::Decode && flight.prefill.is_some();
        let place = &mut self.seats[seat as usize];
        if !placed {
            place.in_flight += 1;
            place.kv_tokens += kv;
        }
        if part != Part::Decode {
            place.prefill_tokens += prompt;
        }
        self.operate(seat, |engine, now, events| engine.submit(now, work, events));
    }

    /// Does something to an engine, brought up to now before; what happens in it is heeded later.
    pub(super) fn operate(
        &mut self,
        seat: u32,
        operation: impl FnOnce(&mut Engine, Picos, &mut Vec<EngineEvent>),
    ) {
        let engine = &mut self.seats[seat as usize].engine;
        if engine.next_event_at().is_some_and(|at| at <= self.now) {
            engine.advance(self.now, &mut self.buffer);
        }
        operation(engine, self.now, &mut self.buffer);
        let due = engine.next_event_at().unwrap_or(Tournament::ABSENT);
        if due != self.due.key(seat as usize) {
            self.due.update(seat as usize, due);
        }
        self.news.extend(self.buffer.drain(..).map(|event| (seat, event)));
    }

    pub(super) fn heed(&mut self, seat: u32, event: EngineEvent) {
        let id = event.request.0 as u32;
        let flight = &mut self.flights[id as usize];
        match event.kind {
            EngineEventKind::FirstToken => {
                flight.first_token_at = Some(event.at + flight.overhead);
                let prompt = u64::from(flight.prompt_tokens);
                if let Some(tier) = flight.tier {
                    self.without_token[tier.index()] -= 1;
                }
                // Split requests left the prefill queue when their prompt was done.
                if flight.prefill.is_none() && !flight.present {
                    let seat = &mut self.seats[seat as usize];
                    seat.prefill_tokens = seat.prefill_tokens.saturating_sub(prompt);
                }
                self.pump();
            }
            EngineEventKind::Finished => {
                let at = event.at + flight.overhead;
                self.leave(id, seat);
                self.finished(id, at);
                self.pump();
            }
            EngineEventKind::PrefillDone => self.prefill_done(id, seat),
            EngineEventKind::KvWanted { tokens } => self.kv_wanted(id, tokens),
            EngineEventKind::TooLarge => {
                self.leave(id, seat);
                self.conclude(id, false);
                self.pump();
            }
        }
    }

    /// A request holds nothing in this seat any more.
    fn leave(&mut self, id: u32, seat: u32) {
        let (kv, now) = (u64::from(self.flights[id as usize].kv_tokens), self.now);
        let seat = &mut self.seats[seat as usize];
        seat.in_flight = seat.in_flight.saturating_sub(1);
        seat.kv_tokens = seat.kv_tokens.saturating_sub(kv);
        if let (0, Billed::Draining { latest }) = (seat.in_flight, seat.billed) {
            seat.billed = Billed::Until(now.min(latest));
        }
    }

    fn prefill_done(&mut self, id: u32, prefill: u32) {
        let flight = self.flights[id as usize];
        let place = &mut self.seats[prefill as usize];
        place.prefill_tokens = place.prefill_tokens.saturating_sub(u64::from(flight.prompt_tokens));
        if flight.tier.is_some() {
            self.send(id, flight.seat, Part::Decode);
            return;
        }
        // It was in this engine before the beginning: it decodes wherever the fewest are.
        let decodes = self
            .seats
            .iter()
            .enumerate()
            .filter(|(_, seat)| seat.open && seat.known.role == Role::Decode);
        let least = decodes.min_by_key(|(_, seat)| seat.in_flight).map(|(index, _)| index as u32);
        if let Some(decode) = least {
            self.flights[id as usize].seat = decode;
            self.seats[decode as usize].in_flight += 1;
            self.send(id, decode, Part::Decode);
        } else {
            self.release(id, prefill);
        }
    }

    fn kv_wanted(&mut self, id: u32, tokens: u32) {
        let flight = &self.flights[id as usize];
        let transfer = &self.course.fleet.transfer;
        let span = match flight.prefill {
            Some(prefill) if !flight.present => {
                let bytes_per_token = self.seats[prefill as usize].known.bytes_per_token;
                let bytes = f64::from(tokens) * bytes_per_token;
                transfer_picos(transfer.setup.as_picos(), bytes, transfer.bytes_per_second)
            }
            _ => 0,
        };
        if span == 0 {
            self.kv_arrived(id);
        } else {
            self.timers.push(Reverse((self.now.saturating_add(span), Timer::KvArrived(id))));
        }
    }

    pub(super) fn kv_arrived(&mut self, id: u32) {
        let Flight { seat, prefill, .. } = self.flights[id as usize];
        let request = RequestId(u64::from(id));
        self.operate(seat, |engine, now, _| engine.kv_loaded(now, request));
        if let Some(prefill) = prefill {
            self.release(id, prefill);
        }
    }

    /// A prefill engine may forget a request's KV.
    fn release(&mut self, id: u32, prefill: u32) {
        let request = RequestId(u64::from(id));
        self.operate(prefill, |engine, now, _| engine.release(now, request));
        self.leave(id, prefill);
    }

    fn finished(&mut self, id: u32, at: Picos) {
        let flight = self.flights[id as usize];
        let Some(tier) = flight.tier else { return };
        let end_to_end = at - flight.arrived_at;
        let attained = match (self.slo(tier), flight.first_token_at) {
            (None, _) => true,
            (Some(Slo::Completion { within, .. }), _) => end_to_end <= within.as_picos(),
            (Some(Slo::Latency { .. }), None) => false,
            (Some(Slo::Latency { ttft, tpot, .. }), Some(first)) => {
                let gaps = u64::from(flight.output_tokens - 1) * tpot.as_picos();
                if flight.output_tokens < TPOT_OUTPUT_TOKENS_MIN {
                    end_to_end <= ttft.as_picos() + gaps
                } else {
                    first - flight.arrived_at <= ttft.as_picos() && at - first <= gaps
                }
            }
        };
        self.conclude(id, attained);
    }

    /// The one outcome of a request.
    pub(super) fn conclude(&mut self, id: u32, attained: bool) {
        let flight = &mut self.flights[id as usize];
        let Some(tier) = flight.tier.filter(|_| !flight.ended) else { return };
        flight.ended = true;
        if flight.first_token_at.is_none() {
            self.without_token[tier.index()] -= 1;
        }
        let slo = self.slo(tier);
        if matches!(slo, Some(Slo::Latency { .. })) {
            self.open -= 1;
        }
        if slo.is_some() {
            let outcome = &mut self.tiers[tier.index()];
            outcome.judged += 1;
            outcome.attained += u32::from(attained);
        }
    }
}
