//! The instance in whole numbers: money in millionths of a dollar, coverage in parts of a need, so
//! that sums are exact and two mixes are equal or not.

use std::collections::BTreeMap;

use super::group::{Group, GroupRow, Linear, split};
use super::instance::{FleetAsk, Instance, VariantOffer};

/// Millionths of a dollar.
pub(super) const MICROS: f64 = 1e6;
/// One row's need, in the unit in which coverage is counted.
pub(super) const NEED: i64 = 1_000_000_000_000;
/// Coverage that may be missing for rounding: three thirds are a whole.
const ROUNDING: i64 = 10_000;
/// Steps in which a shortfall counts: thousandths, finer than any estimate of capacity.
pub(super) const SHORTFALL_STEPS: i64 = 1_000;
/// Weights count in thousandths.
const WEIGHT_STEPS: f64 = 1_000.0;
/// Level of minimums that do not fit: above any priority.
const MINIMUMS: i64 = i64::MAX;

/// Steps of a need that a coverage leaves open.
pub(super) fn missing_steps(covered: i64) -> i64 {
    let open = NEED - ROUNDING - covered;
    if open <= 0 { 0 } else { (open - 1) / (NEED / SHORTFALL_STEPS) + 1 }
}

/// Coverage that counts as whole.
pub(super) const ENOUGH: i64 = NEED - ROUNDING;

/// One variant with its bounds and costs.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    pub(super) fleet: usize,
    pub(super) lo: u32,
    pub(super) hi: u32,
    pub(super) held: u32,
    pub(super) spare: u32,
    /// Objective per replica.
    pub(super) each: i64,
    /// Objective once per replica above those held.
    pub(super) start: i64,
    /// Objective once per replica below those held.
    pub(super) removal: i64,
    /// Bill per replica and hour.
    pub(super) bill: i64,
    pub(super) price_assumed: bool,
    /// Coverage per replica by row.
    pub(super) covers: Vec<(usize, i64)>,
}

impl Offer {
    /// What `count` replicas add to the objective.
    pub(super) fn value(&self, count: u32) -> i64 {
        self.each * i64::from(count) + self.one_off(count)
    }

    /// The part of it that is paid once.
    pub(super) fn one_off(&self, count: u32) -> i64 {
        self.start * i64::from(count.saturating_sub(self.held))
            + self.removal * i64::from(self.held.saturating_sub(count))
    }

    /// Replicas that count towards coverage.
    pub(super) fn counted(&self, count: u32) -> i64 {
        i64::from(count.saturating_sub(self.spare))
    }

    /// Coverage of a row by so many replicas; towards a minimum, spares count as well.
    pub(super) fn covered(&self, need: &Need, each: i64, count: u32) -> i64 {
        each * if need.level == MINIMUMS { i64::from(count) } else { self.counted(count) }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) fleet: usize,
    /// Its level: a priority, or [`MINIMUMS`].
    pub(super) level: i64,
    pub(super) weight: i64,
}

/// What a limit is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LimitOf {
    Pool(String),
    Cost,
    FleetCost(usize),
    FleetPool(usize, String),
}

/// A limit over variants.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) of: LimitOf,
    pub(super) most: i64,
    /// What one replica takes, by variant; only those above 0.
    pub(super) takes: Vec<(usize, i64)>,
}

impl Limit {
    /// What a mix takes.
    pub(super) fn taken(&self, counts: &[u32]) -> i64 {
        self.takes.iter().map(|(offer, each)| each * i64::from(counts[*offer])).sum()
    }
}

/// The instance, ready for search.
#[derive(Debug)]
pub(super) struct Model {
    /// Variants of all fleets, in the order of the instance.
    pub(super) offers: Vec<Offer>,
    /// First variant of each fleet, and their number at the end.
    pub(super) first_offer: Vec<usize>,
    /// Rows of all fleets, in the order of the instance; minimums after them.
    pub(super) needs: Vec<Need>,
    /// First row of each fleet, and their number at the end.
    pub(super) first_need: Vec<usize>,
    /// Every limit that could bind.
    pub(super) limits: Vec<Limit>,
    /// Limits that tie groups together.
    pub(super) shared: Vec<usize>,
    pub(super) groups: Vec<Group>,
    /// Distinct levels, the highest first.
    pub(super) levels: Vec<i64>,
    /// What one step of a level's shortfall is in weight, by level.
    pub(super) weight_units: BTreeMap<i64, f64>,
    pub(super) minimums_fit: bool,
}

fn micros(amount: f64) -> i64 {
    (amount * MICROS).round() as i64
}

impl Model {
    /// Builds it. With `minimums_fit` false the minimums are rows above every priority instead of
    /// bounds, so that there is an answer in any case.
    pub(super) fn new(instance: &Instance, minimums_fit: bool) -> Self {
        let mut model = Self {
            offers: Vec::new(),
            first_offer: vec![0],
            needs: Vec::new(),
            first_need: vec![0],
            limits: Vec::new(),
            shared: Vec::new(),
            groups: Vec::new(),
            levels: Vec::new(),
            weight_units: BTreeMap::new(),
            minimums_fit,
        };
        let dearest = dearest_per_accelerator(instance);
        for (index, fleet) in instance.fleets.iter().enumerate() {
            let first = model.needs.len();
            model.needs.extend(fleet.rows.iter().map(|row| Need {
                fleet: index,
                level: i64::from(fleet.priority_of(row)),
                weight: ((row.weight * WEIGHT_STEPS).round() as i64).max(1),
            }));
            for variant in &fleet.variants {
                let offer = offer(instance, fleet, variant, dearest, first);
                model.offers.push(Offer { fleet: index, ..offer });
            }
            model.first_need.push(model.needs.len());
            model.first_offer.push(model.offers.len());
        }
        if !minimums_fit {
            model.minimums_to_rows();
        }
        for (index, fleet) in instance.fleets.iter().enumerate() {
            for offer in model.first_offer[index]..model.first_offer[index + 1] {
                if fleet.ratio.is_empty() {
                    tighten(&mut model.offers[offer]);
                }
            }
        }
        model.simplify_weights();
        model.levels = model.needs.iter().map(|need| need.level).collect();
        model.levels.sort_unstable_by(|left, right| right.cmp(left));
        model.levels.dedup();
        model.limits = limits(instance, &model);
        split(instance, &mut model);
        model
    }

    fn minimums_to_rows(&mut self) {
        for index in 0..self.offers.len() {
            let offer = &mut self.offers[index];
            if offer.lo > 0 {
                offer.covers.push((self.needs.len(), NEED / i64::from(offer.lo)));
                self.needs.push(Need {
                    fleet: offer.fleet,
                    level: MINIMUMS,
                    weight: WEIGHT_STEPS as i64,
                });
                offer.lo = 0;
            }
        }
    }

    /// Divides weights by what they have in common, level by level.
    fn simplify_weights(&mut self) {
        let mut common: BTreeMap<i64, i64> = BTreeMap::new();
        for need in &self.needs {
            let entry = common.entry(need.level).or_insert(0);
            *entry = greatest_common_divisor(*entry, need.weight);
        }
        for need in &mut self.needs {
            need.weight /= common[&need.level].max(1);
        }
        let units = common.into_iter().map(|(level, weight)| (level, weight as f64 / WEIGHT_STEPS));
        self.weight_units = units.collect();
    }

    /// Whether all variants at their minimums keep every limit.
    pub(super) fn minimums_keep_limits(&self) -> bool {
        let least: Vec<u32> = self.offers.iter().map(|offer| offer.lo).collect();
        self.limits.iter().all(|limit| limit.taken(&least) <= limit.most)
    }

    /// Coverage of every row by a mix.
    pub(super) fn covered(&self, counts: &[u32]) -> Vec<i64> {
        let mut covered = vec![0; self.needs.len()];
        for (offer, count) in self.offers.iter().zip(counts) {
            for (row, each) in &offer.covers {
                covered[*row] += offer.covered(&self.needs[*row], *each, *count);
            }
        }
        covered
    }

    /// Objective of a mix.
    pub(super) fn value(&self, counts: &[u32]) -> i64 {
        self.offers.iter().zip(counts).map(|(offer, count)| offer.value(*count)).sum()
    }

    /// Whether spares count towards a row: it is a minimum.
    pub(super) fn counts_spares(&self, row: usize) -> bool {
        self.needs[row].level == MINIMUMS
    }

    /// The priority of a level; `None` for minimums.
    pub(super) fn priority(level: i64) -> Option<i32> {
        i32::try_from(level).ok()
    }
}

fn offer(
    instance: &Instance,
    fleet: &FleetAsk,
    variant: &VariantOffer,
    dearest: f64,
    first_need: usize,
) -> Offer {
    let accelerators: u32 = variant.uses.values().sum();
    let (price, assumed) = match variant.price_per_hour {
        Some(price) => (price.0, false),
        None => (dearest * f64::from(accelerators.max(1)), true),
    };
    let mut most = variant.max.min(variant.most_available.unwrap_or(u32::MAX));
    if assumed {
        most = most.min(variant.held);
    }
    let covers = fleet.rows.iter().enumerate().filter_map(|(index, row)| {
        let share = variant.covers.get(&row.name)? / row.need;
        let share = ((share * NEED as f64).round() as i64).min(NEED);
        (share > 0).then_some((first_need + index, share))
    });
    Offer {
        fleet: 0,
        lo: variant.min.min(most),
        hi: most,
        held: variant.held,
        spare: variant.spare,
        each: micros((price + variant.reclaim_risk_per_hour.0) * instance.horizon_hours),
        start: micros(variant.start_cost),
        removal: micros(variant.removal_cost),
        bill: micros(price),
        price_assumed: assumed,
        covers: covers.collect(),
    }
}

/// The dearest price known, $ per accelerator and hour; 1 where none is known, so that fewer are
/// better than more.
fn dearest_per_accelerator(instance: &Instance) -> f64 {
    let variants = instance.fleets.iter().flat_map(|fleet| &fleet.variants);
    let prices = variants.filter_map(|variant| {
        let accelerators: u32 = variant.uses.values().sum();
        Some(variant.price_per_hour?.0 / f64::from(accelerators.max(1)))
    });
    let dearest = prices.fold(0.0, f64::max);
    if dearest > 0.0 { dearest } else { 1.0 }
}

/// Lowers the maximum to what can be of use: enough for every row alone, or what is cheaper to
/// keep than to remove.
fn tighten(offer: &mut Offer) {
    let alone = |each: i64| u32::try_from((ENOUGH - 1) / each + 1).unwrap_or(u32::MAX);
    let useful = offer.covers.iter().map(|(_, each)| alone(*each)).max();
    let useful = useful.map_or(0, |count| count.saturating_add(offer.spare));
    let kept = if offer.each < offer.removal { offer.held } else { 0 };
    offer.hi = offer.hi.min(useful.max(kept).max(offer.lo));
}

/// Every limit that the variants could break.
fn limits(instance: &Instance, model: &Model) -> Vec<Limit> {
    let takes_of = |fleet: Option<usize>, pool: &str| -> Vec<(usize, i64)> {
        let mut takes = Vec::new();
        for (index, ask) in instance.fleets.iter().enumerate() {
            if fleet.is_none_or(|only| only == index) {
                for (offset, variant) in ask.variants.iter().enumerate() {
                    let each = variant.uses.get(pool).copied().unwrap_or(0);
                    if each > 0 {
                        takes.push((model.first_offer[index] + offset, i64::from(each)));
                    }
                }
            }
        }
        takes
    };
    let bills = |fleet: Option<usize>| -> Vec<(usize, i64)> {
        let offers = model.offers.iter().enumerate();
        let of = offers.filter(|(_, offer)| fleet.is_none_or(|only| only == offer.fleet));
        of.filter(|(_, offer)| offer.bill > 0).map(|(index, offer)| (index, offer.bill)).collect()
    };
    // A limit of a million $ is one of a million $, whatever the last digit of a float says.
    let money = |limit: f64| (limit * MICROS).round().min(i64::MAX as f64 / 4.0) as i64;
    let mut limits = Vec::new();
    for (name, quota) in &instance.pools {
        if let Some(quota) = quota {
            let (of, most) = (LimitOf::Pool(name.clone()), i64::from(*quota));
            limits.push(Limit { of, most, takes: takes_of(None, name) });
        }
    }
    if let Some(limit) = instance.max_cost_per_hour {
        limits.push(Limit { of: LimitOf::Cost, most: money(limit.0), takes: bills(None) });
    }
    for (index, fleet) in instance.fleets.iter().enumerate() {
        if let Some(limit) = fleet.max_cost_per_hour {
            let takes = bills(Some(index));
            limits.push(Limit { of: LimitOf::FleetCost(index), most: money(limit.0), takes });
        }
        for (pool, most) in &fleet.accelerators_max {
            let of = LimitOf::FleetPool(index, pool.clone());
            limits.push(Limit { of, most: i64::from(*most), takes: takes_of(Some(index), pool) });
        }
    }
    let all: Vec<u32> = model.offers.iter().map(|offer| offer.hi).collect();
    limits.retain(|limit| limit.taken(&all) > limit.most);
    limits
}

pub(super) fn greatest_common_divisor(left: i64, right: i64) -> i64 {
    let (mut left, mut right) = (left.abs(), right.abs());
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

impl GroupRow {
    /// A row of a group with what each of its variants covers.
    pub(super) fn new(row: usize, offers: &[usize], model: &Model) -> Self {
        let each = |offer: &usize| {
            let covers = &model.offers[*offer].covers;
            covers.iter().find(|(covered, _)| *covered == row).map_or(0, |(_, each)| *each)
        };
        Self { row, each: offers.iter().map(each).collect() }
    }
}

impl Linear {
    /// A limit as a group sees it.
    pub(super) fn new(limit: &Limit, offers: &[usize]) -> Self {
        let each = |offer: &usize| {
            let at = limit.takes.binary_search_by_key(offer, |(taker, _)| *taker);
            at.map_or(0, |at| limit.takes[at].1)
        };
        Self { each: offers.iter().map(each).collect(), bound: limit.most }
    }
}
