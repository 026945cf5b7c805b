//! One plan through one scenario: engines, a queue by priority, and little else.

mod fleet;
mod serve;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use forebay_core::engine::{Engine, EngineEvent};
use forebay_core::fleet::{Role, Slo};
use forebay_core::ids::TierId;
use forebay_core::pick::Tournament;
use forebay_core::plan::roll::Candidate;
use forebay_core::time::{Picos, Span};

use super::course::{Course, Known};
use super::scenario::Scenario;

/// After the horizon nobody arrives; those who have may still finish for this long.
const RUN_OFF: Span = Span::from_secs(120);

/// What became of one plan in one scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// By tier.
    pub(super) tiers: Vec<TierOutcome>,
    /// Dollars over the horizon.
    pub(super) cost: f64,
    /// Requests simulated, those that ran already included.
    pub(super) requests: u64,
}

/// What became of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct TierOutcome {
    pub(super) judged: u32,
    pub(super) attained: u32,
    /// Without a first token at the end of the horizon.
    pub(super) backlog: u32,
}

/// A place for one engine.
struct Seat<'a> {
    known: &'a Known,
    engine: Engine,
    /// Takes requests.
    open: bool,
    in_flight: u32,
    /// Prompt tokens sent here without a first token.
    prefill_tokens: u64,
    /// KV tokens promised to those in flight.
    kv_tokens: u64,
    billed: Billed,
}

/// What of the horizon a replica costs.
#[derive(Clone, Copy)]
enum Billed {
    /// All of it.
    Throughout,
    /// Until its requests are done, at most until then.
    Draining { latest: Picos },
    /// Until then.
    Until(Picos),
    /// Nothing: it has no node.
    Never,
}

/// One request.
#[derive(Clone, Copy)]
struct Flight {
    /// `None` = it was running before and is not judged.
    tier: Option<TierId>,
    prompt_tokens: u32,
    output_tokens: u32,
    arrived_at: Picos,
    first_token_at: Option<Picos>,
    /// Where it runs or will decode.
    seat: u32,
    /// Where its prompt is computed, if elsewhere.
    prefill: Option<u32>,
    overhead: Picos,
    kv_tokens: u32,
    /// Its KV is here already: nothing to transfer.
    present: bool,
    ended: bool,
}

/// What happens at a known time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Ready(u32),
    KvArrived(u32),
}

/// One plan on its way through one scenario.
pub(super) struct Rollout<'a> {
    course: &'a Course<'a>,
    scenario: &'a Scenario,
    now: Picos,
    seats: Vec<Seat<'a>>,
    /// When each engine is due.
    due: Tournament,
    timers: BinaryHeap<Reverse<(Picos, Timer)>>,
    flights: Vec<Flight>,
    /// By tier: who waits at the gate.
    queues: Vec<VecDeque<u32>>,
    /// Those who cannot attain any more and are served last.
    late: VecDeque<u32>,
    /// Events of engines that nobody has heeded yet.
    news: VecDeque<(u32, EngineEvent)>,
    buffer: Vec<EngineEvent>,
    tiers: Vec<TierOutcome>,
    /// By tier: requests that have come and have no first token.
    without_token: Vec<u32>,
    /// Requests with a latency objective whose outcome is open.
    open: u32,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(course: &'a Course<'a>, scenario: &'a Scenario, plan: &'a Candidate) -> Self {
        let tiers = course.world.tiers.len();
        let mut rollout = Self {
            course,
            scenario,
            now: scenario.begins,
            seats: Vec::new(),
            due: Tournament::default(),
            timers: BinaryHeap::new(),
            flights: Vec::with_capacity(scenario.arrivals.len()),
            queues: vec![VecDeque::new(); tiers],
            late: VecDeque::new(),
            news: VecDeque::new(),
            buffer: Vec::new(),
            tiers: vec![TierOutcome::default(); tiers],
            without_token: vec![0; tiers],
            open: 0,
        };
        rollout.take_seats(plan);
        rollout
    }

    /// Carries the scenario out to its end, and then until every outcome is known.
    pub(super) fn run(mut self) -> Outcome {
        let (ends, mut arrivals) = (self.scenario.ends, self.scenario.arrivals.iter().peekable());
        let cut = ends.saturating_add(RUN_OFF.as_picos());
        let mut over = false;
        loop {
            let engine = self.due.least().map(|seat| (self.due.key(seat), seat));
            let timer_at = self.timers.peek().map_or(Picos::MAX, |Reverse((at, _))| *at);
            let engine_at = engine.map_or(Picos::MAX, |(at, _)| at);
            let arrival_at = arrivals.peek().map_or(Picos::MAX, |coming| coming.at);
            let at = timer_at.min(engine_at).min(arrival_at);
            if !over && at > ends {
                over = true;
                for (tier, count) in self.tiers.iter_mut().zip(&self.without_token) {
                    tier.backlog = *count;
                }
            }
            if at == Picos::MAX || at > cut || (over && self.open == 0) {
                break;
            }
            // Those who wait already came before the beginning.
            self.now = at.max(self.now);
            if timer_at == at {
                if let Some(Reverse((_, timer))) = self.timers.pop() {
                    self.timer(timer);
                }
            } else if let (true, Some((_, seat))) = (engine_at == at, engine) {
                self.operate(seat as u32, |_, _, _| {});
            } else if let Some(coming) = arrivals.next() {
                self.arrive(coming);
            }
            self.heed_all();
        }
        self.finish()
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Ready(seat) => self.seats[seat as usize].open = true,
            Timer::KvArrived(id) => self.kv_arrived(id),
        }
        self.pump();
    }

    fn heed_all(&mut self) {
        while let Some((seat, event)) = self.news.pop_front() {
            self.heed(seat, event);
        }
    }

    fn finish(mut self) -> Outcome {
        // Whoever has a first token in time and decodes still is judged by that.
        for index in 0..self.flights.len() {
            let flight = self.flights[index];
            let Some(tier) = flight.tier.filter(|_| !flight.ended) else { continue };
            match self.slo(tier) {
                Some(Slo::Latency { ttft, .. }) => {
                    let first = flight.first_token_at;
                    let attained =
                        first.is_some_and(|at| at - flight.arrived_at <= ttft.as_picos());
                    self.conclude(index as u32, attained);
                }
                // Its deadline lies beyond the horizon: nobody knows yet.
                Some(Slo::Completion { within, .. })
                    if flight.arrived_at.saturating_add(within.as_picos()) <= self.now =>
                {
                    self.conclude(index as u32, false);
                }
                _ => {}
            }
        }
        let (begins, ends) = (self.scenario.begins, self.scenario.ends);
        let cost = self.seats.iter().map(|seat| seat.cost(begins, ends)).sum();
        Outcome { tiers: self.tiers, cost, requests: self.flights.len() as u64 }
    }

    fn slo(&self, tier: TierId) -> Option<&'a Slo> {
        self.course.fleet.slos.get(tier.index())?.as_ref()
    }
}

impl Seat<'_> {
    fn cost(&self, begins: Picos, ends: Picos) -> f64 {
        let until = match self.billed {
            Billed::Never => return 0.0,
            Billed::Throughout => ends,
            Billed::Draining { latest: at } | Billed::Until(at) => at.clamp(begins, ends),
        };
        let hours = Span((until - begins) / 1_000).as_hours();
        self.known.usd_per_hour.unwrap_or(0.0) * hours
    }

    /// Whether a request of that many KV tokens may come here without waiting in the engine.
    fn has_room(&self, kv_tokens: u32) -> bool {
        let physics = &self.known.physics;
        let free = physics.capacity_tokens().saturating_sub(self.kv_tokens);
        let prefills = self.known.role != Role::Decode;
        let behind = prefills && self.prefill_tokens >= u64::from(physics.token_budget());
        self.open
            && !behind
            && self.in_flight < physics.sequences_max()
            && (self.in_flight == 0 || u64::from(kv_tokens) <= free)
    }
}
