//! Decisions per second of each gate at 10 and at 300 endpoints: one arrival, first token and
//! completion each, with as much in flight as such a fleet would hold.

#![expect(clippy::panic, reason = "a bench whose gate refuses measures something else")]

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::engine::Prefix;
use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};
use forebay_core::fleet::{
    CapacityType, Fleet, FleetRails, Late, Role, StartUp, Tier, Transfer, Variant, World,
};
use forebay_core::gate::{Arrival, EndpointLoad, Gate, GateEffect, GateEvent};
use forebay_core::ids::{AcceleratorId, EndpointId, FleetId, RequestId, TierId, VariantId};
use forebay_core::pick::Tournament;
use forebay_core::time::{Span, Time};
use forebay_twin::gates;

/// Requests in flight per endpoint.
const IN_FLIGHT: usize = 6;

fn profile() -> EngineProfile {
    EngineProfile {
        name: "bench".to_owned(),
        model: "m".to_owned(),
        quantization: "fp8".to_owned(),
        accelerator: "a".to_owned(),
        tensor_parallel: 1,
        engine: "none".to_owned(),
        step_time: StepTime {
            fixed_ms: 1.0,
            weights_ms: 10.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 50.0,
            overlap_exponent: 2.0,
            kv_read_ms_per_ktoken: 0.05,
            attention_ms_per_mpair: 0.1,
            calibration: 1.0,
        },
        kv: KvCache { capacity_tokens: 400_000, block_tokens: 16, bytes_per_token: 131_072 },
        limits: Limits { max_num_batched_tokens: 8_192, max_num_seqs: 256 },
        request_overhead_ms: 5.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "made up".to_owned(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}

fn world() -> World {
    let none = Span::ZERO;
    World {
        fleets: vec![Fleet {
            name: "chat".to_owned(),
            models: vec!["m".to_owned()],
            variants: 0..1,
            slos: vec![None],
            transfer: Transfer { setup: none, bytes_per_second: 1e10 },
            rails: FleetRails::default(),
        }],
        variants: vec![Variant {
            fleet: FleetId(0),
            name: "v".to_owned(),
            role: Role::Both,
            accelerator: AcceleratorId(0),
            accelerators_per_replica: 1,
            profile: profile(),
            replicas_min: 0,
            replicas_max: 1_000,
            replicas_initial: 0,
            drain_max: none,
            start_up: StartUp {
                image: none,
                weights: none,
                compile: none,
                warm_up: none,
                sigma: 0.0,
            },
            capacity_type: CapacityType::OnDemand,
        }],
        tiers: vec![Tier {
            name: "t".to_owned(),
            priority: 0,
            floor: 0.0,
            deferrable: false,
            hold_max: Span::from_secs(30),
            late: Late::Refuse,
        }],
        accelerators: Vec::new(),
    }
}

struct Load {
    gate: Box<dyn Gate + Send>,
    effects: Vec<GateEffect>,
    in_flight: VecDeque<RequestId>,
    next: u64,
    now: Time,
    prefixes: Vec<Prefix>,
}

impl Load {
    fn new(gate: &str, endpoints: u32, with_prefixes: bool) -> Self {
        // Ours takes requests on a page that it did not send for somebody else's.
        let scraped = gate != "forebay";
        let gate = gates::build(gate, &BTreeMap::new(), &world(), FleetId(0), 1)
            .unwrap_or_else(|error| panic!("{error}"));
        let mut load = Self {
            gate,
            effects: Vec::new(),
            in_flight: VecDeque::new(),
            next: 0,
            now: Time::ZERO,
            prefixes: if with_prefixes { (0..64).map(document).collect() } else { Vec::new() },
        };
        for endpoint in (0..endpoints).map(EndpointId) {
            let (variant, role) = (VariantId(0), Role::Both);
            load.tell(GateEvent::EndpointReady { endpoint, variant, role });
            let kv_usage = f64::from(endpoint.0 % 7) / 10.0;
            let page = EndpointLoad { running: 6.0, waiting: f64::from(endpoint.0 % 3), kv_usage };
            if scraped {
                load.tell(GateEvent::Scraped { endpoint, at: Time::ZERO, load: page });
            }
        }
        while load.in_flight.len() < IN_FLIGHT * endpoints as usize {
            load.turn(false);
        }
        load
    }

    fn tell(&mut self, event: GateEvent<'_>) {
        self.gate.step(self.now, event, &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                GateEffect::Dispatch { request, .. } => self.in_flight.push_back(request),
                GateEffect::Refuse { request, .. } => panic!("{request:?} refused"),
            }
        }
    }

    /// One arrival, and if told so the end of the oldest request.
    fn turn(&mut self, finish: bool) {
        self.next += 1;
        self.now += Span(1_000);
        let documents = self.prefixes.len() as u64;
        let index = self.next.checked_rem(documents);
        let prefix = index.map(|index| self.prefixes[index as usize].clone());
        let arrival = Arrival {
            flow: self.next % FLOWS,
            prefix: prefix.as_ref(),
            ..Arrival::new(
                RequestId((self.next << 32) | (self.next % 4_096)),
                TierId(0),
                if documents > 0 { 8_192 } else { 500 },
                self.now + Span::from_secs(100),
            )
        };
        self.tell(GateEvent::Arrived(&arrival));
        if finish && let Some(request) = self.in_flight.pop_front() {
            self.tell(GateEvent::FirstToken { request });
            self.tell(GateEvent::Finished { request, output_tokens: 200 });
        }
    }
}

/// 16 pieces of 512 tokens, the first four of them common to all documents.
fn document(number: u64) -> Prefix {
    let id = |piece| if piece < 4 { piece } else { (number << 8) | piece };
    Prefix { ids: (0..16).map(id).collect(), piece_tokens: 512 }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    group.throughput(Throughput::Elements(1));
    for endpoints in [10, 300] {
        for gate in gates::NAMES {
            let mut load = Load::new(gate, endpoints, false);
            group.bench_function(BenchmarkId::new(*gate, endpoints), |bencher| {
                bencher.iter(|| load.turn(true));
            });
        }
        let mut load = Load::new("stock", endpoints, true);
        group.bench_function(BenchmarkId::new("stock-with-prefixes", endpoints), |bencher| {
            bencher.iter(|| load.turn(true));
        });
    }
    group.finish();
}

/// Requests that wait, and the flows that they are of.
const QUEUED: u64 = 10_000;
/// See [`QUEUED`].
const FLOWS: u64 = 1_000;

/// Our gate with a backlog: every endpoint has all that its page allows.
fn backlog() -> Load {
    let endpoints = 100;
    let mut load = Load::new("forebay", endpoints, false);
    while load.gate.queued(TierId(0)).requests == 0 {
        load.turn(false);
    }
    for endpoint in (0..endpoints).map(EndpointId) {
        load.now += Span::from_millis(10);
        let page = EndpointLoad { running: 7.0, waiting: 1.0, kv_usage: 0.5 };
        load.tell(GateEvent::Scraped { endpoint, at: load.now, load: page });
    }
    while load.gate.queued(TierId(0)).requests < QUEUED {
        load.turn(false);
    }
    load
}

/// One arrival that waits, one completion and the dispatch that answers it.
fn saturated(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("saturated");
    group.throughput(Throughput::Elements(1));
    let mut load = backlog();
    group.bench_function("10000-queued-1000-flows-100-endpoints", |bencher| {
        bencher.iter(|| load.turn(true));
    });
    let queued = load.gate.queued(TierId(0)).requests;
    assert!(queued > QUEUED / 2, "{queued} wait: this measured something else");
    group.finish();
}

/// 3,000 requests that waited for endpoints, from the first that is ready to the last request.
fn release(criterion: &mut Criterion) {
    const BACKLOG: u64 = 3_000;
    let mut group = criterion.benchmark_group("release");
    group.throughput(Throughput::Elements(BACKLOG));
    let held = || {
        let mut load = Load::new("forebay", 0, false);
        for _ in 0..BACKLOG {
            load.turn(false);
        }
        load
    };
    group.bench_function("3000-held", |bencher| {
        bencher.iter_batched(
            held,
            |mut load| {
                let mut endpoint = 0;
                while load.gate.queued(TierId(0)).requests > 0 {
                    let (variant, role) = (VariantId(0), Role::Both);
                    let event =
                        GateEvent::EndpointReady { endpoint: EndpointId(endpoint), variant, role };
                    load.tell(event);
                    endpoint += 1;
                }
                load
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// What the winner tree is worth against scanning all keys: two keys change per decision.
fn least_of_many(criterion: &mut Criterion) {
    const IN_FLIGHT_ONE: u64 = 1 << 32;
    let mut group = criterion.benchmark_group("least");
    for endpoints in [10_usize, 100, 300] {
        let mut keys = vec![0_u64; endpoints];
        group.bench_function(BenchmarkId::new("scan", endpoints), |bencher| {
            bencher.iter(|| {
                let least = keys.iter().enumerate().min_by_key(|(slot, key)| (**key, *slot));
                let slot = least.map_or(0, |(slot, _)| slot);
                keys[slot] += IN_FLIGHT_ONE + 1;
                let other = black_box(slot * 7 + 3) % endpoints;
                keys[other] = keys[other].saturating_sub(IN_FLIGHT_ONE);
            });
        });
        let mut tournament = Tournament::default();
        tournament.rebuild((0..endpoints).map(|_| 0));
        group.bench_function(BenchmarkId::new("tournament", endpoints), |bencher| {
            bencher.iter(|| {
                let slot = tournament.least().unwrap_or(0);
                tournament.update(slot, tournament.key(slot) + IN_FLIGHT_ONE + 1);
                let other = black_box(slot * 7 + 3) % endpoints;
                let key = tournament.key(other);
                tournament.update(other, key.saturating_sub(IN_FLIGHT_ONE));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, saturated, release, least_of_many);
criterion_main!(benches);
