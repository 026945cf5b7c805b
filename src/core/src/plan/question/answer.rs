//! The answer as data. Units end the field names; what is not known is absent, never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::profile::EvidenceLevel;

/// Version of the answer; changed only by addition.
pub const SCHEMA: &str = "forebay.plan/v1";

/// What to hold for a demand, for how much, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// [`SCHEMA`].
    pub schema: String,
    /// By fleet, in the order of the manifests.
    pub fleets: Vec<FleetAnswer>,
    /// All fleets together.
    pub price: Price,
    /// True: no mix holds more of what matters most, and none that holds as much costs less.
    pub proven: bool,
    /// Cost above the least that was proven, as a share; 0 when `proven`.
    pub gap: f64,
    /// Accelerators by class, and what is left of their quotas.
    pub accelerators: Vec<Accelerators>,
    /// What keeps the answer from being cheaper or fuller, in sentences.
    pub binding: Vec<String>,
    /// The answer to demands and engines that are a little different.
    pub sensitivity: Vec<Sensitivity>,
    /// Searches by replay that the capacities rest on.
    pub replays: u32,
    /// What a reader must know before believing it.
    pub notes: Vec<String>,
}

/// What a mix costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Per hour, $; committed capacity is paid in any case and counts 0.
    pub usd_per_hour: f64,
    /// Per million output tokens, $; absent without any, or where not all of it is held.
    pub usd_per_million_output_tokens: Option<f64>,
    /// Per million tokens in and out, cached ones included, $; absent as above.
    pub usd_per_million_tokens: Option<f64>,
}

/// One fleet's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetAnswer {
    /// The fleet.
    pub fleet: String,
    /// What is asked, by tier, the highest priority first.
    pub tiers: Vec<TierAnswer>,
    /// What to hold.
    pub mix: Mix,
    /// What it costs.
    pub price: Price,
    /// Every variant, held or not.
    pub variants: Vec<VariantAnswer>,
    /// What has to be covered, and by how much it is.
    pub rows: Vec<RowAnswer>,
    /// The next best mixes of other variants, the cheapest first.
    pub alternatives: Vec<Mix>,
}

/// Demand of one tier as it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TierAnswer {
    /// The tier.
    pub tier: String,
    /// What it is promised, as people write it; absent where nothing is.
    pub slo: Option<String>,
    /// Whether it may wait until its deadline.
    pub deferred: bool,
    /// Arrivals per second.
    pub requests_per_s: f64,
    /// Mean prompt length, cached part included.
    pub prompt_tokens: f64,
    /// Mean output length.
    pub output_tokens: f64,
    /// Standard deviation of the prompt length over its mean.
    pub prompt_variation: f64,
    /// Standard deviation of the output length over its mean.
    pub output_variation: f64,
    /// Share of prompt tokens in a prefix cache.
    pub cached_share: f64,
    /// Variance over mean of the arrivals in ten seconds.
    pub burstiness: f64,
}

/// One way to hold a fleet's demand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// Replicas by variant, those with none left out.
    pub replicas: BTreeMap<String, u32>,
    /// Cost per hour, $.
    pub usd_per_hour: f64,
    /// Predicted share of each tier's requests that attain; absent for tiers with a deadline only.
    pub attainment: BTreeMap<String, f64>,
}

/// One variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantAnswer {
    /// Its name.
    pub variant: String,
    /// `both`, `prefill` or `decode`.
    pub role: String,
    /// Class of its accelerators.
    pub accelerator: String,
    /// Accelerators of one replica.
    pub accelerators_per_replica: u32,
    /// Price of one replica per hour, $; absent = unknown, so that none is bought.
    pub usd_per_hour_each: Option<f64>,
    /// Replicas to hold.
    pub replicas: u32,
    /// Replicas, fractions included, that would hold everything alone; absent where none would.
    pub alone_replicas: Option<f64>,
    /// Requests per second that each of those would hold.
    pub requests_per_s_each: Option<f64>,
    /// What keeps a replica from holding more.
    pub limit: String,
    /// How busy a replica would be, as a share of the rate at which queues grow without end.
    pub utilization: f64,
    /// Its engine profile.
    pub profile: String,
    /// What the profile rests on.
    pub evidence: EvidenceLevel,
    /// Mean error of its step times, percent; absent where nobody measured it.
    pub step_time_mape_percent: Option<f64>,
}

/// How one row is covered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowAnswer {
    /// Role and tier, with all tiers above it.
    pub row: String,
    /// Covered over needed.
    pub covered: f64,
    /// Share of the need that cannot be had, 0..1.
    pub missing: f64,
}

/// Accelerators of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accelerators {
    /// The class.
    pub accelerator: String,
    /// Those that the answer takes.
    pub used: u64,
    /// Those that there are; absent = nobody set a limit.
    pub quota: Option<u32>,
}

/// The answer to a question that is a little different.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// What is different.
    pub what: String,
    /// Replicas by fleet and variant, those with none left out.
    pub replicas: BTreeMap<String, BTreeMap<String, u32>>,
    /// Cost per hour, $.
    pub usd_per_hour: f64,
    /// Whether some of it cannot be held within the limits.
    pub short: bool,
}
