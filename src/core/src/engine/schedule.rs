//! What vLLM's scheduler does at a step border: the running batch first, with preemption when
//! blocks run out, then admission from the queue.

use super::batch::Batch;
use super::engine::{Chunk, Engine};
use super::leap::{LEAP_STEPS_MAX, Leap};
use super::physics::half_pairs;
use super::requests::Stage;
use super::{EngineEvent, EngineEventKind, Part};

impl Engine {
    /// Schedules the step that begins now, and as many further ones as will have the same
    /// content. Leaves no leap when there is nothing to compute.
    pub(super) fn schedule(&mut self, events: &mut Vec<EngineEvent>) {
        self.apply_pending();
        loop {
            let preempted = self.schedule_running();
            if !preempted {
                self.admit(events);
            }
            if self.batch.decodes() > 0 || !self.chunks.is_empty() {
                self.begin_leap(preempted);
                return;
            }
            if !preempted {
                return;
            }
            // Everybody was preempted: an empty step takes no time, and the next one admits.
        }
    }

    /// The running batch in order of admission. Returns whether somebody was preempted.
    fn schedule_running(&mut self) -> bool {
        let partial = self.batch.newest().filter(|&slot| self.prefilling(slot));
        let chunk = partial.map_or(0, |slot| self.chunk_of(slot));
        let need = self.batch.need_now();
        let chunk_need = partial.map_or(0, |slot| self.chunk_need(slot, chunk));
        if need.saturating_add(chunk_need) > self.kv.free() {
            return self.schedule_running_one_by_one();
        }
        self.kv.take(need);
        if let Some(slot) = partial {
            self.schedule_chunk(slot, chunk);
        }
        false
    }

    /// As [`Self::schedule_running`], when blocks run out: each takes its blocks in turn, and
    /// whoever was admitted last gives way.
    fn schedule_running_one_by_one(&mut self) -> bool {
        let mut preempted = false;
        let mut next = self.batch.oldest();
        while let Some(slot) = next {
            let prefilling = self.prefilling(slot);
            let chunk = if prefilling { self.chunk_of(slot) } else { 0 };
            let need = if prefilling {
                self.chunk_need(slot, chunk)
            } else {
                u32::from(self.computed(slot).is_multiple_of(self.physics.block_tokens()))
            };
            while self.kv.free() < need {
                let Some(victim) = self.batch.newest() else { return preempted };
                self.preempt(victim);
                preempted = true;
                if victim == slot {
                    return true;
                }
            }
            if prefilling {
                self.schedule_chunk(slot, chunk);
            } else {
                self.kv.take(need);
            }
            next = self.batch.after(slot);
        }
        preempted
    }

    fn prefilling(&self, slot: u32) -> bool {
        self.requests.slot(slot).stage == Stage::Prefilling
    }

    /// Tokens with KV of a request in the batch.
    pub(super) fn computed(&self, slot: u32) -> u32 {
        let slot = self.requests.slot(slot);
        if slot.stage == Stage::Decoding {
            slot.prompt_tokens + slot.output_tokens - 1 - self.left(slot.finish_step)
        } else {
            slot.computed
        }
    }

    /// Tokens that a decode has still to generate.
    fn left(&self, finish_step: u64) -> u32 {
        // At most `output_tokens`, so it fits.
        finish_step.saturating_sub(self.batch.step()) as u32
    }

    /// Tokens that the partly computed request at the end of the batch gets: what the decodes
    /// leave of the budget. There is never more than one, because a chunk that does not complete
    /// its request uses the budget up.
    fn chunk_of(&self, slot: u32) -> u32 {
        let slot = self.requests.slot(slot);
        let budget = self.physics.token_budget() - self.batch.decodes();
        (slot.tokens() - slot.computed).min(budget)
    }

    /// Blocks that a chunk needs beyond those that the request has.
    fn chunk_need(&self, slot: u32, chunk: u32) -> u32 {
        let slot = self.requests.slot(slot);
        let block_tokens = self.physics.block_tokens();
        let (_, allocated) = slot.extent(block_tokens);
        (slot.computed + chunk).div_ceil(block_tokens).saturating_sub(allocated)
    }

    /// Takes a chunk's blocks and enters it into the step. Its full blocks can be found from now
    /// on, also by requests that are admitted later in the same step.
    fn schedule_chunk(&mut self, index: u32, tokens: u32) {
        let need = self.chunk_need(index, tokens);
        self.kv.take(need);
        let block_tokens = self.physics.block_tokens();
        let slot = self.requests.slot_mut(index);
        self.chunks.push(Chunk { slot: index, tokens, context: slot.computed });
        slot.computed += tokens;
        let full = slot.computed / block_tokens;
        let (chain, holding) = slot.chain_and_holding(block_tokens);
        self.kv.publish(holding, chain, full);
    }

    /// A request whose KV was loaded has all its blocks; the last prompt token is computed again,
    /// to sample from.
    fn schedule_last_prompt_token(&mut self, index: u32) {
        let slot = self.requests.slot_mut(index);
        self.chunks.push(Chunk { slot: index, tokens: 1, context: slot.computed });
        slot.computed += 1;
    }

    /// Takes a request out of the batch; it gives up all its blocks and goes to the head of the
    /// queue.
    fn preempt(&mut self, index: u32) {
        let computed = self.computed(index);
        let decoding = self.requests.slot(index).stage == Stage::Decoding;
        let now = self.now;
        let left = self.left(self.requests.slot(index).finish_step);
        let slot = self.requests.slot_mut(index);
        if decoding {
            // Its last token came out of the step that ends now.
            slot.times.last_token = now;
            slot.generated = slot.output_tokens - left;
            self.batch.stop_decode(computed, false);
        }
        slot.computed = computed;
        self.batch.remove(index);
        self.release_blocks(index, true);
        let slot = self.requests.slot_mut(index);
        slot.stage = Stage::Waiting;
        slot.computed = 0;
        self.queue.push_front(&self.requests, index);
        self.meters.preemptions += 1;
    }

    /// Gives back all blocks of a request.
    pub(super) fn release_blocks(&mut self, index: u32, preempted: bool) {
        let block_tokens = self.physics.block_tokens();
        let slot = self.requests.slot_mut(index);
        let (full, allocated) = slot.extent(block_tokens);
        let (chain, holding) = slot.chain_and_holding(block_tokens);
        self.kv.release(holding, chain, full, allocated, preempted);
    }

    /// Admits while budget, seats and blocks last: first those that have their remote KV, then
    /// the queue in order. Whoever does not fit keeps those behind from being tried.
    fn admit(&mut self, events: &mut Vec<EngineEvent>) {
        let chunk = self.chunks.first().map_or(0, |chunk| chunk.tokens);
        let mut budget = self.physics.token_budget() - self.batch.decodes() - chunk;
        while budget > 0 && self.batch.len() < self.physics.sequences_max() {
            if let Some(slot) = self.queue.pop_loaded() {
                self.seat(slot);
                self.schedule_last_prompt_token(slot);
                budget -= 1;
            } else if let Some(slot) = self.queue.front(&self.requests) {
                if !self.admit_from_queue(slot, &mut budget, events) {
                    break;
                }
            } else {
                break;
            }
        }
    }

    /// Admits the head of the queue, or starts its load. Returns whether its prompt fitted.
    fn admit_from_queue(
        &mut self,
        index: u32,
        budget: &mut u32,
        events: &mut Vec<EngineEvent>,
    ) -> bool {
        let block_tokens = self.physics.block_tokens();
        let slot = self.requests.slot_mut(index);
        let tokens = slot.tokens();
        let chain = slot.chain(block_tokens);
        // At least one token is always computed, else there would be nothing to sample from.
        let hit = self.kv.find(&slot.holding, chain, (tokens - 1) / block_tokens);
        let whole = tokens.div_ceil(block_tokens) - hit.blocks;
        if whole + hit.idle > self.kv.free() {
            return false;
        }
        self.queue.pop_front();
        let (chain, holding) = slot.chain_and_holding(block_tokens);
        self.kv.hold_found(holding, chain, hit);
        slot.computed = hit.blocks * block_tokens;
        if !slot.queried {
            slot.queried = true;
            slot.cached = slot.computed;
            self.meters.prefix_queries_tokens += u64::from(tokens);
            self.meters.prefix_hits_tokens += u64::from(slot.computed);
        }
        if slot.part == Part::Decode && !slot.load_started {
            slot.load_started = true;
            slot.stage = Stage::Loading;
            self.queue.start_load(slot);
            let wanted = slot.prompt_tokens - slot.computed;
            let kind = EngineEventKind::KvWanted { tokens: wanted };
            events.push(EngineEvent { at: self.now, request: slot.request, kind });
            self.kv.take(whole);
            return true;
        }
        let chunk = (tokens - slot.computed).min(*budget);
        self.seat(index);
        self.schedule_chunk(index, chunk);
        *budget -= chunk;
        true
    }

    fn seat(&mut self, index: u32) {
        let slot = self.requests.slot_mut(index);
        slot.stage = Stage::Prefilling;
        slot.admission = self.batch.append(index);
        if !slot.scheduled {
            slot.scheduled = true;
            slot.times.first_scheduled = self.now;
        }
    }

    /// How long the step takes that was scheduled, and how many will be like it.
    fn begin_leap(&mut self, preempted: bool) {
        let decodes = self.batch.decodes();
        let context = self.batch.context();
        if self.chunks.is_empty() {
            // After a preemption the next step tries the queue again.
            let most = if preempted { 1 } else { LEAP_STEPS_MAX };
            let to_finish = next_finish(&mut self.batch, &self.requests)
                .map_or(most, |(step, _)| step.saturating_sub(self.batch.step()) as u32);
            let steps = self.batch.steps_within(to_finish.min(most).max(1), self.kv.free());
            let first = self.physics.decode_step_picos(decodes, context);
            let growth = self.physics.kv_picos(u64::from(decodes));
            self.leap = Some(Leap::new(self.now, steps, first, growth, decodes));
            return;
        }
        let (mut tokens, mut kv_tokens, mut pairs, mut decode_only) = (decodes, context, 0, true);
        for chunk in &self.chunks {
            tokens += chunk.tokens;
            kv_tokens += u64::from(chunk.context);
            if chunk.tokens > 1 {
                decode_only = false;
                pairs += half_pairs(chunk.tokens, chunk.context);
            }
        }
        let step = if decode_only {
            self.physics.decode_step_picos(tokens, kv_tokens)
        } else {
            self.physics.step_picos(tokens, kv_tokens, pairs)
        };
        self.leap = Some(Leap::new(self.now, 1, step, 0, decodes));
    }
}

/// The next decode to finish: its step and slot.
pub(super) fn next_finish(
    batch: &mut Batch,
    requests: &super::requests::Requests,
) -> Option<(u64, u32)> {
    batch.next_finish(|admission, slot| {
        let slot = requests.slot(slot);
        slot.stage == Stage::Decoding && slot.admission == admission
    })
}
