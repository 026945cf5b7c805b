//! What keeps the answer from being cheaper or fuller.

use super::instance::{Instance, VariantOffer};
use super::levels::Outcome;
use super::model::{ENOUGH, Limit, LimitOf, Model, missing_steps};
use super::solution::{Binding, BindingKind};

/// Everything that binds: rows first, then limits, then bounds of variants.
pub(super) fn binding(
    instance: &Instance,
    model: &Model,
    outcome: &Outcome,
    covered: &[i64],
) -> Vec<Binding> {
    let view = View { instance, model, counts: &outcome.counts, covered };
    let mut found = view.rows();
    for (index, limit) in model.limits.iter().enumerate() {
        let shared = model.shared.iter().position(|shared| *shared == index);
        let price = shared.map(|shared| outcome.prices[shared]);
        if view.limit_binds(limit, price) {
            found.push(view.named(limit));
        }
    }
    found.extend(view.bounds());
    found
}

struct View<'a> {
    instance: &'a Instance,
    model: &'a Model,
    counts: &'a [u32],
    covered: &'a [i64],
}

impl View<'_> {
    /// Rows that are covered, but not with the smallest of their replicas less.
    fn rows(&self) -> Vec<Binding> {
        let mut found = Vec::new();
        for (index, fleet) in self.instance.fleets.iter().enumerate() {
            for (offset, row) in fleet.rows.iter().enumerate() {
                let need = self.model.first_need[index] + offset;
                let smallest = (self.model.first_offer[index]..self.model.first_offer[index + 1])
                    .filter(|offer| self.counts[*offer] > self.model.offers[*offer].lo)
                    .filter_map(|offer| self.each(offer, need))
                    .min();
                let covered = self.covered[need];
                let tight = smallest.is_some_and(|each| covered - each < ENOUGH);
                if covered >= ENOUGH && tight {
                    found.push(Binding {
                        kind: BindingKind::Row,
                        fleet: Some(fleet.name.clone()),
                        name: Some(row.name.clone()),
                    });
                }
            }
        }
        found
    }

    fn each(&self, offer: usize, need: usize) -> Option<i64> {
        let covers = &self.model.offers[offer].covers;
        covers.iter().find(|(row, _)| *row == need).map(|(_, each)| *each)
    }

    /// Whether a limit has no room for one more replica of a variant that would help. Its price
    /// says so where it is shared and nothing is short.
    fn limit_binds(&self, limit: &Limit, price: Option<f64>) -> bool {
        let room = limit.most - limit.taken(self.counts);
        limit.takes.iter().any(|(offer, each)| {
            let more = self.counts[*offer] < self.model.offers[*offer].hi;
            more && *each > room && (price.is_some_and(|price| price > 0.0) || self.helps(*offer))
        })
    }

    /// Whether one more of a variant would fill a row that is short, or take the place of
    /// something dearer per coverage.
    fn helps(&self, offer: usize) -> bool {
        let one = &self.model.offers[offer];
        one.covers.iter().any(|(row, each)| {
            if missing_steps(self.covered[*row]) > 0 {
                return true;
            }
            // Nobody knows that a price that is unknown is not a good one.
            let price = if one.price_assumed { 0.0 } else { one.each as f64 / *each as f64 };
            let first = &self.model.first_offer;
            (first[one.fleet]..first[one.fleet + 1]).any(|other| {
                let dearer = &self.model.offers[other];
                other != offer
                    && self.counts[other] > dearer.lo
                    && self
                        .each(other, *row)
                        .is_some_and(|each| dearer.each as f64 / each as f64 > price * (1.0 + 1e-9))
            })
        })
    }

    fn named(&self, limit: &Limit) -> Binding {
        let fleet = |index: &usize| Some(self.instance.fleets[*index].name.clone());
        let (kind, fleet, name) = match &limit.of {
            LimitOf::Pool(pool) => (BindingKind::Pool, None, Some(pool.clone())),
            LimitOf::Cost => (BindingKind::CostLimit, None, None),
            LimitOf::FleetCost(index) => (BindingKind::CostLimit, fleet(index), None),
            LimitOf::FleetPool(index, pool) => {
                (BindingKind::FleetAccelerators, fleet(index), Some(pool.clone()))
            }
        };
        Binding { kind, fleet, name }
    }

    /// Minimums that hold more than is needed; maxima and the like that keep out what would help.
    fn bounds(&self) -> Vec<Binding> {
        let mut found = Vec::new();
        for (index, fleet) in self.instance.fleets.iter().enumerate() {
            for (offset, variant) in fleet.variants.iter().enumerate() {
                let offer = self.model.first_offer[index] + offset;
                if let Some(kind) = self.bound(offer, variant) {
                    let (fleet, name) = (Some(fleet.name.clone()), Some(variant.name.clone()));
                    found.push(Binding { kind, fleet, name });
                }
            }
        }
        found
    }

    fn bound(&self, index: usize, variant: &VariantOffer) -> Option<BindingKind> {
        let offer = &self.model.offers[index];
        let count = self.counts[index];
        let spared = |(row, each): &(usize, i64)| {
            let uncounted = offer.counted(count) == 0;
            uncounted || self.covered[*row] - each >= ENOUGH
        };
        if count > 0
            && count == offer.lo
            && offer.value(count) > offer.value(count - 1)
            && offer.covers.iter().all(spared)
        {
            return Some(BindingKind::Min);
        }
        let unknown = offer.price_assumed.then_some((variant.held, BindingKind::PriceUnknown));
        let sold_out = variant.most_available.map(|most| (most, BindingKind::SoldOut));
        let caps = [Some((variant.max, BindingKind::Max)), sold_out, unknown];
        let (cap, kind) = caps.into_iter().flatten().min_by_key(|(cap, _)| *cap)?;
        (count >= cap && self.helps(index)).then_some(kind)
    }
}
