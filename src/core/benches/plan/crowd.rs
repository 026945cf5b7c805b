//! Many models that share a few kinds of accelerators, and the greedy way to serve them.

use std::collections::BTreeMap;

use forebay_core::plan::solve::{FleetAsk, Instance, Row, VariantOffer};
use forebay_core::units::UsdPerHour;

/// Classes: name, $ per accelerator and hour, speed of one accelerator.
const CLASSES: [(&str, f64, f64); 4] =
    [("a100", 2.45, 1.0), ("h100", 2.95, 2.1), ("l4", 0.80, 0.28), ("l40s", 1.55, 0.75)];

/// A mixing generator, so that the instances are the same everywhere.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn spread(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }
}

/// `models` fleets of one decode row on four accelerator classes. `room` is the sum of the quotas,
/// each as a share of what the class would need to serve everybody alone: at 1.1 a tenth more than
/// just enough is there, in the wrong places.
pub(crate) fn crowd(models: usize, room: f64, seed: u64) -> Instance {
    let mut dice = Dice(seed);
    let mut instance = Instance::default();
    let mut alone = [0.0; CLASSES.len()];
    for model in 0..models {
        let load = dice.spread(0.6, 12.0);
        let large = dice.unit() < 0.35;
        let mut variants = Vec::new();
        for (class, (name, price, speed)) in CLASSES.iter().enumerate() {
            let cards = match (*name, large) {
                (_, false) => 1,
                ("l4", true) => 4,
                (_, true) => 2,
            };
            let speed = speed * f64::from(cards) * dice.spread(0.7, 1.4);
            let cover = (speed / load * 1e6).round() / 1e6;
            alone[class] += (1.0 / cover).ceil() * f64::from(cards);
            let price = Some(UsdPerHour(price * f64::from(cards)));
            variants.push(VariantOffer {
                covers: BTreeMap::from([("decode".to_owned(), cover)]),
                uses: BTreeMap::from([((*name).to_owned(), cards)]),
                start_cost: 0.25 * price.map_or(0.0, |price| price.0),
                ..VariantOffer::new(*name, price, 200)
            });
        }
        instance.fleets.push(FleetAsk::new(
            format!("model-{model:03}"),
            vec![Row::new("decode")],
            variants,
        ));
    }
    // Shares of the room by class, so that cheap capacity is scarcest where it is wanted most.
    for ((name, ..), (alone, share)) in
        CLASSES.iter().zip(alone.iter().zip([0.30, 0.22, 0.20, 0.28]))
    {
        let quota = (alone * share * room).round() as u32;
        instance.pools.insert((*name).to_owned(), Some(quota));
    }
    instance
}

/// The same crowd an hour later: every demand moved by up to `drift`, what was planned is held.
pub(crate) fn later(instance: &Instance, held: &[Vec<u32>], drift: f64, seed: u64) -> Instance {
    let mut dice = Dice(seed);
    let mut next = instance.clone();
    for (fleet, held) in next.fleets.iter_mut().zip(held) {
        fleet.rows[0].need *= 1.0 + drift * (2.0 * dice.unit() - 1.0);
        for (variant, held) in fleet.variants.iter_mut().zip(held) {
            variant.held = *held;
        }
    }
    next
}

/// The greedy way: every model takes one class, its cheapest; the model with the most to lose from
/// its second best goes first; where that class is full it takes the next that has room. Gives the
/// objective, or `None` where some model finds no room.
pub(crate) fn greedy(instance: &Instance) -> Option<f64> {
    let mut room: BTreeMap<&str, i64> = BTreeMap::new();
    for (name, quota) in &instance.pools {
        room.insert(name, i64::from(quota.unwrap_or(u32::MAX)));
    }
    // Cost, class and accelerators of serving a fleet with one class alone, cheapest first.
    let mut orders: Vec<Vec<(f64, &str, i64)>> = Vec::new();
    for fleet in &instance.fleets {
        let mut options = Vec::new();
        for variant in &fleet.variants {
            let (Some(price), Some(cover)) =
                (variant.price_per_hour, variant.covers.get(&fleet.rows[0].name))
            else {
                continue;
            };
            let count = (fleet.rows[0].need / cover - 1e-9).ceil();
            let new = (count - f64::from(variant.held)).max(0.0);
            let cost = count * price.0 * instance.horizon_hours + new * variant.start_cost;
            for (pool, each) in &variant.uses {
                options.push((cost, pool.as_str(), count as i64 * i64::from(*each)));
            }
        }
        options.sort_by(|left, right| left.0.total_cmp(&right.0));
        orders.push(options);
    }
    let regret = |options: &[(f64, &str, i64)]| options[1].0 - options[0].0;
    orders.sort_by(|left, right| regret(right).total_cmp(&regret(left)));
    let mut total = 0.0;
    for options in &orders {
        let fits = options.iter().find(|(_, pool, taken)| room[pool] >= *taken);
        let (cost, pool, taken) = fits?;
        *room.entry(pool).or_default() -= taken;
        total += cost;
    }
    Some(total)
}
