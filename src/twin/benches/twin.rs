//! How many simulated requests a second one core carries: an aggregated 8B fleet without prefix
//! identities, a fleet with prefill and decode apart whose prompts carry them, and roll-forwards.
//!
//! `cargo bench -p forebay-twin --bench twin`; the throughput is in elements (requests) a second.

#![expect(clippy::expect_used, reason = "a benchmark may panic")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::fleet::World;
use forebay_core::ids::{EndpointId, FleetId, VariantId};
use forebay_core::manifest::{self, builtin};
use forebay_core::plan::roll::{
    Candidate, EngineLoad, Interval, LiveEndpoint, LiveState, REQUESTS_DEFAULT, Record,
    RollRequest, TierCount,
};
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::{Span, Time};
use forebay_twin::policy::{self, PolicySpec};
use forebay_twin::roll::roll_forward;
use forebay_twin::sim::{self, Setup};
use forebay_twin::trace::{self, Options, Request, Source, TraceError};
use forebay_twin::{gates, trace::Trace};

/// Requests of one iteration with prefix identities.
const HASHED_REQUESTS: u64 = 20_000;

fn fleet(name: &str) -> (World, ScenarioPlan) {
    let source = builtin::fleet(name).expect("the fleet is built in");
    manifest::parse(&[source])
        .and_then(|manifests| manifests.resolve(Some("constant-15")))
        .expect("built-in manifests resolve")
}

fn simulate(
    (world, scenario): &(World, ScenarioPlan),
    spec: &PolicySpec,
    source: Box<dyn Source + '_>,
    duration: Span,
) -> u64 {
    let mut world = world.clone();
    spec.apply(&mut world).expect("the SPEC fits the fleet");
    let gate = gates::build(spec.gate(), &spec.gate_settings(), &world, FleetId(0), 1);
    let measured = sim::run(Setup {
        world: &world,
        scenario,
        source,
        duration,
        planner: policy::build(spec, &world).expect("the SPEC fits the fleet"),
        gates: vec![gate.expect("the gate is known")],
        seed: 1,
    });
    measured.expect("the run ends").requests
}

/// Long prompts, a third of which begin as an earlier one did.
struct Conversations {
    number: u64,
}

impl Source for Conversations {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        self.number += 1;
        if self.number > HASHED_REQUESTS {
            return Ok(None);
        }
        let number = self.number;
        let pieces = 4 + number % 16;
        let shared = if number.is_multiple_of(3) { pieces / 2 } else { 0 };
        let ids: Arc<[u64]> =
            (0..pieces)
                .map(|piece| {
                    if piece < shared { (number % 64) << 32 | piece } else { number << 40 | piece }
                })
                .collect();
        Ok(Some(Request {
            at: Time::ZERO + Span::from_millis(number * 50),
            prompt_tokens: pieces as u32 * 512,
            output_tokens: 100 + (number % 200) as u32,
            client: 0,
            prefix: Some(ids),
        }))
    }

    fn prefix_piece_tokens(&self) -> u32 {
        512
    }
}

fn aggregated(criterion: &mut Criterion) {
    let fleet = fleet("chat-8b");
    let window = Some((Time::ZERO, Time::from_seconds(1_800.0)));
    let options = Options { window, seed: 1, ..Options::default() };
    let trace: Trace = trace::open(trace::BUILTIN_DAY, &options).expect("it is built in");
    let mut group = criterion.benchmark_group("aggregated 8B, no prefix identities");
    group.sample_size(10);
    for gate in ["least-loaded", "stock", "forebay"] {
        let spec: PolicySpec =
            format!("static:replicas=16,gate={gate}").parse().expect("a good SPEC");
        let run = || {
            let source = trace.stream().expect("it streams");
            simulate(&fleet, &spec, source, trace.duration())
        };
        group.throughput(Throughput::Elements(run()));
        group.bench_function(gate, |bencher| bencher.iter(|| black_box(run())));
    }
    group.finish();
}

fn disaggregated(criterion: &mut Criterion) {
    let fleet = fleet("chat-70b-pd");
    let spec: PolicySpec = "static:replicas=12,gate=least-loaded".parse().expect("a good SPEC");
    let mut group = criterion.benchmark_group("disaggregated 70B, 512-token identities");
    group.sample_size(10).throughput(Throughput::Elements(HASHED_REQUESTS));
    group.bench_function("least-loaded", |bencher| {
        bencher.iter(|| {
            let source = Box::new(Conversations { number: 0 });
            black_box(simulate(&fleet, &spec, source, Span::from_secs(1_000)))
        });
    });
    group.finish();
}

/// Four plans for a fleet of a dozen replicas at 60 requests a second.
fn roll_request(requests_max: u32) -> RollRequest {
    let mut record = Record::default();
    for number in 1..=240_u64 {
        let requests = 900.0 + 200.0 * (number as f32 / 20.0).sin();
        let (prompt_tokens, output_tokens) = (requests * 800.0, requests * 150.0);
        let count = TierCount { requests, prompt_tokens, finished: requests, output_tokens };
        let until = Time::ZERO + Span::from_secs(number * 15);
        record.push(Interval { until, span: Span::from_secs(15), tiers: vec![count] });
    }
    let load = EngineLoad { running: 20, waiting: 0, waiting_for_kv: 0, kv_usage: 0.2 };
    let endpoints = (0..12).map(|number| LiveEndpoint {
        endpoint: EndpointId(number),
        variant: VariantId(0),
        load: Some(load),
        draining: false,
    });
    let plans = [12, 10, 8, 6];
    RollRequest {
        id: 1,
        asked_at: Time::from_seconds(3_600.0),
        fleet: FleetId(0),
        candidates: plans
            .map(|replicas| Candidate { replicas: vec![(VariantId(0), replicas)] })
            .to_vec(),
        live: LiveState { endpoints: endpoints.collect(), ..LiveState::default() },
        horizon: Span::from_secs(300),
        record,
        outlooks: Vec::new(),
        variants: Vec::new(),
        seed: 1,
        requests_max,
    }
}

fn roll(criterion: &mut Criterion) {
    let (world, _) = fleet("chat-8b");
    let request = roll_request(REQUESTS_DEFAULT);
    let answer = roll_forward(&world, &request).expect("a good request");
    let mut group = criterion.benchmark_group("roll-forward");
    group.sample_size(10).throughput(Throughput::Elements(answer.requests));
    group.bench_function(format!("{} requests", answer.requests), |bencher| {
        bencher.iter(|| black_box(roll_forward(&world, &request)));
    });
    group.finish();
}

criterion_group!(benches, aggregated, disaggregated, roll);
criterion_main!(benches);
