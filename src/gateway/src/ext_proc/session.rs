//! One stream on the wire: no task, no channel, everything when it is polled.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use crate::body::{BodyError, Parsed};

use super::admit::Admit;
use super::exchange::{Exchange, Todo};
use super::wire::{ProcessingRequest, ProcessingResponse};

/// The replies of one stream. Dropped when Envoy resets it, which ends whatever is under way.
pub struct Session<A: Admit> {
    inbound: Streaming<ProcessingRequest>,
    /// `None` once the stream is closed.
    exchange: Option<Exchange<A::Grant>>,
    admit: Arc<A>,
    pending: Pending<A>,
    fresh: Vec<ProcessingResponse>,
    replies: VecDeque<ProcessingResponse>,
}

enum Pending<A: Admit> {
    Nothing,
    Reading(JoinHandle<Result<Parsed, BodyError>>),
    Asking(A::Wait),
}

impl<A: Admit> Session<A> {
    pub(super) const fn new(
        inbound: Streaming<ProcessingRequest>,
        exchange: Exchange<A::Grant>,
        admit: Arc<A>,
    ) -> Self {
        Self {
            inbound,
            exchange: Some(exchange),
            admit,
            pending: Pending::Nothing,
            fresh: Vec::new(),
            replies: VecDeque::new(),
        }
    }

    fn follow(&mut self, todo: Todo) {
        match todo {
            Todo::Nothing => {}
            Todo::Abandon => self.pending = Pending::Nothing,
            Todo::Read(reading) => {
                let task = tokio::task::spawn_blocking(move || reading.read());
                self.pending = Pending::Reading(task);
            }
            Todo::Ask => {
                let Some(exchange) = &mut self.exchange else { return };
                let Some(asked) = exchange.asked() else { return };
                match self.admit.admit(&asked) {
                    Ok(wait) => self.pending = Pending::Asking(wait),
                    Err(denied) => exchange.decided(Err(denied), &mut self.fresh),
                }
            }
        }
    }

    /// What was awaited, if it is there; then the stream goes on.
    fn poll_pending(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(exchange) = &mut self.exchange else { return Poll::Pending };
        match &mut self.pending {
            Pending::Nothing => return Poll::Pending,
            Pending::Asking(wait) => {
                let Poll::Ready(decision) = Pin::new(wait).poll(context) else {
                    return Poll::Pending;
                };
                self.pending = Pending::Nothing;
                exchange.decided(decision, &mut self.fresh);
            }
            Pending::Reading(task) => {
                let Poll::Ready(read) = Pin::new(task).poll(context) else {
                    return Poll::Pending;
                };
                self.pending = Pending::Nothing;
                // A reader that panics has met a body that cannot be read.
                let read = read.unwrap_or_else(|error| {
                    Err(BodyError::NotJson { what: format!("reading it failed: {error}") })
                });
                let todo = exchange.was_read(read, &mut self.fresh);
                self.follow(todo);
            }
        }
        Poll::Ready(())
    }

    fn close(&mut self) {
        self.pending = Pending::Nothing;
        if let Some(exchange) = self.exchange.take() {
            exchange.closed();
        }
    }
}

/// Envoy resets a stream as often as it closes it: both are its end.
impl<A: Admit> Drop for Session<A> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<A: Admit> Stream for Session<A>
where
    A::Grant: Unpin,
{
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            this.replies.extend(this.fresh.drain(..));
            if let Some(reply) = this.replies.pop_front() {
                return Poll::Ready(Some(Ok(reply)));
            }
            if this.exchange.is_none() {
                return Poll::Ready(None);
            }
            if this.poll_pending(context).is_ready() {
                continue;
            }
            match Pin::new(&mut this.inbound).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => {
                    if let Some(exchange) = &mut this.exchange {
                        let todo = exchange.message(message, &mut this.fresh);
                        this.follow(todo);
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    tracing::debug!(code = ?status.code(), "a stream broke off: {}", status.message());
                    this.close();
                }
                Poll::Ready(None) => this.close(),
            }
        }
    }
}
