//! Base prices of variants: what a request pays per second of each, and what scarcity adds.

use forebay_core::fleet::{CapacityType, Role, World};
use forebay_core::ids::VariantId;

use super::load::OracleError;
use super::physics::{Need, Rates};

/// A variant as a seller of its replicas' time.
#[derive(Clone, Debug)]
pub(super) struct Seller {
    pub(super) role: Role,
    /// Cash per replica, USD per second; 0 where it is committed, hence sunk.
    cash_usd_s: f64,
    pub(super) replicas_min: f64,
    /// No more replicas than this can ever exist.
    pub(super) replicas_max: f64,
    rates: Option<Rates>,
    /// Least time for the sample's requests, s.
    sample_s: f64,
}

impl Seller {
    pub(super) fn new(
        world: &World,
        id: VariantId,
        minimums_held: bool,
    ) -> Result<Self, OracleError> {
        let variant = &world.variants[id.index()];
        let class = &world.accelerators[variant.accelerator.index()];
        let price = world.replica_price(id).ok_or_else(|| OracleError::NoPrice {
            variant: variant.name.clone(),
            capacity: variant.capacity_type,
            accelerator: class.name.clone(),
        })?;
        let each = variant.accelerators_per_replica.max(1);
        let committed = variant.capacity_type == CapacityType::Committed;
        let mut most = variant.replicas_max;
        if let Some(quota) = class.quota {
            most = most.min(quota / each);
        }
        if committed {
            most = most.min(class.committed / each);
        }
        // A planner that never acts keeps what it starts with; and minimums that do not fit a
        // quota together, whole nodes counted, are not all held.
        let node = class.accelerators_per_node.max(1);
        let asked: u32 = world
            .variants
            .iter()
            .filter(|other| other.accelerator == variant.accelerator)
            .map(|other| {
                other.replicas_min * other.accelerators_per_replica.max(1).next_multiple_of(node)
            })
            .sum();
        let fits = class.quota.is_none_or(|quota| asked <= quota);
        let least = if minimums_held && fits {
            variant.replicas_min.min(variant.replicas_initial).min(most)
        } else {
            0
        };
        Ok(Self {
            role: variant.role,
            cash_usd_s: if committed { 0.0 } else { price.0 / 3_600.0 },
            replicas_min: f64::from(least),
            replicas_max: f64::from(most),
            rates: None,
            sample_s: 0.0,
        })
    }

    /// How its work is bounded, once that is settled.
    pub(super) const fn rates(&self) -> Option<&Rates> {
        self.rates.as_ref()
    }

    /// What the sample's requests cost at least on this variant alone, USD.
    pub(super) fn sample_usd(&self) -> f64 {
        self.cash_usd_s * self.sample_s
    }

    /// Takes the candidate that asks most for the sample.
    pub(super) fn settle(&mut self, candidates: Vec<Rates>, needs: &[&Need]) {
        let mut best = f64::NEG_INFINITY;
        for rates in candidates {
            let total = needs.iter().map(|need| self.work_s(&rates, need).unwrap_or(0.0)).sum();
            if total > best {
                best = total;
                self.rates = Some(rates);
            }
        }
        self.sample_s = best.max(0.0);
    }

    /// The work that a replica of this role is there for.
    fn work_s(&self, rates: &Rates, need: &Need) -> Option<f64> {
        match self.role {
            Role::Prefill => rates.prefill_s(need),
            Role::Decode => rates.decode_s(need),
            Role::Both => Some(rates.prefill_s(need)? + rates.decode_s(need)?),
        }
    }
}

/// Base prices of all variants of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tariff {
    /// By variant of the fleet, USD per second at `sigma = 1`.
    base_usd_s: Vec<f64>,
    /// What held minimums cost in any case, USD per second.
    pub(super) held_usd_s: f64,
    /// What replicas earn that must or may exist at no cost, USD per second at `sigma = 1`.
    pub(super) rent_usd_s: f64,
}

impl Tariff {
    /// The tariffs to try: base prices at cost, and base prices raised until the limited variants
    /// of a role are as dear for the sample as the dearest of it.
    pub(super) fn of(sellers: &[Seller]) -> Vec<Self> {
        let at_cost = Self::levelled(sellers, |costs| costs.fold(f64::INFINITY, f64::min), false);
        let scarce = Self::levelled(sellers, |costs| costs.fold(0.0, f64::max), true);
        if at_cost == scarce { vec![at_cost] } else { vec![at_cost, scarce] }
    }

    fn levelled(
        sellers: &[Seller],
        level: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
        raise: bool,
    ) -> Self {
        let mut tariff = Self { base_usd_s: Vec::new(), held_usd_s: 0.0, rent_usd_s: 0.0 };
        for seller in sellers {
            let mut costs = sellers
                .iter()
                .filter(|other| other.role == seller.role && other.cash_usd_s > 0.0)
                .map(|other| other.cash_usd_s * other.sample_s);
            let level = level(&mut costs);
            let equal = if seller.sample_s > 0.0 && level.is_finite() {
                level / seller.sample_s
            } else {
                seller.cash_usd_s
            };
            let base = if seller.cash_usd_s <= 0.0 || raise {
                equal.max(seller.cash_usd_s)
            } else {
                seller.cash_usd_s
            };
            tariff.held_usd_s += seller.replicas_min * seller.cash_usd_s;
            tariff.rent_usd_s += seller.replicas_min * base
                + (seller.replicas_max - seller.replicas_min) * (base - seller.cash_usd_s);
            tariff.base_usd_s.push(base);
        }
        tariff
    }

    /// The least that a request pays for its prompt, and for all of itself, USD at `sigma = 1`;
    /// `None` where it cannot attain on any variant. With the prompt's window inside the other,
    /// paying the prompt's least at the near price and the rest of the least total at the far
    /// price is no more than what any single variant would cost.
    pub(super) fn bill(&self, sellers: &[Seller], split: bool, need: &Need) -> Option<(f64, f64)> {
        let (mut prefill, mut decode, mut whole) = (f64::INFINITY, f64::INFINITY, f64::INFINITY);
        for (seller, base) in sellers.iter().zip(&self.base_usd_s) {
            let Some(rates) = &seller.rates else { continue };
            let Some(prompt) = rates.prefill_s(need).map(|seconds| seconds * base) else {
                continue;
            };
            prefill = prefill.min(prompt);
            if seller.role == Role::Prefill {
                continue;
            }
            if let Some(rest) = rates.decode_s(need).map(|seconds| seconds * base) {
                decode = decode.min(rest);
                whole = whole.min(prompt + rest);
            }
        }
        let total = if split { prefill + decode } else { whole };
        total.is_finite().then_some((prefill.min(total), total))
    }
}
