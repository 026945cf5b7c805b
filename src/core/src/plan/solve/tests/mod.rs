//! The solver against answers that were found another way.

mod brute;
mod errors;
mod generator;
mod linear;
mod scale;
mod worked;

use super::*;
use crate::units::UsdPerHour;

/// A variant at a price, covering rows, taking accelerators of pools.
fn variant(
    name: &str,
    price: f64,
    max: u32,
    covers: &[(&str, f64)],
    uses: &[(&str, u32)],
) -> VariantOffer {
    VariantOffer {
        covers: covers.iter().map(|(row, each)| ((*row).to_owned(), *each)).collect(),
        uses: uses.iter().map(|(pool, each)| ((*pool).to_owned(), *each)).collect(),
        ..VariantOffer::new(name, Some(UsdPerHour(price)), max)
    }
}

fn instance(pools: &[(&str, u32)], fleets: Vec<FleetAsk>) -> Instance {
    let pools = pools.iter().map(|(name, quota)| ((*name).to_owned(), Some(*quota))).collect();
    Instance { pools, fleets, ..Instance::default() }
}

fn solved(instance: &Instance) -> Solution {
    solve(instance, None, Budget::default()).expect("the instance is sound")
}

/// Replicas of all variants, in order.
fn mix(solution: &Solution) -> Vec<u32> {
    let variants = solution.fleets.iter().flat_map(|fleet| &fleet.variants);
    variants.map(|variant| variant.replicas).collect()
}
