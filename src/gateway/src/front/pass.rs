//! A request that may go, with everything that must be done about it; and one that waits.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use forebay_core::admit::Charge;
use forebay_core::ids::{RequestId, TierId};

use super::{Denied, Front};
use crate::body;
use crate::desk::{Admission, Grant, Outcome, Reason, Refused, Usage};
use crate::spans::RequestSpan;

/// What is owed to a tenant's ledger when its request ends.
#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) front: Front,
    /// Taken when it is settled.
    pub(super) charge: Option<Charge>,
    pub(super) tenant: std::sync::Arc<str>,
    pub(super) tier: TierId,
    pub(super) flow: u64,
    pub(super) prompt_tokens: u32,
    /// Its caller keeps its place for it: no ticket is given.
    pub(super) keeps_place: bool,
    /// Where spans are asked for.
    pub(super) span: Option<Box<RequestSpan>>,
}

impl Settlement {
    fn settle(&mut self, tokens: u64) {
        if let Some(charge) = self.charge.take() {
            self.front.settle(charge, tokens);
        }
    }

    /// Its span has no parent, so what came of a trace does not go on.
    pub(super) fn begins_trace(&self) -> bool {
        self.span.as_deref().is_some_and(RequestSpan::is_root)
    }
}

/// Ends the span of a request that does not go.
pub(super) fn refused(span: Option<Box<RequestSpan>>, denied: Denied) -> Denied {
    if let Some(span) = span {
        span.refused(denied.reason().unwrap_or("refused"), denied.status());
    }
    denied
}

/// A request that the gate has been asked about. Resolves when it has decided.
#[derive(Debug)]
#[must_use = "dropped, it tells the gate that the client has gone"]
pub struct Waiting {
    admission: Admission,
    rest: Option<(Settlement, Option<String>, Vec<String>)>,
}

impl Waiting {
    pub(super) const fn new(
        admission: Admission,
        settlement: Settlement,
        rewrite: Option<String>,
        stripped: Vec<String>,
    ) -> Self {
        Self { admission, rest: Some((settlement, rewrite, stripped)) }
    }

    /// Whether the gate holds the request.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.admission.is_held()
    }
}

impl Future for Waiting {
    type Output = Result<Pass, Denied>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let decided = ready!(Pin::new(&mut self.admission).poll(context));
        let Some((mut settlement, rewrite, stripped)) = self.rest.take() else {
            return Poll::Ready(Err(Refused::shutting_down().into()));
        };
        Poll::Ready(match decided {
            Ok(grant) => {
                if let Some(span) = &mut settlement.span {
                    span.sent(grant.endpoint(), grant.prefill());
                }
                Ok(Pass { grant, settlement, rewrite, stripped })
            }
            Err(refused) => {
                settlement.settle(0);
                settlement.front.meters().refused(&settlement.tenant, settlement.tier);
                let may_return = matches!(
                    refused.reason,
                    Reason::Gate(
                        forebay_core::gate::Refusal::TtlExpired
                            | forebay_core::gate::Refusal::Saturated
                    )
                );
                let place = refused.place.filter(|_| may_return && !settlement.keeps_place);
                let ticket =
                    place.and_then(|place| settlement.front.ticket(settlement.flow, place));
                Err(self::refused(settlement.span.take(), Denied::Refused { refused, ticket }))
            }
        })
    }
}

/// The right to send one request on. End it exactly once; dropped before that, its client has
/// gone.
#[derive(Debug)]
pub struct Pass {
    grant: Grant,
    settlement: Settlement,
    rewrite: Option<String>,
    stripped: Vec<String>,
}

impl Pass {
    /// Where it goes: `ip:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.grant.endpoint()
    }

    /// Where its prompt is computed, if that is apart: `ip:port`.
    #[must_use]
    pub fn prefill(&self) -> Option<&str> {
        self.grant.prefill()
    }

    /// The model that the engine is to be asked for, if that is another than the client's.
    #[must_use]
    pub fn rewrite(&self) -> Option<&str> {
        self.rewrite.as_deref()
    }

    /// Headers of this request that must not go on, in lower case.
    #[must_use]
    pub fn stripped(&self) -> &[String] {
        &self.stripped
    }

    /// Our number of the request.
    #[must_use]
    pub const fn request(&self) -> RequestId {
        self.grant.request()
    }

    /// Its tier.
    #[must_use]
    pub const fn tier(&self) -> TierId {
        self.settlement.tier
    }

    /// The header `traceparent` that the engine gets, where spans are asked for: its work then
    /// hangs below our span.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.settlement.span.as_deref().map(RequestSpan::traceparent)
    }

    /// Its engine began to answer, with this status.
    pub fn answered(&mut self, status: u16) {
        if let Some(span) = &mut self.settlement.span {
            span.answered(status);
        }
    }

    /// The first token went out. Only the first call counts, and is answered with true.
    pub fn first_token(&mut self) -> bool {
        let is_first = self.grant.first_token();
        if is_first && let Some(span) = &mut self.settlement.span {
            span.first_token();
        }
        is_first
    }

    /// It was answered in full; what it cost as far as the engine told.
    pub fn finished(mut self, usage: body::Usage) {
        let prompt_tokens = usage.prompt_tokens.unwrap_or(self.settlement.prompt_tokens);
        // Without usage: what answers of this engine have been of late; without that, the guess
        // that was charged stays.
        let output_tokens = usage.output_tokens.or_else(|| self.grant.mean_output_tokens());
        let usage = body::Usage { output_tokens, ..usage };
        if let Some(span) = self.settlement.span.take() {
            span.finished(usage);
        }
        if let Some(output_tokens) = output_tokens {
            self.settlement.settle(u64::from(prompt_tokens) + u64::from(output_tokens));
        }
        let front = self.settlement.front.clone();
        front.meters().finished(&self.settlement.tenant, self.settlement.tier, usage);
        let usage = usage.output_tokens.map(|output_tokens| Usage {
            prompt_tokens,
            cached_tokens: usage.cached_tokens,
            output_tokens,
        });
        self.grant.end(Outcome::Finished(usage));
    }

    /// It was answered, and nobody here saw how the answer ended: whole, broken off by its engine,
    /// or left by its client. It is settled at what answers of this engine have been of late.
    pub fn unobserved(mut self) {
        let output_tokens = self.grant.mean_output_tokens();
        if let Some(span) = self.settlement.span.take() {
            span.unobserved();
        }
        if let Some(output_tokens) = output_tokens {
            let tokens = u64::from(self.settlement.prompt_tokens) + u64::from(output_tokens);
            self.settlement.settle(tokens);
        }
        let front = self.settlement.front.clone();
        front.meters().unobserved(&self.settlement.tenant, self.settlement.tier, output_tokens);
        self.grant.unobserved(output_tokens);
    }

    /// Its engine failed or refused it.
    pub fn failed(self) {
        drop(self.failed_early());
    }

    /// Its engine failed or refused it before it began to answer, so another may be asked with
    /// what this returns.
    pub fn failed_early(mut self) -> Retry {
        if let Some(span) = self.settlement.span.take() {
            span.failed();
        }
        let retry =
            Retry { front: self.settlement.front.clone(), charge: self.settlement.charge.take() };
        self.grant.end(Outcome::Failed);
        retry
    }
}

/// What a request was charged that its engine failed: it goes along to the next engine. Dropped,
/// the tokens are given back; the request itself stays counted, since it was asked.
#[derive(Debug)]
#[must_use = "dropped, it says that no other engine is asked"]
pub struct Retry {
    front: Front,
    charge: Option<Charge>,
}

impl Retry {
    /// The charge of the first try, now of the next.
    pub(super) fn into_charge(mut self) -> Charge {
        self.charge.take().unwrap_or(Charge::NONE)
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.front.settle(charge, 0);
        }
    }
}
