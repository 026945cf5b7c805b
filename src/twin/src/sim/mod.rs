//! The simulated fleet: one heap of events in virtual time drives engines, gates, planner,
//! nodes, clients and faults. Same seed, same run.

mod billing;
mod calendar;
mod check;
mod clients;
mod faults;
mod flights;
mod lifecycle;
mod nodes;
mod outlook;
mod replicas;
mod requests;
mod rolls;
mod router;
mod score;
mod scrape;
mod timeline;
mod traffic;

#[cfg(test)]
mod learn_tests;
#[cfg(test)]
mod scale_in_tests;
#[cfg(test)]
mod scrape_tests;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use forebay_core::engine::{Engine, EngineEvent, Physics};
use forebay_core::explain::Decision;
use forebay_core::fleet::World;
use forebay_core::gate::{Gate, GateEffect};
use forebay_core::ids::{EndpointId, FleetId, TierId, VariantId};
use forebay_core::observe::Store;
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner, ScaleTarget};
use forebay_core::scenario::ScenarioPlan;
use forebay_core::time::{PICOS_PER_SECOND, Picos, Span, Time};

pub use rolls::ROLL_DELAY;
pub use score::TPOT_OUTPUT_TOKENS_MIN;
pub(crate) use traffic::Traffic;

use billing::Meter;
use calendar::{Calendar, Event};
use clients::Clients;
use faults::Faults;
use flights::Flights;
use nodes::Nodes;
use replicas::Replica;
use router::Router;
use score::Scores;
use timeline::TimelineRecorder;
use traffic::Incoming;

use crate::report::{ReplicaSummary, Run};
use crate::trace::{Source, TraceError};

/// A policy that does not drain its queue is cut off this long after the last deadline; what is
/// left then has timed out.
const RUN_OFF_MAX: Span = Span::from_secs(3_600);

/// One policy on one fleet and one stretch of traffic.
pub struct Setup<'a> {
    /// Fleets, as the policy's SPEC has changed them.
    pub world: &'a World,
    /// Shares, clients, billing, faults.
    pub scenario: &'a ScenarioPlan,
    /// The traffic.
    pub source: Box<dyn Source + 'a>,
    /// Length of the traffic's window: what the timeline is laid out for.
    pub duration: Span,
    /// Decides on replicas.
    pub planner: Box<dyn Planner + Send + 'a>,
    /// Decides on requests, by [`FleetId`].
    pub gates: Vec<Box<dyn Gate + Send + 'a>>,
    /// Seed of start-up times, shares and faults. Policies with the same seed meet the same luck.
    pub seed: u64,
}

/// Why a run gave no result.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The trace broke off.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The run cannot be set up.
    #[error("{what}; {hint}")]
    Setup {
        /// What is wrong.
        what: String,
        /// How to mend it.
        hint: String,
    },
    /// A rule that must always hold does not: a bug in the twin.
    #[error("invariant broken at {at}: {what}")]
    Invariant {
        /// Virtual time.
        at: Time,
        /// Which rule.
        what: String,
    },
}

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Everything but policy name, parameters and wall-clock time.
    pub run: Run,
    /// Requests simulated, scored or not.
    pub requests: u64,
    /// When the last request arrived.
    pub last_arrival: Time,
    /// Events carried out.
    pub events: u64,
}

/// Runs one policy to the end.
///
/// # Errors
/// The trace cannot be read, the set-up is impossible, or an invariant broke.
pub fn run(setup: Setup<'_>) -> Result<Measured, SimulationError> {
    Simulation::new(setup)?.run()
}

/// Hears of every decision of a planner that explains itself.
pub type Decided<'a> = Box<dyn FnMut(Decision) + Send + 'a>;

/// As [`run`]; `decided` hears of every decision.
///
/// # Errors
/// As [`run`].
pub fn run_explained<'a>(
    setup: Setup<'a>,
    decided: Decided<'a>,
) -> Result<Measured, SimulationError> {
    let mut simulation = Simulation::new(setup)?;
    simulation.decided = Some(decided);
    simulation.run()
}

struct Simulation<'a> {
    world: &'a World,
    scenario: &'a ScenarioPlan,
    seed: u64,
    now: Picos,
    calendar: Calendar,
    traffic: Traffic<'a>,
    arrival: Option<Incoming>,
    last_arrival: Picos,
    physics: Vec<Arc<Physics>>,
    replicas: Vec<Replica>,
    /// Replicas that are not gone, by variant, in order of number.
    alive: Vec<Vec<EndpointId>>,
    desired: Vec<u32>,
    /// Replicas ever asked for, by variant.
    starts: Vec<u32>,
    nodes: Nodes,
    meter: Meter,
    flights: Flights,
    clients: Clients,
    faults: Faults,
    gates: Vec<GateSeat<'a>>,
    planner: Box<dyn Planner + Send + 'a>,
    planner_due: Option<Picos>,
    decided: Option<Decided<'a>>,
    /// Answers on their way to the planner.
    rolls: std::collections::VecDeque<forebay_core::plan::roll::RollAnswer>,
    aborted: Option<String>,
    store: Store,
    routers: Vec<Router>,
    scores: Scores,
    timeline: TimelineRecorder,
    replica_log: Vec<lifecycle::ReplicaLog>,
    flaps: lifecycle::FlapCounter,
    events: u64,
    // Buffers that are used again.
    buffers: Vec<Vec<EngineEvent>>,
    plan_effects: Vec<PlanEffect>,
}

/// A gate with what the driver keeps for it.
struct GateSeat<'a> {
    gate: Box<dyn Gate + Send + 'a>,
    scrape_interval: Option<Picos>,
    due_at: Option<Picos>,
    turn: u32,
    effects: Vec<GateEffect>,
    /// Endpoints that it may be told about, ready or draining, in order of number.
    endpoints: Vec<EndpointId>,
}

impl<'a> Simulation<'a> {
    fn new(setup: Setup<'a>) -> Result<Self, SimulationError> {
        let Setup { world, scenario, source, duration, planner, gates, seed } = setup;
        check::check(world, scenario, duration, gates.len())?;
        let scores = Scores::new(world.tiers.len(), world.fleets.len()).map_err(|error| {
            SimulationError::Setup {
                what: format!("latency histograms: {error}"),
                hint: "report this as a bug".into(),
            }
        })?;
        let physics = world
            .variants
            .iter()
            .map(|variant| Physics::new(&variant.profile, &variant.profile.limits))
            .collect();
        let gates = gates
            .into_iter()
            .map(|gate| GateSeat {
                scrape_interval: gate.scrape_interval().map(Span::as_picos),
                gate,
                due_at: None,
                turn: 0,
                effects: Vec::new(),
                endpoints: Vec::new(),
            })
            .collect();
        let variants = world.variants.len();
        Ok(Self {
            world,
            scenario,
            seed,
            now: 0,
            calendar: Calendar::default(),
            traffic: Traffic::new(source, scenario, seed),
            arrival: None,
            last_arrival: 0,
            physics,
            replicas: Vec::new(),
            alive: vec![Vec::new(); variants],
            desired: world.variants.iter().map(|variant| variant.replicas_initial).collect(),
            starts: vec![0; variants],
            nodes: Nodes::new(world, scenario.billing),
            meter: Meter::new(world),
            flights: Flights::default(),
            clients: Clients::new(world.fleets.len()),
            faults: Faults::new(scenario, seed),
            gates,
            planner,
            planner_due: None,
            decided: None,
            rolls: std::collections::VecDeque::new(),
            aborted: None,
            store: Store::default(),
            routers: (0..world.fleets.len()).map(|_| Router::new(world.tiers.len())).collect(),
            scores,
            timeline: TimelineRecorder::new(world, duration),
            replica_log: vec![lifecycle::ReplicaLog::default(); variants],
            flaps: lifecycle::FlapCounter::new(variants),
            events: 0,
            buffers: Vec::new(),
            plan_effects: Vec::new(),
        })
    }

    fn run(mut self) -> Result<Measured, SimulationError> {
        self.start();
        self.arrival = self.traffic.next_arrival()?;
        loop {
            let arrival_at = self.arrival.as_ref().map(|arrival| arrival.at);
            let event_at = self.calendar.next_at();
            match (arrival_at, event_at) {
                (Some(at), event) if event.is_none_or(|event| at < event) => {
                    self.now = at;
                    self.events += 1;
                    if let Some(incoming) = self.arrival.take() {
                        self.last_arrival = at;
                        self.arrive(incoming);
                    }
                    self.arrival = self.traffic.next_arrival()?;
                }
                (_, Some(at)) => {
                    if arrival_at.is_none() && self.is_over(at) {
                        break;
                    }
                    self.now = at;
                    self.events += 1;
                    if let Some((_, event)) = self.calendar.pop() {
                        self.carry_out(event);
                    }
                }
                (_, None) => break,
            }
        }
        self.finish()
    }

    /// Enters everything that happens without anybody's decision.
    fn start(&mut self) {
        for variant in 0..self.world.variants.len() {
            self.start_initial(VariantId(variant as u16));
        }
        self.calendar.push(self.scenario.scrape_interval.as_picos(), Event::Scrape);
        self.calendar.push(self.timeline.step(), Event::TimelineStep);
        self.calendar.push(self.scenario.unscored.as_picos(), Event::ScoringBegins);
        for (at, event) in self.faults.schedule() {
            self.calendar.push(at, event);
        }
        self.schedule_planner();
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Engine { endpoint, turn } => self.engine_due(endpoint, turn),
            Event::Gate { fleet, turn } => self.gate_due(fleet, turn),
            Event::Planner => self.planner_is_due(),
            Event::Rolled => self.rolled(),
            Event::Scrape => self.scrape(),
            Event::NodeReady { node } => self.node_ready(node),
            Event::NodeIdle { node, turn } => {
                if self.nodes.idle_over(self.now, node, turn, &mut self.meter) {
                    self.place_pending();
                }
            }
            Event::ReplicaReady { endpoint } => self.replica_ready(endpoint),
            Event::DrainOver { endpoint } => self.lose(endpoint),
            Event::KvArrived { request } => self.kv_arrived(request),
            Event::LeaseOver { request, endpoint } => self.release(endpoint, request),
            Event::HoldOver { request, attempt } => self.hold_over(request, attempt),
            Event::ClientBack { request } => self.client_back(request),
            Event::Pull { fleet } => self.pull(fleet),
            Event::Fault { index, begins } => self.fault(index, begins),
            Event::Reclaim { endpoint } => self.lose(endpoint),
            Event::Place => self.place_pending(),
            Event::TimelineStep => self.timeline_step(),
            Event::ScoringBegins => {
                self.meter.reset(self.now);
                self.reset_replica_log();
            }
        }
    }

    /// Over: everything that came has its outcome and every deadline has passed, or it is taking
    /// unreasonably long.
    fn is_over(&self, next_at: Picos) -> bool {
        let deadline = self.last_arrival + self.longest_deadline().as_picos();
        let idle = self.flights.live() == 0 && next_at > deadline;
        idle || next_at > deadline + RUN_OFF_MAX.as_picos()
    }

    fn longest_deadline(&self) -> Span {
        let slos = self.world.fleets.iter().flat_map(|fleet| fleet.slos.iter().flatten());
        let completion = slos.filter_map(|slo| match slo {
            forebay_core::fleet::Slo::Completion { within, .. } => Some(*within),
            forebay_core::fleet::Slo::Latency { .. } => None,
        });
        let holds = self.world.tiers.iter().map(|tier| tier.hold_max);
        completion.chain(holds).max().unwrap_or(Span::ZERO)
    }

    fn schedule_planner(&mut self) {
        if self.aborted.is_some() {
            return;
        }
        let Some(due) = self.planner.next_deadline() else { return };
        // A deadline that has passed would stop virtual time.
        let at = due.as_picos().max(self.now + 1);
        if self.planner_due.is_none_or(|scheduled| at < scheduled) {
            self.planner_due = Some(at);
            self.calendar.push(at, Event::Planner);
        }
    }

    fn planner_is_due(&mut self) {
        // A deadline that was brought forward leaves its old one behind.
        if self.planner_due != Some(self.now) {
            return;
        }
        self.planner_due = None;
        let targets: Vec<ScaleTarget> = (0..self.world.variants.len())
            .map(|variant| self.scale_target(VariantId(variant as u16)))
            .collect();
        let view = FleetView {
            world: self.world,
            targets: &targets,
            metrics: &self.store,
            origin: self.scenario.starts_at,
        };
        let now = Time::from_picos(self.now);
        let mut effects = std::mem::take(&mut self.plan_effects);
        self.planner.step(now, PlanEvent::Due(&view), &mut effects);
        self.carry_out_plan(effects);
    }

    fn finish(mut self) -> Result<Measured, SimulationError> {
        self.meter.settle(self.now);
        self.time_out_the_rest();
        let created = self.flights.created();
        if self.scores.outcomes() != created {
            return Err(SimulationError::Invariant {
                at: Time::from_picos(self.now),
                what: format!("{created} requests had {} outcomes", self.scores.outcomes()),
            });
        }
        let scored_from = self.scenario.unscored.as_picos().min(self.now);
        let scored_s = (self.now - scored_from) as f64 / PICOS_PER_SECOND as f64;
        let traffic_s =
            self.last_arrival.saturating_sub(scored_from) as f64 / PICOS_PER_SECOND as f64;
        let (attained, tokens) = self.scores.attained();
        let cost_usd = self.meter.cost_usd();
        let run = Run {
            cost_usd,
            cost_committed_usd: self.meter.cost_committed_usd(),
            accelerator_hours: self.meter.accelerator_hours(self.world),
            replicas: self.replica_summaries(scored_s),
            flaps_per_hour: if scored_s > 0.0 {
                f64::from(self.flaps.total()) / (scored_s / 3_600.0)
            } else {
                0.0
            },
            goodput_rps: if traffic_s > 0.0 { attained as f64 / traffic_s } else { 0.0 },
            usd_per_million_slo_tokens: (tokens > 0).then(|| cost_usd / tokens as f64 * 1e6),
            tiers: self.scores.summaries(self.world).collect(),
            aborted: self.aborted.take(),
            timeline: self.timeline.take(),
            ..Run::default()
        };
        Ok(Measured {
            run,
            requests: created,
            last_arrival: Time::from_picos(self.last_arrival),
            events: self.events,
        })
    }

    fn variant_name(&self, variant: VariantId) -> String {
        variant_name(self.world, variant)
    }

    fn replica_summaries(
        &self,
        scored_s: f64,
    ) -> std::collections::BTreeMap<String, ReplicaSummary> {
        self.replica_log
            .iter()
            .enumerate()
            .map(|(variant, log)| {
                let name = self.variant_name(VariantId(variant as u16));
                (name, log.summary(self.now, scored_s))
            })
            .collect()
    }

    fn fleet_of(&self, endpoint: EndpointId) -> FleetId {
        self.world.variants[self.replicas[endpoint.index()].variant.index()].fleet
    }

    fn new_engine(&self, variant: VariantId) -> Engine {
        Engine::new(Arc::clone(&self.physics[variant.index()]))
    }
}

/// `fleet/variant`, as reports name variants.
#[must_use]
pub fn variant_name(world: &World, variant: VariantId) -> String {
    let entry = &world.variants[variant.index()];
    format!("{}/{}", world.fleets[entry.fleet.index()].name, entry.name)
}

fn slo_of(world: &World, fleet: FleetId, tier: TierId) -> Option<&forebay_core::fleet::Slo> {
    world.fleets[fleet.index()].slos.get(tier.index())?.as_ref()
}
