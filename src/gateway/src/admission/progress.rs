//! `POST /v1/progress`: how far a request has come, while its lease is held.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use forebay_core::admit::{LeaseId, Standing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::admit::read_body;
use super::answer::{ProgressAnswer, ProgressState};
use super::caller::Caller;
use super::{Admission, Problem};

/// How far a request has come.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressRequest {
    /// The name of the lease.
    lease: String,
    /// What it has come to, just now: the time of this call counts.
    reached: Reached,
}

/// What a request has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Reached {
    /// The engine sent the first token of its answer.
    FirstToken,
}

/// `POST /v1/progress`. A repetition changes nothing and hears so; so does one that comes after
/// the end of its lease.
pub(super) async fn progress(
    State(face): State<Admission>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ProgressAnswer>, Problem> {
    let ProgressRequest { lease, reached: Reached::FirstToken } = read_body(body)?;
    let lease: LeaseId = lease.parse().map_err(|_| Problem::NoSuchLease)?;
    let state = match face.shared.leases.first_token(lease, caller.holder) {
        Standing::Held(true) => ProgressState::Noted,
        Standing::Held(false) => ProgressState::AlreadyNoted,
        Standing::Released => ProgressState::AlreadyReleased,
        Standing::Expired => ProgressState::Expired,
        Standing::Unknown => return Err(Problem::NoSuchLease),
    };
    Ok(Json(ProgressAnswer { state }))
}
