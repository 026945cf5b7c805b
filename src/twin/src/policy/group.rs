//! What a policy scales: the variants of one role of one fleet, counted together.

use forebay_core::fleet::{Role, World};
use forebay_core::ids::{FleetId, VariantId};
use forebay_core::plan::FleetView;

/// Variants that one decision covers, in the order in which they are filled.
///
/// One group is one scale target as its users see it: with one variant a Deployment with its
/// HPA; with several a Deployment whose pods fall back from one accelerator to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) fleet: FleetId,
    pub(crate) role: Role,
    /// Filled in this order; never empty.
    pub(crate) variants: Vec<VariantId>,
    /// Fewest replicas of all variants together.
    pub(crate) min: u32,
    /// Most replicas of all variants together.
    pub(crate) max: u32,
}

/// Replicas of a group as Kubernetes shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// `spec.replicas`.
    pub(crate) desired: u32,
    /// `status.replicas`.
    pub(crate) current: u32,
    /// Ready.
    pub(crate) ready: u32,
    /// With a node, not ready.
    pub(crate) starting: u32,
    /// Without a node.
    pub(crate) unschedulable: u32,
}

impl Group {
    /// The variant that names the group and whose physics it is sized with.
    pub(crate) fn first(&self) -> VariantId {
        self.variants.first().copied().unwrap_or(VariantId(0))
    }

    /// `fleet/variant`, or `fleet/role` with several variants.
    pub(crate) fn name(&self, world: &World) -> String {
        let fleet = &world.fleets[self.fleet.index()].name;
        match self.variants.as_slice() {
            [only] => format!("{fleet}/{}", world.variants[only.index()].name),
            _ => format!("{fleet}/{}", self.role.name()),
        }
    }

    pub(crate) fn replicas(&self, view: &FleetView<'_>) -> Replicas {
        let targets = self.variants.iter().filter_map(|variant| view.targets.get(variant.index()));
        targets.fold(Replicas::default(), |sum, target| Replicas {
            desired: sum.desired + target.replicas_desired,
            current: sum.current + target.replicas_current,
            ready: sum.ready + target.endpoints_ready.len() as u32,
            starting: sum.starting + target.starting_since.len() as u32,
            unschedulable: sum.unschedulable + target.unschedulable_since.len() as u32,
        })
    }

    /// Hands `total` out: every variant gets its minimum, the rest fills them in order up to
    /// their maxima. What does not fit is left out.
    pub(crate) fn place(&self, total: u32, world: &World) -> Vec<(VariantId, u32)> {
        let least: u32 = self.bounds(world).map(|(_, min, _)| min).sum();
        let mut rest = total.saturating_sub(least);
        let mut short = least.saturating_sub(total);
        let mut placed: Vec<(VariantId, u32)> = Vec::with_capacity(self.variants.len());
        for (variant, min, max) in self.bounds(world) {
            let more = rest.min(max.saturating_sub(min));
            rest -= more;
            placed.push((variant, min + more));
        }
        // Below the sum of the minima (a policy that scales to zero) the last give way first.
        for (_, count) in placed.iter_mut().rev() {
            let fewer = short.min(*count);
            *count -= fewer;
            short -= fewer;
        }
        placed
    }

    fn bounds<'a>(&'a self, world: &'a World) -> impl Iterator<Item = (VariantId, u32, u32)> + 'a {
        self.variants.iter().map(|&id| {
            let variant = &world.variants[id.index()];
            (id, variant.replicas_min, variant.replicas_max.max(variant.replicas_min))
        })
    }
}
