//! The search for a policy's best tunables: least cost at a required attainment in each tier.
//!
//! First the headroom knob alone (cost and attainment rise and fall with it, nearly): its range
//! is divided again and again around the cheapest setting that attains. Then the other tunables
//! in races: a handful of random changes of the best setting, one run each at its headroom; the
//! most promising get runs at a headroom that should just attain; who is cheaper takes the lead.
//! Runs go in batches of a fixed size, so the result does not depend on the number of threads.

mod frontier;
mod knob;
mod pool;
mod race;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

pub use frontier::Frontier;

use crate::policy::{PolicySpec, Tunable};
use knob::Knob;
pub(crate) use pool::run as side_by_side;

/// Runs that are decided on together. More would use more threads, fewer would decide better.
const BATCH: usize = 8;

/// What one run was worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Cash spent; not finite for a run that broke off.
    pub cost_usd: f64,
    /// Share of requests that attained, by tier.
    pub attainment: BTreeMap<String, f64>,
}

/// What to search for.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// Share of requests that must attain, by tier; tiers that are not named do not matter.
    pub attainment: BTreeMap<String, f64>,
}

impl Goal {
    /// By how much an outcome is above the goal, in the tier where it is least so, as a share of
    /// the misses that the goal allows: 1 = nobody misses, 0 = exactly the goal. Tiers whose goal
    /// is everybody count misses in thousandths.
    #[must_use]
    pub fn margin(&self, outcome: &Outcome) -> f64 {
        /// Smallest share of misses that a goal is taken to allow.
        const MISSES_MIN: f64 = 1e-3;
        self.attainment
            .iter()
            .map(|(tier, &goal)| {
                let attained = outcome.attainment.get(tier).copied().unwrap_or(1.0);
                (attained - goal) / (1.0 - goal).max(MISSES_MIN)
            })
            .fold(1.0, f64::min)
    }
}

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Most runs.
    pub runs: u32,
    /// Runs at a time.
    pub threads: usize,
    /// Seed of the random changes.
    pub seed: u64,
}

/// One setting that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The policy with its tunables.
    pub spec: PolicySpec,
    /// What it was worth.
    pub outcome: Outcome,
    /// [`Goal::margin`] of the outcome.
    pub margin: f64,
}

impl Point {
    /// Whether it meets the goal.
    #[must_use]
    pub fn attains(&self) -> bool {
        self.margin >= 0.0 && self.outcome.cost_usd.is_finite()
    }
}

/// How far the search is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Runs done.
    pub done: u32,
    /// Runs allowed.
    pub runs: u32,
    /// The setting just run.
    pub last: &'a Point,
    /// The best so far; see [`Tuned::best`].
    pub best: &'a Point,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The cheapest setting that meets the goal, or, if none does, the one that misses it least.
    pub best: Point,
    /// Whether any setting met the goal.
    pub feasible: bool,
    /// All settings that were run, in order.
    pub points: Vec<Point>,
    /// The settings that no other beats in both cost and margin.
    pub frontier: Frontier,
    /// Cost at exactly the required attainment, interpolated on the frontier; `None` where no
    /// setting met the goal.
    pub cost_at_goal_usd: Option<f64>,
}

/// Searches the tunables of `base` that it does not fix itself; the first of `tunables` is the
/// headroom knob. `evaluate` runs one setting and is called on several threads; `progress` hears
/// of every run in a fixed order.
pub fn search<E>(
    base: &PolicySpec,
    tunables: &[Tunable],
    goal: &Goal,
    effort: Effort,
    evaluate: E,
    mut progress: impl FnMut(&Progress<'_>),
) -> Tuned
where
    E: Fn(&PolicySpec) -> Outcome + Sync,
{
    let knobs: Vec<Knob> = tunables
        .iter()
        .filter(|tunable| base.get(tunable.key).is_none())
        .map(|tunable| Knob::new(*tunable))
        .collect();
    let mut search = Search {
        base,
        knobs,
        goal,
        effort,
        evaluate,
        progress: &mut progress,
        points: Vec::new(),
        tried: BTreeMap::new(),
        best: None,
        random: Pcg64Mcg::seed_from_u64(effort.seed),
    };
    if search.knobs.is_empty() {
        search.run(vec![Vec::new()]);
    } else {
        search.divide_headroom();
        search.race();
    }
    search.finish()
}

/// A setting: the place of each knob in its range, 0..=1.
type Setting = Vec<f64>;

struct Search<'a, E> {
    base: &'a PolicySpec,
    knobs: Vec<Knob>,
    goal: &'a Goal,
    effort: Effort,
    evaluate: E,
    progress: &'a mut dyn FnMut(&Progress<'_>),
    points: Vec<Point>,
    /// Places in `points` by SPEC, so that nothing is run twice.
    tried: BTreeMap<String, usize>,
    best: Option<usize>,
    random: Pcg64Mcg,
}

impl<E> Search<'_, E>
where
    E: Fn(&PolicySpec) -> Outcome + Sync,
{
    /// Runs that are left.
    fn left(&self) -> usize {
        (self.effort.runs.max(1) as usize).saturating_sub(self.points.len())
    }

    /// Runs settings that were not run yet, as far as the budget goes. Returns the place of each
    /// setting in `points`; `None` where the budget ended.
    fn run(&mut self, settings: Vec<Setting>) -> Vec<Option<usize>> {
        let specs: Vec<PolicySpec> = settings.iter().map(|setting| self.spec(setting)).collect();
        let mut fresh: Vec<PolicySpec> = Vec::new();
        for spec in &specs {
            let new = !self.tried.contains_key(&spec.to_string()) && !fresh.contains(spec);
            if new && fresh.len() < self.left() {
                fresh.push(spec.clone());
            }
        }
        let outcomes = pool::run(&fresh, self.effort.threads, &self.evaluate);
        for (spec, outcome) in fresh.into_iter().zip(outcomes) {
            self.tried.insert(spec.to_string(), self.points.len());
            let margin = self.goal.margin(&outcome);
            self.points.push(Point { spec, outcome, margin });
            let last = self.points.len() - 1;
            if self.best.is_none_or(|best| better(&self.points[last], &self.points[best])) {
                self.best = Some(last);
            }
            (self.progress)(&Progress {
                done: self.points.len() as u32,
                runs: self.effort.runs,
                last: &self.points[last],
                best: &self.points[self.best.unwrap_or(last)],
            });
        }
        specs.iter().map(|spec| self.tried.get(&spec.to_string()).copied()).collect()
    }

    /// The SPEC of a setting; knobs beyond its length keep their defaults.
    fn spec(&self, setting: &[f64]) -> PolicySpec {
        self.knobs
            .iter()
            .zip(setting)
            .fold(self.base.clone(), |spec, (knob, &place)| spec.with(knob.key(), knob.text(place)))
    }

    fn finish(self) -> Tuned {
        let frontier = Frontier::of(&self.points);
        let best = self.best.and_then(|best| self.points.get(best)).cloned();
        let best = best.unwrap_or_else(|| Point {
            spec: self.base.clone(),
            outcome: Outcome { cost_usd: f64::INFINITY, attainment: BTreeMap::new() },
            margin: f64::NEG_INFINITY,
        });
        Tuned {
            feasible: best.attains(),
            cost_at_goal_usd: frontier.cost_at(0.0),
            best,
            points: self.points,
            frontier,
        }
    }
}

/// Whether `one` is a better find than `other`: it attains where the other does not, or is cheaper
/// where both do, or misses less where neither does.
fn better(one: &Point, other: &Point) -> bool {
    match (one.attains(), other.attains()) {
        (true, true) => one.outcome.cost_usd < other.outcome.cost_usd,
        (true, false) => true,
        (false, true) => false,
        (false, false) => {
            let margin = |point: &Point| {
                if point.outcome.cost_usd.is_finite() { point.margin } else { f64::NEG_INFINITY }
            };
            margin(one) > margin(other)
        }
    }
}
