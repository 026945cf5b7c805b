//! What a gate hears of its own scrapes.

use std::sync::{Arc, Mutex};

use forebay_core::fleet::Role;
use forebay_core::gate::{Gate, GateEffect, GateEvent, Queued};
use forebay_core::ids::{EndpointId, TierId};
use forebay_core::scenario::{Fault, FaultKind};
use forebay_core::time::{Span, Time};

use super::tests::{Script, Steady, at, scenario, variant, world};
use super::{Setup, run};

/// Sends everything to the first endpoint and counts what it hears of scrapes.
#[derive(Default)]
struct Listener {
    endpoint: Option<EndpointId>,
    /// By second: pages read and scrapes lost.
    heard: Arc<Mutex<Vec<(f64, bool)>>>,
}

impl Gate for Listener {
    fn step(&mut self, now: Time, event: GateEvent<'_>, effects: &mut Vec<GateEffect>) {
        match event {
            GateEvent::EndpointReady { endpoint, .. } => self.endpoint = Some(endpoint),
            GateEvent::Arrived(arrival) => effects.push(GateEffect::Dispatch {
                request: arrival.request,
                endpoint: self.endpoint.unwrap(),
                prefill: None,
            }),
            GateEvent::Scraped { at, .. } => {
                assert!(at <= now && now.since(at) <= Span::from_secs(1), "{at} read at {now}");
                self.heard.lock().unwrap().push((at.as_seconds(), true));
            }
            GateEvent::ScrapeLost { .. } => {
                self.heard.lock().unwrap().push((now.as_seconds(), false));
            }
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn queued(&self, _tier: TierId) -> Queued {
        Queued::default()
    }

    fn scrape_interval(&self) -> Option<Span> {
        Some(Span::from_secs(1))
    }
}

#[test]
fn a_gate_hears_once_that_its_scrapes_fail_and_reads_again_afterwards() {
    let world = world(vec![variant("l40s", Role::Both, 1)]);
    let mut scenario = scenario();
    let kind = FaultKind::MetricBlackout { variant: None };
    scenario.faults = vec![Fault { from: at(100), to: at(200), kind }];
    let gate = Listener::default();
    let heard = Arc::clone(&gate.heard);
    let source = Steady { gap_ms: 200, left: 1_500, at: Time::ZERO };
    run(Setup {
        world: &world,
        scenario: &scenario,
        source: Box::new(source),
        duration: Span::from_secs(300),
        planner: Box::new(Script::default()),
        gates: vec![Box::new(gate)],
        seed: 1,
    })
    .unwrap();
    let heard = heard.lock().unwrap();
    let lost: Vec<f64> =
        heard.iter().filter(|(_, read)| !read).map(|(second, _)| *second).collect();
    assert!(matches!(lost[..], [second] if (100.0..102.0).contains(&second)), "{lost:?}");
    let read_in = |from: f64, to: f64| {
        heard.iter().filter(|(second, read)| *read && *second >= from && *second < to).count()
    };
    assert!(read_in(0.0, 100.0) >= 98);
    assert_eq!(read_in(100.0, 200.0), 0);
    assert!(read_in(200.0, 300.0) >= 98);
}
