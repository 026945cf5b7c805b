//! How a request hears that it does not go: status, headers and a body as OpenAI shapes errors.

use bytes::Bytes;
use forebay_core::admit::{Limited, TicketId};
use forebay_core::gate::Refusal;
use forebay_core::time::Span;
use http::StatusCode;
use serde_json::json;

use crate::body::BodyError;
use crate::desk::{Reason, Refused};

/// Why a request was dropped, under the name that llm-d gave the header.
pub const HEADER_DROPPED_REASON: &str = "x-llm-d-request-dropped-reason";
/// A ticket to come back with.
pub const HEADER_TICKET: &str = "x-forebay-ticket";
/// W3C trace context: trace, span, and whether it is sampled.
pub const HEADER_TRACEPARENT: &str = "traceparent";
/// W3C trace context: what vendors add; worth nothing without the other.
pub const HEADER_TRACESTATE: &str = "tracestate";
/// Identity of a request, as its client or a proxy gave it.
pub const HEADER_REQUEST_ID: &str = "x-request-id";

/// Why a request does not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The gate refused it; with a ticket, it may come back at its old place.
    Refused {
        /// The gate's word.
        refused: Refused,
        /// The ticket.
        ticket: Option<TicketId>,
    },
    /// Its tenant is over a limit.
    Limited(Limited),
    /// It cannot be read.
    Body(BodyError),
    /// No fleet serves its model.
    NoSuchModel {
        /// The model.
        model: String,
    },
}

impl From<BodyError> for Denied {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

/// An answer of the gate itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers besides those of the body.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Bytes,
}

impl Denied {
    /// Status of the answer. 429: others were there first; 503: nobody could serve it.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Refused { refused, .. } => match refused.reason {
                Reason::Gate(Refusal::NoEndpoints) | Reason::ShuttingDown => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                Reason::Gate(_) => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(error) => error.status(),
            Self::NoSuchModel { .. } => StatusCode::NOT_FOUND,
        }
    }

    /// The reason as headers and metrics name it; `None` for what is the client's mistake.
    #[must_use]
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Refused { refused, .. } => Some(refused.reason.name()),
            Self::Limited(_) => Some("rejected-tenant-limit"),
            Self::Body(_) | Self::NoSuchModel { .. } => None,
        }
    }

    /// When to come back, if anybody can tell.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Span> {
        match self {
            Self::Refused { refused, .. } => refused.retry_after,
            Self::Limited(limited) => Some(limited.retry_after),
            Self::Body(_) | Self::NoSuchModel { .. } => None,
        }
    }

    /// The answer. `request_id` is the client's own, if it gave one.
    #[must_use]
    pub fn reply(&self, request_id: Option<&str>) -> Reply {
        let mut headers = Vec::new();
        if let Some(reason) = self.reason() {
            headers.push((HEADER_DROPPED_REASON, reason.to_owned()));
        }
        if let Some(wait) = self.retry_after() {
            let millis = wait.0.div_ceil(1_000_000);
            headers.push(("retry-after", millis.div_ceil(1_000).max(1).to_string()));
            headers.push(("retry-after-ms", millis.max(1).to_string()));
        }
        if let Self::Refused { ticket: Some(ticket), .. } = self {
            headers.push((HEADER_TICKET, ticket.to_string()));
        }
        let body = json!({
            "error": {
                "message": self.message(),
                "type": self.kind(),
                "param": self.param(),
                "code": self.code(),
                "request_id": request_id,
            }
        });
        Reply { status: self.status(), headers, body: Bytes::from(body.to_string()) }
    }

    /// What is said to a person.
    fn message(&self) -> String {
        let again = match self.retry_after() {
            Some(wait) => format!("; come back in {:.1} s", wait.as_seconds()),
            None => String::new(),
        };
        match self {
            Self::Refused { refused, ticket } => {
                let what = match refused.reason {
                    Reason::Gate(Refusal::Saturated) => "the queue is full",
                    Reason::Gate(Refusal::TtlExpired) => {
                        "no capacity came free while the request was held"
                    }
                    Reason::Gate(Refusal::NoEndpoints) => "no engine can serve this request",
                    Reason::Gate(Refusal::Late) => {
                        "the objective of this request cannot be met any more"
                    }
                    Reason::Gate(Refusal::NoCapacityInSight) => {
                        "no capacity for this request is in sight"
                    }
                    Reason::ShuttingDown => "this gate is shutting down",
                };
                let place = match ticket {
                    Some(_) => format!(", with the header {HEADER_TICKET} at the same place"),
                    None => String::new(),
                };
                format!("{what}{again}{place}")
            }
            Self::Limited(limited) => format!("{limited}{again}"),
            Self::Body(error) => error.to_string(),
            Self::NoSuchModel { model } => {
                format!("no fleet here serves the model `{model}`; GET /v1/models lists them")
            }
        }
    }

    const fn code(&self) -> &'static str {
        match (self.reason(), self) {
            (Some(reason), _) => reason,
            (None, Self::NoSuchModel { .. }) => "model_not_found",
            (None, _) => "invalid_request_body",
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Body(_) | Self::NoSuchModel { .. } => "invalid_request_error",
            Self::Limited(_) => "rate_limit_error",
            Self::Refused { .. } => match self.status() {
                StatusCode::SERVICE_UNAVAILABLE => "service_unavailable_error",
                _ => "overloaded_error",
            },
        }
    }

    const fn param(&self) -> Option<&'static str> {
        match self {
            Self::Body(error) => error.param(),
            Self::NoSuchModel { .. } => Some("model"),
            Self::Refused { .. } | Self::Limited(_) => None,
        }
    }
}
