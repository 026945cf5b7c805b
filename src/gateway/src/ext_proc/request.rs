//! The request phase: hold headers and body, ask, then send both on.

use bytes::Bytes;
use forebay_core::admit::Facts as _;

use crate::body::{BodyError, Collector, Parsed, read_request};
use crate::front::HEADER_TRACEPARENT;

use super::admit::Grant;
use super::head::Head;
use super::wire::processing_response::Response;
use super::wire::{HeaderMutation, ProcessingResponse};
use super::{HEADER_DESTINATION, HEADER_PREFILLER, metadata, replies};

/// Bodies above this are read off the data thread: 1 MiB takes about a millisecond.
const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// Where the request phase is.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// Nothing has come.
    #[default]
    Before,
    /// The body is coming.
    Gathering { head: Head, body: Collector },
    /// The body is being read elsewhere.
    Reading { head: Head, body: Bytes, trailers: bool },
    /// The gate is asked.
    Waiting(Held),
    /// All replies were given; trailers that come yet want one.
    Answered,
    /// Nothing more is said: refused, trailers answered, or overtaken by the response.
    Over,
}

/// A request that waits for the gate.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) head: Head,
    /// `None`: it has no body, or Envoy keeps it.
    pub(super) body: Option<Bytes>,
    pub(super) parsed: Option<Parsed>,
    pub(super) trailers: bool,
}

/// What the gate is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Headers and the like.
    pub head: &'a Head,
    /// The body, if there is one that we see.
    pub body: Option<&'a Parsed>,
    /// Endpoints that it may go to; `None` = all, empty = nobody.
    pub candidates: Option<&'a [Box<str>]>,
}

/// A large body to be read elsewhere.
#[derive(Debug)]
pub struct Reading {
    path: String,
    content_type: Option<String>,
    body: Bytes,
}

impl Reading {
    /// Reads it; takes milliseconds.
    ///
    /// # Errors
    /// As [`read_request`].
    pub fn read(&self) -> Result<Parsed, BodyError> {
        read_request(&self.path, self.content_type.as_deref(), &self.body)
    }
}

/// What follows when the body is complete.
pub(super) enum Complete {
    /// Ask the gate.
    Ask(Held),
    /// Read it elsewhere, then [`Held::new`].
    Read(Phase, Reading),
    /// Refuse it.
    Refuse(Head, BodyError),
}

/// The whole body is there.
pub(super) fn complete(head: Head, body: Collector, trailers: bool) -> Complete {
    let body = body.finish();
    if body.is_empty() && !head.expects_body() {
        return Complete::Ask(Held { head, body: Some(body), parsed: None, trailers });
    }
    let content_type = head.header("content-type");
    if body.len() > INLINE_BYTES_MAX {
        let reading = Reading {
            path: head.path().to_owned(),
            content_type: content_type.map(str::to_owned),
            body: body.clone(),
        };
        return Complete::Read(Phase::Reading { head, body, trailers }, reading);
    }
    match read_request(head.path(), content_type, &body) {
        Ok(parsed) => Complete::Ask(Held::new(head, body, parsed, trailers)),
        Err(error) => Complete::Refuse(head, error),
    }
}

impl Held {
    pub(super) fn new(mut head: Head, body: Bytes, parsed: Parsed, trailers: bool) -> Self {
        head.model.clone_from(&parsed.model);
        Self { head, body: Some(body), parsed: Some(parsed), trailers }
    }

    pub(super) fn asked(&self) -> Asked<'_> {
        let Self { head, parsed, .. } = self;
        Asked { head, body: parsed.as_ref(), candidates: head.candidates() }
    }

    /// Sends the request on.
    pub(super) fn send(self, grant: &impl Grant, out: &mut Vec<ProcessingResponse>) {
        let Self { head, body, parsed, trailers } = self;
        let renamed = match (grant.rewrite(), &parsed, &body) {
            (Some(model), Some(parsed), Some(body)) => Some(parsed.renamed(body, model)),
            _ => None,
        };
        let length = renamed.as_ref().map(Bytes::len);
        out.push(ProcessingResponse {
            dynamic_metadata: Some(metadata::destination(grant.endpoint())),
            ..replies::reply(Response::RequestHeaders(replies::headers(
                mutation(&head, grant, length),
                true,
            )))
        });
        if let Some(body) = renamed.or(body) {
            replies::body_pieces(body, !trailers, Response::RequestBody, out);
        }
        if trailers {
            out.push(replies::trailers(Response::RequestTrailers));
        }
    }
}

/// What changes in the headers: as little as possible, since repeated headers are easily lost.
fn mutation(head: &Head, grant: &impl Grant, length: Option<usize>) -> HeaderMutation {
    let mut set_headers = vec![replies::set(HEADER_DESTINATION, grant.endpoint())];
    let mut remove_headers: Vec<String> = grant.stripped().to_vec();
    match grant.prefill() {
        Some(prefill) => set_headers.push(replies::set(HEADER_PREFILLER, prefill)),
        // A client must not choose where its prompt is computed.
        None if head.has(HEADER_PREFILLER) => remove_headers.push(HEADER_PREFILLER.to_owned()),
        None => {}
    }
    if let Some(traceparent) = grant.traceparent() {
        set_headers.push(replies::set(HEADER_TRACEPARENT, traceparent));
    }
    if let Some(length) = length {
        set_headers.push(replies::set("content-length", &length.to_string()));
    }
    HeaderMutation { set_headers, remove_headers }
}
