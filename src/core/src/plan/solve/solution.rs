//! The answer: how many of what, what it costs, what binds, and how sure that is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The least-cost mix that was found, and what was proven about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Solution {
    /// True: no mix is better, neither in any priority's shortfall nor in cost.
    pub optimal: bool,
    /// The bill per hour of all fleets, $.
    pub cost_per_hour: f64,
    /// Paid once: starts and removals, $.
    pub one_off_cost: f64,
    /// What was minimised: (cost + reclaim risk) per hour x horizon + one-off cost, $.
    pub objective: f64,
    /// No mix with these shortfalls has a lower objective than this, $.
    pub lower_bound: f64,
    /// (objective - lower bound) / objective; 0 = proven least.
    pub gap: f64,
    /// False: not even the minimums fit; they were then served like rows above every priority.
    pub minimums_fit: bool,
    /// Shortfall of each priority, the highest first.
    pub levels: Vec<Level>,
    /// Fleets, in the order of the instance.
    pub fleets: Vec<FleetMix>,
    /// Pools by name.
    pub pools: Vec<PoolUse>,
    /// What keeps the answer from being cheaper or fuller.
    pub binding: Vec<Binding>,
    /// What it took.
    pub work: Work,
}

/// How much of one priority could not be covered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// The priority; absent for minimums that do not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Sum over its rows of weight x share that is missing, each share rounded up to 0.001.
    pub shortfall: f64,
    /// No mix that is as good in higher priorities has less.
    pub lower_bound: f64,
}

/// One fleet's part of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetMix {
    /// Its name.
    pub name: String,
    /// Its bill per hour, $.
    pub cost_per_hour: f64,
    /// Paid once, $.
    pub one_off_cost: f64,
    /// Its part of the objective, $.
    pub objective: f64,
    /// Replicas, in the order of the instance.
    pub variants: Vec<VariantMix>,
    /// Coverage, in the order of the instance.
    pub rows: Vec<RowCover>,
    /// The best mixes of other sets of variants that hold as much, with what all other fleets
    /// leave in the pools; cheapest first.
    pub alternatives: Vec<Alternative>,
}

/// Replicas of one variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariantMix {
    /// Its name.
    pub name: String,
    /// Replicas to hold.
    pub replicas: u32,
    /// Replicas held now.
    pub held: u32,
    /// Their bill per hour, $.
    pub cost_per_hour: f64,
    /// True: the price is unknown, and the dearest one known stands in for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub price_assumed: bool,
}

/// How one row is covered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RowCover {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: i32,
    /// What it needs.
    pub need: f64,
    /// What it gets.
    pub covered: f64,
    /// Share of the need that is missing, 0..1.
    pub shortfall: f64,
}

/// Another mix of one fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// Replicas by variant, those with none left out.
    pub replicas: BTreeMap<String, u32>,
    /// Its bill per hour, $.
    pub cost_per_hour: f64,
    /// Paid once, $.
    pub one_off_cost: f64,
    /// Its part of the objective, $.
    pub objective: f64,
}

/// How full a pool is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolUse {
    /// Its name.
    pub name: String,
    /// Accelerators taken.
    pub used: u64,
    /// Accelerators that there are; absent = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u32>,
    /// What one more accelerator would save per hour, about, $; 0 while it is not scarce, and for
    /// pools that only one set of variants of one fleet takes from.
    pub price_per_hour: f64,
}

/// One thing that keeps the answer from being cheaper or fuller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// What kind of thing.
    pub kind: BindingKind,
    /// The fleet; absent where it holds for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// The row, pool or variant; absent for cost limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Kinds of binding constraints.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum BindingKind {
    /// A row that some replica less would leave short.
    Row,
    /// A pool without room for one more replica of a variant that would help.
    Pool,
    /// The accelerators that one fleet may hold of a pool.
    FleetAccelerators,
    /// The cost limit of all fleets, or of one.
    CostLimit,
    /// A minimum that holds more than the rows need.
    Min,
    /// A maximum.
    Max,
    /// No more can be had now.
    SoldOut,
    /// An unknown price: nothing is bought.
    PriceUnknown,
}

/// What the answer took; the same on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// Partial mixes looked at; what the budget counts.
    pub nodes: u64,
    /// Rounds of prices on the pools.
    pub price_rounds: u64,
    /// Passes: one for each priority that does not fit, one for cost.
    pub passes: u32,
}

/// What the next solve starts from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Replicas by fleet and variant, by name.
    pub replicas: BTreeMap<String, BTreeMap<String, u32>>,
    /// Price of an accelerator of each pool, $ per hour.
    pub prices: BTreeMap<String, f64>,
}

impl Solution {
    /// What a later solve of a like instance can start from.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let counts = |fleet: &FleetMix| {
            fleet.variants.iter().map(|variant| (variant.name.clone(), variant.replicas)).collect()
        };
        let prices = self.pools.iter().filter(|pool| pool.price_per_hour > 0.0);
        Plan {
            replicas: self.fleets.iter().map(|f| (f.name.clone(), counts(f))).collect(),
            prices: prices.map(|pool| (pool.name.clone(), pool.price_per_hour)).collect(),
        }
    }

    /// The replicas of a variant.
    #[must_use]
    pub fn replicas(&self, fleet: &str, variant: &str) -> Option<u32> {
        let fleet = self.fleets.iter().find(|mix| mix.name == fleet)?;
        fleet.variants.iter().find(|mix| mix.name == variant).map(|mix| mix.replicas)
    }
}
