//! Writes a decision down: from everything that it was made of to one record per fleet.

use super::fleet::FleetState;
use super::mix::Standing;
use super::needs::Row;
use super::{Assessed, Settings, change};
use crate::capacity::{Limit, Sizer};
use crate::explain::{
    Alternative, Decision, Inputs, Interval, NeedRecord, SCHEMA, TierRecord, VariantRecord,
    VerdictRecord,
};
use crate::fleet::{Slo, World};
use crate::ids::{FleetId, TierId, VariantId};
use crate::learn::Learner;
use crate::plan::FleetView;
use crate::plan::evidence::{Evidence, FRESH};
use crate::plan::guard::Guard;
use crate::plan::rails;
use crate::plan::solve::{FleetMix, InstanceError, Solution};
use crate::plan::verdict::Verdict;
use crate::time::{Span, Time};

/// Everything that a decision was made of.
pub(super) struct Facts<'a> {
    pub(super) now: Time,
    pub(super) view: &'a FleetView<'a>,
    pub(super) number: u64,
    pub(super) settings: &'a Settings,
    pub(super) learner: &'a Learner,
    pub(super) sizer: &'a Sizer,
    pub(super) guard: &'a Guard,
    pub(super) states: &'a [FleetState],
    pub(super) assessed: &'a [Assessed],
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) standings: &'a [Standing],
    pub(super) solution: &'a Result<Solution, InstanceError>,
    pub(super) wanted: &'a [u32],
    pub(super) decided: &'a [u32],
    pub(super) degraded: &'a [rails::Standing],
    pub(super) verdicts: &'a [Verdict],
}

/// One record per fleet.
pub(super) fn decisions(facts: &Facts<'_>) -> Vec<Decision> {
    (0..facts.view.world.fleets.len())
        .map(|index| OneFleet { facts, fleet: FleetId(index as u16) }.decision())
        .collect()
}

/// The record of one fleet in the making.
pub(super) struct OneFleet<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) fleet: FleetId,
}

impl OneFleet<'_> {
    pub(super) fn world(&self) -> &World {
        self.facts.view.world
    }

    pub(super) fn assessed(&self) -> &Assessed {
        &self.facts.assessed[self.fleet.index()]
    }

    pub(super) fn mix(&self) -> Option<&FleetMix> {
        self.facts.solution.as_ref().ok()?.fleets.get(self.fleet.index())
    }

    pub(super) fn variants(&self) -> impl Iterator<Item = VariantId> + '_ {
        self.world().variants_of(self.fleet).map(|(id, _)| id)
    }

    fn decision(&self) -> Decision {
        let facts = self.facts;
        let price = |id: VariantId| -> Option<f64> {
            let replicas = facts.decided[id.index()];
            if replicas == 0 {
                return Some(0.0);
            }
            Some(self.world().replica_price(id)?.0 * f64::from(replicas))
        };
        let solved = facts.solution.as_ref().ok().filter(|_| self.assessed().needs.is_some());
        let alone = facts.view.world.fleets.len() == 1;
        Decision {
            schema: SCHEMA.to_owned(),
            fleet: self.world().fleets[self.fleet.index()].name.clone(),
            number: facts.number,
            at_s: facts.now.since(Time::ZERO).as_seconds(),
            inputs: self.inputs(),
            tiers: self.tiers(),
            needs: self.needs(),
            variants: self.variants().map(|id| self.variant(id)).collect(),
            binding: self.binding(),
            usd_per_hour: self.variants().map(price).sum(),
            usd_per_hour_bound: solved
                .filter(|solution| alone && solution.optimal)
                .and_then(|_| self.mix())
                .map(|mix| mix.cost_per_hour),
            alternatives: self.alternatives(),
            verdicts: self.verdicts(),
            would_change: change::would_change(self),
        }
    }

    fn inputs(&self) -> Inputs {
        let Facts { view, now, evidence, .. } = self.facts;
        let mut inputs = Inputs::default();
        let router = view.metrics.router(self.fleet, *now);
        inputs.router_age_s = router.map(|page| now.since(page.at).as_seconds());
        let sight = self.assessed().sight.as_ref();
        inputs.arrivals_from = sight.map(|sight| match sight.demand.source {
            crate::demand::Source::Router => "router".to_owned(),
            crate::demand::Source::Engines => "engines".to_owned(),
        });
        let mut oldest: Option<Span> = None;
        for id in self.variants() {
            let ready = &view.targets[id.index()].endpoints_ready;
            inputs.engines_ready += ready.len() as u32;
            for (endpoint, page) in view.metrics.engines(id, *now) {
                if ready.contains(&endpoint) {
                    let age = now.since(page.at);
                    inputs.engines_fresh += u32::from(age <= FRESH);
                    oldest = Some(oldest.map_or(age, |oldest| oldest.max(age)));
                }
            }
        }
        inputs.oldest_scrape_age_s = oldest.map(Span::as_seconds);
        if let Some(missing) = evidence.fleets[self.fleet.index()].missing {
            inputs.notes.push(missing.to_string());
        }
        inputs
    }

    fn tiers(&self) -> Vec<TierRecord> {
        let slos = &self.world().fleets[self.fleet.index()].slos;
        let sight = self.assessed().sight.as_ref();
        let state = &self.facts.states[self.fleet.index()];
        let tier = |index: usize| {
            let load = sight.and_then(|sight| sight.demand.tiers.get(index).copied().flatten());
            let seen = load.filter(|load| load.workload.prompt_tokens.mean > 0.0);
            let queued = sight.and_then(|sight| sight.demand.queued.get(index).copied().flatten());
            let budget = state.budgets.get(index).and_then(Option::as_ref);
            TierRecord {
                tier: self.world().tiers[index].name.clone(),
                slo: slos.get(index).copied().flatten().map(|slo| promised(&slo)),
                requests_per_s: load.map(|load| load.requests_per_s),
                prompt_tokens: seen.map(|load| load.workload.prompt_tokens.mean),
                cached_share: seen.map(|load| load.workload.cached_share),
                output_tokens: seen.map(|load| load.workload.output_tokens.mean),
                queued: queued.map(|queued| queued.requests),
                attained: budget.and_then(|budget| Some(1.0 - budget.missed_share()?)),
                safety: budget.map(|budget| budget.level()),
            }
        };
        (0..self.world().tiers.len()).map(tier).collect()
    }

    fn needs(&self) -> Vec<NeedRecord> {
        let Assessed { sight: Some(sight), needs: Some(needs), aheads } = self.assessed() else {
            return Vec::new();
        };
        let mut records = Vec::new();
        let mut roles = Vec::new();
        for (id, need) in needs {
            let variant = &self.world().variants[id.index()];
            if roles.contains(&variant.role) {
                continue;
            }
            roles.push(variant.role);
            let ahead = aheads.get(id);
            for (row, replicas) in &need.rows {
                let Row { role, through, all } = *row;
                records.push(NeedRecord {
                    role: role.name().to_owned(),
                    through_tier: self.tier_name(through, all),
                    in_replicas_of: variant.name.clone(),
                    busy_now: sight.busy.get(&role).copied().unwrap_or(0.0),
                    busy_ahead: ahead.map_or_else(Interval::default, |ahead| Interval {
                        point: ahead.point,
                        low: ahead.low,
                        high: ahead.high,
                    }),
                    lead_s: self.facts.standings[id.index()].lead.as_seconds(),
                    quantile: ahead.map_or(sight.quantile, |ahead| ahead.quantile),
                    replicas: *replicas,
                    limit: limit_name(if all { Limit::Stability } else { need.limit }).to_owned(),
                    utilization: need.utilization,
                });
            }
        }
        records
    }

    fn tier_name(&self, tier: TierId, all: bool) -> String {
        let name = &self.world().tiers[tier.index()].name;
        if all { format!("{name}, deferred work included") } else { name.clone() }
    }

    fn variant(&self, id: VariantId) -> VariantRecord {
        let Facts { view, now, learner, guard, standings, .. } = self.facts;
        let entry = &self.world().variants[id.index()];
        let target = &view.targets[id.index()];
        let leads: Vec<Span> = standings.iter().map(|standing| standing.lead).collect();
        let coming = guard.outlook(*now, view, &leads);
        let learned = learner.variant(id);
        let need = self.assessed().needs.as_ref().and_then(|needs| needs.get(&id));
        let each = need.and_then(|need| {
            let sight = self.assessed().sight.as_ref()?;
            let all: f64 = sight.demand.requests_per_s();
            let highest = need.rows.iter().map(|(_, replicas)| *replicas).fold(0.0, f64::max);
            (highest > 2.0 * super::NEED_MIN && highest.is_finite()).then(|| all / highest)
        });
        VariantRecord {
            variant: entry.name.clone(),
            role: entry.role.name().to_owned(),
            accelerator: self.world().accelerators[entry.accelerator.index()].name.clone(),
            usd_per_hour: self.world().replica_price(id).map(|price| price.0),
            requests_per_s_each: each,
            step_time_ratio: step_time_ratio(learned),
            lead_s: standings[id.index()].lead.as_seconds(),
            ready: target.endpoints_ready.len() as u32,
            starting_in_s: coming
                .iter()
                .filter(|coming| coming.variant == id)
                .map(|coming| coming.ready_at.since(*now).as_seconds())
                .collect(),
            without_node: target.unschedulable_since.len() as u32,
            before: target.replicas_desired,
            wanted: self.facts.wanted[id.index()],
            decided: self.facts.decided[id.index()],
        }
    }

    /// What decided, in one sentence.
    fn binding(&self) -> String {
        let facts = self.facts;
        if let Err(error) = facts.solution {
            return format!("nothing was solved, so everything stays: {error}");
        }
        if self.assessed().sight.is_none() {
            return "nobody can tell what is asked of the fleet, so everything stays".to_owned();
        }
        if let rails::Standing::Degraded { error, band } = facts.degraded[self.fleet.index()] {
            return format!(
                "predictions are off by {:.0}%, beyond {:.0}%: advice only",
                error * 100.0,
                band * 100.0
            );
        }
        let overruled = facts.verdicts.iter().rev().find(|verdict| {
            verdict.fleet == self.fleet
                && verdict.change.is_some_and(|c| facts.decided[c.variant.index()] == c.to)
        });
        if let Some(verdict) = overruled
            && let Some(change) = verdict.change
            && facts.wanted[change.variant.index()] != facts.decided[change.variant.index()]
        {
            let name = &self.world().variants[change.variant.index()].name;
            return format!("{} {name} instead of {}: {}", change.to, change.from, verdict.rule);
        }
        let Some(mix) = self.mix() else { return "no mix was found".to_owned() };
        let short = mix.rows.iter().find(|row| row.shortfall > 0.0);
        if let Some(row) = short {
            return format!(
                "not everything fits: {:.0}% of what {} needs cannot be had within the limits",
                row.shortfall * 100.0,
                row.name
            );
        }
        let tightest =
            mix.rows.iter().min_by(|a, b| (a.covered / a.need).total_cmp(&(b.covered / b.need)));
        match tightest {
            Some(row) if row.covered / row.need < 2.0 => {
                format!(
                    "the least cost that holds {}: covered {:.2} times",
                    row.name,
                    row.covered / row.need
                )
            }
            _ => "the fewest replicas that the variants may have".to_owned(),
        }
    }

    fn alternatives(&self) -> Vec<Alternative> {
        let Some(mix) = self.mix() else { return Vec::new() };
        if self.assessed().needs.is_none() {
            return Vec::new();
        }
        let record = |other: &crate::plan::solve::Alternative| Alternative {
            replicas: other.replicas.clone(),
            usd_per_hour: other.cost_per_hour,
            attainment: change::attainment(self, &other.replicas),
            why_not: {
                let dearer = other.cost_per_hour - mix.cost_per_hour;
                let once = other.one_off_cost - mix.one_off_cost;
                if dearer > 0.005 {
                    format!("${dearer:.2}/h dearer")
                } else {
                    format!("${once:.2} more to start")
                }
            },
        };
        mix.alternatives.iter().map(record).collect()
    }

    fn verdicts(&self) -> Vec<VerdictRecord> {
        let mine = self.facts.verdicts.iter().filter(|verdict| verdict.fleet == self.fleet);
        mine.map(|verdict| {
            let text = verdict.change.map_or_else(
                || verdict.rule.to_string(),
                |c| {
                    let name = &self.world().variants[c.variant.index()].name;
                    format!("{name} {} -> {}: {}", c.from, c.to, verdict.rule)
                },
            );
            VerdictRecord { name: verdict.rule.name().to_owned(), text }
        })
        .collect()
    }
}

/// What a tier is promised, as people write it.
pub(crate) fn promised(slo: &Slo) -> String {
    let share = |percentile: f64| format!("{:.4}", percentile * 100.0);
    let trim = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    match *slo {
        Slo::Latency { ttft, tpot, percentile } => {
            format!("TTFT {ttft}, TPOT {tpot} at {}%", trim(share(percentile)))
        }
        Slo::Completion { within, percentile } => {
            format!("complete within {within} at {}%", trim(share(percentile)))
        }
    }
}

/// A limit as a person calls it.
pub(crate) fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::Ttft => "time to first token",
        Limit::Tpot => "time per output token",
        Limit::Kv => "room for KV",
        Limit::Sequences => "sequences at once",
        Limit::Stability => "throughput",
        Limit::TtftUnreachable => "throughput (not even an idle replica keeps the TTFT)",
        Limit::TpotUnreachable => "throughput (not even a lone request keeps the TPOT)",
        Limit::TooLarge => "room for KV (a mean request does not fit)",
        Limit::NoDemand => "nothing: there is no demand",
    }
}

/// Step time in force over the profile's, with two standard deviations; `None` where the profile
/// stands as it is. The dearest part, per token, stands for the whole.
fn step_time_ratio(learned: &crate::learn::LearnedVariant) -> Option<Interval> {
    let physics = learned.physics();
    if !physics.in_force() || physics.score().prior <= super::PROFILE_TRUSTED {
        return None;
    }
    let [_, per_token, _] = physics.multipliers();
    let spread = 2.0 * per_token.deviation;
    Some(Interval {
        point: per_token.value,
        low: (per_token.value - spread).max(0.0),
        high: per_token.value + spread,
    })
}
