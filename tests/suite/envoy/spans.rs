//! Spans of requests at a collector, through the proxy, Envoy and the webhook.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forebay_gateway::connections::Peer;
use forebay_gateway::grpc;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{Duration, Instant, sleep};
use tonic::{Request, Response, Status};

use super::client::{Client, PATIENCE};
use super::engine::Engine;
use super::proxy::{Config, Proxy};
use crate::admission::{ask, fleet, get, post};
use crate::support::{Folder, Forebay, free_address};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A span as it came over the wire.
#[derive(Clone, Debug)]
struct Got {
    name: String,
    trace: String,
    parent: String,
    id: String,
    attributes: BTreeMap<String, String>,
}

/// Keeps the spans that it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Got>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|r| r.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let attributes = span.attributes.into_iter().map(|pair| {
                let text = match pair.value.and_then(|value| value.value) {
                    Some(Value::StringValue(text)) => text,
                    Some(Value::IntValue(number)) => number.to_string(),
                    Some(Value::DoubleValue(number)) => number.to_string(),
                    other => format!("{other:?}"),
                };
                (pair.key, text)
            });
            let got = Got {
                name: span.name,
                trace: hex(&span.trace_id),
                parent: hex(&span.parent_span_id),
                id: hex(&span.span_id),
                attributes: attributes.collect(),
            };
            self.0.lock().unwrap().push(got);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = TraceServiceServer::new(collector.clone());
        let service = move |_: &Peer| server.clone();
        tokio::spawn(grpc::serve(listener, service, None, std::future::pending()));
        (collector, url)
    }

    /// The span of that id, once it has come.
    async fn span(&self, id: &str) -> Got {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.0.lock().unwrap().iter().find(|span| span.id == id).cloned();
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < until, "{id} does not come: {:?}", self.0.lock().unwrap());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Sends a request as part of a trace, sampled or not; the id of our span, which the engine got
/// for its parent.
async fn traced(client: &Client, engine: &Engine, sampled: bool) -> String {
    let before = engine.seen().len();
    let incoming = context(sampled);
    let headers = [("traceparent", incoming.as_str()), ("tracestate", "vendor=1")];
    assert_eq!(client.post(&headers).await.status, StatusCode::OK);
    let seen = engine.seen();
    let seen = seen[before..].iter().rfind(|seen| seen.headers.contains_key("tracestate"));
    let headers = &seen.expect("it goes on").headers;
    assert_eq!(headers["tracestate"], "vendor=1");
    let values: Vec<_> = headers.get_all("traceparent").iter().collect();
    assert_eq!(values.len(), 1, "{values:?}");
    span_of(values[0].to_str().unwrap(), sampled)
}

/// Sends a trace context that cannot be read: the engine gets one that begins here, and nothing of
/// what came.
async fn restarted(client: &Client, engine: &Engine) -> String {
    let before = engine.seen().len();
    let headers = [("traceparent", "nonsense"), ("tracestate", "vendor=1")];
    assert_eq!(client.post(&headers).await.status, StatusCode::OK);
    let seen = engine.seen();
    let began = |headers: &http::HeaderMap| {
        let value = headers.get("traceparent")?.to_str().ok()?;
        Some(value.strip_prefix("00-")?.strip_suffix("-01")?.split_once('-')?.1.to_owned())
    };
    assert!(seen[before..].iter().all(|seen| !seen.headers.contains_key("tracestate")));
    seen[before..].iter().find_map(|seen| began(&seen.headers)).expect("a trace of our own")
}

/// The trace context that a client sends.
fn context(sampled: bool) -> String {
    format!("00-{TRACE}-{PARENT}-0{}", u8::from(sampled))
}

/// The span of a `traceparent` that belongs to our trace.
fn span_of(traceparent: &str, sampled: bool) -> String {
    let id = traceparent.strip_prefix(&format!("00-{TRACE}-")).expect("the same trace");
    let id = id.strip_suffix(&format!("-0{}", u8::from(sampled))).expect("sampled as before");
    assert_ne!(id, PARENT, "our own span is in between");
    id.to_owned()
}

/// Waits until the gate has found its engine.
async fn answers(client: &Client, gate: &Forebay) {
    let until = Instant::now() + PATIENCE;
    while client.post(&[]).await.status != StatusCode::OK {
        assert!(Instant::now() < until, "no engine in the fleet: {}", gate.said());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_is_a_span_between_its_client_and_its_engine() {
    let folder = Folder::new("spans");
    let engine = Engine::start().await;
    let file = folder.write("fleet.yaml", &fleet(&[engine.address.parse().unwrap()]));
    let (collector, url) = Collector::start().await;
    let faces = ["--listen", "--admit", "--ext-proc"];
    let more = ["--scrape-seconds", "0.1", "--otlp-endpoint", &url];
    let (mut gate, at) = block_in_place(|| Forebay::gate(&file, &faces, &more));
    let direct = Client::new(&at[0].to_string());
    answers(&direct, &gate).await;

    let mut ids = vec![traced(&direct, &engine, true).await];
    let mut roots = vec![restarted(&direct, &engine).await];
    let mut unsampled = vec![traced(&direct, &engine, false).await];
    if let Some(envoy) = Proxy::start(&Config::answers_pass(), &at[2].to_string()).await {
        let client = Client::new(&envoy.address);
        ids.push(traced(&client, &engine, true).await);
        roots.push(restarted(&client, &engine).await);
        unsampled.push(traced(&client, &engine, false).await);
    }
    for id in &ids {
        let span = collector.span(id).await;
        assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, PARENT));
        assert_eq!(span.name, "POST /v1/completions");
        let of = |key: &str| span.attributes.get(key).map(String::as_str);
        assert_eq!(of("http.response.status_code"), Some("200"));
        assert_eq!(of("gen_ai.operation.name"), Some("text_completion"));
        assert_eq!(of("forebay.decision"), Some("dispatched"));
        assert!(of("forebay.held_ms").is_some(), "{span:?}");
        assert_eq!(of("forebay.outcome"), Some("finished"), "{span:?}");
        assert_eq!(of("forebay.endpoint"), Some(engine.address.as_str()));
        assert_eq!((of("forebay.tier"), of("forebay.fleet")), (Some("interactive"), Some("demo")));
        assert_eq!(of("gen_ai.usage.output_tokens"), Some("4"));
    }
    for id in &roots {
        let span = collector.span(id).await;
        assert_eq!(span.parent, "", "nothing that can be read came along");
        assert_ne!(span.trace, TRACE);
    }

    // Whoever asks the webhook gets the header to send on; hung up on, the span says so in the end.
    let question = json!({"model": "demo", "prompt_tokens": 1, "max_tokens": 1});
    let headers = [("traceparent", context(true))];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let admitted = block_in_place(|| ask("POST", at[1], "/v1/admit", &headers, Some(&question)));
    let id = span_of(admitted.text("traceparent"), true);
    let release = json!({"lease": admitted.body["lease"], "outcome": "cancelled"});
    block_in_place(|| post(at[1], "/v1/release", &release));
    // It may still wait for its export: that comes before the process ends.
    gate.signal("TERM");
    assert_eq!(block_in_place(|| gate.ended()), Some(0));
    let span = collector.span(&id).await;
    assert_eq!(span.attributes["forebay.outcome"], "client_gone", "{span:?}");
    assert_eq!((span.name.as_str(), span.parent.as_str()), ("admit", PARENT));
    let all = collector.0.lock().unwrap();
    assert!(all.iter().all(|span| !unsampled.contains(&span.id)), "{unsampled:?} in {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_costs_requests_nothing_but_their_spans() {
    let folder = Folder::new("spans-lost");
    let engine = Engine::start().await;
    let file = folder.write("fleet.yaml", &fleet(&[engine.address.parse().unwrap()]));
    let nobody = format!("http://{}", free_address());
    let more = ["--scrape-seconds", "0.1", "--otlp-endpoint", &nobody];
    let faces = ["--listen", "--metrics"];
    let (mut gate, at) = block_in_place(|| Forebay::gate(&file, &faces, &more));
    let direct = Client::new(&at[0].to_string());
    answers(&direct, &gate).await;
    traced(&direct, &engine, true).await;
    let until = Instant::now() + PATIENCE;
    loop {
        let page = block_in_place(|| get(at[1], "/metrics")).body;
        let mut lines = page.as_str().expect("a page").lines();
        let line = lines.find(|line| line.starts_with("forebay_spans_total{outcome=\"failed\"}"));
        if line.is_some_and(|line| !line.ends_with(" 0.0")) {
            break;
        }
        assert!(Instant::now() < until, "nothing is counted: {page}");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(direct.post(&[]).await.status, StatusCode::OK);
    gate.signal("TERM");
    assert_eq!(block_in_place(|| gate.ended()), Some(0), "{}", gate.said());
    assert_eq!(gate.said().matches("spans are lost").count(), 1, "{}", gate.said());
}
