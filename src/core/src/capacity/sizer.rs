//! What replicas hold, measured: the closed form corrected by replays of a sample.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::asks::{self, Sized};
use super::replay::Bench;
use super::shape::Shape;
use super::{
    Goal, Limit, Needed, Objective, STEEPNESS, Sustainable, TierAsk, attainment_at, guess,
};
use crate::demand::Workload;
use crate::engine::profile::EngineProfile;
use crate::fleet::Role;
use crate::ids::VariantId;

/// Replays are made for counts of replicas that are powers of two up to 2^4; more replicas are
/// taken to need the same correction.
const POWER_MAX: u8 = 4;
/// The closed form is kept for powers up to 2^7; beyond, replicas hold the same each.
const GUESSES: usize = 8;
/// How far, as a logarithm, what the closed form says may move from where replays were made
/// before they are made again. Within it the error of the closed form's slope stays below 2 %.
const DRIFT_MAX: f64 = 0.12;
/// Corrections beyond this factor are not believed for drifted workloads.
const DRIFT_FACTOR_MAX: f64 = 2.0;

/// Sizes variants from replays that it remembers.
///
/// [`Sizer::size`] is fast and may be called at each decision; it notes which replays it misses.
/// [`Sizer::refresh`] makes them, a bounded number at a time. Until a variant has its first
/// replay the closed form stands in. The state serialises to a few hundred bytes for each tier of
/// a variant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sizer {
    /// By variant, then by number of the prefix of tiers.
    cells: BTreeMap<VariantId, BTreeMap<u8, Cell>>,
    #[serde(skip)]
    wanted: BTreeMap<(VariantId, u8, u8), Wanted>,
}

/// One prefix of tiers on one variant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Cell {
    /// Requests/s of each replica by the closed form, for 2^0, 2^1, ... replicas.
    guesses: Vec<f64>,
    /// Replays by power of two.
    measured: BTreeMap<u8, Measured>,
    /// What the closed form has moved by since, as a factor.
    drift: f64,
    /// Requests/s of each replica at which queues would grow without end.
    stable_per_s: f64,
    percentile: f64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Measured {
    /// Measured over guessed.
    factor: f64,
    steepness: f64,
    binding: Limit,
    batch: f64,
}

/// A replay to be made.
#[derive(Clone, Debug)]
struct Wanted {
    profile: EngineProfile,
    role: Role,
    workload: Workload,
    objective: Objective,
    /// The workload has moved: what was measured before is void.
    afresh: bool,
}

impl Sizer {
    /// Replicas of a variant that the tiers need, nested by priority; as [`super::needed`], with
    /// replays taken into account. Notes the replays that it would have liked.
    pub fn size(
        &mut self,
        variant: VariantId,
        profile: &EngineProfile,
        role: Role,
        tiers: &[TierAsk<'_>],
        safety: f64,
    ) -> Needed {
        asks::nested(profile, role, tiers, |prefix, shape, ask| {
            let Goal::Latency(objective) = ask.goal else { return super::guess_for(shape, ask) };
            let prefix = u8::try_from(prefix).unwrap_or(u8::MAX);
            let cell = self.cells.entry(variant).or_default().entry(prefix).or_default();
            cell.follow(shape, &objective);
            let sized = cell.needed(ask.requests_per_s, safety);
            let afresh = cell.is_stale();
            for power in cell.missing(sized.replicas) {
                let wanted = Wanted {
                    profile: profile.clone(),
                    role,
                    workload: ask.workload,
                    objective,
                    afresh,
                };
                self.wanted.insert((variant, prefix, power), wanted);
            }
            sized
        })
    }

    /// What `replicas` of a variant hold of the tiers `0..=prefix` together, at the workload of
    /// the last [`Sizer::size`]; `None` where nothing was sized, or the last tier is work only.
    #[must_use]
    pub fn held(&self, variant: VariantId, prefix: u8, replicas: u32) -> Option<Sustainable> {
        let cell = self.cells.get(&variant)?.get(&prefix)?;
        Some(cell.held(f64::from(replicas)))
    }

    /// Share of the requests of tiers `0..=prefix` that attain when `replicas` of the variant
    /// serve `requests_per_s` of them, 0..1; `None` as for [`Sizer::held`].
    #[must_use]
    pub fn attainment(
        &self,
        variant: VariantId,
        prefix: u8,
        requests_per_s: f64,
        replicas: u32,
    ) -> Option<f64> {
        let cell = self.cells.get(&variant)?.get(&prefix)?;
        let held = cell.held(f64::from(replicas)).requests_per_s;
        let steepness = cell.nearest(f64::from(replicas)).map_or(STEEPNESS, |near| near.steepness);
        Some(attainment_at(requests_per_s, held, cell.percentile, steepness))
    }

    /// Makes up to `searches_max` of the replays noted since; returns how many are left. One
    /// takes some ten milliseconds.
    pub fn refresh(&mut self, searches_max: usize) -> usize {
        for _ in 0..searches_max {
            let Some((key, wanted)) = self.wanted.pop_first() else { break };
            let (variant, prefix, power) = key;
            let Some(cell) = self.cells.get_mut(&variant).and_then(|cells| cells.get_mut(&prefix))
            else {
                continue;
            };
            cell.replay(power, &wanted);
            if wanted.afresh {
                // What else is wanted of this cell joins what was just measured.
                for (_, other) in
                    self.wanted.range_mut((variant, prefix, 0)..=(variant, prefix, u8::MAX))
                {
                    other.afresh = false;
                }
            }
        }
        self.wanted.len()
    }

    /// Forgets a variant: it is gone, or runs something else.
    pub fn forget(&mut self, variant: VariantId) {
        self.cells.remove(&variant);
        self.wanted.retain(|(of, _, _), _| *of != variant);
    }
}

impl Cell {
    /// Takes note of what is asked now.
    fn follow(&mut self, shape: &Shape<'_>, objective: &Objective) {
        self.percentile = objective.percentile;
        if self.measured.is_empty() {
            self.guess(shape, objective);
            return;
        }
        // Where most replays are is where the closed form is followed.
        let power = self.measured.keys().next_back().copied().unwrap_or_default();
        let now = guess_each(shape, objective, f64::from(1_u32 << power));
        let then = self.guesses.get(usize::from(power)).copied().unwrap_or_default();
        self.drift = if then > 0.0 { now / then } else { 1.0 };
    }

    /// The closed form for all counts.
    fn guess(&mut self, shape: &Shape<'_>, objective: &Objective) {
        self.guesses.clear();
        for power in 0..GUESSES {
            self.guesses.push(guess_each(shape, objective, f64::from(1_u32 << power)));
        }
        self.drift = 1.0;
        self.stable_per_s = stable_each(shape);
    }

    fn is_stale(&self) -> bool {
        !self.measured.is_empty() && self.drift.ln().abs() > DRIFT_MAX
    }

    /// Powers of two around a count that have no valid replay.
    fn missing(&self, replicas: f64) -> impl Iterator<Item = u8> + use<> {
        let log = replicas.clamp(1.0, f64::from(1_u32 << POWER_MAX)).log2();
        let (below, above) = (log.floor() as u8, log.ceil() as u8);
        let stale = self.is_stale();
        let lacks = [below, above].map(|power| stale || !self.measured.contains_key(&power));
        [(below, lacks[0]), (above, lacks[1] && above != below)]
            .into_iter()
            .filter_map(|(power, lacks)| lacks.then_some(power))
    }

    fn replay(&mut self, power: u8, wanted: &Wanted) {
        let shape = Shape::new(&wanted.profile, wanted.role, &wanted.workload);
        if wanted.afresh || self.measured.is_empty() {
            self.measured.clear();
            self.guess(&shape, &wanted.objective);
        }
        let replicas = 1_u32 << power;
        let mut bench = Bench::new(
            &wanted.profile,
            &shape,
            wanted.role,
            &wanted.workload,
            wanted.objective,
            replicas,
        );
        let each = guess_each(&shape, &wanted.objective, f64::from(replicas));
        let start = each * self.factor(f64::from(replicas)).max(0.1) * f64::from(replicas);
        let held = bench.held(start);
        self.measured.insert(
            power,
            Measured {
                factor: held.requests_per_s / f64::from(replicas) / each,
                steepness: held.steepness,
                binding: held.binding,
                batch: held.batch,
            },
        );
    }

    /// Requests/s that each of so many replicas holds.
    fn each_per_s(&self, replicas: f64) -> f64 {
        let drift = self.drift.clamp(1.0 / DRIFT_FACTOR_MAX, DRIFT_FACTOR_MAX);
        self.guess_at(replicas) * self.factor(replicas) * drift
    }

    /// The closed form between the counts that it was computed for, linear in the inverse root.
    fn guess_at(&self, replicas: f64) -> f64 {
        let log = replicas.clamp(1.0, f64::from(1_u32 << (GUESSES - 1))).log2();
        let below = log.floor();
        let value = |power: f64| self.guesses.get(power as usize).copied().unwrap_or_default();
        between(replicas, below, value(below), log.ceil(), value(log.ceil()))
    }

    /// Measured over guessed at a count; 1 without any replay.
    fn factor(&self, replicas: f64) -> f64 {
        let log = replicas.max(1.0).log2();
        let at_most = self.measured.range(..=log.floor().min(254.0) as u8).next_back();
        let at_least = self.measured.range(log.ceil().min(254.0) as u8..).next();
        match (at_most, at_least) {
            (Some((&low, below)), Some((&high, above))) => {
                between(replicas, f64::from(low), below.factor, f64::from(high), above.factor)
            }
            (Some((_, only)), None) | (None, Some((_, only))) => only.factor,
            (None, None) => 1.0,
        }
    }

    fn nearest(&self, replicas: f64) -> Option<&Measured> {
        let log = replicas.max(1.0).log2();
        let distance = |power: u8| (f64::from(power) - log).abs();
        let nearest = self
            .measured
            .iter()
            .min_by(|(left, _), (right, _)| distance(**left).total_cmp(&distance(**right)));
        nearest.map(|(_, measured)| measured)
    }

    fn held(&self, replicas: f64) -> Sustainable {
        let each = if replicas > 0.0 { self.each_per_s(replicas) } else { 0.0 };
        let near = self.nearest(replicas);
        Sustainable {
            requests_per_s: each * replicas,
            binding: near.map_or(Limit::Stability, |near| near.binding),
            operating_batch: near.map_or(0.0, |near| near.batch),
            utilization: (each / self.stable_per_s.max(f64::MIN_POSITIVE)).min(1.0),
        }
    }

    /// The fewest replicas that hold a rate.
    fn needed(&self, requests_per_s: f64, safety: f64) -> Sized {
        let sized = |replicas: f64| {
            let held = self.held(replicas);
            Sized {
                replicas,
                binding: held.binding,
                operating_batch: held.operating_batch,
                utilization: held.utilization,
            }
        };
        let holds = |replicas: f64| {
            let steepness = self.nearest(replicas).map_or(STEEPNESS, |near| near.steepness);
            let safety = if safety.is_finite() { safety } else { 0.0 };
            self.each_per_s(replicas) * replicas * (-safety / steepness).exp()
        };
        if holds(1.0) <= 0.0 {
            // Nothing reaches the objective: the work is done all the same.
            return Sized {
                utilization: 1.0,
                ..sized(requests_per_s / self.stable_per_s.max(f64::MIN_POSITIVE))
            };
        }
        if requests_per_s <= holds(1.0) {
            return sized(requests_per_s / holds(1.0));
        }
        let (mut low, mut high) = (1.0, 2.0);
        while holds(high) < requests_per_s && high < REPLICAS_MAX {
            (low, high) = (high, high * 2.0);
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if holds(middle) < requests_per_s { low = middle } else { high = middle }
        }
        sized(high)
    }
}

/// More replicas than anybody runs.
const REPLICAS_MAX: f64 = 1e9;
/// Halvings of the search for the count: to a hundred-thousandth.
const HALVINGS: usize = 17;

/// Linear in the inverse root of the count, between two powers of two.
fn between(replicas: f64, low: f64, below: f64, high: f64, above: f64) -> f64 {
    if high <= low {
        return below;
    }
    let root = |log: f64| (-log / 2.0).exp2();
    let share = (root(low) - root(replicas.max(1.0).log2())) / (root(low) - root(high));
    below + share.clamp(0.0, 1.0) * (above - below)
}

/// Requests/s of each replica by the closed form; where that finds the objective unreachable,
/// those of the work alone: replays know better.
fn guess_each(shape: &Shape<'_>, objective: &Objective, replicas: f64) -> f64 {
    guess::sustainable(shape, &Goal::Latency(*objective), replicas).steady.requests_per_s
}

/// Requests/s of each replica at which queues would grow without end.
fn stable_each(shape: &Shape<'_>) -> f64 {
    let point = guess::sustainable(shape, &Goal::Work { step_max_s: None }, 1.0);
    point.steady.requests_per_s
}
