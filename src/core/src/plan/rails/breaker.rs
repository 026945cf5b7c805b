//! The breaker: attainment fell after replicas were taken away, so they are given back and held.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::RailSettings;
use crate::fleet::Fleet;
use crate::ids::{TierId, VariantId};
use crate::plan::evidence::FleetEvidence;
use crate::plan::verdict::Rule;
use crate::time::Time;

/// Scale-ins kept: one each minute for half an hour.
const SCALE_INS_MAX: usize = 30;
/// A fall of fewer standard deviations than this is chance.
const CHANCE_SIGMA: f64 = 3.0;

/// What was taken away lately, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Breaker {
    /// When, and how many there were before of each variant.
    scale_ins: VecDeque<(Time, Vec<(VariantId, u32)>)>,
    /// By [`TierId`]: the share that attained when they went, the best of these; `None` = not
    /// known. What was bad before did not fall.
    #[serde(default)]
    before: Vec<Option<f64>>,
    /// The same at the last look.
    #[serde(default)]
    last: Vec<Option<f64>>,
    open: Option<Open>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    until: Time,
    tier: TierId,
    attained: f64,
    promised: f64,
    undo: Vec<(VariantId, u32)>,
}

impl Breaker {
    /// Trips where attainment is bad after a scale-in. A tier that nobody knows anything of does
    /// not trip it.
    pub(super) fn look(
        &mut self,
        now: Time,
        fleet: &Fleet,
        known: &FleetEvidence,
        settings: &RailSettings,
    ) {
        if self.open.as_ref().is_some_and(|open| now >= open.until) {
            self.open = None;
        }
        self.last = known.attainment.iter().map(|seen| seen.map(|seen| seen.share)).collect();
        self.scale_ins.retain(|(at, _)| now.since(*at) <= settings.breaker_watch);
        if self.scale_ins.is_empty() {
            self.before.clear();
            return;
        }
        let fallen = fallen(fleet, known, &self.before, settings);
        let Some((tier, attained, promised)) = fallen else { return };
        self.before.clear();
        let mut undo: Vec<(VariantId, u32)> = Vec::new();
        let before = self.open.take().map(|open| open.undo).unwrap_or_default();
        let recent = self.scale_ins.drain(..).flat_map(|(_, before)| before);
        for (variant, before) in before.into_iter().chain(recent) {
            match undo.iter_mut().find(|(known, _)| *known == variant) {
                Some((_, most)) => *most = (*most).max(before),
                None => undo.push((variant, before)),
            }
        }
        self.open =
            Some(Open { until: now + settings.breaker_hold, tier, attained, promised, undo });
    }

    /// Replicas go. `before`: how many there were of each variant, also of those that stay.
    pub(super) fn scaled_in(&mut self, now: Time, before: Vec<(VariantId, u32)>) {
        if self.scale_ins.len() == SCALE_INS_MAX {
            self.scale_ins.pop_front();
        }
        self.scale_ins.push_back((now, before));
        self.before.resize(self.before.len().max(self.last.len()), None);
        for (best, last) in self.before.iter_mut().zip(&self.last) {
            *best = match (*best, *last) {
                (Some(best), Some(last)) => Some(best.max(last)),
                (best, last) => best.or(last),
            };
        }
    }

    /// Why replicas that were there before are given back, or are kept.
    pub(super) fn rules(&self, now: Time) -> Option<(Rule, Rule)> {
        let open = self.open.as_ref().filter(|open| now < open.until)?;
        let Open { tier, attained, promised, until, .. } = *open;
        Some((Rule::BreakerTripped { tier, attained, promised }, Rule::BreakerHolds { until }))
    }

    /// Replicas that there were before.
    pub(super) fn undo(&self) -> impl Iterator<Item = (VariantId, u32)> {
        self.open.iter().flat_map(|open| open.undo.iter().copied())
    }
}

/// The first tier that is below what it was promised, and below what it had `before`, by more than
/// the drop and more than chance.
fn fallen(
    fleet: &Fleet,
    known: &FleetEvidence,
    before: &[Option<f64>],
    settings: &RailSettings,
) -> Option<(TierId, f64, f64)> {
    let tiers = fleet.slos.iter().zip(&known.attainment).enumerate();
    tiers.into_iter().find_map(|(index, (slo, attainment))| {
        let promised = slo.as_ref()?.percentile();
        let seen = attainment.filter(|seen| seen.requests >= settings.breaker_requests_min)?;
        let chance = CHANCE_SIGMA * (promised * (1.0 - promised) / seen.requests).sqrt();
        // Unknown before: it is taken to have been kept.
        let before = before.get(index).copied().flatten().unwrap_or(promised).min(promised);
        let fell = before - seen.share > settings.breaker_drop.max(chance);
        fell.then_some((TierId(index as u8), seen.share, promised))
    })
}
