//! What is wrong with an instance, where, and how to mend it.

use std::collections::BTreeSet;

use super::instance::{FleetAsk, Instance, Row, VariantOffer};

/// Most replicas of one variant: beyond any cluster, and small enough for exact sums.
pub const REPLICAS_MAX: u32 = 100_000;
/// Most fleets: ten times the largest platform known to us.
pub const FLEETS_MAX: usize = 10_000;
/// Most variants of one fleet; the search grows with their number.
pub const VARIANTS_MAX: usize = 64;
/// Most rows of one fleet.
pub const ROWS_MAX: usize = 64;
/// Most accelerators in a pool or in a replica.
pub const ACCELERATORS_MAX: u32 = 10_000_000;
/// Largest price or cost, $: sums over all replicas stay exact.
pub const MONEY_MAX: f64 = 1e6;
/// Longest horizon, hours: a year.
pub const HORIZON_MAX: f64 = 8_784.0;
/// Largest weight of a row, and one over the smallest.
pub const WEIGHT_MAX: f64 = 1e3;

/// One thing that is wrong with an instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}; {hint}")]
pub struct InstanceError {
    /// Path of the field, for instance `fleets[0].variants[2].max`.
    pub at: String,
    /// What is wrong there.
    pub what: String,
    /// How to mend it.
    pub hint: &'static str,
}

type Checked = Result<(), InstanceError>;

fn wrong(at: String, what: impl Into<String>, hint: &'static str) -> Checked {
    Err(InstanceError { at, what: what.into(), hint })
}

/// Finds the first thing that is wrong.
pub(super) fn check(instance: &Instance) -> Checked {
    let horizon = instance.horizon_hours;
    if !(horizon > 0.0 && horizon <= HORIZON_MAX) {
        let hint = "give the hours a plan is held for, more than 0 and at most a year";
        return wrong("horizonHours".into(), format!("{horizon} hours is no horizon"), hint);
    }
    if let Some(limit) = instance.max_cost_per_hour {
        amount(limit.0, "maxCostPerHour".into(), f64::MAX)?;
    }
    for (name, quota) in &instance.pools {
        count(quota.unwrap_or(0), ACCELERATORS_MAX, format!("pools.{name}"))?;
    }
    if instance.fleets.is_empty() {
        return wrong("fleets".into(), "there is no fleet", "name at least one fleet to plan for");
    }
    if instance.fleets.len() > FLEETS_MAX {
        let what = format!("{} fleets are more than {FLEETS_MAX}", instance.fleets.len());
        return wrong("fleets".into(), what, "split fleets that share no pool into two instances");
    }
    let mut names = BTreeSet::new();
    for (index, fleet) in instance.fleets.iter().enumerate() {
        let at = format!("fleets[{index}]");
        unique(&mut names, &fleet.name, format!("{at}.name"))?;
        check_fleet(instance, fleet, &at)?;
    }
    Ok(())
}

fn check_fleet(instance: &Instance, fleet: &FleetAsk, at: &str) -> Checked {
    let sizes =
        [("rows", fleet.rows.len(), ROWS_MAX), ("variants", fleet.variants.len(), VARIANTS_MAX)];
    for (field, len, most) in sizes {
        if len == 0 || len > most {
            let what = format!("`{}` has {len} {field}", fleet.name);
            let hint = "a fleet has 1 to 64 rows that need something and 1 to 64 variants";
            return wrong(format!("{at}.{field}"), what, hint);
        }
    }
    if let Some(limit) = fleet.max_cost_per_hour {
        amount(limit.0, format!("{at}.maxCostPerHour"), f64::MAX)?;
    }
    for (pool, most) in &fleet.accelerators_max {
        known_pool(instance, pool, format!("{at}.acceleratorsMax"))?;
        count(*most, ACCELERATORS_MAX, format!("{at}.acceleratorsMax.{pool}"))?;
    }
    let mut names = BTreeSet::new();
    for (index, row) in fleet.rows.iter().enumerate() {
        let at = format!("{at}.rows[{index}]");
        unique(&mut names, &row.name, format!("{at}.name"))?;
        check_row(row, &at)?;
    }
    let mut names = BTreeSet::new();
    for (index, variant) in fleet.variants.iter().enumerate() {
        let at = format!("{at}.variants[{index}]");
        unique(&mut names, &variant.name, format!("{at}.name"))?;
        check_variant(instance, fleet, variant, &at)?;
    }
    check_ratio(fleet, &names, at)
}

fn check_row(row: &Row, at: &str) -> Checked {
    if !(row.need > 0.0 && row.need.is_finite()) {
        let hint = "leave the row out where nothing is needed; unknown demand is not 0";
        return wrong(format!("{at}.need"), format!("{} is no need", row.need), hint);
    }
    if !(row.weight >= 1.0 / WEIGHT_MAX && row.weight <= WEIGHT_MAX) {
        let hint = "a weight lies between 0.001 and 1000; use priorities for more than that";
        return wrong(format!("{at}.weight"), format!("{} is no weight", row.weight), hint);
    }
    Ok(())
}

fn check_variant(
    instance: &Instance,
    fleet: &FleetAsk,
    variant: &VariantOffer,
    at: &str,
) -> Checked {
    if let Some(price) = variant.price_per_hour {
        amount(price.0, format!("{at}.pricePerHour"), MONEY_MAX)?;
    }
    amount(variant.reclaim_risk_per_hour.0, format!("{at}.reclaimRiskPerHour"), MONEY_MAX)?;
    amount(variant.start_cost, format!("{at}.startCost"), MONEY_MAX)?;
    amount(variant.removal_cost, format!("{at}.removalCost"), MONEY_MAX)?;
    for (field, value) in [("max", variant.max), ("held", variant.held), ("spare", variant.spare)] {
        count(value, REPLICAS_MAX, format!("{at}.{field}"))?;
    }
    if variant.min > variant.max {
        let what = format!("at least {} and at most {}", variant.min, variant.max);
        return wrong(format!("{at}.min"), what, "make min no larger than max");
    }
    for (row, share) in &variant.covers {
        let at = format!("{at}.covers.{row}");
        if !fleet.rows.iter().any(|known| known.name == *row) {
            let what = format!("`{}` has no row `{row}`", fleet.name);
            return wrong(at, what, "add the row, or take it out of covers");
        }
        if !(*share >= 0.0 && share.is_finite()) {
            let hint = "give what one replica covers: 0 or more; leave unknown rows out";
            return wrong(at, format!("{share} is no coverage"), hint);
        }
    }
    for (pool, number) in &variant.uses {
        known_pool(instance, pool, format!("{at}.uses"))?;
        count(*number, ACCELERATORS_MAX, format!("{at}.uses.{pool}"))?;
    }
    Ok(())
}

fn check_ratio(fleet: &FleetAsk, variants: &BTreeSet<&str>, at: &str) -> Checked {
    let mut named = BTreeSet::new();
    if fleet.ratio.len() == 1 {
        let hint = "name two parts or more, for instance prefill and decode, or none";
        return wrong(format!("{at}.ratio"), "one part is no ratio", hint);
    }
    for (index, part) in fleet.ratio.iter().enumerate() {
        let at = format!("{at}.ratio[{index}]");
        if part.replicas == 0 || part.replicas > REPLICAS_MAX {
            let what = format!("{} replicas in a unit", part.replicas);
            return wrong(format!("{at}.replicas"), what, "give each part 1 replica or more");
        }
        if part.variants.is_empty() {
            return wrong(format!("{at}.variants"), "no variant", "name the variants of this part");
        }
        for name in &part.variants {
            if !variants.contains(name.as_str()) {
                let what = format!("`{}` has no variant `{name}`", fleet.name);
                return wrong(format!("{at}.variants"), what, "name a variant of this fleet");
            }
            unique(&mut named, name, format!("{at}.variants"))?;
        }
    }
    Ok(())
}

fn known_pool(instance: &Instance, pool: &str, at: String) -> Checked {
    if instance.pools.contains_key(pool) {
        return Ok(());
    }
    let hint = "add it under pools, with null where nobody set a limit";
    wrong(at, format!("there is no pool `{pool}`"), hint)
}

fn unique<'a>(names: &mut BTreeSet<&'a str>, name: &'a str, at: String) -> Checked {
    if name.is_empty() {
        return wrong(at, "the name is empty", "give it a name");
    }
    if names.insert(name) {
        return Ok(());
    }
    wrong(at, format!("`{name}` is there twice"), "give each its own name")
}

fn amount(value: f64, at: String, most: f64) -> Checked {
    if value >= 0.0 && value <= most {
        return Ok(());
    }
    let hint = "give an amount in $ from 0 to a million; leave out what is unknown";
    wrong(at, format!("{value} is no amount of money"), hint)
}

fn count(value: u32, most: u32, at: String) -> Checked {
    if value <= most {
        return Ok(());
    }
    let hint = "such a number is beyond any cluster; check its unit";
    wrong(at, format!("{value} is more than {most}"), hint)
}
