//! The response phase: pass everything on at once, and read what it cost.

use bytes::Bytes;
use prost::Message as _;

use crate::body::{AnswerReader, Format, ModelRewriter, Usage};

use super::admit::Grant;
use super::head::find;
use super::wire::processing_response::Response;
use super::wire::{HeaderMutation, HttpHeaders, Metadata, ProcessingResponse};
use super::{Settings, metadata, replies};

/// Where conformance tests look for the endpoint that answered.
const HEADER_TEST_SERVED: &str = "x-conformance-test-served-endpoint";
/// llm-d says so; its tests and some users' look for it.
const HEADER_SEEN: (&str, &str) = ("x-went-into-resp-headers", "true");

/// An engine answered that it failed, or Envoy on its behalf.
const STATUS_FAILED_MIN: u16 = 500;

/// The response phase of one stream.
#[derive(Debug, Default)]
pub(super) struct Answering {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Before,
    Body {
        reader: AnswerReader,
        rewriter: Option<Box<ModelRewriter>>,
        /// Its length stands in its headers, so its engine had made all of it when they came.
        is_made: bool,
    },
    Over,
}

/// Names of a model that was renamed: the engine's and the client's.
#[derive(Clone, Debug)]
pub(super) struct Renamed {
    pub(super) engine: String,
    pub(super) client: String,
}

/// What holds for a response.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) renamed: Option<&'a Renamed>,
    pub(super) settings: &'a Settings,
    /// Envoy shows us its body.
    pub(super) sees_body: bool,
}

impl Answering {
    pub(super) const fn has_begun(&self) -> bool {
        !matches!(self.state, State::Before)
    }

    /// The headers; one reply to them, none to a second lot.
    pub(super) fn headers<G: Grant>(
        &mut self,
        headers: HttpHeaders,
        about: Bytes,
        terms: Terms<'_>,
        grant: &mut Option<G>,
    ) -> Option<ProcessingResponse> {
        if self.has_begun() {
            return None;
        }
        let ends = headers.end_of_stream;
        let headers = headers.headers.map(|map| map.headers).unwrap_or_default();
        let mut set_headers = vec![replies::set(HEADER_SEEN.0, HEADER_SEEN.1)];
        if terms.settings.conformance_ports.is_some() {
            let about = Metadata::decode(about).unwrap_or_default();
            let served = metadata::served(&about);
            let chosen = grant.as_ref().map(G::endpoint);
            if let Some(endpoint) = served.or(chosen) {
                set_headers.push(replies::set(HEADER_TEST_SERVED, endpoint));
            }
        }
        let status = find(&headers, ":status").and_then(|status| status.parse::<u16>().ok());
        if let Some((status, grant)) = status.zip(grant.as_mut()) {
            grant.answered(status);
        }
        if status.is_some_and(|status| status >= STATUS_FAILED_MIN)
            && let Some(grant) = grant.take()
        {
            grant.failed();
        }
        let format = Format::of(find(&headers, "content-type"), find(&headers, "content-encoding"));
        let rewriter = terms
            .renamed
            .map(|names| Box::new(ModelRewriter::new(format, &names.engine, &names.client)));
        let is_made = find(&headers, "content-length").is_some();
        self.state = State::Body { reader: AnswerReader::new(format), rewriter, is_made };
        if ends {
            self.finish(grant);
        } else if !terms.sees_body
            && format != Format::Events
            && let Some(grant) = grant
        {
            // An answer in one piece is complete when its headers come.
            grant.first_token();
        }
        let mutation = HeaderMutation { set_headers, remove_headers: Vec::new() };
        Some(replies::reply(Response::ResponseHeaders(replies::headers(mutation, false))))
    }

    /// A chunk of the body, to be passed on at once.
    pub(super) fn chunk<G: Grant>(
        &mut self,
        mut chunk: Bytes,
        ends: bool,
        grant: &mut Option<G>,
        out: &mut Vec<ProcessingResponse>,
    ) {
        match &mut self.state {
            // Its headers were not for us.
            State::Before => {
                let reader = AnswerReader::new(Format::Opaque);
                self.state = State::Body { reader, rewriter: None, is_made: false };
            }
            State::Over => return,
            State::Body { reader, rewriter, .. } => {
                read(reader, &chunk, grant);
                if let Some(rewriter) = rewriter {
                    chunk = rewriter.push(chunk);
                    if ends {
                        chunk = joined(chunk, rewriter.finish());
                    }
                }
            }
        }
        replies::body_pieces(chunk, ends, Response::ResponseBody, out);
        if ends {
            self.finish(grant);
        }
    }

    /// A chunk that Envoy passes on itself; it wants to hear so.
    pub(super) fn watched<G: Grant>(
        &mut self,
        chunk: &[u8],
        ends: bool,
        grant: &mut Option<G>,
        out: &mut Vec<ProcessingResponse>,
    ) {
        if let State::Body { reader, .. } = &mut self.state {
            read(reader, chunk, grant);
        }
        out.push(replies::unchanged(Response::ResponseBody));
        if ends {
            self.finish(grant);
        }
    }

    /// Trailers end the body.
    pub(super) fn trailers<G: Grant>(
        &mut self,
        grant: &mut Option<G>,
        out: &mut Vec<ProcessingResponse>,
    ) {
        match &mut self.state {
            State::Over => return,
            State::Body { rewriter: Some(rewriter), .. } => {
                replies::body_pieces(rewriter.finish(), false, Response::ResponseBody, out);
            }
            State::Before | State::Body { .. } => {}
        }
        out.push(replies::trailers(Response::ResponseTrailers));
        self.finish(grant);
    }

    /// The stream ended without the end of a body that we do not see. Unless all of it was made
    /// before, nobody can tell whether it came to its end, its engine died or its client left.
    pub(super) fn unseen_end<G: Grant>(&mut self, grant: &mut Option<G>) {
        match self.state {
            State::Body { is_made: true, .. } => self.finish(grant),
            State::Body { .. } => {
                self.state = State::Over;
                if let Some(grant) = grant.take() {
                    grant.unobserved();
                }
            }
            State::Before | State::Over => {}
        }
    }

    fn finish<G: Grant>(&mut self, grant: &mut Option<G>) {
        let state = std::mem::replace(&mut self.state, State::Over);
        if let Some(grant) = grant.take() {
            let usage = match state {
                State::Body { reader, .. } => {
                    let answer = reader.answer();
                    Usage { output_tokens: answer.output_tokens(), ..answer.usage }
                }
                State::Before | State::Over => Usage::default(),
            };
            grant.finished(usage);
        }
    }
}

fn read<G: Grant>(reader: &mut AnswerReader, chunk: &[u8], grant: &mut Option<G>) {
    if let Some(grant) = grant
        && !chunk.is_empty()
    {
        grant.first_token();
        reader.read(chunk);
    }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    if second.is_empty() {
        return first;
    }
    Bytes::from([first, second].concat())
}
