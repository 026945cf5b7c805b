//! Bodies of all shapes, and any chunking of them.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn chat(body: &str) -> Parsed {
    read_request("/v1/chat/completions", Some("application/json"), body.as_bytes()).unwrap()
}

#[test]
fn a_chat_request_is_read_whole() {
    let parsed = chat(
        r#" {"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hä?"}]}],
            "stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"max_completion_tokens":7,"n":2,"user":"u-1","model":"small"} "#,
    );
    assert_eq!(parsed.model.as_deref(), Some("small"));
    assert!(parsed.stream && parsed.include_usage);
    assert_eq!((parsed.output_tokens_max, parsed.sequences), (Some(7), 2));
    assert_eq!(parsed.user.as_deref(), Some("u-1"));
    assert_eq!((parsed.prompt.messages, parsed.prompt.text_bytes), (2, 13));
    assert_eq!(parsed.prompt.tokens, 4 + 2 * MESSAGE_TOKENS);
    assert_eq!(parsed.prompt.prefix.unwrap().ids.len(), 1);
}

#[test]
fn native_shapes_need_no_model() {
    let parsed = read_request(
        "/generate?x=1",
        None,
        br#"{"text":["one two","three"],"sampling_params":{"max_new_tokens":16},"stream":false}"#,
    )
    .unwrap();
    assert_eq!((parsed.output_tokens_max, parsed.prompt.text_bytes), (Some(16), 12));
    let ids = read_request("/generate", None, br#"{"input_ids":[1,2,3,4]}"#).unwrap();
    assert_eq!((ids.prompt.tokens, ids.prompt.token_ids), (4, 4));
    let batch = chat(r#"{"model":"m","input":[[1,2],[3,4,5]]}"#);
    assert_eq!(batch.prompt.tokens, 5);
    assert_eq!(
        read_request("/v1/completions", None, br#"{"prompt":"x"}"#),
        Err(BodyError::ModelMissing)
    );
}

#[test]
fn what_cannot_be_read_is_refused_or_passes_by_its_content_type() {
    let read = |content_type, body: &[u8]| read_request("/v1/x", content_type, body);
    for body in
        [&b"{\"model\":"[..], b"[]", b"nonsense", b"{\"model\":\"a\",\"model\":\"b\"}", b"{}x"]
    {
        let error = read(Some("application/json"), body).unwrap_err();
        assert!(matches!(error, BodyError::NotJson { .. }), "{error}");
        assert_eq!(error.status(), 400);
    }
    assert_eq!(read(None, b"{\"model\":7}"), Err(BodyError::ModelNotText));
    assert_eq!(read(None, b"{\"model\":null}"), Err(BodyError::ModelMissing));
    assert_eq!(read(None, b""), Err(BodyError::ModelMissing));
    assert!(matches!(read(None, b"{\"model\":\"\xff\"}"), Err(BodyError::NotUtf8 { at: 10 })));
    let form = read(Some("multipart/form-data; boundary=x"), &[b'-'; 400]).unwrap();
    assert_eq!((form.model, form.prompt.tokens), (None, 100));
    // curl's default content type says form, though it is JSON.
    let mislabelled = read(Some("application/x-www-form-urlencoded"), br#"{"model":"m"}"#);
    assert_eq!(mislabelled.unwrap().model.as_deref(), Some("m"));
    let deep = format!("{{\"model\":\"m\",\"prompt\":{}{}}}", "[".repeat(999), "]".repeat(999));
    assert!(matches!(read(None, deep.as_bytes()), Err(BodyError::NotJson { .. })));
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let mut collector = Collector::default();
    collector.push(Bytes::from(vec![0; BODY_BYTES_MAX])).unwrap();
    let error = collector.push(Bytes::from_static(b"x")).unwrap_err();
    assert_eq!(error.status(), 413);
    assert_eq!(collector.finish().len(), BODY_BYTES_MAX);
}

#[test]
fn renaming_a_request_touches_the_top_level_model_only() {
    let text = r#"{"z":9007199254740993,"metadata":{"model":"m/1"}, "model" : "m\/1" ,"a":1e400,"messages":[{"content":"\"model\":\"m/1\""}]}"#;
    let body = Bytes::from(text);
    let parsed = chat(text);
    assert_eq!(parsed.model.as_deref(), Some("m/1"));
    let renamed = parsed.renamed(&body, "new \"name\"");
    assert_eq!(renamed, text.replace(r#""m\/1""#, r#""new \"name\"""#));
    let none = read_request("/generate", None, br#"{"text":"m"}"#).unwrap();
    assert_eq!(none.renamed(&Bytes::from_static(br#"{"text":"m"}"#), "x"), r#"{"text":"m"}"#);
}

#[test]
fn prompts_share_the_pieces_that_they_begin_with() {
    let ids = |body: String| chat(&body).prompt.prefix.unwrap().ids;
    let system = "s".repeat(4 * PIECE_BYTES);
    let of = |model: &str, user: &str| {
        ids(format!(
            r#"{{"messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"{user}"}}],"model":"{model}"}}"#
        ))
    };
    let (one, two, other) = (of("m", "one"), of("m", "two"), of("n", "one"));
    assert_eq!(one.len(), 5);
    assert_eq!((&one[..4], one[4] == two[4]), (&two[..4], false));
    assert!(one.iter().zip(other.iter()).all(|(a, b)| a != b), "KV differs by model");
    let salted = ids(format!(r#"{{"model":"m","cache_salt":"x","prompt":"{system}"}}"#));
    let plain = ids(format!(r#"{{"model":"m","prompt":"{system}"}}"#));
    assert_ne!(salted[0], plain[0]);
    let image = |data: &str| {
        ids(format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{data}"}}}}]}}]}}"#
        ))
    };
    assert_ne!(image("data:1"), image("data:2"));
    let long = "x".repeat((PIECES_MAX + 9) * PIECE_BYTES);
    assert_eq!(ids(format!(r#"{{"model":"m","prompt":"{long}"}}"#)).len(), PIECES_MAX);
}

#[test]
fn formats_by_their_headers() {
    assert_eq!(Format::of(Some("Application/JSON; charset=utf-8"), None), Format::Json);
    assert_eq!(Format::of(Some("text/event-stream"), Some("identity")), Format::Events);
    assert_eq!(Format::of(Some("application/json"), Some("gzip")), Format::Opaque);
    assert_eq!(Format::of(Some("audio/mpeg"), None), Format::Opaque);
    assert_eq!(Format::of(None, None), Format::Opaque);
}

fn counted(prompt: u32, output: u32, cached: u32) -> Usage {
    Usage { prompt_tokens: Some(prompt), output_tokens: Some(output), cached_tokens: Some(cached) }
}

/// Format, body, usage, events.
fn answers() -> Vec<(Format, String, Usage, u64)> {
    let event = r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"delta":{"content":"“ä” \"usage\": 7 }"}}],"usage":null}"#;
    let end = r#"{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    vec![
        (
            Format::Json,
            r#"{"choices":[{"message":{"content":"\\\"usage\":{]"},"usage":{"prompt_tokens":1}}],"n":[1,{}],"usage" : {"prompt_tokens":5,"completion_tokens":2,"x":{"y":[1]},"prompt_tokens_details":{"cached_tokens":4}},"model":"m"}"#.into(),
            counted(5, 2, 4),
            0,
        ),
        (
            Format::Json,
            r#"{"text":"“”","meta_info":{"prompt_tokens":5,"completion_tokens":2,"cached_tokens":4}}"#.into(),
            counted(5, 2, 4),
            0,
        ),
        (Format::Json, r#"[{"usage":{"prompt_tokens":1}}]"#.into(), Usage::default(), 0),
        (Format::Json, r#"{"usage":null,"x":true,"data":[0.5,1e9]}"#.into(), Usage::default(), 0),
        (
            Format::Events,
            format!(": hi\n\ndata: {event}\n\ndata: {event}\n\ndata: {end}\n\ndata: [DONE]\n\n"),
            counted(5, 2, 4),
            3,
        ),
        (
            Format::Events,
            format!("data:{event}\r\n\r\ndata:{end}\r\n\r\ndata:[DONE]"),
            counted(5, 2, 4),
            2,
        ),
        (
            Format::Events,
            "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":4}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":2}}\n\n".into(),
            counted(5, 2, 4),
            2,
        ),
        (
            Format::Events,
            "data: {\"type\":\"response.completed\",\"response\":{\"model\":\"m\",\"usage\":{\"input_tokens\":5,\"output_tokens\":2,\"input_tokens_details\":{\"cached_tokens\":4}}}}\n\n".into(),
            counted(5, 2, 4),
            1,
        ),
        // The last line has no end.
        (Format::Events, format!("data: {event}\n\ndata: {end}"), counted(5, 2, 4), 2),
    ]
}

fn in_chunks(body: &[u8], cuts: &[usize]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut rest = body;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at((*cut).min(rest.len()));
        chunks.push(Bytes::copy_from_slice(head));
        rest = tail;
    }
    chunks
}

fn read(format: Format, chunks: &[Bytes]) -> Answer {
    let mut reader = AnswerReader::new(format);
    chunks.iter().for_each(|chunk| reader.read(chunk));
    reader.answer()
}

fn rewritten(format: Format, from: &str, to: &str, chunks: Vec<Bytes>) -> Vec<u8> {
    let mut rewriter = ModelRewriter::new(format, from, to);
    let mut bytes: Vec<u8> =
        chunks.into_iter().flat_map(|chunk| rewriter.push(chunk).to_vec()).collect();
    bytes.extend_from_slice(&rewriter.finish());
    bytes
}

#[test]
fn usage_is_found_in_every_shape() {
    for (format, body, usage, events) in answers() {
        let answer = read(format, &[Bytes::from(body.clone())]);
        assert_eq!((answer.usage, answer.events), (usage, events), "{body}");
        assert_eq!(answer.bytes, body.len() as u64);
    }
}

#[test]
fn events_stand_for_tokens_where_no_usage_is_told() {
    let stream = Bytes::from_static(b"data: {\"a\":1}\n\ndata: {\"a\":2}\n\ndata: [DONE]\n\n");
    assert_eq!(read(Format::Events, &[stream]).output_tokens(), Some(2));
    assert_eq!(read(Format::Json, &[Bytes::from_static(b"{}")]).output_tokens(), None);
}

#[test]
fn an_event_beyond_the_limit_passes_unread_and_the_next_one_is_read() {
    let long = "x".repeat(2 * 1024 * 1024);
    let body =
        format!("data: {{\"a\":\"{long}\"}}\n\ndata: {{\"usage\":{{\"prompt_tokens\":3}}}}\n\n");
    let answer = read(Format::Events, &in_chunks(body.as_bytes(), &[65_536]));
    assert_eq!((answer.usage.prompt_tokens, answer.events), (Some(3), 2));
}

#[test]
fn compressed_and_binary_answers_are_not_touched() {
    let noise: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    assert_eq!(rewritten(Format::Opaque, "m", "n", in_chunks(&noise, &[7])), noise);
    assert!(read(Format::Opaque, &in_chunks(&noise, &[7])).usage.is_empty());
    // Mislabelled ones pass as well.
    assert_eq!(rewritten(Format::Json, "m", "n", in_chunks(&noise, &[7])), noise);
    assert_eq!(rewritten(Format::Events, "m", "n", in_chunks(&noise, &[7])), noise);
}

#[test]
fn a_name_is_held_back_no_longer_than_it_is_incomplete() {
    let mut rewriter = ModelRewriter::new(Format::Events, "target", "asked");
    let chunk = Bytes::from_static(b"data: {\"model\":\"tar");
    assert_eq!(rewriter.push(chunk), "data: {\"model\":");
    assert_eq!(rewriter.push(Bytes::from_static(b"get\",\"x\":")), "\"asked\",\"x\":");
    let rest = Bytes::from_static(b"1}\n\n");
    assert_eq!(rewriter.push(rest.clone()), rest);
    let mut cut_off = ModelRewriter::new(Format::Json, "target", "asked");
    assert_eq!(cut_off.push(Bytes::from_static(b"{\"model\":\"tar")), "{\"model\":");
    assert_eq!(cut_off.finish(), "\"tar");
}

#[test]
fn a_name_that_its_line_does_not_end_passes_before_what_follows() {
    let stream = "data: {\"model\": \"tar\n: ping\n\ndata: {\"model\": \"target\"}\n\n";
    for size in [1, 7, stream.len()] {
        let chunks = stream.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
        let sent = rewritten(Format::Events, "target", "asked", chunks);
        assert_eq!(String::from_utf8(sent).unwrap(), stream.replace("target", "asked"));
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        Just("model".to_owned()),
        Just("usage".to_owned()),
        Just("target".to_owned()),
        "[a-z\"\\\\{}\\[\\]:, é“]{0,8}"
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text.clone().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn usage_is_the_same_in_any_chunks(cuts in prop::collection::vec(1usize..40, 1..12)) {
        for (format, body, usage, events) in answers() {
            let answer = read(format, &in_chunks(body.as_bytes(), &cuts));
            prop_assert_eq!((answer.usage, answer.events), (usage, events));
        }
    }

    /// Whatever an engine sends, however it is cut: without the name it passes as it came.
    #[test]
    fn what_does_not_name_the_model_passes_as_it_came(
        parts in prop::collection::vec(prop::sample::select(vec![
            "data: {\"model\":", "data: {", "\"model\":", "\"tar", "\"", "1", ",", "}", " ", "\n", "\r\n",
        ]), 0..40),
        size in 1_usize..20,
    ) {
        let stream = parts.concat();
        for format in [Format::Json, Format::Events, Format::Opaque] {
            let chunks = stream.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            let sent = rewritten(format, "target", "asked", chunks);
            prop_assert_eq!(String::from_utf8(sent).unwrap(), stream.clone());
        }
    }

    #[test]
    fn a_rewrite_changes_the_top_level_model_and_nothing_else(
        value in json_value(),
        named in any::<bool>(),
        pretty in any::<bool>(),
        cuts in prop::collection::vec(1usize..20, 1..8),
    ) {
        let mut value = value;
        if let (serde_json::Value::Object(members), true) = (&mut value, named) {
            members.insert("model".into(), "target".into());
        }
        let text = |value: &serde_json::Value| {
            if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap()
        };
        let mut expected = value.clone();
        if let Some(model) = expected.get_mut("model")
            && *model == "target" {
            *model = "as\"ked".into();
        }
        let got = rewritten(Format::Json, "target", "as\"ked", in_chunks(text(&value).as_bytes(), &cuts));
        prop_assert_eq!(String::from_utf8(got).unwrap(), text(&expected));

        let events = |value: &serde_json::Value| format!(": c\r\nevent: x\ndata: {value}\n\ndata:{value}\r\n\r\ndata: [DONE]\n\n");
        let got = rewritten(Format::Events, "target", "as\"ked", in_chunks(events(&value).as_bytes(), &cuts));
        prop_assert_eq!(String::from_utf8(got).unwrap(), events(&expected));
    }

    #[test]
    fn collected_chunks_are_the_body(
        body in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(1usize..50, 1..5),
    ) {
        let mut collector = Collector::default();
        for chunk in in_chunks(&body, &cuts) {
            collector.push(chunk).unwrap();
        }
        prop_assert_eq!(collector.finish(), body);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(
        body in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(1usize..50, 1..5),
    ) {
        let _ = read_request("/v1/completions", None, &body);
        for format in [Format::Json, Format::Events] {
            let _ = read(format, &in_chunks(&body, &cuts));
            let _ = rewritten(format, "m", "n", in_chunks(&body, &cuts));
        }
    }

    #[test]
    fn pieces_do_not_depend_on_escapes(text in "\\PC{0,900}") {
        let plain = serde_json::json!({"model": "m", "prompt": text}).to_string();
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let escaped = format!("{{\"model\":\"m\",\"prompt\":\"{escaped}\"}}");
        prop_assert_eq!(chat(&plain).prompt, chat(&escaped).prompt);
    }
}
