//! `POST /v1/admit` and `GET /v1/admit/{ticket}`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use forebay_core::admit::{Facts as _, TicketId};
use forebay_core::engine::Prefix;
use forebay_core::gate::Refusal;
use forebay_core::time::{Span, Time};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::time::timeout;

use super::answer::{Admitted, Ticketed};
use super::ask::{AdmitRequest, HOLD_SECONDS_MAX, Parked, Wait};
use super::caller::{Caller, single};
use super::{Admission, ENVELOPE_BYTES_MAX, Problem, problem};
use crate::body::BODY_BYTES_MAX;
use crate::desk::{Reason, Refused};
use crate::front::{Denied, HEADER_REQUEST_ID, HEADER_TICKET, Pass, Request};

/// A ticket is good for at least this long, so that one whose objective is missed already but that
/// is served all the same can be asked for.
const TICKET_LIFE_MIN: Span = Span::from_secs(300);
/// And at most this long, as those of the other faces.
const TICKET_LIFE_MAX: Span = Span::from_secs(24 * 3_600);
/// Between two questions with one ticket where nobody can tell when there will be room: engines'
/// pages are read about as often.
const POLL_PAUSE: Span = Span::from_secs(1);
/// Pieces of a prompt that a ticket remembers to find its cache by: shared beginnings are at the
/// beginning, and tickets are many.
const PARKED_PIECES_MAX: usize = 64;

/// How long to wait for a ticket.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeemQuery {
    wait_s: Option<f64>,
}

/// `POST /v1/admit`.
pub(super) async fn admit(
    State(face): State<Admission>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let parked = read(&caller.headers, body)?.checked()?;
    face.room(&caller)?;
    let decided = face.decide(&caller, &parked).await;
    face.answer(&caller, &parked, decided, None)
}

/// `GET /v1/admit/{ticket}?wait_s=30`.
pub(super) async fn redeem(
    State(face): State<Admission>,
    caller: Caller,
    Path(ticket): Path<String>,
    query: Result<Query<RedeemQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| wrong_wait(&error.body_text()))?;
    let wait = query.wait_s.unwrap_or(0.0);
    if !(0.0..=HOLD_SECONDS_MAX).contains(&wait) {
        return Err(wrong_wait(&format!("{wait} is not from 0 to {HOLD_SECONDS_MAX}")));
    }
    let ticket: TicketId = ticket.parse().map_err(|_| Problem::NoSuchTicket)?;
    let now = face.now();
    let (until, mut parked) = match face.parked().redeem(now, ticket, caller.holder) {
        Some(found) => found,
        None if face.is_asked_for(ticket, caller.holder) => return Err(Problem::AskedForAlready),
        None => return Err(Problem::NoSuchTicket),
    };
    parked.again(Span::from_seconds(wait));
    let kept = parked.clone();
    // Whoever hangs up while he waits finds his ticket again.
    let mut back = PutBack::new(&face, ticket, caller.holder, until, kept);
    face.room(&caller)?;
    let decided = face.decide_within(&caller, &mut parked, Span::from_seconds(wait)).await;
    let answer = face.answer(&caller, &parked, decided, Some((ticket, until)));
    // Tickets are renewed, and leases granted, by the answer itself; a full table keeps the place.
    if !matches!(answer, Err(Problem::Full(_))) {
        back.spent();
    }
    answer
}

fn wrong_wait(what: &str) -> Problem {
    let message = format!("`wait_s`: {what}; give seconds, such as `wait_s=30`");
    Problem::Wrong { param: "wait_s", message }
}

fn read(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<AdmitRequest, Problem> {
    let kind = single(headers, "content-type").unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return Err(Problem::NotJson);
    }
    read_body(body)
}

/// Reads a body of JSON.
pub(super) fn read_body<T: serde::de::DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Problem> {
    let body = body.map_err(|error| body_problem(&error))?;
    serde_json::from_slice(&body).map_err(|error| Problem::Unreadable(error.to_string()))
}

/// What became of a body that could not be taken in.
fn body_problem(error: &BytesRejection) -> Problem {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge(BODY_BYTES_MAX + ENVELOPE_BYTES_MAX),
        _ => Problem::Unreadable(error.body_text()),
    }
}

impl Admission {
    /// Whether the caller may hold one more lease: else asking is in vain.
    fn room(&self, caller: &Caller) -> Result<(), Problem> {
        self.shared.leases.room(caller.holder).map_err(Problem::Full)
    }

    /// Puts a question to the gate.
    async fn decide(&self, caller: &Caller, parked: &Parked) -> Result<Pass, Denied> {
        let waiting = {
            let facts = parked.facts(caller);
            self.shared.fronts.admit(Request {
                facts: &facts,
                body: parked.body.as_ref(),
                candidates: parked.candidates.clone(),
                told: parked.told.clone(),
                line: None,
                retry: None,
            })?
        };
        waiting.await
    }

    /// Puts a question to the gate and waits for as long as its caller wants to, at most as long
    /// as its tier holds anybody. Where there is no endpoint the gate says so at once: then what
    /// is waited for is an endpoint.
    async fn decide_within(
        &self,
        caller: &Caller,
        parked: &mut Parked,
        wait: Span,
    ) -> Result<Pass, Denied> {
        let (mut changes, wait) = {
            let facts = parked.facts(caller);
            match self.shared.fronts.of(facts.model()) {
                Some(front) => (front.changes(), wait.min(front.hold_max(&facts))),
                None => return self.decide(caller, parked).await,
            }
        };
        let end = self.now() + wait;
        loop {
            changes.mark_unchanged();
            let decided = self.decide(caller, parked).await;
            let left = end.since(self.now());
            if !decided.as_ref().is_err_and(finds_nobody) || left == Span::ZERO {
                return decided;
            }
            let left_now = std::time::Duration::from_nanos(left.0);
            if !matches!(timeout(left_now, changes.changed()).await, Ok(Ok(()))) {
                return decided;
            }
            parked.again(end.since(self.now()));
        }
    }

    /// Words an answer. `again`: the ticket that the question came with.
    fn answer(
        &self,
        caller: &Caller,
        parked: &Parked,
        decided: Result<Pass, Denied>,
        again: Option<(TicketId, Time)>,
    ) -> Result<Response, Problem> {
        let request_id = single(&caller.headers, HEADER_REQUEST_ID);
        match decided {
            Ok(pass) => self.grant(caller, parked, pass),
            Err(denied) => Ok(match may_wait(&denied, parked.wait) {
                Some(refused) => self
                    .ticket(caller, parked, refused, again)
                    .unwrap_or_else(|| problem::denied(&denied, request_id)),
                None => problem::denied(&denied, request_id),
            }),
        }
    }

    fn grant(&self, caller: &Caller, parked: &Parked, pass: Pass) -> Result<Response, Problem> {
        let tier = self.shared.fronts.of(parked.facts(caller).model()).and_then(|front| {
            let terms = front.terms();
            Some(terms.world.tiers.get(pass.tier().index())?.name.clone())
        });
        let model = pass.rewrite().or(parked.facts(caller).model()).unwrap_or_default().to_owned();
        let mut admitted = Admitted {
            admitted: true,
            endpoint: pass.endpoint().to_owned(),
            prefill: pass.prefill().map(str::to_owned),
            lease: String::new(),
            lease_s: parked.lease.as_seconds(),
            model,
            traceparent: pass.traceparent().map(str::to_owned),
            tier: tier.unwrap_or_default(),
        };
        let until = self.now() + parked.lease;
        let random = random().ok_or(Problem::NoRandomness)?;
        let lease = self.shared.leases.grant(random, caller.holder, until, pass);
        admitted.lease = lease.map_err(Problem::Full)?.to_string();
        Ok(Json(admitted).into_response())
    }

    /// Gives a ticket for the place of a refused question, or renews the one that it came with.
    fn ticket(
        &self,
        caller: &Caller,
        parked: &Parked,
        refused: &Refused,
        again: Option<(TicketId, Time)>,
    ) -> Option<Response> {
        let now = self.now();
        let place = refused.place?;
        let (id, until) = match again {
            Some((ticket, until)) => (ticket.0, until),
            None => {
                // Deadlines are in the time of the gate that the place is in.
                let gate = self.shared.fronts.of(parked.facts(caller).model())?.desk();
                let left = place.deadline.since(gate.now());
                (random()?, now + left.clamp(TICKET_LIFE_MIN, TICKET_LIFE_MAX))
            }
        };
        if until <= now {
            return None;
        }
        let pause = pause(refused, parked.told.hold_max);
        let mut parked = parked.clone();
        parked.told.place = Some(place);
        shorten(&mut parked);
        let ticket = self.parked().issue(now, id, caller.holder, until, parked).ok()?;
        let good_for_s = until.since(now).as_seconds();
        let body = Ticketed { admitted: false, ticket: ticket.to_string(), good_for_s };
        let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&ticket.to_string()) {
            headers.insert(HEADER_TICKET, value);
        }
        if let Ok(value) = HeaderValue::from_str(&format!("/v1/admit/{ticket}")) {
            headers.insert(header::LOCATION, value);
        }
        if let Some(pause) = pause {
            let millis = pause.0.div_ceil(1_000_000);
            headers.insert(header::RETRY_AFTER, millis.div_ceil(1_000).into());
            headers.insert("retry-after-ms", millis.into());
        }
        Some(response)
    }

    /// Whether somebody waits for that ticket now.
    fn is_asked_for(&self, ticket: TicketId, holder: u64) -> bool {
        self.asked_for().contains(&(ticket, holder))
    }
}

/// Whether there is no endpoint for it, which the gate says at once.
const fn finds_nobody(denied: &Denied) -> bool {
    matches!(
        denied,
        Denied::Refused { refused: Refused { reason: Reason::Gate(Refusal::NoEndpoints), .. }, .. }
    )
}

/// When to ask with the ticket again; `None` = at once, since the caller has waited here.
fn pause(refused: &Refused, held: Option<Span>) -> Option<Span> {
    let has_waited = refused.reason == Reason::Gate(Refusal::TtlExpired)
        && held.is_some_and(|held| held > Span::ZERO);
    (!has_waited).then(|| refused.retry_after.unwrap_or(POLL_PAUSE))
}

/// The refusal, if the question may come back: it was only not its turn yet.
const fn may_wait(denied: &Denied, wait: Wait) -> Option<&Refused> {
    match (denied, wait) {
        (Denied::Refused { refused, .. }, Wait::Ticket) => match refused.reason {
            Reason::Gate(
                Refusal::TtlExpired | Refusal::NoEndpoints | Refusal::NoCapacityInSight,
            ) => Some(refused),
            _ => None,
        },
        _ => None,
    }
}

/// Leaves out of a question what need not be remembered.
fn shorten(parked: &mut Parked) {
    let prefix = parked.body.as_mut().and_then(|body| body.prompt.prefix.as_mut());
    if let Some(prefix) = prefix
        && prefix.ids.len() > PARKED_PIECES_MAX
    {
        let ids = prefix.ids[..PARKED_PIECES_MAX].into();
        *prefix = Prefix { ids, piece_tokens: prefix.piece_tokens };
    }
}

/// 128 bits that nobody can guess; `None` where the system has none to give.
fn random() -> Option<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(u128::from_le_bytes(bytes))
}

/// Puts a ticket back if nobody is left to be answered.
#[derive(Debug)]
struct PutBack<'a> {
    face: &'a Admission,
    ticket: TicketId,
    holder: u64,
    until: Time,
    /// Taken when there is nothing to put back.
    parked: Option<Parked>,
}

impl<'a> PutBack<'a> {
    fn new(
        face: &'a Admission,
        ticket: TicketId,
        holder: u64,
        until: Time,
        parked: Parked,
    ) -> Self {
        face.asked_for().insert((ticket, holder));
        Self { face, ticket, holder, until, parked: Some(parked) }
    }

    fn spent(&mut self) {
        self.parked = None;
    }
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if let Some(parked) = self.parked.take() {
            let now = self.face.now();
            let ticket = self.ticket.0;
            // Full again meanwhile: the place is lost, as the table's bound says.
            let _ = self.face.parked().issue(now, ticket, self.holder, self.until, parked);
        }
        self.face.asked_for().remove(&(self.ticket, self.holder));
    }
}
