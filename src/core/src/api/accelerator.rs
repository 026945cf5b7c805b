//! `AcceleratorClass`: a kind of accelerator, what it costs, how many there may be, and how its
//! nodes are known and behave.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{ACCELERATORS_MAX, ACCELERATORS_PER_NODE_MAX};
use super::{Amount, Duration, Kind};

impl Kind for AcceleratorClassSpec {
    const KIND: &'static str = "AcceleratorClass";
}

/// A kind of accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcceleratorClassSpec {
    /// The accelerator as engine profiles name it, for instance `h100_sxm`.
    pub accelerator: String,
    /// What one accelerator costs per hour.
    pub prices: PricesSpec,
    /// Accelerators that are paid for whether used or not, over all fleets.
    #[serde(default)]
    #[schemars(range(max = ACCELERATORS_MAX))]
    pub committed: u32,
    /// Accelerators that may be held at once over all fleets; absent = nobody set a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = ACCELERATORS_MAX))]
    pub quota: Option<u32>,
    /// How often the provider takes a spot accelerator back, per accelerator and hour. Needed
    /// where spot has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 60.0))]
    pub reclaims_per_hour: Option<f64>,
    /// Its nodes.
    pub nodes: NodesSpec,
}

/// Price of one accelerator per hour by how it is paid for. A price that is left out means that
/// it is not offered that way; it never means free.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PricesSpec {
    /// Currency of all three.
    #[serde(default)]
    pub currency: Currency,
    /// Paid whether used or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Amount>,
    /// Paid while held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<Amount>,
    /// Paid while held; the provider may take it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot: Option<Amount>,
}

/// A currency by its ISO 4217 code. Nothing here knows exchange rates, so there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Currency {
    /// US dollar.
    #[default]
    #[serde(rename = "USD")]
    Usd,
}

/// How accelerators are paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CapacityType {
    /// Paid for whether used or not.
    Committed,
    /// Paid for while held.
    #[default]
    OnDemand,
    /// Paid for while held; the provider may reclaim it.
    Spot,
}

/// The nodes of an accelerator class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodesSpec {
    /// Labels that all its nodes carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Extended resource that counts its accelerators, for instance `nvidia.com/gpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// Device class of dynamic resource allocation, where that is used instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_class: Option<String>,
    /// Accelerators of one node.
    #[schemars(range(min = 1, max = ACCELERATORS_PER_NODE_MAX))]
    pub accelerators_per_node: u32,
    /// Median time until a new node is there.
    pub provisioning_time: Duration,
    /// Time after which an empty node is given back.
    pub removal_delay: Duration,
}
