//! A run over time, in equal steps, for the report.

use std::collections::BTreeMap;

use forebay_core::engine::work::WorkModel;
use forebay_core::fleet::{Role, World};
use forebay_core::ids::{AcceleratorId, FleetId, VariantId};
use forebay_core::time::{PICOS_PER_SECOND, Picos, Span};

use super::flights::Flight;
use super::{Simulation, variant_name};
use crate::report::Timeline;

/// Step lengths to choose from, s.
const STEPS_S: &[u64] = &[10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600];
/// Most steps that the window may take; the run-off comes on top.
const STEPS_MAX: u64 = 300;

/// Lengths of the nominal request by which variants of a role are compared: the means of a week
/// of production chat (ServeGen m-large: 1115 prompt and 183 output tokens).
const NOMINAL_PROMPT_TOKENS: f64 = 1_115.0;
const NOMINAL_OUTPUT_TOKENS: f64 = 183.0;

/// Collects a [`Timeline`].
pub(super) struct TimelineRecorder {
    step: Picos,
    index: u32,
    timeline: Timeline,
    /// One per fleet and role with variants.
    roles: Vec<RoleSeries>,
    /// By fleet: indices into `roles`.
    roles_of: Vec<Vec<usize>>,
    /// By variant: index into `roles`, and nominal speed relative to the role's first variant.
    speed_of: Vec<(usize, f64)>,
    tiers: Vec<String>,
    missed: Vec<Vec<u64>>,
    arrivals: Vec<Vec<u64>>,
    cost_before: f64,
    replica_seconds: Vec<f64>,
    accelerator_names: Vec<String>,
}

struct RoleSeries {
    name: String,
    role: Role,
    /// Work of a request on the role's first variant.
    work: WorkModel,
    demand_s: f64,
    ready: f64,
    ready_since: Picos,
    ready_s: f64,
    demand: Vec<f64>,
    capacity: Vec<f64>,
}

impl RoleSeries {
    fn work_s(&self, prompt_tokens: f64, output_tokens: f64) -> f64 {
        work_s(&self.work, self.role, prompt_tokens, output_tokens)
    }

    fn settle(&mut self, now: Picos) {
        let span = now.saturating_sub(self.ready_since) as f64 / PICOS_PER_SECOND as f64;
        self.ready_s += self.ready * span;
        self.ready_since = now;
    }
}

fn work_s(work: &WorkModel, role: Role, prompt_tokens: f64, output_tokens: f64) -> f64 {
    let prefill = work.prefill_s(prompt_tokens, 0.0);
    let decode = work.decode_s(prompt_tokens, output_tokens);
    match role {
        Role::Both => prefill + decode,
        Role::Prefill => prefill,
        Role::Decode => decode,
    }
}

impl TimelineRecorder {
    pub(super) fn new(world: &World, duration: Span) -> Self {
        let seconds = duration.as_seconds() as u64;
        let step_s = STEPS_S
            .iter()
            .copied()
            .find(|step| seconds / step <= STEPS_MAX)
            .unwrap_or(seconds / STEPS_MAX + 1);
        let mut roles: Vec<RoleSeries> = Vec::new();
        let mut roles_of = vec![Vec::new(); world.fleets.len()];
        let mut speed_of = Vec::new();
        for variant in &world.variants {
            let model =
                WorkModel::new(&variant.profile, NOMINAL_PROMPT_TOKENS, NOMINAL_OUTPUT_TOKENS);
            let fleet = &world.fleets[variant.fleet.index()].name;
            let name = format!("{fleet}/{}", variant.role.name());
            let index = roles.iter().position(|role| role.name == name).unwrap_or_else(|| {
                roles_of[variant.fleet.index()].push(roles.len());
                roles.push(RoleSeries {
                    name,
                    role: variant.role,
                    work: model,
                    demand_s: 0.0,
                    ready: 0.0,
                    ready_since: 0,
                    ready_s: 0.0,
                    demand: Vec::new(),
                    capacity: Vec::new(),
                });
                roles.len() - 1
            });
            let nominal = |work: &WorkModel| {
                work_s(work, variant.role, NOMINAL_PROMPT_TOKENS, NOMINAL_OUTPUT_TOKENS)
            };
            speed_of.push((index, nominal(&roles[index].work) / nominal(&model)));
        }
        Self {
            step: step_s * PICOS_PER_SECOND,
            index: 0,
            timeline: Timeline { step_s: step_s as f64, ..Timeline::default() },
            roles,
            roles_of,
            speed_of,
            tiers: world.tiers.iter().map(|tier| tier.name.clone()).collect(),
            missed: vec![Vec::new(); world.tiers.len()],
            arrivals: vec![Vec::new(); world.tiers.len()],
            cost_before: 0.0,
            replica_seconds: vec![0.0; world.variants.len()],
            accelerator_names: world.accelerators.iter().map(|class| class.name.clone()).collect(),
        }
    }

    /// Length of one step.
    pub(super) const fn step(&self) -> Picos {
        self.step
    }

    /// Number of the step in progress.
    pub(super) const fn current_step(&self) -> u32 {
        self.index
    }

    /// A request arrived.
    pub(super) fn arrived(&mut self, flight: &Flight) {
        count(&mut self.arrivals[flight.tier.index()], self.index);
        let (prompt, output) = (f64::from(flight.prompt_tokens), f64::from(flight.output_tokens));
        for &role in &self.roles_of[flight.fleet.index()] {
            let work_s = self.roles[role].work_s(prompt, output);
            self.roles[role].demand_s += work_s;
        }
    }

    /// A request did not attain; it counts where it arrived.
    pub(super) fn missed(&mut self, flight: &Flight) {
        count(&mut self.missed[flight.tier.index()], flight.timeline_step);
    }

    /// A replica of a variant began or ceased to serve.
    pub(super) fn capacity_changed(&mut self, now: Picos, variant: VariantId, change: i32) {
        let (role, speed) = self.speed_of[variant.index()];
        let series = &mut self.roles[role];
        series.settle(now);
        series.ready = (series.ready + f64::from(change) * speed).max(0.0);
    }

    /// The replica log of a variant starts again from zero at the end of a step, or within one.
    pub(super) fn replica_log_reset(&mut self, variant: usize, held_before_s: f64) {
        self.replica_seconds[variant] -= held_before_s;
    }

    /// The finished timeline.
    pub(super) fn take(&mut self) -> Timeline {
        let mut timeline = std::mem::take(&mut self.timeline);
        let steps = self.index as usize;
        for role in &mut self.roles {
            timeline.demand.insert(role.name.clone(), std::mem::take(&mut role.demand));
            timeline.capacity.insert(role.name.clone(), std::mem::take(&mut role.capacity));
        }
        for (index, tier) in self.tiers.iter().enumerate() {
            for counts in [&mut self.arrivals[index], &mut self.missed[index]] {
                counts.resize(steps, 0);
            }
            timeline.arrivals.insert(tier.clone(), self.arrivals[index].clone());
            timeline.missed.insert(tier.clone(), self.missed[index].clone());
        }
        timeline
    }
}

fn count(counts: &mut Vec<u64>, step: u32) {
    let step = step as usize;
    if counts.len() <= step {
        counts.resize(step + 1, 0);
    }
    counts[step] += 1;
}

impl Simulation<'_> {
    /// A step of the timeline ends.
    pub(super) fn timeline_step(&mut self) {
        let now = self.now;
        self.meter.settle(now);
        let seconds = self.timeline.step as f64 / PICOS_PER_SECOND as f64;
        for role in &mut self.timeline.roles {
            role.settle(now);
            role.demand.push(std::mem::take(&mut role.demand_s) / seconds);
            role.capacity.push(std::mem::take(&mut role.ready_s) / seconds);
        }
        let held: BTreeMap<String, f64> = (0..self.alive.len())
            .map(|variant| {
                let name = variant_name(self.world, VariantId(variant as u16));
                let total = self.replica_log[variant].replica_seconds_until(now);
                let before = &mut self.timeline.replica_seconds[variant];
                let mean = (total - std::mem::replace(before, total)) / seconds;
                (name, mean)
            })
            .collect();
        for (name, mean) in held {
            self.timeline.timeline.replicas.entry(name).or_default().push(mean);
        }
        for (index, name) in self.timeline.accelerator_names.iter().enumerate() {
            let held = f64::from(self.meter.held(AcceleratorId(index as u8)));
            self.timeline.timeline.accelerators.entry(name.clone()).or_default().push(held);
        }
        let cost = self.meter.lifetime_cost_usd();
        let before = std::mem::replace(&mut self.timeline.cost_before, cost);
        self.timeline.timeline.cost_usd.push(cost - before);
        let queued = self.queued() + self.clients.waiting();
        self.timeline.timeline.queued.push(queued);
        self.timeline.index += 1;
        self.calendar.push(now + self.timeline.step, super::calendar::Event::TimelineStep);
    }

    /// Requests held by gates.
    fn queued(&self) -> u64 {
        let tiers = self.world.tiers.len() as u8;
        (0..self.gates.len())
            .flat_map(|fleet| (0..tiers).map(move |tier| (FleetId(fleet as u16), tier)))
            .map(|(fleet, tier)| {
                self.gates[fleet.index()].gate.queued(forebay_core::ids::TierId(tier)).requests
            })
            .sum()
    }
}
