//! What is wrong with a call, as OpenAI shapes errors.

use axum::response::{IntoResponse, Response};
use forebay_core::admit::leases::Full;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::front::{Denied, Reply};

/// Why a call gets no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// No token, or a wrong one.
    #[error("this address wants a token: send `authorization: Bearer TOKEN`")]
    NotLetIn,
    /// No JSON, or another shape.
    #[error("the question cannot be read: {0}; /openapi.json says what is expected")]
    Unreadable(String),
    /// Something in it is out of range.
    #[error("{message}")]
    Wrong {
        /// Which member.
        param: &'static str,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// Too many bytes.
    #[error("the question is larger than {0} bytes; send `prompt_tokens` instead of `body`")]
    TooLarge(usize),
    /// Not JSON by its own word.
    #[error("send the question as `content-type: application/json`")]
    NotJson,
    /// No ticket of the caller, or not any more.
    #[error("there is no such ticket: it was redeemed, has ended, or was given to somebody else")]
    NoSuchTicket,
    /// Somebody waits for it already.
    #[error("this ticket is asked for already; wait for that answer, or hang up there first")]
    AskedForAlready,
    /// The system gives no random bits, and an id that can be guessed is none.
    #[error("no id can be made now; come back in a second")]
    NoRandomness,
    /// No lease of the caller.
    #[error("there is no such lease: it ended long ago, or was given to somebody else")]
    NoSuchLease,
    /// The caller, or all callers, hold too much.
    #[error("no lease can be given: {0}")]
    Full(Full),
    /// No such path.
    #[error("there is nothing at this path; /openapi.json says what there is")]
    NoSuchPath,
    /// Not by this method.
    #[error("this path is asked by another method; /openapi.json says which")]
    NoSuchMethod,
}

impl Problem {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NotLetIn => StatusCode::UNAUTHORIZED,
            Self::Unreadable(_) | Self::Wrong { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NoSuchTicket | Self::NoSuchLease | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::AskedForAlready => StatusCode::CONFLICT,
            Self::NoRandomness => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::NotLetIn => "invalid_token",
            Self::Unreadable(_) => "invalid_request_body",
            Self::Wrong { .. } => "invalid_value",
            Self::TooLarge(_) => "request_too_large",
            Self::NotJson => "unsupported_media_type",
            Self::NoSuchTicket => "unknown_ticket",
            Self::AskedForAlready => "ticket_in_use",
            Self::NoRandomness => "no_randomness",
            Self::NoSuchLease => "unknown_lease",
            Self::Full(_) => "rejected-leases-exhausted",
            Self::NoSuchPath => "unknown_path",
            Self::NoSuchMethod => "method_not_allowed",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = match self {
            Self::NotLetIn => "authentication_error",
            Self::Full(_) => "rate_limit_error",
            Self::NoRandomness => "service_unavailable_error",
            _ => "invalid_request_error",
        };
        let param = match self {
            Self::Wrong { param, .. } => Some(param),
            _ => None,
        };
        let body = json!({"error": {
            "message": self.to_string(),
            "type": kind,
            "param": param,
            "code": self.code(),
            "request_id": null,
        }});
        let mut response = (self.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        match self {
            Self::NotLetIn => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Full(_) | Self::NoRandomness | Self::AskedForAlready => {
                // Leases end all the time where so many are held.
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => (),
        }
        response
    }
}

/// A refusal of the gate, as every face words it.
pub(super) fn denied(denied: &Denied, request_id: Option<&str>) -> Response {
    response(denied.reply(request_id))
}

pub(super) fn response(reply: Reply) -> Response {
    let mut response = (reply.status, reply.body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
