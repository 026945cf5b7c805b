//! Speed and limits: what is added and removed in ten minutes, accelerators, cost.

use super::ledger::Ledger;
use super::{Context, Draft, Rule};
use crate::fleet::Role;
use crate::ids::VariantId;

/// Replicas removed, then replicas added in ten minutes.
pub(super) fn speed(context: &Context<'_>, ledger: &mut Ledger, draft: &mut Draft<'_>) {
    let limits = &context.fleet.rails.limits;
    if let Some(limit) = limits.replicas_removed_max {
        let mut left = limit.saturating_sub(ledger.removed(context.now));
        for variant in dearest_first(context) {
            let removed = context.desired(variant).saturating_sub(draft.get(variant));
            let granted = removed.min(left);
            left -= granted;
            let rule = Rule::RemovedTooFast { limit };
            draft.set(variant, draft.get(variant) + removed - granted, rule);
        }
    }
    if let Some(limit) = limits.replicas_added_max {
        let left = limit.saturating_sub(ledger.added(context.now));
        let mut cut = Cut::new(context, draft);
        while cut.added() > left && cut.one(|_| true, 0) {}
        cut.write(draft, &Rule::AddedTooFast { limit });
    }
}

/// Price unknown, accelerators, cost.
pub(super) fn limits(context: &Context<'_>, ledger: &mut Ledger, draft: &mut Draft<'_>) {
    let limits = &context.fleet.rails.limits;
    let world = context.view.world;
    let mut exceeded = false;
    for &(accelerator, limit) in &limits.accelerators_max {
        let of_class = |id: VariantId| world.variants[id.index()].accelerator == accelerator;
        let removable = removable(context, ledger, draft);
        let mut cut = Cut::new(context, draft);
        let taken = |cut: &Cut<'_>| -> u64 {
            let each = |id: &VariantId| {
                u64::from(cut.kept(*id))
                    * u64::from(world.variants[id.index()].accelerators_per_replica)
            };
            cut.variants.iter().filter(|id| of_class(**id)).map(each).sum()
        };
        let mut over = taken(&cut) > u64::from(limit);
        while over && cut.one(of_class, removable) {
            over = taken(&cut) > u64::from(limit);
        }
        exceeded |= over;
        cut.write(draft, &Rule::AcceleratorLimit { accelerator, limit });
    }
    if let Some(limit) = limits.cost_per_hour_max {
        let price = |id: VariantId| world.replica_price(id).map(|price| price.0);
        let mut cut = Cut::new(context, draft);
        while cut.one(|id| price(id).is_none(), 0) {}
        // What runs at an unknown price may cost anything: nothing else grows beside it.
        if cut.variants.iter().any(|id| price(*id).is_none() && cut.kept(*id) > 0) {
            while cut.one(|_| true, 0) {}
        }
        cut.write(draft, &Rule::PriceUnknown);

        let removable = removable(context, ledger, draft);
        let mut cut = Cut::new(context, draft);
        let cost = |cut: &Cut<'_>| -> f64 {
            let each = |id: &VariantId| price(*id).unwrap_or(0.0) * f64::from(cut.kept(*id));
            cut.variants.iter().map(each).sum()
        };
        // Prices are sums of decimals: a limit of 12 holds four at 3.
        let most = limit.0 * (1.0 + 1e-9);
        let mut over = cost(&cut) > most;
        while over && cut.one(|id| price(id).is_some_and(|price| price > 0.0), removable) {
            over = cost(&cut) > most;
        }
        exceeded |= over;
        cut.write(draft, &Rule::CostLimit { limit });
    }
    if exceeded {
        let at_least = |id| draft.get(id) <= context.fewest(id);
        let only_minimums = context.variants().all(at_least);
        let rule = if only_minimums { Rule::LimitBelowMinimums } else { Rule::LimitExceeded };
        draft.say(rule);
    }
}

/// Replicas that are held and may still go.
fn removable(context: &Context<'_>, ledger: &mut Ledger, draft: &Draft<'_>) -> u32 {
    if context.frozen.is_some() {
        return 0;
    }
    let Some(limit) = context.fleet.rails.limits.replicas_removed_max else { return u32::MAX };
    let going = |id| context.desired(id).saturating_sub(draft.get(id));
    let going = context.variants().map(going).fold(0, u32::saturating_add);
    limit.saturating_sub(ledger.removed(context.now)).saturating_sub(going)
}

fn dearest_first(context: &Context<'_>) -> Vec<VariantId> {
    let price = |id: &VariantId| {
        context.view.world.replica_price(*id).map_or(f64::INFINITY, |price| price.0)
    };
    let mut variants: Vec<VariantId> = context.variants().collect();
    variants.sort_by(|left, right| price(right).total_cmp(&price(left)));
    variants
}

/// Takes replicas back one by one, so that what is left serves the higher tiers evenly: the gate
/// gives way from the lowest tier up when there is less, so fewer replicas is all that is needed.
struct Cut<'a> {
    context: &'a Context<'a>,
    /// The dearest first.
    variants: Vec<VariantId>,
    /// By [`VariantId`].
    kept: Vec<u32>,
    /// Replicas wanted of each role before the cut.
    wanted: [u32; 3],
    /// Held replicas that were taken back.
    removed: u32,
}

impl<'a> Cut<'a> {
    fn new(context: &'a Context<'a>, draft: &Draft<'_>) -> Self {
        let variants = dearest_first(context);
        let mut cut =
            Self { context, variants, kept: draft.replicas.to_vec(), wanted: [0; 3], removed: 0 };
        cut.wanted = cut.by_role();
        cut
    }

    fn kept(&self, variant: VariantId) -> u32 {
        self.kept[variant.index()]
    }

    fn role(&self, variant: VariantId) -> usize {
        match self.context.view.world.variants[variant.index()].role {
            Role::Both => 0,
            Role::Prefill => 1,
            Role::Decode => 2,
        }
    }

    fn by_role(&self) -> [u32; 3] {
        let mut sums = [0_u32; 3];
        for &variant in &self.variants {
            let sum = &mut sums[self.role(variant)];
            *sum = sum.saturating_add(self.kept(variant));
        }
        sums
    }

    /// Replicas added beyond what is held and beyond what must be there.
    fn added(&self) -> u32 {
        let added = |id: &VariantId| self.kept(*id).saturating_sub(self.context.desired(*id));
        self.variants.iter().map(added).fold(0, u32::saturating_add)
    }

    /// Takes one back, growth before what is held, from the role that keeps most of what it
    /// wanted, the dearest first. At most `removable` held replicas go, and none of the fewest.
    /// False when none is left to take.
    fn one(&mut self, of: impl Fn(VariantId) -> bool, removable: u32) -> bool {
        let have = self.by_role();
        let share = |id: VariantId| {
            let role = self.role(id);
            f64::from(have[role]) / f64::from(self.wanted[role].max(1))
        };
        let mut best: Option<(bool, f64, VariantId)> = None;
        for &variant in self.variants.iter().filter(|id| of(**id)) {
            let (kept, desired) = (self.kept(variant), self.context.desired(variant));
            let growth = kept > desired;
            if kept <= self.context.fewest(variant) || (!growth && self.removed >= removable) {
                continue;
            }
            let better = best.is_none_or(|(best_growth, best_share, _)| {
                (growth && !best_growth) || (growth == best_growth && share(variant) > best_share)
            });
            if better {
                best = Some((growth, share(variant), variant));
            }
        }
        let Some((growth, _, variant)) = best else { return false };
        self.kept[variant.index()] -= 1;
        self.removed += u32::from(!growth);
        true
    }

    fn write(self, draft: &mut Draft<'_>, rule: &Rule) {
        for variant in self.variants {
            draft.set(variant, self.kept[variant.index()], rule.clone());
        }
    }
}
