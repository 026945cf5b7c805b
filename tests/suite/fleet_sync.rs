//! `forebay run` with a controller in this process, over gRPC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::sync::{Drained, Plan, Term};
use forebay_gateway::fleet_sync::{
    Clock, ControllerHandle, ControllerSettings, FleetSyncService, SyncController,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::support::{Folder, Forebay, demo_fleet, eventually, free_address};

const FLEET: &str = "gate-demo";

/// A controller that leads, on a runtime of its own; its URL.
fn controller() -> (Arc<Runtime>, ControllerHandle, String) {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let clock = Clock::since(tokio::time::Instant::now());
    let settings = ControllerSettings { holder: "a".into(), fleets: vec![FLEET.into()] };
    let (handle, end) = SyncController::new(settings, clock);
    runtime.spawn(end.run());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = FleetSyncService::server(handle.clone());
    runtime.spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        Server::builder().add_service(service).serve_with_incoming(incoming).await
    });
    runtime.block_on(handle.lease(Some(Term(1))));
    (Arc::new(runtime), handle, url)
}

/// The status of an answer; `None` without one.
fn status(runtime: &Runtime, url: &str, body: Option<&str>) -> Option<u16> {
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10));
        let client = client.build().unwrap();
        let request = match body {
            Some(body) => {
                client.post(url).header("content-type", "application/json").body(body.to_owned())
            }
            None => client.get(url),
        };
        Some(request.send().await.ok()?.status().as_u16())
    })
}

fn ready(runtime: &Runtime, health: SocketAddr) -> bool {
    status(runtime, &format!("http://{health}/readyz"), None) == Some(200)
}

#[test]
fn a_drain_stops_sending_and_is_seen_to_end() {
    let (runtime, controller, url) = controller();
    let folder = Folder::new("fleet-sync-drain");
    let (_engines, engines) = Forebay::engines(1, &[]);
    let fleet = folder.write("fleet.yaml", &demo_fleet(&engines));
    let more = ["--scrape-seconds", "0.05", "--controller", &url];
    let (_gate, at) = Forebay::gate(&fleet, &["--admit"], &more);
    let admit = format!("http://{}/v1/admit", at[0]);
    let body = r#"{"model":"demo","tier":"interactive","prompt_tokens":10}"#;
    let said = || status(&runtime, &admit, Some(body));
    eventually("it is admitted", || said() == Some(200));
    eventually("the controller sees the engine", || {
        let report = runtime.block_on(controller.active(FLEET));
        report.is_some_and(|(_, report)| report.endpoints.len() == 1)
    });

    let address = engines[0].to_string();
    let plan = Plan { drain: vec![address.clone()], ..Plan::default() };
    runtime.block_on(controller.planned(FLEET, plan));
    eventually("nobody is there any more", || said() == Some(503));
    // What was admitted is never released; that the engine's pages do not show it tells.
    eventually("it is empty", || {
        runtime.block_on(controller.drained(FLEET, &address)) == Drained::Yes
    });

    runtime.block_on(controller.planned(FLEET, Plan::default()));
    eventually("it is admitted again", || said() == Some(200));
}

#[test]
fn a_second_gate_stands_by_until_the_first_is_gone() {
    let (runtime, _controller, url) = controller();
    let folder = Folder::new("fleet-sync-second");
    let (_engines, engines) = Forebay::engines(1, &[]);
    let fleet = folder.write("fleet.yaml", &demo_fleet(&engines));
    let faces = ["--ext-proc", "--health"];
    let (first, one) = Forebay::gate(&fleet, &faces, &["--controller", &url]);
    eventually("the first is ready", || ready(&runtime, one[1]));
    let (_second, two) = Forebay::gate(&fleet, &faces, &["--controller", &url]);
    eventually("the second stands by", || !ready(&runtime, two[1]));
    std::thread::sleep(Duration::from_secs(3));
    assert!(ready(&runtime, one[1]) && !ready(&runtime, two[1]), "and goes on to");
    drop(first);
    eventually("the second takes over", || ready(&runtime, two[1]));
}

#[test]
fn a_controller_that_is_no_url_is_refused_with_a_hint() {
    let folder = Folder::new("fleet-sync-url");
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[free_address()]));
    let fleet = fleet.to_str().unwrap();
    let arguments =
        ["run", "--fleet", fleet, "--listen", "127.0.0.1:0", "--controller", "example:9000"];
    let mut gate = Forebay::start(&arguments);
    assert_eq!(gate.ended(), Some(1));
    eventually("it says how", || gate.said().contains("expected `http://host:port`"));
}
