//! The controller's end, live: one state machine for each fleet.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::sync::{
    ControllerEnd, ControllerSyncEffect, ControllerSyncEvent, Drained, FromGate, LinkId, Plan,
    Report, Term, ToGate,
};
use forebay_core::time::Time;
use tokio::sync::{mpsc, oneshot};

use super::drive::{self, End};
use super::{Clock, INBOX_MAX, Outbox, offer};

/// Gates connected to one controller at most, over all fleets; more are turned away.
const LINKS_MAX: usize = 1_024;

/// What a controller is.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// Names this process, so that a restarted one is another.
    pub holder: String,
    /// The fleets that it decides about.
    pub fleets: Vec<String>,
}

/// What the state machines are told and asked.
pub(super) enum ControllerInput {
    Connected(LinkId, Outbox<ToGate>),
    Lost(LinkId),
    Heard(LinkId, FromGate),
    Lease(Option<Term>),
    Planned(String, Plan),
    Active(String, oneshot::Sender<Option<(Time, Report)>>),
    Drained(String, String, oneshot::Sender<Drained>),
    Leads(oneshot::Sender<Option<Term>>),
}

/// The way to a controller's end. Dropping all of them ends it.
#[derive(Clone, Debug)]
pub struct ControllerHandle {
    pub(super) inbox: mpsc::Sender<ControllerInput>,
    links: Arc<AtomicU64>,
}

/// The controller's end as a task.
pub struct SyncController {
    ends: BTreeMap<String, ControllerEnd>,
    clock: Clock,
    inbox: mpsc::Receiver<ControllerInput>,
    links: HashMap<LinkId, Link>,
}

struct Link {
    outbox: Outbox<ToGate>,
    /// The fleet that its gate serves, once it said so.
    fleet: Option<String>,
}

impl SyncController {
    /// The end of one controller; [`SyncController::run`] is its task.
    #[must_use]
    pub fn new(settings: ControllerSettings, clock: Clock) -> (ControllerHandle, Self) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let ControllerSettings { holder, fleets } = settings;
        let ends = fleets
            .into_iter()
            .map(|fleet| (fleet.clone(), ControllerEnd::new(holder.clone(), fleet)))
            .collect();
        let handle = ControllerHandle { inbox: sender, links: Arc::default() };
        (handle, Self { ends, clock, inbox, links: HashMap::new() })
    }

    /// Runs until every handle is gone.
    pub async fn run(self) {
        let Self { ends, clock, inbox, links } = self;
        drive::run(Ends { ends, clock, links }, clock, inbox).await;
    }
}

/// The ends of all fleets, as they are driven.
struct Ends {
    ends: BTreeMap<String, ControllerEnd>,
    clock: Clock,
    links: HashMap<LinkId, Link>,
}

impl End for Ends {
    type Input = ControllerInput;

    fn next_deadline(&self) -> Option<Time> {
        self.ends.values().filter_map(ControllerEnd::next_deadline).min()
    }

    fn due(&mut self) {
        self.step_all(ControllerSyncEvent::Due);
    }

    fn closed(&self) -> Vec<LinkId> {
        drive::closed(self.links.iter().map(|(link, known)| (link, &known.outbox)))
    }

    fn lost(&mut self, link: LinkId) {
        self.take(ControllerInput::Lost(link));
    }

    fn take(&mut self, input: ControllerInput) {
        match input {
            ControllerInput::Connected(link, outbox) => {
                // Dropping the outbox ends the stream.
                if self.links.len() < LINKS_MAX {
                    self.links.insert(link, Link { outbox, fleet: None });
                }
            }
            ControllerInput::Lost(link) => {
                let fleet = self.links.remove(&link).and_then(|link| link.fleet);
                if let Some(fleet) = fleet {
                    self.step(&fleet, ControllerSyncEvent::Lost { link });
                }
            }
            ControllerInput::Heard(link, message) => self.hear(link, &message),
            ControllerInput::Lease(term) => self.step_all(ControllerSyncEvent::Lease(term)),
            ControllerInput::Planned(fleet, plan) => {
                self.step(&fleet, ControllerSyncEvent::Planned(&plan));
            }
            ControllerInput::Active(fleet, answer) => {
                let end = self.ends.get(&fleet);
                let found = end.and_then(|end| end.active(self.clock.now()));
                // Whoever asked may have gone.
                let _ = answer.send(found.map(|(at, report)| (at, report.clone())));
            }
            ControllerInput::Drained(fleet, address, answer) => {
                let end = self.ends.get(&fleet);
                let now = self.clock.now();
                let drained = end.map_or(Drained::Unknown, |end| end.drained(now, &address));
                let _ = answer.send(drained);
            }
            ControllerInput::Leads(answer) => {
                let terms = self.ends.values().map(ControllerEnd::term);
                // It leads all fleets or none.
                let _ = answer.send(terms.min().flatten());
            }
        }
    }
}

impl Ends {
    fn hear(&mut self, link: LinkId, message: &FromGate) {
        let fleet = match message {
            FromGate::Report(report) => &report.fleet,
            FromGate::Ack(ack) => &ack.fleet,
        };
        let Some(known) = self.links.get_mut(&link) else { return };
        if known.fleet.is_none() && self.ends.contains_key(fleet) {
            known.fleet = Some(fleet.clone());
            self.step(fleet, ControllerSyncEvent::Connected { link });
        }
        let bound = self.links.get(&link).and_then(|known| known.fleet.clone());
        match bound {
            Some(bound) => self.step(&bound, ControllerSyncEvent::Heard { link, message }),
            None => tracing::warn!(fleet, "a gate of a fleet that nobody here decides about"),
        }
    }

    fn step_all(&mut self, event: ControllerSyncEvent<'_>) {
        let fleets: Vec<String> = self.ends.keys().cloned().collect();
        fleets.iter().for_each(|fleet| self.step(fleet, event));
    }

    fn step(&mut self, fleet: &str, event: ControllerSyncEvent<'_>) {
        let Some(end) = self.ends.get_mut(fleet) else { return };
        let mut effects = Vec::new();
        end.step(self.clock.now(), event, &mut effects);
        for effect in effects {
            match effect {
                ControllerSyncEffect::Send { links, message } => {
                    for link in links.iter().filter_map(|link| self.links.get(link)) {
                        offer(&link.outbox, message.clone());
                    }
                }
                ControllerSyncEffect::Superseded { by } => {
                    tracing::warn!(fleet, term = by.0, "a gate follows a later leader");
                }
            }
        }
    }
}

impl ControllerHandle {
    /// The lease was gained or renewed in this term, or lost.
    pub async fn lease(&self, term: Option<Term>) {
        self.tell(ControllerInput::Lease(term)).await;
    }

    /// There is another plan for a fleet.
    pub async fn planned(&self, fleet: &str, plan: Plan) {
        self.tell(ControllerInput::Planned(fleet.to_owned(), plan)).await;
    }

    /// The latest report of a fleet's active gate, and when it came; `None` while none is heard.
    pub async fn active(&self, fleet: &str) -> Option<(Time, Report)> {
        self.ask(|answer| ControllerInput::Active(fleet.to_owned(), answer)).await.flatten()
    }

    /// Whether an endpoint that the plan drains is empty at every gate.
    pub async fn drained(&self, fleet: &str, address: &str) -> Drained {
        let input = |answer| ControllerInput::Drained(fleet.to_owned(), address.to_owned(), answer);
        self.ask(input).await.unwrap_or(Drained::Unknown)
    }

    /// The term in which it leads; `None` = it does not, or a gate follows a later leader.
    pub async fn leads(&self) -> Option<Term> {
        self.ask(ControllerInput::Leads).await.flatten()
    }

    pub(super) fn next_link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed))
    }

    async fn tell(&self, input: ControllerInput) {
        // It ends only with the last handle.
        let _ = self.inbox.send(input).await;
    }

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> ControllerInput) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.inbox.send(input(sender)).await.ok()?;
        answer.await.ok()
    }
}
