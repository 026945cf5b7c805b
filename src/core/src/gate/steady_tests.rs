//! The demo of the README without its clock: engines with the physics of their profile, answers
//! of one length, an overload that does not change.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::bench::{Fate, Outcome, uniform};
use super::{Arrival, Forebay, Gate, GateEffect, GateEvent};
use crate::engine::{Engine, EngineEventKind, Part, Physics, Work};
use crate::fleet::Role;
use crate::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use crate::manifest::{self, builtin};
use crate::time::{PICOS_PER_NANO, Span, Time};

/// Time to first token that the fleet promises to `interactive` and `standard`.
const WITHIN: [Span; 2] = [Span::from_secs(2), Span::from_secs(10)];
/// Arrivals per second of both; engines hold some 36.
const RATES: [f64; 2] = [8.0, 80.0];
const PROMPT_TOKENS: u32 = 1_000;
const OUTPUT_TOKENS: u32 = 100;
const ENGINES: usize = 3;
/// How often pages are read, give or take a twentieth.
const PAGES: Span = Span::from_secs(1);

/// Whose own load is a fifth of what engines hold is never refused, not even when the first
/// lengths that were learned show that engines have far more than they should.
#[test]
fn who_asks_for_little_is_not_refused_for_what_runs_already() {
    for seed in 0..24 {
        let mut demo = Demo::new(seed);
        demo.run_until(Time::from_seconds(20.0));
        let before = demo.finished;
        demo.run_until(Time::from_seconds(60.0));
        let upper = demo.outcomes.iter().filter(|outcome| outcome.tier == TierId(0));
        let (kept, lost): (Vec<&Outcome>, Vec<&Outcome>) =
            upper.partition(|outcome| outcome.attained());
        assert!(kept.len() > 400 && lost.is_empty(), "seed {seed}: {lost:?}");
        let served = (demo.finished - before) * (PROMPT_TOKENS + OUTPUT_TOKENS) / 40;
        let foretold = demo.gate.engines.tokens_per_second();
        assert!(f64::from(served) > 0.9 * foretold, "seed {seed}: {served} tokens of {foretold}");
    }
}

/// What engines have too much is gone in about the time that is foretold for it.
#[test]
fn what_engines_have_too_much_is_foretold_by_what_is_left_of_it() {
    let ratios = (0..24).map(|seed| {
        let (mut demo, tick) = (Demo::new(seed), Span::from_millis(20));
        while demo.gate.engines.excess_tokens() <= 0.0 {
            assert!(demo.now < Time::from_seconds(30.0), "lengths were never learned");
            demo.run_until(demo.now + tick);
        }
        let (since, engines) = (demo.now, &demo.gate.engines);
        let foretold = engines.excess_tokens() / engines.tokens_per_second();
        while demo.gate.engines.excess_tokens() > 0.0 {
            demo.run_until(demo.now + tick);
        }
        foretold / demo.now.since(since).as_seconds()
    });
    let mean = ratios.sum::<f64>() / 24.0;
    assert!((0.67..1.5).contains(&mean), "{mean} times as long as it took");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(usize),
    /// A request is with its engine.
    Submit(usize, RequestId),
    Page(usize),
}

/// A gate and engines.
struct Demo {
    gate: Forebay,
    now: Time,
    outcomes: Vec<Outcome>,
    finished: u32,
    engines: Vec<Engine>,
    /// Time of a request outside of its engine.
    overhead: Span,
    calendar: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    open: BTreeMap<RequestId, (TierId, Time)>,
    random: u64,
}

impl Demo {
    fn new(seed: u64) -> Self {
        let manifests = manifest::parse(&[builtin::fleet("gate-demo").unwrap()]).unwrap();
        let world = manifests.resolve(None).unwrap().0;
        let profile = &world.variants[0].profile;
        let engine = |_| Engine::new(Physics::new(profile, &profile.limits));
        let mut demo = Self {
            gate: Forebay::new(&world, FleetId(0), PAGES),
            now: Time::ZERO,
            outcomes: Vec::new(),
            finished: 0,
            engines: (0..ENGINES).map(engine).collect(),
            overhead: Span::from_seconds(profile.request_overhead_ms / 1e3),
            calendar: BinaryHeap::new(),
            sequence: 0,
            open: BTreeMap::new(),
            random: seed,
        };
        for engine in 0..ENGINES {
            let (endpoint, variant) = (EndpointId(engine as u32), VariantId(0));
            demo.tell(GateEvent::EndpointReady { endpoint, variant, role: Role::Both });
            let first = uniform(&mut demo.random) * PAGES.as_seconds();
            demo.schedule(Span::from_seconds(first), Event::Page(engine));
        }
        (0..RATES.len()).for_each(|tier| demo.expect(tier));
        demo
    }

    fn run_until(&mut self, until: Time) {
        loop {
            let engines = self.engines.iter().enumerate();
            let engines = engines.filter_map(|(index, it)| Some((it.next_event_at()?, index)));
            let engine = engines.min();
            // Never before it happens: times are whole nanoseconds here.
            let engine_at =
                engine.map(|(at, _)| Time::from_picos(at.next_multiple_of(PICOS_PER_NANO)));
            let next = self.calendar.peek().map(|Reverse((at, ..))| *at);
            let due = self.gate.next_deadline().map(|due| due.max(self.now));
            let first = [engine_at, next, due].into_iter().flatten().min();
            let Some(at) = first.filter(|at| *at <= until) else { break };
            self.now = at;
            match engine {
                Some((picos, index)) if engine_at == Some(at) => self.advance(index, picos),
                _ if next == Some(at) => self.happen(),
                _ => self.tell(GateEvent::Due),
            }
        }
        self.now = until;
    }

    fn advance(&mut self, engine: usize, picos: u64) {
        let mut events = Vec::new();
        self.engines[engine].advance(picos, &mut events);
        for event in events {
            let request = event.request;
            match event.kind {
                EngineEventKind::FirstToken => {
                    let (_, arrived) = self.open[&request];
                    self.outcome(request, Fate::Answered(self.now.since(arrived)));
                    self.tell(GateEvent::FirstToken { request });
                }
                EngineEventKind::Finished => {
                    self.finished += 1;
                    self.open.remove(&request);
                    self.tell(GateEvent::Finished { request, output_tokens: OUTPUT_TOKENS });
                }
                kind => panic!("{kind:?}"),
            }
        }
    }

    fn happen(&mut self) {
        let Some(Reverse((_, _, event))) = self.calendar.pop() else { return };
        match event {
            Event::Arrive(tier) => {
                self.expect(tier);
                let (request, deadline) = (RequestId(self.sequence), self.now + WITHIN[tier]);
                let tier = TierId(tier as u8);
                self.open.insert(request, (tier, self.now));
                let arrival = Arrival::new(request, tier, PROMPT_TOKENS, deadline);
                let output_tokens_max = Some(OUTPUT_TOKENS);
                self.tell(GateEvent::Arrived(&Arrival { output_tokens_max, ..arrival }));
            }
            Event::Submit(engine, request) => {
                let work = Work {
                    request,
                    prompt_tokens: PROMPT_TOKENS,
                    output_tokens: OUTPUT_TOKENS,
                    part: Part::Whole,
                    prefix: None,
                };
                self.engines[engine].submit(self.now.as_picos(), work, &mut Vec::new());
            }
            Event::Page(engine) => {
                let load = self.engines[engine].load(self.now.as_picos());
                let endpoint = EndpointId(engine as u32);
                self.tell(GateEvent::Scraped { endpoint, at: self.now, load });
                let jitter = 0.95 + 0.1 * uniform(&mut self.random);
                self.schedule(Span::from_seconds(jitter * PAGES.as_seconds()), Event::Page(engine));
            }
        }
    }

    /// The next arrival of a tier, memoryless.
    fn expect(&mut self, tier: usize) {
        let gap = -(1.0 - uniform(&mut self.random)).ln() / RATES[tier];
        self.schedule(Span::from_seconds(gap), Event::Arrive(tier));
    }

    fn schedule(&mut self, after: Span, event: Event) {
        self.sequence += 1;
        self.calendar.push(Reverse((self.now + after, self.sequence, event)));
    }

    fn outcome(&mut self, request: RequestId, fate: Fate) {
        let (tier, arrived) = self.open[&request];
        self.outcomes.push(Outcome { tier, arrived, within: WITHIN[tier.index()], fate });
    }

    fn tell(&mut self, event: GateEvent<'_>) {
        let mut effects = Vec::new();
        self.gate.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                GateEffect::Dispatch { request, endpoint, .. } => {
                    self.schedule(self.overhead, Event::Submit(endpoint.index(), request));
                }
                GateEffect::Refuse { request, reason, .. } => {
                    self.outcome(request, Fate::Refused(reason));
                    self.open.remove(&request);
                }
            }
        }
    }
}
