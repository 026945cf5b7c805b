//! From needs to the least-cost mix: all fleets as one instance of the solver.

use std::collections::BTreeMap;

use super::needs::{Row, VariantNeed, row_name};
use super::settings::Settings;
use crate::fleet::{CapacityType, Role, World};
use crate::ids::{FleetId, VariantId};
use crate::plan::solve::{self, FleetAsk, Instance, RatioPart, VariantOffer};
use crate::time::Span;
use crate::units::UsdPerHour;

/// Most of a row that one replica may cover: a need of next to nothing would otherwise make it
/// infinite.
const COVER_MAX: f64 = 1e6;

/// The row of a fleet that is not decided about: the solver wants one.
const NOTHING: &str = "nothing";

/// What is known of a variant beyond the manifests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// Replicas asked for now.
    pub(crate) held: u32,
    /// Most that can be had; `None` = nothing is known to be sold out.
    pub(crate) most: Option<u32>,
    /// Replicas that somebody else set and that are not ours to choose; `None` = ours.
    pub(crate) given: Option<u32>,
    /// From asked for to ready.
    pub(crate) lead: Span,
    /// How long a replica lasts that is started now.
    pub(crate) lasts: Span,
}

/// The needs of one fleet, by variant.
pub(crate) type FleetNeeds = BTreeMap<VariantId, VariantNeed>;

/// The instance of all fleets whose demand is known; a fleet without needs is left as held.
pub(crate) fn instance(
    world: &World,
    needs: &[Option<FleetNeeds>],
    standings: &[Standing],
    settings: &Settings,
) -> Instance {
    let mut pools: BTreeMap<String, Option<u32>> = BTreeMap::new();
    for class in &world.accelerators {
        pools.insert(class.name.clone(), class.quota);
        pools.insert(committed(&class.name), Some(class.committed));
    }
    let fleets = needs.iter().enumerate().map(|(index, needs)| {
        fleet_ask(world, FleetId(index as u16), needs.as_ref(), standings, settings)
    });
    Instance {
        horizon_hours: settings.horizon.as_seconds() / 3_600.0,
        max_cost_per_hour: None,
        fleets: fleets.collect(),
        pools,
    }
}

fn committed(class: &str) -> String {
    format!("{class} committed")
}

fn fleet_ask(
    world: &World,
    fleet: FleetId,
    needs: Option<&FleetNeeds>,
    standings: &[Standing],
    settings: &Settings,
) -> FleetAsk {
    let rows = needs.map(|needs| rows(world, fleet, needs)).unwrap_or_default();
    let mut asks: Vec<solve::Row> = rows
        .iter()
        .map(|row| solve::Row {
            priority: Some(world.tiers[row.through.index()].priority),
            ..solve::Row::new(row_name(world, row))
        })
        .collect();
    let mut offers: Vec<VariantOffer> = world
        .variants_of(fleet)
        .map(|(id, _)| {
            let need = needs.and_then(|needs| needs.get(&id));
            offer(world, id, need, &rows, standings[id.index()], settings.horizon)
        })
        .collect();
    if rows.is_empty() {
        // Nothing to choose: what is held where nobody knows, the fewest where nobody ever came.
        for offer in &mut offers {
            let fixed = if needs.is_some() { offer.min } else { offer.held };
            (offer.min, offer.max) = (fixed, fixed);
            offer.covers.insert(NOTHING.to_owned(), 1.0);
        }
        asks.push(solve::Row { priority: Some(i32::MIN), ..solve::Row::new(NOTHING) });
    }
    let mut ask = FleetAsk::new(world.fleets[fleet.index()].name.clone(), asks, offers);
    if let Some((prefill, decode)) = settings.split {
        let part = |role: Role, replicas: u32| RatioPart {
            variants: world
                .variants_of(fleet)
                .filter(|(_, variant)| variant.role == role)
                .map(|(_, variant)| variant.name.clone())
                .collect(),
            replicas,
        };
        let parts = [part(Role::Prefill, prefill), part(Role::Decode, decode)];
        if parts.iter().all(|part| !part.variants.is_empty()) {
            ask.ratio = parts.into();
        }
    }
    ask
}

/// Rows of the parts that have to be served: prefill and decode where they are apart, and
/// `both` only where nothing else is.
fn rows(world: &World, fleet: FleetId, needs: &FleetNeeds) -> Vec<Row> {
    let apart = world.variants_of(fleet).any(|(_, variant)| variant.role == Role::Decode);
    let mut rows: Vec<Row> = Vec::new();
    for row in needs.values().flat_map(|need| &need.rows) {
        let known = rows.contains(&row.0);
        if !known && row.1 > 0.0 && (row.0.role != Role::Both || !apart) {
            rows.push(row.0.clone());
        }
    }
    rows
}

fn offer(
    world: &World,
    id: VariantId,
    need: Option<&VariantNeed>,
    rows: &[Row],
    standing: Standing,
    horizon: Span,
) -> VariantOffer {
    let variant = &world.variants[id.index()];
    let class = &world.accelerators[variant.accelerator.index()];
    let paid = variant.capacity_type == CapacityType::Committed;
    let list = world.replica_price(id);
    let price = if paid { list.map(|_| UsdPerHour(0.0)) } else { list };
    let mut offer = VariantOffer::new(variant.name.clone(), price, variant.replicas_max);
    offer.min = variant.replicas_min;
    offer.most_available = standing.most;
    offer.held = standing.held;
    if let Some(given) = standing.given {
        (offer.min, offer.max) = (given, given);
    }
    let lead_hours = standing.lead.as_seconds() / 3_600.0;
    let start = price.map_or(0.0, |price| price.0 * lead_hours);
    // One that will not last as long as the mix is started more than once in that time.
    let starts = horizon.as_seconds() / standing.lasts.as_seconds().max(1.0);
    offer.start_cost = start * starts.max(1.0);
    offer.uses.insert(class.name.clone(), variant.accelerators_per_replica);
    if paid {
        offer.uses.insert(committed(&class.name), variant.accelerators_per_replica);
    }
    if variant.capacity_type == CapacityType::Spot {
        // What is reclaimed is bought again and starts again, and one may go at any time.
        let reclaims = class.reclaims_per_hour * f64::from(variant.accelerators_per_replica);
        offer.reclaim_risk_per_hour = UsdPerHour(reclaims * start);
        offer.spare = 1;
    }
    let drain = need.map_or(0.0, |need| need.drain);
    for (own, replicas) in need.map(|need| need.rows.as_slice()).unwrap_or_default() {
        let replicas = replicas + drain;
        for row in rows {
            // An aggregated replica covers prefill and decode of the requests that it takes.
            let role_fits = own.role == row.role || own.role == Role::Both;
            if role_fits && own.through == row.through && own.all == row.all && replicas > 0.0 {
                offer.covers.insert(row_name(world, row), (1.0 / replicas).min(COVER_MAX));
            }
        }
    }
    offer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Limit;
    use crate::ids::TierId;
    use crate::plan::testing::world;

    #[test]
    fn what_will_not_last_pays_its_start_more_than_once() {
        let mut world = world(&[("stays", Role::Both), ("flips", Role::Both)]);
        for variant in &mut world.variants {
            variant.capacity_type = CapacityType::Spot;
        }
        for class in &mut world.accelerators {
            (class.price_spot, class.reclaims_per_hour) = (Some(UsdPerHour(6.0)), 0.5);
        }
        let row = Row { role: Role::Both, through: TierId(0), all: false };
        let need = |id: u16| {
            let rows = vec![(row.clone(), 2.0)];
            let need = VariantNeed { rows, drain: 0.0, limit: Limit::Sequences, utilization: 0.5 };
            (VariantId(id), need)
        };
        let needs = [Some(FleetNeeds::from([need(0), need(1)]))];
        let standing = |lasts: u64| Standing {
            held: 0,
            most: None,
            given: None,
            lead: Span::from_secs(600),
            lasts: Span::from_secs(lasts),
        };
        let settings = Settings { horizon: Span::from_secs(3_600), ..Settings::default() };
        let instance = instance(&world, &needs, &[standing(7_200), standing(900)], &settings);
        let [stays, flips] = &instance.fleets[0].variants[..] else { panic!("{instance:?}") };
        // Ten minutes at 6 $/h, once and four times within the hour; a reclaim is one start.
        assert!((stays.start_cost - 1.0).abs() < 1e-9, "{stays:?}");
        assert!((flips.start_cost - 4.0).abs() < 1e-9, "{flips:?}");
        assert!((flips.reclaim_risk_per_hour.0 - stays.reclaim_risk_per_hour.0).abs() < 1e-9);
    }
}
