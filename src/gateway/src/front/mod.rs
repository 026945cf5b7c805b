//! What every face does with a request: who asks, in which tier, within which limits; then the
//! gate; then what it cost. Faces differ in how they take a request in and how they say no.

mod check;
mod denied;
mod fronts;
mod generation;
mod guide;
mod meters;
mod pass;
mod report;
mod terms;

#[cfg(test)]
mod guide_tests;
#[cfg(test)]
mod tests;

pub use check::Checked;
pub use denied::{
    Denied, HEADER_DROPPED_REASON, HEADER_REQUEST_ID, HEADER_TICKET, HEADER_TRACEPARENT,
    HEADER_TRACESTATE, Reply,
};
pub use fronts::Fronts;
pub use generation::FleetTerms;
pub use meters::{FrontMeters, TenantMeters};
pub use pass::{Pass, Retry, Waiting};
pub use report::FrontSource;
pub use terms::Told;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use forebay_core::admit::{Charge, Facts, Limits, TicketId, Tickets, headers};
use forebay_core::gate::{EndpointLoad, Place};
use forebay_core::time::{Span, Time};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::body::Parsed;
use crate::desk::{Ask, Desk, Refused, Served};
use crate::spans::{About, Spans};
use generation::Generation;

/// How long a ticket is good when its place names no nearer deadline: a day of batch work.
const TICKET_LIFE_MAX: Span = Span::from_secs(24 * 3_600);

/// The front of one fleet's gate. Clones share it.
#[derive(Clone, Debug)]
pub struct Front {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Generation>,
    /// Gates of earlier terms that still hold requests; they go on under those terms.
    older: Mutex<Vec<Desk>>,
    guide: Mutex<guide::Guide>,
    /// Another gate has come: it needs its time kept.
    reloaded: Notify,
    /// Counts what may change the answer to a request that found no endpoint.
    changes: watch::Sender<u64>,
    limits: Mutex<Limits>,
    tickets: Mutex<Tickets<Place>>,
    meters: Mutex<FrontMeters>,
    /// Requests so far: draws are made of it.
    requests: AtomicU64,
    seed: u64,
    /// Empty where nobody asked for spans.
    spans: OnceLock<Spans>,
}

/// A request, as a face brings it.
#[derive(Debug)]
pub struct Request<'a, F> {
    /// Headers, peer and the like.
    pub facts: &'a F,
    /// Its body; `None` for one that has none, or that the face does not see.
    pub body: Option<&'a Parsed>,
    /// Addresses that it may go to; `None` = all.
    pub candidates: Option<Vec<Box<str>>>,
    /// What its caller told besides.
    pub told: Told,
    /// How it was called, where the face sees that: for spans.
    pub line: Option<RequestLine<'a>>,
    /// What it was charged when another engine failed it; `None` for the first try. It is counted
    /// and charged once, whatever number of engines it is sent to.
    pub retry: Option<Retry>,
}

/// Method and path of a request to an engine.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// As `POST`.
    pub method: &'a str,
    /// As `/v1/completions`, with a query or without.
    pub path: &'a str,
}

impl Front {
    /// A front with these terms. `seed` keys the hashes of what clients choose.
    #[must_use]
    pub fn new(terms: FleetTerms, seed: u64) -> Self {
        let generation = Generation::new(terms);
        let now = generation.desk.now();
        let limits = Limits::new(now, &generation.terms.tenants);
        let shared = Shared {
            current: ArcSwap::from_pointee(generation),
            older: Mutex::default(),
            guide: Mutex::default(),
            reloaded: Notify::new(),
            changes: watch::Sender::default(),
            limits: Mutex::new(limits),
            tickets: Mutex::default(),
            meters: Mutex::default(),
            requests: AtomicU64::new(0),
            seed,
            spans: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes a span of each request from now on. Only the first call counts.
    pub fn trace(&self, spans: Spans) {
        let _already = self.shared.spans.set(spans);
    }

    /// Asks for a place. All that can be decided at once is decided when this returns; the rest
    /// when what it returns is awaited. Dropping it means that the client has gone.
    ///
    /// # Errors
    /// Limits, and bodies that cannot be served. Refusals of the gate come when awaited.
    pub fn admit<F: Facts>(&self, request: Request<'_, F>) -> Result<Waiting, Denied> {
        let generation = self.shared.current.load_full();
        let terms = &generation.terms;
        let identity = terms.admit.identifier.identify(request.facts);
        let draw = self.draw();
        let now = generation.desk.now();

        let model = request.facts.model();
        let header = |name: headers::Name| name.read(|name| request.facts.header(name));
        let asked = header(headers::MODEL_REWRITE).filter(|_| identity.trusted);
        let rewrite =
            model.and_then(|model| terms.admit.rewrites.rewrite(model, asked, draw as u64));
        let served_model = rewrite.or(model);

        let prompt = request.body.map(|body| &body.prompt);
        let prompt_tokens = request.told.prompt_tokens.or(prompt.map(|prompt| prompt.tokens));
        // Without a body or a caller who tells (forward-auth, lists of models) there is no prompt
        // that an engine would compute first, as far as anybody can see: it takes a place, no work.
        let prompt_tokens = prompt_tokens.unwrap_or(0);
        let output_tokens_max =
            request.told.output_tokens_max.or(request.body.and_then(|body| body.output_tokens_max));

        let enforced = terms.admit.enforcement.enforced(identity.tier, draw);
        let guess = u64::from(prompt_tokens) + u64::from(terms.output_guess(output_tokens_max));
        let ticket = header(headers::TICKET).and_then(|ticket| ticket.parse::<TicketId>().ok());
        let ticket = ticket.filter(|ticket| self.tickets().get(*ticket, identity.flow).is_some());
        let is_first = request.retry.is_none();
        let charged = if let Some(retry) = request.retry {
            Ok(retry.into_charge())
        } else if ticket.is_some() || request.told.place.is_some() {
            self.limits().readmit(now, identity.tenant, guess)
        } else {
            self.limits().admit(now, identity.tenant, guess)
        };
        let tenant = meters::label(&identity);
        let span = self.shared.spans.get().map(|spans| {
            let fleet = &terms.world.fleets[terms.fleet.index()].name;
            let tier = &terms.world.tiers[identity.tier.index()].name;
            let about = About {
                fleet,
                tier,
                tenant: Arc::clone(&tenant),
                line: request.line,
                model,
                prompt_tokens,
                output_tokens_max,
                stream: request.body.map(|body| body.stream),
            };
            spans.begin(&about, |name| request.facts.header(name))
        });
        let charge = match charged {
            Ok(charge) => charge,
            Err(limited) => {
                self.meters().limited(&identity, enforced);
                if enforced {
                    return Err(pass::refused(span, Denied::Limited(limited)));
                }
                Charge::NONE
            }
        };
        if is_first {
            self.meters().arrived(&identity, prompt_tokens);
        }

        let place = ticket
            .and_then(|ticket| self.tickets().redeem(now, ticket, identity.flow))
            .map(|(_, place)| place)
            .or(request.told.place);
        let objective = terms.objective(identity.tier, &request.told, &header, identity.trusted);
        let ask = Ask {
            flow: identity.flow,
            user: identity.user,
            weight: identity.weight,
            output_tokens_max,
            prefix: prompt.and_then(|prompt| prompt.prefix.clone()),
            adapter: served_model.and_then(|model| terms.adapter(model, self.shared.seed)),
            candidates: request.candidates,
            tpot: objective.tpot,
            hold_max: objective.hold_max,
            enforced,
            place,
            ..Ask::new(identity.tier, prompt_tokens, objective.within)
        };
        let admission = generation.desk.admit(&ask);
        let settlement = pass::Settlement {
            front: self.clone(),
            charge: Some(charge),
            tenant,
            span,
            tier: identity.tier,
            flow: identity.flow,
            prompt_tokens,
            keeps_place: request.told.keeps_place,
        };
        let rewrite = rewrite.map(str::to_owned);
        let stripped = terms.admit.identifier.stripped(request.facts);
        let stripped = stripped.filter(|name| request.facts.header(name).is_some());
        let mut stripped: Vec<String> = stripped.map(str::to_owned).collect();
        if settlement.begins_trace() && request.facts.header(HEADER_TRACESTATE).is_some() {
            stripped.push(HEADER_TRACESTATE.to_owned());
        }
        Ok(Waiting::new(admission, settlement, rewrite, stripped))
    }

    /// The gate that new requests go to, for pages, budgets and outlooks.
    #[must_use]
    pub fn desk(&self) -> Desk {
        self.shared.current.load().desk.clone()
    }

    /// The terms in force.
    #[must_use]
    pub fn terms(&self) -> Arc<FleetTerms> {
        Arc::clone(&self.shared.current.load().terms)
    }

    /// Takes other terms for what comes from now on. What is held or in flight goes on under
    /// those that it came with: where the gate itself has to change, the old one goes on beside
    /// the new one until it is empty, and both see every page of every endpoint.
    pub fn reload(&self, terms: FleetTerms) {
        let before = self.shared.current.load_full();
        self.limits().reload(before.desk.now(), &terms.tenants);
        let after = before.followed_by(terms);
        // Nothing is drained, gone or learned in between.
        let mut guide = self.lock_guide();
        if !after.desk.is_same(&before.desk) {
            guide.forget_learned();
            guide.tell(&after.desk, &after.terms);
            let mut older = self.older();
            older.push(before.desk.clone());
            older.retain(|desk| !desk.is_idle());
        }
        self.shared.current.store(Arc::new(after));
        drop(guide);
        self.shared.reloaded.notify_one();
        self.changed();
    }

    /// Sends the gates their deadlines, as long as it is polled. Run it beside the faces.
    pub async fn keep_time(self) {
        let mut timers = JoinSet::new();
        let mut kept: Vec<(Desk, AbortHandle)> = Vec::new();
        loop {
            let desks = self.desks();
            kept.retain(|(desk, timer)| {
                let stays = desks.iter().any(|other| other.is_same(desk));
                if !stays {
                    timer.abort();
                }
                stays
            });
            for desk in desks {
                if !kept.iter().any(|(other, _)| other.is_same(&desk)) {
                    let timer = timers.spawn(desk.clone().keep_time());
                    kept.push((desk, timer));
                }
            }
            self.shared.reloaded.notified().await;
        }
    }

    /// An endpoint takes no more requests.
    pub fn endpoint_draining(&self, address: &str) {
        self.each(|desk| desk.with_endpoint(address, Desk::endpoint_draining));
    }

    /// A page of an endpoint was read, or could not be. What it says of answers is for requests
    /// whose usage does not pass here.
    pub fn scraped(
        &self,
        address: &str,
        age: Span,
        load: Option<EndpointLoad>,
        served: Option<Served>,
    ) {
        self.each(|desk| {
            desk.with_endpoint(address, |desk, endpoint| {
                match load {
                    Some(load) => desk.scraped(endpoint, age, load),
                    None => desk.scrape_lost(endpoint),
                }
                if let Some(served) = served {
                    desk.served(endpoint, served);
                }
            });
        });
    }

    /// Refuses what comes from now on.
    pub fn close(&self) {
        self.each(Desk::close);
        self.changed();
    }

    /// Tells when a request that found no endpoint may get another answer: an endpoint has come,
    /// there are other terms, or nothing more is taken.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    fn changed(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// Whether nothing is held or in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.desk().is_idle() && self.older().iter().all(Desk::is_idle)
    }

    /// Tickets given out that can still be redeemed.
    #[must_use]
    pub fn tickets_open(&self) -> usize {
        self.tickets().len()
    }

    /// What was counted by tenant and tier.
    pub fn inspect_meters<T>(&self, read: impl FnOnce(&FrontMeters) -> T) -> T {
        read(&self.meters())
    }

    /// Gives a ticket for the place of a refused request: good until its deadline.
    pub(crate) fn ticket(&self, flow: u64, place: Place) -> Option<TicketId> {
        let now = self.desk().now();
        let until = place.deadline.min(now + TICKET_LIFE_MAX);
        let mut random = [0; 16];
        if until <= now || getrandom::fill(&mut random).is_err() {
            return None;
        }
        let random = u128::from_le_bytes(random);
        let issued = self.tickets().issue(now, random, flow, until, place).ok();
        self.meters().tickets += u64::from(issued.is_some());
        issued
    }

    /// Every gate that holds something, the present one last.
    fn desks(&self) -> Vec<Desk> {
        let mut desks = self.older().clone();
        desks.push(self.desk());
        desks
    }

    fn each(&self, tell: impl Fn(&Desk)) {
        tell(&self.desk());
        self.older().iter().for_each(tell);
    }

    /// 128 bits that differ from request to request and that nobody outside can tell.
    fn draw(&self) -> u128 {
        let number = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        xxh3_128_with_seed(&number.to_le_bytes(), self.shared.seed)
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.shared.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets<Place>> {
        self.shared.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meters(&self) -> MutexGuard<'_, FrontMeters> {
        self.shared.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_guide(&self) -> MutexGuard<'_, guide::Guide> {
        self.shared.guide.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn older(&self) -> MutexGuard<'_, Vec<Desk>> {
        self.shared.older.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, charge: Charge, tokens: u64) {
        let now: Time = self.desk().now();
        self.limits().settle(now, charge, tokens);
    }
}

/// For [`Desk::admit`] and refusals alike.
impl From<Refused> for Denied {
    fn from(refused: Refused) -> Self {
        Self::Refused { refused, ticket: None }
    }
}
