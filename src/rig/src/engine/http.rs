//! The HTTP interface of one engine: the paths of vLLM that clients, gateways and scrapers use.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::json;

use super::answer::{Answer, Events, Script};
use super::ask::{Ask, Kind, Reader};
use super::clocked::{Clocked, End, Job};
use super::faults::{AnswerFault, FAULT_HEADER, PageFault, Wanted};
use super::page;
use super::{SELF_HEADER, SELF_NOTE, Service};

/// Largest request body, bytes: four times a prompt of 100,000 tokens with its escapes.
const BODY_BYTES_MAX: usize = 16 << 20;

/// What all engines of a process share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) models: Vec<String>,
    pub(super) reader: Reader,
    pub(super) overhead_ms: f64,
    pub(super) answers: AtomicU64,
}

impl Shared {
    pub(super) fn new(models: Vec<String>, service: &Service, seed: u64) -> Self {
        let reader = Reader {
            seed,
            block_tokens: service.block_tokens(),
            context_tokens: service.context_tokens(),
        };
        let overhead_ms = service.overhead_ms();
        Self { models, reader, overhead_ms, answers: AtomicU64::new(0) }
    }
}

/// Why a connection ends without an answer: a fault that somebody asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer, as the test asked")]
pub(super) struct NoAnswer;

/// Answers one request.
///
/// # Errors
/// [`NoAnswer`] breaks the connection off.
pub(super) async fn answer(
    engine: Arc<Clocked>,
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, NoAnswer> {
    let mut response = route(engine, &shared, request).await?;
    let name = HeaderName::from_static(SELF_HEADER);
    response.headers_mut().insert(name, HeaderValue::from_static(SELF_NOTE));
    Ok(response)
}

async fn route(
    engine: Arc<Clocked>,
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Answer>, NoAnswer> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/chat/completions") => {
            generate(engine, shared, Kind::Chat, request).await
        }
        (&Method::POST, "/v1/completions") => {
            generate(engine, shared, Kind::Completion, request).await
        }
        (&Method::GET, "/v1/models") => Ok(models(shared)),
        (&Method::GET, "/health" | "/ping") => Ok(plain(StatusCode::OK, "")),
        (&Method::GET, "/version") => Ok(json_answer(
            StatusCode::OK,
            &json!({"version": format!("forebay-engine {}", env!("CARGO_PKG_VERSION"))}),
        )),
        (&Method::GET, "/metrics") => Ok(metrics(&engine, shared).await),
        (&Method::PUT, "/test/faults") => Ok(set_faults(&engine, shared, request).await),
        (&Method::GET, "/test/usage") => {
            let (sample, counts) = engine.sample();
            let usage = json!({"requests": counts, "running": sample.running,
                               "waiting": sample.waiting});
            Ok(json_answer(StatusCode::OK, &usage))
        }
        _ => Ok(error(StatusCode::NOT_FOUND, "NotFoundError", None, "Not Found")),
    }
}

async fn generate(
    engine: Arc<Clocked>,
    shared: &Shared,
    kind: Kind,
    request: Request<Incoming>,
) -> Result<Response<Answer>, NoAnswer> {
    let header = request.headers().get(FAULT_HEADER).map(|value| value.to_str().unwrap_or("?"));
    let fault = match engine.faults.of_answer(header) {
        Ok(fault) => fault,
        Err(what) => return Ok(bad_request(None, &what)),
    };
    let break_after = match fault {
        None => None,
        Some(AnswerFault::DieAfter(events)) => Some(events),
        Some(AnswerFault::Die) => return Err(NoAnswer),
        Some(AnswerFault::Refuse) => {
            let what = "refused, as the test asked";
            return Ok(error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", None, what));
        }
        Some(AnswerFault::Hang) => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
    };
    let body = match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let what = format!("the body is longer than {BODY_BYTES_MAX} bytes, or broke off");
            return Ok(error(StatusCode::PAYLOAD_TOO_LARGE, "BadRequestError", None, &what));
        }
    };
    let ask = match shared.reader.read(kind, &body) {
        Ok(ask) => ask,
        Err(what) => return Ok(bad_request(None, &what)),
    };
    drop(body);
    let Some(model) = served(shared, ask.model.as_deref()) else {
        let what = format!("The model `{}` does not exist.", ask.model.unwrap_or_default());
        return Ok(error(StatusCode::NOT_FOUND, "NotFoundError", Some("model"), &what));
    };
    let number = shared.answers.fetch_add(1, Ordering::Relaxed);
    let script = Script::new(kind, model, &ask, number, now_s());
    engine.pass_ms(shared.overhead_ms).await;
    Ok(serve(&engine, &ask, script, break_after).await)
}

async fn serve(
    engine: &Arc<Clocked>,
    ask: &Ask,
    script: Script,
    break_after: Option<u32>,
) -> Response<Answer> {
    let mut flight = engine.submit(Job {
        prompt_tokens: u32::try_from(ask.prompt_tokens).unwrap_or(u32::MAX),
        output_tokens: ask.output_tokens,
        prefix: ask.prefix.clone(),
        stream: ask.stream,
    });
    let end = if ask.stream { flight.begun().await.end } else { Some(flight.end().await) };
    if end == Some(End::TooLarge) {
        return bad_request(
            None,
            "the prompt and answer do not fit in the KV cache of this engine",
        );
    }
    let (kind, body) = if ask.stream {
        let events = Events::new(script, flight, break_after);
        ("text/event-stream; charset=utf-8", Answer::Events(Box::new(events)))
    } else if break_after.is_some() {
        ("application/json", Answer::Half(Some(script.json())))
    } else {
        ("application/json", Answer::Whole(Some(script.json())))
    };
    respond(StatusCode::OK, kind, body)
}

fn served<'a>(shared: &'a Shared, asked: Option<&str>) -> Option<&'a str> {
    match asked {
        None => shared.models.first().map(String::as_str),
        Some(asked) => shared.models.iter().map(String::as_str).find(|model| *model == asked),
    }
}

fn models(shared: &Shared) -> Response<Answer> {
    let data: Vec<_> = shared
        .models
        .iter()
        .map(|model| {
            json!({"id": model, "object": "model", "created": now_s(),
                   "owned_by": "forebay test engine", "root": model, "parent": null,
                   "max_model_len": shared.reader.context_tokens, "description": SELF_NOTE})
        })
        .collect();
    json_answer(StatusCode::OK, &json!({"object": "list", "data": data}))
}

async fn metrics(engine: &Clocked, shared: &Shared) -> Response<Answer> {
    match engine.faults.of_page() {
        Some(PageFault::Refuse) => plain(StatusCode::SERVICE_UNAVAILABLE, "refused"),
        Some(PageFault::Hang) => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
        Some(PageFault::Nonsense) => plain(StatusCode::OK, "<html>not a metrics page</html>"),
        Some(PageFault::Stall(page)) => metrics_page(page),
        None => metrics_page(write_page(engine, shared)),
    }
}

fn metrics_page(page: String) -> Response<Answer> {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    respond(StatusCode::OK, kind, Answer::Whole(Some(page.into())))
}

fn write_page(engine: &Clocked, shared: &Shared) -> String {
    let (sample, counts) = engine.sample();
    page::write(&sample, counts, shared.models.first().map_or("", String::as_str))
}

async fn set_faults(
    engine: &Clocked,
    shared: &Shared,
    request: Request<Incoming>,
) -> Response<Answer> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let wanted = body
        .map_err(|error| error.to_string())
        .and_then(|body| {
            serde_json::from_slice::<Wanted>(&body.to_bytes()).map_err(|error| error.to_string())
        })
        .and_then(|wanted| engine.faults.set(&wanted, || write_page(engine, shared)));
    match wanted {
        Ok(()) => plain(StatusCode::OK, "set\n"),
        Err(what) => bad_request(None, &what),
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn bad_request(param: Option<&str>, what: &str) -> Response<Answer> {
    error(StatusCode::BAD_REQUEST, "BadRequestError", param, what)
}

/// An error as vLLM words it.
fn error(status: StatusCode, kind: &str, param: Option<&str>, what: &str) -> Response<Answer> {
    let error = json!({"message": what, "type": kind, "param": param, "code": status.as_u16()});
    json_answer(status, &json!({ "error": error }))
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response<Answer> {
    respond(status, "application/json", Answer::Whole(Some(value.to_string().into())))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Answer> {
    respond(
        status,
        "text/plain; charset=utf-8",
        Answer::Whole(Some(Bytes::from_static(text.as_bytes()))),
    )
}

fn respond(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
