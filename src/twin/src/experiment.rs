//! Policies side by side: the same fleet, the same traffic, the same luck.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use forebay_core::fleet::{Slo, World};
use forebay_core::ids::FleetId;
use forebay_core::plan::Planner;
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::{Span, Time};

use crate::gates::{self, GateSpecError};
use crate::oracle::bound::Bound;
use crate::oracle::census::Census;
use crate::oracle::check::BoundBroken;
use crate::oracle::clairvoyant::{self, Clairvoyant, GateChoice};
use crate::oracle::load::{self, Load, LoadOptions, OracleError};
use crate::oracle::schedule::{Follow, Schedule};
use crate::policy::{self, PolicySpec, SpecError};
use crate::report::Run;
use crate::sim::{self, Decided, Setup, SimulationError, Traffic};
use crate::trace::{Trace, TraceError};
use crate::tune::{Goal, Outcome, side_by_side};

/// What all policies of a comparison have in common.
#[derive(Clone, Copy)]
pub struct Experiment<'a> {
    /// Fleets, before any policy changes them.
    pub world: &'a World,
    /// Shares, clients, billing, faults.
    pub scenario: &'a ScenarioPlan,
    /// The traffic.
    pub trace: &'a Trace,
    /// Length of the window.
    pub duration: Span,
    /// Seed of every random draw.
    pub seed: u64,
}

/// Why a policy could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The SPEC is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The gate's part of the SPEC is wrong.
    #[error("policy `{spec}`: {source}")]
    Gate {
        /// The SPEC.
        spec: String,
        /// What is wrong with its gate.
        source: GateSpecError,
    },
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The run broke off.
    #[error("policy `{spec}`: {source}")]
    Simulation {
        /// The SPEC.
        spec: String,
        /// Why.
        source: SimulationError,
    },
    /// The bound could not be computed.
    #[error(transparent)]
    Oracle(#[from] OracleError),
    /// A run was cheaper than anything can be.
    #[error(transparent)]
    BoundBroken(#[from] BoundBroken),
}

/// One policy's run with what only the driver needs.
#[derive(Clone, Debug)]
pub struct Finished {
    /// As reported.
    pub run: Run,
    /// Requests simulated, scored or not.
    pub requests: u64,
}

impl Experiment<'_> {
    /// Checks a SPEC without running it.
    ///
    /// # Errors
    /// An unknown key, a value out of range, a variant or gate that is not there.
    pub fn check(&self, spec: &PolicySpec) -> Result<(), ExperimentError> {
        let mut world = self.world.clone();
        spec.apply(&mut world)?;
        spec.parameters(&world)?;
        gates::parameters(spec.gate(), &spec.gate_settings())
            .map_err(|source| ExperimentError::Gate { spec: spec.to_string(), source })?;
        Ok(())
    }

    /// Runs one policy.
    ///
    /// # Errors
    /// The SPEC is wrong, the trace cannot be read, or the run broke off. A policy that gives up
    /// is no error: its run says so in [`Run::aborted`].
    pub fn run(&self, spec: &PolicySpec) -> Result<Finished, ExperimentError> {
        let mut world = self.world.clone();
        spec.apply(&mut world)?;
        let settings = spec.gate_settings();
        let gate_error = |source| ExperimentError::Gate { spec: spec.to_string(), source };
        let mut parameters = spec.parameters(&world)?;
        parameters.insert("gate".into(), spec.gate().into());
        parameters.extend(gates::parameters(spec.gate(), &settings).map_err(gate_error)?);
        let planner = policy::build(spec, &world)?;
        let mut finished = self.run_with(&spec.to_string(), &world, planner, spec, None)?;
        finished.run.parameters = parameters;
        Ok(finished)
    }

    /// Runs one policy; `decided` hears of every decision that it explains.
    ///
    /// # Errors
    /// As [`Experiment::run`].
    pub fn explain(
        &self,
        spec: &PolicySpec,
        decided: Decided<'_>,
    ) -> Result<Finished, ExperimentError> {
        let mut world = self.world.clone();
        spec.apply(&mut world)?;
        let planner = policy::build(spec, &world)?;
        self.run_with(&spec.to_string(), &world, planner, spec, Some(decided))
    }

    /// Runs a planner behind the gate that `gate` names.
    fn run_with(
        &self,
        name: &str,
        world: &World,
        planner: Box<dyn Planner + Send>,
        gate: &PolicySpec,
        decided: Option<Decided<'_>>,
    ) -> Result<Finished, ExperimentError> {
        let settings = gate.gate_settings();
        let gates = (0..world.fleets.len())
            .map(|fleet| {
                gates::build(gate.gate(), &settings, world, FleetId(fleet as u16), self.seed)
            })
            .collect::<Result<_, _>>()
            .map_err(|source| ExperimentError::Gate { spec: name.to_owned(), source })?;
        let source = self.trace.stream()?;
        let begun = Instant::now();
        let setup = Setup {
            world,
            scenario: self.scenario,
            source,
            duration: self.duration,
            planner,
            gates,
            seed: self.seed,
        };
        let measured = match decided {
            Some(decided) => sim::run_explained(setup, decided),
            None => sim::run(setup),
        }
        .map_err(|source| ExperimentError::Simulation { spec: name.to_owned(), source })?;
        let wall_seconds = begun.elapsed().as_secs_f64();
        Ok(Finished {
            requests: measured.requests,
            run: Run {
                policy: name.to_owned(),
                wall_seconds,
                requests_per_wall_second: measured.requests as f64 / wall_seconds.max(1e-9),
                ..measured.run
            },
        })
    }

    /// The least that any of these policies' worlds could cost on this traffic.
    ///
    /// # Errors
    /// A SPEC is wrong, the trace cannot be read, or a variant has no price.
    pub fn bound(&self, specs: &[PolicySpec]) -> Result<Bound, ExperimentError> {
        let worlds = specs
            .iter()
            .map(|spec| {
                let mut world = self.world.clone();
                spec.apply(&mut world).map(|()| world)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let world = load::envelope(self.world, &worlds);
        let scored_from = Time::ZERO + self.scenario.unscored;
        let mut options = LoadOptions::new(scored_from, self.duration);
        options.minimums_held = self.scenario.faults.is_empty();
        let mut load = Load::new(&world, options)?;
        let census = self.census()?;
        let mut traffic = Traffic::new(self.trace.stream()?, self.scenario, self.seed);
        let piece_tokens = traffic.piece_tokens();
        while let Some(incoming) = traffic.next_arrival()? {
            let share = &self.scenario.shares[incoming.share];
            let shared = incoming
                .prefix
                .as_ref()
                .map_or(0, |ids| census.shared_tokens(ids, piece_tokens, incoming.prompt_tokens));
            load.add(
                share.fleet,
                share.tier,
                Time::from_picos(incoming.at),
                incoming.prompt_tokens,
                incoming.output_tokens,
                shared,
            );
        }
        Ok(Bound::of(load))
    }

    /// The best plan found with the future known, in at most `runs` runs; `None` when none of them
    /// keeps every tier's SLO.
    ///
    /// # Errors
    /// A run broke off for another reason than its plan.
    pub fn clairvoyant(
        &self,
        bound: &Bound,
        runs: u32,
        threads: usize,
    ) -> Result<Option<Clairvoyant>, ExperimentError> {
        let failure = Mutex::new(None);
        let choices =
            CLAIRVOYANT_GATES.map(|(name, defers)| GateChoice { name: name.into(), defers });
        let evaluate = |choice: &GateChoice, schedule: &Arc<Schedule>| {
            let planner = Box::new(Follow::new(Arc::clone(schedule)));
            let result = PolicySpec::parse(&format!("static:gate={}", choice.name))
                .map_err(ExperimentError::from)
                .and_then(|gate| self.run_with("clairvoyant", self.world, planner, &gate, None));
            result.map_or_else(
                |error| {
                    if let Ok(mut failure) = failure.lock() {
                        failure.get_or_insert(error);
                    }
                    Outcome { cost_usd: f64::INFINITY, ..Outcome::default() }
                },
                |finished| outcome(&finished.run),
            )
        };
        let found = clairvoyant::search(
            self.world,
            bound,
            &self.goal(),
            &choices,
            (runs, threads),
            evaluate,
        );
        match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    /// What every tier was promised: its strictest percentile over the fleets.
    #[must_use]
    pub fn goal(&self) -> Goal {
        let mut attainment = BTreeMap::new();
        for (index, tier) in self.world.tiers.iter().enumerate() {
            let slos = self.world.fleets.iter().filter_map(|fleet| fleet.slos.get(index)?.as_ref());
            let strictest = slos.map(Slo::percentile).max_by(f64::total_cmp);
            if let Some(percentile) = strictest {
                attainment.insert(tier.name.clone(), percentile);
            }
        }
        Goal { attainment }
    }

    /// Which pieces of prompts several requests carry; nothing to read without identities.
    fn census(&self) -> Result<Census, ExperimentError> {
        let mut census = Census::default();
        let mut traffic = Traffic::new(self.trace.stream()?, self.scenario, self.seed);
        if traffic.piece_tokens() > 0 {
            while let Some(incoming) = traffic.next_arrival()? {
                census.count(incoming.prefix.as_deref().unwrap_or_default());
            }
        }
        Ok(census)
    }

    /// Runs several policies on up to `threads` threads; results in the order of `specs`, the
    /// same for any number of threads. `finished` hears of each run as it ends.
    pub fn run_all(
        &self,
        specs: &[PolicySpec],
        threads: usize,
        finished: &(dyn Fn(usize, &Result<Finished, ExperimentError>) + Sync),
    ) -> Vec<Result<Finished, ExperimentError>> {
        let numbered: Vec<(usize, &PolicySpec)> = specs.iter().enumerate().collect();
        side_by_side(&numbered, threads, &|(index, spec): &(usize, &PolicySpec)| {
            let result = self.run(spec);
            finished(*index, &result);
            result
        })
    }
}

/// Gates that plans with the future known are tried behind, and whether they hold deferrable work.
const CLAIRVOYANT_GATES: [(&str, bool); 2] = [("least-loaded", false), ("forebay", true)];

/// What a run was worth to a search.
#[must_use]
pub fn outcome(run: &Run) -> Outcome {
    let cost_usd = if run.aborted.is_some() { f64::INFINITY } else { run.cost_usd };
    // A tier with too few requests to tell is not judged.
    let judged = run.tiers.iter().filter(|(_, tier)| tier.requests > 0);
    Outcome {
        cost_usd,
        attainment: judged.map(|(name, tier)| (name.clone(), tier.attainment)).collect(),
    }
}
