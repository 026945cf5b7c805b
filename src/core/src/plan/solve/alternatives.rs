//! The next best mixes of one fleet: the best of each other set of variants.
//!
//! Sets are told apart by splitting on one variant after the other (used, not used), so that the
//! list is exact as long as the budget lasts, without looking at all sets.

use std::collections::BTreeMap;

use super::Budget;
use super::answer::dollars;
use super::instance::Instance;
use super::model::{ENOUGH, Model};
use super::part::{Part, PartOffer, PartRow, RowMode};
use super::search::Search;
use super::solution::Alternative;

/// Partial mixes that the alternatives of one fleet may take.
const NODES_MAX: u64 = 200_000;
/// One part in so many of the whole budget that they may take: they explain, they do not decide.
const BUDGET_SHARE: u64 = 10;
/// Rounds of prices on the rows before a search: each takes microseconds and cuts off thousands of
/// mixes.
const PRICE_ROUNDS: usize = 4;
/// Sets of variants that are looked into for each alternative asked for.
const SPLITS_PER_ALTERNATIVE: usize = 4;

/// A set of sets of variants: the first so many are settled as in `counts`, the next one differs.
struct Branch {
    /// Whether each variant must be used, must not, or may be.
    used: Vec<Option<bool>>,
    /// Its best mix.
    counts: Vec<i64>,
    value: i64,
}

/// Alternatives of a fleet, cheapest first, holding as much as `counts` does with what all other
/// fleets leave.
pub(super) fn alternatives(
    instance: &Instance,
    model: &Model,
    counts: &[u32],
    covered: &[i64],
    fleet: usize,
    search: &mut Search,
    budget: Budget,
) -> Vec<Alternative> {
    let asked = budget.alternatives;
    let part = whole_fleet(model, counts, covered, fleet);
    let first = model.first_offer[fleet];
    let names = &instance.fleets[fleet].variants;
    let chosen: Vec<i64> = (0..names.len()).map(|v| i64::from(counts[first + v])).collect();
    let nodes = search.nodes;
    search.nodes_max = nodes + NODES_MAX.min(budget.nodes / BUDGET_SHARE).max(1);
    let mut found = Vec::new();
    let mut open = Vec::new();
    let root = Branch { used: vec![None; names.len()], counts: chosen, value: i64::MIN };
    split(&part, &root, search, &mut open);
    for _ in 0..asked * SPLITS_PER_ALTERNATIVE {
        let next = (0..open.len()).min_by_key(|at| {
            let branch: &Branch = &open[*at];
            (branch.value, branch.counts.clone())
        });
        let Some(next) = next else { break };
        let branch = open.swap_remove(next);
        split(&part, &branch, search, &mut open);
        found.push(branch);
        if found.len() == asked {
            break;
        }
    }
    search.nodes = nodes;
    found.iter().map(|branch| alternative(model, first, instance, fleet, &branch.counts)).collect()
}

fn alternative(
    model: &Model,
    first: usize,
    instance: &Instance,
    fleet: usize,
    counts: &[i64],
) -> Alternative {
    let mut replicas = BTreeMap::new();
    let (mut bill, mut one_off, mut value) = (0, 0, 0);
    for (v, count) in counts.iter().enumerate() {
        let count = u32::try_from(*count).unwrap_or(0);
        let offer = &model.offers[first + v];
        bill += offer.bill * i64::from(count);
        one_off += offer.one_off(count);
        value += offer.value(count);
        if count > 0 {
            replicas.insert(instance.fleets[fleet].variants[v].name.clone(), count);
        }
    }
    Alternative {
        replicas,
        cost_per_hour: dollars(bill),
        one_off_cost: dollars(one_off),
        objective: dollars(value),
    }
}

/// Divides what a branch may choose, other than the set of its best mix, into branches.
fn split(part: &Part, branch: &Branch, search: &mut Search, open: &mut Vec<Branch>) {
    let mut used = branch.used.clone();
    for v in 0..used.len() {
        if used[v].is_some() {
            continue;
        }
        let now = branch.counts[v] > 0;
        used[v] = Some(!now);
        if let Some((counts, value)) = best(part, &used, search) {
            open.push(Branch { used: used.clone(), counts, value });
        }
        used[v] = Some(now);
    }
}

/// The best mix in which no replica is idle, with some variants forced in or out.
fn best(part: &Part, used: &[Option<bool>], search: &mut Search) -> Option<(Vec<i64>, i64)> {
    let mut forced = part.clone();
    for (offer, used) in forced.offers.iter_mut().zip(used) {
        match used {
            Some(true) => offer.lo = offer.lo.max(1 + offer.spare),
            Some(false) => offer.hi = 0,
            None => (),
        }
        if offer.lo > offer.hi {
            return None;
        }
        offer.kept = offer.kept.max(offer.lo);
    }
    let mut worths = Vec::new();
    for _ in 0..PRICE_ROUNDS {
        // Nothing lies below this: only the prices improve.
        search.run(&forced, &[], &mut worths, f64::NEG_INFINITY, &mut |_| f64::NEG_INFINITY);
    }
    let mut found = None;
    let mut cutoff = f64::INFINITY;
    search.run(&forced, &[], &mut worths, f64::INFINITY, &mut |mix| {
        if !idle(part, mix.counts) {
            found = Some((mix.counts.to_vec(), mix.value));
            cutoff = mix.reduced;
        }
        cutoff
    });
    found
}

/// Whether a replica could go without anything missing, for less money.
fn idle(part: &Part, counts: &[i64]) -> bool {
    let mut fewer = counts.to_vec();
    part.offers.iter().enumerate().any(|(v, offer)| {
        if counts[v] <= offer.lo || offer.value(counts[v] - 1) >= offer.value(counts[v]) {
            return false;
        }
        fewer[v] -= 1;
        let allowed = part.allows(&fewer);
        fewer[v] += 1;
        allowed
    })
}

/// All of a fleet as one part, asked to cover what it covers now, in the room that it has.
fn whole_fleet(model: &Model, counts: &[u32], covered: &[i64], fleet: usize) -> Part {
    let first = model.first_offer[fleet];
    let variants = model.first_offer[fleet + 1] - first;
    let offers = model.offers[first..first + variants].iter().map(|offer| {
        let held = i64::from(offer.held);
        let kept = if offer.each < offer.removal { held.min(i64::from(offer.hi)) } else { 0 };
        PartOffer {
            lo: i64::from(offer.lo),
            hi: i64::from(offer.hi),
            held,
            spare: i64::from(offer.spare),
            each: offer.each,
            start: offer.start,
            removal: offer.removal,
            kept: kept.max(i64::from(offer.lo)),
            bound: false,
        }
    });
    let mut part = Part {
        offers: offers.collect(),
        rows: Vec::new(),
        limits: Vec::new(),
        ratio: Vec::new(),
        takes: Vec::new(),
        shared: 0,
    };
    for (row, need) in model.needs.iter().enumerate().filter(|(_, need)| need.fleet == fleet) {
        let each = |offer: &super::model::Offer| {
            offer.covers.iter().find(|(covered, _)| *covered == row).map_or(0, |(_, each)| *each)
        };
        part.rows.push(PartRow {
            each: model.offers[first..first + variants].iter().map(each).collect(),
            mode: RowMode::Hard,
            weight: need.weight,
            need: covered[row].min(ENOUGH),
            counts_spares: model.counts_spares(row),
        });
    }
    for limit in &model.limits {
        let own = |offer: usize| (first..first + variants).contains(&offer);
        if !limit.takes.iter().any(|(offer, _)| own(*offer)) {
            continue;
        }
        let mut each = vec![0; variants];
        let mut most = limit.most;
        for (offer, taken) in &limit.takes {
            if own(*offer) {
                each[offer - first] = *taken;
            } else {
                most -= taken * i64::from(counts[*offer]);
            }
        }
        part.limits.push((each, most));
    }
    for group in &model.groups {
        let own = (first..first + variants).contains(&group.offers[0]);
        for ratio in group.ratio.iter().filter(|_| own) {
            let mut each = vec![0; variants];
            for (offer, counts) in group.offers.iter().zip(&ratio.each) {
                each[offer - first] = *counts;
                part.offers[offer - first].bound |= *counts > 0;
            }
            part.ratio.push((each, ratio.bound));
        }
    }
    part
}
