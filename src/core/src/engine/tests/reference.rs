//! The reference engine: one step after the other, one sequence after the other, written from
//! the description of vLLM's scheduler and sharing only the step-time tables.

use std::collections::VecDeque;
use std::sync::Arc;

use super::reference_kv::{Key, ReferenceKv};
use super::reference_seen::{Coverage, Seen};
use super::reference_sequence::{Sequence, State};
use crate::engine::physics::half_pairs;
use crate::engine::{EngineEvent, EngineEventKind, Part, Physics, Work};
use crate::ids::RequestId;
use crate::observe::EngineSample;

#[derive(Clone, Copy, Debug)]
enum Message {
    Loaded(usize),
    Leave(usize),
}

pub(super) struct Reference {
    physics: Arc<Physics>,
    all: Vec<Sequence>,
    running: Vec<usize>,
    waiting: VecDeque<usize>,
    /// In order of load start.
    loading: Vec<usize>,
    kv: ReferenceKv,
    /// End of the step under way and its (sequence, tokens).
    step: Option<(u64, Vec<(usize, u32)>)>,
    wake: Option<u64>,
    messages: Vec<Message>,
    step_start: u64,
    pub(super) coverage: Coverage,
    seen: Seen,
}

impl Reference {
    pub(super) fn new(physics: Arc<Physics>) -> Self {
        let kv = ReferenceKv::new(physics.blocks());
        Self {
            physics,
            all: Vec::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            loading: Vec::new(),
            kv,
            step: None,
            wake: None,
            messages: Vec::new(),
            step_start: 0,
            coverage: Coverage::default(),
            seen: Seen::default(),
        }
    }

    pub(super) fn submit(&mut self, at: u64, work: Work, events: &mut Vec<EngineEvent>) {
        let output = if work.part == Part::Prefill { 1 } else { work.output_tokens };
        if (work.prompt_tokens + output).div_ceil(self.physics.block_tokens())
            > self.physics.blocks()
        {
            let kind = EngineEventKind::TooLarge;
            events.push(EngineEvent { at, request: work.request, kind });
            return;
        }
        self.all.push(Sequence::new(at, work, output));
        self.waiting.push_back(self.all.len() - 1);
        self.wake_up(at);
    }

    fn wake_up(&mut self, at: u64) {
        if self.step.is_none() {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
    }

    fn find(&self, request: RequestId) -> Option<usize> {
        self.all.iter().position(|sequence| {
            sequence.work.request == request && sequence.state != State::Gone && !sequence.aborted
        })
    }

    pub(super) fn kv_loaded(&mut self, at: u64, request: RequestId) {
        if let Some(index) = self.find(request) {
            self.messages.push(Message::Loaded(index));
            self.wake_up(at);
        }
    }

    pub(super) fn release(&mut self, at: u64, request: RequestId) {
        if let Some(index) = self.find(request)
            && self.all[index].state == State::Leased
        {
            self.messages.push(Message::Leave(index));
            self.wake_up(at);
        }
    }

    pub(super) fn abort(&mut self, at: u64, request: RequestId) -> bool {
        let Some(index) = self.find(request) else { return false };
        self.all[index].aborted = true;
        self.messages.push(Message::Leave(index));
        self.wake_up(at);
        true
    }

    pub(super) fn in_flight(&self) -> Vec<RequestId> {
        let live = |sequence: &&Sequence| sequence.state != State::Gone && !sequence.aborted;
        let mut out: Vec<_> =
            self.all.iter().filter(live).map(|sequence| sequence.work.request).collect();
        out.sort();
        out
    }

    pub(super) fn is_idle(&self) -> bool {
        self.all.iter().all(|sequence| sequence.state == State::Gone)
    }

    pub(super) fn free(&self) -> usize {
        self.kv.free()
    }

    pub(super) fn cached_blocks(&self) -> usize {
        self.kv.cached_blocks()
    }

    pub(super) fn advance(&mut self, to: u64, events: &mut Vec<EngineEvent>) {
        loop {
            if let Some((end, scheduled)) = self.step.clone() {
                if end > to {
                    return;
                }
                self.step = None;
                self.end_step(end, &scheduled, events);
                self.step_start = end;
            } else if let Some(at) = self.wake {
                if at > to {
                    return;
                }
                self.wake = None;
                self.step_start = at;
            } else {
                return;
            }
            self.take_messages();
            // A step in which nothing but a preemption happened takes no time.
            while self.begin_step(events) {}
        }
    }

    fn take_messages(&mut self) {
        for message in std::mem::take(&mut self.messages) {
            match message {
                Message::Loaded(index) => {
                    let sequence = &mut self.all[index];
                    if sequence.state == State::Loading && !sequence.kv_here {
                        sequence.kv_here = true;
                        sequence.computed = sequence.work.prompt_tokens;
                        self.register_full(index);
                        let sequence = &mut self.all[index];
                        sequence.computed -= 1;
                        sequence.cached = sequence.computed;
                    }
                }
                Message::Leave(index) => {
                    match self.all[index].state {
                        State::Gone => {
                            self.coverage.finished_in_abort += 1;
                            continue;
                        }
                        State::Waiting => self.coverage.aborts_waiting += 1,
                        State::Loading => self.coverage.aborts_loading += 1,
                        State::Running => self.coverage.aborts_running += 1,
                        State::Leased => self.coverage.leases += 1,
                    }
                    self.waiting.retain(|&other| other != index);
                    self.loading.retain(|&other| other != index);
                    self.running.retain(|&other| other != index);
                    self.free_blocks(index);
                    self.all[index].state = State::Gone;
                }
            }
        }
    }

    fn key(&self, index: usize, block: u32) -> Key {
        let sequence = &self.all[index];
        let block_tokens = self.physics.block_tokens();
        if let Some(prefix) = &sequence.work.prefix {
            let in_piece = prefix.piece_tokens / block_tokens;
            let inside_prompt = (block + 1) * block_tokens <= sequence.work.prompt_tokens;
            if let Some(&id) = prefix.ids.get((block / in_piece) as usize)
                && inside_prompt
            {
                return Key::Piece(id, block % in_piece);
            }
        }
        Key::Private(index, block)
    }

    /// Registers the blocks that `computed` tokens fill.
    fn register_full(&mut self, index: usize) {
        let full = (self.all[index].computed / self.physics.block_tokens()) as usize;
        for block in self.all[index].full..full {
            let key = self.key(index, block as u32);
            let held = self.all[index].blocks[block];
            self.all[index].blocks[block] = self.kv.register(held, key);
        }
        self.all[index].full = full.max(self.all[index].full);
    }

    fn free_blocks(&mut self, index: usize) {
        let blocks = std::mem::take(&mut self.all[index].blocks);
        self.all[index].full = 0;
        self.kv.release(&blocks);
    }

    /// Allocates for `tokens` more and registers what they fill; false if blocks do not suffice.
    fn allocate(&mut self, index: usize, tokens: u32) -> bool {
        let sequence = &self.all[index];
        let blocks = (sequence.computed + tokens).div_ceil(self.physics.block_tokens()) as usize;
        let missing = blocks.saturating_sub(sequence.blocks.len());
        if missing > self.kv.free() {
            return false;
        }
        let new = self.kv.allocate(missing);
        let sequence = &mut self.all[index];
        sequence.blocks.extend(new);
        let before = sequence.computed;
        sequence.computed += tokens;
        self.register_full(index);
        self.all[index].computed = before;
        true
    }

    /// Schedules one step. True if it is empty because of a preemption.
    fn begin_step(&mut self, events: &mut Vec<EngineEvent>) -> bool {
        let now = self.step_start;
        let mut budget = self.physics.token_budget();
        let mut scheduled: Vec<(usize, u32)> = Vec::new();
        let mut preempted = false;
        let mut place = 0;
        'running: while place < self.running.len() && budget > 0 {
            let index = self.running[place];
            let tokens = (self.all[index].tokens() - self.all[index].computed).min(budget);
            while !self.allocate(index, tokens) {
                let victim = self.running.pop().expect("the one being scheduled is running");
                self.preempt(victim);
                preempted = true;
                if victim == index {
                    self.coverage.self_preemptions += 1;
                    break 'running;
                }
            }
            scheduled.push((index, tokens));
            budget -= tokens;
            place += 1;
        }
        if !preempted {
            self.admit(now, budget, &mut scheduled, events);
        }
        self.coverage.evictions = self.kv.evictions;
        self.coverage.merges = self.kv.merges;
        if scheduled.is_empty() {
            let waits = !self.waiting.is_empty();
            self.coverage.blocked_idle += u32::from(waits && !preempted);
            return preempted;
        }
        let end = now + self.step_time(&scheduled);
        for &(index, tokens) in &scheduled {
            self.all[index].computed += tokens;
        }
        self.step = Some((end, scheduled));
        false
    }

    fn preempt(&mut self, index: usize) {
        self.free_blocks(index);
        let sequence = &mut self.all[index];
        sequence.computed = 0;
        sequence.state = State::Waiting;
        self.waiting.push_front(index);
        self.seen.preemptions += 1;
        self.coverage.preemptions += 1;
    }

    fn admit(
        &mut self,
        now: u64,
        mut budget: u32,
        scheduled: &mut Vec<(usize, u32)>,
        events: &mut Vec<EngineEvent>,
    ) {
        while budget > 0 {
            let here = self.loading.iter().position(|&index| self.all[index].kv_here);
            if here.is_none() && self.waiting.is_empty() {
                break;
            }
            if self.running.len() >= self.physics.sequences_max() as usize {
                self.coverage.blocked_by_seats += 1;
                break;
            }
            if let Some(place) = here {
                let index = self.loading.remove(place);
                assert!(self.allocate(index, 1), "its blocks were allocated up front");
                self.seat(index, now);
                scheduled.push((index, 1));
                budget -= 1;
                continue;
            }
            let index = self.waiting[0];
            let block_tokens = self.physics.block_tokens();
            let tokens = self.all[index].tokens();
            let limit = (tokens - 1) / block_tokens;
            let keys: Vec<Key> = (0..limit).map(|block| self.key(index, block)).collect();
            let (found, idle) = self.kv.lookup(keys.iter().copied());
            let whole = tokens.div_ceil(block_tokens) as usize - found.len();
            if whole + idle > self.kv.free() {
                self.coverage.blocked_by_blocks += 1;
                break;
            }
            self.waiting.pop_front();
            for &block in &found {
                self.kv.touch(block);
            }
            self.note_hit(&keys, found.len());
            let hit = found.len() as u32 * block_tokens;
            let sequence = &mut self.all[index];
            sequence.full = found.len();
            sequence.blocks = found;
            sequence.computed = hit;
            if !sequence.queried {
                sequence.queried = true;
                sequence.cached = hit;
                self.seen.queries += u64::from(tokens);
                self.seen.hits += u64::from(hit);
            }
            if sequence.work.part == Part::Decode && !sequence.load_started {
                sequence.load_started = true;
                sequence.state = State::Loading;
                let request = sequence.work.request;
                let new = self.kv.allocate(whole);
                self.all[index].blocks.extend(new);
                self.loading.push(index);
                self.coverage.loads += 1;
                let kind = EngineEventKind::KvWanted { tokens: tokens - hit };
                events.push(EngineEvent { at: now, request, kind });
                continue;
            }
            let chunk = (tokens - hit).min(budget);
            self.coverage.chunked += u32::from(chunk < tokens - hit);
            assert!(self.allocate(index, chunk), "the whole prompt fits");
            self.seat(index, now);
            scheduled.push((index, chunk));
            budget -= chunk;
        }
    }

    fn note_hit(&mut self, keys: &[Key], found: usize) {
        self.coverage.hits += u32::from(found > 0);
        let Some(last) = found.checked_sub(1) else { return };
        match (keys[last], keys.get(found)) {
            (Key::Piece(one, _), Some(Key::Piece(other, _))) if one == *other => {
                self.coverage.hits_partial_piece += 1;
            }
            (Key::Private(..), _) => self.coverage.hits_own += 1,
            _ => {}
        }
    }

    fn seat(&mut self, index: usize, now: u64) {
        self.running.push(index);
        let sequence = &mut self.all[index];
        sequence.state = State::Running;
        sequence.first_scheduled.get_or_insert(now);
    }

    fn step_time(&self, scheduled: &[(usize, u32)]) -> u64 {
        let (mut tokens, mut kv, mut pairs) = (0, 0, 0);
        for &(index, new) in scheduled {
            let context = self.all[index].computed;
            tokens += new;
            kv += u64::from(context);
            if new > 1 {
                pairs += half_pairs(new, context);
            }
        }
        if tokens as usize == scheduled.len() {
            self.physics.decode_step_picos(tokens, kv)
        } else {
            self.physics.step_picos(tokens, kv, pairs)
        }
    }

    fn end_step(&mut self, now: u64, scheduled: &[(usize, u32)], events: &mut Vec<EngineEvent>) {
        let (mut yielded, mut computed) = (0, 0);
        for &(index, _) in scheduled {
            let sequence = &mut self.all[index];
            if sequence.computed < sequence.tokens() {
                continue;
            }
            yielded += 1;
            self.seen.generation_tokens += 1;
            let request = sequence.work.request;
            if sequence.generated == 0 {
                sequence.first_token = now;
                self.seen.ttft.push(now - sequence.arrival);
                self.seen.prompt_tokens += u64::from(sequence.work.prompt_tokens);
                computed += u64::from(sequence.work.prompt_tokens - sequence.cached);
                if sequence.work.part != Part::Prefill && !sequence.aborted {
                    events.push(EngineEvent {
                        at: now,
                        request,
                        kind: EngineEventKind::FirstToken,
                    });
                }
            } else {
                self.seen.itl.push(now - sequence.last_token);
            }
            sequence.last_token = now;
            sequence.generated += 1;
            if sequence.generated == sequence.output {
                self.finish(index, now, events);
            }
        }
        if yielded > 0 {
            self.seen.iteration.push(yielded + computed);
        }
    }

    fn finish(&mut self, index: usize, now: u64, events: &mut Vec<EngineEvent>) {
        let sequence = &mut self.all[index];
        self.seen.finished += 1;
        let gaps = u64::from(sequence.output) - 1;
        let tpot = (now - sequence.first_token).checked_div(gaps).unwrap_or(0);
        self.seen.tpot.push(tpot);
        self.seen.queue_time.push(sequence.first_scheduled.unwrap() - sequence.arrival);
        self.seen.e2e.push(now - sequence.arrival);
        self.seen.prompts.push(u64::from(sequence.work.prompt_tokens));
        self.seen.outputs.push(u64::from(sequence.output));
        let lease = sequence.work.part == Part::Prefill;
        let kind = if lease { EngineEventKind::PrefillDone } else { EngineEventKind::Finished };
        if !sequence.aborted {
            events.push(EngineEvent { at: now, request: sequence.work.request, kind });
        }
        sequence.state = if lease { State::Leased } else { State::Gone };
        self.running.retain(|&other| other != index);
        if !lease {
            self.free_blocks(index);
        }
    }

    pub(super) fn sample(&self) -> EngineSample {
        EngineSample {
            running: self.running.len() as f64,
            waiting: (self.waiting.len() + self.loading.len()) as f64,
            waiting_deferred: self.loading.len() as f64,
            kv_usage: 1.0 - self.kv.free() as f64 / f64::from(self.physics.blocks()),
            kv_capacity_tokens: self.physics.capacity_tokens() as f64,
            ..self.seen.page()
        }
    }
}
