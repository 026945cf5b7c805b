//! The tiers of all policies that the fleets refer to, as one table in order of priority.

use super::{Resolver, find, names};
use crate::api::bounds::TIERS_MAX;
use crate::api::policy::{self, TierSpec};
use crate::api::{InferenceFleetSpec, TrafficPolicySpec};
use crate::fleet::{Late, Tier};
use crate::manifest::{Located, Manifests, Problem, suggest};
use crate::time::Span;

impl<'a> Resolver<'a> {
    /// Fills the table of tiers.
    pub(super) fn tiers(&mut self) {
        let mut policies: Vec<&'a Located<TrafficPolicySpec>> = Vec::new();
        for fleet in self.fleets.clone() {
            match policy_of(self.manifests, fleet) {
                Ok(policy) if policies.iter().any(|seen| seen.name() == policy.name()) => (),
                Ok(policy) => policies.push(policy),
                Err(problem) => self.problems.push(*problem),
            }
        }
        let mut tiers: Vec<&TierSpec> = Vec::new();
        for policy in policies {
            self.policy(policy);
            for (index, tier) in policy.spec().tiers.iter().enumerate() {
                let same_name = tiers.iter().find(|seen| seen.name == tier.name);
                match same_name {
                    None => tiers.push(tier),
                    Some(seen) if *seen == tier => (),
                    Some(_) => self.problems.push(
                        policy
                            .problem(
                                &format!("spec.tiers[{index}].name"),
                                format!("tier `{}` is defined twice, differently", tier.name),
                            )
                            .hint("one name means one tier in a run; rename one of them"),
                    ),
                }
            }
        }
        if tiers.len() > TIERS_MAX {
            let what = format!("{} tiers are too many for one run", tiers.len());
            self.problems.push(Problem::general(what).expected(format!("at most {TIERS_MAX}")));
        }
        tiers.sort_by_key(|tier| std::cmp::Reverse(tier.priority));
        self.world.tiers = tiers.into_iter().map(resolved).collect();
    }

    /// What a policy must be in itself.
    fn policy(&mut self, policy: &Located<TrafficPolicySpec>) {
        let spec = policy.spec();
        let tier_names = || spec.tiers.iter().map(|tier| tier.name.as_str());
        for (index, tier) in spec.tiers.iter().enumerate() {
            if tier_names().take(index).any(|name| name == tier.name) {
                self.problems.push(policy.problem(
                    &format!("spec.tiers[{index}].name"),
                    format!("tier `{}` exists already", tier.name),
                ));
            }
        }
        let floors: f64 = spec.tiers.iter().map(|tier| tier.floor.0).sum();
        if floors > 1.0 {
            self.problems.push(
                policy
                    .problem("spec.tiers", format!("the floors sum to {:.0}%", floors * 100.0))
                    .expected("at most 100% together: each is a share of the same capacity"),
            );
        }
        if let Some(name) = &spec.default_tier
            && !tier_names().any(|tier| tier == name)
        {
            self.problems.push(
                policy
                    .problem("spec.defaultTier", format!("there is no tier `{name}`"))
                    .hint(suggest::hint(name, tier_names())),
            );
        }
        for (index, tenant) in spec.tenants.iter().enumerate() {
            if spec.tenants[..index].iter().any(|other| other.name == tenant.name) {
                self.problems.push(policy.problem(
                    &format!("spec.tenants[{index}].name"),
                    format!("tenant `{}` exists already", tenant.name),
                ));
            }
            for (place, name) in tenant.tiers.iter().enumerate() {
                if !tier_names().any(|tier| tier == name) {
                    self.problems.push(
                        policy
                            .problem(
                                &format!("spec.tenants[{index}].tiers[{place}]"),
                                format!("there is no tier `{name}`"),
                            )
                            .hint(suggest::hint(name, tier_names())),
                    );
                }
            }
        }
    }
}

/// The policy of a fleet: the one that it names, or the only one there is.
pub(crate) fn policy_of<'a>(
    manifests: &'a Manifests,
    fleet: &Located<InferenceFleetSpec>,
) -> Result<&'a Located<TrafficPolicySpec>, Box<Problem>> {
    let own = &manifests.policies;
    let Some(reference) = &fleet.spec().traffic_policy_ref else {
        return match own.as_slice() {
            [only] => Ok(only),
            [] => Err(Box::new(
                fleet
                    .problem("spec", "there is no TrafficPolicy to say what the tiers are")
                    .hint("add a TrafficPolicy to the file, as policies/fleets/chat-8b.yaml does"),
            )),
            _ => Err(Box::new(
                fleet
                    .problem("spec", "`trafficPolicyRef` is missing, and there are several")
                    .hint(suggest::hint("", names(own))),
            )),
        };
    };
    find(own, &reference.name).ok_or_else(|| {
        Box::new(
            fleet
                .problem(
                    "spec.trafficPolicyRef.name",
                    format!("there is no TrafficPolicy `{}`", reference.name),
                )
                .hint(suggest::hint(&reference.name, names(own))),
        )
    })
}

fn resolved(tier: &TierSpec) -> Tier {
    Tier {
        name: tier.name.clone(),
        priority: tier.priority,
        floor: tier.floor.0,
        deferrable: tier.deferrable,
        hold_max: Span::from_secs(u64::from(tier.hold_seconds_max)),
        late: match tier.late {
            policy::Late::Refuse => Late::Refuse,
            policy::Late::ServeLast => Late::ServeLast,
        },
    }
}

/// The tier of requests that name none: the one that the policy says, or else the lowest that is
/// not deferrable, or else the lowest.
pub(crate) fn default_tier(policy: &TrafficPolicySpec) -> Option<&str> {
    let lowest = |deferrable: bool| {
        policy
            .tiers
            .iter()
            .filter(|tier| deferrable || !tier.deferrable)
            .min_by_key(|tier| tier.priority)
            .map(|tier| tier.name.as_str())
    };
    policy.default_tier.as_deref().or_else(|| lowest(false)).or_else(|| lowest(true))
}
