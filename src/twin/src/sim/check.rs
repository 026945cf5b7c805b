//! What a run cannot be set up with.

use forebay_core::fleet::World;
use forebay_core::ids::VariantId;
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::{RUN_DAYS_MAX, Span};

use super::SimulationError;

/// Whether this world can be run for so long, with so many gates.
pub(super) fn check(
    world: &World,
    scenario: &ScenarioPlan,
    duration: Span,
    gates: usize,
) -> Result<(), SimulationError> {
    let refuse = |what: String, hint: &str| Err(SimulationError::Setup { what, hint: hint.into() });
    if gates != world.fleets.len() {
        return refuse(
            format!("{gates} gates for {} fleets", world.fleets.len()),
            "give one gate for each fleet",
        );
    }
    if scenario.shares.is_empty() || scenario.shares.iter().any(|share| share.tenants.is_empty()) {
        return refuse(
            format!("scenario {} leaves traffic without a share or a tenant", scenario.name),
            "give it at least one share, and each share at least one tenant",
        );
    }
    if scenario.scrape_interval == Span::ZERO {
        return refuse("a scrape interval of 0".into(), "use 15s, Prometheus's usual interval");
    }
    if duration > Span::from_secs(RUN_DAYS_MAX * 86_400) {
        return refuse(
            format!("a window of {duration}"),
            "cut it with --window; a run holds at most 200 days",
        );
    }
    for (index, variant) in world.variants.iter().enumerate() {
        if world.replica_price(VariantId(index as u16)).is_none() {
            let class = &world.accelerators[variant.accelerator.index()].name;
            return refuse(
                format!("{}: {class} has no price for its capacity type", variant.name),
                "give the AcceleratorClass a price; unknown is not free",
            );
        }
    }
    Ok(())
}
