//! An engine that shows on its page what a profile makes of a given state.

use super::predict::{Mix, Part};
use crate::engine::profile::{EngineProfile, StepTime};
use crate::observe::{Aged, EngineSample};
use crate::plan::testing::profile as base;
use crate::time::{Span, Time};

/// An engine whose weights take 10 ms, 1,000 tokens 40 ms, 100,000 KV tokens 10 ms.
pub(crate) fn profile() -> EngineProfile {
    let mut profile = base();
    profile.step_time = StepTime {
        fixed_ms: 1.0,
        weights_ms: 9.0,
        overlap_exponent: 1.8,
        kv_read_ms_per_ktoken: 0.1,
        attention_ms_per_mpair: 2.0,
        ..profile.step_time
    };
    profile.kv.capacity_tokens = 400_000;
    profile
}

/// What an engine does for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) batch: f64,
    pub(crate) context: f64,
    /// Share of steps that compute a prompt.
    pub(crate) prefill_share: f64,
    pub(crate) prompt: f64,
    /// By how much each step is slower than the profile says.
    pub(crate) slower: f64,
}

pub(crate) const BUSY: State =
    State { batch: 40.0, context: 800.0, prefill_share: 0.1, prompt: 600.0, slower: 1.0 };

/// One engine's page, in time.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) page: EngineSample,
    pub(crate) at: Time,
}

impl Engine {
    /// One that has long been warm.
    pub(crate) fn warm() -> Self {
        let mut engine = Self::new();
        engine.page.iteration_tokens.observe(1.0, 1e6);
        engine
    }

    pub(crate) fn new() -> Self {
        let page = EngineSample::idle(profile().kv.capacity_tokens as f64);
        Self { page, at: Time::ZERO }
    }

    pub(crate) fn shown(&self) -> Aged<&EngineSample> {
        Aged { at: self.at, value: &self.page }
    }

    /// Runs for 15 s in a state.
    pub(crate) fn run(&mut self, truth: &EngineProfile, state: &State) {
        self.at += Span::from_secs(15);
        let State { batch, context, prefill_share, prompt, slower } = *state;
        let kv_tokens = batch * context;
        let part =
            |tokens: f64, pairs: f64, padded: bool| Part { tokens, kv_tokens, pairs, padded };
        let seconds = |part: Part| Mix::Steps(1.0, part).seconds(&truth.step_time) * slower;
        let decode_s = seconds(part(batch, 0.0, true));
        let mixed_s = seconds(part(batch + prompt, prompt * prompt / 2.0, false));
        let steps = 15.0 / (decode_s * (1.0 - prefill_share) + mixed_s * prefill_share);
        let (mixed, page) = (steps * prefill_share, &mut self.page);
        page.itl.observe(decode_s, batch * (steps - mixed));
        page.itl.observe(mixed_s, batch * mixed);
        page.iteration_tokens.observe(batch, steps - mixed);
        page.iteration_tokens.observe(batch + prompt + 1.0, mixed);
        page.generation_tokens_total += batch * steps + mixed;
        page.prompt_tokens_total += prompt * mixed;
        page.prefix_queries_tokens_total += prompt * mixed;
        page.ttft.observe(mixed_s, mixed);
        page.queue_time.observe(0.01, mixed);
        page.e2e.observe(2.0, mixed);
        page.prompt_lengths.observe(prompt, mixed);
        page.generation_lengths.observe(200.0, mixed);
        page.requests_finished_total += mixed;
        page.running = batch;
        page.kv_usage = kv_tokens / page.kv_capacity_tokens;
    }
}
