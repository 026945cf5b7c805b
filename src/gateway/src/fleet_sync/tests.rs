//! Over real gRPC on loopback, and in memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use forebay_core::observe::RouterTierSample;
use forebay_core::sync::{
    Coming, Drained, EndpointReport, FromGate, GateName, Plan, Report, Standing, Term,
    TierAdmission, TierReport, ToGate, VariantPhysics,
};
use forebay_core::time::Span;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};

use super::wire::v1;
use super::*;

const FLEET: &str = "shop/chat";
const ADDRESS: &str = "10.0.0.9:8000";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gate with one tier and one endpoint.
#[derive(Default)]
struct Source {
    in_flight: AtomicU32,
}

impl GateSource for Source {
    fn active(&self) -> bool {
        true
    }

    fn tiers(&self) -> Vec<TierReport> {
        let mut seen = RouterTierSample { queued: 7.0, ..RouterTierSample::default() };
        seen.ttft.observe(0.3, 5.0);
        seen.running = f64::NAN;
        vec![TierReport {
            tier: "interactive".into(),
            age: Span::from_millis(3),
            seen,
            refused_total: 2.0,
            tickets: None,
            tickets_prompt_tokens: Some(12.0),
        }]
    }

    fn endpoints(&self) -> Vec<EndpointReport> {
        vec![EndpointReport {
            address: ADDRESS.into(),
            age: Span::ZERO,
            in_flight: Some(self.in_flight.load(Ordering::Relaxed)),
            draining: false,
        }]
    }
}

/// A controller behind a real server.
struct Remote {
    handle: ControllerHandle,
    address: SocketAddr,
    server: JoinHandle<()>,
    _end: JoinSet<()>,
}

impl Remote {
    async fn new(holder: &str, clock: Clock) -> Self {
        let settings = ControllerSettings { holder: holder.into(), fleets: vec![FLEET.into()] };
        let (handle, end) = SyncController::new(settings, clock);
        let mut tasks = JoinSet::new();
        tasks.spawn(end.run());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = FleetSyncService::server(handle.clone());
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { handle, address, server, _end: tasks }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn clock() -> Clock {
    Clock::since(Instant::now())
}

fn gate(clock: Clock, tasks: &mut JoinSet<()>) -> (GateHandle, Arc<Source>) {
    let source = Arc::new(Source::default());
    let name = GateName { name: "gate-0".into(), incarnation: 1 };
    let (handle, end) = SyncGate::new(name, FLEET.into(), clock, source.clone());
    tasks.spawn(end.run());
    (handle, source)
}

fn plan(clock: Clock, replicas: usize) -> Plan {
    let ready_at = clock.now() + Span::from_secs(90);
    Plan {
        coming: vec![Coming { variant: "l40s".into(), ready_at }; replicas],
        on_demand: Some(true),
        admission: vec![TierAdmission { tier: "batch".into(), deferred_per_s: Some(2.5) }],
        physics: vec![VariantPhysics { variant: "l40s".into(), fixed: 1.1, token: 1.0, kv: 0.9 }],
        drain: vec![ADDRESS.into()],
    }
}

async fn until(gate: &GateHandle, what: impl FnMut(&GateState) -> bool) -> GateState {
    within(PATIENCE, gate, what).await
}

async fn within(
    patience: Duration,
    gate: &GateHandle,
    what: impl FnMut(&GateState) -> bool,
) -> GateState {
    let mut state = gate.state();
    let found = timeout(patience, state.wait_for(what)).await;
    found.expect("it comes").unwrap().clone()
}

async fn eventually<F: Future<Output = bool>>(mut what: impl FnMut() -> F) {
    let all = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("it comes");
}

#[tokio::test]
async fn a_leader_over_grpc_guides_a_gate_and_sees_what_it_drains_become_empty() {
    let clock = clock();
    let mut tasks = JoinSet::new();
    let leader = Remote::new("a", clock).await;
    let (gate, source) = gate(clock, &mut tasks);
    source.in_flight.store(3, Ordering::Relaxed);
    tasks.spawn(follow(gate.clone(), leader.endpoint()));
    leader.handle.planned(FLEET, plan(clock, 2)).await;
    leader.handle.lease(Some(Term(7))).await;
    let state = until(&gate, |state| state.guided.coming.len() == 2).await;
    assert_eq!(state.standing, Standing::Led { term: Term(7) });
    assert_eq!(state.guided.admission[0].deferred_per_s, Some(2.5));
    assert_eq!(state.guided.on_demand, Some(true));
    assert_eq!(state.guided.drain, [ADDRESS]);
    let ready_in = state.guided.next_ready_in(clock.now()).unwrap().as_seconds();
    assert!((60.0..=90.5).contains(&ready_in), "{ready_in}");

    eventually(async || leader.handle.active(FLEET).await.is_some()).await;
    let (_, report) = leader.handle.active(FLEET).await.unwrap();
    let tier = &report.tiers[0];
    assert_eq!((tier.tier.as_str(), tier.age), ("interactive", Span::from_millis(3)));
    assert!((tier.seen.queued - 7.0).abs() < 1e-9 && tier.seen.running.is_nan());
    assert!((tier.seen.ttft.count() - 5.0).abs() < 1e-9);
    assert_eq!((tier.tickets, tier.tickets_prompt_tokens), (None, Some(12.0)));
    let drained = async || leader.handle.drained(FLEET, ADDRESS).await;
    eventually(async || drained().await == Drained::No { in_flight: 3 }).await;
    source.in_flight.store(0, Ordering::Relaxed);
    gate.changed();
    eventually(async || drained().await == Drained::Yes).await;
}

#[tokio::test]
async fn a_follower_takes_over_and_the_old_leader_learns_of_it() {
    let clock = clock();
    let mut tasks = JoinSet::new();
    let (old, new) = (Remote::new("a", clock).await, Remote::new("b", clock).await);
    let (gate, _source) = gate(clock, &mut tasks);
    tasks.spawn(follow(gate.clone(), old.endpoint()));
    tasks.spawn(follow(gate.clone(), new.endpoint()));
    old.handle.planned(FLEET, plan(clock, 1)).await;
    old.handle.lease(Some(Term(1))).await;
    until(&gate, |state| state.standing == Standing::Led { term: Term(1) }).await;
    // The follower is warm: it has heard the gate, and said nothing.
    eventually(async || new.handle.active(FLEET).await.is_some()).await;
    assert_eq!(new.handle.leads().await, None);
    new.handle.planned(FLEET, plan(clock, 4)).await;
    new.handle.lease(Some(Term(2))).await;
    until(&gate, |state| state.guided.coming.len() == 4).await;
    // Nobody told the old leader; the gate's acknowledgement does.
    eventually(async || old.handle.leads().await.is_none()).await;
    assert_eq!(new.handle.leads().await, Some(Term(2)));
    assert_eq!(gate.state().borrow().standing, Standing::Led { term: Term(2) });
}

#[tokio::test]
async fn a_lost_leader_is_noticed_and_its_outlook_kept() {
    let clock = clock();
    let mut tasks = JoinSet::new();
    let leader = Remote::new("a", clock).await;
    let (gate, _source) = gate(clock, &mut tasks);
    tasks.spawn(follow(gate.clone(), leader.endpoint()));
    leader.handle.planned(FLEET, plan(clock, 2)).await;
    leader.handle.lease(Some(Term(1))).await;
    until(&gate, |state| state.guided.coming.len() == 2).await;
    // It leads no longer and falls silent; nobody follows it.
    leader.handle.lease(None).await;
    let silent = until(&gate, |state| matches!(state.standing, Standing::Keeping { .. })).await;
    assert_eq!(silent.guided.coming.len(), 2, "the last outlook holds for a minute");
    leader.handle.lease(Some(Term(2))).await;
    until(&gate, |state| state.standing == Standing::Led { term: Term(2) }).await;
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_leader_that_is_lost_for_a_minute_is_not_promised_from() {
    let clock = clock();
    let mut tasks = JoinSet::new();
    let settings = ControllerSettings { holder: "a".into(), fleets: vec![FLEET.into()] };
    let (controller, end) = SyncController::new(settings, clock);
    tasks.spawn(end.run());
    let (gate, _source) = gate(clock, &mut tasks);
    let joined = join(&gate, &controller);
    controller.planned(FLEET, plan(clock, 2)).await;
    controller.lease(Some(Term(1))).await;
    until(&gate, |state| state.guided.coming.len() == 2).await;
    joined.abort();
    let lost_at = clock.now();
    let is_alone = |state: &GateState| matches!(state.standing, Standing::Alone { .. });
    let alone = within(Duration::from_secs(120), &gate, is_alone).await;
    assert!(clock.now().since(lost_at) >= Span::from_secs(58), "{}", clock.now());
    assert!(alone.guided.coming.is_empty() && alone.guided.drain.is_empty());
    assert_eq!(alone.guided.admission.len(), 1, "how to admit stays as it was");
    let _joined = join(&gate, &controller);
    until(&gate, |state| state.standing == Standing::Led { term: Term(1) }).await;
}

#[test]
fn what_is_not_whole_or_beyond_bounds_is_refused() {
    let empty = v1::FromGate { what: None };
    assert!(FromGate::try_from(empty).unwrap_err().to_string().contains("content"));
    let report = v1::Report { fleet: FLEET.into(), ..v1::Report::default() };
    let nameless = v1::FromGate { what: Some(v1::from_gate::What::Report(report)) };
    assert!(FromGate::try_from(nameless).unwrap_err().to_string().contains("gate"));
    let source = Source::default();
    let whole = FromGate::Report(Report {
        gate: GateName { name: "g".into(), incarnation: u64::MAX },
        sequence: 1,
        fleet: FLEET.into(),
        active: true,
        tiers: source.tiers(),
        endpoints: source.endpoints(),
    });
    let back = FromGate::try_from(v1::FromGate::from(whole.clone())).unwrap();
    // NaN is not equal to itself, but prints alike.
    assert_eq!(format!("{back:?}"), format!("{whole:?}"));
    let coming = v1::ComingReplica { variant: String::new(), ready_in_ns: 1 };
    let mark = v1::Mark { term: 1, holder: "a".into(), sequence: 1 };
    let directive = v1::Directive {
        fleet: FLEET.into(),
        mark: Some(mark),
        coming: vec![coming],
        ..v1::Directive::default()
    };
    let wrong = v1::ToGate { what: Some(v1::to_gate::What::Directive(directive)) };
    assert!(ToGate::try_from(wrong).unwrap_err().to_string().contains("variant"));
}
