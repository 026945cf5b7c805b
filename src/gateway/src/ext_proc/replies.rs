//! Replies to Envoy.

use bytes::Bytes;

use super::wire::body_mutation::Mutation;
use super::wire::processing_response::Response;
use super::wire::{
    BodyMutation, BodyResponse, CommonResponse, HeaderAppendAction, HeaderMutation, HeaderValue,
    HeaderValueOption, HeadersResponse, HttpStatus, ImmediateResponse, ProcessingResponse,
    StreamedBodyResponse, TrailersResponse,
};
use crate::front::Reply;

/// Most bytes of a body in one message: Envoy takes 64 KiB, with room for the rest of the message.
pub(super) const PIECE_BYTES_MAX: usize = 62_000;

pub(super) fn reply(response: Response) -> ProcessingResponse {
    ProcessingResponse { response: Some(response), ..ProcessingResponse::default() }
}

/// The one answer to the headers of either direction.
pub(super) fn headers(mutation: HeaderMutation, clear_route_cache: bool) -> HeadersResponse {
    let empty = mutation.set_headers.is_empty() && mutation.remove_headers.is_empty();
    let header_mutation = (!empty).then_some(mutation);
    let response =
        CommonResponse { header_mutation, clear_route_cache, ..CommonResponse::default() };
    HeadersResponse { response: Some(response) }
}

/// A header that replaces all of its name. Envoy ignores `value` here.
pub(super) fn set(name: &'static str, value: &str) -> HeaderValueOption {
    let raw_value = Bytes::copy_from_slice(value.as_bytes());
    HeaderValueOption {
        header: Some(HeaderValue { key: name.into(), raw_value, ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

/// A body in pieces; the last one ends the stream if `ends`. An empty body that does not end it
/// is no piece at all.
pub(super) fn body_pieces(
    body: Bytes,
    ends: bool,
    wrap: fn(BodyResponse) -> Response,
    out: &mut Vec<ProcessingResponse>,
) {
    let mut rest = body;
    while rest.len() > PIECE_BYTES_MAX {
        let piece = rest.split_to(PIECE_BYTES_MAX);
        out.push(streamed(piece, false, wrap));
    }
    if ends || !rest.is_empty() {
        out.push(streamed(rest, ends, wrap));
    }
}

fn streamed(
    body: Bytes,
    end_of_stream: bool,
    wrap: fn(BodyResponse) -> Response,
) -> ProcessingResponse {
    let piece = StreamedBodyResponse { body, end_of_stream };
    let body_mutation = Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(piece)) });
    let response = CommonResponse { body_mutation, ..CommonResponse::default() };
    reply(wrap(BodyResponse { response: Some(response) }))
}

/// Leaves a chunk as it is, in the modes that want an answer to each chunk.
pub(super) fn unchanged(wrap: fn(BodyResponse) -> Response) -> ProcessingResponse {
    reply(wrap(BodyResponse { response: Some(CommonResponse::default()) }))
}

pub(super) fn trailers(wrap: fn(TrailersResponse) -> Response) -> ProcessingResponse {
    reply(wrap(TrailersResponse::default()))
}

/// An answer of our own; nothing may follow it.
pub(super) fn immediate(said: Reply, details: &str) -> ProcessingResponse {
    let mut set_headers = vec![set("content-type", "application/json")];
    set_headers.extend(said.headers.iter().map(|(name, value)| set(name, value)));
    reply(Response::ImmediateResponse(ImmediateResponse {
        status: Some(HttpStatus { code: i32::from(said.status.as_u16()) }),
        headers: Some(HeaderMutation { set_headers, remove_headers: Vec::new() }),
        body: said.body,
        details: details.to_owned(),
    }))
}
