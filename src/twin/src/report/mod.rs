//! What a run was worth: the JSON report (`forebay.report/v1`) and its HTML and terminal faces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) mod example;
mod format;
pub mod html;
mod json;
mod judge;
pub mod markdown;
pub mod terminal;
mod verdict;

pub use json::JsonError;
pub use verdict::verdict;

/// Version of the JSON.
pub const SCHEMA: &str = "forebay.report/v1";

/// Several policies on the same fleet and traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The traffic.
    pub trace: TraceSummary,
    /// Fleets simulated, by name.
    pub fleets: Vec<String>,
    /// Scenario: how traffic was shared out and which faults happened, in one line.
    pub scenario: String,
    /// Seed of every random draw.
    pub seed: u64,
    /// Commit of the source that ran; `unknown` outside a checkout.
    pub commit: String,
    /// The command line that computes it again; `None` when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Tiers with what they were promised, the highest priority first.
    #[serde(default)]
    pub tiers: Vec<TierTarget>,
    /// Price of one accelerator per hour by class and capacity type (`h100/on-demand`), USD.
    #[serde(default)]
    pub prices_usd_per_hour: BTreeMap<String, f64>,
    /// Length of the start of the window whose requests do not count, s.
    #[serde(default)]
    pub unscored_s: f64,
    /// What no policy can beat, and what was found with the future known.
    pub oracle: OracleSummary,
    /// One entry per policy, in the order asked for.
    pub runs: Vec<Run>,
}

/// The traffic of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// As given on the command line.
    pub path: String,
    /// Detected format.
    pub format: String,
    /// Requests in the window.
    pub requests: u64,
    /// Length of the window, s.
    pub duration_s: f64,
    /// Where the window starts, in seconds since midnight of the trace's first day (or since its
    /// first request, where the trace has no clock). Axes of time count from here.
    #[serde(default)]
    pub start_s: f64,
    /// What was inferred rather than read, if anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a tier was promised, on each fleet that promises it something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierTarget {
    /// Name, as in [`Run::tiers`].
    pub name: String,
    /// Whether its work may be started late.
    pub deferrable: bool,
    /// One per fleet; empty where nothing is promised.
    pub objectives: Vec<Objective>,
}

/// The SLO of one tier on one fleet: TTFT and TPOT, or completion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The fleet, as in [`Report::fleets`].
    pub fleet: String,
    /// Share of requests that must attain, 0..1.
    pub percentile: f64,
    /// Longest time to first token, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Longest mean gap after the first token, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_ms: Option<f64>,
    /// Longest time from arrival to completion, s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<f64>,
}

/// The oracles; `None` where one was not computed or does not exist.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OracleSummary {
    /// No policy can be cheaper at its attainment.
    pub lower_bound_cost_usd: Option<f64>,
    /// Best plan found with the future known, under the same start-up, billing and limits.
    pub clairvoyant_cost_usd: Option<f64>,
}

/// One policy's run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The SPEC that was asked for.
    pub policy: String,
    /// Every tunable with the value in force, defaults included.
    pub parameters: BTreeMap<String, String>,
    /// Cash: on-demand and spot as held, committed in full; scored span and run-off.
    pub cost_usd: f64,
    /// Part of `cost_usd` that is committed, hence sunk.
    pub cost_committed_usd: f64,
    /// Accelerator-hours held, by class and capacity type (`h100/on-demand`).
    pub accelerator_hours: BTreeMap<String, f64>,
    /// Replicas by `fleet/variant`.
    pub replicas: BTreeMap<String, ReplicaSummary>,
    /// Reversals of direction of desired replicas within 10 minutes, per hour.
    pub flaps_per_hour: f64,
    /// Requests per second that attained.
    pub goodput_rps: f64,
    /// Cash per million output tokens of requests that attained; `None` without any.
    pub usd_per_million_slo_tokens: Option<f64>,
    /// Scored requests by tier.
    pub tiers: BTreeMap<String, TierSummary>,
    /// Wall-clock time of the simulation, s.
    pub wall_seconds: f64,
    /// Simulated requests per second of wall-clock time on one core.
    pub requests_per_wall_second: f64,
    /// Why the run ended early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
    /// Over time, in equal steps.
    pub timeline: Timeline,
}

/// Replicas of one variant over a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicaSummary {
    /// Time-weighted mean of replicas held.
    pub mean: f64,
    /// Most held at once.
    pub max: u32,
    /// Replicas asked for.
    pub starts: u32,
}

/// Outcomes of one tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TierSummary {
    /// Scored requests; each has exactly one outcome.
    pub requests: u64,
    /// Those that met their SLO.
    pub attained: u64,
    /// `attained / requests`; 1 without requests.
    pub attainment: f64,
    /// Time to first token of those that had one, from first arrival.
    pub ttft_ms: Quantiles,
    /// Mean gap after the first token, of outputs of 16 tokens or more.
    pub tpot_ms: Quantiles,
    /// From first arrival to last token, of a deferrable tier's completed requests; seconds.
    #[serde(default, skip_serializing_if = "Quantiles::is_empty")]
    pub completion_s: Quantiles,
    /// Refused by the gate and not served later.
    pub shed: u64,
    /// Held past what the gate or the client would wait.
    pub timed_out: u64,
    /// Broke off: engine died, or the request can never fit.
    pub failed: u64,
    /// The same requests by fleet, each held to its own fleet's percentile; empty with one fleet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fleets: BTreeMap<String, FleetOutcome>,
}

impl TierSummary {
    /// Share of requests that attained; `None` without requests, where nothing was kept or missed.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.attained as f64 / self.requests as f64)
    }
}

/// Outcomes of one tier on one fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetOutcome {
    /// Scored requests.
    pub requests: u64,
    /// Those that met their SLO.
    pub attained: u64,
}

/// Quantiles of a latency; absent without observations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// The whole distribution as (value, share at or below), at most 64 points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cdf: Vec<(f64, f64)>,
}

impl Quantiles {
    /// Whether nothing was observed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.p50.is_none() && self.cdf.is_empty()
    }
}

/// A run over time: columns of equal length, one value per step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Length of one step, s; the first begins at the start of the window.
    pub step_s: f64,
    /// Work that arrived per `fleet/role`, in replicas of that role's first variant that it would
    /// keep busy at saturation.
    pub demand: BTreeMap<String, Vec<f64>>,
    /// Ready capacity per `fleet/role` in the same unit.
    pub capacity: BTreeMap<String, Vec<f64>>,
    /// Replicas held (asked for and not gone) by `fleet/variant`, mean over the step.
    pub replicas: BTreeMap<String, Vec<f64>>,
    /// Accelerators held by class, mean over the step.
    pub accelerators: BTreeMap<String, Vec<f64>>,
    /// Requests that arrived per tier and step.
    pub arrivals: BTreeMap<String, Vec<u64>>,
    /// Of those, the ones that did not attain.
    pub missed: BTreeMap<String, Vec<u64>>,
    /// Requests waiting in the gate or in clients, at the end of the step.
    pub queued: Vec<u64>,
    /// Cash spent in the step, USD.
    pub cost_usd: Vec<f64>,
}
