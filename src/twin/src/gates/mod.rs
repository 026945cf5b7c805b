//! The gates that a fleet may be run with: other people's, and ours, by name.

mod least_loaded;
mod round_robin;
mod tunables;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use forebay_core::fleet::World;
use forebay_core::gate::Gate;
use forebay_core::ids::FleetId;

pub use tunables::{GateSpecError, PREFIX};

use tunables::Tunables;

/// Names of all gates, for `gate=NAME` in a SPEC.
pub const NAMES: &[&str] = &["round-robin", "least-loaded"];

/// A gate with its tunables read.
enum Chosen {
    RoundRobin,
    LeastLoaded,
}

/// Builds a gate for one fleet.
///
/// `tunables` are the `gate.` keys of a SPEC, with or without that prefix. The same arguments
/// build a gate that decides the same.
///
/// # Errors
/// An unknown name, tunable or fleet, or a value that the tunable cannot take.
pub fn build(
    name: &str,
    tunables: &BTreeMap<String, String>,
    world: &World,
    fleet: FleetId,
    _seed: u64,
) -> Result<Box<dyn Gate + Send>, GateSpecError> {
    if fleet.index() >= world.fleets.len() {
        return Err(GateSpecError::UnknownFleet { fleet: fleet.0, fleets: world.fleets.len() });
    }
    let (chosen, _) = read(name, tunables)?;
    Ok(match chosen {
        Chosen::RoundRobin => Box::new(round_robin::RoundRobin::default()),
        Chosen::LeastLoaded => Box::new(least_loaded::LeastLoaded::default()),
    })
}

/// Every tunable of a gate with the value in force, defaults included, keyed `gate.NAME`.
///
/// # Errors
/// An unknown name or tunable, or a value that the tunable cannot take.
pub fn parameters(
    name: &str,
    tunables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, GateSpecError> {
    read(name, tunables).map(|(_, in_force)| in_force)
}

fn read(
    name: &str,
    given: &BTreeMap<String, String>,
) -> Result<(Chosen, BTreeMap<String, String>), GateSpecError> {
    let known = NAMES.iter().find(|known| **known == name);
    let name = *known.ok_or_else(|| GateSpecError::UnknownGate {
        name: name.to_owned(),
        known: NAMES.join(", "),
    })?;
    let tunables = Tunables::new(name, given);
    let chosen = match name {
        "round-robin" => Chosen::RoundRobin,
        _ => Chosen::LeastLoaded,
    };
    Ok((chosen, tunables.finish()?))
}
