//! What is settled about a request before the gate sees it: who asks, in which tier, within which
//! limits, and whether the answer is carried out or only counted. Then what outlives a request:
//! tickets and leases.

pub mod enforce;
pub mod headers;
mod id;
pub mod identity;
pub mod leases;
pub mod limits;
pub mod objects;
mod register;
pub mod rewrite;
pub mod tickets;
mod tiers;

#[cfg(test)]
mod register_tests;
#[cfg(test)]
mod tests;

use crate::api::InferenceFleetSpec;
use crate::fleet::Tier;
use crate::manifest::{Errors, Located, Manifests, Problem};

pub use enforce::Enforcement;
pub use id::NotAnId;
pub use identity::{ApiKeys, Facts, Identifier, Identity, TierBy};
pub use leases::{LeaseId, Leases, Standing};
pub use limits::{Charge, Limited, Limits};
pub use rewrite::Rewrites;
pub use tickets::{TicketId, Tickets};

use objects::Objects;
use tiers::PolicyTiers;

/// The terms on which requests to one fleet are admitted; made anew when a file changes.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Who asks, and in which tier.
    pub identifier: Identifier,
    /// Whether decisions are carried out.
    pub enforcement: Enforcement,
    /// What model names become.
    pub rewrites: Rewrites,
}

impl Terms {
    /// The terms of `fleet` as its manifests say. `tiers` is the table of the run,
    /// [`crate::fleet::World::tiers`]; `seed` keys the hashes of what clients choose, so draw it
    /// at the start of the process and keep it over reloads.
    ///
    /// # Errors
    /// What does not fit together: a tier that an annotation names and the policy does not know,
    /// a Secret that is not there.
    pub fn read(
        manifests: &Manifests,
        fleet: &Located<InferenceFleetSpec>,
        tiers: &[Tier],
        seed: u64,
    ) -> Result<Self, Errors> {
        let mut problems: Vec<Problem> = Vec::new();
        let policy = manifests.policy_of(fleet).map_err(|problem| Errors(vec![*problem]))?;
        let tiers = PolicyTiers::new(policy.spec(), tiers)
            .ok_or_else(|| Errors(vec![policy.problem("spec.tiers", "there is no tier")]))?;
        let pool = fleet.spec().pool_ref.as_ref().map(|pool| pool.name.as_str());
        let objects = Objects::read(manifests, pool, &tiers, &mut problems);
        let rewrites = Rewrites::read(manifests, pool, &mut problems);
        let keys = ApiKeys::read(manifests, policy, &mut problems);
        let enforcement = Enforcement::new(policy.spec(), &tiers, seed);
        let identifier = Identifier::new(policy.spec(), tiers, objects, keys, seed);
        Errors::check(problems).map(|()| Self { identifier, enforcement, rewrites })
    }
}
