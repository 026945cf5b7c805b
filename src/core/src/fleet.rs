//! The world that decisions are made about: fleets, variants, tiers and accelerators, resolved
//! from the manifests into dense tables.

mod rails;
mod schedule;

pub use rails::{FleetRails, Limits, Pause};
pub use schedule::{Moment, Schedule, time_zone};

use crate::engine::profile::EngineProfile;
use crate::ids::{AcceleratorId, FleetId, TierId, VariantId};
use crate::time::Span;
use crate::units::UsdPerHour;

/// All fleets that are decided about together, because they share accelerators.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Fleets by [`FleetId`].
    pub fleets: Vec<Fleet>,
    /// Variants of all fleets by [`VariantId`]; those of one fleet lie together.
    pub variants: Vec<Variant>,
    /// Tiers by [`TierId`], the highest priority first.
    pub tiers: Vec<Tier>,
    /// Accelerator classes by [`AcceleratorId`].
    pub accelerators: Vec<AcceleratorClass>,
}

/// All replicas that serve one model behind one pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Name of the `InferenceFleet`.
    pub name: String,
    /// Model names that it serves.
    pub models: Vec<String>,
    /// Its variants: a range of [`World::variants`].
    pub variants: std::ops::Range<u16>,
    /// SLO by [`TierId`]; `None` where the fleet promises nothing to that tier.
    pub slos: Vec<Option<Slo>>,
    /// Interconnect between prefill and decode replicas; unused without both roles.
    pub transfer: Transfer,
    /// What no decision about it may leave.
    pub rails: FleetRails,
}

/// Outputs shorter than this have no meaningful gap between tokens: they are judged end to end,
/// against the TTFT and a TPOT for each gap.
pub const TPOT_OUTPUT_TOKENS_MIN: u32 = 16;

/// What a tier is promised on a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slo {
    /// Time to first token and time per output token, each at the percentile.
    Latency {
        /// TTFT objective.
        ttft: Span,
        /// TPOT objective: mean gap after the first token.
        tpot: Span,
        /// Share of requests that must meet both, 0..1.
        percentile: f64,
    },
    /// Complete within a span of the arrival.
    Completion {
        /// The deadline after arrival.
        within: Span,
        /// Share of requests that must meet it, 0..1.
        percentile: f64,
    },
}

impl Slo {
    /// Share of requests that must attain, 0..1.
    #[must_use]
    pub const fn percentile(&self) -> f64 {
        match self {
            Self::Latency { percentile, .. } | Self::Completion { percentile, .. } => *percentile,
        }
    }
}

/// A class of traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Name in the `TrafficPolicy`.
    pub name: String,
    /// Larger wins.
    pub priority: i32,
    /// Share of capacity that higher tiers cannot take, 0..1.
    pub floor: f64,
    /// Whether its work may be started late.
    pub deferrable: bool,
    /// Longest time that a connection is held for it.
    pub hold_max: Span,
    /// What becomes of a request that cannot meet its SLO any more.
    pub late: Late,
}

/// What becomes of a request that cannot meet its SLO any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Refuse it at once.
    Refuse,
    /// Serve it after everything that can still attain.
    ServeLast,
}

/// What a replica of a variant does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Role {
    /// Aggregated: prefill and decode.
    Both,
    /// Prefill only.
    Prefill,
    /// Decode only.
    Decode,
}

impl Role {
    /// The role as manifests and reports write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// One way to run a fleet's model.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The fleet that it belongs to.
    pub fleet: FleetId,
    /// Name, unique in its fleet.
    pub name: String,
    /// What its replicas do.
    pub role: Role,
    /// Accelerator class.
    pub accelerator: AcceleratorId,
    /// Accelerators that one replica takes.
    pub accelerators_per_replica: u32,
    /// Engine physics and limits.
    pub profile: EngineProfile,
    /// Fewest replicas.
    pub replicas_min: u32,
    /// Most replicas.
    pub replicas_max: u32,
    /// Replicas at the start of a run.
    pub replicas_initial: u32,
    /// Longest time that a draining replica may finish its requests.
    pub drain_max: Span,
    /// How long a replica takes to get ready once it has a node.
    pub start_up: StartUp,
    /// How its accelerators are paid for.
    pub capacity_type: CapacityType,
}

/// The phases of a start once a node is there, each a median with a common log-normal spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StartUp {
    /// Container image.
    pub image: Span,
    /// Weights into accelerator memory.
    pub weights: Span,
    /// Compilation and graph capture.
    pub compile: Span,
    /// Engine initialisation until the probe answers.
    pub warm_up: Span,
    /// Standard deviation of the logarithm of the total; 0 for none.
    pub sigma: f64,
}

impl StartUp {
    /// Median time from node to ready.
    #[must_use]
    pub fn median(&self) -> Span {
        self.image + self.weights + self.compile + self.warm_up
    }
}

/// How accelerators are paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapacityType {
    /// Paid for whether used or not.
    Committed,
    /// Paid for while held.
    OnDemand,
    /// Paid for while held; the provider may reclaim it.
    Spot,
}

/// A kind of accelerator: price, quota, nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct AcceleratorClass {
    /// Name of the `AcceleratorClass`.
    pub name: String,
    /// Price of one accelerator per hour, by capacity type; `None` where it is not offered.
    /// Committed capacity has a price that is sunk.
    pub price_committed: Option<UsdPerHour>,
    /// See `price_committed`.
    pub price_on_demand: Option<UsdPerHour>,
    /// See `price_committed`.
    pub price_spot: Option<UsdPerHour>,
    /// Accelerators that are committed (paid in any case), over all fleets.
    pub committed: u32,
    /// Accelerators that may be held at once over all fleets; `None` = nobody set a limit.
    pub quota: Option<u32>,
    /// Spot reclaims per accelerator-hour.
    pub reclaims_per_hour: f64,
    /// Accelerators of one node.
    pub accelerators_per_node: u32,
    /// Median time until a new node is there.
    pub node_provisioning: Span,
    /// Time after which an empty node is given back.
    pub node_removal_delay: Span,
}

impl AcceleratorClass {
    /// Price per accelerator of a capacity type; `None` = not offered or unknown, never free.
    #[must_use]
    pub const fn price(&self, capacity: CapacityType) -> Option<UsdPerHour> {
        match capacity {
            CapacityType::Committed => self.price_committed,
            CapacityType::OnDemand => self.price_on_demand,
            CapacityType::Spot => self.price_spot,
        }
    }
}

/// How KV caches travel from prefill to decode replicas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    /// Time to set up one transfer.
    pub setup: Span,
    /// Effective bytes per second of one replica pair, all links together.
    pub bytes_per_second: f64,
}

impl World {
    /// The variants of a fleet with their identities.
    pub fn variants_of(&self, fleet: FleetId) -> impl Iterator<Item = (VariantId, &Variant)> {
        let range = self.fleets[fleet.index()].variants.clone();
        range.map(|index| (VariantId(index), &self.variants[usize::from(index)]))
    }

    /// Price of one replica per hour; `None` where the class does not offer its capacity type.
    #[must_use]
    pub fn replica_price(&self, variant: VariantId) -> Option<UsdPerHour> {
        let variant = &self.variants[variant.index()];
        self.accelerators[variant.accelerator.index()]
            .price(variant.capacity_type)
            .map(|price| price * f64::from(variant.accelerators_per_replica))
    }

    /// The tier of that name.
    #[must_use]
    pub fn tier(&self, name: &str) -> Option<TierId> {
        self.tiers.iter().position(|tier| tier.name == name).map(|index| TierId(index as u8))
    }
}
