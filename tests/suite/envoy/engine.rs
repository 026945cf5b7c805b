//! An engine that answers as the request says and remembers what it was sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Request header that says how to answer: `json` (the default), `events N MS` (N events, MS apart),
/// `large N` (N large events), `die N` (the connection breaks after N events), `die` (before the
/// head), `gzip`, `none` (204).
pub(super) const ANSWER: &str = "x-test-engine";

/// What the engine was sent.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Clone)]
pub(super) struct Engine {
    pub(super) address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// Bytes that are not text, said to be compressed.
pub(super) const NOISE: [u8; 6] = [0x1f, 0x8b, 0x08, 0x00, 0xff, 0x80];

pub(super) fn event(index: usize) -> String {
    format!(
        "data: {{\"model\":\"engine-name\",\"choices\":[{{\"delta\":{{\"content\":\"{index}\"}}}}]}}\n\n"
    )
}

/// An event of 80 kB.
pub(super) fn large(index: usize) -> String {
    format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{index}{}\"}}}}]}}\n\n",
        "x".repeat(80_000)
    )
}

/// How an answer of events ends.
pub(super) const END: &str = concat!(
    r#"data: {"model":"engine-name","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
    "\n\ndata: [DONE]\n\n",
);

impl Engine {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let engine = Self { address, seen: Arc::default() };
        let serving = engine.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let engine = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| engine.clone().answer(request));
                    // Breaks off where an answer fails: that is what `die` is made of.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        engine
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<
        Response<StreamBody<ReceiverStream<Result<Frame<Bytes>, &'static str>>>>,
        &'static str,
    > {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| "the request broke off")?.to_bytes();
        let wanted = head.headers.get(ANSWER).and_then(|value| value.to_str().ok());
        let wanted = wanted.unwrap_or("json").to_owned();
        self.seen.lock().unwrap().push(Seen { method: head.method, headers: head.headers, body });
        let mut words = wanted.split(' ');
        let kind = words.next().unwrap_or_default().to_owned();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (count, pause) = (number(), Duration::from_millis(number().unwrap_or(0)));
        if kind == "die" && count.is_none() {
            return Err("as told");
        }
        let (sender, receiver) = mpsc::channel(1);
        let mut response = Response::builder();
        response = match kind.as_str() {
            "events" | "large" | "die" => response.header("content-type", "text/event-stream"),
            "none" => response.status(StatusCode::NO_CONTENT),
            "gzip" => response
                .header("content-type", "application/json")
                .header("content-encoding", "gzip"),
            _ => response.header("content-type", "application/json"),
        };
        response = response.header("set-cookie", "a=1").header("set-cookie", "b=2");
        tokio::spawn(async move {
            let send = async |bytes: Bytes| sender.send(Ok(Frame::data(bytes))).await;
            match kind.as_str() {
                "events" | "large" | "die" => {
                    let event = if kind == "large" { large } else { event };
                    for index in 0..count.unwrap_or(0) {
                        tokio::time::sleep(pause).await;
                        if send(event(index as usize).into()).await.is_err() {
                            return;
                        }
                    }
                    if kind == "die" {
                        let _ = sender.send(Err("as told")).await;
                    } else {
                        let _ = send(Bytes::from_static(END.as_bytes())).await;
                    }
                }
                "none" => {}
                "gzip" => {
                    let _ = send(Bytes::from_static(&NOISE)).await;
                }
                _ => {
                    let json = r#"{"id":9007199254740993,"model":"engine-name","usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
                    let _ = send(Bytes::from_static(json.as_bytes())).await;
                }
            }
        });
        let body = StreamBody::new(ReceiverStream::new(receiver));
        response.body(body).map_err(|_| "no response")
    }
}
