//! The engine and the reference, held together over random workloads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use proptest::prelude::*;

use super::physics;
use super::reference::Reference;
use super::reference_seen::Coverage;
use crate::engine::{Engine, EngineEvent, EngineEventKind, Part, Prefix, Work};
use crate::ids::RequestId;

/// A mixing generator for workloads; the seed comes from proptest.
#[derive(Clone, Copy)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Loaded(u64),
    Release(u64),
    Abort(u64),
    Submit(u64),
    Sample,
}

struct Pair {
    fast: Engine,
    plain: Reference,
    calls: BinaryHeap<Reverse<(u64, u64, Call)>>,
    sequence: u64,
    dice: Dice,
    flavour: Flavour,
}

#[derive(Clone, Copy, Debug)]
struct Flavour {
    block_tokens: u32,
    blocks: u64,
    budget: u32,
    seats: u32,
    split_percent: u64,
    prefix_percent: u64,
    abort_percent: u64,
    families: u64,
    gap_picos: u64,
    output_max: u64,
}

impl Flavour {
    fn random(dice: &mut Dice) -> Self {
        let block_tokens = [1, 2, 4, 5, 8, 16][dice.roll(6) as usize];
        Self {
            block_tokens,
            blocks: 6 + dice.roll(60),
            budget: 4 + dice.roll(90) as u32,
            seats: 1 + dice.roll(12) as u32,
            split_percent: [0, 0, 40, 100][dice.roll(4) as usize],
            prefix_percent: [0, 50, 100][dice.roll(3) as usize],
            abort_percent: [0, 0, 20][dice.roll(3) as usize],
            families: 1 + dice.roll(3),
            gap_picos: [100_000_000, 3_000_000_000, 30_000_000_000][dice.roll(3) as usize],
            output_max: [3, 20, 80][dice.roll(3) as usize],
        }
    }
}

impl Pair {
    fn push(&mut self, at: u64, call: Call) {
        self.sequence += 1;
        self.calls.push(Reverse((at, self.sequence, call)));
    }

    /// Chained identities as a tree would give them: the family and the branch at each depth
    /// decide the identity, and so does the length of a last, shorter piece.
    fn prefix(&mut self, prompt: u32) -> Prefix {
        let piece_tokens = self.flavour.block_tokens * (1 + self.dice.roll(4) as u32);
        let mut id = self.dice.roll(self.flavour.families) * 1_000 + u64::from(piece_tokens);
        let mut ids = Vec::new();
        let mut left = prompt;
        while left > 0 {
            let branch = if self.dice.roll(4) == 0 { self.dice.roll(3) } else { 0 };
            let length = left.min(piece_tokens);
            id = id.wrapping_mul(31).wrapping_add(branch * 7 + u64::from(length));
            ids.push(id);
            left -= length;
        }
        Prefix { ids: Arc::from(ids), piece_tokens }
    }

    fn work(&mut self, request: u64) -> Work {
        let capacity = self.flavour.blocks * u64::from(self.flavour.block_tokens);
        let prompt = 1 + self.dice.roll(capacity * 2 / 3 + 1) as u32;
        let prefix =
            (self.dice.roll(100) < self.flavour.prefix_percent).then(|| self.prefix(prompt));
        let part = if self.dice.roll(100) < self.flavour.split_percent {
            [Part::Prefill, Part::Decode][self.dice.roll(2) as usize]
        } else {
            Part::Whole
        };
        let output_tokens = 1 + self.dice.roll(self.flavour.output_max) as u32;
        let request = RequestId(request);
        Work { request, prompt_tokens: prompt, output_tokens, part, prefix }
    }

    fn delay(&mut self) -> u64 {
        let most = [1, 1_000_000_000, 50_000_000_000][self.dice.roll(3) as usize];
        self.dice.roll(most)
    }

    /// Advances both and compares what they say; what they want is answered later.
    fn advance(&mut self, to: u64) -> Result<(), TestCaseError> {
        let (mut fast, mut plain) = (Vec::new(), Vec::new());
        self.fast.advance(to, &mut fast);
        self.plain.advance(to, &mut plain);
        prop_assert_eq!(&fast, &plain);
        self.answer(&fast);
        Ok(())
    }

    fn answer(&mut self, events: &[EngineEvent]) {
        for event in events {
            let at = event.at + self.delay();
            match event.kind {
                EngineEventKind::KvWanted { .. } => self.push(at, Call::Loaded(event.request.0)),
                EngineEventKind::PrefillDone => self.push(at, Call::Release(event.request.0)),
                _ => {}
            }
        }
    }

    fn call(&mut self, at: u64, call: Call) -> Result<(), TestCaseError> {
        match call {
            Call::Loaded(request) => {
                self.fast.kv_loaded(at, RequestId(request));
                self.plain.kv_loaded(at, RequestId(request));
            }
            Call::Release(request) => {
                self.fast.release(at, RequestId(request));
                self.plain.release(at, RequestId(request));
            }
            Call::Abort(request) => {
                let request = RequestId(request);
                prop_assert_eq!(self.fast.abort(at, request), self.plain.abort(at, request));
            }
            Call::Submit(request) => {
                let work = self.work(request);
                let (mut fast, mut plain) = (Vec::new(), Vec::new());
                self.fast.submit(at, work.clone(), &mut fast);
                self.plain.submit(at, work, &mut plain);
                prop_assert_eq!(fast, plain);
                if self.dice.roll(100) < self.flavour.abort_percent {
                    let later = at + self.delay() * 3;
                    self.push(later, Call::Abort(request));
                }
            }
            Call::Sample => {}
        }
        self.compare(at)
    }

    fn compare(&self, at: u64) -> Result<(), TestCaseError> {
        let (sample, load) = (self.fast.sample(at), self.fast.load(at));
        prop_assert_eq!(&sample, &self.plain.sample());
        prop_assert_eq!(
            (load.running, load.waiting, load.kv_usage),
            (sample.running, sample.waiting, sample.kv_usage)
        );
        let mut in_flight = Vec::new();
        self.fast.in_flight(&mut in_flight);
        prop_assert_eq!(in_flight, self.plain.in_flight());
        prop_assert_eq!(self.fast.is_idle(), self.plain.is_idle());
        Ok(())
    }

    fn run(seed: u64, requests: u64) -> Result<Coverage, TestCaseError> {
        let mut dice = Dice(seed);
        let flavour = Flavour::random(&mut dice);
        let tables = physics(flavour.blocks, flavour.block_tokens, flavour.budget, flavour.seats);
        let mut pair = Self {
            fast: Engine::new(Arc::clone(&tables)),
            plain: Reference::new(tables),
            calls: BinaryHeap::new(),
            sequence: 0,
            dice,
            flavour,
        };
        let mut at = 0;
        for request in 0..requests {
            at += pair.dice.roll(3).min(1) * pair.dice.roll(flavour.gap_picos * 2);
            pair.push(at, Call::Submit(request));
            let later = at + pair.dice.roll(flavour.gap_picos * 4);
            pair.push(later, Call::Sample);
        }
        pair.drain()?;
        pair.settle()?;
        Ok(pair.plain.coverage)
    }

    fn drain(&mut self) -> Result<(), TestCaseError> {
        loop {
            let call = self.calls.peek().map(|Reverse((at, ..))| *at);
            match (self.fast.next_event_at(), call) {
                (None, None) => return Ok(()),
                (Some(event), Some(call)) if event <= call => self.advance(event)?,
                (Some(event), None) => self.advance(event)?,
                (_, Some(at)) => {
                    // The reference steps up to here; the engine has nothing to say until then.
                    let mut silent = Vec::new();
                    self.plain.advance(at, &mut silent);
                    prop_assert_eq!(&silent, &Vec::new());
                    if let Some(Reverse((_, _, call))) = self.calls.pop() {
                        self.call(at, call)?;
                    }
                }
            }
        }
    }

    /// When all is over nobody has left a trace.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let (empty, free, (nodes, pieces)) = self.fast.remains();
        prop_assert!(empty, "requests are left: {:?}", self.plain.in_flight());
        prop_assert_eq!(u64::from(free), self.flavour.blocks);
        prop_assert_eq!(self.plain.free() as u64, self.flavour.blocks);
        prop_assert_eq!(nodes, pieces);
        prop_assert!(pieces <= self.plain.cached_blocks());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn leaping_equals_stepping_bit_for_bit(seed: u64, requests in 1_u64..80) {
        Pair::run(seed, requests)?;
    }
}

#[test]
fn the_workloads_reach_every_corner() {
    let mut sum = Coverage::default();
    for seed in 0..600 {
        let one = Pair::run(seed, 60).unwrap();
        macro_rules! add {
            ($($field:ident)*) => { $(sum.$field += one.$field;)* };
        }
        add!(preemptions self_preemptions evictions merges blocked_by_blocks blocked_by_seats
            blocked_idle hits hits_partial_piece hits_own chunked loads leases aborts_waiting
            aborts_running aborts_loading finished_in_abort);
    }
    macro_rules! reached {
        ($($field:ident)*) => { $(assert!(sum.$field > 10, "{}: {sum:?}", stringify!($field));)* };
    }
    reached!(preemptions self_preemptions evictions merges blocked_by_blocks blocked_by_seats
        blocked_idle hits hits_partial_piece hits_own chunked loads leases aborts_waiting
        aborts_running aborts_loading finished_in_abort);
}
