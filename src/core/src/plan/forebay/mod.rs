//! Our planner: from what engines and gates show to the least fleet that holds every SLO.
//!
//! At each decision, for all fleets together: learn ([`crate::learn`]); read the demand and look
//! ahead to each variant's lead time ([`fleet`]); size every variant for it at the percentile
//! ([`needs`]); find the least cost over all of them ([`mix`]); then guard and rails. Each
//! decision is written down ([`record`]).

mod change;
mod fleet;
mod foresee;
mod glide;
mod lifetime;
pub(crate) mod mix;
pub(crate) mod needs;
#[cfg(test)]
mod peers_tests;
pub(crate) mod record;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;

pub use settings::Settings;
pub use snapshot::{BYTES_PER_FLEET_MAX, SnapshotError};

use super::evidence::{DataWatch, Evidence, FleetEvidence, PredictionError};
use super::guard::{Guard, GuardSettings, PoolNeed, Wanted};
use super::rails::{self, RailSettings, Rails};
use super::solve::{self, Plan, Solution};
use super::verdict::Verdict;
use super::{FleetView, PlanEffect, PlanEvent, Planner};
use crate::capacity::Sizer;
use crate::demand::Ahead;
use crate::engine::profile::EngineProfile;
use crate::fleet::World;
use crate::ids::{FleetId, VariantId};
use crate::learn::Learner;
use crate::time::{Span, Time};

use fleet::{FleetState, Sight};
use foresee::Foresee;
use glide::Glide;
use lifetime::Lifetimes;
use mix::{FleetNeeds, Standing};

/// Partial mixes that one decision may look at: some ten milliseconds.
const NODES: u64 = 200_000;
/// Need of a row that needs nothing, replicas: what it costs to divide by it.
const NEED_MIN: f64 = 1e-6;
/// Error of step times up to which a profile is believed as it is. What is learned fits the
/// window means better in any case, but a part of what it then says of single coefficients is the
/// error of taking means: with a true profile up to a tenth of the dearest one.
const PROFILE_TRUSTED: f64 = 0.1;
/// Replays of the sizer at a time; each takes some ten milliseconds.
const REPLAYS: usize = 1;
/// How often replays are made: workloads drift slowly.
const REPLAY_EVERY: Span = Span::from_secs(60);
/// Other mixes that are listed for each fleet.
const ALTERNATIVES: usize = 3;

/// The planner.
#[derive(Clone, Debug)]
pub struct Forebay {
    settings: Settings,
    due: Time,
    learner: Learner,
    fleets: Vec<FleetState>,
    glides: Vec<Glide>,
    lifetimes: Lifetimes,
    foresees: Vec<Foresee>,
    sizer: Sizer,
    watch: DataWatch,
    guard: Guard,
    rails: Rails,
    replayed_at: Option<Time>,
    last: Option<Plan>,
    decisions: u64,
}

/// One fleet's way to its decision.
struct Assessed {
    sight: Option<Sight>,
    needs: Option<FleetNeeds>,
    aheads: BTreeMap<VariantId, Ahead>,
}

impl Forebay {
    /// A planner that decides at once and then every interval.
    #[must_use]
    pub fn new(world: &World, settings: Settings) -> Self {
        let fleets = (0..world.fleets.len()).map(|index| FleetId(index as u16));
        let guard = GuardSettings {
            window: settings.window,
            interval: settings.interval,
            patience: settings.patience,
            ..GuardSettings::default()
        };
        Self {
            settings,
            due: Time::ZERO,
            learner: Learner::new(world),
            fleets: fleets.map(|fleet| FleetState::new(world, fleet, &settings)).collect(),
            glides: vec![Glide::default(); world.fleets.len()],
            lifetimes: Lifetimes::default(),
            foresees: vec![Foresee::default(); world.fleets.len()],
            sizer: Sizer::default(),
            watch: DataWatch::default(),
            guard: Guard::new(guard),
            rails: Rails::new(RailSettings::default()),
            replayed_at: None,
            last: None,
            decisions: 0,
        }
    }

    fn decide(&mut self, now: Time, view: &FleetView<'_>, effects: &mut Vec<PlanEffect>) {
        self.decisions += 1;
        let world = view.world;
        self.learner.observe(now, view);
        let leads: Vec<Span> =
            (0..world.variants.len()).map(|index| self.lead(VariantId(index as u16))).collect();
        let ceilings = self.guard.ceilings(now);
        let given = self.guard.given(now, view);
        self.lifetimes.observe(now, view.targets.iter().map(|target| target.replicas_desired));
        let standings: Vec<Standing> = (0..world.variants.len())
            .map(|index| Standing {
                held: view.targets[index].replicas_desired,
                most: ceilings.get(index).copied().flatten(),
                given: given.get(index).copied().flatten(),
                lead: leads[index],
                lasts: self.lifetimes.of(index, self.settings.horizon),
            })
            .collect();
        let missing: Vec<_> = (0..world.fleets.len())
            .map(|index| self.watch.missing(now, view, FleetId(index as u16)))
            .collect();
        let assessed: Vec<Assessed> = missing
            .iter()
            .enumerate()
            .map(|(index, missing)| {
                self.assess(now, view, FleetId(index as u16), &leads, missing.is_some())
            })
            .collect();
        if self.replayed_at.is_none_or(|at| now.since(at) >= REPLAY_EVERY) {
            self.sizer.refresh(REPLAYS);
            self.replayed_at = Some(now);
        }
        let needs = self.glide(now, world, &assessed, &leads);
        let instance = mix::instance(world, &needs, &standings, &self.settings);
        let budget = solve::Budget { nodes: NODES, alternatives: ALTERNATIVES };
        // Needs are numbers of at least a millionth and manifests are checked: an instance that
        // the solver refuses changes nothing, and the record says so.
        let solution = solve::solve(&instance, self.last.as_ref(), budget);
        let wanted = wanted(view, &assessed, solution.as_ref().ok());
        let fleets: Vec<FleetEvidence> = missing
            .into_iter()
            .zip(&assessed)
            .enumerate()
            .map(|(index, (missing, assessed))| {
                let error = self.prediction_error(world, FleetId(index as u16));
                self.fleets[index].evidence(missing, assessed.sight.as_ref(), error)
            })
            .collect();
        let evidence = Evidence { fleets: &fleets, leads: &leads };
        let mut verdicts: Vec<Verdict> = Vec::new();
        let mut replicas = self.guard.step(now, view, &wanted, &evidence, &mut verdicts);
        if self.settings.roll {
            let solution = solution.as_ref().ok();
            let (to, said) = (&mut replicas, &mut verdicts);
            self.foresee(now, view, &assessed, &leads, solution, to, said, effects);
        }
        let degraded = self.rails.apply(now, view, &mut replicas, &evidence, &mut verdicts);
        let advised = |variant: usize| {
            let fleet = world.variants[variant].fleet.index();
            matches!(degraded.get(fleet), Some(rails::Standing::Degraded { .. }))
        };
        let written: Vec<u32> = replicas
            .iter()
            .enumerate()
            .map(|(index, &replicas)| {
                let before = view.targets[index].replicas_desired;
                if advised(index) { before } else { standings[index].given.unwrap_or(replicas) }
            })
            .collect();
        self.guard.asked(now, view, &written);
        self.rails.asked(now, view, &written);
        let records = record::decisions(&record::Facts {
            now,
            view,
            number: self.decisions,
            settings: &self.settings,
            learner: &self.learner,
            sizer: &self.sizer,
            guard: &self.guard,
            states: &self.fleets,
            assessed: &assessed,
            evidence: &evidence,
            standings: &standings,
            solution: &solution,
            wanted: &wanted.replicas,
            decided: &replicas,
            degraded: &degraded,
            verdicts: &verdicts,
        });
        for (index, &replicas) in written.iter().enumerate() {
            if view.targets[index].replicas_desired != replicas {
                let fleet = world.variants[index].fleet;
                let reason = records[fleet.index()].binding.clone();
                effects.push(PlanEffect::Scale {
                    variant: VariantId(index as u16),
                    replicas,
                    reason,
                });
            }
        }
        effects.extend(records.into_iter().map(|record| PlanEffect::Decided(Box::new(record))));
        self.last = solution.ok().map(|solution| solution.plan()).or_else(|| self.last.take());
    }

    /// The needs to solve for: each row raised to the highest of the window, by one factor in all
    /// variants.
    fn glide(
        &mut self,
        now: Time,
        world: &World,
        assessed: &[Assessed],
        leads: &[Span],
    ) -> Vec<Option<FleetNeeds>> {
        let mut all = Vec::with_capacity(assessed.len());
        for (index, assessed) in assessed.iter().enumerate() {
            let fleet = FleetId(index as u16);
            let lead = world.variants_of(fleet).map(|(id, _)| leads[id.index()]).max();
            let window = self.settings.window.max(lead.unwrap_or_default());
            let glide = &mut self.glides[index];
            let mut factors: BTreeMap<String, f64> = BTreeMap::new();
            let mut needs = assessed.needs.clone();
            let rows = needs.iter_mut().flat_map(|needs| needs.values_mut());
            for (row, replicas) in rows.flat_map(|need| &mut need.rows) {
                let name = needs::row_name(world, row);
                *replicas *= *factors
                    .entry(name)
                    .or_insert_with_key(|name| glide.factor(now, name, *replicas, window));
            }
            all.push(needs);
        }
        all
    }

    /// The profile to size with: the manifest's while it foretells step times well.
    fn profile<'a>(
        learner: &'a Learner,
        world: &'a World,
        id: VariantId,
        settings: &Settings,
    ) -> &'a EngineProfile {
        if Self::believes_learned(learner, id, settings) {
            learner.profile(id)
        } else {
            &world.variants[id.index()].profile
        }
    }

    fn believes_learned(learner: &Learner, id: VariantId, settings: &Settings) -> bool {
        let physics = learner.variant(id).physics();
        settings.learn && physics.in_force() && physics.score().prior > PROFILE_TRUSTED
    }

    /// How far the step times that a fleet is sized with were off lately: of the variant that was
    /// judged by the most windows.
    fn prediction_error(&self, world: &World, fleet: FleetId) -> Option<PredictionError> {
        let ids = world.variants_of(fleet).map(|(id, _)| id);
        let most = ids.max_by_key(|id| self.learner.variant(*id).physics().score().windows)?;
        let score = self.learner.variant(most).physics().score();
        let learned = Self::believes_learned(&self.learner, most, &self.settings);
        let logarithm = if learned { score.learned } else { score.prior };
        let samples = u32::try_from(score.windows).unwrap_or(u32::MAX);
        (samples > 0).then(|| PredictionError { relative: logarithm.exp_m1(), samples })
    }

    /// From asked for to ready with a new node: nine in ten are faster.
    fn lead(&self, variant: VariantId) -> Span {
        Span::from_seconds(self.learner.variant(variant).start_up().p90_with_node_s())
    }

    fn assess(
        &mut self,
        now: Time,
        view: &FleetView<'_>,
        fleet: FleetId,
        leads: &[Span],
        frozen: bool,
    ) -> Assessed {
        let world = view.world;
        let learner = &self.learner;
        let settings = self.settings;
        let profile_of = |id: VariantId| Self::profile(learner, world, id, &settings);
        let state = &mut self.fleets[fleet.index()];
        let Some(sight) = state.observe(now, view, &profile_of, &self.settings, frozen) else {
            return Assessed { sight: None, needs: None, aheads: BTreeMap::new() };
        };
        let mut needs = FleetNeeds::new();
        let mut aheads = BTreeMap::new();
        for (id, variant) in world.variants_of(fleet) {
            let (asked, ahead) =
                state.asked(now, &sight, variant.role, leads[id.index()], &self.settings);
            let profile = Self::profile(learner, world, id, &self.settings);
            let lead = leads[id.index()];
            let sizer = &mut self.sizer;
            let mut need =
                needs::of_variant(sizer, world, id, profile, &asked, lead, &self.settings);
            for (_, replicas) in &mut need.rows {
                *replicas = replicas.max(NEED_MIN);
            }
            needs.insert(id, need);
            aheads.extend(ahead.map(|ahead| (id, ahead)));
        }
        Assessed { sight: Some(sight), needs: Some(needs), aheads }
    }
}

/// What the solver wants, with what each pool needs of its first variant; a fleet whose demand
/// nobody knows keeps what it has.
fn wanted(view: &FleetView<'_>, assessed: &[Assessed], solution: Option<&Solution>) -> Wanted {
    let world = view.world;
    let mut replicas: Vec<u32> = view.targets.iter().map(|t| t.replicas_desired).collect();
    let mut pools = Vec::new();
    for (index, assessed) in assessed.iter().enumerate() {
        let fleet = FleetId(index as u16);
        let mix = solution.and_then(|solution| solution.fleets.get(index));
        let needs = assessed.needs.as_ref().filter(|_| mix.is_some());
        if let (Some(mix), Some(_)) = (mix, needs) {
            for ((id, _), wanted) in world.variants_of(fleet).zip(&mix.variants) {
                replicas[id.index()] = wanted.replicas;
            }
        }
        for role in needs::roles(world, fleet) {
            let highest = |id: VariantId| -> Option<f64> {
                let need = needs?.get(&id)?;
                let finite = need.rows.iter().map(|(_, replicas)| *replicas);
                Some(finite.fold(NEED_MIN, f64::max))
            };
            let members: Vec<VariantId> = world
                .variants_of(fleet)
                .filter(|(_, variant)| variant.role == role)
                .map(|(id, _)| id)
                .collect();
            let Some(reference) = members.first().and_then(|id| highest(*id)) else {
                pools.push(PoolNeed {
                    fleet,
                    role,
                    need: None,
                    shares: members.into_iter().map(|id| (id, 1.0)).collect(),
                });
                continue;
            };
            let share = |id: VariantId| {
                let own = highest(id).unwrap_or(f64::INFINITY);
                // A variant on which nothing fits stands for nothing.
                if own.is_finite() && reference.is_finite() { reference / own } else { 0.0 }
            };
            let shares: Vec<(VariantId, f64)> =
                members.iter().map(|id| (*id, share(*id))).collect();
            // Where another role serves part of it (aggregated beside split), no more than what
            // the mix gives this one.
            let given: f64 =
                shares.iter().map(|(id, share)| f64::from(replicas[id.index()]) * share).sum();
            let alone = needs::roles(world, fleet).len() == 1 || role != crate::fleet::Role::Both;
            let need = if alone { reference } else { reference.min(given) };
            pools.push(PoolNeed { fleet, role, need: Some(need), shares });
        }
    }
    Wanted { replicas, pools }
}

impl Planner for Forebay {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        let view = match event {
            PlanEvent::Due(view) => view,
            PlanEvent::Rolled(answer) => {
                if let Some(foresee) = self.foresees.get_mut(answer.fleet.index()) {
                    foresee.answered(now, answer);
                }
                return;
            }
        };
        if now < self.due {
            return;
        }
        self.due = now + self.settings.interval;
        self.decide(now, view, effects);
    }

    fn next_deadline(&self) -> Option<Time> {
        Some(self.due)
    }
}
