//! The question that is asked first: which accelerators, how many, for this load at these SLOs,
//! and for how much? Answered by the planner's own sizing and solver, for a steady demand, from
//! nothing held.

mod answer;
mod ask;
mod inline;
mod size;
#[cfg(test)]
mod tests;
mod text;

pub use answer::{
    Accelerators, Answer, FleetAnswer, Mix, Price, RowAnswer, SCHEMA, Sensitivity, TierAnswer,
    VariantAnswer,
};
pub use ask::{Demand, FleetDemand, Length, Spread, TierDemand, VARIATION_DEFAULT};
pub use text::render;

use std::collections::BTreeMap;

use crate::demand::TierLoad;
use crate::fleet::{CapacityType, World};
use crate::ids::{FleetId, TierId};
use crate::manifest::{Errors, Problem};
use crate::plan::forebay::mix::FleetNeeds;
use crate::plan::forebay::needs::Asked;
use crate::plan::forebay::record::{limit_name, promised};
use crate::plan::solve::{BindingKind, FleetMix, Solution};
use ask::Places;
use size::{Change, Question, Sized};

/// How the question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Whether a gate serves tiers by priority and lets deferrable work wait. Otherwise all
    /// requests share one queue and need the strictest objective.
    pub tiered: bool,
    /// Next best mixes to list for each fleet.
    pub alternatives: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Self { tiered: true, alternatives: 3 }
    }
}

/// Nothing stands anywhere: the demand was checked when it was read.
struct Nowhere;

impl Places for Nowhere {
    fn problem(&self, path: &str, what: String) -> Problem {
        let mut problem = Problem::general(what);
        path.clone_into(&mut problem.path);
        problem
    }
}

/// Answers for all fleets together.
///
/// # Errors
/// A demand that does not fit the world.
pub fn answer(world: &World, demand: &Demand, manner: Manner) -> Result<Answer, Errors> {
    let asks = demand.asks(world, &Nowhere, manner.tiered)?;
    let mut question = Question::new(world, &asks, manner);
    let wrong = |error: crate::plan::solve::InstanceError| {
        Errors(vec![Problem::general(error.to_string())])
    };
    let sized = question.exact().map_err(wrong)?;
    let mut sensitivity = Vec::new();
    for change in Change::ALL {
        let changed = question.changed(change).map_err(wrong)?;
        sensitivity.push(sensitive(change, &changed.solution));
    }
    let solution = &sized.solution;
    let fleets: Vec<FleetAnswer> = (0..world.fleets.len())
        .map(|index| fleet(&question, &sized, FleetId(index as u16)))
        .collect();
    let loads = asks.iter().flatten().flat_map(loads_of);
    Ok(Answer {
        schema: SCHEMA.to_owned(),
        price: price(solution.cost_per_hour, loads, fleets.iter().all(FleetAnswer::holds)),
        proven: solution.optimal,
        gap: solution.gap,
        accelerators: accelerators(world, solution),
        binding: binding(world, &sized),
        sensitivity,
        replays: question.replays,
        notes: notes(world, &fleets, manner),
        fleets,
    })
}

fn loads_of(asked: &Asked) -> impl Iterator<Item = &(TierId, TierLoad)> {
    asked.urgent.iter().chain(&asked.deferred)
}

impl FleetAnswer {
    /// Whether everything that was asked is held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.missing <= 0.0)
    }
}

fn price<'a>(
    usd_per_hour: f64,
    loads: impl Iterator<Item = &'a (TierId, TierLoad)>,
    holds: bool,
) -> Price {
    let (mut prompt, mut output) = (0.0, 0.0);
    for (_, load) in loads {
        prompt += load.prompt_tokens_per_s();
        output += load.output_tokens_per_s();
    }
    let per_million = |tokens_per_s: f64| {
        // What cannot be held is not served at that price.
        (holds && tokens_per_s > 0.0).then(|| usd_per_hour / (tokens_per_s * 3_600.0) * 1e6)
    };
    Price {
        usd_per_hour,
        usd_per_million_output_tokens: per_million(output),
        usd_per_million_tokens: per_million(prompt + output),
    }
}

fn held(mix: &FleetMix) -> BTreeMap<String, u32> {
    let held = mix.variants.iter().filter(|variant| variant.replicas > 0);
    held.map(|variant| (variant.name.clone(), variant.replicas)).collect()
}

fn sensitive(change: Change, solution: &Solution) -> Sensitivity {
    Sensitivity {
        what: change.what().to_owned(),
        replicas: solution.fleets.iter().map(|mix| (mix.name.clone(), held(mix))).collect(),
        usd_per_hour: solution.cost_per_hour,
        short: solution.levels.iter().any(|level| level.shortfall > 0.0),
    }
}

fn fleet(question: &Question<'_>, sized: &Sized, id: FleetId) -> FleetAnswer {
    let world = question.world;
    let entry = &world.fleets[id.index()];
    let mix = &sized.solution.fleets[id.index()];
    let asked = question.asks[id.index()].as_ref();
    let needs = sized.needs[id.index()].as_ref();
    let of = |replicas: BTreeMap<String, u32>, usd_per_hour: f64| Mix {
        attainment: question.attainment(id, needs, &replicas),
        replicas,
        usd_per_hour,
    };
    let tier = |deferred: bool| {
        move |(tier, load): &(TierId, TierLoad)| TierAnswer {
            tier: world.tiers[tier.index()].name.clone(),
            slo: entry.slos.get(tier.index()).copied().flatten().map(|slo| promised(&slo)),
            deferred,
            requests_per_s: load.requests_per_s,
            prompt_tokens: load.workload.prompt_tokens.mean,
            output_tokens: load.workload.output_tokens.mean,
            prompt_variation: load.workload.prompt_tokens.variation_squared().sqrt(),
            output_variation: load.workload.output_tokens.variation_squared().sqrt(),
            cached_share: load.workload.cached_share,
            burstiness: load.workload.dispersion,
        }
    };
    let tiers = asked.map_or_else(Vec::new, |asked| {
        let urgent = asked.urgent.iter().map(tier(false));
        urgent.chain(asked.deferred.iter().map(tier(true))).collect()
    });
    let rows = mix.rows.iter().filter(|_| needs.is_some_and(|needs| !is_idle(needs)));
    let row = |row: &crate::plan::solve::RowCover| RowAnswer {
        row: row.name.clone(),
        covered: row.covered / row.need,
        missing: row.shortfall,
    };
    let rows: Vec<RowAnswer> = rows.map(row).collect();
    let holds = rows.iter().all(|row| row.missing <= 0.0);
    FleetAnswer {
        fleet: entry.name.clone(),
        tiers,
        mix: of(held(mix), mix.cost_per_hour),
        price: price(mix.cost_per_hour, asked.into_iter().flat_map(loads_of), holds),
        variants: variants(question, needs, mix, id),
        rows,
        alternatives: mix
            .alternatives
            .iter()
            .map(|other| of(other.replicas.clone(), other.cost_per_hour))
            .collect(),
    }
}

/// Whether nothing is needed at all.
fn is_idle(needs: &FleetNeeds) -> bool {
    needs.values().all(|need| need.rows.is_empty())
}

fn variants(
    question: &Question<'_>,
    needs: Option<&FleetNeeds>,
    mix: &FleetMix,
    fleet: FleetId,
) -> Vec<VariantAnswer> {
    let world = question.world;
    let asked = question.asks[fleet.index()].as_ref();
    let urgent_per_s: f64 =
        asked.map_or(0.0, |asked| asked.urgent.iter().map(|(_, load)| load.requests_per_s).sum());
    let one = |((id, entry), held): ((crate::ids::VariantId, &crate::fleet::Variant), u32)| {
        let need = needs.and_then(|needs| needs.get(&id));
        // The rows of urgent work come first, each with all that are more important.
        let urgent = need.and_then(|need| {
            let rows = need.rows.iter().filter(|(row, _)| !row.all);
            rows.map(|(_, replicas)| *replicas).reduce(f64::max)
        });
        let alone = need.map(|need| need.rows.iter().map(|(_, r)| *r).fold(0.0, f64::max));
        let evidence = &entry.profile.evidence;
        VariantAnswer {
            variant: entry.name.clone(),
            role: entry.role.name().to_owned(),
            accelerator: world.accelerators[entry.accelerator.index()].name.clone(),
            accelerators_per_replica: entry.accelerators_per_replica,
            usd_per_hour_each: world.replica_price(id).map(|price| price.0),
            replicas: held,
            alone_replicas: alone.filter(|alone| alone.is_finite()),
            requests_per_s_each: urgent
                .filter(|need| need.is_finite() && *need > 0.0)
                .map(|need| urgent_per_s / need),
            limit: need
                .filter(|need| !need.rows.is_empty())
                .map_or("nothing", |need| limit_name(need.limit))
                .to_owned(),
            utilization: need.map_or(0.0, |need| need.utilization),
            profile: entry.profile.name.clone(),
            evidence: evidence.level,
            step_time_mape_percent: evidence.step_time_mape_percent,
        }
    };
    let held = mix.variants.iter().map(|variant| variant.replicas);
    world.variants_of(fleet).zip(held).map(one).collect()
}

fn accelerators(world: &World, solution: &Solution) -> Vec<Accelerators> {
    let classes = world.accelerators.iter().filter_map(|class| {
        let pool = solution.pools.iter().find(|pool| pool.name == class.name)?;
        let told = pool.used > 0 || pool.quota.is_some();
        told.then(|| Accelerators {
            accelerator: class.name.clone(),
            used: pool.used,
            quota: pool.quota,
        })
    });
    classes.collect()
}

/// What keeps the answer from being cheaper or fuller.
fn binding(world: &World, sized: &Sized) -> Vec<String> {
    let solution = &sized.solution;
    let several = world.fleets.len() > 1;
    let mut said = Vec::new();
    for binding in &solution.binding {
        let name = binding.name.as_deref().unwrap_or_default();
        let fleet = binding.fleet.as_deref().filter(|_| several);
        let whose = fleet.map_or_else(String::new, |fleet| format!("{fleet}: "));
        let text = match binding.kind {
            BindingKind::Row => {
                let limit = limit_of(world, sized, binding.fleet.as_deref(), name);
                let limit = limit.map_or_else(String::new, |limit| format!(", limited by {limit}"));
                format!("{whose}{name}: one replica less would not hold it{limit}")
            }
            BindingKind::Pool => {
                let pool = solution.pools.iter().find(|pool| pool.name == name);
                let saved = pool.map_or(0.0, |pool| pool.price_per_hour);
                let worth = if saved >= 0.005 {
                    format!("; one more would save about ${saved:.2}/h")
                } else {
                    String::new()
                };
                format!("all {name} within the quota are taken{worth}")
            }
            BindingKind::FleetAccelerators => format!("{whose}its limit of {name} is reached"),
            BindingKind::CostLimit => format!("{whose}the limit on cost per hour is reached"),
            BindingKind::Min => format!("{whose}{name}: the minimum holds more than is needed"),
            BindingKind::Max => format!("{whose}{name}: its maximum is reached"),
            BindingKind::SoldOut => format!("{whose}{name} is sold out"),
            BindingKind::PriceUnknown => {
                format!("{whose}{name}: its price is unknown, so that none is bought")
            }
        };
        said.push(text);
    }
    said
}

/// What limits the variant that covers most of a row.
fn limit_of(world: &World, sized: &Sized, fleet: Option<&str>, row: &str) -> Option<&'static str> {
    let index = world.fleets.iter().position(|entry| Some(entry.name.as_str()) == fleet)?;
    let mix = &sized.solution.fleets[index];
    let needs = sized.needs[index].as_ref()?;
    let role = row.split('/').next()?;
    if row.ends_with(" with deferred work") {
        return Some(limit_name(crate::capacity::Limit::Stability));
    }
    let variants = world.variants_of(FleetId(index as u16)).zip(&mix.variants);
    let fits = variants.filter(|((_, entry), held)| {
        held.replicas > 0 && (entry.role.name() == role || entry.role == crate::fleet::Role::Both)
    });
    let ((id, _), _) = fits.max_by_key(|(_, held)| held.replicas)?;
    needs.get(&id).map(|need| limit_name(need.limit))
}

fn notes(world: &World, fleets: &[FleetAnswer], manner: Manner) -> Vec<String> {
    let mut notes = Vec::new();
    if !manner.tiered {
        let text = "one queue without priorities: every request needs the strictest objective";
        notes.push(text.to_owned());
    }
    let unasked: Vec<&str> =
        fleets.iter().filter(|f| f.tiers.is_empty()).map(|f| f.fleet.as_str()).collect();
    if !unasked.is_empty() {
        notes.push(format!("nothing was asked of {}: its minimums are held", unasked.join(", ")));
    }
    let of = |capacity: CapacityType| {
        let mut variants = world.variants.iter().zip(fleets.iter().flat_map(|f| &f.variants));
        variants.any(|(entry, held)| entry.capacity_type == capacity && held.replicas > 0)
    };
    if of(CapacityType::Committed) {
        notes.push("committed accelerators are paid for in any case and count $0".to_owned());
    }
    if of(CapacityType::Spot) {
        notes.push("one spot replica of each variant is a spare: it may be reclaimed".to_owned());
    }
    notes
}
