//! The gate's end, live.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::sync::{
    EndpointReport, FromGate, GateCounts, GateEnd, GateName, GateSyncEffect, GateSyncEvent, Guided,
    LinkId, Report, Standing, TierReport, ToGate,
};
use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::{INBOX_MAX, Outbox, offer};

/// What a gate shows of itself whenever it reports.
pub trait GateSource: Send + Sync + 'static {
    /// Whether it takes requests.
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
    end: GateEnd,
    clock: Clock,
    source: Arc<dyn GateSource>,
    inbox: mpsc::Receiver<GateInput>,
    state: watch::Sender<GateState>,
    outboxes: HashMap<LinkId, Outbox<FromGate>>,
    stand_by: Option<GateName>,
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
        (handle, Self { end, clock, source, inbox, state, outboxes, stand_by: None, guided })
    }

    /// Runs until every handle is gone.
    pub async fn run(mut self) {
        loop {
            let due = self.end.next_deadline().map(|at| self.clock.instant(at));
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                input = self.inbox.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                () = wait => {
                    self.prune();
                    self.step(GateSyncEvent::Due);
                }
            }
        }
    }

    /// Links that ended without anybody telling.
    fn prune(&mut self) {
        let closed =
            |(link, outbox): (&LinkId, &Outbox<FromGate>)| outbox.is_closed().then_some(*link);
        let closed: Vec<LinkId> = self.outboxes.iter().filter_map(closed).collect();
        closed.into_iter().for_each(|link| self.take(GateInput::Lost(link)));
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
                if matches!(message, ToGate::Directive(_)) {
                    // A leader that speaks to us takes us for the active gate.
                    self.stand_by = None;
                }
                self.step(GateSyncEvent::Heard { link, message: &message });
            }
            GateInput::Changed => self.step(GateSyncEvent::Changed),
        }
    }

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
                GateSyncEffect::StandBy { active } => self.stand_by = Some(active),
            }
        }
        let state = GateState {
            standing: self.end.standing(now),
            guided: self.guided.clone(),
            stand_by: self.stand_by.clone(),
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
