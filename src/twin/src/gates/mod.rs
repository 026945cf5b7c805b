//! The gates that a fleet may be run with: other people's, and ours, by name.

mod bands;
mod least_loaded;
mod pd;
mod picker;
mod prefix_index;
mod priorities;
mod round_robin;
mod saturation;
mod scorers;
mod stock;
mod stock_flow;
mod tunables;

#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod flow_tests;
#[cfg(test)]
mod forebay_tests;
#[cfg(test)]
mod outcome_tests;
#[cfg(test)]
mod overload_tests;
#[cfg(test)]
mod pick_tests;
#[cfg(test)]
mod return_tests;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use forebay_core::fleet::World;
use forebay_core::gate::{Forebay, Gate, SCRAPE_INTERVAL};
use forebay_core::ids::FleetId;
use forebay_core::time::Span;

pub use tunables::{GateSpecError, PREFIX};

use pd::{PdRule, Splitter};
use tunables::Tunables;

/// Names of all gates, for `gate=NAME` in a SPEC.
pub const NAMES: &[&str] = &["round-robin", "least-loaded", "stock", "stock-flow", "forebay"];

/// A gate with its tunables read.
enum Chosen {
    RoundRobin(PdRule),
    LeastLoaded(PdRule),
    Stock(stock::Settings),
    StockFlow(stock_flow::Settings),
    Forebay { scrape_interval: Span },
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
    seed: u64,
) -> Result<Box<dyn Gate + Send>, GateSpecError> {
    if fleet.index() >= world.fleets.len() {
        return Err(GateSpecError::UnknownFleet { fleet: fleet.0, fleets: world.fleets.len() });
    }
    let (chosen, _) = read(name, tunables)?;
    Ok(match chosen {
        Chosen::RoundRobin(pd) => Box::new(round_robin::RoundRobin::new(Splitter::new(pd, world))),
        Chosen::LeastLoaded(pd) => {
            Box::new(least_loaded::LeastLoaded::new(Splitter::new(pd, world)))
        }
        Chosen::Stock(settings) => Box::new(stock::Stock::new(settings, world, seed)?),
        Chosen::StockFlow(settings) => Box::new(stock_flow::StockFlow::new(settings, world, seed)?),
        Chosen::Forebay { scrape_interval } => {
            Box::new(Forebay::new(world, fleet, scrape_interval))
        }
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
    let mut tunables = Tunables::new(name, given);
    let chosen = match name {
        "round-robin" => Chosen::RoundRobin(PdRule::read(&mut tunables, true)?),
        "least-loaded" => Chosen::LeastLoaded(PdRule::read(&mut tunables, true)?),
        "stock" => Chosen::Stock(stock::Settings::read(&mut tunables)?),
        "stock-flow" => Chosen::StockFlow(stock_flow::Settings::read(&mut tunables)?),
        _ => {
            Chosen::Forebay { scrape_interval: tunables.span("scrape_interval", SCRAPE_INTERVAL)? }
        }
    };
    Ok((chosen, tunables.finish()?))
}
