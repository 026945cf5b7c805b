//! What only a real Envoy can judge: it drops, reorders and refuses what it does not like.

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::Setup;
use super::client::BODY;
use super::engine::{ANSWER, NOISE, event};
use super::gate::{DO, STRIPPED};
use super::proxy::Config;

const BOTH: [Config; 2] = [Config::answers_pass(), Config::answers_survive()];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_answers_pass_whole_in_both_modes() {
    for config in BOTH {
        let Some(setup) = Setup::new(config).await else { return };
        let forged = ("x-gateway-destination-endpoint", "169.254.169.254:80");
        let headers = [
            forged,
            (STRIPPED, "me"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ];
        let got = setup.client.post(&headers).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.text());
        assert_eq!(got.json()["id"], 9_007_199_254_740_993_u64);
        assert_eq!(got.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(got.header("x-went-into-resp-headers"), Some("true"));

        let get = setup.client.get(&[forged]).await;
        assert_eq!(get.status, StatusCode::OK);
        let none = setup.client.post(&[(ANSWER, "none")]).await;
        assert_eq!((none.status, none.body.len()), (StatusCode::NO_CONTENT, 0));

        let seen = setup.engine.seen();
        assert_eq!(seen[0].body, BODY);
        assert_eq!(seen[0].headers["x-gateway-destination-endpoint"], *setup.engine.address);
        assert!(!seen[0].headers.contains_key(STRIPPED));
        assert_eq!(seen[0].headers["traceparent"].to_str().unwrap(), headers[6].1);
        let many: Vec<_> = seen[0].headers.get_all("x-many").iter().collect();
        let many = many.iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(",");
        assert_eq!(many.replace(' ', ""), "1,2");
        let cookies: Vec<_> = seen[0].headers.get_all("cookie").iter().collect();
        let cookies =
            cookies.iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join("; ");
        assert_eq!(cookies, "a=1; b=2");
        assert_eq!((&seen[1].method, seen[1].body.len()), (&Method::GET, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_settled_where_answers_pass() {
    let Some(setup) = Setup::new(Config::answers_pass()).await else { return };
    setup.client.post(&[]).await;
    setup.client.post(&[(ANSWER, "events 3 0")]).await;
    setup.until(|| setup.gate.log().len() == 2).await;
    assert_eq!(setup.gate.log(), ["finished 7", "finished 7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_answers_do_not_pass_the_end_of_the_exchange_is_told_all_the_same() {
    let Some(setup) = Setup::new(Config::answers_survive()).await else { return };
    let got = setup.client.post(&[(ANSWER, "events 5 20")]).await;
    assert!(got.text().ends_with("data: [DONE]\n\n"));
    setup.until(|| setup.gate.log().len() == 1).await;
    assert_eq!(setup.gate.log(), ["unobserved"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_and_those_over_the_limit_hear_413() {
    for config in BOTH {
        let Some(setup) = Setup::new(config).await else { return };
        for bytes in [100_000, 5_000_000] {
            let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "é".repeat(bytes / 2));
            let request = setup.client.request(Method::POST, &[], body.clone());
            assert_eq!(setup.client.send(request).await.status, StatusCode::OK);
            assert_eq!(setup.engine.seen().last().unwrap().body, body);
        }
        let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "x".repeat(11 * 1024 * 1024));
        let got = setup.client.send(setup.client.request(Method::POST, &[], body)).await;
        assert_eq!(got.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(got.json()["error"]["message"].as_str().unwrap().contains("larger than"));
        assert_eq!(setup.engine.seen().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_model_keeps_its_name_for_the_client() {
    let Some(setup) = Setup::new(Config::answers_pass()).await else { return };
    let got = setup.client.post(&[(DO, "rename")]).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.text());
    assert_eq!(got.json()["model"], "asked-name");
    let streamed = setup.client.post(&[(DO, "rename"), (ANSWER, "events 2 0")]).await;
    let expected = event(0).replace("engine-name", "asked-name");
    assert!(streamed.text().starts_with(&expected), "{}", streamed.text());
    for seen in setup.engine.seen() {
        let expected = BODY.replacen("asked-name", "engine-name", 1);
        assert_eq!(seen.body, expected, "only the top-level name changes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_as_they_are_sent() {
    for config in BOTH {
        let Some(setup) = Setup::new(config).await else { return };
        let headers = [(ANSWER, "events 5 200")];
        let request = setup.client.request(Method::POST, &headers, BODY);
        let started = Instant::now();
        let mut body = setup.client.open(request).await.into_body();
        let mut arrivals = Vec::new();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            bytes.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
            arrivals.push(started.elapsed());
        }
        assert!(bytes.starts_with(event(0).as_bytes()) && bytes.ends_with(b"[DONE]\n\n"));
        let spread = arrivals[arrivals.len() - 1] - arrivals[0];
        assert!(arrivals.len() >= 5 && spread.as_millis() >= 600, "{arrivals:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_answers_pass_unchanged() {
    for config in BOTH {
        let Some(setup) = Setup::new(config).await else { return };
        let got = setup.client.post(&[(ANSWER, "gzip")]).await;
        assert_eq!(got.body, Bytes::from_static(&NOISE));
        assert_eq!(got.header("content-encoding"), Some("gzip"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_reach_the_client_with_their_reasons() {
    let Some(setup) = Setup::new(Config::answers_pass()).await else { return };
    let saturated = setup.client.post(&[(DO, "saturated"), ("x-request-id", "abc")]).await;
    assert_eq!(saturated.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(saturated.header("retry-after"), Some("3"));
    assert_eq!(saturated.header("retry-after-ms"), Some("2500"));
    assert_eq!(saturated.header("x-llm-d-request-dropped-reason"), Some("rejected-saturated"));
    assert_eq!(saturated.header("content-type"), Some("application/json"));
    assert_eq!(saturated.json()["error"]["code"], "rejected-saturated");
    for got in
        [setup.client.post(&[(DO, "nobody")]).await, setup.client.get(&[(DO, "nobody")]).await]
    {
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(got.header("x-llm-d-request-dropped-reason"), Some("rejected-no-endpoints"));
    }
    let wrong = setup.client.send(setup.client.request(Method::POST, &[], "{")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(wrong.json()["error"]["type"], "invalid_request_error");
    assert!(setup.engine.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn point_16_subset_hints_of_other_filters_arrive() {
    let hint = "                  - name: envoy.filters.http.set_metadata
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
                      metadata:
                        - metadata_namespace: envoy.lb.subset_hint
                          value: {x-gateway-destination-endpoint-subset: [\"10.0.0.1:8000\", \"10.0.0.1:8001\"]}
                  - name: envoy.filters.http.ext_proc
";
    let config = Config::answers_pass()
        .with("                  - name: envoy.filters.http.ext_proc\n", hint);
    let Some(setup) = Setup::new(config).await else { return };
    setup.client.post(&[]).await;
    setup.client.get(&[]).await;
    let expected = Some(vec!["10.0.0.1:8000".to_owned(), "10.0.0.1:8001".to_owned()]);
    assert_eq!(setup.gate.candidates(), [expected.clone(), expected]);
}
