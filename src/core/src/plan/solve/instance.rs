//! The question: what is demanded, what can be had, at what price.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::UsdPerHour;

/// Fleets that share accelerators, each with its demand and its ways to serve it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Instance {
    /// Hours over which one hour's cost is weighed against what is paid once (start-up, removal):
    /// the objective is `cost per hour x horizonHours + one-off cost`.
    #[serde(default = "one")]
    pub horizon_hours: f64,
    /// Most that all fleets together may cost per hour, $; absent = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_per_hour: Option<UsdPerHour>,
    /// Accelerators that can be held at once, by pool; null = nobody set a limit. A pool is
    /// whatever runs out together: a class's on-demand quota, its committed units, a zone.
    #[serde(default)]
    pub pools: BTreeMap<String, Option<u32>>,
    /// The fleets.
    pub fleets: Vec<FleetAsk>,
}

/// What one fleet needs and what may serve it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetAsk {
    /// Name, unique in the instance.
    pub name: String,
    /// Priority of its rows that name none; larger wins when not everything fits.
    #[serde(default)]
    pub priority: i32,
    /// What must be covered: one row for each role and prefix of tiers.
    pub rows: Vec<Row>,
    /// What may cover it.
    pub variants: Vec<VariantOffer>,
    /// Most that the fleet may cost per hour, $; absent = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_per_hour: Option<UsdPerHour>,
    /// Most accelerators of a pool for this fleet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accelerators_max: BTreeMap<String, u32>,
    /// Parts whose replicas stand in a fixed ratio, for instance 2 prefill to 3 decode. Empty =
    /// every variant counts for itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ratio: Vec<RatioPart>,
}

/// One thing that must be covered: `sum of covers x replicas >= need`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    /// Name, unique in the fleet, for instance `decode/interactive`.
    pub name: String,
    /// How much is needed, in the unit of `covers`; above 0. Often 1, and `covers` are shares.
    #[serde(default = "one")]
    pub need: f64,
    /// Who goes first when not everything fits: larger wins. Absent = the fleet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// How much a shortfall of this row counts beside others of its priority.
    #[serde(default = "one")]
    pub weight: f64,
}

/// One way to serve a fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VariantOffer {
    /// Name, unique in the fleet.
    pub name: String,
    /// What one replica costs per hour, $; 0 where it is paid for in any case (committed). Absent
    /// = unknown: no replica beyond those held, and those are counted at the dearest price known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<UsdPerHour>,
    /// Expected cost per replica and hour of being reclaimed, $. Part of the objective, not of
    /// the bill that cost limits look at.
    #[serde(default)]
    pub reclaim_risk_per_hour: UsdPerHour,
    /// What one replica covers of each row, by the row's name; rows left out get nothing.
    pub covers: BTreeMap<String, f64>,
    /// Accelerators that one replica takes, by pool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub uses: BTreeMap<String, u32>,
    /// Fewest replicas.
    #[serde(default)]
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Most replicas that can be had now, those held included; absent = nothing is sold out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_available: Option<u32>,
    /// Replicas held now.
    #[serde(default)]
    pub held: u32,
    /// Billed once for each replica above those held, $: the time it starts without serving.
    #[serde(default)]
    pub start_cost: f64,
    /// Counted once for each replica below those held, $: drained work, cold caches.
    #[serde(default)]
    pub removal_cost: f64,
    /// Replicas that do not count when any is held: n of them cover what n - spare would. For
    /// spot, where that many may be reclaimed at once.
    #[serde(default)]
    pub spare: u32,
}

/// One part of a fixed ratio: the replicas of its variants together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RatioPart {
    /// Names of the variants that count as this part.
    pub variants: Vec<String>,
    /// Replicas of this part in one unit.
    pub replicas: u32,
}

const fn one() -> f64 {
    1.0
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            horizon_hours: 1.0,
            max_cost_per_hour: None,
            pools: BTreeMap::new(),
            fleets: Vec::new(),
        }
    }
}

/// A text that is no instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; expected an instance in YAML or JSON, see docs/plan-instance.md")]
pub struct ParseError {
    /// What is wrong, with its line.
    pub what: String,
}

impl Instance {
    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// Neither, or a field that is unknown, missing or of another type. What the fields say is
    /// checked when it is solved.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        serde_saphyr::from_str(text)
            .map_err(|error| ParseError { what: error.without_snippet().to_string() })
    }

    /// The JSON schema of an instance.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

impl Row {
    /// A row that needs 1 at the fleet's priority.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), need: 1.0, priority: None, weight: 1.0 }
    }
}

impl FleetAsk {
    /// A fleet without limits of its own.
    #[must_use]
    pub fn new(name: impl Into<String>, rows: Vec<Row>, variants: Vec<VariantOffer>) -> Self {
        Self {
            name: name.into(),
            priority: 0,
            rows,
            variants,
            max_cost_per_hour: None,
            accelerators_max: BTreeMap::new(),
            ratio: Vec::new(),
        }
    }

    /// The priority of a row.
    #[must_use]
    pub fn priority_of(&self, row: &Row) -> i32 {
        row.priority.unwrap_or(self.priority)
    }
}

impl VariantOffer {
    /// A variant of which none is held, without one-off costs.
    #[must_use]
    pub fn new(name: impl Into<String>, price_per_hour: Option<UsdPerHour>, max: u32) -> Self {
        Self {
            name: name.into(),
            price_per_hour,
            reclaim_risk_per_hour: UsdPerHour(0.0),
            covers: BTreeMap::new(),
            uses: BTreeMap::new(),
            min: 0,
            max,
            most_available: None,
            held: 0,
            start_cost: 0.0,
            removal_cost: 0.0,
            spare: 0,
        }
    }
}
