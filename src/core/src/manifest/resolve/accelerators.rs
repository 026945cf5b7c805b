//! The accelerator classes that the fleets use, and whether their quotas hold what is asked for.

use super::{Resolver, find, names};
use crate::api::AcceleratorClassSpec;
use crate::api::bounds::ACCELERATOR_CLASSES_MAX;
use crate::api::scalar::Amount;
use crate::fleet::{AcceleratorClass, CapacityType};
use crate::ids::AcceleratorId;
use crate::manifest::{Located, Problem, suggest};
use crate::units::UsdPerHour;

impl<'a> Resolver<'a> {
    /// Fills the table of accelerator classes, in order of first use.
    pub(super) fn accelerators(&mut self) {
        for fleet in self.fleets.clone() {
            for (index, variant) in fleet.spec().variants.iter().enumerate() {
                let name = &variant.accelerator_class;
                if self.accelerator(name).is_some() {
                    continue;
                }
                match self.class(name) {
                    Some(class) => {
                        let resolved = self.resolved(class);
                        self.world.accelerators.push(resolved);
                    }
                    None => {
                        let problem = self.unknown_class(
                            fleet,
                            &format!("spec.variants[{index}].acceleratorClass"),
                            name,
                        );
                        self.problems.push(problem);
                    }
                }
            }
        }
        let count = self.world.accelerators.len();
        if count > ACCELERATOR_CLASSES_MAX {
            let what = format!("{count} accelerator classes are too many for one run");
            self.problems.push(
                Problem::general(what).expected(format!("at most {ACCELERATOR_CLASSES_MAX}")),
            );
        }
    }

    /// Something refers to a class that does not exist.
    pub(super) fn unknown_class<S>(&self, object: &Located<S>, path: &str, name: &str) -> Problem {
        let known = names(&self.manifests.accelerators).chain(names(&self.library.accelerators));
        object
            .problem(path, format!("there is no AcceleratorClass `{name}`"))
            .hint(suggest::hint(name, known))
    }

    /// The class of that name: one's own goes first.
    pub(super) fn class(&self, name: &str) -> Option<&'a Located<AcceleratorClassSpec>> {
        find(&self.manifests.accelerators, name).or_else(|| find(&self.library.accelerators, name))
    }

    /// The class of that name among those in use.
    pub(super) fn accelerator(&self, name: &str) -> Option<AcceleratorId> {
        let mut classes = self.world.accelerators.iter();
        classes.position(|class| class.name == name).map(|index| AcceleratorId(index as u8))
    }

    fn resolved(&mut self, class: &Located<AcceleratorClassSpec>) -> AcceleratorClass {
        let spec = class.spec();
        let prices = &spec.prices;
        for (path, price) in [("onDemand", prices.on_demand), ("spot", prices.spot)] {
            if price == Some(Amount(0.0)) {
                self.problems.push(
                    class
                        .problem(&format!("spec.prices.{path}"), "nothing is free")
                        .hint("leave the price out where it is not offered"),
                );
            }
        }
        if prices.spot.is_some() && spec.reclaims_per_hour.is_none() {
            self.problems.push(
                class
                    .problem("spec.prices.spot", "spot has a price but no reclaim rate")
                    .expected("`reclaimsPerHour`: how often one accelerator is taken back")
                    .hint("0.02 is once in two days"),
            );
        }
        if spec.committed > 0 && prices.committed.is_none() {
            self.problems.push(
                class
                    .problem("spec.committed", "accelerators are committed but have no price")
                    .expected("`prices.committed`: what one costs per hour, used or not"),
            );
        }
        if let Some(quota) = spec.quota.filter(|quota| *quota < spec.committed) {
            let what = format!("a quota of {quota} is less than the {} committed", spec.committed);
            self.problems.push(class.problem("spec.quota", what));
        }
        let price = |amount: Option<Amount>| amount.map(|amount| UsdPerHour(amount.0));
        AcceleratorClass {
            name: class.name().to_owned(),
            price_committed: price(prices.committed),
            price_on_demand: price(prices.on_demand),
            price_spot: price(prices.spot),
            committed: spec.committed,
            quota: spec.quota,
            reclaims_per_hour: spec.reclaims_per_hour.unwrap_or(0.0),
            accelerators_per_node: spec.nodes.accelerators_per_node,
            node_provisioning: spec.nodes.provisioning_time.0,
            node_removal_delay: spec.nodes.removal_delay.0,
        }
    }

    /// The minimums of all fleets together must fit into what may be had.
    pub(super) fn quotas(&mut self) {
        for (index, class) in self.world.accelerators.iter().enumerate() {
            let asked = |committed_only: bool| -> u64 {
                let users = self.world.variants.iter().filter(|variant| {
                    variant.accelerator.index() == index
                        && (!committed_only || variant.capacity_type == CapacityType::Committed)
                });
                users
                    .map(|v| u64::from(v.replicas_min) * u64::from(v.accelerators_per_replica))
                    .sum()
            };
            let limits = [
                ("spec.quota", "a quota", class.quota, asked(false)),
                ("spec.committed", "a commitment", Some(class.committed), asked(true)),
            ];
            for (path, what, limit, asked) in limits {
                let Some(limit) = limit.filter(|limit| asked > u64::from(*limit)) else { continue };
                let what =
                    format!("{what} of {limit} does not hold the minimums, which take {asked}");
                let problem = match self.class(&class.name) {
                    Some(class) => class.problem(path, what),
                    None => Problem::general(what),
                };
                self.problems.push(problem.hint("lower `min` of its variants, or raise this"));
            }
        }
    }
}
