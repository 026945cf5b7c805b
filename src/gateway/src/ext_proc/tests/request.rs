//! The request phase.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request;
use envoy_types::pb::google::protobuf::value::Kind;
use forebay_core::admit::Facts as _;
use proptest::prelude::*;

use super::*;
use crate::body::BODY_BYTES_MAX;
use crate::ext_proc::{HEADER_DESTINATION, HEADER_PREFILLER, Head, Settings, wire};

const BODY: &str = r#"{"model":"small","prompt":"tell me more","seed":9007199254740993}"#;

#[test]
fn point_1_replies_come_in_order_and_none_after_an_immediate_response() {
    let mut wire = Wire::default();
    assert!(wire.send(post(&[])).is_empty(), "headers wait for the body");
    assert!(wire.send(chunk(&BODY[..9])).is_empty());
    let replies = wire.send(last(&BODY[9..]));
    assert_eq!(replies.kinds(), ["request headers", "request body$"]);
    assert_eq!(replies.body(), BODY.as_bytes());
    // Headers that come a second time get no second reply.
    assert!(wire.send(post(&[])).is_empty());

    let mut refused = Wire { denied: Some(no_endpoints()), ..Wire::default() };
    assert_eq!(refused.send_all([post(&[]), last(BODY)]).status(), 503);
    let after =
        [last(BODY), request_trailers(), answer(&[OK]), answer_last("x"), answer_trailers()];
    assert!(refused.send_all(after).is_empty());
    assert!(refused.close().is_empty());
}

#[test]
fn point_2_values_leave_as_raw_bytes_and_are_read_either_way() {
    let mut wire = Wire::default();
    let Some(Request::RequestHeaders(mut headers)) =
        post(&[("x-llm-d-inference-fairness-id", "a")]).request
    else {
        panic!()
    };
    for header in &mut headers.headers.as_mut().unwrap().headers {
        header.value = String::from_utf8(std::mem::take(&mut header.raw_value)).unwrap();
    }
    let replies = wire.send_all([message(Request::RequestHeaders(headers)), last(BODY)]);
    // `sets` asserts that `value` is empty.
    assert_eq!(replies.sets(HEADER_DESTINATION).as_deref(), Some(ENDPOINT));
    assert_eq!(wire.questions[0].fairness.as_deref(), Some("a"));

    let mut raw = Wire::default();
    raw.send_all([post(&[("x-llm-d-inference-fairness-id", "b")]), last(BODY)]);
    assert_eq!(raw.questions[0].fairness.as_deref(), Some("b"));
}

#[test]
fn point_3_bodies_go_on_in_pieces_of_which_the_last_ends() {
    let mut wire = Wire::default();
    let long = format!(r#"{{"model":"m","prompt":"{}"}}"#, "x".repeat(200_000));
    let replies = wire.send_all([post(&[]), last(&long)]);
    assert_eq!(
        replies.kinds(),
        ["request headers", "request body", "request body", "request body", "request body$"]
    );
    assert!(replies.pieces().iter().all(|piece| piece.len() <= 64 * 1024));
    assert_eq!(replies.body(), long.as_bytes());
}

#[test]
fn point_4_request_trailers_end_the_body() {
    let mut wire = Wire::default();
    let replies = wire.send_all([post(&[]), chunk(BODY), request_trailers()]);
    assert_eq!(replies.kinds(), ["request headers", "request body", "request trailers"]);
    assert_eq!(replies.body(), BODY.as_bytes());
    assert!(wire.send(request_trailers()).is_empty());
    // Trailers that come after the end of the body was said already are replied to as well.
    let mut late = Wire::default();
    late.send_all([post(&[]), last(BODY)]);
    assert_eq!(late.send(request_trailers()).kinds(), ["request trailers"]);
}

#[test]
fn point_5_a_second_end_of_the_body_is_ignored() {
    let mut wire = Wire::default();
    let replies = wire.send_all([post(&[]), last(BODY), last(BODY), last("")]);
    assert_eq!(replies.kinds(), ["request headers", "request body$"]);
    assert_eq!(replies.body(), BODY.as_bytes());
    assert_eq!(wire.questions.len(), 1);
    // Also while the gate holds the request.
    let mut held = Wire { held: true, ..Wire::default() };
    assert!(held.send_all([post(&[]), last(BODY), last(BODY)]).is_empty());
    assert_eq!(held.decide().body(), BODY.as_bytes());
}

#[test]
fn point_6_destination_header_and_metadata_are_equal_and_overwrite_the_clients() {
    let forged = (HEADER_DESTINATION, "169.254.169.254:80");
    for endpoint in [ENDPOINT, "[2001:db8::1]:8000"] {
        for messages in [vec![post(&[forged]), last(BODY)], vec![get(&[forged])]] {
            let mut wire = Wire::default();
            wire.script.endpoint = endpoint.into();
            let replies = wire.send_all(messages);
            assert_eq!(replies.sets(HEADER_DESTINATION).as_deref(), Some(endpoint));
            assert_eq!(replies.metadata_destination().as_deref(), Some(endpoint));
            let mutation = replies.mutation();
            let action = HeaderAppendAction::OverwriteIfExistsOrAdd;
            assert!(mutation.set_headers.iter().all(|set| set.append_action() == action));
        }
    }
}

#[test]
fn a_client_does_not_choose_where_its_prompt_is_computed() {
    let forged = (HEADER_PREFILLER, "169.254.169.254:80");
    let mut whole = Wire::default();
    let replies = whole.send_all([post(&[forged]), last(BODY)]);
    assert_eq!(replies.mutation().remove_headers, [HEADER_PREFILLER]);
    let mut split = Wire::default();
    split.script.prefill = Some("10.0.0.9:8000".into());
    let replies = split.send_all([post(&[forged]), last(BODY)]);
    assert_eq!(replies.sets(HEADER_PREFILLER).as_deref(), Some("10.0.0.9:8000"));
    assert!(replies.mutation().remove_headers.is_empty());
}

#[test]
fn point_7_the_subset_hint_counts_on_any_message_and_on_get() {
    let asked = |messages: Vec<_>| {
        let mut wire = Wire::default();
        wire.send_all(messages);
        wire.questions[0].candidates.clone()
    };
    let two = ["10.0.0.1:8000", "10.0.0.1:8001"];
    let expected = Some(two.map(str::to_owned).to_vec());
    assert_eq!(asked(vec![with_subset(get(&[]), &two)]), expected);
    assert_eq!(asked(vec![with_subset(post(&[]), &two), last(BODY)]), expected);
    assert_eq!(asked(vec![post(&[]), with_subset(last(BODY), &two)]), expected);
    assert_eq!(asked(vec![with_subset(post(&[]), &two), with_subset(last(BODY), &two)]), expected);
    assert_eq!(
        asked(vec![post(&[]), chunk(BODY), with_subset(request_trailers(), &two)]),
        expected
    );
    assert_eq!(asked(vec![get(&[])]), None, "absent means the whole pool");
    assert_eq!(asked(vec![with_subset(get(&[]), &[])]), Some(vec![]), "empty means nobody");
    let key = "x-gateway-destination-endpoint-subset";
    let joined = Kind::StringValue(two.join(", "));
    assert_eq!(asked(vec![with_metadata(get(&[]), "envoy.lb.subset_hint", key, joined)]), expected);
    let nonsense = Kind::NumberValue(7.0);
    assert_eq!(
        asked(vec![with_metadata(get(&[]), "envoy.lb.subset_hint", key, nonsense)]),
        Some(vec![]),
        "a hint that cannot be read names nobody"
    );
    let other = Kind::StringValue("x".into());
    assert_eq!(asked(vec![with_metadata(get(&[]), "other", key, other)]), None);
}

#[test]
fn point_8_an_empty_pool_is_503_on_get_too() {
    for messages in [vec![get(&[])], vec![post(&[]), last(BODY)]] {
        let mut wire = Wire { denied: Some(no_endpoints()), ..Wire::default() };
        let replies = wire.send_all(messages);
        assert_eq!(replies.status(), 503);
        let headers = replies.immediate().headers.clone().unwrap().set_headers;
        let reason = headers
            .into_iter()
            .filter_map(|option| option.header)
            .find(|header| header.key == "x-llm-d-request-dropped-reason")
            .unwrap();
        assert_eq!(reason.raw_value, b"rejected-no-endpoints");
        let body: serde_json::Value = serde_json::from_slice(&replies.immediate().body).unwrap();
        assert_eq!(body["error"]["code"], "rejected-no-endpoints");
    }
}

#[test]
fn point_9_repeated_headers_survive() {
    let mut wire = Wire::default();
    wire.script.stripped = vec!["x-llm-d-inference-fairness-id".into()];
    let repeated = [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x-llm-d-inference-fairness-id", "me"),
    ];
    let mutation = wire.send_all([post(&repeated), last(BODY)]).mutation();
    let set: Vec<String> =
        mutation.set_headers.into_iter().map(|set| set.header.unwrap().key).collect();
    assert_eq!(set, [HEADER_DESTINATION], "nothing is echoed, no length without a rewrite");
    assert_eq!(mutation.remove_headers, ["x-llm-d-inference-fairness-id"]);
    // And of a header that vouches for somebody, two values vouch for nobody.
    let head = Head::new(Some(passed(&map(&repeated))), None);
    assert_eq!(head.header("x-llm-d-inference-fairness-id"), Some("me"));
    assert_eq!(head.header("cookie"), None);
}

#[test]
fn point_10_a_rewrite_of_the_request_touches_the_top_level_model_only() {
    let body = r#"{"seed":9007199254740993,"metadata":{"model":"small"},"model":"small","prompt":"\"model\":\"small\""}"#;
    let mut wire = Wire::default();
    wire.script.rewrite = Some("small-v2".into());
    let at = body.find("\"small\",\"prompt").unwrap() + 3;
    let replies = wire.send_all([post(&[]), chunk(&body[..at]), last(&body[at..])]);
    let expected = body.replacen(r#""model":"small","p"#, r#""model":"small-v2","p"#, 1);
    assert_eq!(String::from_utf8(replies.body()).unwrap(), expected);
    assert_eq!(replies.sets("content-length"), Some(expected.len().to_string()));
}

#[test]
fn point_11_bodies_of_megabytes_pass_and_those_over_the_limit_are_refused() {
    let mut wire = Wire::default();
    let long = format!(r#"{{"model":"m","prompt":"{}"}}"#, "é".repeat(2_000_000));
    let replies = wire.send_all([post(&[]), last(&long)]);
    assert_eq!(replies.body(), long.as_bytes());
    assert_eq!(wire.questions[0].text_bytes, Some(4_000_000));

    let mut over = Wire::default();
    assert!(over.send_all([post(&[]), chunk(vec![b' '; BODY_BYTES_MAX])]).is_empty());
    let replies = over.send(chunk("x"));
    assert_eq!(replies.status(), 413);
    assert!(over.send(last("x")).is_empty(), "nothing follows an immediate response");
    assert!(over.questions.is_empty());
}

#[test]
fn bodies_that_cannot_be_read_are_the_clients_mistake() {
    for body in ["", "{", r#"{"prompt":"no model"}"#, r#"{"model":7}"#] {
        let mut wire = Wire::default();
        let id = ("x-request-id", "abc");
        let replies = wire.send_all([post(&[id]), last(body)]);
        assert_eq!(replies.status(), 400, "{body}");
        let said: serde_json::Value = serde_json::from_slice(&replies.immediate().body).unwrap();
        assert_eq!(said["error"]["type"], "invalid_request_error");
        assert_eq!(said["error"]["request_id"], "abc");
        assert!(wire.questions.is_empty());
    }
    // What is no JSON passes.
    let mut form = Wire::default();
    let headers = map(&[
        (":method", "POST"),
        (":path", "/v1/audio/transcriptions"),
        ("content-type", "multipart/form-data; boundary=x"),
    ]);
    let headers = message(Request::RequestHeaders(
        envoy_types::pb::envoy::service::ext_proc::v3::HttpHeaders {
            headers: Some(headers),
            ..Default::default()
        },
    ));
    let noise = [0xff_u8, 0, 0x80];
    assert_eq!(form.send_all([headers, last(noise)]).body(), noise);
}

#[test]
fn point_14_a_repeated_id_or_a_cancel_touches_no_other_stream() {
    let id = ("x-request-id", "the same");
    let mut one = Wire { held: true, ..Wire::default() };
    let mut two = Wire { held: true, ..Wire::default() };
    one.send_all([post(&[id]), last(BODY)]);
    two.send_all([post(&[id]), last(BODY)]);
    one.decide();
    assert_eq!(one.close(), ["gone"], "closed before its answer");
    assert_eq!(two.decide().kinds(), ["request headers", "request body$"]);
    two.send_all([answer(&[OK, JSON]), answer_last("{}")]);
    assert_eq!(two.close(), ["first token", "finished"]);
}

#[test]
fn point_17_conformance_tests_choose_when_they_are_let() {
    let chosen = ("test-epp-endpoint-selection", "10.0.0.3, 10.0.0.4:9000");
    let mut production = Wire::default();
    production.send(get(&[chosen]));
    assert_eq!(production.questions[0].candidates, None);

    let mut wire = Wire::with(Settings { conformance_ports: Some(vec![8000, 8001]) });
    wire.send(get(&[chosen]));
    let expected = ["10.0.0.3:8000", "10.0.0.3:8001", "10.0.0.4:9000"];
    assert_eq!(wire.questions[0].candidates, Some(expected.map(str::to_owned).to_vec()));
    let served = Kind::StringValue("10.0.0.3:8000".into());
    let reply = wire.send(with_metadata(
        answer(&[OK]),
        "envoy.lb",
        "x-gateway-destination-endpoint-served",
        served,
    ));
    let header = reply.sets("x-conformance-test-served-endpoint");
    assert_eq!(header.as_deref(), Some("10.0.0.3:8000"));
}

#[test]
fn a_data_plane_that_keeps_bodies_to_itself_is_answered_by_headers_alone() {
    let mut wire = Wire::default();
    let first = with_modes(post(&[]), BodySendMode::None, BodySendMode::None);
    assert_eq!(wire.send(first).kinds(), ["request headers"]);
    assert_eq!(wire.questions[0].model, None);
    let mut streamed = Wire::default();
    let first = with_modes(post(&[]), BodySendMode::Streamed, BodySendMode::Streamed);
    assert_eq!(streamed.send(first).kinds(), ["request headers"]);
    assert_eq!(streamed.send(last(BODY)).kinds(), ["request body as it is"]);
    assert_eq!(streamed.send(request_trailers()).kinds(), ["request trailers"]);
}

#[test]
fn claims_come_from_metadata() {
    let message = with_metadata(
        post(&[]),
        "envoy.filters.http.jwt_authn",
        "sub",
        Kind::StringValue("acme".into()),
    );
    let mut head = Head::new(None, None);
    let wire: wire::ProcessingRequest = passed(&message);
    head.learn(wire.metadata_context);
    assert_eq!(head.claim("envoy.filters.http.jwt_authn", "sub"), Some("acme"));
    assert_eq!(head.claim("envoy.filters.http.jwt_authn", "iss"), None);
    assert_eq!(head.claim("elsewhere", "sub"), None);
}

#[test]
fn a_hint_that_cannot_be_read_names_nobody() {
    let mut head = Head::new(None, None);
    head.learn(Bytes::from_static(b"no metadata"));
    assert_eq!(head.candidates(), Some([].as_slice()));
    let message: wire::ProcessingRequest = passed(&with_subset(post(&[]), &[ENDPOINT]));
    head.learn(message.metadata_context);
    assert_eq!(head.candidates(), Some([].as_slice()), "what came first counts");
}

proptest! {
    #[test]
    fn point_11_any_chunks_make_the_same_request(
        text in "\\PC{0,60}",
        sizes in prop::collection::vec(1usize..9, 1..6),
        trailers in any::<bool>(),
        rewrite in any::<bool>(),
    ) {
        let body = serde_json::json!({"model": "small", "prompt": text}).to_string().into_bytes();
        let mut wire = Wire::default();
        wire.script.rewrite = rewrite.then(|| "large".to_owned());
        let mut messages = vec![post(&[])];
        let mut rest = &body[..];
        for size in sizes.iter().cycle() {
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            rest = tail;
            if rest.is_empty() && !trailers {
                messages.push(last(head));
                break;
            }
            messages.push(chunk(head));
            if rest.is_empty() {
                messages.push(request_trailers());
                break;
            }
        }
        let replies = wire.send_all(messages);
        let name = if rewrite { "large" } else { "small" };
        let expected = serde_json::json!({"model": name, "prompt": text}).to_string();
        prop_assert_eq!(String::from_utf8(replies.body()).unwrap(), expected);
        let kinds = replies.kinds();
        let ends = kinds.iter().filter(|kind| **kind == "request body$").count();
        prop_assert_eq!(ends, usize::from(!trailers));
        prop_assert_eq!(*kinds.last().unwrap(), if trailers { "request trailers" } else { "request body$" });
        prop_assert_eq!(wire.questions[0].text_bytes, Some(text.len() as u64));
    }
}
