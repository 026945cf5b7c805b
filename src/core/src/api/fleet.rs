//! `InferenceFleet`: all replicas that serve one model behind one pool, what they promise, and
//! how each may be scaled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{
    ACCELERATORS_MAX, ACCELERATORS_PER_REPLICA_MAX, DRAIN_SECONDS_MAX, LIST_MAX, REPLICAS_MAX,
    SIGMA_MAX, TIERS_MAX, VARIANTS_PER_FLEET_MAX,
};
use super::{Amount, CapacityType, Currency, Duration, Kind, Share};

/// A drain ends after ten minutes unless the variant says otherwise: longer than nearly every
/// answer, shorter than a person waits for a scale-in.
pub const DRAIN_SECONDS_DEFAULT: u32 = 600;

/// Annotation that pauses a fleet as `spec.paused` does: `true`, or the time until which.
pub const ANNOTATION_PAUSED: &str = "forebay.dev/paused";

impl Kind for InferenceFleetSpec {
    const KIND: &'static str = "InferenceFleet";
}

/// What a fleet is and what it promises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InferenceFleetSpec {
    /// The `InferencePool` in front of the replicas. Not needed to simulate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<PoolReference>,
    /// Names under which clients ask for the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub models: Vec<String>,
    /// How far Forebay may go.
    #[serde(default)]
    pub mode: Mode,
    /// The `TrafficPolicy` that defines the tiers. May be left out where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_policy_ref: Option<Reference>,
    /// What is promised to each tier. A tier that is not listed is promised nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = TIERS_MAX))]
    pub slos: Vec<TierSlo>,
    /// The ways to run the model.
    #[schemars(length(min = 1, max = VARIANTS_PER_FLEET_MAX))]
    pub variants: Vec<VariantSpec>,
    /// How KV caches travel from prefill to decode replicas; needed where both roles exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferSpec>,
    /// Rails that no decision leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    /// Hours that need more than the minimum, or that must not scale in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub schedules: Vec<ScheduleSpec>,
    /// Change nothing.
    #[serde(default)]
    pub paused: bool,
}

/// How far Forebay may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Say what it would do.
    #[default]
    Advise,
    /// Publish desired replicas for an HPA or KEDA to follow.
    Metrics,
    /// Scale the targets.
    Scale,
}

/// The name of another object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reference {
    /// Its `metadata.name`.
    pub name: String,
    /// Its namespace; absent = the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The name of an `InferencePool`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolReference {
    /// API group; absent = `inference.networking.k8s.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its `metadata.name`.
    pub name: String,
}

/// What a tier is promised: either `ttft` with `tpot`, or `completion`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierSlo {
    /// A tier of the traffic policy.
    pub tier: String,
    /// Time to first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft: Option<Duration>,
    /// Time per output token: mean gap after the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot: Option<Duration>,
    /// The whole answer within this time of the request's arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Duration>,
    /// Share of requests that must meet it, more than 0 and less than 1.
    #[serde(default = "percentile_default")]
    pub percentile: Share,
}

const fn percentile_default() -> Share {
    Share(0.99)
}

/// What a replica of a variant does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// Prefill and decode (aggregated).
    #[default]
    Both,
    /// Prefill only.
    Prefill,
    /// Decode only.
    Decode,
}

/// One way to run the model: role, accelerator, parallelism.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VariantSpec {
    /// Unique in the fleet.
    #[schemars(extend("format" = super::scalar::FORMAT_NAME))]
    pub name: String,
    /// What its replicas do.
    #[serde(default)]
    pub role: Role,
    /// An `AcceleratorClass`.
    pub accelerator_class: String,
    /// Accelerators that one replica takes; absent = as many as the profile is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = ACCELERATORS_PER_REPLICA_MAX))]
    pub accelerators_per_replica: Option<u32>,
    /// How its accelerators are paid for.
    #[serde(default)]
    pub capacity_type: CapacityType,
    /// An `EngineProfile`.
    pub profile: String,
    /// Fewest replicas.
    #[serde(default = "one")]
    #[schemars(range(max = REPLICAS_MAX))]
    pub min: u32,
    /// Most replicas; absent = as many as the quota of the accelerator class holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = REPLICAS_MAX))]
    pub max: Option<u32>,
    /// Longest time that a draining replica may finish its requests, in seconds.
    #[serde(default = "drain_seconds_default")]
    #[schemars(range(max = DRAIN_SECONDS_MAX))]
    pub drain_seconds_max: u32,
    /// How long a replica takes to get ready once it has a node. Live it is learned; a simulation
    /// cannot do without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_up: Option<StartUpSpec>,
    /// What to scale. Exactly one of this and `endpoints`, or neither in a simulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetReference>,
    /// Part of the scale target, where that has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Addresses of replicas that Forebay does not scale, as `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub endpoints: Vec<String>,
}

const fn one() -> u32 {
    1
}

const fn drain_seconds_default() -> u32 {
    DRAIN_SECONDS_DEFAULT
}

/// An object with a `/scale` subresource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleTargetReference {
    /// For instance `apps/v1`.
    pub api_version: String,
    /// For instance `Deployment`.
    pub kind: String,
    /// Its `metadata.name`.
    pub name: String,
}

/// The phases of a start once a node is there, each a median.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartUpSpec {
    /// Until the container image is there.
    pub image: Duration,
    /// Until the weights are in accelerator memory.
    pub weights: Duration,
    /// Compilation and graph capture.
    pub compile: Duration,
    /// Engine initialisation until the probe answers.
    pub warm_up: Duration,
    /// Standard deviation of the logarithm of the whole; 0 = every start takes the same time.
    #[schemars(range(min = 0.0, max = SIGMA_MAX))]
    pub sigma: f64,
}

/// How KV caches travel from prefill to decode replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransferSpec {
    /// Time to set up one transfer.
    pub setup: Duration,
    /// What one pair of replicas really moves, all links together, in gigabytes (10^9) per second.
    #[schemars(range(min = 0.001, max = 100_000.0))]
    pub gigabytes_per_second: f64,
}

/// Rails that no decision leaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSpec {
    /// Most that the fleet may cost per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_per_hour: Option<Amount>,
    /// Currency of `maxCostPerHour`.
    #[serde(default)]
    pub currency: Currency,
    /// Most accelerators of a class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub accelerators: Vec<AcceleratorLimit>,
    /// Most replicas added in any ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = REPLICAS_MAX))]
    pub replicas_added_per10_minutes: Option<u32>,
    /// Most replicas removed in any ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = REPLICAS_MAX))]
    pub replicas_removed_per10_minutes: Option<u32>,
}

/// Most accelerators of one class for one fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcceleratorLimit {
    /// An `AcceleratorClass`.
    pub accelerator_class: String,
    /// Most of its accelerators.
    #[schemars(range(max = ACCELERATORS_MAX))]
    pub max: u32,
}

/// Hours that need more than the minimum, or that must not scale in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleSpec {
    /// When it begins: five fields as in crontab.
    #[schemars(extend("format" = super::cron::FORMAT_CRON))]
    pub cron: String,
    /// IANA time zone; absent = UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How long it lasts.
    pub duration: Duration,
    /// Fewest replicas of a variant while it lasts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = VARIANTS_PER_FLEET_MAX))]
    pub minimums: Vec<ScheduleMinimum>,
    /// Remove nothing while it lasts.
    #[serde(default)]
    pub no_scale_in: bool,
}

/// Fewest replicas of one variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleMinimum {
    /// A variant of the fleet.
    pub variant: String,
    /// Fewest replicas.
    #[schemars(range(max = REPLICAS_MAX))]
    pub min: u32,
}
