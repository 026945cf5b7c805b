//! One pool: the highest need of the window, and what may go.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::edits::Edits;
use super::shortage::Shortage;
use super::{GuardSettings, PoolNeed};
use crate::fleet::Role;
use crate::ids::{FleetId, VariantId};
use crate::plan::FleetView;
use crate::plan::evidence::{Evidence, Missing};
use crate::plan::verdict::{Draft, Rule};
use crate::time::{Span, Time};

/// Needs kept: only those higher than every later one. Beyond that the youngest is held longer.
const NEEDS_MAX: usize = 128;
/// Older needs are forgotten: twice the longest lead that anybody waits for.
const KEPT_MAX: Span = Span::from_secs(2 * 3_600);
/// Needs that nobody saw for longer than this may have been high: watching begins anew.
const GAP_MAX: Span = Span::from_secs(180);
/// Up again within this time of going down is a reversal.
const FLAP: Span = Span::from_secs(600);
/// Part of the pool that must have gone and come back for that: the rounding of a need that moves
/// a little is no reversal, and a longer window would cost more than it.
const FLAP_MIN: f64 = 0.1;
/// Reversals are counted over this span, and so many of them.
const FLAPS_COUNTED: Span = Span::from_secs(3_600);
const FLAPS_KEPT: usize = 16;
/// A need of 2.0000001 is one of 2.
const EPSILON: f64 = 1e-6;

/// What is remembered of one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PoolState {
    fleet: FleetId,
    role: Role,
    shares: Vec<(VariantId, f64)>,
    /// Falling needs with the time of each.
    needs: VecDeque<(Time, f64)>,
    watched_since: Time,
    /// When the need was last known from whole data.
    known_at: Option<Time>,
    /// Where it stood before it last went down, and how far down it went.
    fall: Option<Fall>,
    flaps: VecDeque<Time>,
}

/// A pool that went down, in replicas of the reference variant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Fall {
    from: f64,
    to: f64,
    at: Time,
}

/// What a pool is judged in.
pub(super) struct Context<'a> {
    pub(super) now: Time,
    pub(super) view: &'a FleetView<'a>,
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) settings: &'a GuardSettings,
    pub(super) edits: &'a [Edits],
    pub(super) shortages: &'a [Option<Shortage>],
}

impl Context<'_> {
    fn desired(&self, variant: VariantId) -> u32 {
        self.view.targets[variant.index()].replicas_desired
    }

    fn ready(&self, variant: VariantId) -> u32 {
        self.view.targets[variant.index()].endpoints_ready.len() as u32
    }

    fn stuck(&self, variant: VariantId) -> u32 {
        self.shortages[variant.index()].map_or(0, |shortage| shortage.stuck)
    }

    fn missing(&self, fleet: FleetId) -> Option<Missing> {
        match self.evidence.fleets.get(fleet.index()) {
            Some(evidence) => evidence.missing,
            None => Some(Missing::Demand),
        }
    }
}

impl PoolState {
    pub(super) fn new(pool: &PoolNeed, now: Time) -> Self {
        Self {
            fleet: pool.fleet,
            role: pool.role,
            shares: Vec::new(),
            needs: VecDeque::new(),
            watched_since: now,
            known_at: None,
            fall: None,
            flaps: VecDeque::new(),
        }
    }

    pub(super) fn is(&self, pool: &PoolNeed) -> bool {
        (self.fleet, self.role) == (pool.fleet, pool.role)
    }

    /// Holds back in `draft` what must not go.
    pub(super) fn step(&mut self, pool: &PoolNeed, context: &Context<'_>, draft: &mut Draft<'_>) {
        self.shares.clone_from(&pool.shares);
        let now = context.now;
        let missing = match pool.need {
            Some(need) if need.is_finite() => {
                self.remember(now, need);
                context.missing(pool.fleet)
            }
            _ => Some(Missing::Demand),
        };
        if missing.is_none() {
            if self.known_at.is_some_and(|known| now.since(known) > GAP_MAX) {
                self.watched_since = now;
            }
            self.known_at = Some(now);
        }
        let leads = pool.shares.iter().filter_map(|(id, _)| context.evidence.leads.get(id.index()));
        let lead = leads.max().copied().unwrap_or_default() + context.settings.interval;
        let flaps = self.flaps(now);
        let doubled = flaps >= context.settings.flaps_max;
        let once = context.settings.window.max(lead);
        let window = if doubled { once + once } else { once };

        let watched = now.since(self.watched_since);
        let blocked = match missing {
            Some(missing) => Some(Rule::DataMissing(missing)),
            None if watched < once => Some(Rule::NotWatchedLongEnough { watched, window: once }),
            None => None,
        };
        let falling: Vec<(VariantId, f64)> = self.falling(context, draft);
        if let Some(rule) = blocked {
            for (variant, _) in falling {
                draft.set(variant, context.desired(variant), rule.clone());
            }
            return;
        }
        let needs = self.needs.iter().filter(|(at, _)| now.since(*at) <= window);
        let highest = needs.map(|(_, need)| *need).fold(0.0, f64::max);
        let glide = Rule::Glide { highest, window, flaps: if doubled { flaps } else { 0 } };
        self.let_go(&falling, highest, &glide, context, draft);
    }

    /// Variants that are to shrink, the dearest work first; what has no price first of all.
    fn falling(&self, context: &Context<'_>, draft: &Draft<'_>) -> Vec<(VariantId, f64)> {
        let cost = |(variant, share): &(VariantId, f64)| {
            let price = context.view.world.replica_price(*variant);
            price.map_or(f64::INFINITY, |price| price.0 / share.max(1e-9))
        };
        let mut falling: Vec<_> = self.shares.clone();
        falling.retain(|(variant, _)| draft.get(*variant) < context.desired(*variant));
        falling.retain(|(variant, _)| context.edits[variant.index()].held(context.now).is_none());
        falling.sort_by(|left, right| cost(right).total_cmp(&cost(left)));
        falling
    }

    /// Takes replicas away one after the other, as long as every rule agrees.
    fn let_go(
        &self,
        falling: &[(VariantId, f64)],
        highest: f64,
        glide: &Rule,
        context: &Context<'_>,
        draft: &mut Draft<'_>,
    ) {
        // Begin with everything that is there or wanted.
        let mut kept: Vec<u32> = draft.replicas.to_vec();
        for (variant, _) in falling {
            kept[variant.index()] = context.desired(*variant);
        }
        for (variant, share) in falling {
            let index = variant.index();
            let wanted = draft.get(*variant);
            while kept[index] > wanted {
                kept[index] -= 1;
                if let Some(rule) = self.objection(&kept, *variant, *share, highest, glide, context)
                {
                    kept[index] += 1;
                    draft.set(*variant, kept[index], rule);
                    break;
                }
            }
        }
    }

    /// Why `kept` may not be, one of `variant` having gone.
    fn objection(
        &self,
        kept: &[u32],
        variant: VariantId,
        share: f64,
        highest: f64,
        glide: &Rule,
        context: &Context<'_>,
    ) -> Option<Rule> {
        let sum = |count: &dyn Fn(VariantId) -> u32| -> f64 {
            self.shares.iter().map(|(id, share)| f64::from(count(*id)) * share).sum()
        };
        // Replicas that wait without hope carry nothing and are promised by nobody.
        let stuck = context.stuck(variant);
        let hopeless = kept[variant.index()] + 1 > context.desired(variant).saturating_sub(stuck);
        let promised = sum(&|id| {
            let most = context.desired(id).saturating_sub(context.stuck(id));
            if context.stuck(id) > 0 { kept[id.index()].min(most) } else { kept[id.index()] }
        });
        if promised + EPSILON < highest {
            if stuck > 0 && hopeless {
                return Some(Rule::NothingElseToBeHad { stuck });
            }
            return Some(glide.clone());
        }
        let ready = sum(&|id| kept[id.index()].min(context.ready(id)));
        let gone_was_ready = kept[variant.index()] < context.ready(variant);
        if gone_was_ready && ready + EPSILON < highest {
            return Some(Rule::SuccessorNotReady { ready: ready + share, needed: highest });
        }
        None
    }

    fn remember(&mut self, now: Time, need: f64) {
        while self.needs.back().is_some_and(|(_, lower)| *lower <= need) {
            self.needs.pop_back();
        }
        let full = self.needs.len() == NEEDS_MAX;
        match self.needs.back_mut().filter(|_| full) {
            Some(youngest) => youngest.0 = now,
            None => self.needs.push_back((now, need)),
        }
        while self.needs.front().is_some_and(|(at, _)| now.since(*at) > KEPT_MAX) {
            self.needs.pop_front();
        }
    }

    /// Counts a reversal where what is asked for goes up soon after it went down.
    pub(super) fn asked(&mut self, now: Time, view: &FleetView<'_>, replicas: &[u32]) {
        let sum = |count: &dyn Fn(VariantId) -> u32| -> f64 {
            self.shares.iter().map(|(id, share)| f64::from(count(*id)) * share).sum()
        };
        let before = sum(&|id| view.targets[id.index()].replicas_desired);
        let after = sum(&|id| replicas[id.index()]);
        self.fall = self.fall.filter(|fall| now.since(fall.at) <= FLAP);
        if after < before - EPSILON {
            let from = self.fall.map_or(before, |fall| fall.from.max(before));
            self.fall = Some(Fall { from, to: after, at: now });
        } else if let Some(Fall { from, to, .. }) = self.fall
            && after > before + EPSILON
            && (after - to).min(from - to) >= FLAP_MIN * from
        {
            self.fall = None;
            if self.flaps.len() == FLAPS_KEPT {
                self.flaps.pop_front();
            }
            self.flaps.push_back(now);
        }
    }

    fn flaps(&mut self, now: Time) -> u32 {
        self.flaps.retain(|at| now.since(*at) < FLAPS_COUNTED);
        self.flaps.len() as u32
    }
}
