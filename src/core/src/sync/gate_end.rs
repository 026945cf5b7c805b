//! The gate's end: whom it follows, what it goes on with when nobody leads, and when it reports.

use std::collections::BTreeSet;

use super::message::{
    Ack, Directive, GateName, Guidance, Mark, TierAdmission, ToGate, VariantPhysics,
};
use super::{LEADER_LOST, LinkId, OUTLOOK_KEPT, REPORT_INTERVAL, REPORT_SPACING, Term};
use crate::time::{Span, Time};

/// What happens to the gate's end.
#[derive(Clone, Copy, Debug)]
pub enum GateSyncEvent<'a> {
    /// A controller can be talked to.
    Connected {
        /// Over this link.
        link: LinkId,
    },
    /// A controller can no longer be talked to.
    Lost {
        /// Over this link.
        link: LinkId,
    },
    /// A controller said something, within its bounds ([`ToGate::check`]).
    Heard {
        /// Over this link.
        link: LinkId,
        /// What.
        message: &'a ToGate,
    },
    /// Demand, queue or what is in flight changed.
    Changed,
    /// The deadline has come.
    Due,
}

/// What the gate's end wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum GateSyncEffect {
    /// Send how things are now, under this number, over these links.
    Report {
        /// Its number.
        sequence: u64,
        /// To whom.
        links: Vec<LinkId>,
    },
    /// Send an answer.
    Ack {
        /// To whom.
        link: LinkId,
        /// What.
        ack: Ack,
    },
    /// From now on this holds.
    Guide(Guided),
    /// Another gate serves the fleet: stand by.
    StandBy {
        /// Which.
        active: GateName,
    },
}

/// A replica on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    /// Of which variant.
    pub variant: String,
    /// When it is expected to be ready.
    pub ready_at: Time,
}

/// What holds at the gate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guided {
    /// Replicas on their way, the next first; empty = promise nothing beyond what is ready.
    pub coming: Vec<Coming>,
    /// Whether something is started for whoever comes while the fleet is empty; `None` = not
    /// known: nobody has said so, or he who did is silent for too long.
    pub on_demand: Option<bool>,
    /// How to admit, by tier.
    pub admission: Vec<TierAdmission>,
    /// What was learned of engines, by variant.
    pub physics: Vec<VariantPhysics>,
    /// Addresses that get no more requests.
    pub drain: Vec<String>,
}

/// How the gate stands with the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has ever led: what is ready is all that is known.
    Never,
    /// A leader is there.
    Led {
        /// Its term.
        term: Term,
    },
    /// The leader is silent; its last outlook still holds.
    Keeping {
        /// When it was last heard.
        heard_at: Time,
    },
    /// The leader is silent for so long that only what is ready counts.
    Alone {
        /// When it was last heard.
        heard_at: Time,
    },
}

/// What was ignored, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Directives followed.
    pub followed: u64,
    /// Of an earlier term: an old leader that does not know it yet.
    pub stale_term: u64,
    /// Of the present term, but of another holder: there must be only one.
    pub second_holder: u64,
    /// Came twice, or after a later one.
    pub repeated: u64,
    /// Of another fleet.
    pub foreign: u64,
}

/// The gate's end of the sync of one fleet.
#[derive(Clone, Debug)]
pub struct GateEnd {
    gate: GateName,
    fleet: String,
    links: BTreeSet<LinkId>,
    followed: Option<Followed>,
    sequence: u64,
    reported_at: Option<Time>,
    /// Something changed since the last report.
    changed: bool,
    counts: GateCounts,
}

#[derive(Clone, Debug)]
struct Followed {
    mark: Mark,
    heard_at: Time,
    /// The outlook was dropped: nothing was heard for too long.
    dropped: bool,
    guided: Guided,
}

impl GateEnd {
    /// The end of a gate that has heard nothing yet.
    #[must_use]
    pub const fn new(gate: GateName, fleet: String) -> Self {
        Self {
            gate,
            fleet,
            links: BTreeSet::new(),
            followed: None,
            sequence: 0,
            reported_at: None,
            changed: true,
            counts: GateCounts {
                followed: 0,
                stale_term: 0,
                second_holder: 0,
                repeated: 0,
                foreign: 0,
            },
        }
    }

    /// Takes in one event. Appends what is to be done to `effects`.
    pub fn step(&mut self, now: Time, event: GateSyncEvent<'_>, effects: &mut Vec<GateSyncEffect>) {
        match event {
            GateSyncEvent::Connected { link } => {
                self.links.insert(link);
                // Whoever is new knows nothing yet; the others bear one report more.
                self.report(now, effects);
            }
            GateSyncEvent::Lost { link } => {
                self.links.remove(&link);
            }
            GateSyncEvent::Heard { link, message } => match message {
                ToGate::Directive(directive) => self.hear(now, link, directive, effects),
                ToGate::SecondGate(second) if second.fleet == self.fleet => {
                    effects.push(GateSyncEffect::StandBy { active: second.active.clone() });
                }
                ToGate::SecondGate(_) => self.counts.foreign += 1,
            },
            GateSyncEvent::Changed => self.changed = true,
            GateSyncEvent::Due => {}
        }
        if self.report_due().is_some_and(|due| due <= now) {
            self.report(now, effects);
        }
        self.forget(now, effects);
    }

    /// When [`GateSyncEvent::Due`] is wanted; `None` while only events matter.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let outlook = self.followed.as_ref().filter(|followed| !followed.dropped);
        let dropped_at = outlook.map(|followed| followed.heard_at + OUTLOOK_KEPT);
        [self.report_due(), dropped_at].into_iter().flatten().min()
    }

    /// How the gate stands with the controller.
    #[must_use]
    pub fn standing(&self, now: Time) -> Standing {
        let Some(followed) = &self.followed else { return Standing::Never };
        let heard_at = followed.heard_at;
        let silent = now.since(heard_at);
        if followed.dropped || silent >= OUTLOOK_KEPT {
            Standing::Alone { heard_at }
        } else if silent >= LEADER_LOST {
            Standing::Keeping { heard_at }
        } else {
            Standing::Led { term: followed.mark.term }
        }
    }

    /// The directive that is followed.
    #[must_use]
    pub fn follows(&self) -> Option<&Mark> {
        self.followed.as_ref().map(|followed| &followed.mark)
    }

    /// What was followed and ignored.
    #[must_use]
    pub const fn counts(&self) -> GateCounts {
        self.counts
    }

    /// The gate's name in its messages.
    #[must_use]
    pub const fn gate(&self) -> &GateName {
        &self.gate
    }

    /// The fleet that it serves.
    #[must_use]
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    fn hear(
        &mut self,
        now: Time,
        link: LinkId,
        directive: &Directive,
        effects: &mut Vec<GateSyncEffect>,
    ) {
        if directive.fleet != self.fleet {
            self.counts.foreign += 1;
            return;
        }
        let mark = &directive.mark;
        let last = self.followed.as_ref().map(|followed| &followed.mark);
        let ignored = match last {
            Some(last) if mark.term < last.term => Some(&mut self.counts.stale_term),
            Some(last) if mark.term > last.term => None,
            Some(last) if mark.holder != last.holder => Some(&mut self.counts.second_holder),
            Some(last) if mark.sequence <= last.sequence => Some(&mut self.counts.repeated),
            _ => None,
        };
        if let Some(count) = ignored {
            *count += 1;
        } else {
            self.counts.followed += 1;
            let guided = Guided::new(now, &directive.guidance);
            let changed = self.followed.as_ref().is_none_or(|f| f.guided != guided);
            if changed {
                effects.push(GateSyncEffect::Guide(guided.clone()));
            }
            self.followed =
                Some(Followed { mark: mark.clone(), heard_at: now, dropped: false, guided });
        }
        let Some(followed) = &self.followed else { return };
        let ack = Ack {
            gate: self.gate.clone(),
            fleet: self.fleet.clone(),
            mark: mark.clone(),
            follows: followed.mark.clone(),
        };
        effects.push(GateSyncEffect::Ack { link, ack });
    }

    /// Drops the outlook of a leader that is silent for too long: what is ready still counts, and
    /// endpoints that it had drained are ready.
    fn forget(&mut self, now: Time, effects: &mut Vec<GateSyncEffect>) {
        let Some(followed) = self.followed.as_mut().filter(|followed| !followed.dropped) else {
            return;
        };
        if now.since(followed.heard_at) < OUTLOOK_KEPT {
            return;
        }
        followed.dropped = true;
        let guided = &mut followed.guided;
        guided.coming.clear();
        guided.on_demand = None;
        guided.drain.clear();
        effects.push(GateSyncEffect::Guide(guided.clone()));
    }

    fn report_due(&self) -> Option<Time> {
        if self.links.is_empty() {
            return None;
        }
        let after = if self.changed { REPORT_SPACING } else { REPORT_INTERVAL };
        Some(self.reported_at.map_or(Time::ZERO, |at| at + after))
    }

    fn report(&mut self, now: Time, effects: &mut Vec<GateSyncEffect>) {
        self.sequence += 1;
        self.reported_at = Some(now);
        self.changed = false;
        let links = self.links.iter().copied().collect();
        effects.push(GateSyncEffect::Report { sequence: self.sequence, links });
    }
}

impl Guided {
    fn new(now: Time, guidance: &Guidance) -> Self {
        let Guidance { coming, on_demand, admission, physics, drain } = guidance.clone();
        let mut coming: Vec<Coming> = coming
            .into_iter()
            .map(|replica| Coming { variant: replica.variant, ready_at: now + replica.ready_in })
            .collect();
        coming.sort_by(|left, right| {
            left.ready_at.cmp(&right.ready_at).then_with(|| left.variant.cmp(&right.variant))
        });
        Self { coming, on_demand, admission, physics, drain }
    }

    /// How long until the next replica is ready; `None` = none is on its way.
    #[must_use]
    pub fn next_ready_in(&self, now: Time) -> Option<Span> {
        self.coming.first().map(|coming| coming.ready_at.since(now))
    }
}
