//! What must hold for anything that clients, proxies and engines may send; called by fuzzers and
//! by a test over their corpus.

use std::sync::Arc;

use bytes::Bytes;

use crate::body::{AnswerReader, Format, ModelRewriter, Parsed, Usage, read_request};
use crate::desk::{Reason, Refused};
use crate::ext_proc::wire::body_mutation::Mutation;
use crate::ext_proc::wire::processing_request::Request;
use crate::ext_proc::wire::processing_response::Response;
use crate::ext_proc::wire::{
    CommonResponse, HeaderMap, HeaderValue, HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest,
    ProcessingResponse,
};
use crate::ext_proc::{Exchange, Grant, Settings, Todo};

/// The most that Envoy takes in one piece of a body.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Bodies: read or refused; another model changes nothing but the model; chunks anywhere in an
/// answer change nothing that is read of it or sent for it.
pub fn body(data: &[u8]) {
    if let Ok(parsed) = read_request("/v1/chat/completions", None, data) {
        let renamed = parsed.renamed(&Bytes::copy_from_slice(data), "other \"model\"");
        if parsed.model.is_some() {
            let again = Parsed::json(&renamed).ok();
            let model = again.as_ref().and_then(|again| again.model.as_deref());
            assert_eq!(model, Some("other \"model\""), "the body stays readable");
            assert_eq!(again.map(|again| again.prompt.tokens), Some(parsed.prompt.tokens));
        }
    }
    for format in [Format::Json, Format::Events, Format::Opaque] {
        let (mut whole, mut cut) = (AnswerReader::new(format), AnswerReader::new(format));
        whole.read(data);
        data.chunks(3).for_each(|chunk| cut.read(chunk));
        assert_eq!(whole.answer(), cut.answer(), "{format:?}");
        let rewritten = |size: usize| {
            let mut rewriter = ModelRewriter::new(format, "demo", "other");
            let mut sent = Vec::new();
            for chunk in data.chunks(size) {
                sent.extend_from_slice(&rewriter.push(Bytes::copy_from_slice(chunk)));
            }
            sent.extend_from_slice(&rewriter.finish());
            sent
        };
        assert_eq!(rewritten(data.len().max(1)), rewritten(1), "{format:?}");
        let is_named = data.contains(&b'\\') || data.windows(4).any(|name| name == b"demo");
        assert!(is_named || rewritten(1) == data, "{format:?}: changed without a name");
    }
}

/// The question of the webhook: read or told what is wrong.
pub fn question(data: &[u8]) {
    crate::admission::fuzz_question(data);
}

/// One stream of Envoy's, its messages made of the bytes: whatever comes in whatever order, the
/// replies keep the protocol.
pub fn exchange(data: &[u8]) {
    let mut exchange = Exchange::<Endpoint>::new(Arc::new(Settings::default()), None);
    let mut said = Kept::default();
    let mut rest = data;
    while let [kind, length, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        let mut out = Vec::new();
        let mut todo = exchange.message(message(*kind, payload), &mut out);
        said.keep(&mut out);
        if let Todo::Read(reading) = &todo {
            let read = reading.read();
            todo = exchange.was_read(read, &mut out);
        }
        if matches!(todo, Todo::Ask) {
            assert!(exchange.asked().is_some(), "nobody knows what to ask");
            let decision = if kind & 0x40 == 0 {
                Ok(Endpoint)
            } else {
                let reason = Reason::ShuttingDown;
                Err(Refused { reason, retry_after: None, place: None }.into())
            };
            exchange.decided(decision, &mut out);
        }
        said.keep(&mut out);
    }
    exchange.closed();
}

fn message(kind: u8, payload: &[u8]) -> ProcessingRequest {
    let end_of_stream = kind & 0x80 != 0;
    let headers = || {
        let lines = payload.split(|byte| *byte == b'\n');
        let headers = lines.filter_map(|line| {
            let at = line.iter().skip(1).position(|byte| *byte == b':')? + 1;
            let [key, raw_value] = [&line[..at], &line[at + 1..]].map(Bytes::copy_from_slice);
            Some(HeaderValue { key, raw_value, ..HeaderValue::default() })
        });
        HeaderMap { headers: headers.collect() }
    };
    let http_headers = || HttpHeaders { headers: Some(headers()), end_of_stream };
    let body = || HttpBody { body: Bytes::copy_from_slice(payload), end_of_stream };
    let trailers = || HttpTrailers { trailers: Some(headers()) };
    let request = match kind & 0x07 {
        0 => Some(Request::RequestHeaders(http_headers())),
        1 | 2 => Some(Request::RequestBody(body())),
        3 => Some(Request::RequestTrailers(trailers())),
        4 => Some(Request::ResponseHeaders(http_headers())),
        5 => Some(Request::ResponseBody(body())),
        6 => Some(Request::ResponseTrailers(trailers())),
        _ => None,
    };
    ProcessingRequest { request, ..ProcessingRequest::default() }
}

/// What was said on a stream, as far as the protocol bounds it.
#[derive(Debug, Default)]
struct Kept {
    request_headers: u32,
    response_headers: u32,
    request_ends: u32,
    response_ends: u32,
    closed: bool,
}

impl Kept {
    fn keep(&mut self, out: &mut Vec<ProcessingResponse>) {
        for reply in out.drain(..) {
            assert!(!self.closed, "something was said after an answer of our own");
            match reply.response {
                Some(Response::RequestHeaders(_)) => self.request_headers += 1,
                Some(Response::ResponseHeaders(_)) => self.response_headers += 1,
                Some(Response::RequestBody(body)) => {
                    self.request_ends += u32::from(ends(body.response));
                }
                Some(Response::ResponseBody(body)) => {
                    self.response_ends += u32::from(ends(body.response));
                }
                Some(Response::ImmediateResponse(_)) => self.closed = true,
                _ => (),
            }
            let most = [
                self.request_headers,
                self.response_headers,
                self.request_ends,
                self.response_ends,
            ];
            assert!(most.into_iter().all(|count| count <= 1), "{self:?}");
        }
    }
}

/// Whether a piece of a body is the last; it must not be larger than Envoy takes.
fn ends(response: Option<CommonResponse>) -> bool {
    let mutation = response.and_then(|common| common.body_mutation?.mutation);
    match mutation {
        Some(Mutation::StreamedResponse(piece)) => {
            assert!(piece.body.len() <= PIECE_BYTES_MAX);
            piece.end_of_stream
        }
        _ => false,
    }
}

/// A grant that leads somewhere.
#[derive(Debug)]
struct Endpoint;

impl Grant for Endpoint {
    fn endpoint(&self) -> &str {
        "127.0.0.1:8000"
    }
    fn prefill(&self) -> Option<&str> {
        None
    }
    fn rewrite(&self) -> Option<&str> {
        Some("other")
    }
    fn stripped(&self) -> &[String] {
        &[]
    }
    fn first_token(&mut self) {}
    fn finished(self, _usage: Usage) {}
    fn failed(self) {}
    fn unobserved(self) {}
}
