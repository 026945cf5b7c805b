//! Who asks, and in which tier: from what vouches for a request to tenant, user, flow and tier.

mod facts;
mod keys;

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use facts::Facts;
pub use keys::ApiKeys;

use super::headers;
use super::objects::{Objects, Rank};
use super::tiers::PolicyTiers;
use crate::api::TrafficPolicySpec;
use crate::api::policy::{IdentitySource, IdentitySpec};
use crate::ids::TierId;

/// Longest name that identifies anybody, in bytes: that of a Kubernetes object.
pub const NAME_BYTES_MAX: usize = 253;
/// Flows of tenants that no policy lists. Who chooses his own name must not be able to make flows
/// without end; beyond this many, some share one.
pub const UNLISTED_FLOWS_MAX: u64 = 4_096;
/// Users of one flow, for the same reason.
pub const USERS_PER_FLOW_MAX: u64 = 1_024;
/// Flow of callers that nobody vouches for.
pub const FLOW_UNKNOWN: u64 = 0;
/// User of a request that names none.
pub const USER_UNKNOWN: u64 = 0;

const JWT_NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// What a policy says about who asks.
#[derive(Clone, Debug)]
pub struct Identifier {
    spec: IdentitySpec,
    tenants: BTreeMap<String, ListedTenant>,
    tiers: PolicyTiers,
    objects: Objects,
    keys: ApiKeys,
    seed: u64,
}

#[derive(Clone, Debug)]
struct ListedTenant {
    weight: f64,
    /// Tiers that it may use; empty = all.
    tiers: Vec<TierId>,
}

/// Who asks, as far as anybody vouches for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Identity<'a> {
    /// Name of the tenant; `None` = an unknown caller.
    pub tenant: Option<&'a str>,
    /// Whether the policy lists the tenant, so that its name may label metrics.
    pub listed: bool,
    /// The tenant as the gate knows it: hashed with our key, [`FLOW_UNKNOWN`] for unknown callers.
    pub flow: u64,
    /// The user inside the tenant, likewise.
    pub user: u64,
    /// What the flow may have, in relation to the others of its tier.
    pub weight: f64,
    /// The tier that it is served in.
    pub tier: TierId,
    /// What decided the tier.
    pub by: TierBy,
    /// Whether its tenant may not use the tier that was asked for, and got another one.
    pub not_allowed: bool,
    /// Whether what the request says of itself counts: its rewrite header, an SLO stricter than
    /// its tier's.
    pub trusted: bool,
}

/// What decided the tier of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierBy {
    /// A source of the policy's `identity.tier`.
    Source,
    /// The tier header of somebody trusted.
    Header,
    /// The objective header of somebody trusted.
    Objective,
    /// The `InferenceModel` of the model.
    Model,
    /// Nothing: the default tier.
    Default,
    /// A name that nobody knows: the default tier, and worth a count.
    UnknownName,
}

impl TierBy {
    /// As a label of a metric.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Header => "header",
            Self::Objective => "objective",
            Self::Model => "model",
            Self::Default => "default",
            Self::UnknownName => "unknown_name",
        }
    }
}

impl Identifier {
    pub(super) fn new(
        policy: &TrafficPolicySpec,
        tiers: PolicyTiers,
        objects: Objects,
        keys: ApiKeys,
        seed: u64,
    ) -> Self {
        let listed = policy.tenants.iter().map(|tenant| {
            let allowed = tenant.tiers.iter().filter_map(|name| tiers.named(name)).collect();
            (tenant.name.clone(), ListedTenant { weight: tenant.weight, tiers: allowed })
        });
        let tenants = listed.collect();
        let spec = policy.identity.clone().unwrap_or_default();
        Self { spec, tenants, tiers, objects, keys, seed }
    }

    /// Who asks, by the first source of the policy that has an answer.
    pub fn identify<'a>(&'a self, facts: &'a impl Facts) -> Identity<'a> {
        let trusted = self.spec.trust_clients || facts.vouched();
        let header = |name: headers::Name| {
            trusted.then(|| name.read(|name| facts.header(name))).flatten().and_then(usable)
        };
        let fairness = header(headers::FAIRNESS_ID);
        let vouched = self.first(&self.spec.tenant, facts);
        let tenant = vouched.or(fairness);
        let listed = tenant.and_then(|name| self.tenants.get(name));
        // The fairness id is the user's where something else has named the tenant.
        let user = self.first(&self.spec.user, facts).or(vouched.and(fairness));

        let model = facts.model().and_then(|model| self.objects.models.get(model));
        let (asked, by, rank) = self.tier(facts, model, header);
        let tier = listed.map_or(asked, |tenant| self.tiers.allowed(asked, &tenant.tiers));
        let weight = listed.map(|tenant| tenant.weight);
        Identity {
            tenant,
            listed: listed.is_some(),
            flow: tenant.map_or(FLOW_UNKNOWN, |name| self.flow(name, listed.is_some())),
            user: user.map_or(USER_UNKNOWN, |name| 1 + self.hash(name) % USERS_PER_FLOW_MAX),
            weight: weight.or(rank.and_then(|rank| rank.weight)).unwrap_or(1.0),
            tier,
            by,
            not_allowed: tier != asked,
            trusted,
        }
    }

    /// The tier that a request asks for, what decided it, and the object that did.
    fn tier<'a>(
        &'a self,
        facts: &'a impl Facts,
        model: Option<&'a Rank>,
        header: impl Fn(headers::Name) -> Option<&'a str>,
    ) -> (TierId, TierBy, Option<&'a Rank>) {
        let unknown = (self.tiers.default_tier(), TierBy::UnknownName, None);
        if let Some(name) = self.first(&self.spec.tier, facts) {
            // A source may also name an objective: it then vouches for the header that does.
            let objective = self.objects.objectives.get(name);
            let tier = self.tiers.named(name).or(objective.map(|rank| rank.tier));
            return tier.map_or(unknown, |tier| (tier, TierBy::Source, objective));
        }
        if let Some(name) = header(headers::TIER) {
            return self.tiers.named(name).map_or(unknown, |tier| (tier, TierBy::Header, None));
        }
        if let Some(name) = header(headers::OBJECTIVE) {
            let objective = self.objects.objectives.get(name);
            return objective.map_or(unknown, |rank| (rank.tier, TierBy::Objective, objective));
        }
        match model {
            Some(rank) => (rank.tier, TierBy::Model, model),
            None => (self.tiers.default_tier(), TierBy::Default, None),
        }
    }

    /// Headers that must not reach the engine: what is said to the gate, copies of a trusted
    /// header from somebody who is not trusted with it, and a key that is ours.
    pub fn stripped<'a>(&'a self, facts: &'a impl Facts) -> impl Iterator<Item = &'a str> {
        let sources = self.spec.tenant.iter().chain(&self.spec.tier).chain(&self.spec.user);
        let own = sources.filter_map(|source| match source {
            IdentitySource::Header { name, .. } if !self.may_say(source, facts) => {
                Some(name.as_str())
            }
            IdentitySource::ApiKey { header, secret_name } => facts
                .header(&header.to_ascii_lowercase())
                .and_then(|key| self.keys.owner(secret_name, key))
                .map(|_| header.as_str()),
            _ => None,
        });
        let ours = headers::ALL.into_iter().flat_map(headers::Name::names);
        ours.map(|name| -> &'a str { name }).chain(own)
    }

    /// The answer of the first source that has one.
    fn first<'a>(
        &'a self,
        sources: &'a [IdentitySource],
        facts: &'a impl Facts,
    ) -> Option<&'a str> {
        sources.iter().find_map(|source| self.answer(source, facts)).and_then(usable)
    }

    fn answer<'a>(&'a self, source: &'a IdentitySource, facts: &'a impl Facts) -> Option<&'a str> {
        match source {
            IdentitySource::Header { name, .. } => {
                if !self.may_say(source, facts) {
                    return None;
                }
                let name = name.to_ascii_lowercase();
                match headers::Name::known(&name) {
                    Some(known) => known.read(|name| facts.header(name)),
                    None => facts.header(&name),
                }
            }
            IdentitySource::JwtClaim { claim, metadata_namespace } => {
                facts.claim(metadata_namespace.as_deref().unwrap_or(JWT_NAMESPACE), claim)
            }
            IdentitySource::ApiKey { header, secret_name } => {
                self.keys.owner(secret_name, facts.header(&header.to_ascii_lowercase())?)
            }
            IdentitySource::MutualTls {} => facts.certificate_name(),
        }
    }

    /// Whether whoever hands over the request is trusted with the header of a source.
    fn may_say(&self, source: &IdentitySource, facts: &impl Facts) -> bool {
        let IdentitySource::Header { trusted_proxies, .. } = source else { return false };
        self.spec.trust_clients
            || facts.vouched()
            || facts
                .peer()
                .is_some_and(|peer| trusted_proxies.iter().any(|block| block.contains(peer)))
    }

    /// The flow of a tenant. Listed tenants have one each; the others share a bounded number,
    /// which nobody who does not know the seed can aim at.
    fn flow(&self, tenant: &str, listed: bool) -> u64 {
        let hash = self.hash(tenant);
        if listed { hash.max(UNLISTED_FLOWS_MAX + 1) } else { 1 + hash % UNLISTED_FLOWS_MAX }
    }

    fn hash(&self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.seed)
    }
}

/// A name that can identify somebody: something, and not longer than names are.
fn usable(name: &str) -> Option<&str> {
    let name = name.trim();
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then_some(name)
}
