//! What is behind the HTTP interface: something that takes requests and yields tokens in time that
//! is told to it.

use forebay_core::engine::profile::EngineProfile;
use forebay_core::engine::{Engine, EngineEvent, Physics, Work};
use forebay_core::ids::RequestId;
use forebay_core::observe::EngineSample;
use forebay_core::time::Picos;

use super::Service;
use super::slots::Slots;

/// Either kind of service, in simulated time.
#[derive(Debug)]
pub(super) enum Serving {
    Simulated(Box<Engine>),
    Slots(Box<Slots>),
}

impl Serving {
    pub(super) fn new(service: &Service) -> Self {
        match service {
            Service::Profile(profile) => {
                Self::Simulated(Box::new(Engine::new(Physics::new(profile, &profile.limits))))
            }
            Service::Slots(fixed) => Self::Slots(Box::new(Slots::new(*fixed))),
        }
    }

    pub(super) fn submit(&mut self, at: Picos, work: Work, events: &mut Vec<EngineEvent>) {
        match self {
            Self::Simulated(engine) => engine.submit(at, work, events),
            Self::Slots(slots) => slots.submit(at, &work),
        }
    }

    pub(super) fn abort(&mut self, at: Picos, request: RequestId) {
        match self {
            Self::Simulated(engine) => {
                engine.abort(at, request);
            }
            Self::Slots(slots) => slots.abort(at, request),
        }
    }

    pub(super) fn advance(&mut self, to: Picos, events: &mut Vec<EngineEvent>) {
        match self {
            Self::Simulated(engine) => engine.advance(to, events),
            Self::Slots(slots) => slots.advance(to, events),
        }
    }

    pub(super) fn next_event_at(&self) -> Option<Picos> {
        match self {
            Self::Simulated(engine) => engine.next_event_at(),
            Self::Slots(slots) => slots.next_event_at(),
        }
    }

    /// When one of `requests` yields its next token, at the earliest.
    pub(super) fn next_token_at(
        &self,
        at: Picos,
        requests: impl Iterator<Item = RequestId>,
    ) -> Option<Picos> {
        match self {
            Self::Simulated(engine) => engine.next_step_at(at),
            Self::Slots(slots) => {
                requests.filter_map(|request| slots.next_token_at(at, request)).min()
            }
        }
    }

    pub(super) fn generated(&self, at: Picos, request: RequestId) -> Option<u32> {
        match self {
            Self::Simulated(engine) => engine.generated(at, request),
            Self::Slots(slots) => slots.generated(at, request),
        }
    }

    pub(super) fn sample(&self, at: Picos) -> EngineSample {
        match self {
            Self::Simulated(engine) => engine.sample(at),
            Self::Slots(slots) => slots.sample(),
        }
    }
}

impl Service {
    /// Time of a request outside the engine's steps, ms.
    pub(super) fn overhead_ms(&self) -> f64 {
        match self {
            Self::Profile(profile) => profile.request_overhead_ms,
            Self::Slots(_) => 0.0,
        }
    }

    /// Tokens of one KV block, in which prompts are found again.
    pub(super) fn block_tokens(&self) -> u32 {
        match self {
            Self::Profile(profile) => profile.kv.block_tokens,
            Self::Slots(_) => super::slots::BLOCK_TOKENS,
        }
    }

    /// The longest prompt and answer together, tokens.
    pub(super) fn context_tokens(&self) -> u64 {
        match self {
            Self::Profile(profile) => context_tokens(profile),
            Self::Slots(_) => super::slots::CONTEXT_TOKENS,
        }
    }
}

/// What fits in the KV cache, up to what the models of our profiles were trained for.
fn context_tokens(profile: &EngineProfile) -> u64 {
    const TRAINED_TOKENS: u64 = 131_072;
    profile.kv.capacity_tokens.min(TRAINED_TOKENS)
}
