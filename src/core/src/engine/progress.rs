//! How far single requests are inside a leap: what a driver that streams tokens asks.

use super::Engine;
use super::requests::Stage;
use crate::ids::RequestId;
use crate::time::Picos;

impl Engine {
    /// Tokens that a request has generated at `at`; `None` when it is not in the engine (not
    /// known, finished, or aborted). The caller has advanced the engine to `at`.
    #[must_use]
    pub fn generated(&self, at: Picos, request: RequestId) -> Option<u32> {
        let slot = self.requests.slot(self.requests.find(request)?);
        if slot.stage != Stage::Decoding {
            return Some(slot.generated);
        }
        let done = self.batch.step() + u64::from(self.steps_done(at));
        // At most `output_tokens`, so it fits.
        let left = slot.finish_step.saturating_sub(done) as u32;
        Some(slot.output_tokens - left)
    }

    /// The first step border after `at`, also where nothing but another token happens; `None`
    /// while nothing is computed.
    #[must_use]
    pub fn next_step_at(&self, at: Picos) -> Option<Picos> {
        self.leap.as_ref().map(|leap| leap.border_after(at))
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::tests::physics;
    use crate::engine::{Engine, EngineEventKind, Part, Work};
    use crate::ids::RequestId;

    #[test]
    fn tokens_come_one_a_step_also_inside_a_leap() {
        let mut engine = Engine::new(physics(100, 16, 100, 8));
        let request = RequestId(7);
        let mut events = Vec::new();
        let work =
            Work { request, prompt_tokens: 20, output_tokens: 9, part: Part::Whole, prefix: None };
        engine.submit(0, work, &mut events);
        engine.advance(0, &mut events);
        assert_eq!(engine.generated(0, request), Some(0));
        let mut seen = Vec::new();
        let mut at = 0;
        while let Some(border) = engine.next_step_at(at) {
            assert!(border > at);
            engine.advance(border, &mut events);
            at = border;
            seen.push(engine.generated(at, request));
        }
        let counted: Vec<_> = (1..9).map(Some).chain([None]).collect();
        assert_eq!(seen, counted);
        let finished = events.last().expect("it has finished");
        assert_eq!((finished.at, finished.kind), (at, EngineEventKind::Finished));
        assert_eq!(engine.generated(at, RequestId(8)), None);
    }
}
