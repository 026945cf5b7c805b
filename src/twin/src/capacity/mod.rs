//! Capacity against the twin: over a grid of workloads, the rate that replicas really hold beside
//! the rate that [`forebay_core::capacity`] says they hold.

mod errors;
mod grid;
mod render;
mod traffic;
mod truth;

use std::collections::BTreeMap;
use std::time::Instant;

use forebay_core::capacity::{self, Limit, Sizer, TierAsk};
use forebay_core::demand::TierLoad;
use forebay_core::engine::profile::EngineProfile;
use forebay_core::ids::VariantId;
use serde::{Deserialize, Serialize};

pub use errors::{Errors, Group};
pub use grid::{Bunching, Family, Point};
pub use render::render;

use crate::gates::GateSpecError;
use crate::sim::SimulationError;
use crate::tune::side_by_side;
use truth::Effort;

/// Version of the JSON.
pub const SCHEMA: &str = "forebay.capacity/v1";
/// Seed of the twin's traffic, another than that of the sizer's own sample.
const TRAFFIC_SEED: u64 = 11;
/// Rounds of sizing and replaying until nothing is missing; it takes two or three.
const ROUNDS_MAX: usize = 5;

/// The window that dispersion is counted in, s.
const DISPERSION_WINDOW_S: f64 = 10.0;
/// Largest squared coefficient of variation of the rate, ten seconds by ten seconds, that is
/// tried: beyond it traffic is on and off rather than a rate.
const WAVES_MAX: f64 = 0.25;

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// A dozen points, short runs: seconds.
    Small,
    /// 240 points, long runs: some ten minutes of two cores.
    Full,
}

impl Grid {
    /// Points that are tried.
    #[must_use]
    pub const fn points(self) -> usize {
        match self {
            Self::Small => 12,
            Self::Full => 240,
        }
    }

    const fn effort(self) -> Effort {
        match self {
            Self::Small => {
                Effort { requests: (8_000.0, 20_000.0), residences: 20.0, bursty_s: 800.0 }
            }
            Self::Full => {
                Effort { requests: (20_000.0, 80_000.0), residences: 30.0, bursty_s: 2_000.0 }
            }
        }
    }

    /// The largest rate, by the closed form, that runs of this effort tell anything about.
    const fn rate_max_per_s(self) -> f64 {
        match self {
            Self::Small => 20.0,
            Self::Full => 100.0,
        }
    }
}

/// Why the comparison cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CapacityError {
    /// A run of the twin broke off.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The gate cannot be built.
    #[error(transparent)]
    Gate(#[from] GateSpecError),
}

/// Capacity beside the twin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CapacityReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Points that took no part in the choice of constants.
    pub held_out: Errors,
    /// Points that may have.
    pub training: Errors,
    /// The closed form alone, over the points that are held out.
    pub guess: Errors,
    /// Points held out, by what they have in common.
    pub groups: Vec<Group>,
    /// By how much attainment in the twin at the sized rate falls short of the percentile, as a
    /// share of all requests: 95th percentile over the points held out.
    pub shortfall_p95: Option<f64>,
    /// Points where a trickle misses too often for the rate to matter.
    pub not_judged: usize,
    /// Mean time of one search by replays, ms of one core of this machine.
    pub search_ms: f64,
    /// Every point.
    pub points: Vec<Compared>,
}

/// One point: what is held, and what was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// The point.
    pub point: Point,
    /// Requests/s that the twin holds.
    pub held_per_s: f64,
    /// What keeps it from more.
    pub binding: String,
    /// Share of a trickle that misses: of prompts that are too long for the objective.
    pub missed_alone: f64,
    /// Share that attains in the twin at the rate that the sizer says.
    pub attained_as_sized: f64,
    /// What the sizer says.
    pub sized_per_s: f64,
    /// What the sizer says keeps replicas from more.
    pub sized_binding: Limit,
    /// What the closed form says.
    pub guess_per_s: f64,
    /// Time of the sizer's replays, ms, and how many searches they were.
    pub replay_ms: f64,
    /// See `replay_ms`.
    pub searches: usize,
}

/// Share of the misses allowed that a trickle may have: with more, the objective is about the
/// length of prompts, and the rate hardly matters to it.
const ALONE_MAX: f64 = 0.3;

impl Compared {
    /// Whether the rate decides on attaining.
    #[must_use]
    pub fn rate_matters(&self) -> bool {
        self.missed_alone <= (1.0 - self.point.percentile) * ALONE_MAX
    }

    /// Sized over held, less 1: above 0 is the unsafe side. `None` where nothing is held.
    #[must_use]
    pub fn error(&self) -> Option<f64> {
        (self.held_per_s > 0.0).then(|| self.sized_per_s / self.held_per_s - 1.0)
    }
}

/// Compares over a grid, on up to `threads` threads; `finished` hears of each point as it ends.
///
/// # Errors
/// [`CapacityError`]: a run of the twin broke off, which is a bug.
pub fn run(
    grid: Grid,
    profiles: &[EngineProfile],
    seed: u64,
    threads: usize,
    finished: &(dyn Fn(usize) + Sync),
) -> Result<CapacityReport, CapacityError> {
    let by_name: BTreeMap<&str, &EngineProfile> =
        profiles.iter().map(|profile| (profile.name.as_str(), profile)).collect();
    // An objective that an idle replica misses says nothing about capacity.
    let sensible = |point: &Point| {
        let profile = by_name.get(point.profile.as_str());
        let guess = profile.map_or(0.0, |profile| guess(point, profile));
        let waves = (point.dispersion - 1.0) / (guess * DISPERSION_WINDOW_S);
        guess > 0.0 && guess <= grid.rate_max_per_s() && waves <= WAVES_MAX
    };
    let points = grid::draw(grid.points(), seed, &sensible);
    let compared = side_by_side(&points, threads, &|point: &Point| {
        let compared = by_name
            .get(point.profile.as_str())
            .map(|profile| compare(point, profile, &grid.effort()))
            .transpose();
        finished(point.number);
        compared
    });
    let points: Vec<Compared> =
        compared.into_iter().filter_map(Result::transpose).collect::<Result<_, _>>()?;
    Ok(report(points))
}

fn report(points: Vec<Compared>) -> CapacityReport {
    let judged = || points.iter().filter(|one| one.rate_matters());
    let held_out: Vec<&Compared> = judged().filter(|one| one.point.held_out()).collect();
    let training: Vec<&Compared> = judged().filter(|one| !one.point.held_out()).collect();
    let rate_matters = judged().count();
    let searches: usize = points.iter().map(|one| one.searches).sum();
    let replay_ms: f64 = points.iter().map(|one| one.replay_ms).sum();
    CapacityReport {
        schema: SCHEMA.to_owned(),
        held_out: Errors::of(&held_out, |one| one.sized_per_s),
        training: Errors::of(&training, |one| one.sized_per_s),
        guess: Errors::of(&held_out, |one| one.guess_per_s),
        groups: errors::groups(&held_out),
        shortfall_p95: errors::shortfall_p95(&held_out),
        not_judged: points.len() - rate_matters,
        search_ms: replay_ms / searches.max(1) as f64,
        points,
    }
}

fn compare(
    point: &Point,
    profile: &EngineProfile,
    effort: &Effort,
) -> Result<Compared, CapacityError> {
    let guess_per_s = guess(point, profile);
    let begun = Instant::now();
    let (sized_per_s, sized_binding, searches) = size(point, profile, guess_per_s);
    let replay_ms = begun.elapsed().as_secs_f64() * 1e3;
    let start = if sized_per_s > 0.0 { sized_per_s } else { guess_per_s };
    let truth = truth::find(point, profile, start, effort, TRAFFIC_SEED + point.number as u64)?;
    Ok(Compared {
        point: point.clone(),
        held_per_s: truth.requests_per_s,
        missed_alone: truth.missed_alone,
        attained_as_sized: truth.attained_first,
        binding: if truth.by_tpot { "tpot" } else { "ttft" }.to_owned(),
        sized_per_s,
        sized_binding,
        guess_per_s,
        replay_ms,
        searches,
    })
}

fn guess(point: &Point, profile: &EngineProfile) -> f64 {
    let workload = point.workload();
    let held =
        capacity::sustainable(profile, point.role(), &workload, &point.slo(), point.replicas);
    held.requests_per_s
}

/// Asks the sizer as a planner does: for a demand, until no replay is missing.
fn size(point: &Point, profile: &EngineProfile, guess_per_s: f64) -> (f64, Limit, usize) {
    let variant = VariantId(0);
    let mut sizer = Sizer::default();
    let mut load = TierLoad { requests_per_s: guess_per_s, workload: point.workload() };
    let (mut searches, mut binding) = (0, Limit::Stability);
    for _ in 0..ROUNDS_MAX {
        let tiers = [TierAsk { load: &load, slo: Some(point.slo()) }];
        sizer.size(variant, profile, point.role(), &tiers, 0.0);
        let missing = sizer.refresh(0);
        sizer.refresh(missing);
        searches += missing;
        if let Some(held) = sizer.held(variant, 0, point.replicas) {
            binding = held.binding;
            if held.requests_per_s <= 0.0 {
                return (0.0, binding, searches);
            }
            load.requests_per_s = held.requests_per_s;
        }
        if missing == 0 {
            break;
        }
    }
    (load.requests_per_s, binding, searches)
}

#[cfg(test)]
mod tests;
