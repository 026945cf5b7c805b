//! Accelerators that cannot be had: the solver hears how many there are, and when to try again.

use serde::{Deserialize, Serialize};

use crate::ids::VariantId;
use crate::plan::verdict::Rule;
use crate::plan::{FleetView, ScaleTarget};
use crate::time::{Span, Time};

/// How long the first shortage is believed before one more replica is tried.
const RETRY_FIRST: Span = Span::from_secs(600);
/// The longest that one is believed: stock comes back within the hour as often as not.
const RETRY_MAX: Span = Span::from_secs(3_600);

/// A variant whose accelerators ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shortage {
    /// Replicas that have an accelerator.
    placed: u32,
    /// Replicas that wait without hope.
    pub(super) stuck: u32,
    /// When one more is tried.
    until: Time,
    /// How long it is believed each time.
    retry: Span,
}

impl Shortage {
    /// Finds shortages, renews those that last with twice the patience, forgets those that ended.
    pub(super) fn look(own: &mut Option<Self>, now: Time, target: &ScaleTarget, patience: Span) {
        let waiting = target.unschedulable_since.len() as u32;
        let placed = target.replicas_current.saturating_sub(waiting);
        let hopeless = target.unschedulable_since.iter().filter(|at| now.since(**at) > patience);
        let stuck = hopeless.count() as u32;
        match own {
            // One more was placed than there were: there is stock again.
            Some(shortage) if placed > shortage.placed => *own = None,
            Some(shortage) => {
                shortage.placed = placed;
                if stuck > 0 && now >= shortage.until {
                    shortage.retry = Span((shortage.retry.0 * 2).min(RETRY_MAX.0));
                    shortage.until = now + shortage.retry;
                }
                shortage.stuck = stuck;
            }
            None if stuck > 0 => {
                let until = now + RETRY_FIRST;
                *own = Some(Self { placed, stuck, until, retry: RETRY_FIRST });
            }
            None => {}
        }
    }

    /// The most replicas worth asking for.
    pub(super) fn ceiling(&self, now: Time) -> u32 {
        if now < self.until { self.placed } else { self.placed.saturating_add(1) }
    }

    pub(super) const fn rule(&self) -> Rule {
        Rule::Shortage { stuck: self.stuck, until: self.until }
    }
}

/// How long a replica of a variant may wait for an accelerator: where nodes must be made, that
/// takes its time.
pub(super) fn patience(view: &FleetView<'_>, variant: VariantId, patience: Span) -> Span {
    let class = view.world.variants[variant.index()].accelerator;
    let node = view.world.accelerators[class.index()].node_provisioning;
    patience.max(node + node)
}
