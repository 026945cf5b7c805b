//! Engines with physics of their own behind a gate that is told nothing of them, for tests.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::{Arrival, EndpointLoad, Forebay, Gate, GateEffect, GateEvent, Refusal};
use crate::fleet::{Late, Role, Slo, Tier, World};
use crate::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use crate::plan::testing;
use crate::time::{Span, Time};

/// How often pages are read.
const PAGES: Span = Span::from_millis(1_000);

/// What engines do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Physics {
    /// Answers at a time.
    pub(super) slots: usize,
    /// Time to the first token of an empty prompt.
    pub(super) first: Span,
    /// Of each prompt token.
    pub(super) per_token: Span,
    /// Between two tokens of an answer.
    pub(super) gap: Span,
    pub(super) output_tokens: u32,
    /// Whether answers come token by token.
    pub(super) streams: bool,
}

impl Physics {
    /// An engine as the profile of [`testing::profile`] has it, but for its batches, with answers
    /// of 50 tokens.
    pub(super) const fn toy(slots: usize) -> Self {
        Self {
            slots,
            first: Span::from_millis(10),
            per_token: Span(40_000),
            gap: Span::from_millis(11),
            output_tokens: 50,
            streams: true,
        }
    }

    pub(super) fn ttft(&self, prompt_tokens: u32) -> Span {
        Span(self.first.0 + self.per_token.0 * u64::from(prompt_tokens))
    }

    /// Time of a whole answer.
    pub(super) fn service(&self, prompt_tokens: u32) -> Span {
        Span(self.ttft(prompt_tokens).0 + self.gap.0 * u64::from(self.output_tokens - 1))
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Refused(Refusal),
    /// Its first token came after this time.
    Answered(Span),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) tier: TierId,
    pub(super) arrived: Time,
    pub(super) within: Span,
    pub(super) fate: Fate,
}

impl Outcome {
    /// Whether its first token came in time.
    pub(super) fn attained(&self) -> bool {
        matches!(self.fate, Fate::Answered(ttft) if ttft <= self.within)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    First(RequestId),
    Finish(usize, RequestId),
    Page(usize),
}

#[derive(Default)]
struct Engine {
    running: usize,
    waiting: VecDeque<RequestId>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    tier: TierId,
    prompt_tokens: u32,
    arrived: Time,
    within: Span,
}

/// A gate and engines.
pub(super) struct Bench {
    pub(super) gate: Forebay,
    pub(super) now: Time,
    pub(super) physics: Physics,
    pub(super) outcomes: Vec<Outcome>,
    /// Prompt and answer of all that was sent, by tier.
    pub(super) sent_tokens: Vec<u64>,
    /// Dispatches that went ahead of a request of a higher tier.
    pub(super) inversions: u32,
    engines: Vec<Engine>,
    calendar: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    open: BTreeMap<RequestId, Asked>,
    random: u64,
}

/// A fleet of one variant with these tiers, highest first: floor of each, and what becomes of who
/// is late. First tokens within 2 s are promised to all.
pub(super) fn world(floors: &[f64], late: Late) -> World {
    let mut world = testing::world(&[("toy", Role::Both)]);
    let slo =
        Slo::Latency { ttft: Span::from_secs(2), tpot: Span::from_millis(100), percentile: 0.99 };
    let tier = |(index, floor): (usize, &f64)| Tier {
        name: format!("tier{index}"),
        priority: -(index as i32),
        floor: *floor,
        late,
        ..world.tiers[0].clone()
    };
    world.tiers = floors.iter().enumerate().map(tier).collect();
    world.fleets[0].slos = vec![Some(slo); floors.len()];
    world
}

/// Uniform in 0..1 (splitmix64).
pub(super) const fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Bench {
    pub(super) fn new(world: &World, engines: usize, physics: Physics, seed: u64) -> Self {
        let mut bench = Self {
            gate: Forebay::new(world, FleetId(0), PAGES),
            now: Time::ZERO,
            physics,
            outcomes: Vec::new(),
            sent_tokens: vec![0; world.tiers.len()],
            inversions: 0,
            engines: (0..engines).map(|_| Engine::default()).collect(),
            calendar: BinaryHeap::new(),
            sequence: 0,
            open: BTreeMap::new(),
            random: seed,
        };
        for engine in 0..engines {
            let (endpoint, variant) = (EndpointId(engine as u32), VariantId(0));
            bench.tell(GateEvent::EndpointReady { endpoint, variant, role: Role::Both });
            bench.schedule(
                Time::ZERO + Span(PAGES.0 * engine as u64 / engines as u64),
                Event::Page(engine),
            );
        }
        bench
    }

    pub(super) fn random(&mut self) -> f64 {
        uniform(&mut self.random)
    }

    /// Arrivals at these rates per second by tier, from now on for so long, memoryless; `prompt`
    /// says of what length, `within` how soon.
    pub(super) fn offer(
        &mut self,
        rates: &[f64],
        span: Span,
        within: Span,
        mut prompt: impl FnMut(f64) -> u32,
    ) {
        let end = self.now + span;
        let total: f64 = rates.iter().sum();
        loop {
            let gap = Span::from_seconds(-(1.0 - self.random()).ln() / total);
            if self.now + gap > end {
                break self.run_until(end);
            }
            self.run_until(self.now + gap);
            let mut draw = self.random() * total;
            let tier = rates.iter().position(|rate| {
                draw -= rate;
                draw < 0.0
            });
            let tokens = prompt(self.random());
            self.arrive(TierId(tier.unwrap_or(0) as u8), tokens, within);
        }
    }

    pub(super) fn arrive(&mut self, tier: TierId, prompt_tokens: u32, within: Span) {
        self.sequence += 1;
        let request = RequestId(self.sequence);
        self.open.insert(request, Asked { tier, prompt_tokens, arrived: self.now, within });
        let flow = (self.random() * 8.0) as u64;
        let arrival =
            Arrival { flow, ..Arrival::new(request, tier, prompt_tokens, self.now + within) };
        self.tell(GateEvent::Arrived(&arrival));
    }

    pub(super) fn run_until(&mut self, until: Time) {
        loop {
            let due = self.gate.next_deadline().filter(|due| *due <= until);
            let next = self.calendar.peek().map(|Reverse((at, ..))| *at);
            let next = next.filter(|at| *at <= until);
            match (due, next) {
                (None, None) => break,
                (Some(due), next) if next.is_none_or(|next| due < next) => {
                    self.now = due.max(self.now);
                    self.tell(GateEvent::Due);
                }
                _ => self.happen(),
            }
        }
        self.now = until;
    }

    /// Requests that nobody has answered or refused.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    fn happen(&mut self) {
        let Some(Reverse((at, _, event))) = self.calendar.pop() else { return };
        self.now = at;
        match event {
            Event::First(request) => self.first(request),
            Event::Finish(engine, request) => {
                if !self.physics.streams {
                    self.first(request);
                }
                self.open.remove(&request);
                self.engines[engine].running -= 1;
                self.start(engine);
                let output_tokens = self.physics.output_tokens;
                self.tell(GateEvent::Finished { request, output_tokens });
            }
            Event::Page(engine) => {
                let Engine { running, waiting } = &self.engines[engine];
                let load = EndpointLoad {
                    running: *running as f64,
                    waiting: waiting.len() as f64,
                    kv_usage: 0.1,
                };
                let endpoint = EndpointId(engine as u32);
                self.tell(GateEvent::Scraped { endpoint, at: self.now, load });
                self.schedule(self.now + PAGES, Event::Page(engine));
            }
        }
    }

    fn first(&mut self, request: RequestId) {
        let asked = self.open[&request];
        self.outcome(asked, Fate::Answered(self.now.since(asked.arrived)));
        self.tell(GateEvent::FirstToken { request });
    }

    fn outcome(&mut self, asked: Asked, fate: Fate) {
        let Asked { tier, arrived, within, .. } = asked;
        self.outcomes.push(Outcome { tier, arrived, within, fate });
    }

    fn start(&mut self, engine: usize) {
        while self.engines[engine].running < self.physics.slots {
            let Some(request) = self.engines[engine].waiting.pop_front() else { break };
            self.engines[engine].running += 1;
            let tokens = self.open[&request].prompt_tokens;
            if self.physics.streams {
                let first_at = self.now + self.physics.ttft(tokens);
                self.schedule(first_at, Event::First(request));
            }
            let done_at = self.now + self.physics.service(tokens);
            self.schedule(done_at, Event::Finish(engine, request));
        }
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.calendar.push(Reverse((at, self.sequence, event)));
    }

    pub(super) fn tell(&mut self, event: GateEvent<'_>) {
        let mut effects = Vec::new();
        self.gate.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                GateEffect::Dispatch { request, endpoint, .. } => {
                    let asked = self.open[&request];
                    let tier = asked.tier;
                    let tokens = asked.prompt_tokens + self.physics.output_tokens;
                    self.sent_tokens[tier.index()] += u64::from(tokens);
                    let above = (0..tier.0).any(|above| self.gate.queue.waits(TierId(above)));
                    self.inversions += u32::from(above);
                    self.engines[endpoint.index()].waiting.push_back(request);
                    self.start(endpoint.index());
                }
                GateEffect::Refuse { request, reason, .. } => {
                    if let Some(asked) = self.open.remove(&request) {
                        self.outcome(asked, Fate::Refused(reason));
                    }
                }
            }
        }
    }
}
