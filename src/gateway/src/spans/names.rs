//! What spans and their attributes are called: as OpenTelemetry's conventions for HTTP and for
//! generative AI say, and `forebay.` where they say nothing.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>,
//! <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::KeyValue;

use super::About;
use crate::body::Route;
use crate::front::RequestLine;

/// Seconds from the request to the first piece of a streamed answer.
pub(super) const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";

/// Most characters of a name that a client chooses: of a model, or a path.
const CHARS_MAX: usize = 256;

/// Methods that the conventions know; others must not make names.
const METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Name of a span. There are few of them, whatever clients ask for.
pub(super) fn span(line: Option<RequestLine<'_>>) -> Cow<'static, str> {
    let Some(line) = line else { return "admit".into() };
    match (method(line.method), route(line.path)) {
        (Some(method), Some(route)) => format!("{method} {}", route.path).into(),
        (Some(method), None) => method.into(),
        (None, _) => "HTTP".into(),
    }
}

/// What is known when a request comes.
pub(super) fn attributes(about: &About<'_>) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("forebay.fleet", about.fleet.to_owned()),
        KeyValue::new("forebay.tier", about.tier.to_owned()),
        KeyValue::new("forebay.tenant", Arc::clone(&about.tenant)),
        KeyValue::new("forebay.prompt_tokens", i64::from(about.prompt_tokens)),
    ];
    if let Some(line) = about.line {
        let method = method(line.method).unwrap_or("_OTHER");
        attributes.push(KeyValue::new("http.request.method", method));
        attributes.push(KeyValue::new("url.path", bounded(without_query(line.path))));
        if let Some(route) = route(line.path) {
            attributes.push(KeyValue::new("http.route", route.path));
            let operation =
                route.operation.map(|name| KeyValue::new("gen_ai.operation.name", name));
            attributes.extend(operation);
        }
    }
    if let Some(model) = about.model {
        attributes.push(KeyValue::new("gen_ai.request.model", bounded(model)));
    }
    if let Some(tokens) = about.output_tokens_max {
        attributes.push(KeyValue::new("gen_ai.request.max_tokens", i64::from(tokens)));
    }
    if let Some(stream) = about.stream {
        attributes.push(KeyValue::new("gen_ai.request.stream", stream));
    }
    attributes
}

fn method(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method)
}

fn route(path: &str) -> Option<Route> {
    Route::of(without_query(path))
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

fn bounded(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}
