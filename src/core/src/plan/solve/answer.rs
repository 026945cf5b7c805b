//! From whole numbers back to dollars and names.

use super::Budget;
use super::alternatives;
use super::binding;
use super::instance::{FleetAsk, Instance};
use super::levels::{LevelOutcome, Outcome};
use super::model::{LimitOf, MICROS, Model, SHORTFALL_STEPS, missing_steps};
use super::search::Search;
use super::solution::{FleetMix, Level, PoolUse, RowCover, Solution, VariantMix, Work};

pub(super) fn dollars(micros: i64) -> f64 {
    micros as f64 / MICROS
}

/// The empty mix, about which nothing is proven.
pub(super) fn nothing(model: &Model) -> Outcome {
    let counts: Vec<u32> = model.offers.iter().map(|offer| offer.lo).collect();
    let covered = model.covered(&counts);
    let short = |level: i64| -> i64 {
        let needs = model.needs.iter().zip(&covered).filter(|(need, _)| need.level == level);
        needs.map(|(need, covered)| need.weight * missing_steps(*covered)).sum()
    };
    let levels = model.levels.iter();
    Outcome {
        levels: levels
            .map(|level| LevelOutcome { shortfall: short(*level), bound: 0.0, proven: false })
            .collect(),
        bound: 0.0,
        cost_proven: false,
        prices: vec![0.0; model.shared.len()],
        rounds: 0,
        passes: 0,
        counts,
    }
}

/// Writes the answer.
pub(super) fn answer(
    instance: &Instance,
    model: &Model,
    outcome: &Outcome,
    search: &mut Search,
    budget: Budget,
) -> Solution {
    let counts = &outcome.counts;
    let covered = model.covered(counts);
    let objective = model.value(counts);
    let binding = binding::binding(instance, model, outcome, &covered);
    let mut fleets = Vec::with_capacity(instance.fleets.len());
    for (index, fleet) in instance.fleets.iter().enumerate() {
        fleets.push(fleet_mix(model, index, fleet, counts, &covered));
    }
    let nodes = search.nodes;
    if budget.alternatives > 0 {
        for (index, fleet) in fleets.iter_mut().enumerate() {
            fleet.alternatives = alternatives::alternatives(
                instance, model, counts, &covered, index, search, budget,
            );
        }
    }
    let gap = ((objective as f64 - outcome.bound) / (objective as f64).abs().max(1.0)).max(0.0);
    Solution {
        optimal: outcome.cost_proven && outcome.levels.iter().all(|level| level.proven),
        cost_per_hour: fleets.iter().map(|fleet| fleet.cost_per_hour).sum(),
        one_off_cost: fleets.iter().map(|fleet| fleet.one_off_cost).sum(),
        objective: dollars(objective),
        lower_bound: outcome.bound.min(objective as f64) / MICROS,
        gap: if outcome.cost_proven { 0.0 } else { gap },
        minimums_fit: model.minimums_fit,
        levels: levels(model, outcome),
        pools: pools(instance, model, outcome),
        fleets,
        binding,
        work: Work { nodes, price_rounds: outcome.rounds, passes: outcome.passes },
    }
}

fn levels(model: &Model, outcome: &Outcome) -> Vec<Level> {
    let pairs = model.levels.iter().zip(&outcome.levels);
    pairs
        .map(|(level, found)| {
            let share = model.weight_units[level] / SHORTFALL_STEPS as f64;
            Level {
                priority: Model::priority(*level),
                shortfall: found.shortfall as f64 * share,
                lower_bound: found.bound * share,
            }
        })
        .collect()
}

fn fleet_mix(
    model: &Model,
    index: usize,
    fleet: &FleetAsk,
    counts: &[u32],
    covered: &[i64],
) -> FleetMix {
    let first = model.first_offer[index];
    let range = first..model.first_offer[index + 1];
    let bill = |offer: usize| model.offers[offer].bill * i64::from(counts[offer]);
    let variants = fleet.variants.iter().enumerate().map(|(offset, variant)| VariantMix {
        name: variant.name.clone(),
        replicas: counts[first + offset],
        held: variant.held,
        cost_per_hour: dollars(bill(first + offset)),
        price_assumed: model.offers[first + offset].price_assumed,
    });
    let rows = fleet.rows.iter().enumerate().map(|(offset, row)| {
        let units = covered[model.first_need[index] + offset];
        let each = |(offset, variant): (usize, &super::instance::VariantOffer)| {
            let counted = model.offers[first + offset].counted(counts[first + offset]);
            variant.covers.get(&row.name).copied().unwrap_or(0.0) * counted as f64
        };
        let covered: f64 = fleet.variants.iter().enumerate().map(each).sum();
        let short = missing_steps(units) > 0;
        RowCover {
            name: row.name.clone(),
            priority: fleet.priority_of(row),
            need: row.need,
            covered,
            shortfall: if short { (1.0 - covered / row.need).max(0.0) } else { 0.0 },
        }
    });
    FleetMix {
        name: fleet.name.clone(),
        cost_per_hour: dollars(range.clone().map(bill).sum()),
        one_off_cost: dollars(range.clone().map(|o| model.offers[o].one_off(counts[o])).sum()),
        objective: dollars(range.map(|o| model.offers[o].value(counts[o])).sum()),
        variants: variants.collect(),
        rows: rows.collect(),
        alternatives: Vec::new(),
    }
}

fn pools(instance: &Instance, model: &Model, outcome: &Outcome) -> Vec<PoolUse> {
    let price = |name: &str| {
        let shared = model.shared.iter().zip(&outcome.prices);
        let of =
            |limit: &usize| matches!(&model.limits[*limit].of, LimitOf::Pool(pool) if pool == name);
        let price = shared.filter(|(limit, _)| of(limit)).map(|(_, price)| *price).next();
        price.unwrap_or(0.0) / MICROS / instance.horizon_hours
    };
    let used = |name: &str| {
        let variants = instance.fleets.iter().flat_map(|fleet| &fleet.variants);
        let each = variants.zip(&outcome.counts).map(|(variant, count)| {
            u64::from(variant.uses.get(name).copied().unwrap_or(0)) * u64::from(*count)
        });
        each.sum::<u64>()
    };
    instance
        .pools
        .iter()
        .map(|(name, quota)| PoolUse {
            name: name.clone(),
            used: used(name),
            quota: *quota,
            price_per_hour: price(name),
        })
        .collect()
}
