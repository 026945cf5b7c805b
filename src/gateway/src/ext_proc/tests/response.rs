//! The response phase.

use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use envoy_types::pb::google::protobuf::value::Kind;

use super::*;
use crate::ext_proc::Settings;

const BODY: &str = r#"{"model":"small","prompt":"x"}"#;

/// A stream whose request was sent on.
fn sent() -> Wire {
    let mut wire = Wire::default();
    wire.send_all([post(&[]), last(BODY)]);
    wire
}

#[test]
fn a_json_answer_passes_and_its_usage_is_settled() {
    let mut wire = sent();
    let headers = wire.send(answer(&[OK, JSON]));
    assert_eq!(headers.kinds(), ["response headers"]);
    assert_eq!(headers.sets("x-went-into-resp-headers").as_deref(), Some("true"));
    let body = r#"{"model":"small","usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    assert_eq!(wire.send(answer_chunk(&body[..30])).body(), &body.as_bytes()[..30]);
    assert_eq!(wire.log(), ["first token"]);
    let end = wire.send(answer_last(&body[30..]));
    assert_eq!(end.kinds(), ["response body$"]);
    assert_eq!(wire.log(), ["first token", "finished 3+5"]);
    // A second end is ignored here, too.
    assert!(wire.send(answer_last(&body[30..])).is_empty());
    assert_eq!(wire.close(), ["first token", "finished 3+5"]);
}

#[test]
fn point_3_response_trailers_end_the_body() {
    let mut wire = sent();
    let replies = wire.send_all([answer(&[OK, JSON]), answer_chunk("{}"), answer_trailers()]);
    assert_eq!(replies.kinds(), ["response headers", "response body", "response trailers"]);
    assert_eq!(wire.log(), ["first token", "finished"]);
    assert!(wire.send(answer_trailers()).is_empty());
}

#[test]
fn point_3_large_chunks_are_cut() {
    let mut wire = sent();
    wire.send(answer(&[OK, JSON]));
    let large = vec![b'x'; 150_000];
    let replies = wire.send(answer_chunk(&large));
    assert_eq!(replies.kinds(), ["response body", "response body", "response body"]);
    assert!(replies.pieces().iter().all(|piece| piece.len() <= 64 * 1024));
    assert_eq!(replies.body(), large);
}

#[test]
fn point_10_a_rewrite_of_the_answer_gives_the_client_its_own_name_back() {
    let answers = [
        (
            JSON,
            r#"{"id":9007199254740993,"model":"large","x":{"model":"large"},"choices":["\"model\":\"large\""]}"#,
        ),
        (
            EVENTS,
            "data: {\"model\":\"large\",\"choices\":[{\"delta\":{\"content\":\"large\"}}]}\n\ndata: {\"model\":\"large\"}\n\ndata: [DONE]\n\n",
        ),
    ];
    for (format, body) in answers {
        let expected = body
            .replace("{\"model\":\"large\"}\n", "{\"model\":\"small\"}\n")
            .replace(",\"model\":\"large\",\"x\"", ",\"model\":\"small\",\"x\"")
            .replace("{\"model\":\"large\",\"choices\"", "{\"model\":\"small\",\"choices\"");
        for size in [1, 2, 3, 7, 1000] {
            let mut wire = Wire::default();
            wire.script.rewrite = Some("large".into());
            wire.send_all([post(&[]), last(BODY)]);
            wire.send(answer(&[OK, format]));
            let chunks = body.as_bytes().chunks(size);
            let got = wire.send_all(chunks.map(answer_chunk).chain([answer_last("")]));
            assert_eq!(String::from_utf8(got.body()).unwrap(), expected);
            assert_eq!(got.kinds().last(), Some(&"response body$"));
        }
    }
}

#[test]
fn point_12_each_chunk_is_answered_at_once_and_what_is_compressed_passes_unchanged() {
    let mut wire = sent();
    wire.send(answer(&[OK, EVENTS]));
    for event in ["data: {\"a\":1}\n\n", "data: {\"a\":", "2}\n\n", "data: [DONE]\n\n"] {
        let replies = wire.send(answer_chunk(event));
        assert_eq!(replies.kinds(), ["response body"]);
        assert_eq!(replies.body(), event.as_bytes());
    }
    wire.send(answer_last(""));
    assert_eq!(wire.log(), ["first token", "finished ?+2"], "events stand for tokens");

    let noise: Vec<u8> = (0..=255).collect();
    for headers in [
        vec![OK, JSON, ("content-encoding", "gzip")],
        vec![OK, ("content-type", "audio/mpeg")],
        vec![OK, EVENTS],
        vec![OK],
    ] {
        let mut wire = Wire::default();
        wire.script.rewrite = Some("large".into());
        wire.send_all([post(&[]), last(BODY)]);
        wire.send(answer(&headers));
        let replies = wire.send_all([answer_chunk(&noise), answer_last(&noise)]);
        assert_eq!(replies.body(), [noise.clone(), noise.clone()].concat());
    }
}

#[test]
fn usage_of_a_stream_comes_from_its_last_event_however_it_is_cut() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"“\"}}],\"usage\":null}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}\r\n\r\ndata: [DONE]\r\n\r\n";
    for size in 1..40 {
        let mut wire = sent();
        wire.send(answer(&[OK, EVENTS]));
        wire.send_all(body.as_bytes().chunks(size).map(answer_chunk).chain([answer_last("")]));
        assert_eq!(wire.log(), ["first token", "finished 7+9"]);
    }
}

#[test]
fn point_13_a_response_without_a_request_passes() {
    let mut wire = Wire::default();
    let replies = wire.send_all([answer(&[OK, JSON]), answer_chunk("{"), answer_last("}")]);
    assert_eq!(replies.kinds(), ["response headers", "response body", "response body$"]);
    assert!(wire.questions.is_empty());
    assert!(wire.close().is_empty());
    // Headers that were not shown to us at all.
    let mut bare = Wire::default();
    assert_eq!(bare.send_all([answer_chunk("x"), answer_last("y")]).body(), b"xy");
}

#[test]
fn point_13_answers_without_a_body_get_no_body_reply() {
    let mut wire = sent();
    assert_eq!(wire.send(answer_without_body("204")).kinds(), ["response headers"]);
    assert_eq!(wire.close(), ["finished"]);
}

#[test]
fn point_13_the_served_endpoint_may_be_missing_malformed_or_another() {
    let settings = Settings { conformance_ports: Some(vec![8000]) };
    let key = "x-gateway-destination-endpoint-served";
    let cases = [
        (None, ENDPOINT),
        (Some(Kind::NumberValue(1.0)), ENDPOINT),
        (Some(Kind::StringValue("10.9.9.9:8000".into())), "10.9.9.9:8000"),
    ];
    for (served, expected) in cases {
        let mut wire = Wire::with(settings.clone());
        wire.send_all([post(&[]), last(BODY)]);
        let mut headers = answer(&[OK, JSON]);
        if let Some(kind) = served {
            headers = with_metadata(headers, "envoy.lb", key, kind);
        }
        let reply = wire.send(headers);
        let header = reply.sets("x-conformance-test-served-endpoint");
        assert_eq!(header.as_deref(), Some(expected));
        assert_eq!(wire.send(answer_last("{}")).kinds(), ["response body$"]);
    }
}

#[test]
fn point_14_an_answer_that_breaks_off_means_that_the_client_has_gone() {
    let mut wire = sent();
    wire.send_all([answer(&[OK, EVENTS]), answer_chunk("data: {}\n\n")]);
    assert_eq!(wire.close(), ["first token", "gone"]);
    assert_eq!(sent().close(), ["gone"]);
}

#[test]
fn an_engine_that_fails_is_told_to_the_gate_and_its_answer_passes() {
    let mut wire = sent();
    wire.send(answer(&[(":status", "503"), JSON]));
    assert_eq!(wire.log(), ["failed"]);
    assert_eq!(wire.send(answer_last("no")).body(), b"no");
    assert_eq!(wire.close(), ["failed"]);
    // A request that the engine finds wrong is an answer like any other.
    let mut wrong = sent();
    wrong.send_all([answer(&[(":status", "400"), JSON]), answer_last("{}")]);
    assert_eq!(wrong.close(), ["first token", "finished"]);
}

#[test]
fn a_response_that_overtakes_its_request_ends_it() {
    // Envoy answers itself while the gate holds the request: a timeout of its own, say.
    let mut wire = Wire { held: true, ..Wire::default() };
    wire.send_all([post(&[]), last(BODY)]);
    let replies = wire.send(answer(&[(":status", "504")]));
    assert_eq!(replies.kinds(), ["response headers"]);
    assert!(wire.abandoned);
    assert!(wire.decide().is_empty(), "nothing more is said of the request");
    assert_eq!(wire.send(answer_last("x")).kinds(), ["response body$"]);
}

#[test]
fn where_bodies_are_not_shown_nobody_sees_how_an_answer_ends_unless_it_was_made_before() {
    let unseen = || {
        let mut wire = Wire::default();
        let mode = BodySendMode::FullDuplexStreamed;
        let first = with_modes(post(&[]), mode, BodySendMode::None);
        assert_eq!(
            wire.send_all([first, last(BODY)]).kinds(),
            ["request headers", "request body$"]
        );
        wire
    };
    let mut events = unseen();
    assert_eq!(events.send(answer(&[OK, EVENTS])).kinds(), ["response headers"]);
    assert!(events.log().is_empty(), "the headers of a stream come before its first token");
    assert_eq!(events.close(), ["unobserved"]);
    let mut json = unseen();
    json.send(answer(&[OK, JSON]));
    assert_eq!(json.close(), ["first token", "unobserved"]);
    let mut made = unseen();
    made.send(answer(&[OK, JSON, ("content-length", "9")]));
    assert_eq!(made.close(), ["first token", "finished"]);
    let mut empty = unseen();
    empty.send(answer_without_body("204"));
    assert_eq!(empty.close(), ["finished"]);
    let mut failed = unseen();
    failed.send(answer(&[(":status", "503"), JSON]));
    assert_eq!(failed.close(), ["failed"]);
    assert_eq!(unseen().close(), ["gone"], "no answer ever came");
}

#[test]
fn modes_that_want_one_reply_to_each_chunk_get_it() {
    let mut wire = Wire::default();
    let mode = BodySendMode::FullDuplexStreamed;
    wire.send_all([with_modes(post(&[]), mode, BodySendMode::Streamed), last(BODY)]);
    wire.send(answer(&[OK, JSON]));
    let body = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    assert_eq!(wire.send(answer_last(body)).kinds(), ["response body as it is"]);
    assert_eq!(wire.close(), ["first token", "finished 1+2"]);
}
