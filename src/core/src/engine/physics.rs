//! Step times as integer tables, so that many steps add up in closed form to the very picosecond
//! that stepping gives.
//!
//! `T = base(N) + c*K + e*A`. The nonlinear part is tabulated by N in whole picoseconds; c is a
//! whole number of picoseconds per KV token (at most 0.5 ps off, about 1e-4 of the values in
//! use); e is a whole number of femtoseconds per half pair, and the product is floored to the
//! picosecond once per step. `calibration` is inside all three.

use std::sync::Arc;

use super::profile::{EngineProfile, Limits, StepTime};
use crate::time::{PICOS_PER_NANO, Picos};

/// The longest tabulated step: 100 s. Longer is a broken profile, and the bound keeps sums of
/// picoseconds over a leap inside `u64`.
pub const STEP_BASE_PICOS_MAX: Picos = 100_000_000_000_000;
/// The largest cost of one KV token: 10 us, some fifty times that of an L40S; same reason.
pub const KV_TOKEN_PICOS_MAX: Picos = 10_000_000;
/// The largest cost of half a token pair: 1 us, same reason.
pub const HALF_PAIR_FEMTOS_MAX: u64 = 1_000_000_000;
/// vLLM captures CUDA graphs up to this batch size (`max_cudagraph_capture_size` before sm100).
pub const GRAPH_SEQUENCES_MAX: u32 = 512;
/// Largest token budget and batch that tables are made for; a table costs 8 bytes an entry.
pub const TABLE_TOKENS_MAX: u32 = 1 << 20;

const FEMTOS_PER_PICO: u64 = 1_000;
const PICOS_PER_MILLI: f64 = 1e9;

/// The tables of one profile under one set of limits; shared by all engines of a variant.
#[derive(Debug)]
pub struct Physics {
    base: Vec<Picos>,
    decode_base: Vec<Picos>,
    kv_token_picos: Picos,
    half_pair_femtos: u64,
    token_budget: u32,
    sequences_max: u32,
    block_tokens: u32,
    blocks: u32,
}

impl Physics {
    /// Tabulates a profile under `limits` (which may differ from the profile's own: policies tune
    /// them). vLLM refuses a token budget below `max_num_seqs`; here the batch is clamped to it.
    #[must_use]
    pub fn new(profile: &EngineProfile, limits: &Limits) -> Arc<Self> {
        let token_budget = limits.max_num_batched_tokens.clamp(1, TABLE_TOKENS_MAX);
        let sequences_max = limits.max_num_seqs.clamp(1, token_budget);
        let step = &profile.step_time;
        let base: Vec<Picos> = (0..=token_budget).map(|tokens| base_picos(step, tokens)).collect();
        let graphs = graph_sizes(sequences_max, token_budget);
        let decode_base = (0..=sequences_max)
            .map(|sequences| {
                let padded = graphs.iter().copied().find(|&size| size >= sequences);
                base[padded.filter(|_| sequences > 0).unwrap_or(sequences) as usize]
            })
            .collect();
        let kv_token = step.calibration * step.kv_read_ms_per_ktoken * PICOS_PER_MILLI / 1e3;
        let half_pair = step.calibration * step.attention_ms_per_mpair * PICOS_PER_MILLI / 1e6
            * FEMTOS_PER_PICO as f64
            / 2.0;
        let block_tokens = profile.kv.block_tokens.max(1);
        let blocks = profile.kv.capacity_tokens / u64::from(block_tokens);
        Arc::new(Self {
            base,
            decode_base,
            kv_token_picos: whole(kv_token, KV_TOKEN_PICOS_MAX),
            half_pair_femtos: whole(half_pair, HALF_PAIR_FEMTOS_MAX),
            token_budget,
            sequences_max,
            block_tokens,
            blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
        })
    }

    /// Time of a step of `tokens` (prefill chunks and decodes together) that reads `kv_tokens` of
    /// KV and attends over `half_pairs` (see [`half_pairs`]). Tokens beyond the budget count as
    /// the budget.
    #[must_use]
    pub fn step_picos(&self, tokens: u32, kv_tokens: u64, half_pairs: u64) -> Picos {
        self.base[tokens.min(self.token_budget) as usize]
            + self.kv_picos(kv_tokens)
            + half_pairs.saturating_mul(self.half_pair_femtos) / FEMTOS_PER_PICO
    }

    /// Time of a step in which each of `sequences` computes one token, padded to the next
    /// captured CUDA graph, with `kv_tokens` of KV read by all of them together. Sequences beyond
    /// `max_num_seqs` count as `max_num_seqs`.
    #[must_use]
    pub fn decode_step_picos(&self, sequences: u32, kv_tokens: u64) -> Picos {
        self.decode_base[sequences.min(self.sequences_max) as usize] + self.kv_picos(kv_tokens)
    }

    /// Time to read `kv_tokens` of KV: what a decode step grows by when its KV grows by them.
    #[must_use]
    pub const fn kv_picos(&self, kv_tokens: u64) -> Picos {
        kv_tokens.saturating_mul(self.kv_token_picos)
    }

    /// `max_num_batched_tokens` in force.
    #[must_use]
    pub const fn token_budget(&self) -> u32 {
        self.token_budget
    }

    /// `max_num_seqs` in force.
    #[must_use]
    pub const fn sequences_max(&self) -> u32 {
        self.sequences_max
    }

    /// Tokens in one KV block.
    #[must_use]
    pub const fn block_tokens(&self) -> u32 {
        self.block_tokens
    }

    /// KV blocks of one engine. The profile's capacity is what requests can use, so vLLM's null
    /// block is not subtracted again.
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        self.blocks
    }

    /// KV capacity of one engine in tokens, whole blocks only.
    #[must_use]
    pub const fn capacity_tokens(&self) -> u64 {
        self.blocks as u64 * self.block_tokens as u64
    }
}

/// Twice the token pairs that a chunk of `tokens` attends over after `context` computed tokens:
/// `2 * n*(context + n/2)`, doubled to stay whole.
#[must_use]
pub const fn half_pairs(tokens: u32, context: u32) -> u64 {
    tokens as u64 * (2 * context as u64 + tokens as u64)
}

/// The tabulated part at N tokens.
fn base_picos(step: &StepTime, tokens: u32) -> Picos {
    let n = f64::from(tokens);
    let touched = 1.0 - (1.0 - step.expert_share_per_token).powf(n);
    let reading = step.weights_ms + step.experts_ms * touched;
    let computing = step.compute_ms_per_ktoken * n / 1e3;
    let q = step.overlap_exponent.max(1.0);
    // Scaled by the larger term, so that a large exponent does not overflow.
    let larger = reading.max(computing);
    let both = if larger > 0.0 {
        larger * ((reading / larger).powf(q) + (computing / larger).powf(q)).powf(1.0 / q)
    } else {
        0.0
    };
    let milliseconds = step.calibration * (step.fixed_ms + both);
    // A step never takes no time at all: time must go on.
    whole(milliseconds * PICOS_PER_MILLI, STEP_BASE_PICOS_MAX).max(PICOS_PER_NANO)
}

/// Rounds to a whole number in `0..=max`; NaN and negative values become 0.
fn whole(value: f64, max: u64) -> u64 {
    (value.round() as u64).min(max)
}

/// Batch sizes that vLLM captures: 1, 2, 4, 8..248 by 8, 256.. by 16, up to
/// `min(2 * max_num_seqs, 512)` and the token budget.
fn graph_sizes(sequences_max: u32, token_budget: u32) -> Vec<u32> {
    let largest = sequences_max.saturating_mul(2).min(GRAPH_SEQUENCES_MAX).min(token_budget);
    [1, 2, 4]
        .into_iter()
        .chain((8..256).step_by(8))
        .chain((256..=GRAPH_SEQUENCES_MAX).step_by(16))
        .filter(|&size| size <= largest)
        .collect()
}
