//! From what the solver wants to what is safe to ask for, in one place.
//!
//! Up at once, by as much as is wanted. Down only on whole data, only to the highest need of the
//! window, only as far as what is ready carries that need, and only if one replica less would
//! still stay well within the objectives. Every pool (a fleet's role) is judged by itself, so that
//! the start-up of one never holds the other. A replica that finds no accelerator is handed back
//! to the solver. What somebody else set is held as given.

mod edits;
mod outlook;
mod pool;
mod shortage;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::edits::Edits;
pub use self::outlook::Coming;
use self::pool::PoolState;
use self::shortage::Shortage;
use super::evidence::Evidence;
use super::verdict::{Draft, Rule, Verdict};
use super::{FleetView, ScaleTarget};
use crate::fleet::Role;
use crate::ids::{FleetId, VariantId};
use crate::time::{Span, Time};

/// What may be tuned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardSettings {
    /// Down goes only to the highest need of this span, or of the lead time where that is longer:
    /// what was needed that recently may be needed again before it could be bought back.
    pub window: Span,
    /// Between two decisions; a need lives that much longer than the lead.
    pub interval: Span,
    /// How long a replica may wait for an accelerator; at least twice the time that a node takes.
    pub patience: Span,
    /// Reversals (down, and up again within ten minutes) of an hour that double the window.
    pub flaps_max: u32,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            window: Span::from_secs(600),
            interval: Span::from_secs(15),
            patience: Span::from_secs(300),
            flaps_max: 3,
        }
    }
}

/// What the solver wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Replicas by [`VariantId`].
    pub replicas: Vec<u32>,
    /// What each pool needs. A variant that is in no pool is never scaled down.
    pub pools: Vec<PoolNeed>,
}

/// What one pool needs now.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolNeed {
    /// Whose.
    pub fleet: FleetId,
    /// Which of its roles.
    pub role: Role,
    /// Replicas of a reference variant, headroom included; fractions count. `None` = not known,
    /// which is not zero.
    pub need: Option<f64>,
    /// For each variant of the pool how many of the reference variant one replica stands for.
    pub shares: Vec<(VariantId, f64)>,
}

/// The guard of all fleets. It remembers needs, what it asked for, and what was not to be had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    settings: GuardSettings,
    pools: Vec<PoolState>,
    /// By [`VariantId`].
    edits: Vec<Edits>,
    /// By [`VariantId`].
    shortages: Vec<Option<Shortage>>,
}

impl Guard {
    /// A guard that has seen nothing yet: it lets nothing go before it has watched for a window.
    #[must_use]
    pub const fn new(settings: GuardSettings) -> Self {
        Self { settings, pools: Vec::new(), edits: Vec::new(), shortages: Vec::new() }
    }

    /// What to ask for, by [`VariantId`], given what the solver wants. Each change of what is
    /// wanted comes with its verdict.
    pub fn step(
        &mut self,
        now: Time,
        view: &FleetView<'_>,
        wanted: &Wanted,
        evidence: &Evidence<'_>,
        verdicts: &mut Vec<Verdict>,
    ) -> Vec<u32> {
        let count = view.world.variants.len();
        self.edits.resize_with(count, Edits::default);
        self.shortages.resize(count, None);
        let mut replicas: Vec<u32> = view.targets.iter().map(|t| t.replicas_desired).collect();
        replicas.iter_mut().zip(&wanted.replicas).for_each(|(own, wanted)| *own = *wanted);

        for (index, target) in view.targets.iter().enumerate() {
            let variant = VariantId(index as u16);
            let fleet = view.world.variants[index].fleet;
            let mut draft = Draft { fleet, replicas: &mut replicas, verdicts };
            self.edits[index].look(now, target.replicas_desired);
            if let Some(rule) = self.edits[index].held(now) {
                let before = draft.get(variant);
                draft.set(variant, target.replicas_desired, rule.clone());
                if before == target.replicas_desired {
                    draft.say(rule);
                }
                continue;
            }
            let patience = shortage::patience(view, variant, self.settings.patience);
            Shortage::look(&mut self.shortages[index], now, target, patience);
            if let Some(shortage) = &self.shortages[index] {
                let most = shortage.ceiling(now).max(target.replicas_desired);
                if draft.get(variant) > most {
                    draft.set(variant, most, shortage.rule());
                }
            }
        }
        for pool in &wanted.pools {
            let place = self.pools.iter().position(|own| own.is(pool)).unwrap_or_else(|| {
                self.pools.push(PoolState::new(pool, now));
                self.pools.len() - 1
            });
            let context = pool::Context {
                now,
                view,
                evidence,
                settings: &self.settings,
                edits: &self.edits,
                shortages: &self.shortages,
            };
            let mut draft = Draft { fleet: pool.fleet, replicas: &mut replicas, verdicts };
            self.pools[place].step(pool, &context, &mut draft);
        }
        // A variant of which nobody said what its pool needs.
        for (index, target) in view.targets.iter().enumerate() {
            let variant = VariantId(index as u16);
            let shared = |pool: &PoolNeed| pool.shares.iter().any(|(id, _)| *id == variant);
            if !wanted.pools.iter().any(shared) && replicas[index] < target.replicas_desired {
                let fleet = view.world.variants[index].fleet;
                let mut draft = Draft { fleet, replicas: &mut replicas, verdicts };
                let rule = Rule::DataMissing(super::evidence::Missing::Demand);
                draft.set(variant, target.replicas_desired, rule);
            }
        }
        replicas
    }

    /// Tells the guard what is now being written to the scale targets, by [`VariantId`]. Not to be
    /// called while we only advise: what nobody writes is not taken for a hand edit then.
    pub fn asked(&mut self, now: Time, view: &FleetView<'_>, replicas: &[u32]) {
        for ((edits, target), replicas) in self.edits.iter_mut().zip(view.targets).zip(replicas) {
            edits.asked(now, target.replicas_desired, *replicas);
        }
        for pool in &mut self.pools {
            pool.asked(now, view, replicas);
        }
    }

    /// For the next solve, by [`VariantId`]: the most replicas that can be had while accelerators
    /// are short; one more than there are once it is time to try again. `None` = not short.
    #[must_use]
    pub fn ceilings(&self, now: Time) -> Vec<Option<u32>> {
        self.shortages
            .iter()
            .map(|shortage| shortage.as_ref().map(|shortage| shortage.ceiling(now)))
            .collect()
    }

    /// For the next solve, by [`VariantId`]: the replicas as given where somebody else set them;
    /// `None` = ours to choose.
    #[must_use]
    pub fn given(&self, now: Time, view: &FleetView<'_>) -> Vec<Option<u32>> {
        let held = |(edits, target): (&Edits, &ScaleTarget)| {
            edits.held(now).map(|_| target.replicas_desired)
        };
        self.edits.iter().zip(view.targets).map(held).collect()
    }

    /// When each replica on its way will be ready, the next first. Those that wait without hope
    /// are left out.
    #[must_use]
    pub fn outlook(&self, now: Time, view: &FleetView<'_>, leads: &[Span]) -> Vec<Coming> {
        outlook::coming(now, view, leads, self.settings.patience)
    }
}
