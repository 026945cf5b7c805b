//! The twin as a whole, on small fleets whose bills and outcomes can be worked out by hand.

use forebay_core::engine::profile::{
    EngineProfile, Evidence, EvidenceLevel, KvCache, Limits, StepTime,
};
use forebay_core::fleet::{
    AcceleratorClass, CapacityType, Fleet, FleetRails, Late, Role, Slo, StartUp, Tier, Transfer,
    Variant,
};
use forebay_core::ids::AcceleratorId;
use forebay_core::scenario::{Billing, Client, Fault, FaultKind, Shape, Share};
use forebay_core::time::WallTime;
use forebay_core::units::UsdPerHour;

use super::*;
use crate::gates;
use crate::trace::Request;

const MINUTE: u64 = 60;

pub(crate) fn at(seconds: u64) -> Time {
    Time::ZERO + Span::from_secs(seconds)
}

fn profile() -> EngineProfile {
    EngineProfile {
        name: "test-8b".into(),
        model: "test-8b".into(),
        quantization: "fp8".into(),
        accelerator: "l40s".into(),
        tensor_parallel: 1,
        engine: "vllm".into(),
        step_time: StepTime {
            fixed_ms: 0.1,
            weights_ms: 13.0,
            experts_ms: 0.0,
            expert_share_per_token: 0.0,
            compute_ms_per_ktoken: 48.0,
            overlap_exponent: 1.8,
            kv_read_ms_per_ktoken: 0.2,
            attention_ms_per_mpair: 2.6,
            calibration: 1.0,
        },
        kv: KvCache { capacity_tokens: 235_000, block_tokens: 16, bytes_per_token: 131_072 },
        limits: Limits { max_num_batched_tokens: 2_048, max_num_seqs: 256 },
        request_overhead_ms: 20.0,
        evidence: Evidence {
            level: EvidenceLevel::Estimated,
            source: "test".into(),
            step_time_mape_percent: None,
            note: None,
        },
    }
}

pub(crate) fn variant(name: &str, role: Role, initial: u32) -> Variant {
    Variant {
        fleet: FleetId(0),
        name: name.into(),
        role,
        accelerator: AcceleratorId(0),
        accelerators_per_replica: 1,
        profile: profile(),
        replicas_min: 0,
        replicas_max: 20,
        replicas_initial: initial,
        drain_max: Span::from_secs(120),
        start_up: StartUp {
            image: Span::from_secs(20),
            weights: Span::from_secs(20),
            compile: Span::from_secs(10),
            warm_up: Span::from_secs(10),
            sigma: 0.0,
        },
        capacity_type: CapacityType::OnDemand,
    }
}

fn tier(name: &str, deferrable: bool) -> Tier {
    Tier {
        name: name.into(),
        priority: if deferrable { 0 } else { 100 },
        floor: 0.0,
        deferrable,
        hold_max: Span::from_secs(30),
        late: Late::ServeLast,
    }
}

pub(crate) fn world(variants: Vec<Variant>) -> World {
    World {
        fleets: vec![Fleet {
            name: "chat".into(),
            models: vec!["test-8b".into()],
            variants: 0..variants.len() as u16,
            slos: vec![
                Some(Slo::Latency {
                    ttft: Span::from_secs(2),
                    tpot: Span::from_millis(100),
                    percentile: 0.99,
                }),
                Some(Slo::Completion { within: Span::from_secs(3_600), percentile: 0.99 }),
            ],
            transfer: Transfer { setup: Span::from_millis(1), bytes_per_second: 40e9 },
            rails: FleetRails::default(),
        }],
        variants,
        tiers: vec![tier("interactive", false), tier("batch", true)],
        accelerators: vec![AcceleratorClass {
            name: "l40s".into(),
            price_committed: None,
            price_on_demand: Some(UsdPerHour(3.6)),
            price_spot: Some(UsdPerHour(1.2)),
            committed: 0,
            quota: None,
            reclaims_per_hour: 0.0,
            accelerators_per_node: 4,
            node_provisioning: Span::from_secs(120),
            node_removal_delay: Span::from_secs(300),
        }],
    }
}

fn share(tier: u8, shape: Shape, client: Client) -> Share {
    Share {
        fleet: FleetId(0),
        tier: TierId(tier),
        weight: 1.0,
        tenants: vec![("tenant".into(), 1.0)],
        shape,
        client,
    }
}

pub(crate) fn scenario() -> ScenarioPlan {
    ScenarioPlan {
        name: "test".into(),
        shares: vec![share(0, Shape::Constant, Client::Held)],
        billing: Billing::PerReplica,
        faults: Vec::new(),
        scrape_interval: Span::from_secs(15),
        starts_at: WallTime::default(),
        unscored: Span::ZERO,
        tenant_weights: Default::default(),
    }
}

/// `count` equal requests, one each `gap` milliseconds.
pub(super) struct Steady {
    pub(super) gap_ms: u64,
    pub(super) left: u64,
    pub(super) at: Time,
}

impl Source for Steady {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.at += Span::from_millis(self.gap_ms);
        Ok(Some(Request {
            at: self.at,
            prompt_tokens: 500,
            output_tokens: 50,
            client: 0,
            prefix: None,
        }))
    }
}

/// Sets replicas at given times and keeps what it was shown.
#[derive(Default)]
pub(super) struct Script {
    orders: Vec<(u64, u16, u32)>,
    next: usize,
    seen: Option<std::sync::Arc<std::sync::Mutex<Vec<Seen>>>>,
}

struct Seen {
    at: Time,
    targets: Vec<ScaleTarget>,
    pages: usize,
    nan: usize,
}

impl Planner for Script {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        let PlanEvent::Due(view) = event else { return };
        if let Some(seen) = &self.seen {
            let pages: Vec<f64> = (0..view.world.variants.len())
                .flat_map(|variant| view.metrics.engines(VariantId(variant as u16), now))
                .map(|(_, page)| page.value.running)
                .collect();
            let nan = pages.iter().filter(|running| running.is_nan()).count();
            let targets = view.targets.to_vec();
            seen.lock().unwrap().push(Seen { at: now, targets, pages: pages.len(), nan });
        }
        while let Some(&(second, variant, replicas)) = self.orders.get(self.next)
            && at(second) <= now
        {
            self.next += 1;
            effects.push(PlanEffect::Scale {
                variant: VariantId(variant),
                replicas,
                reason: "script".into(),
            });
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let &(second, ..) = self.orders.get(self.next)?;
        Some(at(second))
    }
}

fn orders(orders: &[(u64, u16, u32)]) -> Script {
    Script { orders: orders.to_vec(), ..Script::default() }
}

fn simulate_with(
    world: &World,
    scenario: &ScenarioPlan,
    script: Script,
    gate: &str,
    source: Steady,
) -> Measured {
    let duration = Span(source.gap_ms * source.left * 1_000_000);
    let gate = gates::build(gate, &Default::default(), world, FleetId(0), 1).unwrap();
    run(Setup {
        world,
        scenario,
        source: Box::new(source),
        duration,
        planner: Box::new(script),
        gates: vec![gate],
        seed: 1,
    })
    .unwrap()
}

fn simulate(world: &World, scenario: &ScenarioPlan, script: Script, count: u64) -> Measured {
    let source = Steady { gap_ms: 200, left: count, at: Time::ZERO };
    simulate_with(world, scenario, script, "least-loaded", source)
}

/// Replica-hours on demand that were paid for.
fn hours(measured: &Measured) -> f64 {
    measured.run.accelerator_hours.values().sum()
}

#[test]
fn a_quiet_fleet_serves_everybody_and_pays_for_what_it_holds() {
    let world = world(vec![variant("l40s", Role::Both, 2)]);
    let measured = simulate(&world, &scenario(), Script::default(), 3_000);
    let tier = &measured.run.tiers["interactive"];
    assert_eq!((tier.requests, tier.attained), (3_000, 3_000));
    // Two replicas from the start until an hour (the longest deadline) after the last arrival.
    let expected = 2.0 * (600.0 + 3_600.0) / 3_600.0;
    assert!((hours(&measured) - expected).abs() < 0.02, "{} for {expected}", hours(&measured));
    assert!((measured.run.cost_usd - hours(&measured) * 3.6).abs() < 1e-6);
    // 500 prompt tokens in one step of about 31 ms, and 20 ms of overhead.
    let p50 = tier.ttft_ms.p50.unwrap();
    assert!((45.0..65.0).contains(&p50), "{p50}");
    let summary = &measured.run.replicas["chat/l40s"];
    assert!((summary.mean - 2.0).abs() < 1e-9 && summary.max == 2 && summary.starts == 0);
}

#[test]
fn a_start_is_paid_from_the_asking_and_serves_only_when_ready() {
    let world = world(vec![variant("l40s", Role::Both, 1)]);
    let seen = std::sync::Arc::default();
    let mut script = orders(&[(60, 0, 2), (200, 0, 2), (250, 0, 2), (270, 0, 2), (300, 0, 2)]);
    script.seen = Some(std::sync::Arc::clone(&seen));
    let measured = simulate(&world, &scenario(), script, 3_000);
    let seen = seen.lock().unwrap();
    let ready = |second| {
        let view = seen.iter().find(|view| view.at == at(second)).unwrap();
        let target = &view.targets[0];
        (
            target.unschedulable_since.len(),
            target.starting_since.len(),
            target.endpoints_ready.len(),
        )
    };
    // A node after 120 s, then 60 s of loading: ready at 240 s.
    assert_eq!(ready(200), (0, 1, 1));
    assert_eq!(ready(250), (0, 0, 2));
    let expected = (4_200.0 + 4_200.0 - 60.0) / 3_600.0;
    assert!((hours(&measured) - expected).abs() < 0.02, "{} for {expected}", hours(&measured));
}

#[test]
fn scaling_down_drains_and_loses_nobody() {
    let world = world(vec![variant("l40s", Role::Both, 4)]);
    let source = Steady { gap_ms: 25, left: 12_000, at: Time::ZERO };
    let script = orders(&[(100, 0, 3), (150, 0, 2), (200, 0, 4)]);
    let measured = simulate_with(&world, &scenario(), script, "round-robin", source);
    let tier = &measured.run.tiers["interactive"];
    assert_eq!((tier.requests, tier.failed, tier.shed, tier.timed_out), (12_000, 0, 0, 0));
    assert_eq!(measured.run.replicas["chat/l40s"].starts, 2);
    assert!(measured.run.flaps_per_hour > 0.0, "down and up within ten minutes is a flap");
}

#[test]
fn what_dies_with_a_node_fails_and_is_replaced() {
    let world = world(vec![variant("l40s", Role::Both, 3)]);
    let mut scenario = scenario();
    let kind = FaultKind::NodeLoss { accelerator: None, nodes: 2 };
    scenario.faults = vec![Fault { from: at(60), to: at(60), kind }];
    let source = Steady { gap_ms: 25, left: 12_000, at: Time::ZERO };
    let measured = simulate_with(&world, &scenario, Script::default(), "least-loaded", source);
    let tier = &measured.run.tiers["interactive"];
    assert!(tier.failed > 0 && tier.failed < 200, "{}", tier.failed);
    assert_eq!(tier.requests, 12_000);
    let replicas = &measured.run.replicas["chat/l40s"];
    assert_eq!((replicas.starts, replicas.max), (2, 3));
}

#[test]
fn nodes_are_shared_and_paid_until_their_removal_delay_is_over() {
    let world = world(vec![variant("l40s", Role::Both, 0)]);
    let mut scenario = scenario();
    scenario.billing = Billing::PerNode;
    // Four fit on one node; the fifth needs another, which goes five minutes after it.
    let script = orders(&[(10, 0, 4), (1_000, 0, 5), (2_000, 0, 4)]);
    let measured = simulate(&world, &scenario, script, 30_000);
    let end = 6_000.0 + 3_600.0;
    let expected = 4.0 * ((end - 10.0) + (2_000.0 + 300.0 - 1_000.0)) / 3_600.0;
    assert!((hours(&measured) - expected).abs() < 0.1, "{} for {expected}", hours(&measured));
}

#[test]
fn pending_replicas_without_stock_are_not_billed_and_start_when_there_is_some() {
    let world = world(vec![variant("l40s", Role::Both, 1)]);
    let mut scenario = scenario();
    let kind = FaultKind::OutOfStock { accelerator: AcceleratorId(0) };
    scenario.faults = vec![Fault { from: at(50), to: at(400), kind }];
    let seen = std::sync::Arc::default();
    let mut script = orders(&[(60, 0, 3), (300, 0, 3), (590, 0, 3)]);
    script.seen = Some(std::sync::Arc::clone(&seen));
    let measured = simulate(&world, &scenario, script, 3_000);
    let seen = seen.lock().unwrap();
    assert_eq!(seen[1].targets[0].unschedulable_since, vec![at(60), at(60)]);
    assert_eq!(seen[2].targets[0].endpoints_ready.len(), 3);
    let expected = (4_200.0 + 2.0 * (4_200.0 - 400.0)) / 3_600.0;
    assert!((hours(&measured) - expected).abs() < 0.02, "{} for {expected}", hours(&measured));
}

#[test]
fn a_quota_holds_across_variants() {
    let mut world = world(vec![variant("a", Role::Both, 1), variant("b", Role::Both, 1)]);
    world.accelerators[0].quota = Some(3);
    let script = orders(&[(10, 0, 3), (20, 1, 3), (500, 0, 0)]);
    let measured = simulate(&world, &scenario(), script, 6_000);
    assert!(measured.run.timeline.accelerators["l40s"].iter().all(|held| *held <= 3.0));
    // `b` gets its places when `a` gives its own back.
    assert_eq!(measured.run.replicas["chat/b"].starts, 2);
    assert_eq!(measured.run.tiers["interactive"].failed, 0);
}

#[test]
fn a_reclaimed_spot_replica_drains_within_its_notice_and_is_replaced() {
    let mut entry = variant("spot", Role::Both, 2);
    entry.capacity_type = CapacityType::Spot;
    let world = world(vec![entry]);
    let mut scenario = scenario();
    let kind = FaultKind::SpotReclaim { replicas: 1, notice: Span::from_secs(30) };
    scenario.faults = vec![Fault { from: at(100), to: at(100), kind }];
    let measured = simulate(&world, &scenario, Script::default(), 3_000);
    assert_eq!(measured.run.replicas["chat/spot"].starts, 1);
    assert_eq!(measured.run.tiers["interactive"].failed, 0, "30 s are enough for these requests");
    assert!((measured.run.cost_usd - hours(&measured) * 1.2).abs() < 1e-6);
}

#[test]
fn prefill_and_decode_apart_serve_through_a_transfer() {
    let world = world(vec![variant("p", Role::Prefill, 2), variant("d", Role::Decode, 2)]);
    let measured = simulate(&world, &scenario(), Script::default(), 3_000);
    let tier = &measured.run.tiers["interactive"];
    assert_eq!((tier.requests, tier.attained, tier.failed), (3_000, 3_000, 0));
    // Prefill 31 ms, transfer 1 ms + 65.5 MB / 40 GB/s = 2.6 ms, a decode step of 13 ms, two
    // overheads of 20 ms.
    let p50 = tier.ttft_ms.p50.unwrap();
    assert!((80.0..105.0).contains(&p50), "{p50}");
}

#[test]
fn losing_either_side_of_a_pair_gives_every_request_one_outcome() {
    for class in [Role::Prefill, Role::Decode] {
        let mut variants = vec![variant("p", Role::Prefill, 2), variant("d", Role::Decode, 2)];
        let lost = variants.iter().position(|entry| entry.role == class).unwrap();
        variants[lost].accelerator = AcceleratorId(1);
        let mut world = world(variants);
        world
            .accelerators
            .push(AcceleratorClass { name: "other".into(), ..world.accelerators[0].clone() });
        let mut scenario = scenario();
        let kind = FaultKind::NodeLoss { accelerator: Some(AcceleratorId(1)), nodes: 1 };
        scenario.faults = vec![Fault { from: at(60), to: at(60), kind }];
        let source = Steady { gap_ms: 30, left: 10_000, at: Time::ZERO };
        let measured = simulate_with(&world, &scenario, Script::default(), "round-robin", source);
        let tier = &measured.run.tiers["interactive"];
        assert_eq!(tier.requests, 10_000);
        assert!(tier.failed > 0 && tier.failed < 300, "{class:?}: {}", tier.failed);
        assert_eq!(tier.shed + tier.timed_out, 0);
    }
}

#[test]
fn blackouts_age_what_is_known_and_nan_is_passed_on() {
    let world = world(vec![variant("l40s", Role::Both, 4)]);
    let mut scenario = scenario();
    scenario.faults = vec![
        Fault { from: at(100), to: at(500), kind: FaultKind::MetricBlackout { variant: None } },
        Fault { from: at(530), to: at(560), kind: FaultKind::MetricNan { share: 1.0 } },
    ];
    let seen = std::sync::Arc::default();
    let mut script = orders(&[(200, 0, 4), (450, 0, 4), (520, 0, 4), (550, 0, 4)]);
    script.seen = Some(std::sync::Arc::clone(&seen));
    simulate(&world, &scenario, script, 3_000);
    let seen = seen.lock().unwrap();
    let known: Vec<_> = seen.iter().map(|view| (view.pages, view.nan)).collect();
    // At 200 s the last pages are 110 s old, at 450 s they are past the look-back of 300 s.
    assert_eq!(known, [(4, 0), (0, 0), (4, 0), (4, 4)]);
}

#[test]
fn deferrable_work_waits_in_its_client_until_its_deadline() {
    let world = world(vec![variant("l40s", Role::Both, 1)]);
    for client in [Client::Ticket { retry: Span::from_secs(20) }, Client::Pull { concurrency: 8 }] {
        let mut scenario = scenario();
        scenario.shares =
            vec![share(0, Shape::Constant, Client::Held), share(1, Shape::HourlyDump, client)];
        let measured = simulate(&world, &scenario, Script::default(), 20 * MINUTE);
        let batch = &measured.run.tiers["batch"];
        assert!(batch.requests > 500, "{}", batch.requests);
        assert_eq!(batch.requests, batch.attained, "{client:?}");
        assert!(batch.completion_s.p99.unwrap() < 3_600.0);
    }
}

#[test]
fn the_first_minutes_do_not_count() {
    let world = world(vec![variant("l40s", Role::Both, 1)]);
    let mut scenario = scenario();
    scenario.unscored = Span::from_secs(300);
    let measured = simulate(&world, &scenario, Script::default(), 3_000);
    // One request each 200 ms from 0.2 s on: those from 300.0 s to 600.0 s.
    assert_eq!(measured.run.tiers["interactive"].requests, 1_501);
    let expected = (4_200.0 - 300.0) / 3_600.0;
    assert!((hours(&measured) - expected).abs() < 0.02, "{}", hours(&measured));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let mut entry = variant("l40s", Role::Both, 2);
    entry.start_up.sigma = 0.5;
    let world = world(vec![entry]);
    let mut scenario = scenario();
    let kind = FaultKind::PartialScrape { share: 0.5 };
    scenario.faults = vec![Fault { from: at(10), to: at(500), kind }];
    let once = || {
        let script = orders(&[(60, 0, 5), (400, 0, 2)]);
        let measured = simulate(&world, &scenario, script, 3_000);
        serde_json::to_string(&measured.run).unwrap()
    };
    assert_eq!(once(), once());
}
