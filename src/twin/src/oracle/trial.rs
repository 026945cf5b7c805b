//! The clairvoyant search in the twin itself: every schedule is run like any policy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forebay_core::fleet::World;
use forebay_core::ids::FleetId;

use super::bound::Bound;
use super::clairvoyant::{Clairvoyant, GateChoice, search};
use super::schedule::{Follow, Schedule};
use crate::experiment::{Experiment, ExperimentError};
use crate::gates;
use crate::report::Run;
use crate::sim::{self, Setup};
use crate::tune::{Goal, Outcome};

/// Gates that schedules are tried with: the best there is without and with holding work back.
const GATES: [(&str, bool); 2] = [("least-loaded", false), ("forebay", true)];

impl Goal {
    /// What the SLOs of `world` ask for: by tier the largest percentile of any fleet.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let mut attainment = BTreeMap::new();
        for fleet in &world.fleets {
            for (tier, slo) in world.tiers.iter().zip(&fleet.slos) {
                let Some(slo) = slo else { continue };
                let goal = attainment.entry(tier.name.clone()).or_insert(0.0_f64);
                *goal = goal.max(slo.percentile());
            }
        }
        Self { attainment }
    }
}

impl Outcome {
    /// What a run was worth; without finite cost where it ended early.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        let tiers = run.tiers.iter();
        Self {
            cost_usd: if run.aborted.is_some() { f64::INFINITY } else { run.cost_usd },
            attainment: tiers.map(|(name, tier)| (name.clone(), tier.attainment)).collect(),
        }
    }
}

impl Experiment<'_> {
    /// The best plan found with the future known, in at most `runs` runs, `threads` at a time;
    /// `None` when none meets `goal`.
    ///
    /// # Errors
    /// The trace cannot be read, or a run broke off.
    pub fn clairvoyant(
        &self,
        bound: &Bound,
        goal: &Goal,
        runs: u32,
        threads: usize,
    ) -> Result<Option<Clairvoyant>, ExperimentError> {
        let choices = GATES.map(|(name, defers)| GateChoice { name: name.to_owned(), defers });
        let failed = Mutex::new(None);
        let found = search(self.world, bound, goal, &choices, (runs, threads), |gate, schedule| {
            self.follow(&gate.name, schedule).unwrap_or_else(|error| {
                let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                failed.get_or_insert(error);
                Outcome { cost_usd: f64::INFINITY, attainment: BTreeMap::new() }
            })
        });
        let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.map_or(Ok(found), Err)
    }

    /// Runs a schedule behind a gate with its default tunables.
    fn follow(&self, gate: &str, schedule: &Arc<Schedule>) -> Result<Outcome, ExperimentError> {
        let spec = || format!("clairvoyant:gate={gate}");
        let mut world = self.world.clone();
        // It starts with what it wants, as a policy may with `initial=`.
        if let Some((_, first)) = schedule.steps.first() {
            for (variant, &replicas) in world.variants.iter_mut().zip(first) {
                variant.replicas_initial = replicas;
            }
        }
        let fleets = 0..world.fleets.len();
        let gates = fleets
            .map(|fleet| {
                let fleet = FleetId(fleet as u16);
                gates::build(gate, &BTreeMap::new(), &world, fleet, self.seed)
            })
            .collect::<Result<_, _>>()
            .map_err(|source| ExperimentError::Gate { spec: spec(), source })?;
        let measured = sim::run(Setup {
            world: &world,
            scenario: self.scenario,
            source: self.trace.stream()?,
            duration: self.duration,
            planner: Box::new(Follow::new(Arc::clone(schedule))),
            gates,
            seed: self.seed,
        })
        .map_err(|source| ExperimentError::Simulation { spec: spec(), source })?;
        Ok(Outcome::of(&measured.run))
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::manifest::{self, builtin};
    use forebay_core::time::{Span, Time};

    use super::*;
    use crate::oracle::check::check;
    use crate::policy::PolicySpec;
    use crate::trace::{BUILTIN_DAY, Options, open};

    /// No run in the twin is cheaper than the bound at its attainment, neither of policies that
    /// hold far too little nor of the best schedule found.
    fn nobody_beats_the_bound(fleet: &str, rate_scale: f64) {
        let manifests = manifest::parse(&[builtin::fleet(fleet).unwrap()]).unwrap();
        let (mut world, mut scenario) = manifests.resolve(Some("constant-15")).unwrap();
        scenario.unscored = Span::from_secs(300);
        for variant in &mut world.variants {
            variant.replicas_min = 0;
        }
        let from = Time::ZERO + Span::from_secs(9 * 3_600);
        let window = Some((from, from + Span::from_secs(1_500)));
        let trace = open(BUILTIN_DAY, &Options { window, rate_scale, seed: 5 }).unwrap();
        let experiment = Experiment {
            world: &world,
            scenario: &scenario,
            trace: &trace,
            duration: trace.duration(),
            seed: 5,
        };
        let specs: Vec<PolicySpec> = ["static:replicas=1", "static:replicas=3", "hpa", "forebay"]
            .iter()
            .map(|text| PolicySpec::parse(text).unwrap())
            .collect();
        let bound = experiment.bound(&specs).unwrap();
        assert!(bound.cost().0 > 0.0);
        for spec in &specs {
            let run = experiment.run(spec).unwrap().run;
            assert_eq!(check(&run, &bound), Ok(()));
        }
        let found = experiment.clairvoyant(&bound, &Goal::of(&world), 24, 2).unwrap();
        let found = found.expect("some schedule attains");
        assert!(found.outcome.cost_usd >= bound.cost().0);
        assert!(Goal::of(&world).margin(&found.outcome) >= 0.0);
    }

    #[test]
    fn nobody_beats_the_bound_with_aggregated_replicas() {
        nobody_beats_the_bound("chat-8b", 0.2);
    }

    #[test]
    fn nobody_beats_the_bound_with_separate_prefill() {
        nobody_beats_the_bound("chat-70b-pd", 0.2);
    }

    #[test]
    fn nobody_beats_the_bound_with_several_fleets() {
        nobody_beats_the_bound("shared-quota", 0.2);
    }
}
