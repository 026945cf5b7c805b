//! Priorities one after the other: first all rows whole at the least cost; where that cannot be,
//! the least shortfall of the highest priority, then of the next, and at last the least cost with
//! exactly those shortfalls.

use super::model::{Model, SHORTFALL_STEPS, greatest_common_divisor};
use super::part::{Part, Pass, RowMode};
use super::pass::{Choice, Passed, Solver};
use super::search::Search;

/// One level's shortfall and what is proven of it, in steps times weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelOutcome {
    pub(super) shortfall: i64,
    pub(super) bound: f64,
    pub(super) proven: bool,
}

/// The answer in whole numbers.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Replicas by [`Model::offers`].
    pub(super) counts: Vec<u32>,
    /// By [`Model::levels`].
    pub(super) levels: Vec<LevelOutcome>,
    /// No mix with these shortfalls has a lower objective.
    pub(super) bound: f64,
    pub(super) cost_proven: bool,
    /// Prices of [`Model::shared`].
    pub(super) prices: Vec<f64>,
    pub(super) rounds: u64,
    pub(super) passes: u32,
}

/// Share of what is left of the budget that one priority may use.
const SHARE_OF_BUDGET: u64 = 2;

/// What a run of passes carries along.
struct Run<'a> {
    model: &'a Model,
    search: &'a mut Search,
    nodes_max: u64,
    rounds: u64,
    passes: u32,
}

/// Solves the model. `None` where no mix keeps the bounds: the minimums do not fit.
pub(super) fn solve(
    model: &Model,
    start: Option<&[u32]>,
    start_prices: &[f64],
    search: &mut Search,
    nodes_max: u64,
) -> Option<Outcome> {
    let start = start.map(|counts| by_group(model, counts));
    let mut run = Run { model, search, nodes_max, rounds: 0, passes: 0 };
    let shared: Vec<i64> = model.shared.iter().map(|limit| model.limits[*limit].most).collect();
    let whole = vec![LevelOutcome { shortfall: 0, bound: 0.0, proven: true }; model.levels.len()];
    let pass =
        Pass { cost: true, rows: vec![RowMode::Hard; model.needs.len()], limits: shared.clone() };
    let passed = run.pass(&pass, start.clone(), start_prices, false, SHARE_OF_BUDGET);
    if let Some(best) = passed.best.clone() {
        return Some(run.outcome(&pass, &best, &passed, whole));
    }
    let mut levels: Vec<LevelOutcome> = Vec::new();
    let mut known = start;
    for level in 0..model.levels.len() {
        let pass = pass_of(model, &shared, &levels, false);
        let passed = run.pass(&pass, known.take(), &[], true, SHARE_OF_BUDGET);
        let proven = passed.proven(1);
        let best = passed.best?;
        let bound = if proven { best.value as f64 } else { passed.bound.max(0.0) };
        levels.push(LevelOutcome { shortfall: best.value, bound, proven });
        debug_assert_eq!(levels.len(), level + 1);
        known = Some(best.counts);
    }
    let pass = pass_of(model, &shared, &levels, true);
    let passed = run.pass(&pass, known, start_prices, true, 1);
    let best = passed.best.clone()?;
    Some(run.outcome(&pass, &best, &passed, levels))
}

/// The pass after `done` levels: of the next level, or of cost.
fn pass_of(model: &Model, shared: &[i64], done: &[LevelOutcome], cost: bool) -> Pass {
    let mut limits = shared.to_vec();
    let mut modes = Vec::new();
    for level in done {
        if level.shortfall == 0 {
            modes.push(RowMode::Hard);
        } else {
            modes.push(RowMode::Limited(limits.len()));
            limits.push(level.shortfall);
        }
    }
    if !cost {
        modes.push(RowMode::Counted);
    }
    let mode = |level: i64| {
        let at = model.levels.iter().position(|known| *known == level);
        at.and_then(|at| modes.get(at).copied()).unwrap_or(RowMode::Ignored)
    };
    Pass { cost, rows: model.needs.iter().map(|need| mode(need.level)).collect(), limits }
}

impl Run<'_> {
    fn pass(
        &mut self,
        pass: &Pass,
        start: Option<Vec<Vec<i64>>>,
        prices: &[f64],
        thorough: bool,
        share: u64,
    ) -> Passed {
        self.passes += 1;
        let left = self.nodes_max.saturating_sub(self.search.nodes);
        self.search.nodes_max = self.search.nodes + (left / share).max(1);
        let groups = self.model.groups.iter();
        let parts = groups.map(|group| Part::new(self.model, group, pass)).collect();
        let (unit, value_max) = (unit(self.model, pass), value_max(self.model, pass));
        let mut solver = Solver { parts, pass, unit, value_max, search: &mut *self.search };
        let passed = solver.solve(start, prices, thorough);
        self.rounds += passed.rounds;
        passed
    }

    fn outcome(
        &self,
        pass: &Pass,
        best: &Choice,
        passed: &Passed,
        levels: Vec<LevelOutcome>,
    ) -> Outcome {
        let cost_proven = passed.proven(unit(self.model, pass));
        let bound = if cost_proven { best.value as f64 } else { passed.bound.max(0.0) };
        Outcome {
            counts: by_offer(self.model, best),
            levels,
            bound,
            cost_proven,
            prices: passed.prices[..self.model.shared.len()].to_vec(),
            rounds: self.rounds,
            passes: self.passes,
        }
    }
}

/// What every value of a pass is a multiple of.
fn unit(model: &Model, pass: &Pass) -> i64 {
    if !pass.cost {
        return 1;
    }
    let amounts = model.offers.iter().flat_map(|offer| [offer.each, offer.start, offer.removal]);
    amounts.fold(0, greatest_common_divisor).max(1)
}

fn value_max(model: &Model, pass: &Pass) -> i64 {
    if pass.cost {
        let dearest = |offer: &super::model::Offer| {
            [offer.lo, offer.held.clamp(offer.lo, offer.hi), offer.hi]
                .into_iter()
                .map(|count| offer.value(count))
                .max()
                .unwrap_or(0)
        };
        return model.offers.iter().map(dearest).sum();
    }
    let counted = model.needs.iter().zip(&pass.rows).filter(|(_, m)| **m == RowMode::Counted);
    counted.map(|(need, _)| need.weight * SHORTFALL_STEPS).sum()
}

fn by_group(model: &Model, counts: &[u32]) -> Vec<Vec<i64>> {
    let count = |offer: &usize| i64::from(counts[*offer]);
    model.groups.iter().map(|group| group.offers.iter().map(count).collect()).collect()
}

fn by_offer(model: &Model, choice: &Choice) -> Vec<u32> {
    let mut counts = vec![0; model.offers.len()];
    for (group, chosen) in model.groups.iter().zip(&choice.counts) {
        for (offer, count) in group.offers.iter().zip(chosen) {
            counts[*offer] = u32::try_from(*count).unwrap_or(0);
        }
    }
    counts
}
