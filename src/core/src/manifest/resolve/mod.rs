//! From names to the dense tables of a [`World`] and a [`ScenarioPlan`].

mod accelerators;
mod fleets;
mod rails;
mod shares;
mod tiers;
mod variants;
mod weather;

pub(crate) use tiers::{default_tier, policy_of};

use super::{Errors, Located, Manifests, Problem, builtin, suggest};
use crate::api::{InferenceFleetSpec, ScenarioSpec, bounds::FLEETS_MAX};
use crate::fleet::World;
use crate::scenario::ScenarioPlan;

/// Names being resolved, and what went wrong so far.
struct Resolver<'a> {
    /// What the person wrote.
    manifests: &'a Manifests,
    /// What comes with the binary.
    library: &'a Manifests,
    /// Fleets that take part, by [`crate::ids::FleetId`].
    fleets: Vec<&'a Located<InferenceFleetSpec>>,
    /// What is resolved so far.
    world: World,
    /// What is wrong.
    problems: Vec<Problem>,
}

pub(super) fn resolve(
    manifests: &Manifests,
    scenario: Option<&str>,
) -> Result<(World, ScenarioPlan), Errors> {
    let library = builtin::library()?;
    let mut resolver = Resolver {
        manifests,
        library,
        fleets: Vec::new(),
        world: World {
            fleets: Vec::new(),
            variants: Vec::new(),
            tiers: Vec::new(),
            accelerators: Vec::new(),
        },
        problems: Vec::new(),
    };
    let scenario = resolver.scenario_named(scenario)?;
    resolver.choose_fleets(scenario)?;
    resolver.tiers();
    resolver.accelerators();
    // Without tiers and accelerators everything below would only repeat what is said already.
    Errors::check(std::mem::take(&mut resolver.problems))?;
    resolver.fleets_and_variants();
    Errors::check(std::mem::take(&mut resolver.problems))?;
    resolver.quotas();
    let plan = resolver.plan(scenario);
    Errors::check(resolver.problems).map(|()| (resolver.world, plan))
}

impl<'a> Resolver<'a> {
    fn scenario_named(
        &self,
        name: Option<&str>,
    ) -> Result<Option<&'a Located<ScenarioSpec>>, Errors> {
        let own = &self.manifests.scenarios;
        let Some(name) = name else {
            return match own.as_slice() {
                [] => Ok(None),
                [only] => Ok(Some(only)),
                several => Err(Errors(vec![
                    Problem::general(format!("there are {} scenarios", several.len()))
                        .expected("the name of one of them")
                        .hint(suggest::hint("", names(several))),
                ])),
            };
        };
        let found = find(own, name).or_else(|| find(&self.library.scenarios, name));
        found.map(Some).ok_or_else(|| {
            let known = names(own).chain(names(&self.library.scenarios));
            Errors(vec![
                Problem::general(format!("there is no Scenario `{name}`"))
                    .hint(suggest::hint(name, known)),
            ])
        })
    }

    fn choose_fleets(&mut self, scenario: Option<&'a Located<ScenarioSpec>>) -> Result<(), Errors> {
        let all = &self.manifests.fleets;
        if all.is_empty() {
            let problem = Problem::general("there is no InferenceFleet in what was read");
            return Err(Errors(vec![
                problem.hint("give a file with one, for instance policies/fleets/chat-8b.yaml"),
            ]));
        }
        let chosen = scenario.map_or(&[][..], |scenario| &scenario.spec().fleets);
        if chosen.is_empty() {
            self.fleets = all.iter().collect();
        }
        for (index, name) in chosen.iter().enumerate() {
            match (find(all, name), scenario) {
                (Some(fleet), _) => self.fleets.push(fleet),
                (None, Some(scenario)) => self.problems.push(
                    scenario
                        .problem(
                            &format!("spec.fleets[{index}]"),
                            format!("there is no InferenceFleet `{name}`"),
                        )
                        .hint(suggest::hint(name, names(all))),
                ),
                (None, None) => (),
            }
        }
        if self.fleets.len() > FLEETS_MAX {
            let what = format!("{} fleets are too many for one run", self.fleets.len());
            self.problems.push(Problem::general(what).expected(format!("at most {FLEETS_MAX}")));
        }
        Errors::check(std::mem::take(&mut self.problems))
    }
}

/// The object of that name.
fn find<'a, S>(objects: &'a [Located<S>], name: &str) -> Option<&'a Located<S>> {
    objects.iter().find(|object| object.name() == name)
}

/// The names of all.
fn names<S>(objects: &[Located<S>]) -> impl Iterator<Item = &str> {
    objects.iter().map(Located::name)
}
