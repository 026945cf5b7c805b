//! What the capacity held costs, as an integral over virtual time.

use std::collections::BTreeMap;

use forebay_core::fleet::{CapacityType, World};
use forebay_core::ids::AcceleratorId;
use forebay_core::time::{PICOS_PER_SECOND, Picos};

const PICOS_PER_HOUR: f64 = PICOS_PER_SECOND as f64 * 3_600.0;

/// Accelerators held, by class and capacity type, with their cost and hours so far.
#[derive(Debug)]
pub(super) struct Meter {
    since: Picos,
    /// Accelerators held now; committed ones count while a replica uses them.
    held: BTreeMap<(AcceleratorId, CapacityType), u32>,
    hours: BTreeMap<(AcceleratorId, CapacityType), f64>,
    /// USD per hour of one accelerator.
    prices: BTreeMap<(AcceleratorId, CapacityType), f64>,
    /// USD per hour of everything committed, used or not.
    committed_rate: f64,
    cost: f64,
    cost_committed: f64,
    /// What was spent before the last reset.
    cost_before: f64,
}

impl Meter {
    /// Nothing held yet, at time zero. Classes that offer no price for a capacity type cannot be
    /// held in it ([`Meter::hold`] refuses).
    pub(super) fn new(world: &World) -> Self {
        let mut prices = BTreeMap::new();
        let mut committed_rate = 0.0;
        for (index, class) in world.accelerators.iter().enumerate() {
            let id = AcceleratorId(index as u8);
            for capacity in [CapacityType::Committed, CapacityType::OnDemand, CapacityType::Spot] {
                if let Some(price) = class.price(capacity) {
                    prices.insert((id, capacity), price.0);
                }
            }
            let price = class.price_committed.map_or(0.0, |price| price.0);
            committed_rate += price * f64::from(class.committed);
        }
        Self {
            since: 0,
            held: BTreeMap::new(),
            hours: BTreeMap::new(),
            prices,
            committed_rate,
            cost: 0.0,
            cost_committed: 0.0,
            cost_before: 0.0,
        }
    }

    /// Whether the class has a price for that capacity type: unknown is not free.
    pub(super) fn offers(&self, class: AcceleratorId, capacity: CapacityType) -> bool {
        self.prices.contains_key(&(class, capacity))
    }

    /// Changes what is held from `now` on.
    pub(super) fn hold(&mut self, now: Picos, key: (AcceleratorId, CapacityType), change: i64) {
        self.settle(now);
        let held = self.held.entry(key).or_insert(0);
        *held = (i64::from(*held) + change).max(0) as u32;
    }

    /// Brings cost and hours up to `now`.
    pub(super) fn settle(&mut self, now: Picos) {
        let hours = now.saturating_sub(self.since) as f64 / PICOS_PER_HOUR;
        self.since = now.max(self.since);
        if hours <= 0.0 {
            return;
        }
        for (key, &held) in &self.held {
            let accelerator_hours = f64::from(held) * hours;
            *self.hours.entry(*key).or_insert(0.0) += accelerator_hours;
            if key.1 != CapacityType::Committed {
                self.cost += accelerator_hours * self.prices.get(key).copied().unwrap_or(0.0);
            }
        }
        self.cost += self.committed_rate * hours;
        self.cost_committed += self.committed_rate * hours;
    }

    /// Forgets cost and hours so far: scoring begins.
    pub(super) fn reset(&mut self, now: Picos) {
        self.settle(now);
        self.cost_before += self.cost;
        self.cost = 0.0;
        self.cost_committed = 0.0;
        self.hours.clear();
    }

    /// USD spent up to the last [`Meter::settle`], committed units in full.
    pub(super) const fn cost_usd(&self) -> f64 {
        self.cost
    }

    /// USD spent since the run began, unscored time included.
    pub(super) const fn lifetime_cost_usd(&self) -> f64 {
        self.cost_before + self.cost
    }

    /// Part of [`Meter::cost_usd`] that is committed.
    pub(super) const fn cost_committed_usd(&self) -> f64 {
        self.cost_committed
    }

    /// Accelerator-hours held up to the last [`Meter::settle`], as `class/capacity-type`.
    pub(super) fn accelerator_hours(&self, world: &World) -> BTreeMap<String, f64> {
        self.hours
            .iter()
            .map(|((class, capacity), hours)| {
                let name = &world.accelerators[class.index()].name;
                (format!("{name}/{}", capacity_name(*capacity)), *hours)
            })
            .collect()
    }

    /// Accelerators of a class held now, all capacity types.
    pub(super) fn held(&self, class: AcceleratorId) -> u32 {
        self.held.iter().filter(|(key, _)| key.0 == class).map(|(_, held)| held).sum()
    }

    /// Accelerators of a class and capacity type held now.
    pub(super) fn held_as(&self, class: AcceleratorId, capacity: CapacityType) -> u32 {
        self.held.get(&(class, capacity)).copied().unwrap_or(0)
    }
}

const fn capacity_name(capacity: CapacityType) -> &'static str {
    match capacity {
        CapacityType::Committed => "committed",
        CapacityType::OnDemand => "on-demand",
        CapacityType::Spot => "spot",
    }
}
