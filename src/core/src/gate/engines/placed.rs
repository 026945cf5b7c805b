//! Where a request goes, and what is remembered of it while it is there.

use super::calibration::Work;
use super::engine::Load;
use super::group::Choice;
use crate::gate::RequestMap;
use crate::ids::{EndpointId, TierId};
use crate::time::{Span, Time};

/// Faster than any engine generates a token.
const TOKEN_MIN: Span = Span::from_millis(1);

/// Shorter answers tell little about gaps between tokens.
const GAPS_MIN: u32 = 8;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::gate) struct Placement {
    pub(in crate::gate) endpoint: EndpointId,
    pub(in crate::gate) prefill: Option<EndpointId>,
    /// Predicted time to first token.
    pub(in crate::gate) ttft: Span,
    /// What of it no profile says anything about: transfers, adapters.
    pub(in crate::gate) other: Span,
    /// What the engine that computes its prompt has to do for it.
    pub(in crate::gate) work: Work,
    /// Prompt tokens that need not be computed where the prompt is.
    pub(in crate::gate) cached_tokens: u32,
}

impl Placement {
    pub(super) const fn of(choice: Choice, prefill: Option<EndpointId>) -> Self {
        Self {
            endpoint: choice.endpoint,
            prefill,
            ttft: Span(choice.ttft_ns as u64),
            other: Span(choice.other_ns as u64),
            work: choice.work,
            cached_tokens: choice.cached_tokens,
        }
    }

    /// Where its prompt is computed.
    pub(super) fn computed_at(&self) -> EndpointId {
        self.prefill.unwrap_or(self.endpoint)
    }
}

/// Requests in flight as the gate remembers them; here because it mirrors what engines hold.
pub(in crate::gate) type InFlight = RequestMap<Placed>;

/// A dispatched request.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) struct Placed {
    pub(in crate::gate) placement: Placement,
    /// Whether its prompt is still with the prefill endpoint of its pair.
    pub(in crate::gate) elsewhere: bool,
    /// When its first token was told.
    pub(in crate::gate) first_at: Option<Time>,
    pub(in crate::gate) sent_at: Time,
    /// Whether something waited where its prompt is computed, as far as was known when it was sent.
    pub(in crate::gate) queued: bool,
    /// Requests that were on the endpoint that answers when it came.
    pub(in crate::gate) beside: u32,
    pub(in crate::gate) tier: TierId,
    pub(in crate::gate) flow: u64,
    pub(in crate::gate) user: u64,
    pub(in crate::gate) prompt_tokens: u32,
    pub(in crate::gate) output_expected: u32,
}

impl Placed {
    /// Prompt tokens to compute.
    pub(in crate::gate) const fn uncached_tokens(&self) -> u32 {
        self.prompt_tokens.saturating_sub(self.placement.cached_tokens)
    }

    /// The prefill endpoint of its pair, as long as its prompt is there.
    pub(super) fn prefilling(&self) -> Option<EndpointId> {
        self.placement.prefill.filter(|_| self.elsewhere)
    }

    /// What it takes of the endpoint that answers.
    pub(super) const fn here(&self) -> Load {
        let tokens = self.uncached_tokens();
        Load {
            prompt_tokens: if self.elsewhere { 0 } else { tokens },
            kv_tokens: tokens + self.output_expected / 2,
            elsewhere: self.elsewhere,
        }
    }

    /// What it takes of the endpoint that computes its prompt.
    pub(super) const fn there(&self) -> Load {
        let tokens = self.uncached_tokens();
        Load { prompt_tokens: tokens, kv_tokens: tokens, elsewhere: false }
    }

    /// Its time to first token, if its answer came token by token. The first that is seen of an
    /// answer in one piece is its end, which says nothing of waiting.
    pub(super) fn streamed(&self, now: Time, output_tokens: u32) -> Option<Span> {
        let first_at = self.first_at?;
        let apart = Span(TOKEN_MIN.0 * u64::from(output_tokens.saturating_sub(1)));
        let streamed = output_tokens > 1 && now.since(first_at) >= apart;
        streamed.then(|| first_at.since(self.sent_at))
    }

    /// The mean gap between the tokens of an answer that came token by token.
    pub(super) fn gap(&self, now: Time, output_tokens: u32) -> Option<Span> {
        let gaps = output_tokens.saturating_sub(1);
        let took = now.since(self.first_at?);
        (gaps >= GAPS_MIN).then(|| Span(took.0 / u64::from(gaps)))
    }
}
