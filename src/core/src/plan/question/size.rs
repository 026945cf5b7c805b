//! Sizing and solving the question, exactly: replays are made until none is missing.

use std::collections::BTreeMap;

use super::Manner;
use super::ask::Asks;
use crate::capacity::Sizer;
use crate::demand::TierLoad;
use crate::engine::profile::EngineProfile;
use crate::fleet::{Role, World};
use crate::ids::{FleetId, VariantId};
use crate::learn::Learner;
use crate::plan::forebay::Settings;
use crate::plan::forebay::mix::{self, FleetNeeds, Standing};
use crate::plan::forebay::needs::{self, Asked};
use crate::plan::solve::{self, Budget, Instance, InstanceError, Solution};
use crate::time::Span;

/// Rounds of replays: each may move the count of replicas to where another replay is missing.
const ROUNDS_MAX: usize = 6;
/// Replays in all, of some ten milliseconds each: more variants than that are answered in part
/// by the closed form.
const REPLAYS_MAX: u32 = 400;
/// How long a mix is held, for what starting costs beside it: a month.
const HORIZON: Span = Span::from_secs(30 * 86_400);
/// Share of the time of replicas that work may take which can wait: a demand that is given as
/// steady is not expected to grow.
const SATURATED: f64 = 0.95;
/// Partial mixes that one solve may look at: about a second at most, usually far less.
const NODES: u64 = 20_000_000;

/// A question that is a little different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    LoadLower,
    LoadHigher,
    StepsFaster,
    StepsSlower,
}

impl Change {
    pub(super) const ALL: [Self; 4] =
        [Self::LoadLower, Self::LoadHigher, Self::StepsFaster, Self::StepsSlower];

    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::LoadLower => "load 20% lower",
            Self::LoadHigher => "load 20% higher",
            Self::StepsFaster => "steps 10% faster",
            Self::StepsSlower => "steps 10% slower",
        }
    }

    const fn load(self) -> f64 {
        match self {
            Self::LoadLower => 0.8,
            Self::LoadHigher => 1.2,
            Self::StepsFaster | Self::StepsSlower => 1.0,
        }
    }

    const fn steps(self) -> f64 {
        match self {
            Self::StepsFaster => 0.9,
            Self::StepsSlower => 1.1,
            Self::LoadLower | Self::LoadHigher => 1.0,
        }
    }
}

/// What every variant needs, and the mix that is the least cost.
pub(super) struct Sized {
    pub(super) needs: Vec<Option<FleetNeeds>>,
    pub(super) solution: Solution,
}

/// The question, with the replays that it has cost so far.
pub(super) struct Question<'a> {
    pub(super) world: &'a World,
    pub(super) asks: &'a Asks,
    pub(super) replays: u32,
    settings: Settings,
    sizer: Sizer,
    standings: Vec<Standing>,
    alternatives: usize,
}

impl<'a> Question<'a> {
    pub(super) fn new(world: &'a World, asks: &'a Asks, manner: Manner) -> Self {
        let learner = Learner::new(world);
        let standing = |index: usize| {
            let start_up = learner.variant(VariantId(index as u16)).start_up();
            let lead = Span::from_seconds(start_up.p90_with_node_s());
            Standing { held: 0, most: None, given: None, lead, lasts: HORIZON }
        };
        // The percentile itself, nothing spent and nothing saved; a demand that is given is not
        // forecast.
        let settings = Settings {
            rho: 1.0,
            rho_saturated: SATURATED,
            safety: 0.0,
            tiered: manner.tiered,
            horizon: HORIZON,
            ..Settings::default()
        };
        Self {
            world,
            asks,
            replays: 0,
            settings,
            sizer: Sizer::default(),
            standings: (0..world.variants.len()).map(standing).collect(),
            alternatives: manner.alternatives,
        }
    }

    /// The answer, with replays for everything that it rests on.
    pub(super) fn exact(&mut self) -> Result<Sized, InstanceError> {
        let needs = self.replayed(1.0);
        self.solved(needs, self.alternatives)
    }

    /// The answer to a question that is a little different. Step times move the replays by the
    /// closed form: they are not made anew.
    pub(super) fn changed(&mut self, change: Change) -> Result<Sized, InstanceError> {
        let needs = if matches!(change, Change::StepsFaster | Change::StepsSlower) {
            let mut sizer = self.sizer.clone();
            size(self.world, self.asks, &self.settings, &mut sizer, 1.0, change.steps())
        } else {
            self.replayed(change.load())
        };
        self.solved(needs, 0)
    }

    fn replayed(&mut self, load: f64) -> Vec<Option<FleetNeeds>> {
        let mut needs = size(self.world, self.asks, &self.settings, &mut self.sizer, load, 1.0);
        for _ in 0..ROUNDS_MAX {
            let missing = u32::try_from(self.sizer.refresh(0)).unwrap_or(u32::MAX);
            let made = missing.min(REPLAYS_MAX.saturating_sub(self.replays));
            if made == 0 {
                break;
            }
            self.sizer.refresh(made as usize);
            self.replays += made;
            needs = size(self.world, self.asks, &self.settings, &mut self.sizer, load, 1.0);
        }
        needs
    }

    fn solved(
        &self,
        needs: Vec<Option<FleetNeeds>>,
        alternatives: usize,
    ) -> Result<Sized, InstanceError> {
        let mut instance = mix::instance(self.world, &needs, &self.standings, &self.settings);
        self.limit(&mut instance);
        let solution = solve::solve(&instance, None, Budget { nodes: NODES, alternatives })?;
        Ok(Sized { needs, solution })
    }

    /// Limits of the manifests, which the planner keeps by its rails.
    fn limit(&self, instance: &mut Instance) {
        for (entry, ask) in self.world.fleets.iter().zip(&mut instance.fleets) {
            let limits = &entry.rails.limits;
            ask.max_cost_per_hour = limits.cost_per_hour_max;
            for (class, most) in &limits.accelerators_max {
                let name = self.world.accelerators[class.index()].name.clone();
                ask.accelerators_max.insert(name, *most);
            }
        }
    }

    /// Predicted share of each tier's requests that attain with a mix.
    pub(super) fn attainment(
        &self,
        fleet: FleetId,
        needs: Option<&FleetNeeds>,
        replicas: &BTreeMap<String, u32>,
    ) -> BTreeMap<String, f64> {
        let mut attained: BTreeMap<String, f64> = BTreeMap::new();
        let asked = self.asks[fleet.index()].as_ref();
        let Some((asked, needs)) = asked.zip(needs) else { return attained };
        let roles = needs::roles(self.world, fleet);
        let split = roles.contains(&Role::Decode);
        for role in roles.into_iter().filter(|role| !split || *role != Role::Both) {
            for prefix in 0..asked.urgent.len() {
                let Some(share) = self.prefix(fleet, role, needs, replicas, asked, prefix) else {
                    continue;
                };
                let tier = &self.world.tiers[asked.urgent[prefix].0.index()].name;
                // Both parts have to keep theirs.
                attained.entry(tier.clone()).and_modify(|both| *both *= share).or_insert(share);
            }
        }
        attained
    }

    /// One role's part: the mix counts as so many of the variant that it has most of.
    fn prefix(
        &self,
        fleet: FleetId,
        role: Role,
        needs: &FleetNeeds,
        replicas: &BTreeMap<String, u32>,
        asked: &Asked,
        prefix: usize,
    ) -> Option<f64> {
        let tier = asked.urgent.get(prefix)?.0;
        let cell = if self.settings.tiered { prefix } else { 0 };
        let held: Vec<(VariantId, f64, f64)> = self
            .world
            .variants_of(fleet)
            .filter(|(_, entry)| entry.role == role || entry.role == Role::Both)
            .filter_map(|(id, entry)| {
                let count = f64::from(*replicas.get(&entry.name)?);
                let rows = &needs.get(&id)?.rows;
                let row = |through| rows.iter().find(|(row, _)| !row.all && row.through == through);
                let (_, need) = row(tier).or_else(|| rows.first())?;
                (*need > 0.0 && need.is_finite()).then_some((id, count, *need))
            })
            .collect();
        let most = held.iter().max_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)));
        let Some(&(reference, _, own)) = most else {
            // Nothing serves it, unless nothing of it is timed.
            return needs.keys().find_map(|id| self.sizer.held(*id, cell as u8, 1)).map(|_| 0.0);
        };
        let counted: f64 = held.iter().map(|(_, count, need)| count * own / need).sum();
        // Where `own` replicas hold the rate at the percentile, `counted` of them run at a load of
        // `own / counted` of that.
        let about = own.ceil().max(1.0) as u32;
        let most_per_s = self.sizer.held(reference, cell as u8, about)?.requests_per_s;
        self.sizer.attainment(reference, cell as u8, most_per_s * own / counted, about)
    }
}

/// What every variant of every fleet needs.
fn size(
    world: &World,
    asks: &Asks,
    settings: &Settings,
    sizer: &mut Sizer,
    load: f64,
    steps: f64,
) -> Vec<Option<FleetNeeds>> {
    let nothing = Asked::default();
    let mut all = Vec::with_capacity(asks.len());
    for (index, asked) in asks.iter().enumerate() {
        // A fleet of which nothing is asked keeps its minimums.
        let asked = scaled(asked.as_ref().unwrap_or(&nothing), load);
        let mut needs = FleetNeeds::new();
        for (id, entry) in world.variants_of(FleetId(index as u16)) {
            let mut profile: EngineProfile = entry.profile.clone();
            profile.step_time.calibration *= steps;
            let need = needs::of_variant(sizer, world, id, &profile, &asked, Span::ZERO, settings);
            needs.insert(id, need);
        }
        all.push(Some(needs));
    }
    all
}

fn scaled(asked: &Asked, factor: f64) -> Asked {
    let scale = |loads: &[(crate::ids::TierId, TierLoad)]| {
        let scale = |(tier, load): &(crate::ids::TierId, TierLoad)| {
            (*tier, TierLoad { requests_per_s: load.requests_per_s * factor, ..*load })
        };
        loads.iter().map(scale).collect::<Vec<_>>()
    };
    Asked {
        urgent: scale(&asked.urgent),
        expected: scale(&asked.expected),
        deferred: scale(&asked.deferred),
        waiting: asked.waiting,
    }
}
