//! The gate, as the picker needs it.

use crate::body::Usage;
use crate::front::{Denied, Fronts, Pass, Request, Told, Waiting};

use super::request::Asked;

/// Who decides about requests.
pub trait Admit: Send + Sync + 'static {
    /// The right to send a request on.
    type Grant: Grant;
    /// A decision to come. Dropped before: the client has gone.
    type Wait: Future<Output = Result<Self::Grant, Denied>> + Send + Unpin + 'static;

    /// Asks about a request.
    ///
    /// # Errors
    /// What can be refused at once.
    fn admit(&self, asked: &Asked<'_>) -> Result<Self::Wait, Denied>;
}

/// The right to send a request to an endpoint. Dropped without an end: the client has gone.
pub trait Grant: Send + 'static {
    /// `ip:port`.
    fn endpoint(&self) -> &str;
    /// `ip:port` of where the prompt is computed, if that is apart.
    fn prefill(&self) -> Option<&str>;
    /// The model to ask the engine for, if that is another than the client's.
    fn rewrite(&self) -> Option<&str>;
    /// Headers of the request that must not reach the engine.
    fn stripped(&self) -> &[String];
    /// The header `traceparent` that the engine gets in place of the request's own, if any.
    fn traceparent(&self) -> Option<&str> {
        None
    }
    /// The engine began to answer, with this status.
    fn answered(&mut self, _status: u16) {}
    /// The first token passed.
    fn first_token(&mut self);
    /// The answer is complete.
    fn finished(self, usage: Usage);
    /// The engine failed.
    fn failed(self);
    /// The answer began; nobody here saw how it ended.
    fn unobserved(self);
}

impl Admit for Fronts {
    type Grant = Pass;
    type Wait = Waiting;

    fn admit(&self, asked: &Asked<'_>) -> Result<Waiting, Denied> {
        let candidates = asked.candidates.map(<[Box<str>]>::to_vec);
        let request = Request {
            facts: asked.head,
            body: asked.body,
            candidates,
            told: Told::default(),
            line: asked.head.line(),
            // Where Envoy tries another engine, it does so behind us: one stream, one pass.
            retry: None,
        };
        Self::admit(self, request)
    }
}

impl Grant for Pass {
    fn endpoint(&self) -> &str {
        Self::endpoint(self)
    }

    fn prefill(&self) -> Option<&str> {
        Self::prefill(self)
    }

    fn rewrite(&self) -> Option<&str> {
        Self::rewrite(self)
    }

    fn stripped(&self) -> &[String] {
        Self::stripped(self)
    }

    fn traceparent(&self) -> Option<&str> {
        Self::traceparent(self)
    }

    fn answered(&mut self, status: u16) {
        Self::answered(self, status);
    }

    fn first_token(&mut self) {
        Self::first_token(self);
    }

    fn finished(self, usage: Usage) {
        Self::finished(self, usage);
    }

    fn failed(self) {
        Self::failed(self);
    }

    fn unobserved(self) {
        Self::unobserved(self);
    }
}
