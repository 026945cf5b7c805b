//! From need to replicas per variant: the cheapest work first, within bounds and quotas, and no
//! replica given up before its successor is ready.

use crate::fleet::{Role, World};
use crate::ids::VariantId;
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// What one role of a fleet needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Which role.
    pub role: Role,
    /// Replicas of the role's first variant, headroom included; fractions count.
    pub need: f64,
    /// For each variant how many of the first variant one replica stands for.
    pub shares: Vec<(VariantId, f64)>,
    /// How the need was come by.
    pub reason: String,
}

/// What one variant gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Which.
    pub variant: VariantId,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Why.
    pub reason: String,
}

/// Rules of a placement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// False while data are missing: then nothing goes down.
    pub may_shrink: bool,
    /// Prefill and decode replicas of one unit.
    pub split: Option<(u32, u32)>,
    /// How long a replica may wait for a node.
    pub patience: Span,
    /// The present.
    pub now: Time,
}

/// Accelerators that all targets ask for, by class.
#[must_use]
pub fn accelerators_desired(view: &FleetView<'_>) -> Vec<u32> {
    let mut held = vec![0; view.world.accelerators.len()];
    for (variant, target) in view.world.variants.iter().zip(view.targets) {
        held[variant.accelerator.index()] +=
            target.replicas_desired * variant.accelerators_per_replica;
    }
    held
}

/// Places the asks of one fleet. `held` counts accelerators over all fleets and is kept up.
#[must_use]
pub fn place(view: &FleetView<'_>, asks: &[Ask], rules: &Rules, held: &mut [u32]) -> Vec<Place> {
    let mut needs: Vec<f64> = asks.iter().map(|ask| ask.need).collect();
    if let Some((prefill, decode)) = rules.split {
        let ratio = |role| match role {
            Role::Prefill => Some(f64::from(prefill)),
            Role::Decode => Some(f64::from(decode)),
            Role::Both => None,
        };
        let units = asks.iter().filter_map(|ask| Some((ask.need / ratio(ask.role)?).ceil()));
        let units = units.fold(0.0, f64::max);
        for (need, ask) in needs.iter_mut().zip(asks) {
            *need = ratio(ask.role).map_or(*need, |ratio| units * ratio);
        }
    }
    let mut placed = Vec::new();
    for (ask, need) in asks.iter().zip(needs) {
        place_one(view, ask, need, rules, held, &mut placed);
    }
    placed
}

fn place_one(
    view: &FleetView<'_>,
    ask: &Ask,
    need: f64,
    rules: &Rules,
    held: &mut [u32],
    placed: &mut Vec<Place>,
) {
    let world = view.world;
    let mut order = ask.shares.clone();
    order.sort_by(|left, right| cost(world, *left).total_cmp(&cost(world, *right)));
    let least =
        order.iter().map(|(id, share)| f64::from(world.variants[id.index()].replicas_min) * share);
    let mut rest = need - least.sum::<f64>();
    let mut wanted: Vec<(VariantId, f64, u32)> = Vec::new();
    for (id, share) in order {
        let min = world.variants[id.index()].replicas_min;
        let most = ceiling(view, id, rules, held).max(min);
        // A need of 2.0000001 is one of 2.
        let more = (rest / share - 1e-6).ceil().max(0.0) as u32;
        let replicas = (min.saturating_add(more)).min(most);
        rest -= f64::from(replicas - min) * share;
        let now = view.targets[id.index()].replicas_desired;
        let per_replica = world.variants[id.index()].accelerators_per_replica;
        let class = &mut held[world.variants[id.index()].accelerator.index()];
        *class = (*class + replicas.max(now) * per_replica).saturating_sub(now * per_replica);
        wanted.push((id, share, replicas));
    }
    // What is ready must carry the need before anything goes, unless nothing more can be had.
    let carried = |id: &VariantId, replicas: u32| {
        let ready = view.targets[id.index()].endpoints_ready.len() as u32;
        f64::from(ready.min(replicas))
    };
    let mut ready: f64 = wanted.iter().map(|(id, share, _)| carried(id, u32::MAX) * share).sum();
    let goal = need.min(wanted.iter().map(|(_, share, n)| f64::from(*n) * share).sum());
    for (id, share, replicas) in wanted.into_iter().rev() {
        let now = view.targets[id.index()].replicas_desired;
        let mut replicas = replicas;
        if replicas < now {
            let fewest = if rules.may_shrink { replicas } else { now };
            replicas = now;
            while replicas > fewest {
                let after = ready - (carried(&id, replicas) - carried(&id, replicas - 1)) * share;
                if after + 1e-6 < goal {
                    break;
                }
                ready = after;
                replicas -= 1;
            }
        }
        placed.push(Place { variant: id, replicas, reason: ask.reason.clone() });
    }
}

/// Price of a unit of work; a variant without a price comes last.
fn cost(world: &World, (variant, share): (VariantId, f64)) -> f64 {
    world.replica_price(variant).map_or(f64::INFINITY, |price| price.0 / share.max(1e-9))
}

/// Most replicas that can be had: the variant's maximum, what the quota leaves, and no more than
/// have a node once one has waited past its patience.
fn ceiling(view: &FleetView<'_>, id: VariantId, rules: &Rules, held: &[u32]) -> u32 {
    let variant = &view.world.variants[id.index()];
    let target = &view.targets[id.index()];
    let mut most = variant.replicas_max;
    if let Some(quota) = view.world.accelerators[variant.accelerator.index()].quota {
        let others = held[variant.accelerator.index()]
            .saturating_sub(target.replicas_desired * variant.accelerators_per_replica);
        most = most.min(quota.saturating_sub(others) / variant.accelerators_per_replica.max(1));
    }
    let stuck =
        target.unschedulable_since.iter().any(|since| rules.now.since(*since) > rules.patience);
    if stuck {
        let waiting = target.unschedulable_since.len() as u32;
        most = most.min(target.replicas_current.saturating_sub(waiting));
    }
    most
}
