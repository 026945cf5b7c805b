//! Policies side by side: the same fleet, the same traffic, the same luck.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use forebay_core::fleet::World;
use forebay_core::ids::FleetId;
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::{Span, Time};

use crate::gates::{self, GateSpecError};
use crate::oracle::bound::Bound;
use crate::oracle::census::Census;
use crate::oracle::check::BoundBroken;
use crate::oracle::load::{self, Load, LoadOptions, OracleError};
use crate::policy::{self, PolicySpec, SpecError};
use crate::report::Run;
use crate::sim::{self, Setup, SimulationError, Traffic};
use crate::trace::{Trace, TraceError};

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
        let gate_error = |source| ExperimentError::Gate { spec: spec.to_string(), source };
        let settings = spec.gate_settings();
        let mut parameters = spec.parameters(&world)?;
        parameters.insert("gate".into(), spec.gate().into());
        parameters.extend(gates::parameters(spec.gate(), &settings).map_err(gate_error)?);
        let gates = (0..world.fleets.len())
            .map(|fleet| {
                gates::build(spec.gate(), &settings, &world, FleetId(fleet as u16), self.seed)
            })
            .collect::<Result<_, _>>()
            .map_err(gate_error)?;
        let planner = policy::build(spec, &world)?;
        let source = self.trace.stream()?;
        let begun = Instant::now();
        let measured = sim::run(Setup {
            world: &world,
            scenario: self.scenario,
            source,
            duration: self.duration,
            planner,
            gates,
            seed: self.seed,
        })
        .map_err(|source| ExperimentError::Simulation { spec: spec.to_string(), source })?;
        let wall_seconds = begun.elapsed().as_secs_f64();
        Ok(Finished {
            requests: measured.requests,
            run: Run {
                policy: spec.to_string(),
                parameters,
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
        in_parallel(specs.len(), threads, |index| {
            let result = self.run(&specs[index]);
            finished(index, &result);
            result
        })
    }
}

/// `work(0..count)` on up to `threads` threads, results in order.
pub fn in_parallel<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let result = work(index);
                    if let Ok(mut results) = results.lock() {
                        results.push((index, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
