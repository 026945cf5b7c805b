//! Our own gate: tiers strict with floors, tenants and users fair by tokens, earliest deadline
//! first, and nothing dispatched without a credit. It wakes on events and never ticks.

use super::engines::{Engines, InFlight, Lengths};
use super::line::Line;
use super::policy::{Mean, OUTPUT_TOKENS_INITIAL, Policy};
use super::queue::Queue;
use super::returning::Returning;
use super::supply::Supply;
use super::{Account, Gate, GateEffect, GateEvent, Queued, WouldHave};
use crate::engine::profile::EngineProfile;
use crate::fleet::{Slo, World};
use crate::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use crate::time::{Span, Time};

/// Context and prompt length before anything has finished: those of chat in public traces.
const CONTEXT_TOKENS_INITIAL: f64 = 1_200.0;
/// See [`CONTEXT_TOKENS_INITIAL`].
const UNCACHED_TOKENS_INITIAL: f64 = 1_000.0;

/// Finished requests between two looks at what batch the lengths allow.
const LENGTHS_PERIOD: u32 = 256;

/// Default interval of its own scrapes.
pub const SCRAPE_INTERVAL: Span = Span::from_millis(50);

/// Our gate, for one fleet.
#[derive(Debug)]
pub struct Forebay {
    pub(super) tiers: Vec<Policy>,
    pub(super) engines: Engines,
    pub(super) queue: Queue,
    pub(super) in_flight: InFlight,
    pub(super) supply: Supply,
    pub(super) line: Line,
    pub(super) returning: Returning,
    pub(super) would_have: Vec<WouldHave>,
    /// Whether capacity was short after the last step.
    pub(super) crowded: bool,
    scrape_interval: Span,
    context_tokens: Mean,
    uncached_tokens: Mean,
    output_tokens: Mean,
    finished: u32,
    look_at: Option<Time>,
    mended: u64,
}

impl Forebay {
    /// A gate that holds nothing, for a fleet without endpoints. `scrape_interval` is how often
    /// its driver scrapes each of them; where none can be scraped, any.
    #[must_use]
    pub fn new(world: &World, fleet: FleetId, scrape_interval: Span) -> Self {
        let slos = &world.fleets[fleet.index()].slos;
        let tpots = slos.iter().flatten().filter_map(|slo| match slo {
            Slo::Latency { tpot, .. } => Some(*tpot),
            Slo::Completion { .. } => None,
        });
        let lengths = Lengths {
            context: CONTEXT_TOKENS_INITIAL,
            uncached: UNCACHED_TOKENS_INITIAL,
            output: OUTPUT_TOKENS_INITIAL,
        };
        let tiers = world.tiers.len();
        Self {
            engines: Engines::new(world, fleet, tpots.min(), lengths),
            queue: Queue::new(tiers),
            tiers: Policy::all(world, fleet),
            in_flight: InFlight::default(),
            supply: Supply::new(),
            line: Line::new(tiers),
            returning: Returning::default(),
            would_have: vec![WouldHave::default(); tiers],
            crowded: false,
            scrape_interval,
            context_tokens: Mean::starting_at(lengths.context),
            uncached_tokens: Mean::starting_at(lengths.uncached),
            output_tokens: Mean::starting_at(lengths.output),
            finished: 0,
            look_at: None,
            mended: 0,
        }
    }

    /// Requests that were taken off an endpoint's account because no page of it showed them for
    /// long: their ends got lost.
    #[must_use]
    pub const fn mended(&self) -> u64 {
        self.mended
    }

    /// Whether something waits for capacity; deferrable work waits for other reasons too.
    fn is_crowded(&self) -> bool {
        let mut tiers = self.tiers.iter().enumerate();
        tiers.any(|(index, tier)| !tier.deferrable && self.queue.waits(TierId(index as u8)))
    }

    /// The prompt of a request is done: its place in the prefill order is free.
    fn prompt_done(&mut self, now: Time, request: RequestId, first_token: bool) {
        let Some(placed) = self.in_flight.get_mut(&request) else { return };
        self.engines.prefilled(now, request, placed);
        if first_token {
            self.engines.first_token(now, request, placed);
        }
    }

    fn ended(&mut self, now: Time, request: RequestId, output_tokens: Option<u32>) {
        let Some(placed) = self.in_flight.remove(&request) else { return };
        self.engines.release(now, request, &placed, output_tokens);
        // What it was charged too much comes back; without an answer the output was not had.
        let had = i64::from(output_tokens.unwrap_or(0));
        let correction = had - i64::from(placed.output_expected);
        self.queue.charge(placed.tier, placed.flow, placed.user, correction);
        if let Some(output_tokens) = output_tokens {
            let (prompt, output) = (f64::from(placed.prompt_tokens), f64::from(output_tokens));
            self.tiers[placed.tier.index()].output_tokens.learn(output);
            self.output_tokens.learn(output);
            self.uncached_tokens.learn(f64::from(placed.uncached_tokens()));
            // A sequence reads its prompt and half of its answer in the mean; long answers are
            // read for longer, which a mean over requests understates.
            self.context_tokens.learn(prompt + output / 2.0);
            self.finished += 1;
            if self.finished.is_multiple_of(LENGTHS_PERIOD) {
                self.engines.learn(Lengths {
                    context: self.context_tokens.value,
                    uncached: self.uncached_tokens.value,
                    output: self.output_tokens.value,
                });
            }
        }
    }

    /// The engine failed it: whoever asked had nothing, and is charged for nothing. Sent again, it
    /// is charged again, so one request is charged once.
    fn failed(&mut self, now: Time, request: RequestId) {
        if let Some(placed) = self.in_flight.get(&request) {
            let prompt = -i64::from(placed.prompt_tokens);
            self.queue.charge(placed.tier, placed.flow, placed.user, prompt);
        }
        self.ended(now, request, None);
    }

    /// Another profile of a variant is in force. What waits is judged by it when its time comes.
    fn relearn(&mut self, variant: VariantId, profile: &EngineProfile) {
        let before = self.engines.tokens_per_second();
        self.engines.relearn(variant, profile);
        let after = self.engines.tokens_per_second();
        let rate = self.engines.tokens_per_second_of(variant);
        self.supply.relearned(variant, rate, before, after);
    }

    /// Forgets the oldest requests of an endpoint that have been missing there since then.
    fn mend(&mut self, now: Time, endpoint: EndpointId, count: u32, since: Time) {
        let there = self.in_flight.iter().filter(|(_, placed)| {
            placed.placement.endpoint == endpoint && !placed.elsewhere && placed.sent_at <= since
        });
        let mut lost: Vec<RequestId> = there.map(|(request, _)| *request).collect();
        lost.sort_unstable();
        for request in lost.into_iter().take(count as usize) {
            self.ended(now, request, None);
            self.mended += 1;
        }
    }

    /// Credits that could grow matter only while something waits. Those that could have grown
    /// before anybody needed it grow now; each grows once at a time, so this ends.
    fn arrange(&mut self, now: Time, effects: &mut Vec<GateEffect>) {
        self.look_at = None;
        while !self.queue.is_empty() {
            self.look_at = self.engines.next_look(self.scrape_interval);
            if self.look_at.is_none_or(|at| at > now) {
                return;
            }
            self.look_at = None;
            if !self.engines.look(now, self.scrape_interval) {
                return;
            }
            self.dispatch(now, effects);
        }
    }
}

impl Gate for Forebay {
    fn step(&mut self, now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>) {
        let foretold = self.engines.tokens_per_second();
        self.supply.pass(now, self.crowded, foretold);
        match event {
            GateEvent::Arrived(arrival) => {
                self.arrived(now, arrival, effects);
                self.arrange(now, effects);
                self.crowded = self.is_crowded();
                return;
            }
            GateEvent::FirstToken { request } => self.prompt_done(now, request, true),
            GateEvent::PrefillDone { request } => self.prompt_done(now, request, false),
            GateEvent::Finished { request, output_tokens } => {
                self.ended(now, request, Some(output_tokens));
            }
            GateEvent::Failed { request } => self.failed(now, request),
            GateEvent::ClientGone { request } => {
                if self.queue.remove(request).is_none() {
                    self.ended(now, request, None);
                }
            }
            GateEvent::EndpointReady { endpoint, variant, .. } => {
                self.engines.ready(now, endpoint, variant);
            }
            GateEvent::EndpointDraining { endpoint } => self.engines.draining(now, endpoint),
            GateEvent::EndpointGone { endpoint } => self.engines.gone(endpoint),
            GateEvent::Scraped { endpoint, at, load } => {
                if let Some((count, since)) = self.engines.scraped(now, endpoint, at, load) {
                    self.mend(now, endpoint, count, since);
                }
            }
            GateEvent::ScrapeLost { endpoint } => self.engines.lost(now, endpoint),
            GateEvent::Outlook(outlook) => {
                let engines = &self.engines;
                let rates = outlook
                    .coming
                    .iter()
                    .map(|coming| (*coming, engines.tokens_per_second_of(coming.variant)));
                self.supply.outlook(rates, outlook.on_demand);
            }
            GateEvent::Learned { variant, profile } => self.relearn(variant, profile),
            GateEvent::Due => {}
        }
        self.due(now, effects);
        self.dispatch(now, effects);
        self.arrange(now, effects);
        self.crowded = self.is_crowded();
    }

    fn next_deadline(&self) -> Option<Time> {
        let timer = self.queue.next_timer().map(|(at, _)| at);
        timer.into_iter().chain(self.look_at).min()
    }

    fn queued(&self, tier: TierId) -> Queued {
        self.queue.queued(tier)
    }

    fn scrape_interval(&self) -> Option<Span> {
        Some(self.scrape_interval)
    }

    fn account(&self, endpoint: EndpointId) -> Option<Account> {
        self.engines.account(endpoint)
    }

    fn would_have(&self, tier: TierId) -> Option<WouldHave> {
        self.would_have.get(tier.index()).copied()
    }

    fn budget(&self, now: Time, tier: TierId) -> Option<u64> {
        if self.queue.any_above(tier) || !self.may_enter(now, tier) {
            return Some(0);
        }
        let room = self.engines.room(self.context_tokens.value);
        Some(room.saturating_sub(self.queue.queued(tier).requests))
    }
}
