//! Requests per second that one core simulates of one busy engine.
//!
//! `cargo bench -p forebay-core --bench engine`

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};
use forebay_core::engine::{Engine, Part, Physics, Prefix, Work};
use forebay_core::ids::RequestId;

const REQUESTS: u64 = 20_000;
const PICOS_PER_SECOND: f64 = 1e12;

/// Llama-3.1-8B in FP8: on an L40S, or on an H100 with its larger KV cache.
fn profile(h100: bool) -> EngineProfile {
    let (weights_ms, compute, kv_read, attention, exponent, capacity_tokens, budget, sequences) =
        if h100 {
            (4.43, 15.1, 0.0463, 0.711, 1.44, 499_347, 8_192, 1_024)
        } else {
            (13.48, 48.7, 0.208, 2.61, 1.78, 235_476, 2_048, 256)
        };
    EngineProfile {
        name: "bench".into(),
        model: "llama-3.1-8b".into(),
        quantization: "fp8".into(),
        accelerator: if h100 { "h100_sxm" } else { "l40s" }.into(),
        tensor_parallel: 1,
        engine: "vllm".into(),
        step_time: StepTime {
            fixed_ms: 0.0,
            weights_ms,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: compute,
            overlap_exponent: exponent,
            kv_read_ms_per_ktoken: kv_read,
            attention_ms_per_mpair: attention,
            calibration: 1.0,
        },
        kv: KvCache { capacity_tokens, block_tokens: 16, bytes_per_token: 131_072 },
        limits: Limits { max_num_batched_tokens: budget, max_num_seqs: sequences },
        request_overhead_ms: 0.0,
        evidence: Evidence {
            level: EvidenceLevel::Modelled,
            source: "coefficients rounded for a benchmark".into(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}

/// A mixing generator, so that the workload is the same everywhere.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// Poisson arrivals, exponential lengths around 1,100 prompt and 180 output tokens.
fn chat(rate: f64) -> Vec<(u64, Work)> {
    let (mut dice, mut at) = (Dice(1), 0.0);
    (0..REQUESTS)
        .map(|request| {
            at += dice.exponential(PICOS_PER_SECOND / rate);
            let work = Work {
                request: RequestId(request),
                prompt_tokens: 1 + dice.exponential(1_100.0).min(8_000.0) as u32,
                output_tokens: 1 + dice.exponential(180.0).min(2_000.0) as u32,
                part: Part::Whole,
                prefix: None,
            };
            (at as u64, work)
        })
        .collect()
}

/// Conversations that grow turn by turn: about 12,000 prompt tokens in pieces of 512, most of
/// them the conversation so far.
fn conversations(rate: f64, part: Part) -> Vec<(u64, Work)> {
    let (mut dice, mut at, mut fresh) = (Dice(2), 0.0, 0_u64);
    let mut open: Vec<Vec<u64>> = vec![Vec::new(); 40];
    (0..REQUESTS)
        .map(|request| {
            at += dice.exponential(PICOS_PER_SECOND / rate);
            let chosen = (dice.unit() * open.len() as f64) as usize;
            let conversation = &mut open[chosen];
            if conversation.len() > 40 {
                conversation.clear();
            }
            let more = if conversation.is_empty() { 6 } else { 1 + (dice.unit() * 3.0) as u64 };
            for _ in 0..more {
                fresh += 1;
                conversation.push(fresh);
            }
            let work = Work {
                request: RequestId(request),
                prompt_tokens: conversation.len() as u32 * 512,
                output_tokens: 1 + dice.exponential(180.0).min(2_000.0) as u32,
                part,
                prefix: Some(Prefix { ids: Arc::from(conversation.as_slice()), piece_tokens: 512 }),
            };
            (at as u64, work)
        })
        .collect()
}

/// Runs the whole workload; transfers and leases take no time. Returns the number of events.
fn simulate(physics: &Arc<Physics>, arrivals: Vec<(u64, Work)>) -> usize {
    use forebay_core::engine::EngineEventKind::{KvWanted, PrefillDone};
    let mut engine = Engine::new(Arc::clone(physics));
    let (mut events, mut total) = (Vec::with_capacity(64), 0);
    let mut arrivals = arrivals.into_iter().peekable();
    loop {
        let next = engine.next_event_at();
        match (next, arrivals.peek()) {
            (Some(at), Some((arrival, _))) if at > *arrival => {}
            (None, Some(_)) => {}
            (Some(at), _) => {
                engine.advance(at, &mut events);
                total += events.len();
                for event in events.drain(..) {
                    match event.kind {
                        KvWanted { .. } => engine.kv_loaded(at, event.request),
                        PrefillDone => engine.release(at, event.request),
                        _ => {}
                    }
                }
                continue;
            }
            (None, None) => return total,
        }
        if let Some((at, work)) = arrivals.next() {
            engine.submit(at, work, &mut events);
        }
    }
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(REQUESTS));
    group.sample_size(20);
    let l40s = Physics::new(&profile(false), &profile(false).limits);
    let h100 = Physics::new(&profile(true), &profile(true).limits);
    let mut run = |name: &str, physics: &Arc<Physics>, workload: Vec<(u64, Work)>| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || workload.clone(),
                |workload| simulate(physics, workload),
                BatchSize::LargeInput,
            );
        });
    };
    run("chat, 5/s, idle half the time", &l40s, chat(5.0));
    run("chat, 9/s, near saturation", &l40s, chat(9.0));
    run("conversations with hashes, whole", &h100, conversations(14.0, Part::Whole));
    run("conversations with hashes, prefill", &h100, conversations(16.0, Part::Prefill));
    run("conversations with hashes, decode", &h100, conversations(16.0, Part::Decode));
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
