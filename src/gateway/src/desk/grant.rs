//! What the desk answers: a spot with its obligations, or a refusal.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use forebay_core::gate::GateEvent;
use forebay_core::ids::{EndpointId, RequestId};
use forebay_core::time::{Span, Time};
use tokio::sync::oneshot;

use super::meters::Counted;
use super::{Desk, Refused};

/// Where a request goes, by address.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) id: EndpointId,
    pub(super) address: Arc<str>,
    pub(super) prefill: Option<Arc<str>>,
}

pub(super) type Answer = Result<Spot, Refused>;

/// Tokens that a request turned out to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Of these, found in the engine's cache; `None` where the engine does not tell.
    pub cached_tokens: Option<u32>,
    /// Generated tokens.
    pub output_tokens: u32,
}

/// What an answer counts as of which neither usage nor the engine's page tells: what the gate
/// itself expects before it has seen any. Nothing would be wrong: it was answered.
const OUTPUT_TOKENS_UNKNOWN: u32 = 250;

/// How a dispatched request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well; the usage if the engine told it.
    Finished(Option<Usage>),
    /// It was answered, and nobody here saw how that ended.
    Unobserved {
        /// What answers of its endpoint have had of late; `None` where its page does not tell.
        output_tokens: Option<u32>,
    },
    /// The engine failed or refused it.
    Failed,
    /// The client hung up.
    ClientGone,
}

/// The obligation to tell the gate how a request ended. Dropped before that: the client has gone.
#[derive(Debug)]
pub(super) struct Hold {
    desk: Desk,
    request: RequestId,
    counted: Counted,
    first_token: Option<Time>,
    /// How it ends if nobody says.
    if_dropped: Outcome,
    open: bool,
}

impl Hold {
    pub(super) const fn new(desk: Desk, request: RequestId, counted: Counted) -> Self {
        Self {
            desk,
            request,
            counted,
            first_token: None,
            if_dropped: Outcome::ClientGone,
            open: true,
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.end_unless(outcome, || false);
    }

    /// Ends it, unless it was refused meanwhile: then it has been counted and forgotten. Answers
    /// are given under the desk's lock, so `refused` is asked under it.
    fn end_unless(&mut self, outcome: Outcome, refused: impl FnOnce() -> bool) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let request = self.request;
        let now = self.desk.now();
        let mut state = self.desk.lock();
        let held = state.waiting.remove(&request).is_some();
        if !held && refused() {
            return;
        }
        state.meters.ended(&self.counted, held, self.first_token, now, outcome);
        let event = match outcome {
            Outcome::Finished(usage) => {
                let output_tokens =
                    usage.map_or(OUTPUT_TOKENS_UNKNOWN, |usage| usage.output_tokens);
                GateEvent::Finished { request, output_tokens }
            }
            Outcome::Unobserved { output_tokens } => {
                let output_tokens = output_tokens.unwrap_or(OUTPUT_TOKENS_UNKNOWN);
                GateEvent::Finished { request, output_tokens }
            }
            Outcome::Failed => GateEvent::Failed { request },
            Outcome::ClientGone => GateEvent::ClientGone { request },
        };
        self.desk.step(&mut state, now, event, None);
        self.desk.shared.news.notify_one();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end(self.if_dropped);
    }
}

/// The right to send one request to one endpoint, to be ended exactly once.
#[derive(Debug)]
pub struct Grant {
    hold: Hold,
    spot: Spot,
}

impl Grant {
    /// Where the request goes: `ip:port` of an aggregated or decode endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.spot.address
    }

    /// Where its prompt is computed, if that is apart: `ip:port`.
    #[must_use]
    pub fn prefill(&self) -> Option<&str> {
        self.spot.prefill.as_deref()
    }

    /// Tokens of an answer of this endpoint as its page tells, for requests whose usage nobody
    /// could read; `None` where nothing is known.
    #[must_use]
    pub fn mean_output_tokens(&self) -> Option<u32> {
        let state = self.hold.desk.lock();
        state.directory.get(self.spot.id)?.answers.mean_output_tokens()
    }

    /// Our number of the request: unique in this process, never a client's.
    #[must_use]
    pub const fn request(&self) -> RequestId {
        self.hold.request
    }

    /// The first token went out. Only the first call counts, and is answered with true.
    pub fn first_token(&mut self) -> bool {
        let hold = &mut self.hold;
        if hold.first_token.is_some() {
            return false;
        }
        let now = hold.desk.now();
        hold.first_token = Some(now);
        let mut state = hold.desk.lock();
        state.meters.first_token(&hold.counted, now);
        hold.desk.step(&mut state, now, GateEvent::FirstToken { request: hold.request }, None);
        true
    }

    /// It ended.
    pub fn end(mut self, outcome: Outcome) {
        self.hold.end(outcome);
    }

    /// It was answered, and nobody here sees how that ends, which may be now or much later. So its
    /// place is kept until answers of its endpoint have ended in the mean.
    pub fn unobserved(mut self, output_tokens: Option<u32>) {
        let outcome = Outcome::Unobserved { output_tokens };
        let left = self.stay_left();
        if left == Span::ZERO {
            return self.end(outcome);
        }
        self.hold.if_dropped = outcome;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_nanos(left.0)).await;
            drop(self);
        });
    }

    /// How much longer it will run, in the mean; zero where nobody knows.
    fn stay_left(&self) -> Span {
        let desk = &self.hold.desk;
        let now = desk.now();
        let state = desk.lock();
        let stay = state.directory.get(self.spot.id).and_then(|info| info.answers.mean_stay());
        let ran = self.hold.first_token.map_or(Span::ZERO, |first_token| now.since(first_token));
        stay.map_or(Span::ZERO, |stay| Span(stay.0.saturating_sub(ran.0)))
    }
}

/// An admission under way: resolves when the gate has decided.
#[derive(Debug)]
pub struct Admission {
    hold: Option<Hold>,
    answer: Pending,
}

#[derive(Debug)]
enum Pending {
    Decided(Option<Answer>),
    Held(oneshot::Receiver<Answer>),
}

impl Admission {
    pub(super) const fn refused(refused: Refused) -> Self {
        Self { hold: None, answer: Pending::Decided(Some(Err(refused))) }
    }

    pub(super) const fn decided(hold: Hold, answer: Answer) -> Self {
        Self { hold: Some(hold), answer: Pending::Decided(Some(answer)) }
    }

    pub(super) const fn held(hold: Hold, receiver: oneshot::Receiver<Answer>) -> Self {
        Self { hold: Some(hold), answer: Pending::Held(receiver) }
    }

    /// Whether the gate holds the request.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        matches!(self.answer, Pending::Held(_))
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Self { hold: Some(hold), answer } = self else { return };
        hold.end_unless(Outcome::ClientGone, || match answer {
            Pending::Decided(answer) => matches!(answer, Some(Err(_))),
            Pending::Held(receiver) => matches!(receiver.try_recv(), Ok(Err(_))),
        });
    }
}

impl Future for Admission {
    type Output = Result<Grant, Refused>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.answer {
            Pending::Decided(answer) => answer.take(),
            // The sender goes with the desk itself.
            Pending::Held(receiver) => ready!(Pin::new(receiver).poll(context)).ok(),
        };
        let answer = answer.unwrap_or(Err(Refused::shutting_down()));
        Poll::Ready(match (answer, self.hold.take()) {
            (Ok(spot), Some(hold)) => Ok(Grant { hold, spot }),
            (Err(refused), hold) => {
                // The gate has forgotten it already: there is nothing to tell.
                if let Some(mut hold) = hold {
                    hold.open = false;
                }
                Err(refused)
            }
            (Ok(_), None) => Err(Refused::shutting_down()),
        })
    }
}
