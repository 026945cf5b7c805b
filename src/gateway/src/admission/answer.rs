//! What is answered over the wire.

use schemars::JsonSchema;
use serde::Serialize;

/// The request may go.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Admitted {
    /// Always true.
    pub(super) admitted: bool,
    /// Where to: `ip:port`.
    pub(super) endpoint: String,
    /// Where its prompt is to be computed, if that is apart: `ip:port`.
    pub(super) prefill: Option<String>,
    /// The name of the lease: release it when the request has ended.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    pub(super) lease: String,
    /// Seconds after which the lease ends by itself.
    pub(super) lease_s: f64,
    /// The model to ask the engine for.
    pub(super) model: String,
    /// The header `traceparent` to send to the engine; null where this gate makes no spans.
    pub(super) traceparent: Option<String>,
    /// The tier that it goes in.
    pub(super) tier: String,
}

/// The request waits outside.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ticketed {
    /// Always false.
    pub(super) admitted: bool,
    /// Its place: ask for `/v1/admit/TICKET?wait_s=30` until it is admitted.
    #[schemars(regex(pattern = r"^[0-9a-f]{32}$"))]
    pub(super) ticket: String,
    /// Seconds for which the ticket is good.
    pub(super) good_for_s: f64,
}

/// A lease was released, or had been.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReleaseAnswer {
    /// What became of the lease.
    pub(super) state: ReleaseState,
}

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReleaseState {
    /// It ends with this call.
    Released,
    /// It was released before; nothing changes.
    AlreadyReleased,
    /// It had ended by itself; what it cost was not settled.
    Expired,
}

/// A report was taken, or came too late.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProgressAnswer {
    /// What became of the report.
    pub(super) state: ProgressState,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProgressState {
    /// It counts.
    Noted,
    /// It was reported before; nothing changes.
    AlreadyNoted,
    /// Its lease was released before; nothing changes.
    AlreadyReleased,
    /// Its lease had ended by itself; nothing changes.
    Expired,
}

/// How much may be sent now.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BudgetAnswer {
    /// By fleet and tier, the highest priority first.
    pub(super) tiers: Vec<TierBudget>,
}

/// How much of one tier may be sent now.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TierBudget {
    /// The fleet that serves it.
    pub(super) fleet: String,
    /// Its name.
    pub(super) tier: String,
    /// Its priority; larger wins.
    pub(super) priority: i32,
    /// Whether its work may be started late.
    pub(super) deferrable: bool,
    /// Requests that may be sent now on top of what is here; null = not known.
    pub(super) requests: Option<u64>,
    /// Requests that the gate holds.
    pub(super) queued_requests: u64,
    /// Their prompt tokens.
    pub(super) queued_prompt_tokens: u64,
}

/// What is wrong, as OpenAI shapes it. Only its schema is used: the text is made in one place for
/// all faces.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ErrorAnswer {
    error: ErrorBody,
}

/// What is wrong.
#[derive(Debug, Serialize, JsonSchema)]
struct ErrorBody {
    /// For a person.
    message: String,
    /// The kind of error.
    #[serde(rename = "type")]
    kind: String,
    /// The member that is wrong.
    param: Option<String>,
    /// For a program: why.
    code: String,
    /// The `x-request-id` of the call.
    request_id: Option<String>,
}
