//! One request, from when it is due to its last byte.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use super::message::Template;
use super::tally::{Outcome, Tally};
use super::{Http, Options};
use crate::alarm::Alarm;

/// Why somebody was refused, as llm-d says it.
const REASON_HEADER: &str = "x-llm-d-request-dropped-reason";
/// A place in the queue that is kept.
const TICKET_HEADER: &str = "x-forebay-ticket";
/// Most of an error's body that is looked at, bytes.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// Sends the requests of one stream.
#[derive(Debug)]
pub(super) struct Sender {
    client: Http,
    alarm: Alarm,
    template: Template,
    tally: Arc<Mutex<Tally>>,
    patience: Duration,
    come_back: bool,
}

/// What an answer was.
struct Answered {
    outcome: Outcome,
    /// When to come back, as told.
    told: Option<Duration>,
    ticket: Option<http::HeaderValue>,
}

impl Sender {
    pub(super) fn new(
        client: Http,
        alarm: Alarm,
        template: Template,
        tally: &Arc<Mutex<Tally>>,
        options: &Options,
    ) -> Self {
        Self {
            client,
            alarm,
            template,
            tally: Arc::clone(tally),
            patience: options.patience,
            come_back: options.come_back,
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that is due now.
    pub(super) fn offered(&self, due: Instant) {
        self.tally().offered(due, Instant::now());
    }

    /// Sends one request and counts what became of it.
    pub(super) async fn send(self: Arc<Self>, start: Instant, due: Instant) {
        let request = self.template.request();
        let again = self.come_back.then(|| request.clone());
        let answered = self.ask(request, due).await;
        let ended = Instant::now();
        self.tally().ended(start, due, ended, &answered.outcome);
        let (Some(mut again), Some(told)) = (again, answered.told) else { return };
        self.tally().told(told);
        if let Some(ticket) = answered.ticket {
            again.headers_mut().insert(TICKET_HEADER, ticket);
        }
        let due = ended + told;
        self.alarm.sleep_until(due).await;
        let answered = self.ask(again, due).await;
        self.tally().came_back(start, due, Instant::now(), &answered.outcome);
    }

    async fn ask(&self, request: Request<Full<Bytes>>, due: Instant) -> Answered {
        let asked = tokio::time::timeout(self.patience, async {
            match self.client.request(request).await {
                Ok(response) => read(response, due).await,
                Err(error) => failed(&format!("error: {}", innermost(&error))),
            }
        });
        asked.await.unwrap_or_else(|_| failed("timeout"))
    }
}

fn failed(what: &str) -> Answered {
    Answered { outcome: Outcome::Failed(what.to_owned()), told: None, ticket: None }
}

async fn read(response: Response<Incoming>, due: Instant) -> Answered {
    let (head, mut body) = response.into_parts();
    if !head.status.is_success() {
        let text = body.collect().await.map(http_body_util::Collected::to_bytes);
        let text = text.unwrap_or_default();
        let reason = reason(&head.headers, &text[..text.len().min(ERROR_BYTES_MAX)]);
        let outcome = Outcome::Refused(match reason {
            Some(reason) => format!("{} {reason}", head.status.as_u16()),
            None => head.status.as_u16().to_string(),
        });
        let told =
            matches!(head.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let told = told.then(|| retry_after(&head.headers)).flatten();
        return Answered { outcome, told, ticket: head.headers.get(TICKET_HEADER).cloned() };
    }
    let kind = head.headers.get(http::header::CONTENT_TYPE);
    let streamed = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let mut events = Events::default();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    events.hear(data);
                }
            }
            Err(_) => return failed("broke off"),
        }
    }
    if streamed && !events.done {
        return failed("broke off");
    }
    let outcome = Outcome::Answered {
        first: streamed
            .then(|| events.first.map(|first| first.saturating_duration_since(due)))
            .flatten(),
        per_token: events.per_token().filter(|_| streamed),
    };
    Answered { outcome, told: None, ticket: None }
}

/// Events of a stream, counted without looking into them.
#[derive(Default)]
struct Events {
    first: Option<Instant>,
    last: Option<Instant>,
    count: u32,
    newlines: u32,
    done: bool,
    tail: Vec<u8>,
}

/// The event that ends a stream.
const DONE: &[u8] = b"data: [DONE]";
/// Events of a stream that carry no token: whose turn it is, usage, and the end.
const EVENTS_WITHOUT_TOKEN: u32 = 3;

impl Events {
    fn hear(&mut self, data: &[u8]) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        for byte in data {
            self.newlines = if *byte == b'\n' { self.newlines + 1 } else { 0 };
            self.count += u32::from(self.newlines == 2);
        }
        self.tail.extend_from_slice(data);
        let kept = self.tail.len().saturating_sub(2 * DONE.len());
        self.tail.drain(..kept);
        self.done = self.tail.windows(DONE.len()).any(|window| window == DONE);
        if self.count > 0 && !data.is_empty() {
            self.last = Some(now);
        }
    }

    fn per_token(&self) -> Option<Duration> {
        let tokens = self.count.checked_sub(EVENTS_WITHOUT_TOKEN)?;
        let gaps = tokens.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(self.last?.saturating_duration_since(self.first?) / gaps)
    }
}

fn reason(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if let Some(reason) = headers.get(REASON_HEADER) {
        return reason.to_str().ok().map(str::to_owned);
    }
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error")?;
    let named = ["code", "type"].into_iter().find_map(|key| error.get(key)?.as_str());
    named.map(str::to_owned)
}

/// When to come back: milliseconds where they are told, else whole seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| -> Option<f64> { headers.get(name)?.to_str().ok()?.parse().ok() };
    let seconds =
        number("retry-after-ms").map(|millis| millis / 1e3).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_over_chunk_borders() {
        let mut events = Events::default();
        let text = b"data: {\"a\": 1}\n\ndata: {}\n\ndata: [DONE]\n\n";
        for byte in text.chunks(1) {
            events.hear(byte);
        }
        assert!(events.done);
        assert_eq!(events.count, 3);
        let mut broken = Events::default();
        broken.hear(b"data: {}\n\ndata: [DO");
        assert!(!broken.done);
    }

    #[test]
    fn the_reason_of_a_refusal_is_read_from_header_or_body() {
        let mut headers = HeaderMap::new();
        let body = br#"{"error": {"code": "saturated", "type": "rate_limit"}}"#;
        assert_eq!(reason(&headers, body).as_deref(), Some("saturated"));
        headers.insert(REASON_HEADER, http::HeaderValue::from_static("rejected-saturated"));
        assert_eq!(reason(&headers, body).as_deref(), Some("rejected-saturated"));
        headers.insert("retry-after", http::HeaderValue::from_static("3"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(3)));
        headers.insert("retry-after-ms", http::HeaderValue::from_static("2500"));
        assert_eq!(retry_after(&headers), Some(Duration::from_millis(2_500)));
    }
}
