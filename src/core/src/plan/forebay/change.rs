//! What would have to change for another answer, and how another mix would fare.

use std::collections::BTreeMap;

use super::Assessed;
use super::needs::merge;
use super::record::OneFleet;
use crate::ids::VariantId;

/// What would have to change for another answer, the likeliest first.
pub(super) fn would_change(one: &OneFleet<'_>) -> Vec<String> {
    let mut changes = Vec::new();
    let Some(mix) = one.mix().filter(|_| one.assessed().needs.is_some()) else { return changes };
    let tightest =
        mix.rows.iter().map(|row| (row, row.covered / row.need)).min_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((row, times)) = tightest {
        if (1.0..10.0).contains(&times) {
            changes.push(format!(
                "{:.0}% more work in {} needs more replicas",
                (times - 1.0) * 100.0,
                row.name
            ));
        }
        if let Some(fewer) = fewer(one, times) {
            changes.push(fewer);
        }
    }
    for other in &mix.alternatives {
        if let Some(text) = price(one, other, mix.cost_per_hour) {
            changes.push(text);
        }
    }
    let short = one.facts.solution.as_ref().ok().map(|solution| &solution.pools);
    for pool in short.into_iter().flatten().filter(|pool| pool.price_per_hour > 0.0) {
        changes.push(format!(
            "one more accelerator of {} would save ${:.2}/h",
            pool.name, pool.price_per_hour
        ));
    }
    changes
}

/// How much less work would do with one replica less of what the mix has most of.
fn fewer(one: &OneFleet<'_>, times: f64) -> Option<String> {
    let needs = one.assessed().needs.as_ref()?;
    let most = one.variants().max_by_key(|id| one.facts.wanted[id.index()])?;
    let variant = &one.world().variants[most.index()];
    let wanted = one.facts.wanted[most.index()];
    let highest = needs.get(&most)?.rows.iter().map(|(_, r)| *r).fold(0.0, f64::max);
    if wanted <= variant.replicas_min || !highest.is_finite() {
        return None;
    }
    let less = times - 1.0 / highest;
    (less < 1.0 && less > 0.0).then(|| {
        format!(
            "{:.0}% less work, for as long as the window, lets one {} go",
            (1.0 - less) * 100.0,
            variant.name
        )
    })
}

/// The price at which a mix of one variant alone would be the cheaper one.
fn price(one: &OneFleet<'_>, other: &crate::plan::solve::Alternative, cost: f64) -> Option<String> {
    let [(name, count)] = other.replicas.iter().collect::<Vec<_>>()[..] else { return None };
    let list = one.variants().find(|id| one.world().variants[id.index()].name == *name)?;
    let list = one.world().replica_price(list)?.0;
    let even = cost / f64::from(*count);
    (even < list).then(|| {
        format!(
            "{name} below ${even:.2}/h (it is ${list:.2}) would make {count} {name} the cheapest"
        )
    })
}

/// Share of each tier's requests that would attain with a mix at the arrivals of now, as far as
/// the sizer can tell: the mix counts as so many of the fleet's first variant.
pub(super) fn attainment(
    one: &OneFleet<'_>,
    replicas: &BTreeMap<String, u32>,
) -> BTreeMap<String, f64> {
    let Assessed { sight: Some(sight), needs: Some(needs), .. } = one.assessed() else {
        return BTreeMap::new();
    };
    let highest = |id: VariantId| {
        let rows = &needs.get(&id)?.rows;
        let highest = rows.iter().map(|(_, replicas)| *replicas).fold(0.0, f64::max);
        (highest.is_finite() && highest > 0.0).then_some(highest)
    };
    let Some(first) = one.variants().next() else { return BTreeMap::new() };
    let role = one.world().variants[first.index()].role;
    let Some(reference) = highest(first) else { return BTreeMap::new() };
    let counted: f64 = one
        .world()
        .variants_of(one.fleet)
        .filter(|(_, variant)| variant.role == role)
        .filter_map(|(id, variant)| {
            let count = f64::from(*replicas.get(&variant.name)?);
            Some(count * reference / highest(id)?)
        })
        .sum();
    let mut attained = BTreeMap::new();
    let tiered = one.facts.settings.tiered;
    for (prefix, (tier, _)) in sight.urgent.iter().enumerate() {
        let (cell, among) =
            if tiered { (prefix, &sight.urgent[..=prefix]) } else { (0, &sight.urgent[..]) };
        let rate = merge(among).map_or(0.0, |load| load.requests_per_s);
        let share = one.facts.sizer.attainment(first, cell as u8, rate, counted.floor() as u32);
        if let Some(share) = share {
            attained.insert(one.world().tiers[tier.index()].name.clone(), share);
        }
    }
    attained
}
