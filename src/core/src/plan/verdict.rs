//! What guard and rails changed, and by which rule: data for a record, one sentence for a person.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::evidence::Missing;
use crate::ids::{AcceleratorId, FleetId, TierId, VariantId};
use crate::time::{Span, Time, WallTime};
use crate::units::UsdPerHour;

/// One rule that spoke. Verdicts stand in the order in which the rules were applied: carried out
/// one after the other, their changes lead from what the solver wanted to what was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The fleet that it is about.
    pub fleet: FleetId,
    /// What it changed; `None` where it only says something.
    pub change: Option<Change>,
    /// Which rule, with what it judged by.
    pub rule: Rule,
}

/// A change of one variant's replicas by one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whose.
    pub variant: VariantId,
    /// Replicas before the rule.
    pub from: u32,
    /// Replicas after it.
    pub to: u32,
}

/// Every rule of guard and rails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    /// Guard: nothing goes on missing, partial or stale data.
    DataMissing(Missing),
    /// Guard: the need has not been watched for the whole window.
    NotWatchedLongEnough {
        /// How long it has been.
        watched: Span,
        /// How long it must be.
        window: Span,
    },
    /// Guard: down only to the highest need of the window.
    Glide {
        /// The highest need, in replicas of the pool's reference variant.
        highest: f64,
        /// The window.
        window: Span,
        /// Reversals of the last hour, where they lengthened the window.
        flaps: u32,
    },
    /// Guard: nothing goes before its successor is ready.
    SuccessorNotReady {
        /// What is ready now, in replicas of the reference variant.
        ready: f64,
        /// What must be ready.
        needed: f64,
    },
    /// Guard: replicas found no accelerator, so none more are asked for here.
    Shortage {
        /// Replicas that wait without hope.
        stuck: u32,
        /// When one more is tried.
        until: Time,
    },
    /// Guard: replicas wait without hope, but nothing else can be had in their place.
    NothingElseToBeHad {
        /// Replicas that wait without hope.
        stuck: u32,
    },
    /// Guard: somebody changed the replicas by hand; they are held as given.
    HeldAsGiven {
        /// Until when.
        until: Time,
    },
    /// Guard: somebody changes the replicas again and again; we have stopped.
    StoppedByEdits {
        /// Edits of the last hour.
        edits: u32,
    },
    /// The twin, rolled forward, foretells a gross miss.
    RollForwardVeto {
        /// What it foretells.
        reason: String,
    },
    /// Roll-forward: a part of it goes, or another mix is kept, since it would miss grossly.
    RollForwardInstead {
        /// What it would miss.
        reason: String,
    },
    /// The twin is being asked; nothing goes before it has answered.
    RollForwardAwaited,
    /// Rail: the fleet is paused.
    Paused {
        /// Until when; `None` = until somebody ends it.
        until: Option<WallTime>,
    },
    /// Rail: attainment fell after replicas were taken away, so they are given back.
    BreakerTripped {
        /// The tier that fell.
        tier: TierId,
        /// Its attainment, 0..1.
        attained: f64,
        /// What it was promised, 0..1.
        promised: f64,
    },
    /// Rail: what was there before attainment fell stays while the breaker holds.
    BreakerHolds {
        /// Until when.
        until: Time,
    },
    /// Rail: a schedule asks for at least so many.
    ScheduleMinimum {
        /// The schedule as written.
        schedule: String,
        /// When it begins, if it lies ahead.
        ahead: Option<WallTime>,
    },
    /// Rail: a schedule lets nothing go.
    ScheduleNoScaleIn {
        /// The schedule as written.
        schedule: String,
    },
    /// Rail: the fewest of the variant.
    Minimum,
    /// Rail: the most of the variant.
    Maximum,
    /// Rail: not more removed in ten minutes.
    RemovedTooFast {
        /// Most in ten minutes.
        limit: u32,
    },
    /// Rail: not more added in ten minutes.
    AddedTooFast {
        /// Most in ten minutes.
        limit: u32,
    },
    /// Rail: under a limit on cost nothing grows whose cost is not known.
    PriceUnknown,
    /// Rail: the limit on cost.
    CostLimit {
        /// The limit.
        limit: UsdPerHour,
    },
    /// Rail: the limit on accelerators of a class.
    AcceleratorLimit {
        /// The class.
        accelerator: AcceleratorId,
        /// The limit.
        limit: u32,
    },
    /// Rail: the minimums of the variants alone are beyond a limit.
    LimitBelowMinimums,
    /// Rail: what is held is beyond a limit and may not go now.
    LimitExceeded,
    /// Rail: predictions are so far off that we only advise.
    Degraded {
        /// Mean relative error.
        error: f64,
        /// The most that is trusted.
        band: f64,
    },
}

impl Rule {
    /// Its name in records: stable.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DataMissing(_) => "data-missing",
            Self::NotWatchedLongEnough { .. } => "not-watched-long-enough",
            Self::Glide { .. } => "glide",
            Self::SuccessorNotReady { .. } => "successor-not-ready",
            Self::Shortage { .. } => "shortage",
            Self::NothingElseToBeHad { .. } => "nothing-else-to-be-had",
            Self::HeldAsGiven { .. } => "held-as-given",
            Self::StoppedByEdits { .. } => "stopped-by-edits",
            Self::RollForwardVeto { .. } => "roll-forward-veto",
            Self::RollForwardInstead { .. } => "roll-forward-instead",
            Self::RollForwardAwaited => "roll-forward-awaited",
            Self::Paused { .. } => "paused",
            Self::BreakerTripped { .. } => "breaker-tripped",
            Self::BreakerHolds { .. } => "breaker-holds",
            Self::ScheduleMinimum { .. } => "schedule-minimum",
            Self::ScheduleNoScaleIn { .. } => "schedule-no-scale-in",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::RemovedTooFast { .. } => "removed-too-fast",
            Self::AddedTooFast { .. } => "added-too-fast",
            Self::PriceUnknown => "price-unknown",
            Self::CostLimit { .. } => "cost-limit",
            Self::AcceleratorLimit { .. } => "accelerator-limit",
            Self::LimitBelowMinimums => "limit-below-minimums",
            Self::LimitExceeded => "limit-exceeded",
            Self::Degraded { .. } => "degraded",
        }
    }
}

impl fmt::Display for Rule {
    /// One plain sentence, without the names of variant and fleet.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataMissing(missing) => write!(out, "nothing goes on missing data: {missing}"),
            Self::NotWatchedLongEnough { watched, window } => write!(
                out,
                "nothing goes yet: the need was watched for {:.0} s of {:.0} s",
                watched.as_seconds(),
                window.as_seconds()
            ),
            Self::Glide { highest, window, flaps } => {
                let window = window.as_seconds();
                write!(out, "{highest:.2} were needed within the last {window:.0} s")?;
                if *flaps > 0 {
                    write!(out, " (a longer window after {flaps} reversals in an hour)")?;
                }
                Ok(())
            }
            Self::SuccessorNotReady { ready, needed } => {
                write!(out, "{ready:.2} are ready of {needed:.2} that must be before any goes")
            }
            Self::Shortage { stuck, until } => {
                write!(out, "{stuck} found no accelerator; one more is tried at {until}")
            }
            Self::NothingElseToBeHad { stuck } => {
                write!(out, "{stuck} go on waiting for an accelerator: nothing else can be had")
            }
            Self::HeldAsGiven { until } => {
                write!(out, "somebody else set the replicas; held as given until {until}")
            }
            Self::StoppedByEdits { edits } => {
                write!(out, "stopped: somebody else set the replicas {edits} times in an hour")
            }
            Self::RollForwardVeto { reason } => write!(out, "rolled forward, {reason}"),
            Self::RollForwardInstead { reason } => {
                write!(out, "rolled forward, {reason}: the cheapest that would do instead")
            }
            Self::RollForwardAwaited => out.write_str("the roll-forward has not answered yet"),
            Self::Paused { until: None } => out.write_str("paused"),
            Self::Paused { until: Some(until) } => write!(out, "paused until {}", wall(*until)),
            Self::BreakerTripped { attained, promised, .. } => write!(
                out,
                "undone: {:.1} % attained of {:.1} % promised after replicas went",
                attained * 100.0,
                promised * 100.0
            ),
            Self::BreakerHolds { until } => {
                write!(
                    out,
                    "as many as before stay until {until}: attainment fell when replicas went"
                )
            }
            Self::ScheduleMinimum { schedule, ahead: None } => {
                write!(out, "schedule `{schedule}` asks for at least so many")
            }
            Self::ScheduleMinimum { schedule, ahead: Some(begins) } => {
                write!(out, "schedule `{schedule}` asks for so many at {}", wall(*begins))
            }
            Self::ScheduleNoScaleIn { schedule } => {
                write!(out, "schedule `{schedule}` lets nothing go")
            }
            Self::Minimum => out.write_str("the fewest that the variant may have"),
            Self::Maximum => out.write_str("the most that the variant may have"),
            Self::RemovedTooFast { limit } => {
                write!(out, "not more than {limit} removed in ten minutes")
            }
            Self::AddedTooFast { limit } => {
                write!(out, "not more than {limit} added in ten minutes")
            }
            Self::PriceUnknown => {
                out.write_str("the fleet has a limit on cost, and what this costs is not known")
            }
            Self::CostLimit { limit } => {
                write!(out, "more would cost beyond the limit of {:.2} $/h", limit.0)
            }
            Self::AcceleratorLimit { limit, .. } => {
                write!(out, "more would take beyond the limit of {limit} accelerators")
            }
            Self::LimitBelowMinimums => {
                out.write_str("the minimums of the variants alone are beyond a limit")
            }
            Self::LimitExceeded => {
                out.write_str("what is held is beyond a limit, and nothing may go now")
            }
            Self::Degraded { error, band } => write!(
                out,
                "only advice: predictions are off by {:.0} %, beyond {:.0} %",
                error * 100.0,
                band * 100.0
            ),
        }
    }
}

fn wall(time: WallTime) -> String {
    jiff::Timestamp::from_second(time.0).map_or_else(|_| time.0.to_string(), |at| at.to_string())
}

/// Replicas by [`VariantId`] that rules change one after the other.
pub(super) struct Draft<'a> {
    pub(super) fleet: FleetId,
    pub(super) replicas: &'a mut [u32],
    pub(super) verdicts: &'a mut Vec<Verdict>,
}

impl Draft<'_> {
    pub(super) fn get(&self, variant: VariantId) -> u32 {
        self.replicas[variant.index()]
    }

    /// Sets a variant's replicas, and says so where that changes anything.
    pub(super) fn set(&mut self, variant: VariantId, to: u32, rule: Rule) {
        let from = self.get(variant);
        if from != to {
            self.replicas[variant.index()] = to;
            let change = Some(Change { variant, from, to });
            self.verdicts.push(Verdict { fleet: self.fleet, change, rule });
        }
    }

    /// Says something that changes nothing.
    pub(super) fn say(&mut self, rule: Rule) {
        self.verdicts.push(Verdict { fleet: self.fleet, change: None, rule });
    }
}
