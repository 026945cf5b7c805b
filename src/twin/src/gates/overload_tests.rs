//! Engines of a few slots under three times their capacity: the comparison measured on llm-d's real
//! picker (8 engines x 4 slots x 200 ms, 480/s offered), in small.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use forebay_core::fleet::Role;
use forebay_core::gate::{Arrival, EndpointLoad, Gate, GateEffect, GateEvent};
use forebay_core::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use forebay_core::time::{Span, Time};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::build;
use super::testing::world;

const ENGINES: usize = 8;
const SLOTS: usize = 4;
const SERVICE: Span = Span::from_millis(200);
const SCRAPE: Span = Span::from_millis(50);
const OFFERED_FOR: Time = Time(30_000_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Finish(usize, RequestId),
    Scrape(usize),
}

#[derive(Default)]
struct Engine {
    running: usize,
    waiting: VecDeque<RequestId>,
    told: Option<EndpointLoad>,
}

struct Bench {
    gate: Box<dyn Gate + Send>,
    engines: Vec<Engine>,
    calendar: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    now: Time,
    rng: Pcg64Mcg,
    arrived: BTreeMap<RequestId, (Time, TierId)>,
    /// Slots busy, integrated until the last arrival.
    busy: Span,
    busy_until: Time,
    outcomes: Outcomes,
}

#[derive(Debug, Default)]
struct Outcomes {
    arrived: u64,
    refused: u64,
    /// Time beyond service of those answered, by tier.
    excess: BTreeMap<TierId, Vec<Span>>,
    longest_engine_queue: usize,
}

impl Outcomes {
    fn quantile_s(&self, tier: u8, share: f64) -> f64 {
        let mut excess = self.excess[&TierId(tier)].clone();
        excess.sort_unstable();
        excess[((excess.len() - 1) as f64 * share) as usize].as_seconds()
    }
}

impl Bench {
    fn new(gate: &str, tunables: &[(&str, &str)]) -> Self {
        let tunables =
            tunables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut bench = Self {
            gate: build(gate, &tunables, &world(), FleetId(0), 11).unwrap(),
            engines: (0..ENGINES).map(|_| Engine::default()).collect(),
            calendar: BinaryHeap::new(),
            sequence: 0,
            now: Time::ZERO,
            rng: Pcg64Mcg::seed_from_u64(5),
            arrived: BTreeMap::new(),
            busy: Span::ZERO,
            busy_until: Time::ZERO,
            outcomes: Outcomes::default(),
        };
        for engine in 0..ENGINES {
            let (endpoint, variant) = (EndpointId(engine as u32), VariantId(0));
            bench.tell(GateEvent::EndpointReady { endpoint, variant, role: Role::Both });
            // Scrapes of the engines are spread over the interval.
            bench.schedule(Time::ZERO + Span(SCRAPE.0 * engine as u64 / 8), Event::Scrape(engine));
        }
        bench
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
                    let engine = endpoint.index();
                    self.engines[engine].waiting.push_back(request);
                    self.start(engine);
                    let waiting = self.engines[engine].waiting.len();
                    let longest = &mut self.outcomes.longest_engine_queue;
                    *longest = waiting.max(*longest);
                }
                GateEffect::Refuse { request, .. } => {
                    assert!(self.arrived.remove(&request).is_some(), "one outcome each");
                    self.outcomes.refused += 1;
                }
            }
        }
    }

    fn start(&mut self, engine: usize) {
        while self.engines[engine].running < SLOTS {
            let Some(request) = self.engines[engine].waiting.pop_front() else { break };
            self.engines[engine].running += 1;
            self.schedule(self.now + SERVICE, Event::Finish(engine, request));
        }
    }

    /// Time passes; slots that are busy until the last arrival count.
    fn pass(&mut self, to: Time) {
        let until = to.min(OFFERED_FOR);
        let running: usize = self.engines.iter().map(|engine| engine.running).sum();
        self.busy = self.busy + Span(until.since(self.busy_until).0 * running as u64);
        self.busy_until = until;
        self.now = to;
    }

    /// Offers Poisson arrivals, `high_share` of them of the high tier, until the time is over and
    /// nothing waits.
    fn run(mut self, per_second: f64, high_share: f64) -> (f64, Outcomes) {
        self.schedule(Time::ZERO, Event::Arrival);
        loop {
            let due = self.gate.next_deadline();
            let next = self.calendar.peek().map(|Reverse((at, ..))| *at);
            if self.now > OFFERED_FOR && self.arrived.is_empty() {
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
                Event::Arrival => self.arrive(per_second, high_share),
                Event::Finish(engine, request) => self.finish(engine, request),
                Event::Scrape(engine) => self.scrape(engine),
            }
        }
        let slots = Span(OFFERED_FOR.0 * (ENGINES * SLOTS) as u64);
        (self.busy.as_seconds() / slots.as_seconds(), self.outcomes)
    }

    fn arrive(&mut self, per_second: f64, high_share: f64) {
        if self.now > OFFERED_FOR {
            return;
        }
        let high = self.rng.random::<f64>() < high_share;
        let request = RequestId(self.outcomes.arrived);
        self.outcomes.arrived += 1;
        let tier = TierId(u8::from(!high));
        self.arrived.insert(request, (self.now, tier));
        let arrival = Arrival::new(request, tier, 20, self.now + Span::from_secs(60));
        self.tell(GateEvent::Arrived(&arrival));
        let gap = -(1.0 - self.rng.random::<f64>()).ln() / per_second;
        self.schedule(self.now + Span::from_seconds(gap), Event::Arrival);
    }

    fn finish(&mut self, engine: usize, request: RequestId) {
        let (arrived, tier) = self.arrived.remove(&request).unwrap();
        let excess = Span(self.now.since(arrived).0 - SERVICE.0);
        self.outcomes.excess.entry(tier).or_default().push(excess);
        self.engines[engine].running -= 1;
        self.start(engine);
        self.tell(GateEvent::FirstToken { request });
        self.tell(GateEvent::Finished { request, output_tokens: 4 });
    }

    /// Only what changed is told, as the twin does.
    fn scrape(&mut self, engine: usize) {
        let running = self.engines[engine].running as f64;
        let waiting = self.engines[engine].waiting.len() as f64;
        let load = EndpointLoad { running, waiting, kv_usage: running * 0.1 };
        if self.engines[engine].told != Some(load) {
            self.engines[engine].told = Some(load);
            let endpoint = EndpointId(engine as u32);
            self.tell(GateEvent::Scraped { endpoint, at: self.now, load });
        }
        self.schedule(self.now + SCRAPE, Event::Scrape(engine));
    }
}

#[test]
fn flow_control_with_its_defaults_loses_near_half_the_engines() {
    // Measured on the real picker: 52-55 % of capacity used.
    let (used, outcomes) = Bench::new("stock-flow", &[]).run(480.0, 0.5);
    assert!((0.40..0.70).contains(&used), "{used}");
    assert!(outcomes.longest_engine_queue > 30, "{}", outcomes.longest_engine_queue);
    assert!(outcomes.quantile_s(0, 0.5) > 5.0, "the high tier waits in the engines");
}

#[test]
fn flow_control_told_the_right_concurrency_uses_all_engines() {
    // Measured on the real picker: 100 %.
    let told = [("detector", "concurrency"), ("concurrency", "4"), ("filter", "on")];
    let (used, outcomes) = Bench::new("stock-flow", &told).run(480.0, 1.0 / 6.0);
    assert!(used > 0.97, "{used}");
    assert!(outcomes.quantile_s(0, 0.99) < 0.5, "{}", outcomes.quantile_s(0, 0.99));
}

#[test]
fn a_pool_wide_limit_alone_leaves_engines_idle_beside_full_ones() {
    let told = [("detector", "concurrency"), ("concurrency", "4")];
    let (used, _) = Bench::new("stock-flow", &told).run(480.0, 1.0 / 6.0);
    assert!(used < 0.7, "{used}");
}

#[test]
fn without_flow_control_the_engines_are_busy_and_everybody_waits_in_them() {
    // Measured on the real picker: 96 %.
    let (used, outcomes) = Bench::new("stock", &[]).run(480.0, 1.0 / 6.0);
    assert!(used > 0.93, "{used}");
    assert!(outcomes.longest_engine_queue > 100);
}

#[test]
fn credits_find_the_capacity_by_themselves() {
    for high_share in [1.0 / 6.0, 0.3] {
        let (used, outcomes) = Bench::new("forebay", &[]).run(480.0, high_share);
        assert!(used >= 0.97, "{used}");
        let p99 = outcomes.quantile_s(0, 0.99);
        assert!(p99 < 0.4, "the high tier hardly waits: {p99} s");
        assert!(outcomes.longest_engine_queue <= 8, "{}", outcomes.longest_engine_queue);
        assert!(outcomes.refused > 0, "low requests are refused when their hold is over");
    }
}

#[test]
fn below_capacity_nobody_waits_for_a_credit() {
    let (used, outcomes) = Bench::new("forebay", &[]).run(100.0, 0.5);
    assert!((0.55..0.70).contains(&used), "{used}");
    assert_eq!(outcomes.refused, 0);
    assert!(outcomes.quantile_s(1, 0.99) < 0.2, "{}", outcomes.quantile_s(1, 0.99));
}
