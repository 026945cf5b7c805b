//! Small random instances that use everything an instance can say.

use super::*;

/// A mixing generator: the same instances everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A whole number in `low..=high`.
    pub(super) fn between(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next() % u64::from(high - low + 1)) as u32
    }

    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }
}

/// Most mixes of an instance that brute force looks at.
const MIXES_MAX: u64 = 2_500;

const POOLS: [&str; 3] = ["a100", "h100", "l40s"];

/// An instance of one to three fleets.
pub(super) fn small(seed: u64) -> Instance {
    let mut dice = Dice(seed);
    let mut instance = Instance::default();
    let pools = dice.between(1, 3) as usize;
    for pool in &POOLS[..pools] {
        let quota = dice.chance(0.85).then(|| dice.between(0, 9));
        instance.pools.insert((*pool).to_owned(), quota);
    }
    if dice.chance(0.2) {
        instance.horizon_hours = [0.25, 0.5, 2.0][dice.between(0, 2) as usize];
    }
    if dice.chance(0.15) {
        instance.max_cost_per_hour = Some(UsdPerHour(f64::from(dice.between(2, 30))));
    }
    let mut mixes = 1;
    for fleet in 0..dice.between(1, 3) {
        let fleet = one_fleet(&mut dice, fleet, pools, &mut mixes);
        instance.fleets.push(fleet);
    }
    instance
}

fn one_fleet(dice: &mut Dice, index: u32, pools: usize, mixes: &mut u64) -> FleetAsk {
    let rows = dice.between(1, 3);
    let row = |dice: &mut Dice, row: u32| Row {
        need: if dice.chance(0.3) { f64::from(dice.between(1, 40)) } else { 1.0 },
        priority: dice.chance(0.4).then(|| dice.between(0, 2) as i32 * 10),
        weight: if dice.chance(0.2) { f64::from(dice.between(1, 4)) / 2.0 } else { 1.0 },
        ..Row::new(format!("row{row}"))
    };
    let rows: Vec<Row> = (0..rows).map(|number| row(dice, number)).collect();
    let mut fleet = FleetAsk::new(format!("fleet{index}"), rows, Vec::new());
    fleet.priority = dice.between(0, 1) as i32 * 10;
    for number in 0..dice.between(1, 3) {
        let variant = one_variant(dice, number, pools, &fleet.rows);
        *mixes *= u64::from(variant.max) + 1;
        if *mixes > MIXES_MAX && number > 0 {
            *mixes /= u64::from(variant.max) + 1;
            break;
        }
        fleet.variants.push(variant);
    }
    if dice.chance(0.12) {
        fleet.max_cost_per_hour = Some(UsdPerHour(f64::from(dice.between(1, 16))));
    }
    if dice.chance(0.12) {
        fleet.accelerators_max.insert(POOLS[0].to_owned(), dice.between(0, 5));
    }
    if fleet.variants.len() > 1 && dice.chance(0.12) {
        let parts = fleet.variants.iter().take(2).map(|variant| RatioPart {
            variants: vec![variant.name.clone()],
            replicas: dice.between(1, 2),
        });
        fleet.ratio = parts.collect();
    }
    fleet
}

fn one_variant(dice: &mut Dice, number: u32, pools: usize, rows: &[Row]) -> VariantOffer {
    let max = dice.between(1, 5);
    let cents = dice.between(0, 80);
    let price = dice.chance(0.93).then(|| UsdPerHour(f64::from(cents) * 0.05));
    let mut variant = VariantOffer::new(format!("variant{number}"), price, max);
    for row in rows {
        if dice.chance(0.75) {
            let share = f64::from(dice.between(0, 24)) * 0.05 * row.need;
            variant.covers.insert(row.name.clone(), share);
        }
    }
    if dice.chance(0.9) {
        let pool = POOLS[dice.between(0, pools as u32 - 1) as usize];
        variant.uses.insert(pool.to_owned(), dice.between(1, 2));
    }
    if dice.chance(0.15) {
        variant.uses.insert(POOLS[0].to_owned(), 1);
    }
    if dice.chance(0.4) {
        variant.held = dice.between(0, max + 1);
    }
    if dice.chance(0.3) {
        variant.start_cost = f64::from(dice.between(0, 20)) * 0.1;
    }
    if dice.chance(0.3) {
        variant.removal_cost = f64::from(dice.between(0, 60)) * 0.1;
    }
    if dice.chance(0.2) {
        variant.min = dice.between(0, max);
    }
    if dice.chance(0.15) {
        variant.most_available = Some(dice.between(0, max));
    }
    if dice.chance(0.15) {
        variant.spare = dice.between(1, 2);
    }
    if dice.chance(0.15) {
        variant.reclaim_risk_per_hour = UsdPerHour(f64::from(dice.between(0, 10)) * 0.1);
    }
    variant
}
