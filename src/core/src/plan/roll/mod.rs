//! Asking the twin what would become of a plan: candidate plans go out with the live state and
//! the recent record, and come back ranked, gross misses vetoed.
//!
//! The driver carries a request out off the fast path and comes back later, or never: a planner
//! must decide well without an answer. Arrivals are resampled from the recent record in blocks, so
//! an answer tells plans apart and finds those that would fail badly; it does not measure the
//! last percent of attainment.

mod judge;
mod live;
mod record;
#[cfg(test)]
mod tests;

pub use judge::{ERRORS_SIGNIFICANT, Judgement, judge, rank};
pub use live::{EngineLoad, Held, LiveEndpoint, LiveState, PendingReplica, QueuesAt};
pub use record::{INTERVALS_MAX, Interval, Lengths, Record, TierCount};

use serde::{Deserialize, Serialize};

use crate::engine::profile::EngineProfile;
use crate::fleet::World;
use crate::ids::{FleetId, TierId, VariantId};
use crate::time::{Span, Time};
use crate::units::Usd;

/// Requests that one roll-forward simulates unless it is told otherwise: about 50 ms of one core.
pub const REQUESTS_DEFAULT: u32 = 20_000;
/// The most requests that one roll-forward may simulate: about a second of one core.
pub const REQUESTS_MAX: u32 = 400_000;
/// The most candidates of one roll-forward: more than these would share too few scenarios.
pub const CANDIDATES_MAX: usize = 32;

/// What is asked: what would become of each of these plans from here on?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollRequest {
    /// The asker's number; the answer carries it.
    pub id: u64,
    /// When it was asked: what the live state describes.
    pub asked_at: Time,
    /// The fleet.
    pub fleet: FleetId,
    /// The plans; the first is the one in force, to which the others are compared. At most
    /// [`CANDIDATES_MAX`].
    pub candidates: Vec<Candidate>,
    /// The fleet as it shows itself.
    pub live: LiveState,
    /// How far to look; cut where the budget does not reach that far.
    pub horizon: Span,
    /// What arrived lately.
    pub record: Record,
    /// What is coming, by tier; a tier that is not listed goes on as in the record.
    pub outlooks: Vec<TierOutlook>,
    /// What is known of each variant of the fleet; the manifest's word where it is missing.
    pub variants: Vec<VariantModel>,
    /// Seed of every draw: the same request has the same answer.
    pub seed: u64,
    /// Requests to simulate over all candidates and scenarios, at most [`REQUESTS_MAX`].
    pub requests_max: u32,
}

/// A plan: replicas of every variant of the fleet that is to have any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Replicas by variant, in order of variant; a variant that is not listed has none.
    pub replicas: Vec<(VariantId, u32)>,
}

impl Candidate {
    /// Replicas of a variant.
    #[must_use]
    pub fn of(&self, variant: VariantId) -> u32 {
        self.replicas.iter().find(|(id, _)| *id == variant).map_or(0, |(_, replicas)| *replicas)
    }

    /// The plan as people write it: `7 prefill-h100 + 12 decode-l40s`.
    #[must_use]
    pub fn describe(&self, world: &World) -> String {
        let parts: Vec<String> = self
            .replicas
            .iter()
            .filter(|(_, replicas)| *replicas > 0)
            .map(|(id, replicas)| format!("{replicas} {}", world.variants[id.index()].name))
            .collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(" + ") }
    }
}

/// What is coming of one tier over the horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TierOutlook {
    /// The tier.
    pub tier: TierId,
    /// Quantiles of the mean rate of arrivals over the horizon, requests per second: pairs of
    /// level (0..1) and rate, both rising. One pair alone is a certain rate.
    pub requests_per_s: Vec<(f64, f64)>,
}

/// What is known of a variant beyond its manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantModel {
    /// The variant.
    pub variant: VariantId,
    /// Its engine, as learned.
    pub profile: EngineProfile,
    /// Median time from asking for a replica to its being ready.
    pub lead: Span,
    /// Standard deviation of the logarithm of that time; 0 for none.
    pub lead_sigma: f64,
}

impl VariantModel {
    /// What the manifest says: its profile, and a new node for every replica.
    #[must_use]
    pub fn of(world: &World, variant: VariantId) -> Self {
        let entry = &world.variants[variant.index()];
        let node = world.accelerators[entry.accelerator.index()].node_provisioning;
        Self {
            variant,
            profile: entry.profile.clone(),
            lead: node + entry.start_up.median(),
            lead_sigma: entry.start_up.sigma,
        }
    }
}

/// What would become of the plans of a [`RollRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollAnswer {
    /// The asker's number.
    pub id: u64,
    /// When it was asked.
    pub asked_at: Time,
    /// The fleet.
    pub fleet: FleetId,
    /// How far it looked: shorter than asked where the budget did not reach.
    pub horizon: Span,
    /// Requests simulated over all candidates and scenarios.
    pub requests: u64,
    /// One per candidate, in the order of the request.
    pub candidates: Vec<Rolled>,
}

/// What would become of one plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rolled {
    /// The plan.
    pub plan: Candidate,
    /// By tier with an SLO on the fleet and anything to judge within the horizon.
    pub tiers: Vec<Predicted>,
    /// Bill over the horizon, from asked for to gone; committed accelerators are sunk and count
    /// nothing. `None` = a price is unknown, which is never free.
    pub cost: Option<Usd>,
    /// Scenarios that it was simulated in; the plans that looked worst have fewer. 0 = nothing is
    /// known of recent arrivals, so nothing was simulated.
    pub scenarios: u32,
    /// Whether it may be chosen.
    pub verdict: Verdict,
}

/// One tier under one plan, over the scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The tier.
    pub tier: TierId,
    /// Requests judged in all scenarios together.
    pub requests: u64,
    /// Share of them that met the SLO, 0..1.
    pub attainment: f64,
    /// Standard error of `attainment`, over scenarios; at least that of independent requests.
    pub standard_error: f64,
    /// `attainment` less that of the first plan in the same scenarios.
    pub difference: f64,
    /// Standard error of `difference`.
    pub difference_error: f64,
    /// Mean number of requests of the tier without a first token at the end of the horizon.
    pub backlog_requests: f64,
}

/// Whether a plan may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Nothing speaks against it.
    Keep,
    /// It would miss grossly: which tier, by how much.
    Veto(String),
}

impl Verdict {
    /// Whether the plan may be chosen.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        matches!(self, Self::Keep)
    }
}
