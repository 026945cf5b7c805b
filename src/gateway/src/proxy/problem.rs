//! What the proxy itself finds wrong, as an answer.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::headers;
use super::relay::Answer;
use crate::front::Reply;

/// Why there is no answer from an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error(
        "the engine {endpoint} could not be reached, and no other took the request over: {what}; try again"
    )]
    Unreachable { endpoint: String, what: String },
    #[error(
        "the engine {endpoint} has not answered for {seconds} s; ask for less, or for a stream"
    )]
    Silent { endpoint: String, seconds: u64 },
    #[error(
        "there is nothing at {path}; expected a path of the OpenAI API, as /v1/chat/completions"
    )]
    NoSuchPath { path: String },
    #[error("only {allow} is allowed here")]
    MethodNotAllowed { allow: &'static str },
}

impl Problem {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable { .. } => StatusCode::BAD_GATEWAY,
            Self::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::NoSuchPath { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "engine_unreachable",
            Self::Silent { .. } => "engine_timeout",
            Self::NoSuchPath { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
        }
    }

    /// The answer; `request_id` is the client's own, if it gave one.
    pub(super) fn reply(&self, request_id: Option<&str>) -> Reply {
        let kind =
            if self.status().is_client_error() { "invalid_request_error" } else { "engine_error" };
        let body = json!({"error": {
            "message": self.to_string(), "type": kind, "param": null, "code": self.code(),
            "request_id": request_id,
        }});
        let mut headers = Vec::new();
        if let Self::MethodNotAllowed { allow } = self {
            headers.push(("allow", (*allow).to_owned()));
        }
        Reply { status: self.status(), headers, body: Bytes::from(body.to_string()) }
    }
}

/// A reply of ours as a response.
pub(super) fn reply(reply: Reply) -> Response<Answer> {
    let mut response = Response::new(Answer::whole(reply.body));
    *response.status_mut() = reply.status;
    headers::set_json(response.headers_mut());
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
