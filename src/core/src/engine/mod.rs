//! The physics of one inference engine, after vLLM v1: unified step model, chunked prefill, paged
//! KV with a prefix cache, preemption by recompute.
//!
//! [`Engine`] advances in *leaps*: as long as the batch is the same, steps are added up in closed
//! form, in whole picoseconds, so that leaping equals stepping bit for bit; a block-by-block
//! reference in the tests holds it to that. The cost of a request is a few operations on a heap
//! and a table, however many tokens it generates.
//!
//! Where this differs from vLLM 0.33, on purpose:
//! - No priority policy, LoRA, speculative decoding, multimodal input, sliding windows, watermark
//!   (0 by default) or `long_prefill_token_threshold` (off by default). Scheduling is not
//!   asynchronous: a step is scheduled when the one before has ended.
//! - A block completed with content that is cached already is given back for the cached one;
//!   vLLM keeps both. Generated tokens are never found by other requests, because traces identify
//!   prompts only; they are found by the same request after a preemption.
//! - KV that was loaded is findable from the border after the load, seat or no seat; vLLM
//!   publishes it when it gets to the request in its queue. A request that is aborted during its
//!   load gives its blocks back at the next border; vLLM waits for the transfer.
//! - Gauges are true at the instant of the sample; vLLM's are those of its last step. Aborted
//!   requests count in no counter, `finished_reason="abort"` included.
//! - A step with one token per sequence is a decode step (padded to a CUDA graph, no attention
//!   pairs), also where that token is the last of a prompt. Mixed steps are not padded.
//! - `request_overhead_ms` of a profile lies outside the step loop: the driver adds it.
//!
//! The reserve that vLLM keeps for prefills under way when it starts a load is always 0 here: a
//! prefill that is not complete has used up the budget, and then nothing is admitted.

mod batch;
mod blocks;
#[expect(clippy::module_inception, reason = "the engine itself, beside its parts")]
mod engine;
mod kv;
mod leap;
mod meters;
pub mod physics;
pub mod profile;
mod progress;
mod queue;
mod requests;
mod schedule;
#[cfg(test)]
mod tests;
pub mod work;

pub use engine::Engine;
pub use physics::Physics;

use std::sync::Arc;

use crate::ids::RequestId;
use crate::time::Picos;

/// One request as an engine sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Our identity of the request.
    pub request: RequestId,
    /// Prompt length in tokens; at least 1.
    pub prompt_tokens: u32,
    /// Tokens that it will generate; at least 1. The engine stops there, no policy may look.
    pub output_tokens: u32,
    /// Which part of the request this engine serves.
    pub part: Part,
    /// Identity of the prompt's content; absent when the trace does not tell: then nothing is
    /// shared with other requests.
    pub prefix: Option<Prefix>,
}

/// Which part of a request an engine serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The prompt and one token; its blocks are then held under a lease until released.
    Prefill,
    /// Everything after the prompt, whose KV is loaded from a prefill engine.
    Decode,
}

/// Identity of a prompt's content in equal pieces, each identity standing for the whole prefix up
/// to and including its piece (as Mooncake's `hash_ids`, or chained block hashes).
#[derive(Clone, Debug, PartialEq)]
pub struct Prefix {
    /// Chained identities, in order; the last piece may be shorter than the others.
    pub ids: Arc<[u64]>,
    /// Tokens in one piece; a multiple of the KV block size.
    pub piece_tokens: u32,
}

/// What an engine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// When: the end of the step in which it happened.
    pub at: Picos,
    /// To whom.
    pub request: RequestId,
    /// What.
    pub kind: EngineEventKind,
}

/// Kinds of [`EngineEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineEventKind {
    /// The first token left the engine (not for [`Part::Prefill`]).
    FirstToken,
    /// The last token left the engine; its blocks are free again.
    Finished,
    /// A [`Part::Prefill`] is done; its blocks stay until the lease is released.
    PrefillDone,
    /// A [`Part::Decode`] has its blocks and waits for `tokens` of KV from the prefill engine,
    /// until [`Engine::kv_loaded`].
    KvWanted {
        /// Tokens of KV to transfer: the prompt without what was found locally. At least 1, as
        /// the last token of a prompt is never taken from the local cache.
        tokens: u32,
    },
    /// The request can never fit in this engine's KV cache; it was not queued.
    TooLarge,
}
