//! The endpoints as our gate keeps account of them: credits, prompts ahead, and who would serve a
//! request first.

use std::collections::VecDeque;

use super::credit::Credit;
use super::{EndpointLoad, RequestMap};
use crate::fleet::{Role, World};
use crate::ids::{EndpointId, FleetId, VariantId};
use crate::pick::{EndpointTable, Speed, Tournament};
use crate::time::{Span, Time};

/// Prompt tokens that may lie ahead on one engine, in prefill chunks: one being worked on and one
/// ready, so that the engine never waits for us and order is still decided here.
const CHUNKS_AHEAD_MAX: u64 = 2;

/// Shorter prompts are prefilled where they decode: they cost less than a transfer's set-up.
const SPLIT_TOKENS_MIN: u32 = 256;

/// What was dispatched this long before a scrape may wait for the step to end, not for capacity:
/// longer than a step with a full prefill chunk.
const SETTLE: Span = Span::from_millis(100);

/// Dispatches remembered within [`SETTLE`], per engine.
const RECENT_MAX: usize = 1_024;

/// One endpoint.
#[derive(Debug)]
struct Engine {
    credit: Credit,
    in_flight: u32,
    /// Prompt tokens placed there whose first token is not out.
    prompt_ahead: u64,
    draining: bool,
    /// Whether the last scrape, if there was one and none failed since, found nothing waiting.
    relaxed: bool,
    /// When the credit was last judged, or began to bind.
    judged_at: Time,
    recent: VecDeque<Time>,
}

/// The endpoints of one variant.
#[derive(Debug)]
struct Group {
    role: Role,
    speed: Speed,
    /// Sequences that keep the strictest TPOT; unlimited where nothing is promised.
    batch_max: u32,
    engines: EndpointTable<Engine>,
    /// By time until a new prompt's turn; absent without credit.
    order: Tournament,
    /// The same for deferrable work; absent also without room.
    room: Tournament,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) endpoint: EndpointId,
    pub(super) prefill: Option<EndpointId>,
    /// Predicted time to first token.
    pub(super) ttft: Span,
}

/// All endpoints of a fleet.
#[derive(Debug)]
pub(super) struct Engines {
    groups: Vec<Group>,
    first: u16,
    group_of: EndpointTable<usize>,
    tpot: Option<Span>,
}

/// Requests in flight as the gate remembers them; here because it mirrors what engines hold.
pub(super) type InFlight = RequestMap<Placed>;

/// A dispatched request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) endpoint: EndpointId,
    /// Until its prompt is done there.
    pub(super) prefill: Option<EndpointId>,
    /// Prompt tokens that still lie ahead on `endpoint`.
    pub(super) prompt_ahead: u32,
    pub(super) tier: crate::ids::TierId,
    pub(super) flow: u64,
    pub(super) prompt_tokens: u32,
    pub(super) output_expected: u32,
}

impl Engine {
    fn new(now: Time) -> Self {
        Self {
            credit: Credit::new(),
            in_flight: 0,
            prompt_ahead: 0,
            draining: false,
            relaxed: false,
            judged_at: now,
            recent: VecDeque::new(),
        }
    }

    /// Requests among what waits that were sent too recently to prove anything.
    fn unsettled(&mut self, at: Time) -> u32 {
        while self.recent.front().is_some_and(|sent| *sent + SETTLE < at) {
            self.recent.pop_front();
        }
        self.recent.len() as u32
    }
}

impl Group {
    fn slots(&self, engine: &Engine) -> u32 {
        engine.credit.requests_max().min(self.batch_max)
    }

    fn key(&self, engine: &Engine) -> u64 {
        let chunks = self.speed.chunk_tokens * CHUNKS_AHEAD_MAX;
        let full = engine.in_flight >= self.slots(engine) || engine.prompt_ahead >= chunks;
        if engine.draining || full {
            return Tournament::ABSENT;
        }
        self.turn_ns(engine) as u64
    }

    /// Time until a new prompt's turn.
    fn turn_ns(&self, engine: &Engine) -> f64 {
        let prompts = engine.prompt_ahead as f64 * self.speed.prompt_ns_per_token;
        prompts + f64::from(engine.in_flight) * self.speed.sequence_ns
    }

    fn room_key(&self, engine: &Engine) -> u64 {
        if engine.prompt_ahead >= (self.speed.chunk_tokens / 2).max(1) {
            return Tournament::ABSENT;
        }
        self.key(engine)
    }

    fn rebuild(&mut self) {
        let keys: Vec<_> = self.engines.values().iter().map(|engine| self.key(engine)).collect();
        let rooms: Vec<_> =
            self.engines.values().iter().map(|engine| self.room_key(engine)).collect();
        self.order.rebuild(keys.into_iter());
        self.room.rebuild(rooms.into_iter());
    }

    fn change(&mut self, endpoint: EndpointId, change: impl FnOnce(&mut Engine)) {
        // Requests may outlive their endpoint: then there is nothing to keep account of.
        if let Some(slot) = self.engines.slot(endpoint) {
            change(&mut self.engines.values_mut()[slot]);
            let engine = &self.engines.values()[slot];
            let (key, room) = (self.key(engine), self.room_key(engine));
            self.order.update(slot, key);
            self.room.update(slot, room);
        }
    }

    fn best(&self, only_room: bool) -> Option<(EndpointId, f64)> {
        let order = if only_room { &self.room } else { &self.order };
        let slot = order.least()?;
        Some((self.engines.id(slot), order.key(slot) as f64 + self.speed.base_ns))
    }
}

impl Engines {
    /// `tpot`: the strictest promise of the fleet.
    pub(super) fn new(world: &World, fleet: FleetId, tpot: Option<Span>, context: f64) -> Self {
        let transfer = &world.fleets[fleet.index()].transfer;
        let groups = world.variants_of(fleet).map(|(_, variant)| Group {
            role: variant.role,
            speed: Speed::new(&variant.profile, transfer, context),
            batch_max: u32::MAX,
            engines: EndpointTable::default(),
            order: Tournament::default(),
            room: Tournament::default(),
        });
        let mut engines = Self {
            groups: groups.collect(),
            first: world.fleets[fleet.index()].variants.start,
            group_of: EndpointTable::default(),
            tpot,
        };
        engines.learn_context(context);
        engines
    }

    /// Sequences read this many tokens of KV in the mean: how many of them keep the TPOT?
    pub(super) fn learn_context(&mut self, context_tokens: f64) {
        for group in &mut self.groups {
            let within = self.tpot.and_then(|tpot| group.speed.batch_within(tpot, context_tokens));
            let decodes = group.role != Role::Prefill;
            group.batch_max = within.filter(|_| decodes).unwrap_or(u32::MAX);
            group.rebuild();
        }
    }

    pub(super) fn ready(&mut self, now: Time, endpoint: EndpointId, variant: VariantId) {
        let index = usize::from(variant.0.saturating_sub(self.first));
        let Some(group) = self.groups.get_mut(index) else { return };
        self.group_of.insert(endpoint, index);
        match group.engines.get_mut(endpoint) {
            Some(engine) => engine.draining = false,
            None => {
                group.engines.insert(endpoint, Engine::new(now));
            }
        }
        group.rebuild();
    }

    pub(super) fn draining(&mut self, endpoint: EndpointId) {
        self.change(endpoint, |engine| engine.draining = true);
    }

    pub(super) fn gone(&mut self, endpoint: EndpointId) {
        if let Some(index) = self.group_of.remove(endpoint) {
            self.groups[index].engines.remove(endpoint);
            self.groups[index].rebuild();
        }
    }

    /// A scrape; gauges that are not numbers prove nothing.
    pub(super) fn scraped(
        &mut self,
        now: Time,
        endpoint: EndpointId,
        at: Time,
        load: EndpointLoad,
    ) {
        if load.running.is_nan() || load.waiting.is_nan() {
            return self.lost(endpoint);
        }
        self.change(endpoint, |engine| {
            let waiting = load.waiting as u32;
            (engine.relaxed, engine.judged_at) = (waiting == 0, now);
            // If only what was just sent waits, that proves neither room nor the lack of it.
            if waiting == 0 || waiting > engine.unsettled(at) {
                engine.credit.scraped(load.running as u32, waiting, engine.in_flight);
            }
        });
    }

    /// Without scrapes a credit stays as it is.
    pub(super) fn lost(&mut self, endpoint: EndpointId) {
        self.change(endpoint, |engine| engine.relaxed = false);
    }

    /// Judges credits that bind although nothing waited at the last scrape, and of which no scrape
    /// came since because it would have said the same.
    pub(super) fn grow(&mut self, now: Time, interval: Span) {
        for group in &mut self.groups {
            let mut grown = false;
            for engine in group.engines.values_mut() {
                if growth_at(engine, group.batch_max, interval).is_some_and(|at| at <= now) {
                    engine.credit.scraped(engine.in_flight, 0, engine.in_flight);
                    engine.judged_at = now;
                    grown = true;
                }
            }
            if grown {
                group.rebuild();
            }
        }
    }

    /// When [`Engines::grow`] has something to do next.
    pub(super) fn next_growth(&self, interval: Span) -> Option<Time> {
        let times = self.groups.iter().flat_map(|group| {
            let engines = group.engines.values().iter();
            engines.filter_map(|engine| growth_at(engine, group.batch_max, interval))
        });
        times.min()
    }

    /// Who would give this prompt its first token soonest, among those with credit (and room).
    pub(super) fn pick(&self, prompt_tokens: u32, only_room: bool) -> Option<Placement> {
        let tokens = f64::from(prompt_tokens);
        let splits = prompt_tokens >= SPLIT_TOKENS_MIN && self.any_prefill();
        let prefill = if splits { self.best_prefill(tokens, only_room) } else { None };
        let mut best: Option<(f64, Placement)> = None;
        for group in self.groups.iter().filter(|group| group.role != Role::Prefill) {
            let Some((endpoint, turn_ns)) = group.best(only_room) else { continue };
            let (ttft_ns, apart) = match (group.role, splits, prefill) {
                // Waiting for a prefill endpoint beats a long prompt on a decode endpoint.
                (Role::Decode, true, None) => continue,
                (Role::Decode, true, Some((prefill, prefill_ns))) => {
                    let moved = tokens * group.speed.transfer_ns_per_token;
                    (prefill_ns + group.speed.transfer_ns + moved + turn_ns, Some(prefill))
                }
                _ => (turn_ns + tokens * group.speed.prompt_ns_per_token, None),
            };
            if best.is_none_or(|(least, _)| ttft_ns < least) {
                let ttft = Span(ttft_ns as u64);
                best = Some((ttft_ns, Placement { endpoint, prefill: apart, ttft }));
            }
        }
        best.map(|(_, placement)| placement)
    }

    /// Who would give this prompt its first token soonest, credit or no credit.
    pub(super) fn pick_any(&self, prompt_tokens: u32) -> Option<Placement> {
        let tokens = f64::from(prompt_tokens);
        let serving = self.groups.iter().filter(|group| group.role != Role::Prefill);
        let turns = serving.flat_map(|group| {
            let own_ns = group.speed.base_ns + tokens * group.speed.prompt_ns_per_token;
            let open = group.engines.ids().iter().zip(group.engines.values());
            open.filter(|(_, engine)| !engine.draining)
                .map(move |(id, engine)| (*id, group.turn_ns(engine) + own_ns))
        });
        let (endpoint, ttft_ns) = turns.min_by(|left, right| left.1.total_cmp(&right.1))?;
        Some(Placement { endpoint, prefill: None, ttft: Span(ttft_ns as u64) })
    }

    /// Time to first token of this prompt on an empty engine of the fastest variant, and time per
    /// token after it; zero for a fleet without variants.
    pub(super) fn unloaded(&self, prompt_tokens: u32) -> (Span, Span) {
        let serving = self.groups.iter().filter(|group| group.role != Role::Decode);
        let ttft_ns = serving
            .map(|group| {
                group.speed.base_ns + f64::from(prompt_tokens) * group.speed.prompt_ns_per_token
            })
            .reduce(f64::min);
        let decoding = self.groups.iter().filter(|group| group.role != Role::Prefill);
        let step_ns = decoding.map(|group| group.speed.base_ns).reduce(f64::min);
        (Span(ttft_ns.unwrap_or(0.0) as u64), Span(step_ns.unwrap_or(0.0) as u64))
    }

    pub(super) fn take(&mut self, now: Time, placement: &Placement, prompt_tokens: u32) {
        let tokens = u64::from(prompt_tokens);
        let place = |engine: &mut Engine, tokens| {
            engine.in_flight += 1;
            engine.prompt_ahead += tokens;
            if engine.recent.len() == RECENT_MAX {
                engine.recent.pop_front();
            }
            engine.recent.push_back(now);
            if engine.in_flight == engine.credit.requests_max() {
                engine.judged_at = engine.judged_at.max(now);
            }
        };
        let here = if placement.prefill.is_some() { 0 } else { tokens };
        self.change(placement.endpoint, |engine| place(engine, here));
        if let Some(prefill) = placement.prefill {
            self.change(prefill, |engine| place(engine, tokens));
        }
    }

    /// The prompt is done on the endpoint that answers.
    pub(super) fn first_token(&mut self, endpoint: EndpointId, prompt_tokens: u32) {
        self.change(endpoint, |engine| {
            engine.prompt_ahead = engine.prompt_ahead.saturating_sub(u64::from(prompt_tokens));
        });
    }

    /// A request is gone from an endpoint, with what of its prompt lay ahead there.
    pub(super) fn release(&mut self, endpoint: EndpointId, prompt_tokens: u32) {
        self.change(endpoint, |engine| {
            engine.in_flight = engine.in_flight.saturating_sub(1);
            engine.prompt_ahead = engine.prompt_ahead.saturating_sub(u64::from(prompt_tokens));
        });
    }

    /// Requests of about this length for which there is room now.
    pub(super) fn room(&self, prompt_tokens: f64) -> u64 {
        let rooms =
            self.groups.iter().filter(|group| group.role != Role::Prefill).flat_map(|group| {
                group.engines.values().iter().map(|engine| {
                    if group.room_key(engine) == Tournament::ABSENT {
                        return 0;
                    }
                    let slots = group.slots(engine).saturating_sub(engine.in_flight);
                    let tokens = (group.speed.chunk_tokens / 2).saturating_sub(engine.prompt_ahead);
                    u64::from(slots).min((tokens as f64 / prompt_tokens.max(1.0)).ceil() as u64)
                })
            });
        rooms.sum()
    }

    fn any_prefill(&self) -> bool {
        let mut prefill = self.groups.iter().filter(|group| group.role == Role::Prefill);
        prefill.any(|group| group.engines.values().iter().any(|engine| !engine.draining))
    }

    fn best_prefill(&self, tokens: f64, only_room: bool) -> Option<(EndpointId, f64)> {
        let prefill = self.groups.iter().filter(|group| group.role == Role::Prefill);
        prefill
            .filter_map(|group| {
                let (endpoint, turn_ns) = group.best(only_room)?;
                Some((endpoint, turn_ns + tokens * group.speed.prompt_ns_per_token))
            })
            .min_by(|left, right| left.1.total_cmp(&right.1))
    }

    fn change(&mut self, endpoint: EndpointId, change: impl FnOnce(&mut Engine)) {
        if let Some(index) = self.group_of.get(endpoint) {
            self.groups[*index].change(endpoint, change);
        }
    }
}

/// When a scrape that says nothing new has surely passed since the credit began to bind: one and a
/// half intervals.
fn growth_at(engine: &Engine, batch_max: u32, interval: Span) -> Option<Time> {
    let binds = engine.credit.binds(engine.in_flight) && engine.credit.requests_max() < batch_max;
    let grows = binds && engine.relaxed && !engine.draining;
    grows.then_some(engine.judged_at + interval + Span(interval.0 / 2))
}
