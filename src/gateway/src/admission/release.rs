//! `POST /v1/release`: a request has ended, and what it cost.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use forebay_core::admit::{LeaseId, Standing};
use schemars::JsonSchema;
use serde::Deserialize;

use super::admit::read_body;
use super::answer::{ReleaseAnswer, ReleaseState};
use super::caller::Caller;
use super::{Admission, Problem};
use crate::body::Usage;

/// What has ended.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseRequest {
    /// The name of the lease.
    lease: String,
    /// How it ended; absent = finished.
    outcome: Option<ReleaseOutcome>,
    /// What the engine counted: its `usage` as it came. Absent = not known, and the estimate of
    /// the admission stays charged.
    usage: Option<UsageRequest>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReleaseOutcome {
    /// Answered in full.
    #[default]
    Finished,
    /// The engine failed or refused it.
    Failed,
    /// Its client hung up, or it was never sent.
    Cancelled,
}

/// The `usage` of an OpenAI-compatible engine; its other members mean nothing here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct UsageRequest {
    /// Tokens of the prompt, cached ones included.
    prompt_tokens: Option<u32>,
    /// Tokens generated.
    completion_tokens: Option<u32>,
    /// More about the prompt.
    prompt_tokens_details: Option<PromptDetails>,
}

/// More about a prompt.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct PromptDetails {
    /// Tokens found in the engine's cache.
    cached_tokens: Option<u32>,
}

/// `POST /v1/release`. A repetition changes nothing and hears so.
pub(super) async fn release(
    State(face): State<Admission>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ReleaseAnswer>, Problem> {
    let request: ReleaseRequest = read_body(body)?;
    let lease: LeaseId = request.lease.parse().map_err(|_| Problem::NoSuchLease)?;
    let state = match face.shared.leases.release(lease, caller.holder) {
        Standing::Held(pass) => {
            match request.outcome.unwrap_or_default() {
                ReleaseOutcome::Finished => {
                    pass.finished(request.usage.map(Usage::from).unwrap_or_default());
                }
                ReleaseOutcome::Failed => pass.failed(),
                ReleaseOutcome::Cancelled => drop(pass),
            }
            ReleaseState::Released
        }
        Standing::Released => ReleaseState::AlreadyReleased,
        Standing::Expired => ReleaseState::Expired,
        Standing::Unknown => return Err(Problem::NoSuchLease),
    };
    Ok(Json(ReleaseAnswer { state }))
}

impl From<UsageRequest> for Usage {
    fn from(usage: UsageRequest) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
            cached_tokens: usage.prompt_tokens_details.and_then(|details| details.cached_tokens),
        }
    }
}
