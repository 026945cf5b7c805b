//! The work bound against the real engine: preemption, prefix hits and all.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::engine::profile::{EngineProfile, StepTime};
use forebay_core::engine::{Engine, EngineEvent, EngineEventKind, Part, Physics, Prefix, Work};
use forebay_core::ids::RequestId;
use forebay_core::time::{PICOS_PER_SECOND, Picos};
use proptest::prelude::*;

use super::census::Census;
use super::physics::{Need, Rates};
use super::testing::compute_only;

#[derive(Clone, Debug)]
struct Asked {
    at: Picos,
    prompt: u32,
    output: u32,
    ids: Vec<u64>,
}

const PIECE_TOKENS: u32 = 64;

/// Requests of which some share the beginning of their prompt with others.
fn asked() -> impl Strategy<Value = Asked> {
    (0_u64..3_000, 1_u32..900, 1_u32..120, 0_u64..3, 0_usize..8, any::<u64>()).prop_map(
        |(millis, prompt, output, family, common, own)| {
            let pieces = (prompt / PIECE_TOKENS) as usize;
            let ids = (0..pieces)
                .map(
                    |piece| {
                        if piece < common { family * 100 + piece as u64 } else { own | 1 << 63 }
                    },
                )
                .collect();
            Asked { at: millis * PICOS_PER_SECOND / 1_000, prompt, output, ids }
        },
    )
}

/// Runs an engine until it is empty. Returns when, and by request its first and last token.
fn run(profile: &EngineProfile, requests: &[Asked]) -> (Picos, BTreeMap<u64, (Picos, Picos)>) {
    let mut engine = Engine::new(Physics::new(profile, &profile.limits));
    let mut events: Vec<EngineEvent> = Vec::new();
    let mut order: Vec<(usize, &Asked)> = requests.iter().enumerate().collect();
    order.sort_by_key(|(_, asked)| asked.at);
    for (number, asked) in order {
        engine.advance(asked.at, &mut events);
        let work = Work {
            request: RequestId(number as u64),
            prompt_tokens: asked.prompt,
            output_tokens: asked.output,
            part: Part::Whole,
            prefix: Some(Prefix {
                ids: Arc::from(asked.ids.as_slice()),
                piece_tokens: PIECE_TOKENS,
            }),
        };
        engine.submit(asked.at, work, &mut events);
    }
    while let Some(at) = engine.next_event_at() {
        engine.advance(at, &mut events);
    }
    let mut tokens = BTreeMap::new();
    let mut end = 0;
    for event in events {
        end = end.max(event.at);
        match event.kind {
            EngineEventKind::FirstToken => {
                tokens.insert(event.request.0, (event.at, event.at));
            }
            EngineEventKind::Finished => {
                if let Some(times) = tokens.get_mut(&event.request.0) {
                    times.1 = event.at;
                }
            }
            EngineEventKind::PrefillDone
            | EngineEventKind::KvWanted { .. }
            | EngineEventKind::TooLarge => {}
        }
    }
    (end, tokens)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_busy_engine_never_beats_the_work_bound(
        requests in prop::collection::vec(asked(), 1..60),
        (weights_ms, g, q, c) in (1.0_f64..20.0, 20.0_f64..150.0, 1.0_f64..6.0, 0.0_f64..0.4),
        (experts_ms, budget, sequences) in (0.0_f64..10.0, 128_u32..1_024, 4_u32..64),
        capacity in 1_100_u64..12_000,
    ) {
        let mut profile = compute_only(g);
        profile.step_time = StepTime {
            fixed_ms: 0.5,
            weights_ms,
            experts_ms,
            expert_share_per_token: 0.05,
            overlap_exponent: q,
            kv_read_ms_per_ktoken: c,
            attention_ms_per_mpair: 2.0,
            calibration: 1.1,
            ..profile.step_time
        };
        profile.kv.capacity_tokens = capacity;
        profile.limits.max_num_batched_tokens = budget;
        profile.limits.max_num_seqs = sequences;
        let (end, tokens) = run(&profile, &requests);
        let mut census = Census::default();
        requests.iter().for_each(|asked| census.count(&asked.ids));
        let begin = requests.iter().map(|asked| asked.at).min().unwrap_or(0);
        let busy_s = (end - begin) as f64 / PICOS_PER_SECOND as f64;
        let served: Vec<Need> = requests
            .iter()
            .zip(0_u64..)
            .filter_map(|(asked, number)| {
                let (first, last) = tokens.get(&number)?;
                let gaps = f64::from(asked.output - 1);
                let took_s = (last - first) as f64 / PICOS_PER_SECOND as f64;
                Some(Need {
                    prompt: f64::from(asked.prompt),
                    shared: f64::from(census.shared_tokens(&asked.ids, PIECE_TOKENS, asked.prompt)),
                    gaps,
                    gap_max_s: (gaps > 0.0).then(|| took_s / gaps * (1.0 + 1e-9)),
                })
            })
            .collect();
        prop_assert_eq!(served.len(), requests.len(), "everything fits and is served");
        for rates in Rates::candidates(&profile) {
            let work: f64 = served
                .iter()
                .map(|need| rates.prefill_s(need).unwrap() + rates.decode_s(need).unwrap_or(0.0))
                .sum();
            prop_assert!(work <= busy_s * (1.0 + 1e-6), "{work} > {busy_s} with {rates:?}");
        }
    }
}
