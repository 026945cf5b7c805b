//! One engine in virtual time.

use std::sync::Arc;

use super::batch::Batch;
use super::kv::Kv;
use super::leap::Leap;
use super::meters::{Gauges, Meters};
use super::physics::Physics;
use super::queue::Queue;
use super::requests::{Requests, Stage, Ticket};
use super::schedule::next_finish;
use super::{EngineEvent, EngineEventKind, Part, Work};
use crate::gate::EndpointLoad;
use crate::ids::RequestId;
use crate::observe::EngineSample;
use crate::time::Picos;

/// One engine in virtual time.
///
/// Steps follow each other without a gap while there is anything to compute; whatever arrives
/// during a step counts from the next step border on, and a step that begins at an instant does
/// not see what arrives at that same instant. An engine with nothing to compute starts at the
/// instant of the arrival: [`Engine::next_event_at`] then gives that instant, and
/// [`Engine::advance`] begins the step.
///
/// The caller never goes back in time, and calls `advance(t)` before any other call at `t` if
/// `next_event_at() <= t`.
#[derive(Debug)]
pub struct Engine {
    pub(super) physics: Arc<Physics>,
    pub(super) requests: Requests,
    pub(super) queue: Queue,
    pub(super) batch: Batch,
    pub(super) kv: Kv,
    pub(super) meters: Meters,
    /// Prefill chunks of the step under way.
    pub(super) chunks: Vec<Chunk>,
    /// The step under way and those after it that will be like it.
    pub(super) leap: Option<Leap>,
    /// Start of the step under way, or the instant of the last change.
    pub(super) now: Picos,
    /// Without a leap: when to look for something to compute.
    wake_at: Option<Picos>,
    /// What takes effect at the next step border, in the order in which it came.
    pending: Vec<Message>,
}

/// A part of a request that is computed in one step, other than by a decode under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) slot: u32,
    pub(super) tokens: u32,
    pub(super) context: u32,
}

#[derive(Clone, Copy, Debug)]
enum Message {
    KvLoaded(Ticket),
    Release(Ticket),
    Abort(Ticket),
}

impl Engine {
    /// An engine with an empty cache.
    #[must_use]
    pub fn new(physics: Arc<Physics>) -> Self {
        let (batch, kv) = (Batch::new(physics.block_tokens()), Kv::new(physics.blocks()));
        Self {
            physics,
            requests: Requests::default(),
            queue: Queue::default(),
            batch,
            kv,
            meters: Meters::new(),
            chunks: Vec::new(),
            leap: None,
            now: 0,
            wake_at: None,
            pending: Vec::new(),
        }
    }

    /// Queues a request at `at`; answers [`EngineEventKind::TooLarge`] at once, and keeps
    /// nothing, if the KV cache could never hold it.
    pub fn submit(&mut self, at: Picos, work: Work, events: &mut Vec<EngineEvent>) {
        let output = if work.part == Part::Prefill { 1 } else { work.output_tokens.max(1) };
        let tokens = u64::from(work.prompt_tokens.max(1)) + u64::from(output);
        let blocks = tokens.div_ceil(u64::from(self.physics.block_tokens()));
        if blocks > u64::from(self.physics.blocks()) || tokens > u64::from(u32::MAX) {
            let request = work.request;
            events.push(EngineEvent { at, request, kind: EngineEventKind::TooLarge });
            return;
        }
        // Whoever waits already is blocked until something leaves; then there is a border anyway.
        let may_enter =
            self.queue.nobody_to_admit() && self.batch.len() < self.physics.sequences_max();
        let slot = self.requests.add(at, work);
        self.queue.push_back(&self.requests, slot);
        if may_enter {
            self.attend(at);
        }
    }

    /// The next step border at which something observable may happen; `None` while idle or
    /// blocked.
    #[must_use]
    pub fn next_event_at(&self) -> Option<Picos> {
        self.wake_at.or(self.leap.as_ref().map(|leap| leap.end))
    }

    /// Carries out everything up to and including `to`; appends what happened in order of time.
    pub fn advance(&mut self, to: Picos, events: &mut Vec<EngineEvent>) {
        loop {
            if let Some(at) = self.wake_at {
                if at > to {
                    return;
                }
                self.wake_at = None;
                self.now = at;
            } else {
                let Some(leap) = self.leap.take_if(|leap| leap.end <= to) else { return };
                self.complete(&leap, events);
            }
            self.schedule(events);
        }
    }

    /// The KV transfer of a [`Part::Decode`] is complete. Of no effect if the request is gone.
    pub fn kv_loaded(&mut self, at: Picos, request: RequestId) {
        if let Some(slot) = self.requests.find(request) {
            self.post(at, Message::KvLoaded(self.requests.ticket(slot)));
        }
    }

    /// The lease of a finished [`Part::Prefill`] ends; its blocks are free from the next step
    /// border on. Of no effect if it has none.
    pub fn release(&mut self, at: Picos, request: RequestId) {
        if let Some(slot) = self.requests.find(request)
            && self.requests.slot(slot).stage == Stage::Leased
        {
            self.post(at, Message::Release(self.requests.ticket(slot)));
        }
    }

    /// The client is gone: no more events of this request, and it leaves at the next step border,
    /// whatever it was doing; a lease ends too. Returns whether it was there.
    pub fn abort(&mut self, at: Picos, request: RequestId) -> bool {
        let Some(slot) = self.requests.find(request) else { return false };
        let ticket = self.requests.ticket(slot);
        self.requests.disown(slot);
        self.post(at, Message::Abort(ticket));
        true
    }

    /// Everybody in the engine, queued, running, loading or under lease, by rising identity.
    pub fn in_flight(&self, out: &mut Vec<RequestId>) {
        let before = out.len();
        out.extend(self.requests.live());
        out[before..].sort_unstable();
    }

    /// The three gauges at `at`.
    #[must_use]
    pub fn load(&self, at: Picos) -> EndpointLoad {
        EndpointLoad {
            running: f64::from(self.batch.len()),
            waiting: f64::from(self.queue.waiting()),
            kv_usage: self.kv_usage(self.steps_done(at)),
        }
    }

    /// The whole metrics page at `at`.
    #[must_use]
    pub fn sample(&self, at: Picos) -> EngineSample {
        let done = self.steps_done(at);
        let gauges = Gauges {
            running: self.batch.len(),
            waiting: self.queue.waiting(),
            waiting_deferred: self.queue.deferred(),
            kv_usage: self.kv_usage(done),
            kv_capacity_tokens: self.physics.capacity_tokens(),
        };
        match &self.leap {
            Some(leap) if done > 0 => {
                let mut meters = self.meters.clone();
                meters.decodes(leap, done);
                let decodes = u64::from(leap.decodes);
                meters.iteration_tokens.observe(decodes, u64::from(done));
                meters.page(&gauges)
            }
            _ => self.meters.page(&gauges),
        }
    }

    /// Nobody is in the engine, not even under lease.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Steps of the leap that have ended at `at`.
    pub(super) fn steps_done(&self, at: Picos) -> u32 {
        self.leap.as_ref().map_or(0, |leap| leap.steps_done(at))
    }

    /// Share of blocks held, `done` steps into the leap: those of the step after them are taken.
    fn kv_usage(&self, done: u32) -> f64 {
        let taken = match &self.leap {
            Some(leap) => self.batch.need_after_first((done + 1).min(leap.steps)),
            None => 0,
        };
        let free = u64::from(self.kv.free()) - taken;
        let total = self.physics.blocks();
        if total == 0 { 0.0 } else { 1.0 - free as f64 / f64::from(total) }
    }

    /// Something came that matters at the next step border.
    fn attend(&mut self, at: Picos) {
        match &mut self.leap {
            Some(leap) => leap.cut(at),
            None => self.wake_at = Some(self.wake_at.map_or(at, |wake| wake.min(at))),
        }
    }

    fn post(&mut self, at: Picos, message: Message) {
        self.pending.push(message);
        self.attend(at);
    }

    /// What came during the step that has just ended.
    pub(super) fn apply_pending(&mut self) {
        let mut pending = std::mem::take(&mut self.pending);
        for message in pending.drain(..) {
            match message {
                Message::KvLoaded(ticket) => self.apply_loaded(ticket),
                Message::Release(ticket) | Message::Abort(ticket) => {
                    if let Some(slot) = self.requests.admit(ticket) {
                        self.evict_request(slot);
                    }
                }
            }
        }
        self.pending = pending;
    }

    fn apply_loaded(&mut self, ticket: Ticket) {
        let Some(index) = self.requests.admit(ticket) else { return };
        let block_tokens = self.physics.block_tokens();
        let slot = self.requests.slot_mut(index);
        if slot.stage != Stage::Loading {
            return;
        }
        slot.stage = Stage::Loaded;
        slot.computed = slot.prompt_tokens - 1;
        slot.cached = slot.computed;
        self.queue.finish_load(index, slot);
        let full = slot.prompt_tokens / block_tokens;
        let (chain, holding) = slot.chain_and_holding(block_tokens);
        self.kv.publish(holding, chain, full);
    }

    /// Takes a request out wherever it is.
    fn evict_request(&mut self, index: u32) {
        self.queue.leave(self.requests.slot(index));
        let stage = self.requests.slot(index).stage;
        if matches!(stage, Stage::Prefilling | Stage::Decoding) {
            let computed = self.computed(index);
            if stage == Stage::Decoding {
                self.batch.stop_decode(computed, false);
            }
            self.requests.slot_mut(index).computed = computed;
            self.batch.remove(index);
        }
        if stage == Stage::Waiting {
            self.kv.abandon(&mut self.requests.slot_mut(index).holding);
        } else {
            self.release_blocks(index, false);
        }
        self.requests.remove(index);
    }

    /// The steps of a leap are done: their tokens come out.
    fn complete(&mut self, leap: &Leap, events: &mut Vec<EngineEvent>) {
        // The blocks of the first step were taken when it was scheduled.
        let need = self.batch.need_after_first(leap.steps);
        self.kv.take(u32::try_from(need).unwrap_or(u32::MAX));
        self.batch.advance(leap.steps);
        self.now = leap.end;
        if leap.decodes > 0 {
            self.meters.decodes(leap, leap.steps);
            while let Some((step, slot)) = next_finish(&mut self.batch, &self.requests)
                && step <= self.batch.step()
            {
                self.batch.pop_finish();
                self.finish_decode(slot, events);
            }
        }
        if self.chunks.is_empty() {
            self.meters.iteration_tokens.observe(u64::from(leap.decodes), u64::from(leap.steps));
        } else {
            self.complete_chunks(leap.decodes, events);
        }
    }

    fn finish_decode(&mut self, index: u32, events: &mut Vec<EngineEvent>) {
        let now = self.now;
        let slot = self.requests.slot_mut(index);
        slot.computed = slot.prompt_tokens + slot.output_tokens - 1;
        slot.times.last_token = now;
        self.batch.stop_decode(slot.computed, true);
        self.finish(index, events);
    }

    /// The chunks of the step that has just ended; whoever is complete yields a token.
    fn complete_chunks(&mut self, decodes: u32, events: &mut Vec<EngineEvent>) {
        let mut chunks = std::mem::take(&mut self.chunks);
        let (mut yielded, mut computed) = (u64::from(decodes), 0);
        for &Chunk { slot: index, .. } in &chunks {
            let now = self.now;
            let slot = self.requests.slot_mut(index);
            if slot.computed < slot.tokens() {
                continue;
            }
            yielded += 1;
            self.meters.generation_tokens += 1;
            if slot.generated == 0 {
                slot.times.first_token = now;
                computed += u64::from(slot.prompt_tokens - slot.cached);
                self.meters.prompt_tokens += u64::from(slot.prompt_tokens);
                self.meters.ttft.observe(now - slot.times.arrival, 1);
                if slot.part != Part::Prefill && !slot.aborted {
                    let kind = EngineEventKind::FirstToken;
                    events.push(EngineEvent { at: now, request: slot.request, kind });
                }
            } else {
                self.meters.itl.observe(now - slot.times.last_token, 1);
            }
            slot.generated += 1;
            slot.times.last_token = now;
            if slot.generated == slot.output_tokens {
                self.finish(index, events);
                continue;
            }
            slot.stage = Stage::Decoding;
            let left = slot.output_tokens - slot.generated;
            slot.finish_step = self.batch.start_decode(index, slot.admission, slot.computed, left);
        }
        if yielded > 0 {
            self.meters.iteration_tokens.observe(yielded + computed, 1);
        }
        chunks.clear();
        self.chunks = chunks;
    }

    /// The last token is out. A prefill keeps its blocks until its lease ends.
    fn finish(&mut self, index: u32, events: &mut Vec<EngineEvent>) {
        self.batch.remove(index);
        let slot = self.requests.slot_mut(index);
        self.meters.finished(&slot.times, slot.prompt_tokens, slot.output_tokens);
        let lease = slot.part == Part::Prefill;
        if !slot.aborted {
            let kind = if lease { EngineEventKind::PrefillDone } else { EngineEventKind::Finished };
            events.push(EngineEvent { at: self.now, request: slot.request, kind });
        }
        if lease {
            slot.stage = Stage::Leased;
        } else {
            self.release_blocks(index, false);
            self.requests.remove(index);
        }
    }

    /// Memory in use: requests, nodes, pieces.
    #[cfg(test)]
    pub(super) fn remains(&self) -> (bool, u32, (usize, usize)) {
        (self.requests.is_empty(), self.kv.free(), self.kv.nodes_in_use())
    }
}
