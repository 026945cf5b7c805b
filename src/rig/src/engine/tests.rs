//! Engines over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::manifest::builtin;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::{Fixed, Options, SELF_HEADER, SELF_NOTE, Service, start};

async fn send(at: SocketAddr, method: Method, path: &str, body: Value) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(format!("http://{at}{path}"));
    client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn usage(at: SocketAddr) -> Value {
    let response = send(at, Method::GET, "/test/usage", Value::Null).await;
    serde_json::from_str(&text(response).await).unwrap()
}

fn options(listen: &str, service: Service, speed: f64) -> Options {
    let listen = vec![listen.parse().unwrap()];
    Options { models: vec!["demo".into()], listen, service, speed, seed: 1 }
}

fn ask(tokens: u32) -> Value {
    json!({"model": "demo", "prompt": "why?", "max_tokens": tokens, "ignore_eos": true})
}

#[tokio::test]
async fn each_address_behind_one_listener_is_an_engine_of_its_own() {
    let fixed = Fixed { first_token_ms: 1.0, token_ms: 0.0, slots: 1 };
    let engines = start(&options("0.0.0.0:0", Service::Slots(fixed), 1.0)).await.unwrap();
    let port = engines.addresses[0].port();
    let [one, other] = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], port)));
    for _ in 0..2 {
        let answer = send(one, Method::POST, "/v1/completions", ask(3)).await;
        assert_eq!(answer.headers()[SELF_HEADER], SELF_NOTE);
        text(answer).await;
    }
    assert_eq!(usage(one).await["requests"]["finished"], 2);
    assert_eq!(usage(other).await["requests"]["finished"], 0);
}

#[tokio::test]
async fn a_simulated_engine_takes_its_time_and_shows_it() {
    let name = "llama-3.1-8b-fp8-l40s-tp1";
    let library = builtin::library().unwrap();
    let profile = library.profiles.iter().find(|profile| profile.name() == name).unwrap();
    let service = Service::Profile(Box::new(profile.spec().clone()));
    // A thousand tokens take some 10 s on that machine; here a tenth of that.
    let engines = start(&options("127.0.0.1:0", service, 10.0)).await.unwrap();
    let at = engines.addresses[0];
    let began = std::time::Instant::now();
    let answer = send(at, Method::POST, "/v1/completions", ask(1_000)).await;
    let answer: Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 1_000);
    assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
    let page = text(send(at, Method::GET, "/metrics", Value::Null).await).await;
    let tokens = "vllm:generation_tokens_total{engine=\"0\",model_name=\"demo\"} 1000.0";
    assert!(page.lines().any(|line| line == tokens));
}

#[tokio::test]
async fn a_stalled_page_says_what_it_said_and_a_refused_one_nothing() {
    let fixed = Fixed { first_token_ms: 1.0, token_ms: 0.0, slots: 1 };
    let engines = start(&options("127.0.0.1:0", Service::Slots(fixed), 1.0)).await.unwrap();
    let at = engines.addresses[0];
    let page = || async { text(send(at, Method::GET, "/metrics", Value::Null).await).await };
    let set =
        |fault: &'static str| send(at, Method::PUT, "/test/faults", json!({"metrics": fault}));
    let before = page().await;
    assert_eq!(set("stall").await.status(), 200);
    text(send(at, Method::POST, "/v1/completions", ask(3)).await).await;
    assert_eq!(page().await, before);
    assert_eq!(set("refuse").await.status(), 200);
    assert_eq!(send(at, Method::GET, "/metrics", Value::Null).await.status(), 503);
    assert_eq!(set("sulk").await.status(), 400);
    let cleared = send(at, Method::PUT, "/test/faults", json!({})).await;
    assert_eq!(cleared.status(), 200);
    assert_ne!(page().await, before);
}

#[tokio::test]
async fn options_that_make_no_sense_are_said() {
    let fixed = Fixed { first_token_ms: 1.0, token_ms: 0.0, slots: 1 };
    let still = options("127.0.0.1:0", Service::Slots(fixed), 0.0);
    assert!(start(&still).await.unwrap_err().to_string().contains("speed"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let error = start(&options(&at, Service::Slots(fixed), 1.0)).await.unwrap_err();
    assert!(error.to_string().contains(&at), "{error}");
}
