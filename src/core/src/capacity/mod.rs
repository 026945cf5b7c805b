//! How much demand a variant holds at its objectives: at the percentile of each tier, nested by
//! priority, with the KV cache and the strictest tier's step time protected.
//!
//! Two layers. The functions of this module are closed forms (microseconds, no memory); they are
//! a first guess, right to about a fifth. [`Sizer`] corrects them: it replays a deterministic
//! sample of the workload through [`crate::engine`] on a few counts of replicas, off the fast
//! path, and answers from what it measured, moved by the closed form as the workload drifts.
//!
//! A request *attains* when TTFT and TPOT are both met, as an SLO says; a rate is *held* when the
//! SLO's share of the requests attains. Where a role has no say in one of the two, only the other
//! counts: prefill replicas are asked for TTFT alone (subtract what the transfer and the first
//! decode step take from the objective), decode replicas for TPOT, and for the wait for a seat or
//! KV as TTFT.

mod asks;
mod guess;
mod normal;
mod replay;
mod sample;
mod shape;
mod sizer;

use crate::demand::{TierLoad, Workload};
use crate::engine::profile::EngineProfile;
use crate::fleet::{Role, Slo};
use crate::time::Span;

use asks::{Ask, Sized};
use shape::Shape;
pub use sizer::Sizer;

/// Demand of one tier and what it was promised. Tiers are given highest priority first.
#[derive(Clone, Copy, Debug)]
pub struct TierAsk<'a> {
    /// Its demand.
    pub load: &'a TierLoad,
    /// Its SLO. Without one, or with [`Slo::Completion`], it counts as work only: it must be
    /// served in the long run, behind the tiers above it.
    pub slo: Option<Slo>,
}

/// What keeps replicas from holding more.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Time to first token.
    Ttft,
    /// Time per output token.
    Tpot,
    /// Room for KV.
    Kv,
    /// `max_num_seqs`.
    Sequences,
    /// More work would come than is done: queues would grow without end.
    Stability,
    /// Even an idle replica misses the TTFT too often. Sized as work only.
    TtftUnreachable,
    /// Even a lone request decodes too slowly. Sized as work only.
    TpotUnreachable,
    /// A mean request does not fit in the KV cache: no number of replicas serves it.
    TooLarge,
    /// There is nothing to hold.
    NoDemand,
}

/// What replicas hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sustainable {
    /// Requests per second of all replicas together; 0 with an unreachable objective.
    pub requests_per_s: f64,
    /// Why not more.
    pub binding: Limit,
    /// Requests that decode on each replica at that rate, mean.
    pub operating_batch: f64,
    /// That rate over the one at which queues would grow without end, 0..1.
    pub utilization: f64,
}

/// What demand needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Needed {
    /// Replicas, fractions allowed, that hold tiers `0..=k`, by k; never falling.
    /// [`f64::INFINITY`] where no number of them does ([`Limit::TooLarge`]).
    pub by_prefix: Vec<f64>,
    /// Why not fewer, for all tiers together.
    pub binding: Limit,
    /// Requests that decode on each of these replicas, mean.
    pub operating_batch: f64,
    /// Share of the rate at which queues would grow without end, 0..1.
    pub utilization: f64,
}

/// TTFT and TPOT at a percentile, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Objective {
    ttft_s: f64,
    tpot_s: f64,
    /// Share of requests that must meet both, within 0.5..0.9999.
    percentile: f64,
}

/// What replicas are to do.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Goal {
    /// Keep an objective.
    Latency(Objective),
    /// Get the work done in the long run, with the mean step within `step_max_s`.
    Work { step_max_s: Option<f64> },
}

impl Goal {
    fn of(slo: &Slo) -> Self {
        Objective::of(slo).map_or(Self::Work { step_max_s: None }, Self::Latency)
    }
}

/// Percentiles beyond these cannot be told from a sample, and are taken as these.
const PERCENTILE_RANGE: (f64, f64) = (0.5, 0.9999);

impl Objective {
    /// `None` for a deadline of completion.
    fn of(slo: &Slo) -> Option<Self> {
        match *slo {
            Slo::Latency { ttft, tpot, percentile } => Some(Self {
                ttft_s: ttft.as_seconds(),
                tpot_s: tpot.as_seconds(),
                percentile: percentile.clamp(PERCENTILE_RANGE.0, PERCENTILE_RANGE.1),
            }),
            Slo::Completion { .. } => None,
        }
    }

    /// With the log-odds of attaining moved by `safety`.
    fn shifted(self, safety: f64) -> Self {
        let odds = logit(self.percentile) + if safety.is_finite() { safety } else { 0.0 };
        let percentile = logistic(odds).clamp(PERCENTILE_RANGE.0, PERCENTILE_RANGE.1);
        Self { percentile, ..self }
    }
}

fn logit(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// Requests/s of one workload that `replicas` hold at the SLO's percentile; a first guess, see
/// [`Sizer`]. A deadline of completion asks for stability only.
#[must_use]
pub fn sustainable(
    profile: &EngineProfile,
    role: Role,
    workload: &Workload,
    slo: &Slo,
    replicas: u32,
) -> Sustainable {
    let shape = Shape::new(profile, role, workload);
    if shape.too_large() || replicas == 0 {
        let binding = if replicas == 0 { Limit::Stability } else { Limit::TooLarge };
        return Sustainable::nothing(binding);
    }
    let point = guess::sustainable(&shape, &Goal::of(slo), f64::from(replicas));
    if !point.reachable {
        return Sustainable::nothing(point.binding);
    }
    Sustainable {
        requests_per_s: point.steady.requests_per_s * f64::from(replicas),
        binding: point.binding,
        operating_batch: point.steady.batch,
        utilization: point.utilization,
    }
}

impl Sustainable {
    const fn nothing(binding: Limit) -> Self {
        Self { requests_per_s: 0.0, binding, operating_batch: 0.0, utilization: 0.0 }
    }
}

/// Replicas of one variant that the tiers need, nested by priority; a first guess, see [`Sizer`].
///
/// `safety` moves the log-odds of attaining (`ln(p / (1 - p))`) away from each tier's percentile:
/// 0 sizes for the percentile itself, positive for fewer misses, negative spends what the miss
/// budget owes. From 0.99, -0.7 allows about twice the misses.
#[must_use]
pub fn needed(profile: &EngineProfile, role: Role, tiers: &[TierAsk<'_>], safety: f64) -> Needed {
    asks::nested(profile, role, tiers, |_, shape, ask| {
        let goal = match ask.goal {
            Goal::Latency(objective) => Goal::Latency(objective.shifted(safety)),
            work @ Goal::Work { .. } => work,
        };
        guess_for(shape, &Ask { goal, ..*ask })
    })
}

/// What one ask needs by the closed form.
fn guess_for(shape: &Shape<'_>, ask: &Ask) -> Sized {
    let point = guess::needed(shape, &ask.goal, ask.requests_per_s);
    Sized {
        replicas: point.replicas,
        binding: point.binding,
        operating_batch: point.steady.batch,
        utilization: point.utilization,
    }
}

/// Share of requests that attain when `replicas` serve a load, 0..1; a first guess, see
/// [`Sizer`]. 1 without load, 0 without replicas.
///
/// The log-odds of a miss are taken to grow with the logarithm of the rate, which is how they
/// behave near the objective.
#[must_use]
pub fn attainment(
    profile: &EngineProfile,
    role: Role,
    load: &TierLoad,
    slo: &Slo,
    replicas: u32,
) -> f64 {
    let held = sustainable(profile, role, &load.workload, slo, replicas);
    attainment_at(load.requests_per_s, held.requests_per_s, slo.percentile(), STEEPNESS)
}

/// By how much the log-odds of attaining fall when the rate grows by a factor e, where nothing
/// was measured: the middle of what replays of the training grid show.
const STEEPNESS: f64 = 25.0;

fn attainment_at(rate: f64, held: f64, percentile: f64, steepness: f64) -> f64 {
    if rate <= 0.0 {
        return 1.0;
    }
    if held <= 0.0 || !held.is_finite() {
        return 0.0;
    }
    let percentile = percentile.clamp(PERCENTILE_RANGE.0, PERCENTILE_RANGE.1);
    logistic(logit(percentile) - steepness * (rate / held).ln())
}

/// Replicas, fractions allowed, that work off `waiting` requests within a span when they have
/// nothing else to do: add it to what the demand needs. [`f64::INFINITY`] where the span is zero
/// or a request does not fit.
#[must_use]
pub fn to_drain(
    profile: &EngineProfile,
    role: Role,
    workload: &Workload,
    waiting: f64,
    within: Span,
) -> f64 {
    if waiting.is_nan() || waiting <= 0.0 {
        return 0.0;
    }
    let shape = Shape::new(profile, role, workload);
    let point = guess::sustainable(&shape, &Goal::Work { step_max_s: None }, 1.0);
    if shape.too_large() || within == Span::ZERO {
        return f64::INFINITY;
    }
    waiting / within.as_seconds() / point.steady.requests_per_s
}

#[cfg(test)]
mod tests;
