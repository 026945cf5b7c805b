//! A stream without a wire, and a gate that does as it is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use envoy_types::pb::envoy::service::ext_proc::v3::body_mutation::Mutation;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyResponse, HeaderMutation, HttpBody, HttpHeaders, HttpTrailers, ImmediateResponse,
    ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value};
use forebay_core::admit::Facts as _;
use forebay_core::gate::Refusal;

use super::super::*;
use crate::body::Usage;
use crate::desk::{Reason, Refused};
use crate::front::Denied;

/// What happened to grants, in order.
pub(super) type Log = Arc<Mutex<Vec<String>>>;

/// A grant as scripted.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) endpoint: String,
    pub(super) prefill: Option<String>,
    pub(super) rewrite: Option<String>,
    pub(super) stripped: Vec<String>,
    pub(super) log: Log,
}

#[derive(Debug)]
pub(super) struct Granted {
    script: Script,
    first_token: bool,
    open: bool,
}

impl Granted {
    fn log(&mut self, what: String) {
        self.open = false;
        self.script.log.lock().unwrap().push(what);
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if self.open {
            self.log("gone".into());
        }
    }
}

impl Grant for Granted {
    fn endpoint(&self) -> &str {
        &self.script.endpoint
    }

    fn prefill(&self) -> Option<&str> {
        self.script.prefill.as_deref()
    }

    fn rewrite(&self) -> Option<&str> {
        self.script.rewrite.as_deref()
    }

    fn stripped(&self) -> &[String] {
        &self.script.stripped
    }

    fn first_token(&mut self) {
        if !std::mem::replace(&mut self.first_token, true) {
            self.script.log.lock().unwrap().push("first token".into());
        }
    }

    fn finished(mut self, usage: Usage) {
        let told = usage.prompt_tokens.zip(usage.output_tokens);
        let output = usage.output_tokens;
        self.log(match (told, output) {
            (Some((prompt, output)), _) => format!("finished {prompt}+{output}"),
            (None, Some(output)) => format!("finished ?+{output}"),
            (None, None) => "finished".into(),
        });
    }

    fn failed(mut self) {
        self.log("failed".into());
    }

    fn unobserved(mut self) {
        self.log("unobserved".into());
    }
}

/// What the gate was asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) model: Option<String>,
    pub(super) text_bytes: Option<u64>,
    pub(super) candidates: Option<Vec<String>>,
    pub(super) fairness: Option<String>,
}

/// One stream.
pub(super) struct Wire {
    pub(super) script: Script,
    /// The gate says no.
    pub(super) denied: Option<Denied>,
    /// The gate says nothing until [`Wire::decide`].
    pub(super) held: bool,
    pub(super) questions: Vec<Question>,
    pub(super) abandoned: bool,
    pub(super) exchange: Exchange<Granted>,
}

pub(super) const ENDPOINT: &str = "10.0.0.1:8000";

impl Default for Wire {
    fn default() -> Self {
        Self::with(Settings::default())
    }
}

impl Wire {
    pub(super) fn with(settings: Settings) -> Self {
        let script = Script { endpoint: ENDPOINT.into(), ..Script::default() };
        let exchange = Exchange::new(Arc::new(settings), None);
        Self {
            script,
            denied: None,
            held: false,
            questions: Vec::new(),
            abandoned: false,
            exchange,
        }
    }

    pub(super) fn send(&mut self, message: impl Into<ProcessingRequest>) -> Replies {
        let mut out = Vec::new();
        let mut todo = self.exchange.message(passed(&message.into()), &mut out);
        loop {
            todo = match todo {
                Todo::Nothing => break,
                Todo::Abandon => {
                    self.abandoned = true;
                    break;
                }
                Todo::Read(reading) => self.exchange.was_read(reading.read(), &mut out),
                Todo::Ask => {
                    self.question();
                    if !self.held {
                        self.exchange.decided(self.decision(), &mut out);
                    }
                    break;
                }
            };
        }
        Replies::of(&out)
    }

    /// Sends several messages and collects all replies.
    pub(super) fn send_all(
        &mut self,
        messages: impl IntoIterator<Item = ProcessingRequest>,
    ) -> Replies {
        Replies(messages.into_iter().flat_map(|message| self.send(message).0).collect())
    }

    pub(super) fn decide(&mut self) -> Replies {
        let mut out = Vec::new();
        self.exchange.decided(self.decision(), &mut out);
        Replies::of(&out)
    }

    pub(super) fn close(self) -> Vec<String> {
        self.exchange.closed();
        self.script.log.lock().unwrap().clone()
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.script.log.lock().unwrap().clone()
    }

    fn decision(&self) -> Result<Granted, Denied> {
        match &self.denied {
            Some(denied) => Err(denied.clone()),
            None => Ok(Granted { script: self.script.clone(), first_token: false, open: true }),
        }
    }

    fn question(&mut self) {
        let asked = self.exchange.asked().unwrap();
        let header = asked.head.header("x-llm-d-inference-fairness-id");
        let candidates = asked.candidates.map(|all| all.iter().map(ToString::to_string).collect());
        self.questions.push(Question {
            model: asked.head.model().map(str::to_owned),
            text_bytes: asked.body.map(|body| body.prompt.text_bytes),
            candidates,
            fairness: header.map(str::to_owned),
        });
    }
}

pub(super) fn no_endpoints() -> Denied {
    let reason = Reason::Gate(Refusal::NoEndpoints);
    Refused { reason, retry_after: None, place: None }.into()
}

/// Replies, and what to look for in them.
#[derive(Debug)]
pub(super) struct Replies(pub(super) Vec<ProcessingResponse>);

impl Replies {
    fn of(said: &[wire::ProcessingResponse]) -> Self {
        Self(said.iter().map(passed).collect())
    }

    /// The kind of each, in order; `$` after a body that ends the stream.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let kind = |reply: &ProcessingResponse| match reply.response.as_ref().unwrap() {
            Response::RequestHeaders(_) => "request headers",
            Response::ResponseHeaders(_) => "response headers",
            Response::RequestBody(body) => match piece(body) {
                Some((_, true)) => "request body$",
                Some(_) => "request body",
                None => "request body as it is",
            },
            Response::ResponseBody(body) => match piece(body) {
                Some((_, true)) => "response body$",
                Some(_) => "response body",
                None => "response body as it is",
            },
            Response::RequestTrailers(_) => "request trailers",
            Response::ResponseTrailers(_) => "response trailers",
            Response::ImmediateResponse(_) => "immediate",
            Response::StreamedImmediateResponse(_) => "streamed immediate",
        };
        self.0.iter().map(kind).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the first reply, to headers, changes in them.
    pub(super) fn mutation(&self) -> HeaderMutation {
        match self.0[0].response.as_ref().unwrap() {
            Response::RequestHeaders(headers) | Response::ResponseHeaders(headers) => {
                headers.response.clone().unwrap().header_mutation.unwrap_or_default()
            }
            other => panic!("no headers: {other:?}"),
        }
    }

    /// The value that the first reply sets a header to.
    pub(super) fn sets(&self, name: &str) -> Option<String> {
        let mutation = self.mutation();
        let header = mutation
            .set_headers
            .into_iter()
            .filter_map(|option| option.header)
            .find(|header| header.key == name)?;
        assert!(header.value.is_empty(), "Envoy ignores `value`");
        Some(String::from_utf8(header.raw_value).unwrap())
    }

    /// The destination in the dynamic metadata of the first reply.
    pub(super) fn metadata_destination(&self) -> Option<String> {
        let fields = &self.0[0].dynamic_metadata.as_ref()?.fields;
        let Some(Kind::StructValue(lb)) = &fields.get("envoy.lb")?.kind else { return None };
        match &lb.fields.get(HEADER_DESTINATION)?.kind {
            Some(Kind::StringValue(endpoint)) => Some(endpoint.clone()),
            _ => None,
        }
    }

    /// Pieces of bodies, in order.
    pub(super) fn pieces(&self) -> Vec<Vec<u8>> {
        self.0
            .iter()
            .filter_map(|reply| match reply.response.as_ref().unwrap() {
                Response::RequestBody(body) | Response::ResponseBody(body) => {
                    piece(body).map(|(bytes, _)| bytes)
                }
                _ => None,
            })
            .collect()
    }

    pub(super) fn body(&self) -> Vec<u8> {
        self.pieces().concat()
    }

    /// The only reply, an answer of our own.
    pub(super) fn immediate(&self) -> &ImmediateResponse {
        assert_eq!(self.kinds(), ["immediate"]);
        match self.0[0].response.as_ref().unwrap() {
            Response::ImmediateResponse(immediate) => immediate,
            other => panic!("not immediate: {other:?}"),
        }
    }

    pub(super) fn status(&self) -> i32 {
        self.immediate().status.unwrap().code
    }
}

fn piece(body: &BodyResponse) -> Option<(Vec<u8>, bool)> {
    let common = body.response.as_ref().unwrap();
    assert!(common.header_mutation.is_none(), "headers are replied to once");
    match common.body_mutation.as_ref()?.mutation.as_ref()? {
        Mutation::StreamedResponse(piece) => Some((piece.body.clone(), piece.end_of_stream)),
        other => panic!("spurious to Envoy: {other:?}"),
    }
}

/// What one side says, as the other reads it: Envoy's own types here, those of the picker there.
pub(super) fn passed<T: prost::Message + Default>(said: &impl prost::Message) -> T {
    T::decode(said.encode_to_vec().as_slice()).unwrap()
}

pub(super) fn message(request: Request) -> ProcessingRequest {
    ProcessingRequest { request: Some(request), ..ProcessingRequest::default() }
}

/// Headers as Envoy sends them: values in `raw_value`.
pub(super) fn map(headers: &[(&str, &str)]) -> HeaderMap {
    let headers = headers
        .iter()
        .map(|(key, value)| HeaderValue {
            key: (*key).into(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        })
        .collect();
    HeaderMap { headers }
}

fn headers(of: &[(&str, &str)], end_of_stream: bool) -> HttpHeaders {
    HttpHeaders { headers: Some(map(of)), end_of_stream, ..HttpHeaders::default() }
}

/// A POST of JSON, its body to come.
pub(super) fn post(more: &[(&str, &str)]) -> ProcessingRequest {
    let own = [
        (":method", "POST"),
        (":path", "/v1/chat/completions"),
        ("content-type", "application/json"),
    ];
    message(Request::RequestHeaders(headers(&[&own, more].concat(), false)))
}

pub(super) fn get(more: &[(&str, &str)]) -> ProcessingRequest {
    let own = [(":method", "GET"), (":path", "/v1/models")];
    message(Request::RequestHeaders(headers(&[&own, more].concat(), true)))
}

fn http_body(body: impl AsRef<[u8]>, end_of_stream: bool) -> HttpBody {
    HttpBody { body: body.as_ref().to_vec(), end_of_stream, ..HttpBody::default() }
}

pub(super) fn chunk(body: impl AsRef<[u8]>) -> ProcessingRequest {
    message(Request::RequestBody(http_body(body, false)))
}

pub(super) fn last(body: impl AsRef<[u8]>) -> ProcessingRequest {
    message(Request::RequestBody(http_body(body, true)))
}

pub(super) fn request_trailers() -> ProcessingRequest {
    message(Request::RequestTrailers(HttpTrailers::default()))
}

pub(super) fn answer(of: &[(&str, &str)]) -> ProcessingRequest {
    message(Request::ResponseHeaders(headers(of, false)))
}

pub(super) fn answer_without_body(status: &str) -> ProcessingRequest {
    message(Request::ResponseHeaders(headers(&[(":status", status)], true)))
}

pub(super) fn answer_chunk(body: impl AsRef<[u8]>) -> ProcessingRequest {
    message(Request::ResponseBody(http_body(body, false)))
}

pub(super) fn answer_last(body: impl AsRef<[u8]>) -> ProcessingRequest {
    message(Request::ResponseBody(http_body(body, true)))
}

pub(super) fn answer_trailers() -> ProcessingRequest {
    message(Request::ResponseTrailers(HttpTrailers::default()))
}

pub(super) const JSON: (&str, &str) = ("content-type", "application/json");
pub(super) const EVENTS: (&str, &str) = ("content-type", "text/event-stream");
pub(super) const OK: (&str, &str) = (":status", "200");

/// What Envoy says of its modes in the first message.
pub(super) fn with_modes(
    message: ProcessingRequest,
    request: BodySendMode,
    response: BodySendMode,
) -> ProcessingRequest {
    let config = ProtocolConfiguration {
        request_body_mode: request.into(),
        response_body_mode: response.into(),
        ..ProtocolConfiguration::default()
    };
    ProcessingRequest { protocol_config: Some(config), ..message }
}

/// The same message with metadata of one namespace.
pub(super) fn with_metadata(
    message: ProcessingRequest,
    namespace: &str,
    key: &str,
    value: Kind,
) -> ProcessingRequest {
    let fields = HashMap::from([(key.to_owned(), Value { kind: Some(value) })]);
    let filter_metadata = HashMap::from([(namespace.to_owned(), Struct { fields })]);
    let metadata = Metadata { filter_metadata, ..Metadata::default() };
    ProcessingRequest { metadata_context: Some(metadata), ..message }
}

pub(super) fn with_subset(message: ProcessingRequest, entries: &[&str]) -> ProcessingRequest {
    let values =
        entries.iter().map(|entry| Value { kind: Some(Kind::StringValue((*entry).into())) });
    let list = Kind::ListValue(ListValue { values: values.collect() });
    let key = "x-gateway-destination-endpoint-subset";
    with_metadata(message, "envoy.lb.subset_hint", key, list)
}
