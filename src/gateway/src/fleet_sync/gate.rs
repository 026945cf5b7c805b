//! The gate's end, live.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::sync::{
    EndpointReport, FromGate, GATE_LOST, GateCounts, GateEnd, GateName, GateSyncEffect,
    GateSyncEvent, Guided, LinkId, Report, Standing, TierReport, ToGate,
};
use forebay_core::time::Time;
use tokio::sync::{mpsc, watch};

use super::drive::{self, End};
use super::{Clock, INBOX_MAX, Outbox, offer};

/// What a gate shows of itself whenever it reports.
pub trait GateSource: Send + Sync + 'static {
    /// Whether it takes requests, or would if no other gate did.
    fn active(&self) -> bool;
    /// By tier.
    fn tiers(&self) -> Vec<TierReport>;
    /// By endpoint.
    fn endpoints(&self) -> Vec<EndpointReport>;
}

/// What holds at the gate now.
#[derive(Clone, Debug, PartialEq)]
pub struct GateState {
    /// How it stands with the controller.
    pub standing: Standing,
    /// What the leader wants, or what is left of it.
    pub guided: Guided,
    /// The gate that is active instead of this one, if one is.
    pub stand_by: Option<GateName>,
    /// What was followed and ignored.
    pub counts: GateCounts,
}

/// What the state machine is told.
pub(super) enum GateInput {
    Connected(LinkId, Outbox<FromGate>),
    Lost(LinkId),
    Heard(LinkId, ToGate),
    Changed,
}

/// The way to a gate's end. Dropping all of them ends it.
#[derive(Clone, Debug)]
pub struct GateHandle {
    pub(super) inbox: mpsc::Sender<GateInput>,
    state: watch::Receiver<GateState>,
    links: Arc<AtomicU64>,
}

/// The gate's end as a task.
pub struct SyncGate {
    driven: Driven,
    inbox: mpsc::Receiver<GateInput>,
}

/// The gate's end, as it is driven.
struct Driven {
    end: GateEnd,
    clock: Clock,
    source: Arc<dyn GateSource>,
    state: watch::Sender<GateState>,
    outboxes: HashMap<LinkId, Outbox<FromGate>>,
    /// The gate that is active instead of us, and until when that holds unless it is said again:
    /// each of our reports is answered so while it does.
    stand_by: Option<(GateName, Time)>,
    guided: Guided,
}

impl SyncGate {
    /// The end of one gate; [`SyncGate::run`] is its task.
    #[must_use]
    pub fn new(
        gate: GateName,
        fleet: String,
        clock: Clock,
        source: Arc<dyn GateSource>,
    ) -> (GateHandle, Self) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let guided = Guided::default();
        let first = GateState {
            standing: Standing::Never,
            guided: guided.clone(),
            stand_by: None,
            counts: GateCounts::default(),
        };
        let (state, watched) = watch::channel(first);
        let handle = GateHandle { inbox: sender, state: watched, links: Arc::default() };
        let end = GateEnd::new(gate, fleet);
        let outboxes = HashMap::new();
        let driven = Driven { end, clock, source, state, outboxes, stand_by: None, guided };
        (handle, Self { driven, inbox })
    }

    /// Runs until every handle is gone.
    pub async fn run(self) {
        let clock = self.driven.clock;
        drive::run(self.driven, clock, self.inbox).await;
    }
}

impl End for Driven {
    type Input = GateInput;

    fn next_deadline(&self) -> Option<Time> {
        let active_at = self.stand_by.as_ref().map(|(_, until)| *until);
        self.end.next_deadline().into_iter().chain(active_at).min()
    }

    fn due(&mut self) {
        self.step(GateSyncEvent::Due);
    }

    fn closed(&self) -> Vec<LinkId> {
        drive::closed(self.outboxes.iter())
    }

    fn lost(&mut self, link: LinkId) {
        self.take(GateInput::Lost(link));
    }

    fn take(&mut self, input: GateInput) {
        match input {
            GateInput::Connected(link, outbox) => {
                self.outboxes.insert(link, outbox);
                self.step(GateSyncEvent::Connected { link });
            }
            GateInput::Lost(link) => {
                self.outboxes.remove(&link);
                self.step(GateSyncEvent::Lost { link });
            }
            GateInput::Heard(link, message) => {
                self.step(GateSyncEvent::Heard { link, message: &message });
            }
            GateInput::Changed => self.step(GateSyncEvent::Changed),
        }
    }
}

impl Driven {
    fn step(&mut self, event: GateSyncEvent<'_>) {
        let now = self.clock.now();
        let mut effects = Vec::new();
        self.end.step(now, event, &mut effects);
        for effect in effects {
            match effect {
                GateSyncEffect::Report { sequence, links } => self.report(sequence, &links),
                GateSyncEffect::Ack { link, ack } => {
                    if let Some(outbox) = self.outboxes.get(&link) {
                        offer(outbox, FromGate::Ack(ack));
                    }
                }
                GateSyncEffect::Guide(guided) => self.guided = guided,
                GateSyncEffect::StandBy { active } => {
                    self.stand_by = Some((active, now + GATE_LOST));
                }
            }
        }
        self.stand_by.take_if(|(_, until)| *until <= now);
        let state = GateState {
            standing: self.end.standing(now),
            guided: self.guided.clone(),
            stand_by: self.stand_by.as_ref().map(|(active, _)| active.clone()),
            counts: self.end.counts(),
        };
        self.state.send_if_modified(|last| {
            let changed = *last != state;
            if changed {
                *last = state;
            }
            changed
        });
    }

    fn report(&self, sequence: u64, links: &[LinkId]) {
        let report = FromGate::Report(Report {
            gate: self.end.gate().clone(),
            sequence,
            fleet: self.end.fleet().to_owned(),
            active: self.source.active(),
            tiers: self.source.tiers(),
            endpoints: self.source.endpoints(),
        });
        for outbox in links.iter().filter_map(|link| self.outboxes.get(link)) {
            offer(outbox, report.clone());
        }
    }
}

impl GateHandle {
    /// Something changed that a controller should hear of soon: a queue that began, a refusal, an
    /// endpoint that is empty. May be called as often as one likes.
    pub fn changed(&self) {
        // With a full inbox a report is due anyway.
        let _ = self.inbox.try_send(GateInput::Changed);
    }

    /// What holds at the gate, and when it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<GateState> {
        self.state.clone()
    }

    pub(super) fn next_link(&self) -> LinkId {
        LinkId(self.links.fetch_add(1, Ordering::Relaxed))
    }
}
