//! Numbers worked out by hand, with the profile of this module: a step of N tokens takes
//! 2 ms + 10 us * N, plus 1 ns per KV token read and 0.1 ns per pair.

use std::sync::Arc;

use super::{physics, profile};
use crate::engine::EngineEventKind::{Finished, FirstToken, KvWanted, PrefillDone, TooLarge};
use crate::engine::profile::Limits;
use crate::engine::{Engine, EngineEvent, EngineEventKind, Part, Physics, Prefix, Work};
use crate::ids::RequestId;

const MICRO: u64 = 1_000_000;

fn work(request: u64, prompt_tokens: u32, output_tokens: u32) -> Work {
    let request = RequestId(request);
    Work { request, prompt_tokens, output_tokens, part: Part::Whole, prefix: None }
}

fn part(part: Part, request: u64, prompt_tokens: u32, output_tokens: u32) -> Work {
    Work { part, ..work(request, prompt_tokens, output_tokens) }
}

fn event(at: u64, request: u64, kind: EngineEventKind) -> EngineEvent {
    EngineEvent { at, request: RequestId(request), kind }
}

fn submit(engine: &mut Engine, at: u64, work: Work) {
    let mut events = Vec::new();
    engine.submit(at, work, &mut events);
    assert_eq!(events, []);
}

/// Advances from event to event until nothing happens any more.
fn run(engine: &mut Engine) -> Vec<EngineEvent> {
    let mut events = Vec::new();
    while let Some(at) = engine.next_event_at() {
        engine.advance(at, &mut events);
    }
    events
}

#[test]
fn a_long_prompt_goes_in_chunks_of_what_decodes_leave() {
    let mut engine = Engine::new(physics(100, 16, 100, 8));
    submit(&mut engine, 0, work(0, 10, 50));
    let mut events = Vec::new();
    engine.advance(0, &mut events);
    submit(&mut engine, 1, work(1, 150, 2));
    // 10 tokens, 50 pairs: 2 ms + 100 us + 5 ns.
    let first = 2_100 * MICRO + 5_000;
    // One decode over 10 tokens and a chunk of 99: 100 tokens, 4900.5 pairs.
    let second = first + 3_000 * MICRO + 10_000 + 490_050;
    // One decode over 11 and the other 51 after 99: 52 tokens, 51 * 124.5 pairs.
    let third = second + 2_520 * MICRO + 110_000 + 634_950;
    engine.advance(third, &mut events);
    assert_eq!(events, [event(first, 0, FirstToken), event(third, 1, FirstToken)]);
    // The chunk that completed nothing yielded one token, of the decode.
    let page = engine.sample(third);
    assert_eq!(page.iteration_tokens.counts[..6], [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(page.iteration_tokens.sum as u64, 11 + 1 + 152);
}

#[test]
fn a_decode_batch_is_padded_to_the_next_cuda_graph() {
    let tables = physics(100, 16, 2_048, 256);
    let time = |tokens: u64| (2_000 + 10 * tokens) * MICRO;
    for (sequences, padded) in [(1, 1), (3, 4), (5, 8), (9, 16), (248, 248), (250, 256)] {
        assert_eq!(tables.decode_step_picos(sequences, 0), time(padded), "{sequences}");
    }
    // Graphs end at twice `max_num_seqs`, so the whole batch is covered; a mixed step is not
    // padded; KV adds 1 ns a token.
    let small = physics(100, 16, 2_048, 3);
    assert_eq!(small.decode_step_picos(3, 7), time(4) + 7_000);
    assert_eq!(small.step_picos(3, 7, 2), time(3) + 7_000 + 100);
}

#[test]
fn weights_and_compute_overlap_and_experts_are_touched() {
    let limits = Limits { max_num_batched_tokens: 1_000, max_num_seqs: 8 };
    let mut moe = profile(10, 16, limits.clone());
    moe.step_time.overlap_exponent = 2.0;
    moe.step_time.weights_ms = 2.0;
    moe.step_time.experts_ms = 4.0;
    moe.step_time.expert_share_per_token = 0.5;
    moe.step_time.compute_ms_per_ktoken = 1_500.0;
    moe.step_time.calibration = 2.0;
    // Two tokens touch 0.75 of the experts: 2 + 3 = 5 ms read against 3 ms computed.
    let expected = 2.0 * (1.0 + 34.0_f64.sqrt());
    let tables = Physics::new(&moe, &limits);
    assert_eq!(tables.step_picos(2, 0, 0), (expected * 1e9).round() as u64);
    moe.step_time.overlap_exponent = 1_000.0;
    assert_eq!(Physics::new(&moe, &limits).step_picos(2, 0, 0), 12_000 * MICRO);
}

#[test]
fn the_last_admitted_gives_way_and_comes_back_first() {
    // 5 blocks of 4; each prompt of 4 takes one, and a second one with its first decode. The
    // third cannot have it: it gives way, and the fourth cannot overtake it.
    let mut engine = Engine::new(physics(5, 4, 100, 3));
    for request in 0..4 {
        submit(&mut engine, 0, work(request, 4, 3));
    }
    let events = run(&mut engine);
    let order: Vec<_> = events.iter().map(|event| (event.request.0, event.kind)).collect();
    let (first, done) = (FirstToken, Finished);
    let expected = [
        (0, first),
        (1, first),
        (2, first),
        (0, done),
        (1, done),
        (3, first),
        (2, done),
        (3, done),
    ];
    assert_eq!(order, expected);
    assert_eq!(engine.sample(events[7].at).preemptions_total as u64, 1);
    // It generated its second token together with the first of the one behind it.
    let resumed = events[5].at;
    assert_eq!(resumed - events[4].at, engine_step(5, 4, &[(1, 4), (4, 0)]));
    // Gaps between tokens span the preemption: they add up to what clients saw.
    let at = |place: usize| events[place].at;
    let gaps = (at(3) - at(0)) + (at(4) - at(1)) + (at(6) - at(2)) + (at(7) - at(5));
    let page = engine.sample(at(7));
    assert_eq!(page.itl.count() as u64, 4 * 2);
    assert_eq!((page.itl.sum * 1e12).round() as u64, gaps);
}

/// A mixed step of (tokens, context) chunks under the profile above.
fn engine_step(blocks: u64, block_tokens: u32, chunks: &[(u32, u32)]) -> u64 {
    let tables = physics(blocks, block_tokens, 100, 3);
    let tokens = chunks.iter().map(|chunk| chunk.0).sum();
    let context = chunks.iter().map(|chunk| u64::from(chunk.1)).sum();
    let long = chunks.iter().filter(|chunk| chunk.0 > 1);
    let pairs = long.map(|&(tokens, context)| crate::engine::physics::half_pairs(tokens, context));
    tables.step_picos(tokens, context, pairs.sum())
}

#[test]
fn a_prompt_that_does_not_fit_keeps_the_next_from_being_tried() {
    let mut engine = Engine::new(physics(10, 4, 100, 8));
    submit(&mut engine, 0, work(0, 20, 2));
    submit(&mut engine, 0, work(1, 24, 1));
    submit(&mut engine, 0, work(2, 4, 1));
    let order: Vec<_> = run(&mut engine).iter().map(|event| event.request.0).collect();
    assert_eq!(order, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let mut engine = Engine::new(physics(10, 4, 100, 8));
    let mut events = Vec::new();
    engine.submit(7, work(0, 39, 1), &mut events);
    assert_eq!(events, []);
    engine.submit(7, work(1, 40, 1), &mut events);
    assert_eq!(events, [event(7, 1, TooLarge)]);
    let mut there = Vec::new();
    engine.in_flight(&mut there);
    assert_eq!(there, [RequestId(0)]);
}

#[test]
fn a_prefill_holds_its_blocks_until_its_lease_ends() {
    let mut engine = Engine::new(physics(10, 4, 100, 8));
    submit(&mut engine, 0, part(Part::Prefill, 0, 32, 200));
    let mut events = run(&mut engine);
    let done = events[0].at;
    assert_eq!(events, [event(done, 0, PrefillDone)]);
    assert!(!engine.is_idle());
    let load = engine.load(done);
    assert_eq!((load.running as u32, (load.kv_usage * 10.0).round() as u32), (0, 8));
    // Nothing else fits until then, and nothing happens by itself.
    submit(&mut engine, done + 1, work(1, 16, 1));
    assert_eq!(run(&mut engine), []);
    let later = done + 5_000 * MICRO;
    engine.release(later, RequestId(0));
    assert_eq!(engine.next_event_at(), Some(later));
    events = run(&mut engine);
    assert_eq!(events[0], event(later + 2_160 * MICRO + 12_800, 1, FirstToken));
    assert!(engine.is_idle());
}

#[test]
fn a_decode_waits_for_its_kv_without_blocking_those_behind_it() {
    let mut engine = Engine::new(physics(10, 4, 100, 8));
    submit(&mut engine, 0, part(Part::Decode, 0, 12, 2));
    submit(&mut engine, 0, work(1, 4, 1));
    let events = run(&mut engine);
    // 4 tokens, 8 pairs.
    let first = 2_040 * MICRO + 800;
    assert_eq!(
        events,
        [
            event(0, 0, KvWanted { tokens: 12 }),
            event(first, 1, FirstToken),
            event(first, 1, Finished)
        ]
    );
    let page = engine.sample(first);
    assert_eq!((page.waiting as u32, page.waiting_deferred as u32), (1, 1));
    engine.kv_loaded(3_000 * MICRO, RequestId(0));
    // The last prompt token is computed again: one token over 11 of KV; then one over 12.
    let token = 3_000 * MICRO + 2_010 * MICRO + 11_000;
    let last = token + 2_010 * MICRO + 12_000;
    assert_eq!(run(&mut engine), [event(token, 0, FirstToken), event(last, 0, Finished)]);
}

#[test]
fn a_prompt_found_whole_computes_its_last_block_again() {
    let mut engine = Engine::new(physics(20, 4, 100, 8));
    let prefix = Prefix { ids: Arc::from([1_u64, 2].as_slice()), piece_tokens: 8 };
    let shared = |request| Work { prefix: Some(prefix.clone()), ..work(request, 16, 1) };
    submit(&mut engine, 0, shared(0));
    run(&mut engine);
    let at = 9_000 * MICRO;
    submit(&mut engine, at, shared(1));
    let events = run(&mut engine);
    // 4 tokens after 12: 4 * 14 pairs, 12 of KV.
    assert_eq!(events[1].at, at + 2_040 * MICRO + 12_000 + 5_600);
    let page = engine.sample(events[1].at);
    assert_eq!(page.prefix_queries_tokens_total as u64, 32);
    assert_eq!(page.prefix_hits_tokens_total as u64, 12);
    assert_eq!(page.prompt_tokens_total as u64, 32);
}

#[test]
fn a_client_that_went_is_gone_at_the_next_border() {
    let mut engine = Engine::new(physics(10, 4, 100, 8));
    submit(&mut engine, 0, work(0, 4, 20));
    let mut events = Vec::new();
    engine.advance(3_000 * MICRO, &mut events);
    assert!(engine.abort(3_000 * MICRO, RequestId(0)));
    assert!(!engine.abort(3_000 * MICRO, RequestId(0)));
    assert!(!engine.is_idle());
    let border = 2_040 * MICRO + 800 + 2_010 * MICRO + 4_000;
    assert_eq!(engine.next_event_at(), Some(border));
    assert_eq!(run(&mut engine), []);
    assert!(engine.is_idle());
    assert_eq!(engine.load(border).kv_usage.to_bits(), 0_f64.to_bits());
}
