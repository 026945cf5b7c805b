//! The live driver of a gate: one state machine, one clock, one timer. Faces ask it and wait.
//!
//! Everything happens inline on whoever calls: a step of the gate takes microseconds, so a lock
//! held for one step costs less than handing the request to another thread. With one data thread
//! the lock is never contended.

mod answers;
mod directory;
mod grant;
mod meters;
mod refused;
mod timer;

#[cfg(test)]
mod tests;

pub use answers::{Answers, Served};
pub use directory::{Directory, EndpointInfo};
pub use grant::{Admission, Grant, Outcome, Usage};
pub use meters::{Meters, TierMeters};
pub use refused::{Reason, Refused};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay_core::engine::Prefix;
use forebay_core::engine::profile::EngineProfile;
use forebay_core::fleet::Role;
use forebay_core::gate::{
    Arrival, EndpointLoad, Gate, GateEffect, GateEvent, Outlook, Place, RequestMap,
};
use forebay_core::ids::{EndpointId, RequestId, TierId, VariantId};
use forebay_core::time::{Span, Time};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use grant::{Answer, Hold};
use meters::Counted;

/// The gate of one fleet, live. Clones share it.
#[derive(Clone, Debug)]
pub struct Desk {
    shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the timer when an earlier deadline was set.
    rearm: Notify,
    /// What time is, for the gate and all that share its times.
    clock: Clock,
    /// Something happened that a controller should hear of soon.
    news: Arc<Notify>,
}

/// The machine and those who wait for it.
struct State {
    gate: Box<dyn Gate + Send>,
    directory: Directory,
    waiting: RequestMap<Waiter>,
    effects: Vec<GateEffect>,
    next_request: u64,
    /// What the timer sleeps until.
    armed: Option<Time>,
    meters: Meters,
    closed: bool,
}

/// Who waits for the gate's decision about a request.
struct Waiter {
    sender: oneshot::Sender<Answer>,
    counted: Counted,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

/// One request, as the gate is asked about it. What is not known is `None`.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its tier.
    pub tier: TierId,
    /// Its flow (tenant), hashed by us.
    pub flow: u64,
    /// The user inside the flow, hashed by us; 0 where nobody says.
    pub user: u64,
    /// Weight of the flow among those of its tier.
    pub weight: f64,
    /// Prompt length, estimated or told, tokens.
    pub prompt_tokens: u32,
    /// Most tokens that the client lets it generate.
    pub output_tokens_max: Option<u32>,
    /// Content of the prompt, piece by piece.
    pub prefix: Option<Prefix>,
    /// LoRA adapter, hashed by us.
    pub adapter: Option<u64>,
    /// Addresses (`ip:port`) that it may go to; `None` = all, an empty list = nobody.
    pub candidates: Option<Vec<Box<str>>>,
    /// Time from now to the first token (or, for tiers that promise completion, to the end).
    pub within: Span,
    /// Time per output token that it asks for itself.
    pub tpot: Option<Span>,
    /// Longest time that it may be held; `None` = its tier's.
    pub hold_max: Option<Span>,
    /// Whether the gate's word counts for it.
    pub enforced: bool,
    /// The place that it had when it was last refused.
    pub place: Option<Place>,
}

impl Ask {
    /// A request of which nothing else is known.
    #[must_use]
    pub const fn new(tier: TierId, prompt_tokens: u32, within: Span) -> Self {
        Self {
            tier,
            flow: 0,
            user: 0,
            weight: 1.0,
            prompt_tokens,
            output_tokens_max: None,
            prefix: None,
            adapter: None,
            candidates: None,
            within,
            tpot: None,
            hold_max: None,
            enforced: true,
            place: None,
        }
    }
}

impl Desk {
    /// A desk for this gate, which has not seen any event yet. `tiers` is how many there are.
    #[must_use]
    pub fn new(gate: Box<dyn Gate + Send>, tiers: usize) -> Self {
        Self::since(Clock::since(Instant::now()), Arc::default(), gate, tiers)
    }

    /// A desk that takes the place of this one and counts time as it does, so that places in
    /// tickets mean the same to both.
    #[must_use]
    pub fn successor(&self, gate: Box<dyn Gate + Send>, tiers: usize) -> Self {
        Self::since(self.shared.clock, Arc::clone(&self.shared.news), gate, tiers)
    }

    fn since(clock: Clock, news: Arc<Notify>, gate: Box<dyn Gate + Send>, tiers: usize) -> Self {
        let state = State {
            gate,
            directory: Directory::default(),
            waiting: RequestMap::default(),
            effects: Vec::new(),
            next_request: 0,
            armed: None,
            meters: Meters::new(tiers),
            closed: false,
        };
        let shared = Shared { state: Mutex::new(state), rearm: Notify::new(), clock, news };
        Self { shared: Arc::new(shared) }
    }

    /// Asks for a place. The gate has decided, or holds the request, when this returns; dropping
    /// the admission, or the grant it ends in, tells it that the client has gone.
    #[must_use]
    pub fn admit(&self, ask: &Ask) -> Admission {
        let now = self.now();
        let mut state = self.lock();
        let counted = Counted { tier: ask.tier, prompt_tokens: ask.prompt_tokens, arrived: now };
        state.meters.arrived(&counted);
        if state.closed {
            let refused = Refused::shutting_down();
            state.meters.refused(ask.tier, refused.reason);
            return Admission::refused(refused);
        }
        let request = RequestId(state.next_request);
        state.next_request += 1;
        // Addresses that nobody has are nobody.
        let candidates: Option<Vec<EndpointId>> = ask.candidates.as_ref().map(|addresses| {
            addresses.iter().filter_map(|address| state.directory.find(address)).collect()
        });
        let arrival = Arrival {
            request,
            tier: ask.tier,
            flow: ask.flow,
            user: ask.user,
            weight: ask.weight,
            prompt_tokens: ask.prompt_tokens,
            output_tokens_max: ask.output_tokens_max,
            prefix: ask.prefix.as_ref(),
            adapter: ask.adapter,
            candidates: candidates.as_deref(),
            deadline: now + ask.within,
            tpot: ask.tpot,
            hold_max: ask.hold_max,
            enforced: ask.enforced,
            place: ask.place,
        };
        let hold = Hold::new(self.clone(), request, counted);
        let own =
            self.step(&mut state, now, GateEvent::Arrived(&arrival), Some((request, counted)));
        if !matches!(own, Some(Ok(_))) {
            self.shared.news.notify_one();
        }
        match own {
            Some(answer) => {
                drop(state);
                Admission::decided(hold, answer)
            }
            None => {
                let (sender, receiver) = oneshot::channel();
                state.waiting.insert(request, Waiter { sender, counted });
                drop(state);
                Admission::held(hold, receiver)
            }
        }
    }

    /// An endpoint became ready. Its address is how requests are sent to it: `ip:port`.
    pub fn endpoint_ready(&self, address: &str, variant: VariantId, role: Role) -> EndpointId {
        let now = self.now();
        let mut state = self.lock();
        let endpoint = state.directory.insert(address, variant, role);
        self.step(&mut state, now, GateEvent::EndpointReady { endpoint, variant, role }, None);
        endpoint
    }

    /// An endpoint takes no more requests.
    pub fn endpoint_draining(&self, endpoint: EndpointId) {
        self.tell(GateEvent::EndpointDraining { endpoint });
    }

    /// An endpoint is gone.
    pub fn endpoint_gone(&self, endpoint: EndpointId) {
        let now = self.now();
        let mut state = self.lock();
        state.directory.remove(endpoint);
        self.step(&mut state, now, GateEvent::EndpointGone { endpoint }, None);
    }

    /// A page of an endpoint was read; it was true `age` ago.
    pub fn scraped(&self, endpoint: EndpointId, age: Span, load: EndpointLoad) {
        let now = self.now();
        let at = Time(now.0.saturating_sub(age.0));
        let mut state = self.lock();
        if state.directory.scraped(endpoint, at, Some(load)) {
            self.step(&mut state, now, GateEvent::Scraped { endpoint, at, load }, None);
        }
    }

    /// What an endpoint has served, as its page says.
    pub fn served(&self, endpoint: EndpointId, served: Served) {
        self.lock().directory.served(endpoint, served);
    }

    /// The page of an endpoint could not be read.
    pub fn scrape_lost(&self, endpoint: EndpointId) {
        let now = self.now();
        let mut state = self.lock();
        if state.directory.scraped(endpoint, now, None) {
            self.step(&mut state, now, GateEvent::ScrapeLost { endpoint }, None);
        }
    }

    /// What capacity is on its way; replaces what was said before. Times are since the desk was
    /// opened (see [`Desk::now`]).
    pub fn outlook(&self, outlook: &Outlook<'_>) {
        self.tell(GateEvent::Outlook(outlook));
    }

    /// Other physics of a variant are in force: its profile with what was learned.
    pub fn learned(&self, variant: VariantId, profile: &EngineProfile) {
        self.tell(GateEvent::Learned { variant, profile });
    }

    /// Refuses what comes from now on; what is held or in flight goes on.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Whether both are one desk.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether nothing is held or in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.meters.running() == 0
    }

    /// Tells something of the endpoint at an address; nothing where there is none.
    pub fn with_endpoint(&self, address: &str, tell: impl FnOnce(&Self, EndpointId)) {
        let endpoint = self.lock().directory.find(address);
        if let Some(endpoint) = endpoint {
            tell(self, endpoint);
        }
    }

    /// Reads what the desk knows, under its lock: keep it short.
    pub fn inspect<T>(&self, read: impl FnOnce(&View<'_>) -> T) -> T {
        let now = self.now();
        let state = self.lock();
        read(&View { now, gate: &*state.gate, directory: &state.directory, meters: &state.meters })
    }

    /// Sends the gate its deadlines, as long as it is polled. Run it beside the faces.
    pub async fn keep_time(self) {
        timer::run(&self).await;
    }

    /// Now, since the desk was opened.
    #[must_use]
    pub fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// The clock that it goes by, for those who tell it of times to come.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Resolves when requests began to wait, were refused or ended since it last did: for one who
    /// reports them. Those of its successors count as well.
    pub async fn changed(&self) {
        self.shared.news.notified().await;
    }

    /// A panic in a step leaves a gate that may have lost one request, not one that is unsafe to
    /// go on with: one stream ends, never the process.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: GateEvent<'_>) {
        let now = self.now();
        let mut state = self.lock();
        self.step(&mut state, now, event, None);
    }

    /// One step: hands each answer to who waits for it, and returns the one for `own`.
    fn step(
        &self,
        state: &mut State,
        now: Time,
        event: GateEvent<'_>,
        own: Option<(RequestId, Counted)>,
    ) -> Option<Answer> {
        let State { gate, effects, waiting, directory, meters, armed, .. } = state;
        effects.clear();
        gate.step(now, event, effects);
        let mut mine = None;
        for effect in effects.drain(..) {
            let (request, answer) = directory.answer(&effect);
            if let Some((_, counted)) = own.filter(|(own, _)| *own == request) {
                meters.answered(&counted, now, &answer);
                mine = Some(answer);
            } else if let Some(waiter) = waiting.remove(&request) {
                meters.answered(&waiter.counted, now, &answer);
                // Whoever has stopped waiting says so by dropping its hold.
                let _ = waiter.sender.send(answer);
            }
        }
        let deadline = gate.next_deadline();
        if deadline.is_some() && (armed.is_none() || deadline < *armed) {
            *armed = deadline;
            self.shared.rearm.notify_one();
        }
        mine
    }
}

/// What the desk knows, for pages and reports.
pub struct View<'a> {
    /// Now, since the desk was opened.
    pub now: Time,
    /// The gate.
    pub gate: &'a dyn Gate,
    /// Endpoints.
    pub directory: &'a Directory,
    /// Counters.
    pub meters: &'a Meters,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("View").field("now", &self.now).finish_non_exhaustive()
    }
}
