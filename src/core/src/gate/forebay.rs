//! Our own gate: tiers strict with floors, flows fair by tokens, earliest deadline first, and
//! nothing dispatched without a credit. It wakes on events and never ticks.

use super::drain::Drain;
use super::engines::{Engines, InFlight, Placed, Placement};
use super::queue::{Held, Queue};
use super::{Arrival, Gate, GateEffect, GateEvent, Queued, Refusal, WouldHave};
use crate::fleet::{Late, Slo, World};
use crate::ids::{FleetId, RequestId, TierId};
use crate::time::{Span, Time};

/// Requests held at most: 20,000 bodies of 20 kB are 400 MB.
const QUEUE_REQUESTS_MAX: usize = 20_000;

/// Prompt tokens held at most: at 4 bytes each 1 GB, whatever the requests' lengths.
const QUEUE_TOKENS_MAX: u64 = 250_000_000;

/// Tokens of guaranteed share that a tier can save up: a few long prompts.
const FLOOR_TOKENS_MAX: f64 = 65_536.0;

/// Part of a predicted time by which it is usually wrong: a request that is to attain needs that
/// much more.
const PREDICTION_ERROR: f64 = 0.1;

/// Output and context lengths before anything has finished: those of chat in public traces.
const OUTPUT_TOKENS_INITIAL: f64 = 250.0;
/// See [`OUTPUT_TOKENS_INITIAL`].
const CONTEXT_TOKENS_INITIAL: f64 = 1_200.0;

/// Weight of one finished request in the mean lengths: they follow within a few hundred.
const LENGTH_GAIN: f64 = 0.005;

/// Finished requests between two looks at what batch the lengths allow.
const CONTEXT_PERIOD: u32 = 256;

/// Default interval of its own scrapes.
pub const SCRAPE_INTERVAL: Span = Span::from_millis(50);

/// Our gate, for one fleet.
#[derive(Debug)]
pub struct Forebay {
    tiers: Vec<Policy>,
    scrape_interval: Span,
    engines: Engines,
    queue: Queue,
    in_flight: InFlight,
    drain: Drain,
    context_tokens: f64,
    finished: u32,
    growth_at: Option<Time>,
    would_have: Vec<WouldHave>,
}

/// What the traffic policy and the fleet say of a tier, and what was learned of it.
#[derive(Debug)]
struct Policy {
    deferrable: bool,
    /// Whether its deadline is that of the whole answer.
    completes: bool,
    hold_max: Span,
    late: Late,
    floor: f64,
    /// Guaranteed share that it did not get yet, tokens.
    owed_tokens: f64,
    output_tokens: f64,
}

impl Forebay {
    /// A gate that holds nothing, for a fleet without endpoints.
    #[must_use]
    pub fn new(world: &World, fleet: FleetId, scrape_interval: Span) -> Self {
        let slos = &world.fleets[fleet.index()].slos;
        let tiers = world.tiers.iter().enumerate().map(|(index, tier)| Policy {
            deferrable: tier.deferrable,
            completes: matches!(slos.get(index), Some(Some(Slo::Completion { .. }))),
            hold_max: tier.hold_max,
            late: tier.late,
            floor: tier.floor.clamp(0.0, 1.0),
            owed_tokens: 0.0,
            output_tokens: OUTPUT_TOKENS_INITIAL,
        });
        let tpots = slos.iter().flatten().filter_map(|slo| match slo {
            Slo::Latency { tpot, .. } => Some(*tpot),
            Slo::Completion { .. } => None,
        });
        Self {
            engines: Engines::new(world, fleet, tpots.min(), CONTEXT_TOKENS_INITIAL),
            queue: Queue::new(world.tiers.len()),
            tiers: tiers.collect(),
            scrape_interval,
            in_flight: InFlight::default(),
            drain: Drain::default(),
            context_tokens: CONTEXT_TOKENS_INITIAL,
            finished: 0,
            growth_at: None,
            would_have: vec![WouldHave::default(); world.tiers.len()],
        }
    }

    fn arrived(&mut self, now: Time, arrival: &Arrival<'_>, effects: &mut Vec<GateEffect>) {
        let policy = &self.tiers[arrival.tier.index()];
        let (ttft, per_token) = self.engines.unloaded(arrival.prompt_tokens);
        let answer = if policy.completes { policy.output_tokens * per_token.0 as f64 } else { 0.0 };
        let needs = with_error(ttft.0 as f64 + answer);
        let mut held = Held {
            request: arrival.request,
            tier: arrival.tier,
            flow: arrival.flow,
            weight: arrival.weight,
            prompt_tokens: arrival.prompt_tokens,
            deadline: arrival.deadline,
            late_at: arrival.deadline - needs,
            hold_until: now + policy.hold_max,
            late: false,
        };
        if !arrival.enforced {
            return self.watch(now, &held, effects);
        }
        if held.late_at <= now {
            match policy.late {
                Late::Refuse => return self.refuse(now, &held, Refusal::Late, effects),
                Late::ServeLast => held.late = true,
            }
        }
        // With nothing else waiting it need not go through the queue.
        if self.queue.is_empty() && !held.late {
            match self.place(&held, self.tiers[held.tier.index()].deferrable) {
                Some(placement) => return self.send(now, &held, &placement, effects),
                None => return self.push(now, held, effects),
            }
        }
        self.push(now, held, effects);
        self.dispatch(now, effects);
    }

    /// Sends a request whatever the gate thinks of it, and counts what that is.
    fn watch(&mut self, now: Time, held: &Held, effects: &mut Vec<GateEffect>) {
        let credit = self.place(held, self.tiers[held.tier.index()].deferrable);
        let placement = credit.or_else(|| self.engines.pick_any(held.prompt_tokens));
        let would_have = &mut self.would_have[held.tier.index()];
        let Some(placement) = placement else {
            would_have.refused(Refusal::NoEndpoints);
            return self.refuse(now, held, Refusal::NoEndpoints, effects);
        };
        if held.late_at <= now {
            would_have.refused(Refusal::Late);
        } else if credit.is_some() && self.queue.is_empty() {
            would_have.sent += 1;
        } else {
            would_have.held += 1;
        }
        self.send(now, held, &placement, effects);
    }

    /// Takes a request into the queue; when that is full the lowest tier gives way.
    fn push(&mut self, now: Time, held: Held, effects: &mut Vec<GateEffect>) {
        let last_tier = TierId(u8::MAX);
        let tokens = self.queue.tokens_ahead(last_tier) + u64::from(held.prompt_tokens);
        if self.queue.len() >= QUEUE_REQUESTS_MAX || tokens > QUEUE_TOKENS_MAX {
            let victim = self.queue.last().copied();
            match victim.filter(|victim| victim.tier > held.tier || (victim.late && !held.late)) {
                Some(victim) => {
                    self.queue.remove(victim.request);
                    self.refuse(now, &victim, Refusal::Saturated, effects);
                }
                None => return self.refuse(now, &held, Refusal::Saturated, effects),
            }
        }
        self.queue.push(held);
    }

    fn refuse(&mut self, now: Time, held: &Held, reason: Refusal, effects: &mut Vec<GateEffect>) {
        let backlog = self.queue.tokens_ahead(held.tier) + u64::from(held.prompt_tokens);
        let retry_after = Some(self.drain.retry_after(now, backlog));
        effects.push(GateEffect::Refuse {
            request: held.request,
            reason,
            retry_after,
            place: None,
        });
    }

    /// Sends whatever has a credit, in order.
    fn dispatch(&mut self, now: Time, effects: &mut Vec<GateEffect>) {
        while !self.queue.is_empty() {
            let Some((held, placement)) = self.next() else { break };
            self.queue.remove(held.request);
            if !held.late && self.misses(now, &held, &placement) {
                self.turned_late(now, held, effects);
            } else {
                self.send(now, &held, &placement, effects);
            }
        }
    }

    /// The next request and its place; `None` when nothing may go.
    fn next(&self) -> Option<(Held, Placement)> {
        let tiers = || (0..self.tiers.len()).map(|index| TierId(index as u8));
        let placed = |held: &Held, only_room| {
            self.place(held, only_room).map(|placement| (*held, placement))
        };
        // What a floor guarantees goes first, room or no room.
        for tier in tiers().filter(|tier| self.tiers[tier.index()].owed_tokens > 0.0) {
            let Some(head) = self.queue.head(tier) else { continue };
            if self.tiers[tier.index()].owed_tokens >= self.cost(head) {
                return placed(head, false);
            }
        }
        for tier in tiers() {
            let Some(head) = self.queue.head(tier) else { continue };
            let deferrable = self.tiers[tier.index()].deferrable;
            match placed(head, deferrable) {
                // Without room for it, lower tiers that cannot wait may still go.
                None if deferrable => {}
                other => return other,
            }
        }
        let late = self.queue.late_head()?;
        placed(late, self.tiers[late.tier.index()].deferrable)
    }

    fn place(&self, held: &Held, only_room: bool) -> Option<Placement> {
        // Deferrable work enters only when nothing of a higher tier waits.
        if only_room && self.queue.any_above(held.tier) {
            return None;
        }
        self.engines.pick(held.prompt_tokens, only_room)
    }

    /// Whether the request would miss its deadline at this place.
    fn misses(&self, now: Time, held: &Held, placement: &Placement) -> bool {
        let policy = &self.tiers[held.tier.index()];
        let (_, per_token) = self.engines.unloaded(held.prompt_tokens);
        let answer = if policy.completes { policy.output_tokens * per_token.0 as f64 } else { 0.0 };
        now + with_error(placement.ttft.0 as f64 + answer) > held.deadline
    }

    fn turned_late(&mut self, now: Time, held: Held, effects: &mut Vec<GateEffect>) {
        match self.tiers[held.tier.index()].late {
            Late::Refuse => self.refuse(now, &held, Refusal::Late, effects),
            Late::ServeLast => self.queue.push(Held { late: true, ..held }),
        }
    }

    fn cost(&self, held: &Held) -> f64 {
        f64::from(held.prompt_tokens) + self.tiers[held.tier.index()].output_tokens
    }

    fn send(
        &mut self,
        now: Time,
        held: &Held,
        placement: &Placement,
        effects: &mut Vec<GateEffect>,
    ) {
        let cost = self.cost(held);
        let output_expected = self.tiers[held.tier.index()].output_tokens as u32;
        self.queue.charge(held.tier, held.flow, cost as i64);
        for (index, policy) in
            self.tiers.iter_mut().enumerate().filter(|(_, tier)| tier.floor > 0.0)
        {
            let own = if index == held.tier.index() { cost } else { 0.0 };
            let waits = self.queue.head(TierId(index as u8)).is_some();
            let owed = policy.owed_tokens + policy.floor * cost - own;
            policy.owed_tokens = if waits { owed.clamp(0.0, FLOOR_TOKENS_MAX) } else { 0.0 };
        }
        self.drain.dispatched(now, u64::from(held.prompt_tokens));
        self.engines.take(now, placement, held.prompt_tokens);
        let Placement { endpoint, prefill, .. } = *placement;
        self.in_flight.insert(
            held.request,
            Placed {
                endpoint,
                prefill,
                prompt_ahead: if prefill.is_some() { 0 } else { held.prompt_tokens },
                tier: held.tier,
                flow: held.flow,
                prompt_tokens: held.prompt_tokens,
                output_expected,
            },
        );
        effects.push(GateEffect::Dispatch { request: held.request, endpoint, prefill });
    }

    /// The prompt of a request is done: its place in the prefill order is free.
    fn prompt_done(&mut self, request: RequestId, first_token: bool) {
        let Some(placed) = self.in_flight.get_mut(&request) else { return };
        if let Some(prefill) = placed.prefill.take() {
            self.engines.release(prefill, placed.prompt_tokens);
        }
        if first_token {
            let ahead = std::mem::take(&mut placed.prompt_ahead);
            self.engines.first_token(placed.endpoint, ahead);
        }
    }

    fn ended(&mut self, request: RequestId, output_tokens: Option<u32>) {
        let Some(placed) = self.in_flight.remove(&request) else { return };
        if let Some(prefill) = placed.prefill {
            self.engines.release(prefill, placed.prompt_tokens);
        }
        self.engines.release(placed.endpoint, placed.prompt_ahead);
        // What it was charged too much comes back; without an answer the output was not had.
        let had = i64::from(output_tokens.unwrap_or(0));
        self.queue.charge(placed.tier, placed.flow, had - i64::from(placed.output_expected));
        if let Some(output_tokens) = output_tokens {
            self.learn_lengths(placed.tier, placed.prompt_tokens, output_tokens);
        }
    }

    fn learn_lengths(&mut self, tier: TierId, prompt_tokens: u32, output_tokens: u32) {
        let output = f64::from(output_tokens);
        let policy = &mut self.tiers[tier.index()];
        policy.output_tokens += LENGTH_GAIN * (output - policy.output_tokens);
        // A sequence reads its prompt and half of its answer in the mean; long answers are read
        // for longer, which a mean over requests understates.
        let context = f64::from(prompt_tokens) + output / 2.0;
        self.context_tokens += LENGTH_GAIN * (context - self.context_tokens);
        self.finished += 1;
        if self.finished.is_multiple_of(CONTEXT_PERIOD) {
            self.engines.learn_context(self.context_tokens);
        }
    }

    /// Decides about everything whose time has come.
    fn due(&mut self, now: Time, effects: &mut Vec<GateEffect>) {
        while let Some((_, request)) = self.queue.next_timer().filter(|(at, _)| *at <= now) {
            let Some(held) = self.queue.remove(request) else { break };
            if held.hold_until <= now {
                self.refuse(now, &held, Refusal::TtlExpired, effects);
            } else {
                self.turned_late(now, held, effects);
            }
        }
    }
}

fn with_error(nanos: f64) -> Span {
    Span((nanos * (1.0 + PREDICTION_ERROR)) as u64)
}

impl Gate for Forebay {
    fn step(&mut self, now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>) {
        match event {
            GateEvent::Arrived(arrival) => {
                self.arrived(now, arrival, effects);
                return self.arrange(now, effects);
            }
            GateEvent::FirstToken { request } => self.prompt_done(request, true),
            GateEvent::PrefillDone { request } => self.prompt_done(request, false),
            GateEvent::Finished { request, output_tokens } => {
                self.ended(request, Some(output_tokens));
            }
            GateEvent::Failed { request } => self.ended(request, None),
            GateEvent::ClientGone { request } => {
                if self.queue.remove(request).is_none() {
                    self.ended(request, None);
                }
            }
            GateEvent::EndpointReady { endpoint, variant, .. } => {
                self.engines.ready(now, endpoint, variant);
            }
            GateEvent::EndpointDraining { endpoint } => self.engines.draining(endpoint),
            GateEvent::EndpointGone { endpoint } => self.engines.gone(endpoint),
            GateEvent::Scraped { endpoint, at, load } => {
                self.engines.scraped(now, endpoint, at, load);
            }
            GateEvent::ScrapeLost { endpoint } => self.engines.lost(endpoint),
            GateEvent::Outlook(_) => {}
            GateEvent::Due => self.due(now, effects),
        }
        self.dispatch(now, effects);
        self.arrange(now, effects);
    }

    fn next_deadline(&self) -> Option<Time> {
        let timer = self.queue.next_timer().map(|(at, _)| at);
        timer.into_iter().chain(self.growth_at).min()
    }

    fn queued(&self, tier: TierId) -> Queued {
        self.queue.queued(tier)
    }

    fn scrape_interval(&self) -> Option<Span> {
        Some(self.scrape_interval)
    }

    fn would_have(&self, tier: TierId) -> Option<WouldHave> {
        self.would_have.get(tier.index()).copied()
    }

    fn budget(&self, _now: Time, tier: TierId) -> Option<u64> {
        if self.queue.any_above(tier) {
            return Some(0);
        }
        let room = self.engines.room(self.context_tokens);
        Some(room.saturating_sub(self.queue.queued(tier).requests))
    }
}

impl Forebay {
    /// Credits that could grow matter only while something waits. Those that could have grown
    /// before anybody needed it grow now; each grows once at a time, so this ends.
    fn arrange(&mut self, now: Time, effects: &mut Vec<GateEffect>) {
        self.growth_at = None;
        while !self.queue.is_empty() {
            self.growth_at = self.engines.next_growth(self.scrape_interval);
            if self.growth_at.is_none_or(|at| at > now) {
                return;
            }
            self.growth_at = None;
            self.engines.grow(now, self.scrape_interval);
            self.dispatch(now, effects);
        }
    }
}
