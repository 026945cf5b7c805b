//! Fleets: what each promises to whom.

use super::Resolver;
use crate::api::fleet::TierSlo;
use crate::api::{CapacityType, InferenceFleetSpec};
use crate::fleet::{Fleet, Role, Slo, Transfer};
use crate::ids::{FleetId, TierId, VariantId};
use crate::manifest::{Located, suggest};
use crate::time::Span;

impl Resolver<'_> {
    /// Fills the tables of fleets and variants.
    pub(super) fn fleets_and_variants(&mut self) {
        for (index, fleet) in self.fleets.clone().into_iter().enumerate() {
            let first = self.world.variants.len() as u16;
            self.variants(FleetId(index as u16), fleet);
            let variants = first..self.world.variants.len() as u16;
            self.roles(fleet);
            let rails = self.rails(fleet, VariantId(first));
            let slos = self.slos(fleet);
            let transfer = fleet.spec().transfer.as_ref().map_or(
                // Never used: the check of roles asks for it where both roles exist.
                Transfer { setup: Span::ZERO, bytes_per_second: f64::INFINITY },
                |transfer| Transfer {
                    setup: transfer.setup.0,
                    bytes_per_second: transfer.gigabytes_per_second * 1e9,
                },
            );
            let models = match fleet.spec().models.as_slice() {
                [] => vec![fleet.name().to_owned()],
                models => models.to_vec(),
            };
            let name = fleet.name().to_owned();
            self.world.fleets.push(Fleet { name, models, variants, slos, transfer, rails });
        }
    }

    fn slos(&mut self, fleet: &Located<InferenceFleetSpec>) -> Vec<Option<Slo>> {
        let mut slos = vec![None; self.world.tiers.len()];
        for (index, slo) in fleet.spec().slos.iter().enumerate() {
            let path = format!("spec.slos[{index}]");
            let Some(tier) = self.tier_named(fleet, &format!("{path}.tier"), &slo.tier) else {
                continue;
            };
            let resolved = self.slo(fleet, &path, slo, tier);
            if slos[tier.index()].is_some() {
                self.problems.push(fleet.problem(
                    &format!("{path}.tier"),
                    format!("tier `{}` has an SLO already", slo.tier),
                ));
            }
            slos[tier.index()] = resolved;
        }
        slos
    }

    /// The tier of that name, or a problem.
    pub(super) fn tier_named<S>(
        &mut self,
        object: &Located<S>,
        path: &str,
        name: &str,
    ) -> Option<TierId> {
        let tier = self.world.tier(name);
        if tier.is_none() {
            let known = self.world.tiers.iter().map(|tier| tier.name.as_str());
            let hint = suggest::hint(name, known);
            self.problems
                .push(object.problem(path, format!("there is no tier `{name}`")).hint(hint));
        }
        tier
    }

    fn slo(
        &mut self,
        fleet: &Located<InferenceFleetSpec>,
        path: &str,
        slo: &TierSlo,
        tier: TierId,
    ) -> Option<Slo> {
        let percentile = slo.percentile.0;
        if percentile <= 0.0 || percentile >= 1.0 {
            let what = if percentile <= 0.0 {
                "a promise to no request at all"
            } else {
                "no promise holds for every single request"
            };
            self.problems.push(
                fleet
                    .problem(&format!("{path}.percentile"), what)
                    .expected("more than 0 and less than 1, such as 0.99"),
            );
        }
        let deferrable = self.world.tiers[tier.index()].deferrable;
        let problem = match (slo.ttft, slo.tpot, slo.completion) {
            (Some(_), Some(_), None) if deferrable => fleet
                .problem(
                    path,
                    format!("tier `{}` may be deferred, so its first token has no time", slo.tier),
                )
                .expected("`completion`: the time within which the whole answer is there"),
            (Some(ttft), Some(tpot), None) if ttft.0 > Span::ZERO && tpot.0 > Span::ZERO => {
                return Some(Slo::Latency { ttft: ttft.0, tpot: tpot.0, percentile });
            }
            (None, None, Some(within)) if within.0 > Span::ZERO => {
                return Some(Slo::Completion { within: within.0, percentile });
            }
            (Some(_), Some(_), None) | (None, None, Some(_)) => {
                fleet.problem(path, "nothing can be done in no time").expected("more than 0s")
            }
            (None, None, None) => fleet
                .problem(path, format!("nothing is promised to tier `{}`", slo.tier))
                .expected("`ttft` and `tpot`, or `completion`")
                .hint("a tier that is promised nothing is left out of `slos`"),
            (_, _, Some(_)) => fleet
                .problem(path, "`completion` stands beside `ttft` or `tpot`")
                .expected("`ttft` and `tpot`, or `completion`, not both"),
            (_, _, None) => fleet
                .problem(path, "of `ttft` and `tpot` one is missing")
                .expected("both: a fast first token says nothing about the rest"),
        };
        self.problems.push(problem);
        None
    }

    /// Prefill and decode need each other.
    fn roles(&mut self, fleet: &Located<InferenceFleetSpec>) {
        use crate::api::fleet::Role as Written;
        let variants = &fleet.spec().variants;
        let first = |role: Written| variants.iter().position(|variant| variant.role == role);
        let lonely = match (first(Written::Prefill), first(Written::Decode)) {
            (Some(_), Some(_)) if fleet.spec().transfer.is_none() => {
                self.problems.push(
                    fleet
                        .problem("spec", "`transfer` is missing: KV caches go from prefill to decode")
                        .expected("`transfer: {setup: 2ms, gigabytesPerSecond: 40}` or what your network does"),
                );
                return;
            }
            (Some(index), None) => (index, Role::Prefill, Role::Decode),
            (None, Some(index)) => (index, Role::Decode, Role::Prefill),
            _ => return,
        };
        let (index, role, other) = lonely;
        self.problems.push(
            fleet
                .problem(
                    &format!("spec.variants[{index}].role"),
                    format!("there is {} but no {}", role.name(), other.name()),
                )
                .hint("add a variant with that role, or use `role: Both`"),
        );
    }

    /// A variant of a fleet by its name, or a problem.
    pub(super) fn variant_named<S>(
        &mut self,
        object: &Located<S>,
        path: &str,
        fleet: Option<&str>,
        name: &str,
    ) -> Option<VariantId> {
        let candidates: Vec<FleetId> = match fleet {
            Some(fleet) => vec![self.fleet_named(object, &format!("{path}.fleet"), fleet)?],
            None => (0..self.world.fleets.len()).map(|index| FleetId(index as u16)).collect(),
        };
        let variants: Vec<(VariantId, &str)> = candidates
            .iter()
            .flat_map(|fleet| self.world.variants_of(*fleet))
            .map(|(id, variant)| (id, variant.name.as_str()))
            .collect();
        let found: Vec<VariantId> =
            variants.iter().filter(|(_, known)| *known == name).map(|(id, _)| *id).collect();
        let path = format!("{path}.variant");
        let problem = match found.as_slice() {
            [only] => return Some(*only),
            [] => object
                .problem(&path, format!("there is no variant `{name}`"))
                .hint(suggest::hint(name, variants.iter().map(|(_, name)| *name))),
            _ => object
                .problem(&path, format!("several fleets have a variant `{name}`"))
                .expected("`fleet`: which of them is meant"),
        };
        self.problems.push(problem);
        None
    }

    /// A fleet by its name, or a problem.
    pub(super) fn fleet_named<S>(
        &mut self,
        object: &Located<S>,
        path: &str,
        name: &str,
    ) -> Option<FleetId> {
        let found = self.fleets.iter().position(|fleet| fleet.name() == name);
        if found.is_none() {
            let known = self.fleets.iter().map(|fleet| fleet.name());
            let hint = suggest::hint(name, known);
            let what = format!("there is no InferenceFleet `{name}` in this run");
            self.problems.push(object.problem(path, what).hint(hint));
        }
        found.map(|index| FleetId(index as u16))
    }
}

/// How accelerators are paid for, as the world knows it.
pub(super) const fn capacity_type(written: CapacityType) -> crate::fleet::CapacityType {
    match written {
        CapacityType::Committed => crate::fleet::CapacityType::Committed,
        CapacityType::OnDemand => crate::fleet::CapacityType::OnDemand,
        CapacityType::Spot => crate::fleet::CapacityType::Spot,
    }
}
