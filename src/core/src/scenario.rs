//! A scenario, resolved: how a trace's traffic is shared out to fleets, tiers and tenants, how
//! clients wait, how capacity is billed, and which faults happen.

use crate::ids::{AcceleratorId, FleetId, TierId, VariantId};
use crate::time::{Span, Time, WallTime};

/// Everything about a run that is neither the world, the trace nor the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioPlan {
    /// Name of the `Scenario`.
    pub name: String,
    /// How traffic is shared out. Weights are relative; at least one share.
    pub shares: Vec<Share>,
    /// The calendar when the run begins, for schedules.
    pub starts_at: WallTime,
    /// How capacity is billed.
    pub billing: Billing,
    /// Faults, in no particular order.
    pub faults: Vec<Fault>,
    /// Prometheus's scrape interval.
    pub scrape_interval: Span,
    /// Requests that arrive earlier, and cost before it, do not count.
    pub unscored: Span,
    /// What a tenant may have of a contended tier, relative to the others; a tenant that is not
    /// listed has 1.
    pub tenant_weights: std::collections::BTreeMap<String, f64>,
}

/// One share of the traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Fleet that serves it.
    pub fleet: FleetId,
    /// Tier of its requests.
    pub tier: TierId,
    /// Part of the traffic, relative to the sum over all shares; requests are assigned by hash,
    /// and shares by tokens or requests are the same in expectation.
    pub weight: f64,
    /// Tenants with relative weights; at least one. Requests are assigned by hash of the client.
    pub tenants: Vec<(String, f64)>,
    /// When its requests arrive.
    pub shape: Shape,
    /// What its clients do when not served at once.
    pub client: Client,
}

/// When the requests of a share arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// When the trace says.
    Constant,
    /// Collected, and sent in the first minute of the next hour.
    HourlyDump,
}

/// What a client does when it is not served at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Client {
    /// Keeps its connection up to the tier's hold, then gives up; a refusal is final.
    Held,
    /// Keeps its connection up to the tier's hold; after that or after a refusal it comes back
    /// when told (or after `retry` if it was not told), until its deadline.
    Ticket {
        /// Time between tries when the gate gave none.
        retry: Span,
    },
    /// A queue worker pulls work: as much as the gate's budget allows, or `concurrency` requests
    /// at a time where the gate has no budget.
    Pull {
        /// Requests in flight per fleet without a budget.
        concurrency: u32,
    },
}

/// How capacity is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Each replica's accelerators, from the moment it was asked for until it is gone.
    PerReplica,
    /// Whole nodes, from the moment a node is asked for until it is given back.
    PerNode,
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub from: Time,
    /// When it ends; equal to `from` for an event.
    pub to: Time,
    /// What happens.
    pub kind: FaultKind,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// Nodes with ready replicas of the class die with everything on them (`None`: any class).
    /// With [`Billing::PerReplica`] each replica is its own node.
    NodeLoss {
        /// Class of the nodes.
        accelerator: Option<AcceleratorId>,
        /// How many.
        nodes: u32,
    },
    /// Spot replicas are reclaimed after a notice.
    SpotReclaim {
        /// How many replicas.
        replicas: u32,
        /// Time between notice and loss.
        notice: Span,
    },
    /// Starts that begin in the interval take this many times as long.
    SlowStart {
        /// Larger than 1 for slower.
        factor: f64,
    },
    /// No new accelerator of the class can be had.
    OutOfStock {
        /// Which class.
        accelerator: AcceleratorId,
    },
    /// No scrape succeeds (of the variant, or of anything with `None`).
    MetricBlackout {
        /// Which variant.
        variant: Option<VariantId>,
    },
    /// Gauges of a share of the endpoints read NaN.
    MetricNan {
        /// 0..1.
        share: f64,
    },
    /// A share of the scrapes fails, drawn anew for each scrape.
    PartialScrape {
        /// 0..1.
        share: f64,
    },
    /// Arrivals are multiplied.
    FlashCrowd {
        /// Larger than 1.
        factor: f64,
    },
}
