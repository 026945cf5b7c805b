//! `forebay run` with real processes: engines come and go, files change, the process ends.

use std::net::SocketAddr;

use crate::support::{Folder, Forebay, demo_fleet, eventually, free_address};

fn get(url: &str) -> Option<String> {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { reqwest::get(url).await.ok()?.text().await.ok() })
}

/// The value of a sample; absent is not zero.
fn sample(page: SocketAddr, start: &str) -> Option<f64> {
    let page = get(&format!("http://{page}/metrics"))?;
    let line = page.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next()?.parse().ok()
}

const READY: &str = "llm_d_epp_ready_endpoints{";

#[test]
fn an_engine_is_in_the_fleet_while_somebody_listens_there() {
    let folder = Folder::new("engines");
    let late = free_address();
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[late]));
    let (_gate, at) =
        Forebay::gate(&fleet, &["--ext-proc", "--metrics"], &["--scrape-seconds", "0.05"]);
    eventually("the page is there", || sample(at[1], READY) == Some(0.0));

    let late = late.to_string();
    let engine = Forebay::start(&["engine", "--model", "demo", "--listen", &late]);
    eventually("the engine is seen", || sample(at[1], READY) == Some(1.0));
    drop(engine);
    eventually("it is missed", || sample(at[1], READY) == Some(0.0));
    let age =
        format!("forebay_endpoint_page_age_seconds{{fleet=\"gate-demo\",endpoint=\"{late}\"}}");
    assert_eq!(sample(at[1], &age), None, "nothing is known of it");
}

#[test]
fn files_are_taken_up_when_they_change_and_a_bad_one_keeps_the_last() {
    let folder = Folder::new("reload");
    let (_engines, engines) = Forebay::engines(2, &[]);
    let fleet = folder.write("fleet.yaml", &demo_fleet(&engines[..1]));
    let (gate, at) =
        Forebay::gate(&fleet, &["--ext-proc", "--metrics"], &["--scrape-seconds", "0.05"]);
    eventually("one engine", || sample(at[1], READY) == Some(1.0));

    folder.write("fleet.yaml", "kind: [nonsense");
    eventually("it says what is wrong", || gate.said().contains("the terms before stay"));
    assert!(gate.said().contains("fleet.yaml"), "and where: {}", gate.said());
    assert_eq!(sample(at[1], READY), Some(1.0));

    folder.write("fleet.yaml", &demo_fleet(&engines));
    eventually("the second engine", || sample(at[1], READY) == Some(2.0));
}

#[test]
fn told_to_stop_it_is_not_ready_any_more_and_ends_well() {
    let folder = Folder::new("stop");
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[free_address()]));
    let (mut gate, at) = Forebay::gate(&fleet, &["--ext-proc", "--health"], &[]);
    let ready = format!("http://{}/readyz", at[1]);
    eventually("it is ready", || get(&ready).as_deref() == Some("ready\n"));
    gate.signal("TERM");
    assert_eq!(gate.ended(), Some(0));
}

#[test]
fn without_a_face_or_with_a_taken_address_it_says_what_to_do() {
    let folder = Folder::new("faces");
    let fleet = folder.write("fleet.yaml", &demo_fleet(&[free_address()]));
    let fleet = fleet.to_str().unwrap();
    let mut faceless = Forebay::start(&["run", "--fleet", fleet]);
    assert_eq!(faceless.ended(), Some(1));
    eventually("it says why", || faceless.said().contains("give --listen, --ext-proc or --admit"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let mut late = Forebay::start(&["run", "--fleet", fleet, "--ext-proc", &at]);
    assert_eq!(late.ended(), Some(1));
    eventually("it says which", || late.said().contains(&format!("cannot listen on {at}")));
}
