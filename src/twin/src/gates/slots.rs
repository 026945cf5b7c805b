//! Engines of a few slots of fixed service, in front of which a gate stands: what was measured on
//! llm-d's real picker (8 engines x 4 slots x 200 ms), in virtual time. Nobody tells the gate of
//! slots or service.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use forebay_core::engine::Prefix;
use forebay_core::fleet::{Role, World};
use forebay_core::gate::{Arrival, EndpointLoad, Gate, GateEffect, GateEvent, Place, Refusal};
use forebay_core::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use forebay_core::time::{Span, Time};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::build;

pub(super) const ENGINES: usize = 8;
pub(super) const SLOTS: usize = 4;
pub(super) const SERVICE: Span = Span::from_millis(200);
/// Requests per second that all of them serve.
pub(super) const CAPACITY: f64 = 160.0;

/// Time to the first token, where an engine streams.
const FIRST_TOKEN: Span = Span::from_millis(20);

/// What is tried.
pub(super) struct Trial {
    pub(super) gate: &'static str,
    pub(super) tunables: Vec<(&'static str, &'static str)>,
    pub(super) world: World,
    /// How often pages are read; `None` for engines without any.
    pub(super) scrape: Option<Span>,
    /// Whether first tokens are told when they come, or only ends.
    pub(super) streams: bool,
    /// Requests per second by tier, from when on.
    pub(super) offered: Vec<(Time, [f64; 2])>,
    pub(super) offered_for: Time,
    /// Time to the first token that is asked, by tier.
    pub(super) deadline: [Span; 2],
    pub(super) clients: Clients,
}

/// What refused clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    Leave,
    /// They return once, when told, with their place.
    ReturnWithPlace,
    /// They return once, when told, with the same request.
    Return,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Return(u64),
    FirstToken(RequestId),
    Finish(usize, RequestId),
    Scrape(usize),
}

#[derive(Default)]
struct Engine {
    running: usize,
    waiting: VecDeque<RequestId>,
}

/// One request as its client knows it.
#[derive(Clone, Copy, Debug)]
struct Request {
    client: u64,
    tier: TierId,
    arrived: Time,
    deadline: Time,
    first: bool,
}

/// A client that was told to come back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) span: Span,
    /// How long it would have waited in one line with everybody.
    pub(super) earliest_s: f64,
    pub(super) admitted: Option<bool>,
    tier: TierId,
    place: Option<Place>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// Share of slots busy from two seconds on until the last arrival.
    pub(super) used: f64,
    pub(super) arrived: [u64; 2],
    pub(super) answered: [u64; 2],
    pub(super) attained: [u64; 2],
    pub(super) refused: BTreeMap<(u8, Refusal), u64>,
    /// Longest time between two answers of the low tier from two seconds on.
    pub(super) longest_gap: Span,
    pub(super) longest_engine_queue: usize,
    pub(super) most_held: u64,
    /// Clients that were told a time below the cap, by number.
    pub(super) told: BTreeMap<u64, Told>,
    pub(super) told_the_cap: u64,
    excess: [Vec<Span>; 2],
}

impl Outcomes {
    /// Time beyond service of those answered that came after the first two seconds.
    pub(super) fn quantile_s(&self, tier: usize, share: f64) -> f64 {
        let mut excess = self.excess[tier].clone();
        excess.sort_unstable();
        excess[((excess.len() - 1) as f64 * share) as usize].as_seconds()
    }
}

struct Bench {
    trial: Trial,
    gate: Box<dyn Gate + Send>,
    engines: Vec<Engine>,
    calendar: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    now: Time,
    rng: Pcg64Mcg,
    next: u64,
    open: BTreeMap<RequestId, Request>,
    /// Clients that will come back.
    away: usize,
    busy: Span,
    last_low: Time,
    /// Work of one line with everybody in it, s.
    line_s: f64,
    line_at: Time,
    outcomes: Outcomes,
}

/// The gate has had time to learn.
const SETTLED: Time = Time(2_000_000_000);

/// Runs a trial until everybody has an outcome.
pub(super) fn run(trial: Trial) -> Outcomes {
    let given = trial.tunables.iter();
    let mut tunables: BTreeMap<String, String> =
        given.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    if let Some(scrape) = trial.scrape.filter(|_| trial.gate == "forebay") {
        tunables.insert("scrape_interval".to_owned(), format!("{}ms", scrape.as_millis()));
    }
    let gate = build(trial.gate, &tunables, &trial.world, FleetId(0), 11).unwrap();
    let mut bench = Bench {
        gate,
        trial,
        engines: (0..ENGINES).map(|_| Engine::default()).collect(),
        calendar: BinaryHeap::new(),
        sequence: 0,
        now: Time::ZERO,
        rng: Pcg64Mcg::seed_from_u64(5),
        next: 0,
        open: BTreeMap::new(),
        away: 0,
        busy: Span::ZERO,
        last_low: SETTLED,
        line_s: 0.0,
        line_at: Time::ZERO,
        outcomes: Outcomes::default(),
    };
    for engine in 0..ENGINES {
        let (endpoint, variant) = (EndpointId(engine as u32), VariantId(0));
        bench.tell(GateEvent::EndpointReady { endpoint, variant, role: Role::Both });
        if let Some(scrape) = bench.trial.scrape {
            // Scrapes of the engines are spread over the interval.
            let at = Time::ZERO + Span(scrape.0 * engine as u64 / ENGINES as u64);
            bench.schedule(at, Event::Scrape(engine));
        }
    }
    bench.schedule(Time::ZERO, Event::Arrival);
    bench.drive()
}

impl Bench {
    fn drive(mut self) -> Outcomes {
        loop {
            let due = self.gate.next_deadline();
            let next = self.calendar.peek().map(|Reverse((at, ..))| *at);
            if self.now > self.trial.offered_for && self.open.is_empty() && self.away == 0 {
                break;
            }
            if due.is_some_and(|due| next.is_none_or(|next| due < next)) {
                self.pass(due.unwrap().max(self.now));
                self.tell(GateEvent::Due);
                continue;
            }
            let Reverse((at, _, event)) = self.calendar.pop().unwrap();
            self.pass(at);
            match event {
                Event::Arrival => self.arrive(),
                Event::Return(client) => self.come_back(client),
                Event::FirstToken(request) => self.tell(GateEvent::FirstToken { request }),
                Event::Finish(engine, request) => self.finish(engine, request),
                Event::Scrape(engine) => self.scrape(engine),
            }
        }
        let counted = self.trial.offered_for.since(SETTLED).as_seconds();
        self.outcomes.used = self.busy.as_seconds() / (counted * (ENGINES * SLOTS) as f64);
        self.outcomes
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.calendar.push(Reverse((at, self.sequence, event)));
    }

    fn tell(&mut self, event: GateEvent<'_>) {
        let mut effects = Vec::new();
        self.gate.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                GateEffect::Dispatch { request, endpoint, .. } => {
                    self.admitted(request, true);
                    let engine = endpoint.index();
                    self.engines[engine].waiting.push_back(request);
                    self.start(engine);
                    let waiting = self.engines[engine].waiting.len();
                    let longest = &mut self.outcomes.longest_engine_queue;
                    *longest = waiting.max(*longest);
                }
                GateEffect::Refuse { request, reason, retry_after, place } => {
                    self.refused(request, reason, retry_after, place);
                }
            }
        }
        let held: u64 = (0..2).map(|tier| self.gate.queued(TierId(tier)).requests).sum();
        self.outcomes.most_held = self.outcomes.most_held.max(held);
    }

    fn admitted(&mut self, request: RequestId, admitted: bool) {
        let request = self.open[&request];
        if let Some(told) = self.outcomes.told.get_mut(&request.client) {
            told.admitted = Some(admitted);
        }
    }

    fn refused(
        &mut self,
        id: RequestId,
        reason: Refusal,
        retry_after: Option<Span>,
        place: Option<Place>,
    ) {
        self.admitted(id, false);
        let request = self.open.remove(&id).expect("one outcome each");
        *self.outcomes.refused.entry((request.tier.0, reason)).or_default() += 1;
        if !request.first || self.trial.clients == Clients::Leave {
            return;
        }
        let Some(span) = retry_after else { return };
        if reason == Refusal::NoCapacityInSight {
            self.outcomes.told_the_cap += 1;
            return;
        }
        let told =
            Told { span, earliest_s: self.line_s, admitted: None, tier: request.tier, place };
        self.outcomes.told.insert(request.client, told);
        self.away += 1;
        self.schedule(self.now + span, Event::Return(request.client));
    }

    fn start(&mut self, engine: usize) {
        while self.engines[engine].running < SLOTS {
            let Some(request) = self.engines[engine].waiting.pop_front() else { break };
            self.engines[engine].running += 1;
            self.schedule(self.now + SERVICE, Event::Finish(engine, request));
            if self.trial.streams {
                self.schedule(self.now + FIRST_TOKEN, Event::FirstToken(request));
            }
        }
    }

    /// Time passes; slots that are busy until the last arrival count.
    fn pass(&mut self, to: Time) {
        let until = to.min(self.trial.offered_for);
        let running: usize = self.engines.iter().map(|engine| engine.running).sum();
        self.busy = self.busy + Span(until.since(self.now.max(SETTLED)).0 * running as u64);
        self.line_s = (self.line_s - to.since(self.line_at).as_seconds()).max(0.0);
        self.line_at = to;
        self.now = to;
    }

    fn arrive(&mut self) {
        if self.now > self.trial.offered_for {
            return;
        }
        let stages = self.trial.offered.iter();
        let (_, rates) = stages.take_while(|(from, _)| *from <= self.now).last().unwrap();
        let per_second = rates[0] + rates[1];
        let tier = usize::from(self.rng.random::<f64>() * per_second >= rates[0]);
        let client = self.next;
        self.outcomes.arrived[tier] += 1;
        self.line_s += 1.0 / CAPACITY;
        self.ask(client, TierId(tier as u8), true, None);
        let gap = -(1.0 - self.rng.random::<f64>()).ln() / per_second;
        self.schedule(self.now + Span::from_seconds(gap), Event::Arrival);
    }

    fn come_back(&mut self, client: u64) {
        let Told { tier, place, .. } = self.outcomes.told[&client];
        self.away -= 1;
        let with_place = self.trial.clients == Clients::ReturnWithPlace;
        self.ask(client, tier, false, place.filter(|_| with_place));
    }

    fn ask(&mut self, client: u64, tier: TierId, first: bool, place: Option<Place>) {
        let request = RequestId(self.next);
        self.next += 1;
        let deadline = self.now + self.trial.deadline[tier.index()];
        self.open.insert(request, Request { client, tier, arrived: self.now, deadline, first });
        let prefix = Prefix { ids: [client + 1].into(), piece_tokens: 16 };
        let arrival = Arrival {
            place,
            prefix: (self.trial.clients == Clients::Return).then_some(&prefix),
            ..Arrival::new(request, tier, 20, deadline)
        };
        self.tell(GateEvent::Arrived(&arrival));
    }

    fn finish(&mut self, engine: usize, id: RequestId) {
        let request = self.open.remove(&id).unwrap();
        let tier = request.tier.index();
        let excess = Span(self.now.since(request.arrived).0 - SERVICE.0);
        if request.arrived >= SETTLED {
            self.outcomes.excess[tier].push(excess);
        }
        if self.now <= self.trial.offered_for {
            self.outcomes.answered[tier] += 1;
            self.outcomes.attained[tier] += u64::from(request.arrived + excess <= request.deadline);
            if tier == 1 && self.now >= SETTLED {
                let gap = self.now.since(self.last_low);
                self.outcomes.longest_gap = self.outcomes.longest_gap.max(gap);
                self.last_low = self.now;
            }
        }
        self.engines[engine].running -= 1;
        self.start(engine);
        self.tell(GateEvent::Finished { request: id, output_tokens: 4 });
    }

    fn scrape(&mut self, engine: usize) {
        let running = self.engines[engine].running as f64;
        let waiting = self.engines[engine].waiting.len() as f64;
        let load = EndpointLoad { running, waiting, kv_usage: running * 0.1 };
        let endpoint = EndpointId(engine as u32);
        self.tell(GateEvent::Scraped { endpoint, at: self.now, load });
        if let Some(scrape) = self.trial.scrape {
            self.schedule(self.now + scrape, Event::Scrape(engine));
        }
    }
}
