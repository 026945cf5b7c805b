//! A front that follows a controller, over gRPC on loopback and in memory.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::fleet::Role;
use forebay_core::gate::{EndpointLoad, Refusal};
use forebay_core::ids::VariantId;
use forebay_core::sync::{Coming, Drained, GateName, Plan, Term, VariantPhysics};
use forebay_core::time::Span;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};

use super::tests::{Headers, admit, manifests};
use super::{Denied, Front, FrontSource, Waiting};
use crate::body;
use crate::desk::Reason;
use crate::fleet_sync::{
    ControllerHandle, ControllerSettings, FleetSyncService, GateHandle, SyncController, SyncGate,
    follow, join,
};
use crate::testing::terms;

const ADDRESS: &str = "127.0.0.1:8000";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A front without engines, its end of the sync and a controller's; nothing joins them yet.
fn both(tasks: &mut JoinSet<()>) -> (Front, GateHandle, ControllerHandle) {
    let front = Front::new(terms(&manifests("Enforce")), 7);
    tasks.spawn(front.clone().keep_time());
    let clock = front.desk().clock();
    let settings = ControllerSettings { holder: "a".into(), fleets: vec!["demo".into()] };
    let (controller, end) = SyncController::new(settings, clock);
    tasks.spawn(end.run());
    let name = GateName { name: "gate-0".into(), incarnation: 1 };
    let source = Arc::new(FrontSource::new(front.clone(), || true));
    let (gate, end) = SyncGate::new(name, "demo".into(), clock, source);
    tasks.spawn(end.run());
    let (guided, mut state) = (front.clone(), gate.state());
    tasks.spawn(async move {
        while state.changed().await.is_ok() {
            let now = state.borrow_and_update().guided.clone();
            guided.guide(&now);
        }
    });
    let (changed, news) = (front.clone(), gate.clone());
    tasks.spawn(async move {
        loop {
            changed.desk().changed().await;
            news.changed();
        }
    });
    (front, gate, controller)
}

fn coming(front: &Front, seconds: u64) -> Vec<Coming> {
    let ready_at = front.desk().now() + Span::from_secs(seconds);
    vec![Coming { variant: "l40s".into(), ready_at }]
}

fn ready(front: &Front) {
    front.endpoint_ready(ADDRESS, VariantId(0), Role::Both);
}

fn page(front: &Front, running: f64) {
    let load = EndpointLoad { running, waiting: 0.0, kv_usage: 0.1 };
    front.scraped(ADDRESS, Span::ZERO, Some(load), None);
}

fn ask(front: &Front) -> Waiting {
    admit(front, &Headers::default()).unwrap()
}

/// Why a request is refused at once; `None` if it is not.
async fn refused(front: &Front) -> Option<(Reason, Option<Span>)> {
    let waiting = ask(front);
    if waiting.is_held() {
        return None;
    }
    match waiting.await {
        Err(Denied::Refused { refused, .. }) => Some((refused.reason, refused.retry_after)),
        Err(other) => panic!("{other:?}"),
        Ok(_) => None,
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let all = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("never: {what}"));
}

const NOBODY: Reason = Reason::Gate(Refusal::NoEndpoints);

#[tokio::test]
async fn over_grpc_an_outlook_holds_who_would_be_refused_and_a_drain_stops_sending() {
    let mut tasks = JoinSet::new();
    let (front, gate, controller) = both(&mut tasks);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = FleetSyncService::server(controller.clone());
    tasks.spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    tasks.spawn(follow(gate, Endpoint::from_shared(url).unwrap()));
    assert_eq!(refused(&front).await, Some((NOBODY, None)), "nothing is on its way");

    let plan = Plan { coming: coming(&front, 3), ..Plan::default() };
    controller.planned("demo", plan).await;
    controller.lease(Some(Term(1))).await;
    eventually("it is held", async || ask(&front).is_held()).await;
    let held = ask(&front);
    ready(&front);
    let pass = held.await.unwrap();
    assert_eq!(pass.endpoint(), ADDRESS);

    let drain = Plan { drain: vec![ADDRESS.into()], ..Plan::default() };
    controller.planned("demo", drain).await;
    let drained = async || controller.drained("demo", ADDRESS).await;
    eventually("nothing is sent there", async || refused(&front).await == Some((NOBODY, None)))
        .await;
    // It came back while it is to be drained, and the terms changed.
    ready(&front);
    front.reload(terms(&manifests("Enforce").replace("ttft: 2s", "ttft: 3s")));
    assert_eq!(refused(&front).await, Some((NOBODY, None)));
    page(&front, 1.0);
    eventually("one is there", async || drained().await == Drained::No { in_flight: 1 }).await;
    pass.finished(body::Usage::default());
    page(&front, 0.0);
    eventually("it is empty", async || drained().await == Drained::Yes).await;
    let seen = controller.active("demo").await.unwrap().1;
    assert!(seen.endpoints[0].draining && seen.tiers[0].tier == "high");
    let refusals: f64 = seen.tiers.iter().map(|tier| tier.refused_total).sum();
    assert!(refusals >= 1.0, "{refusals}");

    controller.planned("demo", Plan::default()).await;
    eventually("it serves again", async || refused(&front).await.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_controller_said_lapses_after_a_minute() {
    let mut tasks = JoinSet::new();
    let (front, gate, controller) = both(&mut tasks);
    let joined = join(&gate, &controller);
    ready(&front);
    let plan = Plan {
        coming: coming(&front, 100),
        drain: vec![ADDRESS.into()],
        physics: vec![VariantPhysics { variant: "l40s".into(), fixed: 2.0, token: 2.0, kv: 1.0 }],
        ..Plan::default()
    };
    controller.planned("demo", plan).await;
    controller.lease(Some(Term(1))).await;
    let told = async || refused(&front).await.and_then(|(_, retry_after)| retry_after);
    eventually("a time is told", async || told().await.is_some()).await;
    assert!(told().await.unwrap() > Span::from_secs(60), "when the replica is there");
    joined.abort();
    sleep(Duration::from_secs(50)).await;
    assert!(told().await.is_some_and(|told| told < Span::from_secs(60)), "it still holds");
    sleep(Duration::from_secs(12)).await;
    assert_eq!(refused(&front).await, None, "what was drained serves again");
    front.endpoint_gone(ADDRESS);
    assert_eq!(refused(&front).await, Some((NOBODY, None)), "and nothing is promised beyond it");
}

#[tokio::test]
async fn who_finds_nobody_is_held_only_while_it_is_known_that_something_starts_for_him() {
    let mut tasks = JoinSet::new();
    let (front, gate, controller) = both(&mut tasks);
    let _joined = join(&gate, &controller);
    let planned = async |on_demand| {
        controller.planned("demo", Plan { on_demand, ..Plan::default() }).await;
    };
    planned(Some(true)).await;
    assert_eq!(refused(&front).await, Some((NOBODY, None)), "nobody leads yet");
    controller.lease(Some(Term(1))).await;
    let is_held = async || ask(&front).is_held();
    eventually("it is held", is_held).await;
    for otherwise in [Some(false), None] {
        planned(otherwise).await;
        eventually("nobody is held", async || !is_held().await).await;
        assert_eq!(refused(&front).await, Some((NOBODY, None)), "{otherwise:?}");
        planned(Some(true)).await;
        eventually("it is held again", is_held).await;
    }
}
