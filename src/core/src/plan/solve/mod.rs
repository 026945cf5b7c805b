//! The exact least-cost fleet mix: how many replicas of each variant cover what every fleet needs,
//! within pools that the fleets share.
//!
//! What is minimised, in this order: the shortfall of the highest priority (sum over its rows of
//! weight times the share that is missing, each share rounded up to 0.001), then of the next, ...,
//! and at last `(cost + reclaim risk) per hour x horizon + start-ups + removals`. All sums are in
//! whole numbers (millionths of a dollar, parts of a need), so that equal is equal.
//!
//! How: prices on the shared limits part the fleets ([`prices`]); a fleet at given prices is a
//! depth-first search under a bound of its own ([`search`], [`worth`]); where the prices leave a
//! gap, the few mixes that lie within it are listed, and one sweep over the fleets finds the best
//! choice among them ([`sweep`]). Nothing is cut off that could be better, so that a gap of 0 is a
//! proof; a budget in partial mixes looked at, not in time, ends it early with the gap reached.
//!
//! A price that is unknown buys nothing. Minimums that do not fit are served like rows above every
//! priority. Maxima, pools and cost limits are never broken.

mod alternatives;
mod answer;
mod binding;
mod check;
mod columns;
mod group;
mod instance;
mod levels;
mod model;
mod part;
mod pass;
mod prices;
mod search;
mod solution;
mod sweep;
#[cfg(test)]
mod tests;
mod worth;

pub use check::{
    ACCELERATORS_MAX, FLEETS_MAX, HORIZON_MAX, InstanceError, MONEY_MAX, REPLICAS_MAX, ROWS_MAX,
    VARIANTS_MAX, WEIGHT_MAX,
};
pub use instance::{FleetAsk, Instance, ParseError, RatioPart, Row, VariantOffer};
pub use solution::{
    Alternative, Binding, BindingKind, FleetMix, Level, Plan, PoolUse, RowCover, Solution,
    VariantMix, Work,
};

use model::{LimitOf, MICROS, Model};
use search::Search;

/// What a solve may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Partial mixes that may be looked at; some 20 to 50 million a second.
    pub nodes: u64,
    /// Alternatives to list for each fleet; 0 saves their search.
    pub alternatives: usize,
}

impl Default for Budget {
    /// About a second, and three alternatives.
    fn default() -> Self {
        Self { nodes: 20_000_000, alternatives: 3 }
    }
}

impl Budget {
    /// A budget of so many partial mixes, without alternatives.
    #[must_use]
    pub const fn nodes(nodes: u64) -> Self {
        Self { nodes, alternatives: 0 }
    }
}

/// Finds the least-cost mix. `start` is the plan of an earlier solve of a like instance; it makes
/// the search faster and never changes what is proven.
///
/// # Errors
/// The first thing that is wrong with the instance. An instance that cannot be served in full is
/// not wrong: its shortfalls are in the answer.
pub fn solve(
    instance: &Instance,
    start: Option<&Plan>,
    budget: Budget,
) -> Result<Solution, InstanceError> {
    check::check(instance)?;
    let mut search = Search::default();
    let mut model = Model::new(instance, true);
    let mut outcome = None;
    if model.minimums_keep_limits() {
        outcome = attempt(instance, &model, start, &mut search, budget);
    }
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => {
            model = Model::new(instance, false);
            // Nothing at all is always allowed then.
            let nothing = || answer::nothing(&model);
            attempt(instance, &model, start, &mut search, budget).unwrap_or_else(nothing)
        }
    };
    Ok(answer::answer(instance, &model, &outcome, &mut search, budget))
}

fn attempt(
    instance: &Instance,
    model: &Model,
    start: Option<&Plan>,
    search: &mut Search,
    budget: Budget,
) -> Option<levels::Outcome> {
    let counts = start.and_then(|plan| counts_of(instance, model, plan));
    let prices: Vec<f64> = model
        .shared
        .iter()
        .map(|limit| match (&model.limits[*limit].of, start) {
            (LimitOf::Pool(pool), Some(plan)) => {
                let price = plan.prices.get(pool).copied().unwrap_or(0.0);
                price.clamp(0.0, MONEY_MAX) * MICROS * instance.horizon_hours
            }
            _ => 0.0,
        })
        .collect();
    levels::solve(model, counts.as_deref(), &prices, search, budget.nodes)
}

/// The replicas of an earlier plan, moved into today's bounds; those it does not know stay as held.
fn counts_of(instance: &Instance, model: &Model, plan: &Plan) -> Option<Vec<u32>> {
    let mut counts = Vec::with_capacity(model.offers.len());
    for fleet in &instance.fleets {
        let known = plan.replicas.get(&fleet.name);
        for variant in &fleet.variants {
            let offer = &model.offers[counts.len()];
            let count = known.and_then(|k| k.get(&variant.name)).copied().unwrap_or(variant.held);
            counts.push(count.clamp(offer.lo, offer.hi));
        }
    }
    (!plan.replicas.is_empty()).then_some(counts)
}
