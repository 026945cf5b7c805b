//! `TrafficPolicy`: classes of traffic, who belongs to them, and what becomes of each when there
//! is not enough for all. Tiers are defined here and nowhere else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{HOLD_SECONDS_MAX, LIST_MAX, TENANTS_MAX, TIERS_MAX};
use super::{Cidr, Kind, Share};

/// A tier holds a connection for at most half a minute unless it says otherwise: proxies and
/// client libraries give up from 15 s on.
pub const HOLD_SECONDS_DEFAULT: u32 = 30;

impl Kind for TrafficPolicySpec {
    const KIND: &'static str = "TrafficPolicy";
}

/// Tiers, tenants and how to tell them apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficPolicySpec {
    /// Whether decisions are carried out or only recorded.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// Share of requests that `Enforce` applies to, to begin with a few.
    #[serde(default = "whole")]
    pub enforcement_share: Share,
    /// Classes of traffic.
    #[schemars(length(min = 1, max = TIERS_MAX))]
    pub tiers: Vec<TierSpec>,
    /// Tier of requests that name none or an unknown one; absent = the lowest priority that is
    /// not deferrable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_tier: Option<String>,
    /// Tenants that are treated otherwise than an unknown one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = TENANTS_MAX))]
    pub tenants: Vec<TenantSpec>,
    /// Where tenant and tier of a request come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentitySpec>,
}

const fn whole() -> Share {
    Share(1.0)
}

/// Whether decisions are carried out or only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Enforcement {
    /// Decide and record; let everything through.
    #[default]
    Observe,
    /// Carry out.
    Enforce,
}

/// A class of traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierSpec {
    /// Unique in the policy.
    #[schemars(extend("format" = super::scalar::FORMAT_NAME))]
    pub name: String,
    /// Larger wins.
    pub priority: i32,
    /// Share of capacity that higher tiers cannot take.
    #[serde(default)]
    pub floor: Share,
    /// Whether its work may be started late.
    #[serde(default)]
    pub deferrable: bool,
    /// Longest time that a connection is held for it, in seconds.
    #[serde(default = "hold_seconds_default")]
    #[schemars(range(max = HOLD_SECONDS_MAX))]
    pub hold_seconds_max: u32,
    /// What becomes of a request that cannot meet its SLO any more.
    #[serde(default)]
    pub late: Late,
    /// As in the policy, for this tier alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
}

const fn hold_seconds_default() -> u32 {
    HOLD_SECONDS_DEFAULT
}

/// What becomes of a request that cannot meet its SLO any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Late {
    /// Refuse it at once, so that the client can go elsewhere.
    #[default]
    Refuse,
    /// Serve it after everything that can still attain.
    ServeLast,
}

/// A tenant that is treated otherwise than an unknown one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantSpec {
    /// As the identity source names it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its part of a contended tier, in relation to the others.
    #[serde(default = "weight_default")]
    #[schemars(range(min = 0.001, max = 1_000.0))]
    pub weight: f64,
    /// Limits of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<TenantLimits>,
    /// Tiers that it may use; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = TIERS_MAX))]
    pub tiers: Vec<String>,
}

const fn weight_default() -> f64 {
    1.0
}

/// Limits of one tenant; absent = none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantLimits {
    /// Requests per minute: a minute's worth may come at once, then they come back evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
    /// Prompt and output tokens per minute: a minute's worth may be used at once, then they come
    /// back evenly. An estimate is charged on admission and settled after the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tokens_per_minute: Option<u64>,
}

/// Where tenant and tier of a request come from: the first source that has an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentitySpec {
    /// Sources of the tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub tenant: Vec<IdentitySource>,
    /// Sources of the tier; without an answer the request's objective and model decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub tier: Vec<IdentitySource>,
    /// Sources of the user inside the tenant, the second level of fairness.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub user: Vec<IdentitySource>,
    /// Believe what clients say of themselves. Only where every client is one's own.
    #[serde(default)]
    pub trust_clients: bool,
}

/// Something that vouches for a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum IdentitySource {
    /// A header that a listed proxy sets; copies from anybody else are stripped.
    Header {
        /// Name of the header.
        name: String,
        /// Addresses of the proxies, as CIDR.
        #[schemars(length(min = 1, max = LIST_MAX))]
        trusted_proxies: Vec<Cidr>,
    },
    /// A claim of a token that Envoy has verified.
    JwtClaim {
        /// Name of the claim.
        claim: String,
        /// Namespace of Envoy's dynamic metadata; absent = `envoy.filters.http.jwt_authn`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata_namespace: Option<String>,
    },
    /// A map from API keys, held in a Secret: under each tenant's name the SHA-256 of its keys in
    /// hexadecimal, one per line. A key that is known does not go on to the engine.
    ApiKey {
        /// Name of the header that carries the key.
        header: String,
        /// Name of the Secret.
        secret_name: String,
    },
    /// The name in the client's certificate.
    MutualTls {},
}
