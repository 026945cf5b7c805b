//! The largest rate that a fleet of the twin holds: the truth that capacity is judged by.

use std::collections::BTreeMap;

use forebay_core::engine::profile::EngineProfile;
use forebay_core::fleet::{
    AcceleratorClass, CapacityType, Fleet, Late, Role, Slo, StartUp, Tier, Transfer, Variant, World,
};
use forebay_core::ids::{AcceleratorId, FleetId, TierId};
use forebay_core::plan::{PlanEffect, PlanEvent, Planner};
use forebay_core::scenario::{Billing, Client, ScenarioPlan, Shape, Share};
use forebay_core::time::{Span, Time};
use forebay_core::units::UsdPerHour;

use super::CapacityError;
use super::grid::Point;
use super::traffic::Stationary;
use crate::gates;
use crate::sim::{self, Setup};

/// The gate that the rate is measured behind.
const GATE: &str = "least-loaded";
/// How much faster the replicas are that the point is not about, where prefill is apart.
const PARTNER_SPEED: f64 = 50.0;
/// First step of the search, as a factor.
const STRIDE: f64 = 1.08;
/// By how much each further step is longer.
const STRIDE_GROWTH: f64 = 1.6;
/// The rate is found to this factor; between, log-odds are interpolated.
const PRECISION: f64 = 1.03;
/// Most runs of one search.
const RUNS_MAX: usize = 14;
/// Rates below this share of the first one tried are not looked for.
const REACH: f64 = 0.02;

/// How long runs are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effort {
    /// Fewest and most requests of a run.
    pub(super) requests: (f64, f64),
    /// Times of a mean request that it lasts at least.
    pub(super) residences: f64,
    /// Time that it lasts at least with bursty arrivals, s.
    pub(super) bursty_s: f64,
}

/// Share of a run before scoring begins, and mean times of a request that it is at least.
const UNSCORED_SHARE: f64 = 0.1;
const UNSCORED_RESIDENCES: f64 = 2.5;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Truth {
    /// 0: not even a trickle attains.
    pub(super) requests_per_s: f64,
    /// Whether more would first miss the TPOT rather than the TTFT.
    pub(super) by_tpot: bool,
    /// Share that attains at the first rate tried.
    pub(super) attained_first: f64,
    /// Share that misses of a trickle of requests.
    pub(super) missed_alone: f64,
}

/// A trickle, as a share of the first rate tried.
const TRICKLE: f64 = 0.03;

/// Finds the largest rate at which the point's share of the requests attains, from a first one.
pub(super) fn find(
    point: &Point,
    profile: &EngineProfile,
    start_per_s: f64,
    effort: &Effort,
    seed: u64,
) -> Result<Truth, CapacityError> {
    let world = world(point, profile);
    let missed_alone = run(&world, point, start_per_s * TRICKLE, &TRICKLE_EFFORT, seed)?.missed;
    let mut attained_first = None;
    let target = -(point.percentile / (1.0 - point.percentile)).ln();
    let (mut below, mut above): (Option<Probe>, Option<Probe>) = (None, None);
    let (mut log_rate, mut stride) = (start_per_s.ln(), STRIDE.ln());
    for _ in 0..RUNS_MAX {
        let mut probe = run(&world, point, log_rate.exp(), effort, seed)?;
        probe.excess -= target;
        attained_first.get_or_insert(1.0 - probe.missed);
        if probe.excess <= 0.0 {
            below = Some(probe)
        } else {
            above = Some(probe)
        }
        log_rate = match (&below, &above) {
            (Some(low), Some(high)) => {
                let width = high.log_rate - low.log_rate;
                if width <= PRECISION.ln() {
                    break;
                }
                let share = -low.excess / (high.excess - low.excess);
                low.log_rate + share.clamp(0.25, 0.75) * width
            }
            (Some(low), None) => low.log_rate + stride,
            (None, Some(high)) => high.log_rate - stride,
            (None, None) => break,
        };
        stride *= STRIDE_GROWTH;
        if log_rate < (start_per_s * REACH).ln() {
            break;
        }
    }
    let by_tpot = above.as_ref().or(below.as_ref()).is_some_and(|probe| probe.by_tpot);
    let requests_per_s = match (below, above) {
        (None, _) => 0.0,
        (Some(low), None) => low.log_rate.exp(),
        (Some(low), Some(high)) => {
            let share = -low.excess / (high.excess - low.excess);
            (low.log_rate + share * (high.log_rate - low.log_rate)).exp()
        }
    };
    let attained_first = attained_first.unwrap_or_default();
    Ok(Truth { requests_per_s, by_tpot, attained_first, missed_alone })
}

/// Long enough for a share of 1 in 1,000.
const TRICKLE_EFFORT: Effort =
    Effort { requests: (6_000.0, 6_000.0), residences: 0.0, bursty_s: 0.0 };

struct Probe {
    missed: f64,
    log_rate: f64,
    /// Log-odds of missing, then over those allowed.
    excess: f64,
    by_tpot: bool,
}

fn run(
    world: &World,
    point: &Point,
    requests_per_s: f64,
    effort: &Effort,
    seed: u64,
) -> Result<Probe, CapacityError> {
    let residence_s = 1.0
        + if point.role() == Role::Prefill { 0.0 } else { point.output_tokens }
            * point.tpot_ms as f64
            * 1e-3;
    let bursty_s = if point.dispersion > 1.0 { effort.bursty_s } else { 0.0 };
    let lasting = requests_per_s * bursty_s.max(residence_s * effort.residences);
    let scored = lasting.clamp(effort.requests.0, effort.requests.1);
    let unscored_s =
        (UNSCORED_SHARE * scored / requests_per_s).max(residence_s * UNSCORED_RESIDENCES);
    let requests = scored + unscored_s * requests_per_s;
    let duration = Span::from_seconds(requests / requests_per_s);
    let scenario = scenario(Span::from_seconds(unscored_s));
    let gate = gates::build(GATE, &BTreeMap::new(), world, FleetId(0), seed)?;
    let measured = sim::run(Setup {
        world,
        scenario: &scenario,
        source: Box::new(Stationary::new(point, requests_per_s, requests as u64, seed)),
        duration,
        planner: Box::new(Still),
        gates: vec![gate],
        seed,
    })?;
    let tier = measured.run.tiers.values().next().cloned().unwrap_or_default();
    let (attained, missed) = (tier.attained as f64, (tier.requests - tier.attained) as f64);
    let at_percentile = |quantiles: &crate::report::Quantiles| {
        if point.percentile >= 0.99 { quantiles.p99 } else { quantiles.p95 }.unwrap_or_default()
    };
    let strain = |quantiles, objective_ms: u64| at_percentile(quantiles) / objective_ms as f64;
    Ok(Probe {
        log_rate: requests_per_s.ln(),
        missed: missed / (missed + attained).max(1.0),
        excess: ((missed + 0.5) / (attained + 0.5)).ln(),
        by_tpot: strain(&tier.tpot_ms, point.tpot_ms) > strain(&tier.ttft_ms, point.ttft_ms),
    })
}

/// Decides nothing.
struct Still;

impl Planner for Still {
    fn step(&mut self, _now: Time, _event: PlanEvent<'_>, _effects: &mut Vec<PlanEffect>) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }
}

/// A fleet of the point's replicas; where prefill is apart, the other side is fast and roomy.
fn world(point: &Point, profile: &EngineProfile) -> World {
    let role = point.role();
    let mut partner = profile.clone();
    partner.step_time.calibration /= PARTNER_SPEED;
    partner.kv.capacity_tokens *= PARTNER_SPEED as u64;
    partner.request_overhead_ms = 0.0;
    let served = variant("served", role, profile.clone(), point.replicas);
    let variants = match role {
        Role::Both => vec![served],
        Role::Prefill => vec![served, variant("partner", Role::Decode, partner, point.replicas)],
        Role::Decode => vec![served, variant("partner", Role::Prefill, partner, point.replicas)],
    };
    World {
        fleets: vec![Fleet {
            rails: forebay_core::fleet::FleetRails::default(),
            name: "capacity".into(),
            models: vec![profile.model.clone()],
            variants: 0..variants.len() as u16,
            slos: vec![Some(twin_slo(point))],
            transfer: Transfer { setup: Span::ZERO, bytes_per_second: 1e15 },
        }],
        variants,
        tiers: vec![Tier {
            name: "only".into(),
            priority: 0,
            floor: 0.0,
            deferrable: false,
            hold_max: Span::from_secs(30),
            late: Late::ServeLast,
        }],
        accelerators: vec![AcceleratorClass {
            name: profile.accelerator.clone(),
            price_committed: None,
            price_on_demand: Some(UsdPerHour(1.0)),
            price_spot: None,
            committed: 0,
            quota: None,
            reclaims_per_hour: 0.0,
            accelerators_per_node: 8,
            node_provisioning: Span::ZERO,
            node_removal_delay: Span::ZERO,
        }],
    }
}

/// The point's objective; prefill replicas have no say in the TPOT.
fn twin_slo(point: &Point) -> Slo {
    match point.slo() {
        Slo::Latency { ttft, percentile, .. } if point.role() == Role::Prefill => {
            Slo::Latency { ttft, tpot: Span::from_secs(60), percentile }
        }
        slo => slo,
    }
}

fn variant(name: &str, role: Role, profile: EngineProfile, replicas: u32) -> Variant {
    Variant {
        fleet: FleetId(0),
        name: name.into(),
        role,
        accelerator: AcceleratorId(0),
        accelerators_per_replica: 1,
        profile,
        replicas_min: replicas,
        replicas_max: replicas,
        replicas_initial: replicas,
        drain_max: Span::from_secs(60),
        start_up: StartUp {
            image: Span::ZERO,
            weights: Span::ZERO,
            compile: Span::ZERO,
            warm_up: Span::ZERO,
            sigma: 0.0,
        },
        capacity_type: CapacityType::OnDemand,
    }
}

fn scenario(unscored: Span) -> ScenarioPlan {
    ScenarioPlan {
        starts_at: forebay_core::time::WallTime::default(),
        name: "stationary".into(),
        shares: vec![Share {
            fleet: FleetId(0),
            tier: TierId(0),
            weight: 1.0,
            tenants: vec![("all".into(), 1.0)],
            shape: Shape::Constant,
            client: Client::Held,
        }],
        billing: Billing::PerReplica,
        faults: Vec::new(),
        scrape_interval: Span::from_secs(3_600),
        unscored,
        tenant_weights: BTreeMap::new(),
    }
}
