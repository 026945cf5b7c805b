//! The controller's end: what the gates of a fleet show, and, while it leads, what it wants of them.

use std::collections::BTreeMap;

use super::message::{
    Ack, ComingReplica, Directive, EndpointReport, FromGate, GateName, Guidance, Mark, Report,
    SecondGate, Term, TierAdmission, ToGate, VariantPhysics,
};
use super::{DIRECTIVE_INTERVAL, GATE_LOST, LinkId, gate_end::Coming};
use crate::time::Time;

/// Gates of one fleet that are followed at most: one is active, the others stand by.
const GATES_MAX: usize = 64;

/// What the leader wants of the gates of a fleet, in its own time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Replicas on their way.
    pub coming: Vec<Coming>,
    /// Whether something is started for whoever comes while the fleet is empty; `None` = not
    /// known.
    pub on_demand: Option<bool>,
    /// How to admit, by tier.
    pub admission: Vec<TierAdmission>,
    /// What was learned of engines, by variant.
    pub physics: Vec<VariantPhysics>,
    /// Addresses that are to get no more requests.
    pub drain: Vec<String>,
}

/// What happens to the controller's end.
#[derive(Clone, Copy, Debug)]
pub enum ControllerSyncEvent<'a> {
    /// The lease was gained or renewed (its term), or lost (`None`).
    Lease(Option<Term>),
    /// A gate can be talked to.
    Connected {
        /// Over this link.
        link: LinkId,
    },
    /// A gate can no longer be talked to.
    Lost {
        /// Over this link.
        link: LinkId,
    },
    /// A gate said something, within its bounds ([`FromGate::check`]).
    Heard {
        /// Over this link.
        link: LinkId,
        /// What.
        message: &'a FromGate,
    },
    /// There is another plan.
    Planned(&'a Plan),
    /// The deadline has come.
    Due,
}

/// What the controller's end wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum ControllerSyncEffect {
    /// Send this over these links.
    Send {
        /// To whom.
        links: Vec<LinkId>,
        /// What.
        message: ToGate,
    },
    /// A gate follows a leader of a later term: we lead no longer, whatever our lease says. Write
    /// nothing more until it was read again.
    Superseded {
        /// The later term.
        by: Term,
    },
}

/// Whether an endpoint is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every gate has stopped sending and nothing is in flight.
    Yes,
    /// So many requests are in flight, or a gate has not stopped sending yet.
    No {
        /// As far as gates told.
        in_flight: u32,
    },
    /// A gate cannot be heard, or does not know yet.
    Unknown,
}

/// What was taken and what was ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerCounts {
    /// Reports taken.
    pub reports: u64,
    /// Reports that came twice, or after a later one.
    pub repeated: u64,
    /// Reports of a second active gate: they count for what it serves still, and for nothing else.
    pub second_gate: u64,
    /// Of another fleet, or of more gates than are followed.
    pub foreign: u64,
}

/// A controller's end of the sync of one fleet. Followers keep it as well: they listen, and are
/// warm when they come to lead.
#[derive(Clone, Debug)]
pub struct ControllerEnd {
    holder: String,
    fleet: String,
    links: BTreeMap<LinkId, Option<GateName>>,
    gates: BTreeMap<GateName, Known>,
    leads: Option<Leading>,
    plan: Plan,
    counts: ControllerCounts,
}

/// A gate that was heard.
#[derive(Clone, Debug)]
struct Known {
    report: Report,
    /// It says that it is active and was told to stand by: what it serves still counts.
    second: bool,
    heard_at: Time,
    /// The directive of our term that it follows.
    acked: Option<u64>,
    /// The directive that it followed when its latest report came.
    acked_before_report: Option<u64>,
}

impl Known {
    /// It serves the fleet.
    const fn is_active(&self) -> bool {
        self.report.active && !self.second
    }
}

#[derive(Clone, Debug)]
struct Leading {
    term: Term,
    sequence: u64,
    sent_at: Option<Time>,
    /// The plan changed since.
    changed: bool,
    /// The directive since which an address is to be drained.
    drain_since: BTreeMap<String, u64>,
}

impl ControllerEnd {
    /// The end of a controller (named so that a restarted one is another) that leads nobody yet.
    #[must_use]
    pub fn new(holder: String, fleet: String) -> Self {
        Self {
            holder,
            fleet,
            links: BTreeMap::new(),
            gates: BTreeMap::new(),
            leads: None,
            plan: Plan::default(),
            counts: ControllerCounts::default(),
        }
    }

    /// Takes in one event. Appends what is to be done to `effects`.
    pub fn step(
        &mut self,
        now: Time,
        event: ControllerSyncEvent<'_>,
        effects: &mut Vec<ControllerSyncEffect>,
    ) {
        match event {
            ControllerSyncEvent::Lease(term) => self.lead(term),
            ControllerSyncEvent::Connected { link } => {
                self.links.insert(link, None);
                self.send(now, vec![link], effects);
            }
            ControllerSyncEvent::Lost { link } => {
                self.links.remove(&link);
            }
            ControllerSyncEvent::Heard { link, message } => match message {
                FromGate::Report(report) => self.report(now, link, report, effects),
                FromGate::Ack(ack) => self.acked(ack, effects),
            },
            ControllerSyncEvent::Planned(plan) => {
                if self.plan != *plan {
                    self.plan.clone_from(plan);
                    self.leads.iter_mut().for_each(|leading| leading.changed = true);
                }
            }
            ControllerSyncEvent::Due => {}
        }
        self.gates.retain(|_, known| now.since(known.heard_at) < GATE_LOST);
        if self.next_deadline().is_some_and(|due| due <= now) {
            let all = self.links.keys().copied().collect();
            self.send(now, all, effects);
        }
    }

    /// When [`ControllerSyncEvent::Due`] is wanted; `None` while only events matter.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let leading = self.leads.as_ref().filter(|_| !self.links.is_empty())?;
        let Some(sent_at) = leading.sent_at else { return Some(Time::ZERO) };
        Some(if leading.changed { sent_at } else { sent_at + DIRECTIVE_INTERVAL })
    }

    /// The term in which it leads.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.leads.as_ref().map(|leading| leading.term)
    }

    /// The latest report of the active gate and when what it says was sent by our clock; `None`
    /// while none is heard, which is not no demand.
    #[must_use]
    pub fn active(&self, now: Time) -> Option<(Time, &Report)> {
        let heard = |known: &&Known| known.is_active() && now.since(known.heard_at) < GATE_LOST;
        let known = self.gates.values().find(heard)?;
        Some((known.heard_at, &known.report))
    }

    /// Whether an endpoint that the plan drains is empty at every gate. A gate counts only by what
    /// it reported after it had acknowledged the drain.
    #[must_use]
    pub fn drained(&self, now: Time, address: &str) -> Drained {
        let since = self.leads.as_ref().and_then(|leading| leading.drain_since.get(address));
        let Some(since) = since else { return Drained::Unknown };
        // One that has not reported yet, or that fell silent.
        let unheard = |gate: &Option<GateName>| {
            gate.as_ref().is_none_or(|gate| !self.gates.contains_key(gate))
        };
        if self.links.values().any(unheard) || self.gates.is_empty() {
            return Drained::Unknown;
        }
        let (mut in_flight, mut stopped) = (0, true);
        for known in self.gates.values() {
            if now.since(known.heard_at) >= GATE_LOST {
                return Drained::Unknown;
            }
            stopped &= known.acked_before_report.is_some_and(|acked| acked >= *since);
            match known.report.endpoints.iter().find(|endpoint| endpoint.address == address) {
                Some(EndpointReport { in_flight: Some(count), .. }) => in_flight += count,
                Some(EndpointReport { in_flight: None, .. }) => return Drained::Unknown,
                // It does not know the endpoint: nothing of it is there.
                None => {}
            }
        }
        if stopped && in_flight == 0 { Drained::Yes } else { Drained::No { in_flight } }
    }

    /// What was taken and what was ignored.
    #[must_use]
    pub const fn counts(&self) -> ControllerCounts {
        self.counts
    }

    fn lead(&mut self, term: Option<Term>) {
        let Some(term) = term else {
            self.leads = None;
            return;
        };
        if self.term() == Some(term) {
            return;
        }
        for known in self.gates.values_mut() {
            (known.acked, known.acked_before_report) = (None, None);
        }
        let drain_since = self.plan.drain.iter().map(|address| (address.clone(), 1)).collect();
        self.leads = Some(Leading { term, sequence: 0, sent_at: None, changed: true, drain_since });
    }

    fn report(
        &mut self,
        now: Time,
        link: LinkId,
        report: &Report,
        effects: &mut Vec<ControllerSyncEffect>,
    ) {
        if report.fleet != self.fleet {
            self.counts.foreign += 1;
            return;
        }
        let later = |known: &Known| report.sequence > known.report.sequence;
        let newer_process = |gate: &GateName| {
            gate.name == report.gate.name && gate.incarnation > report.gate.incarnation
        };
        if self.gates.keys().any(newer_process) {
            self.counts.repeated += 1;
            return;
        }
        if let Some(known) = self.gates.get(&report.gate).filter(|known| !later(known)) {
            debug_assert!(known.report.sequence >= report.sequence);
            self.counts.repeated += 1;
            return;
        }
        let other = self.other_active(now, report);
        let is_second = other.is_some();
        if let Some(active) = other {
            self.counts.second_gate += 1;
            let second = SecondGate { fleet: self.fleet.clone(), active };
            let message = ToGate::SecondGate(second);
            effects.push(ControllerSyncEffect::Send { links: vec![link], message });
        }
        // An older process of the same name is gone.
        self.gates.retain(|gate, _| gate.name != report.gate.name || *gate == report.gate);
        if self.gates.len() >= GATES_MAX && !self.gates.contains_key(&report.gate) {
            self.counts.foreign += 1;
            return;
        }
        self.counts.reports += u64::from(!is_second);
        if let Some(name) = self.links.get_mut(&link) {
            *name = Some(report.gate.clone());
        }
        let acked = self.gates.get(&report.gate).and_then(|known| known.acked);
        let known = Known {
            report: report.clone(),
            second: is_second,
            heard_at: now,
            acked,
            acked_before_report: acked,
        };
        self.gates.insert(report.gate.clone(), known);
    }

    /// Another gate that takes this fleet's requests and is still heard.
    fn other_active(&self, now: Time, report: &Report) -> Option<GateName> {
        let (active, known) = self.gates.iter().find(|(_, known)| known.is_active())?;
        let other = report.active && active.name != report.gate.name;
        (other && now.since(known.heard_at) < GATE_LOST).then(|| active.clone())
    }

    fn acked(&mut self, ack: &Ack, effects: &mut Vec<ControllerSyncEffect>) {
        if ack.fleet != self.fleet {
            self.counts.foreign += 1;
            return;
        }
        let Some(term) = self.term() else { return };
        if ack.follows.term > term {
            self.leads = None;
            effects.push(ControllerSyncEffect::Superseded { by: ack.follows.term });
            return;
        }
        let ours = ack.follows.term == term && ack.follows.holder == self.holder;
        if let Some(known) = self.gates.get_mut(&ack.gate).filter(|_| ours) {
            known.acked = known.acked.max(Some(ack.follows.sequence));
        }
    }

    /// Sends the plan, while we lead.
    fn send(&mut self, now: Time, links: Vec<LinkId>, effects: &mut Vec<ControllerSyncEffect>) {
        let Some(leading) = &mut self.leads else { return };
        leading.sequence += 1;
        let all = links.len() == self.links.len();
        if all {
            (leading.sent_at, leading.changed) = (Some(now), false);
        }
        let drain = &self.plan.drain;
        leading.drain_since.retain(|address, _| drain.contains(address));
        for address in drain {
            leading.drain_since.entry(address.clone()).or_insert(leading.sequence);
        }
        let coming = self.plan.coming.iter().map(|coming| ComingReplica {
            variant: coming.variant.clone(),
            ready_in: coming.ready_at.since(now),
        });
        let guidance = Guidance {
            coming: coming.collect(),
            on_demand: self.plan.on_demand,
            admission: self.plan.admission.clone(),
            physics: self.plan.physics.clone(),
            drain: drain.clone(),
        };
        let mark =
            Mark { term: leading.term, holder: self.holder.clone(), sequence: leading.sequence };
        let message = ToGate::Directive(Directive { fleet: self.fleet.clone(), mark, guidance });
        if !links.is_empty() {
            effects.push(ControllerSyncEffect::Send { links, message });
        }
    }
}
