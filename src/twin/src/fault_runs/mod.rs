//! Seeded fault runs: a small fleet, a quarter of an hour of traffic, and everything that may go
//! wrong, thousands of times. A policy must never remove capacity that it cannot see, never leave
//! its bounds, and always say why; and what its caution costs is measured against the same run
//! without faults.

mod draw;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::fleet::{CapacityType, Slo, World};
use forebay_core::ids::FleetId;
use forebay_core::manifest::{self, Errors, builtin};
use forebay_core::scenario::{Fault, ScenarioPlan};
use forebay_core::time::Span;
use forebay_core::units::UsdPerHour;

pub use watch::{Broken, Violation};

use crate::gates::{self, GateSpecError};
use crate::policy::{self, PolicySpec, SpecError};
use crate::sim::{self, Measured, Setup, SimulationError};
use crate::tune::side_by_side;
use draw::{Day, faults};
use watch::{Log, Watched};

/// Traffic of one run.
const DURATION: Span = Span::from_secs(900);
/// Replicas that every run starts with.
const REPLICAS_INITIAL: u32 = 4;
/// How much slower than its profile an engine is: so that a few requests a second, which are quick
/// to simulate, need a fleet.
const SLOWER: f64 = 6.0;
/// Most that the fleet may cost per hour: twice what the busiest minute needs.
const COST_PER_HOUR_MAX: UsdPerHour = UsdPerHour(25.0);

/// Why fault runs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FaultRunError {
    /// The built-in manifests do not resolve: a bug.
    #[error(transparent)]
    Manifest(#[from] Errors),
    /// The built-in fleet is missing: a bug.
    #[error("the built-in fleet {0} is missing; report this as a bug")]
    Fleet(&'static str),
    /// The SPEC is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The gate's part of the SPEC is wrong.
    #[error(transparent)]
    Gate(#[from] GateSpecError),
    /// A run broke off.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
}

/// One run with faults beside the same run without.
#[derive(Clone, Debug)]
pub struct FaultRun {
    /// Seed of traffic, faults and luck.
    pub seed: u64,
    /// What went wrong.
    pub faults: Vec<Fault>,
    /// Bill with faults.
    pub cost_usd: f64,
    /// Bill of the same traffic without faults.
    pub fault_free_cost_usd: f64,
    /// Share of all requests that attained, with faults and without.
    pub attainment: (f64, f64),
    /// Decisions that changed something, with faults.
    pub changes: u64,
    /// Rules that were broken.
    pub violations: Vec<Violation>,
}

impl FaultRun {
    /// Bill with faults over that without.
    #[must_use]
    pub fn cost_ratio(&self) -> f64 {
        self.cost_usd / self.fault_free_cost_usd.max(f64::MIN_POSITIVE)
    }
}

/// Runs a policy under the faults of each seed, on up to `threads` threads; results in the order
/// of the seeds.
///
/// # Errors
/// The SPEC is wrong or a run broke off.
pub fn fault_runs(
    spec: &PolicySpec,
    seeds: std::ops::Range<u64>,
    threads: usize,
) -> Result<Vec<FaultRun>, FaultRunError> {
    let (mut world, scenario) = fleet()?;
    spec.apply(&mut world)?;
    let seeds: Vec<u64> = seeds.collect();
    let runs = side_by_side(&seeds, threads, &|seed: &u64| {
        let faults = faults(*seed, &world);
        let with = ScenarioPlan { faults: faults.clone(), ..scenario.clone() };
        let (faulty, log) = run(spec, &world, &with, *seed)?;
        let (free, _) = run(spec, &world, &scenario, *seed)?;
        Ok(FaultRun {
            seed: *seed,
            faults,
            cost_usd: faulty.run.cost_usd,
            fault_free_cost_usd: free.run.cost_usd,
            attainment: (attainment(&faulty), attainment(&free)),
            changes: log.changes,
            violations: log.violations,
        })
    });
    runs.into_iter().collect()
}

fn run(
    spec: &PolicySpec,
    world: &World,
    scenario: &ScenarioPlan,
    seed: u64,
) -> Result<(Measured, Log), FaultRunError> {
    let log = Arc::new(Mutex::new(Log::default()));
    let planner = Watched::new(policy::build(spec, world)?, Arc::clone(&log));
    let gate = gates::build(spec.gate(), &spec.gate_settings(), world, FleetId(0), seed)?;
    let measured = sim::run(Setup {
        world,
        scenario,
        source: Box::new(Day::new(seed, DURATION)),
        duration: DURATION,
        planner: Box::new(planner),
        gates: vec![gate],
        seed,
    })?;
    let log = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((measured, log))
}

fn attainment(measured: &Measured) -> f64 {
    let (mut requests, mut attained) = (0, 0);
    for tier in measured.run.tiers.values() {
        requests += tier.requests;
        attained += tier.attained;
    }
    if requests == 0 { 1.0 } else { attained as f64 / requests as f64 }
}

/// The built-in chat fleet, slower, with spot replicas, quotas and a limit on its cost.
fn fleet() -> Result<(World, ScenarioPlan), FaultRunError> {
    const NAME: &str = "chat-8b";
    let source = builtin::fleet(NAME).ok_or(FaultRunError::Fleet(NAME))?;
    let (mut world, mut scenario) = manifest::parse(&[source])?.resolve(Some("constant-15"))?;
    for variant in &mut world.variants {
        variant.profile.step_time.calibration *= SLOWER;
        variant.replicas_initial = 0;
    }
    let mut spot = world.variants[0].clone();
    "l40s-spot".clone_into(&mut spot.name);
    (spot.capacity_type, spot.replicas_min, spot.replicas_max) = (CapacityType::Spot, 0, 4);
    world.variants[0].replicas_initial = REPLICAS_INITIAL;
    world.variants[0].replicas_max = 12;
    world.variants.push(spot);
    for class in &mut world.accelerators {
        class.quota = Some(16);
    }
    let fleet = &mut world.fleets[0];
    fleet.variants.end += 1;
    fleet.rails.limits.cost_per_hour_max = Some(COST_PER_HOUR_MAX);
    for slo in fleet.slos.iter_mut().flatten() {
        match slo {
            // A run goes on until the last deadline; an hour of that would hide the quarter.
            Slo::Completion { within, .. } => *within = Span::from_secs(600),
            Slo::Latency { ttft, tpot, .. } => {
                *ttft = Span::from_seconds(ttft.as_seconds() * SLOWER);
                *tpot = Span::from_seconds(tpot.as_seconds() * SLOWER);
            }
        }
    }
    scenario.unscored = Span::ZERO;
    scenario.faults = Vec::new();
    Ok((world, scenario))
}
