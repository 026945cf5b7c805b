//! The tiers of one policy, as names and priorities are looked up in them.

use crate::api::TrafficPolicySpec;
use crate::fleet::Tier;
use crate::ids::TierId;
use crate::manifest::default_tier;

/// The tiers of one policy, the highest priority first; never empty.
#[derive(Clone, Debug)]
pub(super) struct PolicyTiers {
    tiers: Vec<PolicyTier>,
    default: TierId,
}

#[derive(Clone, Debug)]
struct PolicyTier {
    name: String,
    priority: i32,
    id: TierId,
}

impl PolicyTiers {
    /// The tiers of `policy` among all `tiers` of a run; `None` where it has none of them.
    pub(super) fn new(policy: &TrafficPolicySpec, tiers: &[Tier]) -> Option<Self> {
        let ours = |tier: &Tier| policy.tiers.iter().any(|own| own.name == tier.name);
        let tiers: Vec<PolicyTier> = tiers
            .iter()
            .enumerate()
            .filter(|(_, tier)| ours(tier))
            .map(|(index, tier)| PolicyTier {
                name: tier.name.clone(),
                priority: tier.priority,
                id: TierId(index as u8),
            })
            .collect();
        let last = tiers.last()?.id;
        let default = default_tier(policy)
            .and_then(|name| tiers.iter().find(|tier| tier.name == name))
            .map_or(last, |tier| tier.id);
        Some(Self { tiers, default })
    }

    /// The tier of requests that name none.
    pub(super) const fn default_tier(&self) -> TierId {
        self.default
    }

    /// The tier of highest priority.
    pub(super) fn highest(&self) -> TierId {
        self.tiers.first().map_or(self.default, |tier| tier.id)
    }

    /// The tier of that name.
    pub(super) fn named(&self, name: &str) -> Option<TierId> {
        self.tiers.iter().find(|tier| tier.name == name).map(|tier| tier.id)
    }

    /// The tier with the highest priority not above `priority`, or else the lowest.
    pub(super) fn at_most(&self, priority: i32) -> TierId {
        let lowest = self.tiers.last().map_or(self.default, |tier| tier.id);
        self.tiers.iter().find(|tier| tier.priority <= priority).map_or(lowest, |tier| tier.id)
    }

    /// Of the `allowed` tiers the one that serves a request for `asked`: itself, or else the next
    /// lower, or else the lowest allowed. Tiers are numbered from the highest priority down.
    pub(super) fn allowed(&self, asked: TierId, allowed: &[TierId]) -> TierId {
        if allowed.is_empty() || allowed.contains(&asked) {
            return asked;
        }
        let lower = allowed.iter().filter(|tier| **tier > asked).min();
        lower.or_else(|| allowed.iter().max()).copied().unwrap_or(asked)
    }

    /// Names of all.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tiers.iter().map(|tier| tier.name.as_str())
    }
}
