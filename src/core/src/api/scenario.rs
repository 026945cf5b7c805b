//! `Scenario`: how a trace's traffic is shared out to fleets, tiers and tenants, and what goes
//! wrong. It exists in files only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{
    FACTOR_MAX, FAULTS_MAX, FLEETS_MAX, LIST_MAX, PULL_CONCURRENCY_MAX, REPLICAS_MAX, SHARES_MAX,
    SIGMA_MAX,
};
use super::{Duration, Kind, Share};
use crate::time::Span;

impl Kind for ScenarioSpec {
    const KIND: &'static str = "Scenario";
}

/// What happens to a fleet in a simulation, apart from the trace itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioSpec {
    /// Fleets that take part; empty = all that were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = FLEETS_MAX))]
    pub fleets: Vec<String>,
    /// How traffic is shared out. Together they are the whole; one may leave its `share` out and
    /// gets what the others leave.
    #[schemars(length(min = 1, max = SHARES_MAX))]
    pub shares: Vec<ShareSpec>,
    /// When the run begins, for schedules, such as `2026-07-06T00:00:00Z`; absent = Thursday,
    /// 1970-01-01, at midnight UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<String>,
    /// What is paid for.
    #[serde(default)]
    pub billing: Billing,
    /// How often metrics are scraped.
    #[serde(default = "scrape_interval_default")]
    pub scrape_interval: Duration,
    /// First part of the run that is not scored.
    #[serde(default = "unscored_default")]
    pub unscored: Duration,
    /// Replicas at the start, where not the minimum.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub initial_replicas: Vec<InitialReplicas>,
    /// Starts that take longer or shorter than the fleet says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub start_ups: Vec<StartUpOverride>,
    /// What goes wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = FAULTS_MAX))]
    pub faults: Vec<FaultSpec>,
}

impl Default for ScenarioSpec {
    /// What a run without a scenario is under: no shares, no faults.
    fn default() -> Self {
        Self {
            fleets: Vec::new(),
            shares: Vec::new(),
            starts_at: None,
            billing: Billing::default(),
            scrape_interval: scrape_interval_default(),
            unscored: unscored_default(),
            initial_replicas: Vec::new(),
            start_ups: Vec::new(),
            faults: Vec::new(),
        }
    }
}

const fn scrape_interval_default() -> Duration {
    Duration(Span::from_secs(15))
}

const fn unscored_default() -> Duration {
    Duration(Span::from_secs(15 * 60))
}

/// A part of the traffic. Which requests belong to it is decided by a hash of each, so it is that
/// share of requests and, on average, of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShareSpec {
    /// The fleet that serves it; may be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// Its tier.
    pub tier: String,
    /// Share of all requests of the trace; absent = what the others leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Whose requests they are; empty = one tenant, `default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = LIST_MAX))]
    pub tenants: Vec<TenantShare>,
    /// When they arrive.
    #[serde(default)]
    pub shape: Shape,
    /// How its clients wait.
    #[serde(default)]
    pub client: ClientKind,
    /// `Ticket` only: time between tries when the gate named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// `Pull` only: requests in flight per fleet when the gate has no budget to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = PULL_CONCURRENCY_MAX))]
    pub concurrency: Option<u32>,
}

/// A tenant's part of a share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantShare {
    /// Its name. Its weight is in the traffic policy.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Part of the share; the tenants' parts are the whole. Absent = what the others leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
}

/// When the requests of a share arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Shape {
    /// As in the trace.
    #[default]
    Constant,
    /// All requests of an hour in the first minute of the next one, as jobs that a timer starts.
    HourlyDump,
}

/// How clients wait when they cannot be served at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientKind {
    /// The connection stays open, as long as the tier holds it; a refusal is final.
    #[default]
    Held,
    /// The client comes back, after a refusal or when it was held long enough, at its old place.
    Ticket,
    /// A queue worker that asks how much may run now and sends no more.
    Pull,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Billing {
    /// Accelerators that replicas hold.
    #[default]
    PerReplica,
    /// Whole nodes, from when they are asked for until they are given back.
    PerNode,
}

/// Replicas of one variant at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitialReplicas {
    /// The fleet; may be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// A variant of the fleet.
    pub variant: String,
    /// Replicas that are ready when the run begins.
    #[schemars(range(max = REPLICAS_MAX))]
    pub replicas: u32,
}

/// Another start-up for one variant. What is left out stays as the fleet says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartUpOverride {
    /// The fleet; may be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// A variant of the fleet.
    pub variant: String,
    /// Until the container image is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Duration>,
    /// Until the weights are in accelerator memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Duration>,
    /// Compilation and graph capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compile: Option<Duration>,
    /// Engine initialisation until the probe answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
    /// Standard deviation of the logarithm of the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = SIGMA_MAX))]
    pub sigma: Option<f64>,
}

/// Something that goes wrong. Times count from the start of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FaultSpec {
    /// Nodes die without warning, with all replicas on them.
    NodeLoss {
        /// When.
        at: Duration,
        /// Of which accelerator class; absent = of any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accelerator_class: Option<String>,
        /// How many.
        #[schemars(range(min = 1, max = REPLICAS_MAX))]
        nodes: u32,
    },
    /// The provider takes spot replicas back.
    SpotReclaim {
        /// When it says so.
        at: Duration,
        /// How many.
        #[schemars(range(min = 1, max = REPLICAS_MAX))]
        replicas: u32,
        /// Time between the warning and the end.
        notice: Duration,
    },
    /// Starts take longer.
    SlowStart {
        /// Starts asked for from then on.
        from: Duration,
        /// Until then.
        to: Duration,
        /// How many times as long.
        #[schemars(range(min = 0.001, max = FACTOR_MAX))]
        factor: f64,
    },
    /// No new node of a class can be had.
    OutOfStock {
        /// Which class.
        accelerator_class: String,
        /// From when.
        from: Duration,
        /// Until when.
        to: Duration,
    },
    /// Scrapes fail.
    MetricBlackout {
        /// From when.
        from: Duration,
        /// Until when.
        to: Duration,
        /// The fleet of `variant`; may be left out where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fleet: Option<String>,
        /// Of one variant; absent = of all, and of the router.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        variant: Option<String>,
    },
    /// Engines report NaN in their gauges.
    MetricNan {
        /// From when.
        from: Duration,
        /// Until when.
        to: Duration,
        /// Share of the engines.
        share: Share,
    },
    /// Some engines are missing from each scrape.
    PartialScrape {
        /// From when.
        from: Duration,
        /// Until when.
        to: Duration,
        /// Share of the engines that are missing.
        share: Share,
    },
    /// More requests than the trace holds.
    FlashCrowd {
        /// When it begins.
        at: Duration,
        /// How long it lasts.
        duration: Duration,
        /// How many times the trace's rate.
        #[schemars(range(min = 1.0, max = FACTOR_MAX))]
        factor: f64,
    },
}
