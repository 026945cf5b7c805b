//! Whether what is decided about a request is carried out, or only counted.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::tiers::PolicyTiers;
use crate::api::TrafficPolicySpec;
use crate::api::bounds::TIERS_MAX;
use crate::api::policy::Enforcement as Mode;
use crate::ids::TierId;

/// Which requests a policy is enforced for.
#[derive(Clone, Debug)]
pub struct Enforcement {
    /// Hashes from here on are beyond the share, by [`TierId`]; 0 = none is enforced.
    below: [u128; TIERS_MAX],
    seed: u64,
}

impl Enforcement {
    pub(super) fn new(policy: &TrafficPolicySpec, tiers: &PolicyTiers, seed: u64) -> Self {
        let mut below = [0; TIERS_MAX];
        for tier in &policy.tiers {
            let enforced = tier.enforcement.unwrap_or(policy.enforcement) == Mode::Enforce;
            let place = tiers.named(&tier.name).and_then(|id| below.get_mut(id.index()));
            if let (Some(below), true) = (place, enforced) {
                *below = (policy.enforcement_share.0 * 2_f64.powi(64)).round() as u128;
            }
        }
        Self { below, seed }
    }

    /// Whether the request is held, refused and ordered as decided. `request` is its identity: a
    /// request that asks again under the same identity gets the same answer.
    #[must_use]
    pub fn enforced(&self, tier: TierId, request: u128) -> bool {
        let below = self.below.get(tier.index()).copied().unwrap_or(0);
        u128::from(xxh3_64_with_seed(&request.to_le_bytes(), self.seed)) < below
    }

    /// Whether any request of the tier is.
    #[must_use]
    pub fn any(&self, tier: TierId) -> bool {
        self.below.get(tier.index()).is_some_and(|below| *below > 0)
    }
}
