//! Prices on the shared limits: the multipliers under which the groups decide apart, raised where
//! their decisions together take too much and lowered where room is left.

use super::columns::Columns;
use super::pass::{Choice, Solver, closed};
use super::search::slack;

/// Rounds at most.
const ROUNDS: u64 = 80;
/// Rounds without a better bound before the step is halved.
const PATIENCE: u32 = 4;
/// Step at which prices count as settled.
const STEP_LEAST: f64 = 0.02;
/// How far above the bound the optimum is thought to be while no choice is known.
const GUESS: f64 = 0.02;

/// Prices and what they prove.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    pub(super) prices: Vec<f64>,
    /// No choice has a lower value.
    pub(super) bound: f64,
    /// Least reduced value of each group at these prices.
    pub(super) least: Vec<f64>,
    /// Prices inside each group, a start for the next search.
    pub(super) worths: Vec<Vec<f64>>,
    pub(super) rounds: u64,
}

impl Prices {
    pub(super) fn new(prices: Vec<f64>) -> Self {
        Self { prices, bound: f64::NEG_INFINITY, least: Vec::new(), worths: Vec::new(), rounds: 0 }
    }
}

/// One evaluation of all groups at prices.
struct Evaluated {
    bound: f64,
    least: Vec<f64>,
    chosen: Vec<usize>,
    taken: Vec<i64>,
}

/// Searches prices whose bound is high. Keeps every group's mixes that it meets in `pool`, and the
/// best choice that happens to fit.
pub(super) fn ascend(
    solver: &mut Solver<'_>,
    limits: &[i64],
    pool: &mut [Columns],
    best: &mut Option<Choice>,
    found: &mut Prices,
) {
    let mut worths: Vec<Vec<f64>> = vec![Vec::new(); solver.parts.len()];
    let mut at = found.prices.clone();
    at.resize(limits.len(), 0.0);
    let mut step = 1.0;
    let mut waited = 0;
    let mut scale: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        found.rounds += 1;
        let now = evaluate(solver, &at, limits, &mut worths, pool);
        if scale.is_empty() {
            scale = natural_scale(pool, &now, limits);
        }
        if now.bound > found.bound {
            let enough = now.bound - found.bound > 1e-4 * (now.bound.abs() + 1.0);
            waited = if enough { 0 } else { waited + 1 };
            found.bound = now.bound;
            found.prices.clone_from(&at);
            found.least.clone_from(&now.least);
            found.worths.clone_from(&worths);
        } else {
            waited += 1;
        }
        if now.bound == f64::INFINITY || found.bound > solver.value_max as f64 + 0.5 {
            // Some group has no mix at all, or any choice would cost more than all of everything.
            found.bound = f64::INFINITY;
            *best = None;
            return;
        }
        if now.bound == f64::NEG_INFINITY {
            return;
        }
        let over: Vec<i64> = now.taken.iter().zip(limits).map(|(t, limit)| t - limit).collect();
        if over.iter().all(|over| *over <= 0) {
            let counts = now.chosen.iter().zip(pool.iter()).map(|(c, columns)| columns.counts(*c));
            let value = now.chosen.iter().zip(pool.iter()).map(|(c, columns)| columns.values[*c]);
            let value: i64 = value.sum();
            if best.as_ref().is_none_or(|best| value < best.value) {
                let counts = counts.map(<[i64]>::to_vec).collect();
                *best = Some(Choice { value, counts });
            }
        }
        if best.as_ref().is_some_and(|best| closed(best.value, found.bound, solver.unit)) {
            return;
        }
        if solver.search.nodes >= solver.search.nodes_max {
            return;
        }
        if waited >= PATIENCE {
            step /= 2.0;
            waited = 0;
            at.clone_from(&found.prices);
            if step < STEP_LEAST {
                return;
            }
        }
        let goal = best
            .as_ref()
            .map_or(found.bound + GUESS * found.bound.abs() + 1.0, |best| best.value as f64);
        if !walk(&mut at, &over, &scale, step * (goal - now.bound)) {
            return;
        }
    }
}

/// A step along the excess demand. False where nothing is left to change.
fn walk(at: &mut [f64], over: &[i64], scale: &[f64], gain: f64) -> bool {
    let mut norm = 0.0;
    for (limit, over) in over.iter().enumerate() {
        if *over > 0 || at[limit] > 0.0 {
            norm += (*over as f64 * scale[limit]).powi(2);
        }
    }
    if norm <= 0.0 {
        return false;
    }
    for (limit, over) in over.iter().enumerate() {
        let moved = gain / norm * *over as f64 * scale[limit].powi(2);
        at[limit] = (at[limit] + moved).max(0.0);
    }
    true
}

/// What a unit of each limit is worth, about: all values spread over the limit.
fn natural_scale(pool: &[Columns], now: &Evaluated, limits: &[i64]) -> Vec<f64> {
    let values = now.chosen.iter().zip(pool).map(|(c, columns)| columns.values[*c].abs());
    let values = values.sum::<i64>().max(1) as f64;
    limits.iter().map(|limit| values / (*limit).max(1) as f64).collect()
}

fn evaluate(
    solver: &mut Solver<'_>,
    prices: &[f64],
    limits: &[i64],
    worths: &mut [Vec<f64>],
    pool: &mut [Columns],
) -> Evaluated {
    let mut now = Evaluated {
        bound: 0.0,
        least: Vec::with_capacity(pool.len()),
        chosen: Vec::with_capacity(pool.len()),
        taken: vec![0; limits.len()],
    };
    for (group, part) in solver.parts.iter().enumerate() {
        let known = pool[group].cheapest(prices);
        let mut chosen = known.map(|(column, _)| column);
        // What is known already need not be found again, but an equal one may be.
        let cutoff = known.map_or(f64::INFINITY, |(_, reduced)| reduced);
        let mut fresh: Option<(i64, Vec<i64>, Vec<i64>)> = None;
        let least = solver.search.run(part, prices, &mut worths[group], cutoff, &mut |mix| {
            fresh = Some((mix.value, mix.takes.to_vec(), mix.counts.to_vec()));
            mix.reduced
        });
        if let Some((value, takes, counts)) = fresh {
            chosen = Some(pool[group].push(value, &takes, &counts));
        }
        let Some(chosen) = chosen else {
            // Searched to the end, there is none; cut short, nothing is known.
            let cut = solver.search.nodes >= solver.search.nodes_max;
            now.bound = if cut { f64::NEG_INFINITY } else { f64::INFINITY };
            now.chosen.clear();
            return now;
        };
        let least = least.min(cutoff);
        now.bound += least - slack(least);
        now.least.push(least);
        now.chosen.push(chosen);
        for (sum, taken) in now.taken.iter_mut().zip(pool[group].takes(chosen)) {
            *sum += taken;
        }
    }
    for (price, limit) in prices.iter().zip(limits) {
        now.bound -= price * *limit as f64;
    }
    now
}
