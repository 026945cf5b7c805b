//! The span of one request.

use std::sync::Arc;

use http::StatusCode;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tokio::time::Instant;

use super::names;
use crate::body::Usage;
use crate::front::{HEADER_TRACEPARENT, HEADER_TRACESTATE, RequestLine};

/// What is known of a request when it comes.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) fleet: &'a str,
    pub(crate) tier: &'a str,
    /// A listed tenant, or what others are called.
    pub(crate) tenant: Arc<str>,
    /// `None`: the face does not see it.
    pub(crate) line: Option<RequestLine<'a>>,
    pub(crate) model: Option<&'a str>,
    /// As told or estimated.
    pub(crate) prompt_tokens: u32,
    /// The client's own limit.
    pub(crate) output_tokens_max: Option<u32>,
    /// Whether the answer is to be a stream; `None`: there is no body, or it is not seen.
    pub(crate) stream: Option<bool>,
}

/// The span of one request. Dropped before its end: the client has gone.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    span: Span,
    arrived: Instant,
    traceparent: Box<str>,
    /// It has no parent.
    is_root: bool,
    streams: bool,
    /// Of the engine's answer.
    status: Option<u16>,
    ended: bool,
}

impl RequestSpan {
    pub(super) fn begin<'a>(
        tracer: &SdkTracer,
        about: &About<'_>,
        header: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let came_with =
            CameWith { parent: header(HEADER_TRACEPARENT), state: header(HEADER_TRACESTATE) };
        // Not the context of this thread: many requests share it.
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &came_with);
        let builder = SpanBuilder::from_name(names::span(about.line)).with_kind(SpanKind::Server);
        let mut span = tracer.build_with_context(builder, &parent);
        if span.is_recording() {
            span.set_attributes(names::attributes(about));
        }
        let context = span.span_context();
        let traceparent = format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        );
        Self {
            span,
            arrived: Instant::now(),
            traceparent: traceparent.into(),
            is_root: !parent.span().span_context().is_valid(),
            streams: about.stream == Some(true),
            status: None,
            ended: false,
        }
    }

    /// What the engine is to take for its parent.
    pub(crate) fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// Whether a trace begins with it: nothing came along, or nothing that can be read.
    pub(crate) const fn is_root(&self) -> bool {
        self.is_root
    }

    /// It may go, and where to.
    pub(crate) fn sent(&mut self, endpoint: &str, prefill: Option<&str>) {
        self.decided("dispatched");
        if !self.span.is_recording() {
            return;
        }
        self.span.set_attribute(KeyValue::new("forebay.endpoint", endpoint.to_owned()));
        if let Some(prefill) = prefill {
            let prefill = KeyValue::new("forebay.prefill_endpoint", prefill.to_owned());
            self.span.set_attribute(prefill);
        }
    }

    /// It does not go, why, and what its client hears.
    pub(crate) fn refused(mut self: Box<Self>, reason: &'static str, status: StatusCode) {
        self.decided("refused");
        self.span.set_attribute(KeyValue::new("forebay.reason", reason));
        self.answered(status.as_u16());
        if status.is_server_error() {
            self.error(reason);
        }
        self.end("refused");
    }

    /// The engine's answer begins.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
    }

    /// The first token went out.
    pub(crate) fn first_token(&mut self) {
        self.span.add_event("first_token", Vec::new());
        if self.streams {
            let after_s = self.arrived.elapsed().as_secs_f64();
            self.span.set_attribute(KeyValue::new(names::FIRST_CHUNK, after_s));
        }
    }

    /// It was answered in full; what it cost as far as the engine told.
    pub(crate) fn finished(mut self: Box<Self>, usage: Usage) {
        for (key, tokens) in [
            ("gen_ai.usage.input_tokens", usage.prompt_tokens),
            ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
            ("gen_ai.usage.output_tokens", usage.output_tokens),
        ] {
            if let Some(tokens) = tokens {
                self.span.set_attribute(KeyValue::new(key, i64::from(tokens)));
            }
        }
        self.end("finished");
    }

    /// It was answered, and how the answer ended was not seen.
    pub(crate) fn unobserved(mut self: Box<Self>) {
        self.end("unobserved");
    }

    /// Its engine failed.
    pub(crate) fn failed(mut self: Box<Self>) {
        self.error("the engine failed");
        self.end("failed");
    }

    fn error(&mut self, what: &'static str) {
        self.span.set_status(Status::error(what));
        // A whole answer may say it; else it never came, or broke off.
        let said = self.status.filter(|status| *status >= 500);
        let kind = said.map_or_else(|| "engine_failed".to_owned(), |status| status.to_string());
        self.span.set_attribute(KeyValue::new("error.type", kind));
    }

    /// The gate has decided: what, and after how long.
    fn decided(&mut self, decision: &'static str) {
        let held_ms = self.arrived.elapsed().as_secs_f64() * 1e3;
        self.span.set_attribute(KeyValue::new("forebay.decision", decision));
        self.span.set_attribute(KeyValue::new("forebay.held_ms", held_ms));
    }

    fn end(&mut self, outcome: &'static str) {
        if !std::mem::replace(&mut self.ended, true) {
            self.span.set_attribute(KeyValue::new("forebay.outcome", outcome));
            self.span.end();
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.end("client_gone");
    }
}

/// The trace context of a request.
struct CameWith<'a> {
    parent: Option<&'a str>,
    state: Option<&'a str>,
}

impl Extractor for CameWith<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            HEADER_TRACEPARENT => self.parent,
            HEADER_TRACESTATE => self.state,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![HEADER_TRACEPARENT, HEADER_TRACESTATE]
    }
}
