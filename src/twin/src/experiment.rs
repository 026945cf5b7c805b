//! Policies side by side: the same fleet, the same traffic, the same luck.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use forebay_core::fleet::World;
use forebay_core::ids::FleetId;
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::Span;

use crate::gates::{self, GateSpecError};
use crate::policy::{self, PolicySpec, SpecError};
use crate::report::Run;
use crate::sim::{self, Setup, SimulationError};
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
