//! What happens on one stream, without I/O.

use std::net::IpAddr;
use std::sync::Arc;

use forebay_core::admit::Facts as _;

use crate::body::{BodyError, Collector, Parsed};
use crate::front::{Denied, HEADER_REQUEST_ID};

use super::admit::Grant;
use super::head::Head;
use super::request::{Asked, Complete, Held, Phase, Reading, complete};
use super::response::{Answering, Renamed, Terms};
use super::wire::processing_request::Request;
use super::wire::processing_response::Response;
use super::wire::{
    BodySendMode, HttpBody, ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
};
use super::{Settings, replies};

/// One stream: one HTTP request and its response.
#[derive(Debug)]
pub struct Exchange<G> {
    settings: Arc<Settings>,
    peer: Option<IpAddr>,
    bodies: Bodies,
    request: Phase,
    response: Answering,
    grant: Option<G>,
    renamed: Option<Renamed>,
    /// An answer of our own was sent, after which nothing is said.
    closed: bool,
}

/// What has to be done before a stream goes on by itself.
#[derive(Debug)]
pub enum Todo {
    /// Wait for the next message.
    Nothing,
    /// Ask the gate about [`Exchange::asked`]; then [`Exchange::decided`].
    Ask,
    /// Read a large body elsewhere; then [`Exchange::was_read`].
    Read(Reading),
    /// Stop asking or reading: the request is over.
    Abandon,
}

/// How bodies come, as Envoy says in its first message.
#[derive(Clone, Copy, Debug)]
struct Bodies {
    request: BodySendMode,
    response: BodySendMode,
}

impl Default for Bodies {
    /// What the protocol prescribes, for data planes that do not say.
    fn default() -> Self {
        let mode = BodySendMode::FullDuplexStreamed;
        Self { request: mode, response: mode }
    }
}

impl From<ProtocolConfiguration> for Bodies {
    fn from(config: ProtocolConfiguration) -> Self {
        Self { request: config.request_body_mode(), response: config.response_body_mode() }
    }
}

impl<G: Grant> Exchange<G> {
    /// A stream that a proxy at `peer` has opened.
    #[must_use]
    pub fn new(settings: Arc<Settings>, peer: Option<IpAddr>) -> Self {
        Self {
            settings,
            peer,
            bodies: Bodies::default(),
            request: Phase::Before,
            response: Answering::default(),
            grant: None,
            renamed: None,
            closed: false,
        }
    }

    /// The next message of Envoy; replies are added to `out`.
    #[must_use]
    pub fn message(
        &mut self,
        message: ProcessingRequest,
        out: &mut Vec<ProcessingResponse>,
    ) -> Todo {
        if let Some(config) = message.protocol_config {
            self.bodies = config.into();
        }
        let about = message.metadata_context;
        if self.closed || message.observability_mode {
            return Todo::Nothing;
        }
        match message.request {
            Some(Request::RequestHeaders(headers)) => {
                if !matches!(self.request, Phase::Before) || self.response.has_begun() {
                    return Todo::Nothing;
                }
                let mut head = Head::new(headers.headers, self.peer);
                head.learn(about);
                if headers.end_of_stream || !self.bodies.request_streams() {
                    return self.ask(Held { head, body: None, parsed: None, trailers: false });
                }
                self.request = Phase::Gathering { head, body: Collector::default() };
                Todo::Nothing
            }
            Some(Request::RequestBody(body)) => {
                if let Phase::Gathering { head, .. } = &mut self.request {
                    head.learn(about);
                }
                self.request_body(body, out)
            }
            Some(Request::RequestTrailers(_)) => {
                if let Phase::Gathering { head, .. } = &mut self.request {
                    head.learn(about);
                }
                self.request_trailers(out)
            }
            Some(Request::ResponseHeaders(headers)) => {
                let abandoned = self.request_is_over();
                let terms = Terms {
                    renamed: self.renamed.as_ref(),
                    settings: &self.settings,
                    sees_body: self.bodies.response != BodySendMode::None,
                };
                let grant = &mut self.grant;
                let reply = self.response.headers(headers, about, terms, grant);
                out.extend(reply);
                abandoned
            }
            Some(Request::ResponseBody(HttpBody { body, end_of_stream })) => {
                let abandoned = self.request_is_over();
                if self.bodies.response == BodySendMode::FullDuplexStreamed {
                    self.response.chunk(body, end_of_stream, &mut self.grant, out);
                } else {
                    self.response.watched(&body, end_of_stream, &mut self.grant, out);
                }
                abandoned
            }
            Some(Request::ResponseTrailers(_)) => {
                let abandoned = self.request_is_over();
                self.response.trailers(&mut self.grant, out);
                abandoned
            }
            None => Todo::Nothing,
        }
    }

    /// What to ask the gate, after [`Todo::Ask`].
    #[must_use]
    pub fn asked(&self) -> Option<Asked<'_>> {
        match &self.request {
            Phase::Waiting(held) => Some(held.asked()),
            _ => None,
        }
    }

    /// The gate has decided.
    pub fn decided(&mut self, decision: Result<G, Denied>, out: &mut Vec<ProcessingResponse>) {
        match (std::mem::replace(&mut self.request, Phase::Over), decision) {
            (Phase::Waiting(held), Ok(grant)) => {
                let trailers = held.trailers;
                let client = held.parsed.as_ref().and_then(|parsed| parsed.model.clone());
                self.renamed = grant
                    .rewrite()
                    .zip(client)
                    .map(|(engine, client)| Renamed { engine: engine.to_owned(), client });
                held.send(&grant, out);
                self.grant = Some(grant);
                self.request = if trailers { Phase::Over } else { Phase::Answered };
            }
            (Phase::Waiting(held), Err(denied)) => self.refuse(&held.head, &denied, out),
            (phase, _) => self.request = phase,
        }
    }

    /// A large body was read.
    #[must_use]
    pub fn was_read(
        &mut self,
        read: Result<Parsed, BodyError>,
        out: &mut Vec<ProcessingResponse>,
    ) -> Todo {
        match (std::mem::replace(&mut self.request, Phase::Over), read) {
            (Phase::Reading { head, body, trailers }, Ok(parsed)) => {
                self.ask(Held::new(head, body, parsed, trailers))
            }
            (Phase::Reading { head, .. }, Err(error)) => {
                self.refuse(&head, &error.into(), out);
                Todo::Nothing
            }
            (phase, _) => {
                self.request = phase;
                Todo::Nothing
            }
        }
    }

    /// Envoy has closed the stream. Where it does not show us response bodies, nobody here sees how
    /// an answer ends that had not ended by then; else one without its end means that the client
    /// has gone (or the engine broke off: Envoy does not tell).
    pub fn closed(mut self) {
        if self.bodies.response == BodySendMode::None {
            self.response.unseen_end(&mut self.grant);
        }
    }

    fn request_body(&mut self, chunk: HttpBody, out: &mut Vec<ProcessingResponse>) -> Todo {
        if !self.bodies.request_streams() {
            out.push(replies::unchanged(Response::RequestBody));
            return Todo::Nothing;
        }
        match std::mem::replace(&mut self.request, Phase::Over) {
            Phase::Gathering { head, mut body } => match body.push(chunk.body) {
                Err(error) => {
                    self.refuse(&head, &error.into(), out);
                    Todo::Nothing
                }
                Ok(()) if chunk.end_of_stream => self.complete(head, body, false, out),
                Ok(()) => {
                    self.request = Phase::Gathering { head, body };
                    Todo::Nothing
                }
            },
            // Envoy can deliver the last chunk twice.
            phase => {
                self.request = phase;
                Todo::Nothing
            }
        }
    }

    fn request_trailers(&mut self, out: &mut Vec<ProcessingResponse>) -> Todo {
        match std::mem::replace(&mut self.request, Phase::Over) {
            Phase::Gathering { head, body } => self.complete(head, body, true, out),
            Phase::Answered => {
                out.push(replies::trailers(Response::RequestTrailers));
                Todo::Nothing
            }
            Phase::Waiting(held) if held.body.is_none() => {
                // The body is none of ours, but its trailers want a reply in their turn.
                self.request = Phase::Waiting(Held { trailers: true, ..held });
                Todo::Nothing
            }
            phase => {
                self.request = phase;
                Todo::Nothing
            }
        }
    }

    fn complete(
        &mut self,
        head: Head,
        body: Collector,
        trailers: bool,
        out: &mut Vec<ProcessingResponse>,
    ) -> Todo {
        match complete(head, body, trailers) {
            Complete::Ask(held) => self.ask(held),
            Complete::Read(phase, reading) => {
                self.request = phase;
                Todo::Read(reading)
            }
            Complete::Refuse(head, error) => {
                self.refuse(&head, &error.into(), out);
                Todo::Nothing
            }
        }
    }

    fn ask(&mut self, mut held: Held) -> Todo {
        held.head.obey(&self.settings);
        self.request = Phase::Waiting(held);
        Todo::Ask
    }

    fn refuse(&mut self, head: &Head, denied: &Denied, out: &mut Vec<ProcessingResponse>) {
        self.closed = true;
        let said = denied.reply(head.header(HEADER_REQUEST_ID));
        out.push(replies::immediate(said, denied.reason().unwrap_or("invalid-request")));
    }

    /// A response has come: whatever was still to be said of the request is not said any more.
    fn request_is_over(&mut self) -> Todo {
        match std::mem::replace(&mut self.request, Phase::Over) {
            Phase::Waiting(_) | Phase::Reading { .. } => Todo::Abandon,
            // Trailers may come while the answer passes already.
            Phase::Answered => {
                self.request = Phase::Answered;
                Todo::Nothing
            }
            Phase::Before | Phase::Gathering { .. } | Phase::Over => Todo::Nothing,
        }
    }
}

impl Bodies {
    fn request_streams(self) -> bool {
        self.request == BodySendMode::FullDuplexStreamed
    }
}
