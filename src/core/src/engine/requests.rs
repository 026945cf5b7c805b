//! The requests that are in an engine.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::kv::{Chain, Holding, IdHasher};
use super::meters::Times;
use super::{Part, Prefix, Work};
use crate::ids::RequestId;
use crate::time::Picos;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the queue; new, or preempted.
    Waiting,
    /// Has its blocks and waits for remote KV.
    Loading,
    /// Has its KV and waits for a seat.
    Loaded,
    /// In the running batch, not all its tokens computed.
    Prefilling,
    /// In the running batch, one token a step.
    Decoding,
    /// A prefill whose blocks wait for the decode side.
    Leased,
    /// Nobody's.
    Unused,
}

/// One request.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) request: RequestId,
    /// Counts the requests that had this slot, so that late messages find nobody.
    pub(super) generation: u32,
    pub(super) stage: Stage,
    pub(super) part: Part,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    /// Tokens generated; kept current except while it decodes.
    pub(super) generated: u32,
    /// Tokens with KV; kept current except while it decodes.
    pub(super) computed: u32,
    /// Prompt tokens found in a cache or loaded, at the first admission.
    pub(super) cached: u32,
    /// Has been counted as a prefix-cache query (at its first admission only).
    pub(super) queried: bool,
    /// Its KV has been asked for; after a preemption it computes everything itself.
    pub(super) load_started: bool,
    /// The client is gone: no more events.
    pub(super) aborted: bool,
    /// Place in the order of admission; identifies one stay in the batch.
    pub(super) admission: u64,
    /// Place in the order of loads.
    pub(super) load: u64,
    /// While it decodes: the decode step after which it is finished.
    pub(super) finish_step: u64,
    pub(super) times: Times,
    pub(super) scheduled: bool,
    pub(super) prefix: Option<Prefix>,
    pub(super) holding: Holding,
}

impl Slot {
    /// Tokens known so far: the prompt and what was generated.
    pub(super) const fn tokens(&self) -> u32 {
        self.prompt_tokens + self.generated
    }

    pub(super) fn chain(&self, block_tokens: u32) -> Chain<'_> {
        Chain::new(self.prefix.as_ref(), self.prompt_tokens, block_tokens)
    }

    /// The chain and, at the same time, the holding to change.
    pub(super) fn chain_and_holding(&mut self, block_tokens: u32) -> (Chain<'_>, &mut Holding) {
        (Chain::new(self.prefix.as_ref(), self.prompt_tokens, block_tokens), &mut self.holding)
    }

    /// Full blocks and allocated blocks that it holds.
    pub(super) fn extent(&self, block_tokens: u32) -> (u32, u32) {
        match self.stage {
            Stage::Waiting | Stage::Unused => (0, 0),
            Stage::Loading => {
                (self.computed / block_tokens, self.prompt_tokens.div_ceil(block_tokens))
            }
            Stage::Loaded => {
                (self.prompt_tokens / block_tokens, self.prompt_tokens.div_ceil(block_tokens))
            }
            Stage::Prefilling | Stage::Decoding | Stage::Leased => {
                (self.computed / block_tokens, self.computed.div_ceil(block_tokens))
            }
        }
    }
}

/// Names a request in a queue or message; stale once its slot has been given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) slot: u32,
    generation: u32,
}

/// All requests in the engine, in slots that are used again.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    unused: Vec<u32>,
    by_id: HashMap<u64, u32, BuildHasherDefault<IdHasher>>,
}

impl Requests {
    pub(super) fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    pub(super) fn slot_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unused.len() == self.slots.len()
    }

    /// Takes in a request; counts of 0 tokens become 1, and a prefill generates one token.
    pub(super) fn add(&mut self, at: Picos, work: Work) -> u32 {
        let Work { request, prompt_tokens, output_tokens, part, prefix } = work;
        let output_tokens = if part == Part::Prefill { 1 } else { output_tokens.max(1) };
        let times = Times { arrival: at, first_scheduled: at, first_token: at, last_token: at };
        let (generation, holding) = (0, Holding::default());
        let fresh = Slot {
            request,
            generation,
            stage: Stage::Waiting,
            part,
            prompt_tokens: prompt_tokens.max(1),
            output_tokens,
            generated: 0,
            computed: 0,
            cached: 0,
            queried: false,
            load_started: false,
            aborted: false,
            admission: 0,
            load: 0,
            finish_step: 0,
            times,
            scheduled: false,
            prefix,
            holding,
        };
        let index = if let Some(index) = self.unused.pop() {
            let slot = &mut self.slots[index as usize];
            let generation = slot.generation;
            // The holding keeps its buffer.
            let holding = std::mem::take(&mut slot.holding);
            *slot = Slot { generation, holding, ..fresh };
            index
        } else {
            self.slots.push(fresh);
            self.slots.len() as u32 - 1
        };
        self.by_id.insert(request.0, index);
        index
    }

    /// Gives up a slot; tickets for it are stale from now on.
    pub(super) fn remove(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.aborted {
            self.by_id.remove(&slot.request.0);
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.stage = Stage::Unused;
        slot.prefix = None;
        self.unused.push(index);
    }

    pub(super) fn find(&self, request: RequestId) -> Option<u32> {
        self.by_id.get(&request.0).copied()
    }

    /// From now on nobody knows the request by its identity, though it is still there.
    pub(super) fn disown(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.aborted = true;
        self.by_id.remove(&slot.request.0);
    }

    pub(super) fn ticket(&self, slot: u32) -> Ticket {
        Ticket { slot, generation: self.slots[slot as usize].generation }
    }

    /// The slot that a ticket names, unless its request is gone.
    pub(super) fn admit(&self, ticket: Ticket) -> Option<u32> {
        let slot = &self.slots[ticket.slot as usize];
        let valid = slot.generation == ticket.generation && slot.stage != Stage::Unused;
        valid.then_some(ticket.slot)
    }

    pub(super) fn live(&self) -> impl Iterator<Item = RequestId> {
        self.slots
            .iter()
            .filter(|slot| slot.stage != Stage::Unused && !slot.aborted)
            .map(|slot| slot.request)
    }
}
