//! The proxy over real sockets, between a client and test engines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::fleet::Role;
use forebay_core::ids::VariantId;
use forebay_rig::engine::{self, Fixed, Listening, Service};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::front::Front;
use crate::testing;
use crate::tls::TlsServer;

mod tls;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const FLEET: &str = r#"
apiVersion: forebay.dev/v1alpha1
kind: InferenceFleet
metadata: {name: demo}
spec:
  models: [base]
  trafficPolicyRef: {name: policy}
  slos:
    - {tier: high, ttft: 2s, tpot: 100ms, percentile: 0.99}
  variants:
    - {name: l40s, role: Both, acceleratorClass: l40s, profile: llama-3.1-8b-fp8-l40s-tp1, endpoints: ["127.0.0.1:1"]}
---
apiVersion: forebay.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: policy}
spec:
  enforcement: Enforce
  identity: {trustClients: true, tenant: [{type: MutualTls}]}
  tiers:
    - {name: high, priority: 10, holdSecondsMax: 1}
  tenants:
    - {name: "spiffe://prod/worker"}
    - {name: once, limits: {requestsPerMinute: 1, tokensPerMinute: 300}}
    - {name: short, limits: {tokensPerMinute: 300}}
"#;

/// Engines, a proxy before them, and a client.
struct Rig {
    engines: Listening,
    front: Front,
    at: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<()>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Rig {
    async fn start(engines: usize, fixed: Fixed) -> Self {
        Self::with(engines, fixed, None).await
    }

    async fn with(engines: usize, fixed: Fixed, tls: Option<Arc<TlsServer>>) -> Self {
        let options = engine::Options {
            models: vec!["base".into()],
            listen: vec![([127, 0, 0, 1], 0).into(); engines],
            service: Service::Slots(fixed),
            speed: 1.0,
            seed: 1,
        };
        let engines = engine::start(&options).await.unwrap();
        let front = testing::front(FLEET);
        for address in &engines.addresses {
            front.endpoint_ready(&address.to_string(), VariantId(0), Role::Both);
        }
        let proxy = Proxy::new(Fronts::new(vec![("demo".into(), front.clone())]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            proxy.serve(listener, tls, async { stopped.await.unwrap_or(()) }).await;
        });
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { engines, front, at, stop: Some(stop), serving, client }
    }

    async fn send(
        &self,
        at: SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://{at}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
    }

    async fn ask(&self, headers: &[(&str, &str)], body: &Value) -> http::Response<Incoming> {
        let path = "/v1/chat/completions";
        self.send(self.at, Method::POST, path, headers, body.to_string()).await
    }

    async fn set_fault(&self, engine: usize, answers: &str) {
        let body = json!({ "answers": answers }).to_string();
        let at = self.engines.addresses[engine];
        let set = self.send(at, Method::PUT, "/test/faults", &[], body).await;
        assert_eq!(set.status(), StatusCode::OK);
    }

    async fn usage(&self, engine: usize) -> Value {
        let at = self.engines.addresses[engine];
        json_of(self.send(at, Method::GET, "/test/usage", &[], "").await).await
    }

    /// Waits until the gate knows that nothing is in flight.
    async fn idle(&self) {
        for _ in 0..200 {
            if self.front.is_idle() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("something is held or in flight for ever");
    }

    /// Tries that engines failed.
    fn failed(&self) -> u64 {
        self.front.desk().inspect(|view| view.meters.tiers().iter().map(|tier| tier.failed).sum())
    }

    /// Requests answered in full, and tokens of their answers.
    fn finished(&self) -> (u64, u64) {
        self.front.inspect_meters(|meters| {
            let tenants = meters.tenants.values();
            tenants.fold((0, 0), |(count, tokens), tenant| {
                (count + tenant.finished, tokens + tenant.output_tokens)
            })
        })
    }
}

const QUICK: Fixed = Fixed { first_token_ms: 5.0, token_ms: 0.0, slots: 8 };
const SLOW: Fixed = Fixed { first_token_ms: 20.0, token_ms: 20.0, slots: 8 };

fn question(stream: bool) -> Value {
    json!({"model": "base", "messages": [{"role": "user", "content": "why?"}], "max_tokens": 20,
           "ignore_eos": true, "stream": stream})
}

async fn text_of(response: http::Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn json_of(response: http::Response<Incoming>) -> Value {
    serde_json::from_str(&text_of(response).await).unwrap()
}

#[tokio::test]
async fn answers_pass_whole_and_their_usage_is_told() {
    let rig = Rig::start(2, QUICK).await;
    let whole = rig.ask(&[], &question(false)).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert!(whole.headers().contains_key("x-forebay-test-engine"));
    let whole = json_of(whole).await;
    let streamed = rig.ask(&[], &question(true)).await;
    let kind = streamed.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let streamed = text_of(streamed).await;
    assert!(streamed.ends_with("data: [DONE]\n\n"));
    let words: String = streamed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(whole["choices"][0]["message"]["content"], words);
    rig.idle().await;
    assert_eq!(rig.finished().0, 2);
    assert!(rig.finished().1 >= 40, "{:?}", rig.finished());
}

#[tokio::test]
async fn an_engine_that_fails_before_its_answer_costs_one_more_try() {
    let rig = Rig::start(2, QUICK).await;
    for fault in ["die", "refuse"] {
        rig.set_fault(0, fault).await;
        for _ in 0..6 {
            let answer = rig.ask(&[], &question(false)).await;
            assert_eq!(answer.status(), StatusCode::OK, "the other engine answers");
            json_of(answer).await;
        }
    }
    rig.set_fault(0, "die").await;
    rig.set_fault(1, "die").await;
    let answer = rig.ask(&[("x-request-id", "r-1")], &question(false)).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let error = json_of(answer).await["error"].clone();
    assert_eq!(
        (&error["code"], &error["request_id"]),
        (&"engine_unreachable".into(), &"r-1".into())
    );
    rig.idle().await;
    assert_eq!(rig.finished().0, 12);
}

#[tokio::test]
async fn a_request_is_charged_once_whatever_number_of_engines_it_is_sent_to() {
    let rig = Rig::start(2, QUICK).await;
    let once = [("x-llm-d-inference-fairness-id", "once")];
    // Which engine is asked first is the gate's choice: the next two requests find both orders.
    rig.set_fault(0, "refuse").await;
    for tenant in ["once", "short", "nobody"] {
        let headers = [("x-llm-d-inference-fairness-id", tenant)];
        let answer = rig.ask(&headers, &question(false)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{tenant}: one request, one charge");
        json_of(answer).await;
    }
    rig.idle().await;
    assert!(rig.failed() > 0, "somebody was sent to the engine that refuses");
    assert_eq!(rig.ask(&once, &question(false)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let asked: BTreeMap<_, _> = rig.front.inspect_meters(|meters| {
        meters
            .tenants
            .iter()
            .map(|((name, _), tenant)| (name.to_string(), tenant.requests))
            .collect()
    });
    let one = |name: &str| (name.to_owned(), 1);
    assert_eq!(asked, BTreeMap::from([one("once"), one("other"), one("short")]));
}

#[tokio::test]
async fn tokens_of_a_request_that_every_engine_fails_are_given_back() {
    let rig = Rig::start(2, QUICK).await;
    rig.set_fault(0, "die").await;
    rig.set_fault(1, "refuse").await;
    // Each would be charged 20 tokens and its prompt: five of them are more than the limit.
    let short = [("x-llm-d-inference-fairness-id", "short")];
    for _ in 0..20 {
        let answer = rig.ask(&short, &question(false)).await;
        assert!(answer.status().is_server_error(), "{}", answer.status());
        answer.into_body().collect().await.unwrap();
    }
    rig.idle().await;
    assert_eq!(rig.failed(), 40, "each was tried twice");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_broken_for_the_client_and_over_for_the_gate() {
    let rig = Rig::start(1, SLOW).await;
    let headers = [("x-forebay-test-fault", "die:3")];
    let answer = rig.ask(&headers, &question(true)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.into_body().collect().await.is_err(), "the client sees it break");
    rig.idle().await;
    assert_eq!(rig.finished().0, 0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_out_of_the_engine() {
    let rig = Rig::start(1, SLOW).await;
    let mut answer = rig.ask(&[], &question(true)).await;
    answer.body_mut().frame().await.unwrap().unwrap();
    assert!(!rig.front.is_idle());
    drop(answer);
    // One that leaves before the head of its answer.
    let whole = question(false);
    let asked = tokio::time::timeout(Duration::from_millis(50), rig.ask(&[], &whole));
    assert!(asked.await.is_err());
    rig.idle().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let usage = rig.usage(0).await;
    assert_eq!((&usage["requests"]["aborted"], &usage["running"]), (&json!(2), &json!(0.0)));
    assert_eq!(rig.finished().0, 0);
}

#[tokio::test]
async fn models_are_renamed_both_ways() {
    let rig = Rig::start(1, QUICK).await;
    let mut question = question(false);
    question["model"] = "alias".into();
    // The engine knows `base` only.
    let headers = [("x-llm-d-model-name-rewrite", "base")];
    let answer = rig.ask(&headers, &question).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(json_of(answer).await["model"], "alias");
    let list = json_of(rig.send(rig.at, Method::GET, "/v1/models", &[], "").await).await;
    assert_eq!(list["data"][0]["id"], "base");
    rig.idle().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_said_as_openai_says_it() {
    let rig = Rig::start(0, QUICK).await;
    let path = "/v1/chat/completions";
    let refused = rig.ask(&[], &question(false)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["x-llm-d-request-dropped-reason"], "rejected-no-endpoints");
    let huge = vec![b' '; crate::body::BODY_BYTES_MAX + 1];
    for (method, path, body, status) in [
        (Method::POST, path, Bytes::from("{"), StatusCode::BAD_REQUEST),
        (Method::POST, path, "{\"messages\": []}".into(), StatusCode::BAD_REQUEST),
        (Method::POST, path, huge.into(), StatusCode::PAYLOAD_TOO_LARGE),
        (Method::GET, path, Bytes::new(), StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/nothing", Bytes::new(), StatusCode::NOT_FOUND),
    ] {
        let answer = rig.send(rig.at, method, path, &[], body).await;
        assert_eq!(answer.status(), status);
        let error = json_of(answer).await["error"].clone();
        assert!(error["message"].is_string() && error["code"].is_string(), "{error}");
    }
}

#[tokio::test]
async fn answers_under_way_end_before_the_proxy_does() {
    let mut rig = Rig::start(1, SLOW).await;
    let mut answer = rig.ask(&[], &question(true)).await;
    answer.body_mut().frame().await.unwrap().unwrap();
    rig.stop.take().unwrap().send(()).unwrap();
    let text = text_of(answer).await;
    assert!(text.ends_with("data: [DONE]\n\n"), "nothing is cut off");
    tokio::time::timeout(PATIENCE, &mut rig.serving).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(rig.at).await.is_err(), "nobody is taken any more");
}
