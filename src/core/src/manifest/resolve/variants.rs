//! Variants: profile, accelerator, bounds and start-up must fit together.

use super::fleets::capacity_type;
use super::{Resolver, find, names};
use crate::api::bounds::REPLICAS_MAX;
use crate::api::fleet::{self, StartUpSpec, VariantSpec};
use crate::api::{AcceleratorClassSpec, InferenceFleetSpec};
use crate::engine::profile::EngineProfile;
use crate::fleet::{CapacityType, Role, StartUp, Variant};
use crate::ids::{AcceleratorId, FleetId};
use crate::manifest::{Located, suggest};
use crate::time::Span;

impl<'a> Resolver<'a> {
    /// Appends the variants of a fleet.
    pub(super) fn variants(&mut self, id: FleetId, fleet: &'a Located<InferenceFleetSpec>) {
        let specs = &fleet.spec().variants;
        let mut model: Option<&str> = None;
        for (index, spec) in specs.iter().enumerate() {
            let path = format!("spec.variants[{index}]");
            if specs[..index].iter().any(|other| other.name == spec.name) {
                self.problems.push(fleet.problem(
                    &format!("{path}.name"),
                    format!("variant `{}` exists already in this fleet", spec.name),
                ));
            }
            self.target(fleet, &path, spec);
            let profile = self.profile(fleet, &path, spec);
            if let Some(profile) = profile {
                let served = *model.get_or_insert(&profile.model);
                if served != profile.model {
                    self.problems.push(
                        fleet
                            .problem(
                                &format!("{path}.profile"),
                                format!(
                                    "this profile is of {}, the others of {served}",
                                    profile.model
                                ),
                            )
                            .expected("one model in one fleet"),
                    );
                }
            }
            let start_up = self.start_up(fleet, &path, spec);
            let class = self.class(&spec.accelerator_class);
            let accelerator = self.accelerator(&spec.accelerator_class);
            if let (Some(profile), Some(start_up), Some(class), Some(accelerator)) =
                (profile, start_up, class, accelerator)
            {
                let at = Place { fleet, path: &path, id };
                self.variant(&at, spec, profile, class, (accelerator, start_up));
            }
        }
    }

    fn profile(
        &mut self,
        fleet: &Located<InferenceFleetSpec>,
        path: &str,
        spec: &VariantSpec,
    ) -> Option<&'a EngineProfile> {
        let (own, library) = (&self.manifests.profiles, &self.library.profiles);
        let found = find(own, &spec.profile).or_else(|| find(library, &spec.profile));
        if found.is_none() {
            let known = names(own).chain(names(library));
            self.problems.push(
                fleet
                    .problem(
                        &format!("{path}.profile"),
                        format!("there is no EngineProfile `{}`", spec.profile),
                    )
                    .hint(suggest::hint(&spec.profile, known)),
            );
        }
        if let Some(found) = found
            && found.spec().step_time.fixed_ms + found.spec().step_time.weights_ms <= 0.0
        {
            self.problems.push(
                found
                    .problem("spec.stepTime", "a step of no tokens would take no time")
                    .expected("`fixedMs` or `weightsMs` of more than 0"),
            );
        }
        found.map(Located::spec)
    }

    fn start_up(
        &mut self,
        fleet: &Located<InferenceFleetSpec>,
        path: &str,
        spec: &VariantSpec,
    ) -> Option<StartUp> {
        // What stands at given addresses is started by somebody else, who need not say how long.
        if spec.start_up.is_none() && !spec.endpoints.is_empty() {
            return Some(STARTED_BY_OTHERS);
        }
        if spec.start_up.is_none() {
            self.problems.push(
                fleet
                    .problem(path, "`startUp` is missing: how long until a replica is ready?")
                    .expected("`image`, `weights`, `compile`, `warmUp` and `sigma`")
                    .hint("an 8B model from a cached volume: {image: 10s, weights: 18s, compile: 30s, warmUp: 34s, sigma: 0.2}"),
            );
        }
        spec.start_up.as_ref().map(start_up)
    }

    /// What is scaled live: a target, or endpoints that we do not scale, or neither.
    fn target(&mut self, fleet: &Located<InferenceFleetSpec>, path: &str, spec: &VariantSpec) {
        if spec.scale_target_ref.is_some() && !spec.endpoints.is_empty() {
            self.problems.push(
                fleet
                    .problem(&format!("{path}.endpoints"), "there is a `scaleTargetRef` already")
                    .expected("one of the two: what is scaled has its endpoints from Kubernetes"),
            );
        }
        if spec.component.is_some() && spec.scale_target_ref.is_none() {
            self.problems.push(
                fleet
                    .problem(&format!("{path}.component"), "a component of nothing")
                    .expected("`scaleTargetRef`: the object that it is a component of"),
            );
        }
    }

    fn variant(
        &mut self,
        at: &Place<'_>,
        spec: &VariantSpec,
        profile: &EngineProfile,
        class: &Located<AcceleratorClassSpec>,
        (accelerator, start_up): (AcceleratorId, StartUp),
    ) {
        let Place { fleet, path, id } = *at;
        if profile.accelerator != class.spec().accelerator {
            self.problems.push(
                fleet
                    .problem(
                        &format!("{path}.profile"),
                        format!(
                            "this profile is of {}, but class `{}` is of {}",
                            profile.accelerator,
                            class.name(),
                            class.spec().accelerator
                        ),
                    )
                    .hint(self.profiles_hint(profile, &class.spec().accelerator)),
            );
        }
        let per_replica = spec.accelerators_per_replica.unwrap_or(profile.tensor_parallel);
        if per_replica != profile.tensor_parallel {
            self.problems.push(
                fleet
                    .problem(
                        &format!("{path}.acceleratorsPerReplica"),
                        format!("{per_replica}, but the profile is of {}", profile.tensor_parallel),
                    )
                    .hint("leave it out, or choose a profile of that parallelism"),
            );
        }
        let resolved = &self.world.accelerators[accelerator.index()];
        let capacity_type = capacity_type(spec.capacity_type);
        let limit = match capacity_type {
            CapacityType::Committed => Some(resolved.committed),
            CapacityType::OnDemand | CapacityType::Spot => resolved.quota,
        };
        if resolved.price(capacity_type).is_none() {
            let what =
                format!("class `{}` has no price for {:?}", class.name(), spec.capacity_type);
            self.problems.push(
                fleet
                    .problem(&format!("{path}.acceleratorClass"), what)
                    .expected("a price: what is not known is never taken as free")
                    .hint(format!("add it to `prices` of the class at {}", class.place())),
            );
        }
        // Replicas at given addresses are as many as there are addresses.
        let given = Some(spec.endpoints.len() as u32).filter(|count| *count > 0);
        let most = limit.map(|limit| (limit / per_replica).min(REPLICAS_MAX));
        let max = spec.max.or(given).or(most);
        let Some(max) = max else {
            self.problems.push(
                fleet
                    .problem(path, "`max` is missing, and the accelerator class has no quota")
                    .expected("`max`: most replicas, so that a mistake has an end"),
            );
            return;
        };
        if spec.min > max {
            let what = format!("at least {} replicas, but at most {max}", spec.min);
            self.problems.push(
                fleet.problem(&format!("{path}.min"), what).hint("raise `max` or lower `min`"),
            );
        }
        self.world.variants.push(Variant {
            fleet: id,
            name: spec.name.clone(),
            role: match spec.role {
                fleet::Role::Both => Role::Both,
                fleet::Role::Prefill => Role::Prefill,
                fleet::Role::Decode => Role::Decode,
            },
            accelerator,
            accelerators_per_replica: per_replica,
            profile: profile.clone(),
            replicas_min: spec.min,
            replicas_max: max,
            replicas_initial: spec.min,
            drain_max: Span::from_secs(u64::from(spec.drain_seconds_max)),
            start_up,
            capacity_type,
        });
    }

    /// Profiles of the same model on the right accelerator.
    fn profiles_hint(&self, profile: &EngineProfile, accelerator: &str) -> String {
        let all = self.manifests.profiles.iter().chain(&self.library.profiles);
        let fitting: Vec<&str> = all
            .filter(|other| {
                other.spec().model == profile.model && other.spec().accelerator == accelerator
            })
            .map(Located::name)
            .collect();
        if fitting.is_empty() {
            return format!("there is no profile of {} on {accelerator}", profile.model);
        }
        format!("profiles that fit: `{}`", fitting.join("`, `"))
    }
}

/// A variant and where it is written.
#[derive(Clone, Copy)]
struct Place<'a> {
    fleet: &'a Located<InferenceFleetSpec>,
    path: &'a str,
    id: FleetId,
}

/// Of replicas that are there already.
const STARTED_BY_OTHERS: StartUp = StartUp {
    image: Span::ZERO,
    weights: Span::ZERO,
    compile: Span::ZERO,
    warm_up: Span::ZERO,
    sigma: 0.0,
};

fn start_up(spec: &StartUpSpec) -> StartUp {
    StartUp {
        image: spec.image.0,
        weights: spec.weights.0,
        compile: spec.compile.0,
        warm_up: spec.warm_up.0,
        sigma: spec.sigma,
    }
}
