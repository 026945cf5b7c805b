//! What every variant would need of itself alone to hold a fleet's demand, row by row: the one
//! question that the planner, a question asked once (`forebay plan`) and the record all put.

use super::settings::Settings;
use super::work;
use crate::capacity::{self, Limit, Needed, Sizer, TierAsk};
use crate::demand::{Moments, TierLoad, Workload};
use crate::engine::profile::EngineProfile;
use crate::fleet::{Role, Slo, World};
use crate::ids::{FleetId, TierId, VariantId};
use crate::time::Span;

/// Demand on a fleet as one variant has to meet it, at its lead time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    /// Tiers that cannot wait, the highest priority first, at the upper end of the forecast.
    pub(crate) urgent: Vec<(TierId, TierLoad)>,
    /// The same at the forecast's point: what saturation is judged by.
    pub(crate) expected: Vec<(TierId, TierLoad)>,
    /// Tiers that can, at the rate at which their deadlines want them served.
    pub(crate) deferred: Vec<(TierId, TierLoad)>,
    /// Urgent requests that wait already.
    pub(crate) waiting: f64,
}

/// One row of what has to be held.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Which replicas count.
    pub(crate) role: Role,
    /// This tier and all that are more important.
    pub(crate) through: TierId,
    /// Whether this is the row of all work, the deferred included.
    pub(crate) all: bool,
}

/// What one variant would need of itself alone.
#[derive(Clone, Debug)]
pub(crate) struct VariantNeed {
    /// Replicas by row; rows it has no part in are left out.
    pub(crate) rows: Vec<(Row, f64)>,
    /// Replicas on top of each row that work off what waits; they go again when it is gone.
    pub(crate) drain: f64,
    /// What limits it, and how busy its replicas would be.
    pub(crate) limit: Limit,
    /// Share of the rate at which queues would grow without end, 0..1.
    pub(crate) utilization: f64,
}

/// Sizes one variant for what is asked.
pub(crate) fn of_variant(
    sizer: &mut Sizer,
    world: &World,
    variant: VariantId,
    profile: &EngineProfile,
    asked: &Asked,
    lead: Span,
    settings: &Settings,
) -> VariantNeed {
    let entry = &world.variants[variant.index()];
    let fleet = &world.fleets[entry.fleet.index()];
    let role = entry.role;
    let prompt = mean_prompt(&asked.urgent);
    let shared = |slo: &Slo| work::share_of(*slo, role, &fleet.transfer, profile, prompt);
    let slo_of = |tier: TierId| fleet.slos.get(tier.index()).copied().flatten();

    let merged;
    let asks: Vec<(TierId, TierAsk<'_>)> = if settings.tiered {
        let ask = |(tier, load): &'_ (TierId, TierLoad)| {
            (*tier, slo_of(*tier).as_ref().map(shared), *load)
        };
        merged = asked.urgent.iter().map(ask).collect::<Vec<_>>();
        merged.iter().map(|(tier, slo, load)| (*tier, TierAsk { load, slo: *slo })).collect()
    } else {
        let slo = work::strictest(fleet).as_ref().map(shared);
        let last = asked.urgent.last().map_or(TierId(0), |(tier, _)| *tier);
        merged = merge(&asked.urgent).map(|load| (last, slo, load)).into_iter().collect();
        merged.iter().map(|(tier, slo, load)| (*tier, TierAsk { load, slo: *slo })).collect()
    };
    let tiers: Vec<TierAsk<'_>> = asks.iter().map(|(_, ask)| *ask).collect();
    let Needed { by_prefix, binding, utilization, .. } =
        sizer.size(variant, profile, role, &tiers, settings.safety);
    let drain = merge(&asked.urgent).map_or(0.0, |load| {
        // Help comes after the lead time; until then what is there works it off as well.
        let within = lead + settings.drain;
        capacity::to_drain(profile, role, &load.workload, asked.waiting, within)
    });
    let mut rows: Vec<(Row, f64)> = asks
        .iter()
        .zip(by_prefix)
        .map(|((tier, _), replicas)| {
            let row = Row { role, through: *tier, all: false };
            (row, replicas / settings.rho)
        })
        .collect();
    if let Some((last, _)) = asked.deferred.last().filter(|_| settings.tiered) {
        let everything: Vec<TierAsk<'_>> = asked
            .expected
            .iter()
            .chain(&asked.deferred)
            .map(|(_, load)| TierAsk { load, slo: None })
            .collect();
        let stable = capacity::needed(profile, role, &everything, 0.0);
        let replicas = stable.by_prefix.last().copied().unwrap_or(0.0);
        let row = Row { role, through: *last, all: true };
        rows.push((row, replicas / settings.rho_saturated));
    }
    VariantNeed { rows, drain, limit: binding, utilization }
}

fn mean_prompt(loads: &[(TierId, TierLoad)]) -> f64 {
    merge(loads).map_or(0.0, |load| load.workload.prompt_tokens.mean)
}

/// Several tiers as one; `None` without requests.
pub(crate) fn merge(loads: &[(TierId, TierLoad)]) -> Option<TierLoad> {
    let rate: f64 = loads.iter().map(|(_, load)| load.requests_per_s).sum();
    if rate.is_nan() || rate <= 0.0 {
        return None;
    }
    let mean = |read: &dyn Fn(&Workload) -> f64| {
        loads.iter().map(|(_, load)| load.requests_per_s * read(&load.workload)).sum::<f64>() / rate
    };
    let moments = |read: fn(&Workload) -> Moments| Moments {
        mean: mean(&|w| read(w).mean),
        squared: mean(&|w| read(w).squared),
    };
    let prompt_tokens = moments(|w| w.prompt_tokens);
    let cached = mean(&|w| w.prompt_tokens.mean * w.cached_share);
    Some(TierLoad {
        requests_per_s: rate,
        workload: Workload {
            prompt_tokens,
            output_tokens: moments(|w| w.output_tokens),
            cached_share: if prompt_tokens.mean > 0.0 { cached / prompt_tokens.mean } else { 0.0 },
            dispersion: mean(&|w| w.dispersion),
        },
    })
}

/// Names a row as the solver and the record do.
pub(crate) fn row_name(world: &World, row: &Row) -> String {
    let tier = &world.tiers[row.through.index()].name;
    let all = if row.all { " with deferred work" } else { "" };
    format!("{}/{tier}{all}", row.role.name())
}

/// The fleet's roles, in the order in which rows name them.
pub(crate) fn roles(world: &World, fleet: FleetId) -> Vec<Role> {
    let mut roles: Vec<Role> = world.variants_of(fleet).map(|(_, variant)| variant.role).collect();
    roles.sort();
    roles.dedup();
    roles
}
