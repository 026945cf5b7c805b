//! A question as it comes over the wire, and what the gate is asked in its place.

use std::net::IpAddr;

use forebay_core::admit::{Facts, headers};
use forebay_core::time::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Problem;
use super::caller::{Caller, single};
use crate::body::{Parsed, read_request};
use crate::front::Told;

/// Longest deadline, in seconds: thirty days; a typing error begins beyond.
pub(super) const DEADLINE_SECONDS_MAX: f64 = 30.0 * 86_400.0;
/// Longest hold of a connection, in seconds, as for any tier.
pub(super) const HOLD_SECONDS_MAX: f64 = forebay_core::api::bounds::HOLD_SECONDS_MAX as f64;
/// A lease ends by itself after this long, unless its caller asks for another span: longer than
/// nearly every answer.
pub(super) const LEASE_SECONDS_DEFAULT: f64 = 600.0;
/// Longest lease: what is lost costs capacity for as long.
pub(super) const LEASE_SECONDS_MAX: f64 = 3_600.0;
/// Addresses that a request may be bound to: a large pool.
pub(super) const CANDIDATES_MAX: usize = 5_000;
/// Most tokens of a prompt or an answer that anybody means.
const TOKENS_MAX: u32 = 100_000_000;

/// The question.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdmitRequest {
    /// The model that is asked for. May be left out where `body` names it.
    #[schemars(length(min = 1, max = 256))]
    model: Option<String>,
    /// The name of an InferenceObjective.
    #[schemars(length(max = 253))]
    objective: Option<String>,
    /// The name of a tier; goes before `objective`.
    #[schemars(length(max = 253))]
    tier: Option<String>,
    /// Whom it is to be fair to: the tenant, or the user where something else names the tenant.
    #[schemars(length(max = 253))]
    fairness_id: Option<String>,
    /// Length of the prompt in tokens; absent = estimated from `body`.
    #[schemars(range(max = TOKENS_MAX))]
    prompt_tokens: Option<u32>,
    /// The body of the request itself, for length, limits and prefix; at most 10 MiB.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    body: Option<Box<RawValue>>,
    /// Most tokens of the answer; absent = as `body` says.
    #[schemars(range(min = 1, max = TOKENS_MAX))]
    max_tokens: Option<u32>,
    /// What this request wants; absent = what its tier is promised.
    slo: Option<SloRequest>,
    /// Seconds from now until its first token, or until its end in tiers that promise completion.
    #[schemars(range(max = DEADLINE_SECONDS_MAX))]
    deadline_s: Option<f64>,
    /// Whether to hold the connection or to give a ticket; absent = hold.
    wait: Option<Wait>,
    /// Longest time to hold the connection, in seconds; never more than the tier's.
    #[schemars(range(max = HOLD_SECONDS_MAX))]
    hold_s: Option<f64>,
    /// Seconds after which the lease ends by itself; absent = 600.
    #[schemars(range(max = LEASE_SECONDS_MAX))]
    lease_s: Option<f64>,
    /// Addresses (`ip:port`) that it may go to; absent = all.
    #[schemars(length(max = CANDIDATES_MAX))]
    candidates: Option<Vec<String>>,
}

/// What a request wants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SloRequest {
    /// Milliseconds to the first token.
    #[schemars(range(max = DEADLINE_SECONDS_MAX * 1e3))]
    ttft_ms: Option<f64>,
    /// Milliseconds per output token after the first.
    #[schemars(range(max = DEADLINE_SECONDS_MAX * 1e3))]
    tpot_ms: Option<f64>,
}

/// How to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wait {
    /// Hold the connection.
    #[default]
    Hold,
    /// Give a ticket.
    Ticket,
}

/// A question that can be put again: what a ticket stands for.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    said: Said,
    pub(super) body: Option<Parsed>,
    pub(super) told: Told,
    pub(super) candidates: Option<Vec<Box<str>>>,
    pub(super) lease: Span,
    pub(super) wait: Wait,
}

/// What the caller said of the request.
#[derive(Clone, Debug)]
struct Said {
    model: Option<String>,
    objective: Option<String>,
    tier: Option<String>,
    fairness_id: Option<String>,
}

impl AdmitRequest {
    /// The question in types.
    pub(super) fn checked(self) -> Result<Parked, Problem> {
        let body = match &self.body {
            None => None,
            Some(raw) => Some(read_body(raw.get(), self.model.is_some())?),
        };
        let named = body.as_ref().and_then(|body| body.model.clone());
        let model = self.model.or(named);
        if model.as_ref().is_none_or(String::is_empty) {
            let message = "`model` is missing; give it, or a `body` that names it".to_owned();
            return Err(Problem::Wrong { param: "model", message });
        }
        if self.candidates.as_ref().is_some_and(|list| list.len() > CANDIDATES_MAX) {
            let message = format!("`candidates` has more than {CANDIDATES_MAX} addresses");
            return Err(Problem::Wrong { param: "candidates", message });
        }
        for (param, tokens) in
            [("prompt_tokens", self.prompt_tokens), ("max_tokens", self.max_tokens)]
        {
            if tokens.is_some_and(|tokens| tokens > TOKENS_MAX) {
                let message = format!("`{param}` is more than {TOKENS_MAX}");
                return Err(Problem::Wrong { param, message });
            }
        }
        let (ttft_ms, tpot_ms) = self.slo.map_or((None, None), |slo| (slo.ttft_ms, slo.tpot_ms));
        let ttft = seconds("slo.ttft_ms", ttft_ms, 1e3, DEADLINE_SECONDS_MAX)?;
        let tpot = seconds("slo.tpot_ms", tpot_ms, 1e3, DEADLINE_SECONDS_MAX)?;
        let deadline = seconds("deadline_s", self.deadline_s, 1.0, DEADLINE_SECONDS_MAX)?;
        let hold = seconds("hold_s", self.hold_s, 1.0, HOLD_SECONDS_MAX)?;
        let lease = seconds("lease_s", self.lease_s, 1.0, LEASE_SECONDS_MAX)?;
        let wait = self.wait.unwrap_or_default();
        let told = Told {
            prompt_tokens: self.prompt_tokens,
            output_tokens_max: self.max_tokens,
            within: deadline.or(ttft),
            tpot,
            // Whoever wants a ticket wants it now, unless he says how long he waits first.
            hold_max: hold.or((wait == Wait::Ticket).then_some(Span::ZERO)),
            place: None,
            keeps_place: true,
        };
        let candidates =
            self.candidates.map(|list| list.into_iter().map(String::into_boxed_str).collect());
        let (objective, tier, fairness_id) = (self.objective, self.tier, self.fairness_id);
        let said = Said { model, objective, tier, fairness_id };
        let lease = lease.unwrap_or(Span::from_seconds(LEASE_SECONDS_DEFAULT));
        Ok(Parked { said, body, told, candidates, lease, wait })
    }
}

fn read_body(text: &str, model_is_named: bool) -> Result<Parsed, Problem> {
    let wrong = |error: crate::body::BodyError| Problem::Wrong {
        param: "body",
        message: format!("`body`: {error}"),
    };
    if !text.trim_start().starts_with('{') {
        let message = "`body` is not a JSON object".to_owned();
        return Err(Problem::Wrong { param: "body", message });
    }
    if model_is_named {
        Parsed::json(text.as_bytes()).map_err(wrong)
    } else {
        read_request("/v1/completions", None, text.as_bytes()).map_err(wrong)
    }
}

/// A time that was given as a number of `1 / scale` seconds.
fn seconds(
    param: &'static str,
    given: Option<f64>,
    scale: f64,
    seconds_max: f64,
) -> Result<Option<Span>, Problem> {
    let Some(given) = given else { return Ok(None) };
    let seconds = given / scale;
    if (0.0..=seconds_max).contains(&seconds) {
        return Ok(Some(Span::from_seconds(seconds)));
    }
    let message = format!("`{param}` is {given}; give a number from 0 to {}", seconds_max * scale);
    Err(Problem::Wrong { param, message })
}

impl Parked {
    /// The same question again, to be held no longer than `hold_max`; as a ticket it waits on.
    pub(super) const fn again(&mut self, hold_max: Span) {
        self.told.hold_max = Some(hold_max);
        self.wait = Wait::Ticket;
    }

    /// The facts of the question. Its caller has proved who he is, so what he says of the
    /// request counts.
    pub(super) const fn facts<'a>(&'a self, caller: &'a Caller) -> AskFacts<'a> {
        AskFacts { said: &self.said, caller }
    }
}

/// What is known about a request that is asked for.
#[derive(Debug)]
pub(super) struct AskFacts<'a> {
    said: &'a Said,
    caller: &'a Caller,
}

impl Facts for AskFacts<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let said = match headers::Name::known(name) {
            Some(headers::OBJECTIVE) => &self.said.objective,
            Some(headers::TIER) => &self.said.tier,
            Some(headers::FAIRNESS_ID) => &self.said.fairness_id,
            // Tickets of the webhook are its own; of the rest the question has members.
            Some(_) => return None,
            None => return single(&self.caller.headers, name),
        };
        said.as_deref().or_else(|| single(&self.caller.headers, name))
    }

    fn peer(&self) -> Option<IpAddr> {
        self.caller.peer.map(|peer| peer.ip())
    }

    fn certificate_name(&self) -> Option<&str> {
        self.caller.certificate.as_deref()
    }

    fn model(&self) -> Option<&str> {
        self.said.model.as_deref()
    }

    fn vouched(&self) -> bool {
        true
    }
}
