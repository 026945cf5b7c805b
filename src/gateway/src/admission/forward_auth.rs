//! `/auth`: forward authentication, for a proxy that can ask about a request but cannot take an
//! endpoint or a lease from the answer.
//!
//! It is the least that the gate can do for anybody. It sees headers, **not the body**: neither
//! model nor prompt nor `max_tokens`, so no tokens are charged (a tenant that is in debt from
//! elsewhere is refused). It sees **no end**: nothing is reserved and nothing given back, so order,
//! fairness and credits do not apply. What it does: who asks, in which tier, within which limit of
//! requests; nobody is let in where no engine is ready; and deferrable tiers are let in only while
//! there is budget for them.
//!
//! - 200: go on; `x-forebay-tier` and `x-forebay-tenant` say what it was taken for.
//! - Envoy `ext_authz` over HTTP asks for `/auth` followed by the path of the request: a refusal by
//!   429 is passed to the client as it is, one by 503 with its status alone
//!   (`policies/envoy/ext-authz.yaml` says so to Envoy, which makes 403 of it otherwise). Its timeout
//!   is 200 ms unless it is told otherwise, which is enough: nobody is held here.
//! - NGINX `auth_request` passes on 2xx, 401 and 403, and makes a 500 of all else. Ask for
//!   `/auth?deny=403`: a refusal is then 403 with the true status in `x-forebay-status`, which
//!   `policies/nginx/forward-auth.conf` turns back into 429 with `Retry-After`.
//!
//! A token, where one is wanted, comes in `x-forebay-token`: `authorization` is the end user's.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use forebay_core::admit::Facts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use super::caller::{Caller, single};
use super::{Admission, Problem, problem};
use crate::front::HEADER_REQUEST_ID;

/// The tier that a request is taken for.
pub const HEADER_TIER: HeaderName = HeaderName::from_static("x-forebay-tier");
/// The tenant that a request is taken for: a listed one, or `other`, or `unknown`.
pub const HEADER_TENANT: HeaderName = HeaderName::from_static("x-forebay-tenant");
/// The status of a refusal where it cannot be the status of the answer.
pub const HEADER_STATUS: HeaderName = HeaderName::from_static("x-forebay-status");

/// How to refuse.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AuthQuery {
    /// The status of refusals: 403, or else their own.
    deny: Option<u16>,
    /// The fleet whose policy counts, where there are several.
    fleet: Option<String>,
}

/// `/auth`, by any method: proxies ask with that of the request.
pub(super) async fn authorize(
    State(face): State<Admission>,
    query: Result<Query<AuthQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    // Below `/auth` the path is the request's own, and so is the query: its client must not say
    // which fleet's policy counts, or how he is refused.
    let Query(query) = match request.uri().path() {
        "/auth" => query.unwrap_or_default(),
        _ => Query::default(),
    };
    // The body of the request is not read, if a proxy sends one at all.
    let (parts, _) = request.into_parts();
    let caller = Caller::of(&parts, &face, false)?;
    let facts = AuthFacts { headers: &parts.headers, caller: &caller };
    let mut fronts = face.shared.fronts.all().iter();
    // The model stands in the body, which is not seen: the address says which fleet is meant.
    let front = match &query.fleet {
        Some(fleet) => fronts.find(|(name, _)| name == fleet),
        None => fronts.next(),
    };
    let Some((_, front)) = front else {
        let message = "`fleet` names none that is served here".to_owned();
        return Err(Problem::Wrong { param: "fleet", message });
    };
    match front.check(&facts) {
        Ok(checked) => {
            let mut response = StatusCode::OK.into_response();
            let headers = response.headers_mut();
            for (name, text) in [(HEADER_TIER, &*checked.tier), (HEADER_TENANT, &*checked.tenant)] {
                if let Ok(value) = HeaderValue::from_str(text) {
                    headers.insert(name, value);
                }
            }
            Ok(response)
        }
        Err(denied) => {
            let request_id = single(&parts.headers, HEADER_REQUEST_ID);
            let mut response = problem::denied(&denied, request_id);
            let status = response.status();
            response.headers_mut().insert(HEADER_STATUS, status.as_u16().into());
            if query.deny == Some(StatusCode::FORBIDDEN.as_u16()) {
                *response.status_mut() = StatusCode::FORBIDDEN;
            }
            Ok(response)
        }
    }
}

/// What is known about a request that a proxy asks about.
#[derive(Debug)]
struct AuthFacts<'a> {
    headers: &'a HeaderMap,
    caller: &'a Caller,
}

impl Facts for AuthFacts<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        single(self.headers, name)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.caller.peer.as_ref().map(SocketAddr::ip)
    }

    fn model(&self) -> Option<&str> {
        None
    }
}
