use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use opentelemetry::Value;
use opentelemetry::trace::Status;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::export::QUEUE_SPANS_MAX;
use super::*;
use crate::body::Usage;
use crate::front::RequestLine;

/// Keeps what it is given; fails while it is told to.
#[derive(Clone, Debug, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<SpanData>>>,
    fails: Arc<Mutex<bool>>,
}

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if *self.fails.lock().unwrap() {
            return Err(OTelSdkError::InternalFailure("as told".into()));
        }
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Kept {
    fn of(&self, index: usize, key: &str) -> Option<Value> {
        let spans = self.spans.lock().unwrap();
        let found = spans[index].attributes.iter().find(|pair| pair.key.as_str() == key);
        found.map(|pair| pair.value.clone())
    }
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn begin(spans: &Spans, parent: Option<&'static str>) -> Box<RequestSpan> {
    let about = About {
        fleet: "demo",
        tier: "high",
        tenant: "acme".into(),
        line: Some(RequestLine { method: "POST", path: "/v1/completions?x=1" }),
        model: Some("base"),
        prompt_tokens: 12,
        output_tokens_max: Some(10),
        stream: Some(true),
    };
    spans.begin(&about, |name| parent.filter(|_| name == "traceparent"))
}

#[tokio::test(start_paused = true)]
async fn a_span_tells_what_became_of_a_request_under_its_parent() {
    let (spans, queue) = Spans::new();
    let kept = Kept::default();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let exporting = tokio::spawn(queue.export(kept.clone(), async { drop(stopped.await) }));

    let mut answered = begin(&spans, Some(PARENT));
    let traceparent = answered.traceparent().to_owned();
    assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{traceparent}");
    assert!(traceparent.ends_with("-01") && traceparent != PARENT, "{traceparent}");
    tokio::time::sleep(Duration::from_millis(250)).await;
    answered.sent("10.0.0.1:8000", None);
    answered.answered(200);
    answered.first_token();
    let tokens = |output| Usage { output_tokens: Some(output), ..Usage::default() };
    answered.finished(tokens(7));
    begin(&spans, None).refused("rejected-saturated", StatusCode::TOO_MANY_REQUESTS);
    drop(begin(&spans, Some("nonsense")));
    let mut failed = begin(&spans, None);
    failed.answered(503);
    failed.failed();
    let mut broken = begin(&spans, None);
    broken.answered(200);
    broken.failed();
    stop.send(()).unwrap();
    exporting.await.unwrap();

    let all = kept.spans.lock().unwrap().clone();
    assert_eq!(all.len(), 5);
    assert_eq!(all[0].parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(
        traceparent,
        format!("00-{}-{}-01", all[0].span_context.trace_id(), all[0].span_context.span_id())
    );
    assert_ne!(all[1].span_context.trace_id(), all[2].span_context.trace_id());
    assert_eq!(all[0].events[0].name, "first_token");
    let text = |text: &'static str| Some(Value::from(text));
    assert_eq!(kept.of(0, "forebay.held_ms"), Some(Value::from(250.0)));
    assert_eq!(kept.of(0, "forebay.endpoint"), text("10.0.0.1:8000"));
    assert_eq!(kept.of(0, "gen_ai.usage.output_tokens"), Some(Value::from(7)));
    assert_eq!(kept.of(0, "gen_ai.usage.input_tokens"), None, "not told is not zero");
    assert_eq!(all[0].name, "POST /v1/completions");
    assert_eq!(kept.of(0, "http.route"), text("/v1/completions"));
    assert_eq!(kept.of(0, "gen_ai.operation.name"), text("text_completion"));
    assert_eq!(kept.of(0, "gen_ai.response.time_to_first_chunk"), Some(Value::from(0.25)));
    assert_eq!(kept.of(0, "forebay.decision"), text("dispatched"));
    assert_eq!(kept.of(1, "forebay.decision"), text("refused"));
    assert_eq!(kept.of(1, "forebay.reason"), text("rejected-saturated"));
    assert_eq!(kept.of(1, "http.response.status_code"), Some(Value::from(429)));
    assert_eq!(all[1].status, Status::Unset, "it is not our error");
    assert_eq!(kept.of(3, "error.type"), text("503"));
    assert!(matches!(all[3].status, Status::Error { .. }));
    assert_eq!(kept.of(4, "error.type"), text("engine_failed"), "it broke off after a good head");
    for (index, outcome) in
        ["finished", "refused", "client_gone", "failed", "failed"].into_iter().enumerate()
    {
        assert_eq!(kept.of(index, "forebay.outcome"), text(outcome));
    }
    assert_eq!(spans.meters(), SpanMeters { exported: 5, failed: 0, dropped: 0 });
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_dropped_and_counted() {
    let (spans, queue) = Spans::new();
    for _ in 0..QUEUE_SPANS_MAX + 3 {
        drop(begin(&spans, None));
    }
    assert_eq!(spans.meters().dropped, 3);
    let kept = Kept::default();
    *kept.fails.lock().unwrap() = true;
    let exporting = tokio::spawn(queue.export(kept.clone(), std::future::pending()));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let failed = spans.meters().failed;
    assert!(failed > 0 && failed < 1_000, "one message is tried, not all: {failed}");
    *kept.fails.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let SpanMeters { exported, failed: still, dropped } = spans.meters();
    assert_eq!((still, dropped), (failed, 3), "it comes back by itself");
    assert_eq!(exported, QUEUE_SPANS_MAX as u64 - failed);
    exporting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_not_sampled_stays_so_and_costs_the_collector_nothing() {
    let (spans, queue) = Spans::new();
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let mut span = begin(&spans, Some(unsampled));
    assert!(span.traceparent().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert!(span.traceparent().ends_with("-00"), "{}", span.traceparent());
    assert!(!span.is_root());
    span.sent("10.0.0.1:8000", None);
    span.finished(Usage::default());
    let kept = Kept::default();
    queue.export(kept.clone(), std::future::ready(())).await;
    assert!(kept.spans.lock().unwrap().is_empty());
    assert_eq!(spans.meters(), SpanMeters::default());
}

#[test]
fn a_context_that_cannot_be_read_begins_a_trace() {
    let (spans, _queue) = Spans::new();
    for wrong in [None, Some("nonsense"), Some("00-00000000000000000000000000000000-00-01")] {
        let span = begin(&spans, wrong);
        assert!(span.is_root(), "{wrong:?}");
        assert!(span.traceparent().ends_with("-01"), "sampled, as is the default");
    }
}

#[test]
fn clients_do_not_make_names_of_spans() {
    let name = |method, path| names::span(Some(RequestLine { method, path })).into_owned();
    assert_eq!(name("POST", "/v1/chat/completions"), "POST /v1/chat/completions");
    assert_eq!(name("POST", "/v1/chat/completions/17"), "POST");
    assert_eq!(name("BREW", "/coffee"), "HTTP");
    assert_eq!(names::span(None), "admit");
}
