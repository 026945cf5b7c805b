//! Every decision as data: inputs with their ages, estimates with intervals, alternatives, the
//! constraint that binds, guard and rails. One record serves log, status, page and test.
//!
//! Names, not numbers, identify tiers and variants, and units end the field names, so that a
//! record can be read without the manifests. What is not known is absent, never 0.

mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use text::{clock, render};

/// Version of the record; changed only by addition.
pub const SCHEMA: &str = "forebay.decision/v1";

/// One decision about one fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// [`SCHEMA`].
    pub schema: String,
    /// The fleet.
    pub fleet: String,
    /// Counts up from 1 since the planner's state began; all fleets of one decision share it.
    pub number: u64,
    /// When, in seconds since the epoch of the run.
    pub at_s: f64,
    /// What was known, and how old it was.
    pub inputs: Inputs,
    /// What arrives, by tier, the highest priority first.
    pub tiers: Vec<TierRecord>,
    /// What has to be held: one line per role and group of tiers.
    pub needs: Vec<NeedRecord>,
    /// Ways to serve it, and what became of each.
    pub variants: Vec<VariantRecord>,
    /// What decided, in one sentence.
    pub binding: String,
    /// Cost of what was decided, per hour, all replicas asked for, in dollars.
    pub usd_per_hour: Option<f64>,
    /// Least cost that any mix that holds the needs can have, proven, in dollars per hour.
    pub usd_per_hour_bound: Option<f64>,
    /// Other mixes, the cheapest first.
    pub alternatives: Vec<Alternative>,
    /// What guard and rails changed, in the order in which they did.
    pub verdicts: Vec<VerdictRecord>,
    /// What would have to change for another answer.
    pub would_change: Vec<String>,
}

/// What was known when deciding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// `router` where arrivals were counted at the gate or router, `engines` where only what was
    /// served could be seen; absent when nobody could tell.
    pub arrivals_from: Option<String>,
    /// Age of the router's last scrape.
    pub router_age_s: Option<f64>,
    /// Engines that are ready.
    pub engines_ready: u32,
    /// Engines with a scrape that is fresh.
    pub engines_fresh: u32,
    /// Age of the oldest of the newest scrapes of ready engines.
    pub oldest_scrape_age_s: Option<f64>,
    /// What was missing or left out, in sentences.
    pub notes: Vec<String>,
}

/// Demand of one tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierRecord {
    /// Its name.
    pub tier: String,
    /// What it is promised, as people write it.
    pub slo: Option<String>,
    /// Arrivals per second.
    pub requests_per_s: Option<f64>,
    /// Mean prompt length.
    pub prompt_tokens: Option<f64>,
    /// Share of the prompt found in a prefix cache, 0..1.
    pub cached_share: Option<f64>,
    /// Mean output length.
    pub output_tokens: Option<f64>,
    /// Requests that wait in the gate.
    pub queued: Option<f64>,
    /// Share that attained over the window of the miss budget, 0..1.
    pub attained: Option<f64>,
    /// Safety level that the miss budget sets: standard deviations kept free.
    pub safety: Option<f64>,
}

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Best guess.
    pub point: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What one role has to hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NeedRecord {
    /// `both`, `prefill` or `decode`.
    pub role: String,
    /// The lowest tier that counts: this and all higher ones.
    pub through_tier: String,
    /// Variant whose replicas the figures count.
    pub in_replicas_of: String,
    /// Replicas that would be kept busy now.
    pub busy_now: f64,
    /// The most that will be kept busy up to the lead time.
    pub busy_ahead: Interval,
    /// Lead time looked at.
    pub lead_s: f64,
    /// Quantile of the interval's upper end, 0..1.
    pub quantile: f64,
    /// Replicas needed to hold it at the percentile, headroom included.
    pub replicas: f64,
    /// What limits a replica: time to first token, time per token, KV cache, ...
    pub limit: String,
    /// Share of a replica's time that is used at that load, 0..1.
    pub utilization: f64,
}

/// One variant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VariantRecord {
    /// Its name.
    pub variant: String,
    /// `both`, `prefill` or `decode`.
    pub role: String,
    /// Accelerator class.
    pub accelerator: String,
    /// Price of a replica; absent = unknown.
    pub usd_per_hour: Option<f64>,
    /// Requests per second of the present mix that one replica holds, if it serves all tiers.
    pub requests_per_s_each: Option<f64>,
    /// Measured over assumed step time, with its interval; absent = the profile as it is.
    pub step_time_ratio: Option<Interval>,
    /// From asked for to ready, 90th percentile.
    pub lead_s: f64,
    /// Ready replicas.
    pub ready: u32,
    /// Starting replicas, with the seconds until each is expected.
    pub starting_in_s: Vec<f64>,
    /// Replicas that wait for a node.
    pub without_node: u32,
    /// Asked for before.
    pub before: u32,
    /// What the least-cost mix wanted.
    pub wanted: u32,
    /// What was decided.
    pub decided: u32,
}

/// Another mix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Replicas by variant.
    pub replicas: BTreeMap<String, u32>,
    /// What it costs.
    pub usd_per_hour: f64,
    /// Predicted share that attains, by tier, 0..1; absent where nothing was predicted.
    pub attainment: BTreeMap<String, f64>,
    /// Why it was not taken.
    pub why_not: String,
}

/// Something that guard or rails changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// Its name, stable: `glide-down`, `no-fresh-data`, `cost-limit`, ...
    pub name: String,
    /// One sentence.
    pub text: String,
}
