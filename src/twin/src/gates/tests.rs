//! What the simple gates decide, by hand.

use std::collections::BTreeMap;

use forebay_core::fleet::Role;
use forebay_core::gate::{Arrival, Gate, GateEffect, GateEvent, Refusal};
use forebay_core::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use forebay_core::time::Time;

use super::testing::world;
use super::{NAMES, build, parameters};

struct Driver {
    gate: Box<dyn Gate + Send>,
    next: u64,
}

impl Driver {
    fn new(name: &str) -> Self {
        let gate = build(name, &BTreeMap::new(), &world(), FleetId(0), 1).unwrap();
        Self { gate, next: 0 }
    }

    fn tell(&mut self, event: GateEvent<'_>) -> Vec<GateEffect> {
        let mut effects = Vec::new();
        self.gate.step(Time::ZERO, event, &mut effects);
        effects
    }

    fn ready(&mut self, endpoint: u32, role: Role) {
        let endpoint = EndpointId(endpoint);
        self.tell(GateEvent::EndpointReady { endpoint, variant: VariantId(0), role });
    }

    fn drain(&mut self, endpoint: u32) {
        self.tell(GateEvent::EndpointDraining { endpoint: EndpointId(endpoint) });
    }

    fn gone(&mut self, endpoint: u32) {
        self.tell(GateEvent::EndpointGone { endpoint: EndpointId(endpoint) });
    }

    fn finish(&mut self, request: u64) {
        self.tell(GateEvent::Finished { request: RequestId(request), output_tokens: 1 });
    }

    /// One arrival; where it goes, `None` when it is refused.
    fn arrive(&mut self) -> Option<(u32, Option<u32>)> {
        let request = RequestId(self.next);
        self.next += 1;
        let arrival = Arrival::new(request, TierId(0), 100, Time::MAX);
        match self.tell(GateEvent::Arrived(&arrival)).as_slice() {
            [GateEffect::Dispatch { request: same, endpoint, prefill }] if *same == request => {
                Some((endpoint.0, prefill.map(|prefill| prefill.0)))
            }
            [GateEffect::Refuse { request: same, reason: Refusal::NoEndpoints, .. }]
                if *same == request =>
            {
                None
            }
            other => panic!("not one outcome: {other:?}"),
        }
    }

    fn arrivals(&mut self, count: usize) -> Vec<u32> {
        (0..count).filter_map(|_| self.arrive()).map(|(endpoint, _)| endpoint).collect()
    }
}

#[test]
fn every_name_builds_and_tells_its_tunables() {
    for name in NAMES {
        assert!(build(name, &BTreeMap::new(), &world(), FleetId(0), 1).is_ok());
        assert!(parameters(name, &BTreeMap::new()).is_ok());
    }
    let error = parameters("robin", &BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("round-robin, least-loaded"), "{error}");
    assert!(build("round-robin", &BTreeMap::new(), &world(), FleetId(1), 1).is_err());
}

#[test]
fn nobody_there_is_a_refusal() {
    for name in ["round-robin", "least-loaded"] {
        let mut driver = Driver::new(name);
        assert_eq!(driver.arrive(), None);
        driver.ready(1, Role::Prefill);
        assert_eq!(driver.arrive(), None, "a prefill endpoint alone serves nobody");
    }
}

#[test]
fn round_robin_is_fair_and_whoever_was_next_stays_next() {
    let mut driver = Driver::new("round-robin");
    for endpoint in [4, 2, 6] {
        driver.ready(endpoint, Role::Both);
    }
    assert_eq!(driver.arrivals(7), [2, 4, 6, 2, 4, 6, 2]);
    driver.ready(1, Role::Both);
    assert_eq!(driver.arrivals(1), [4]);
    driver.drain(2);
    assert_eq!(driver.arrivals(4), [6, 1, 4, 6]);
    driver.gone(6);
    driver.gone(2);
    assert_eq!(driver.arrivals(3), [1, 4, 1]);
}

#[test]
fn least_loaded_counts_what_is_in_flight_then_what_was_ever_sent() {
    let mut driver = Driver::new("least-loaded");
    for endpoint in [1, 2, 3] {
        driver.ready(endpoint, Role::Both);
    }
    assert_eq!(driver.arrivals(4), [1, 2, 3, 1]);
    driver.finish(1);
    assert_eq!(driver.arrivals(1), [2], "2 is idle");
    driver.finish(0);
    driver.finish(3);
    // 1 is idle now.
    assert_eq!(driver.arrivals(1), [1]);
    // All have one in flight; 3 was sent one request, 2 two, 1 three.
    assert_eq!(driver.arrivals(1), [3]);
}

#[test]
fn a_draining_endpoint_gets_nothing_and_may_come_back_with_its_requests() {
    let mut driver = Driver::new("least-loaded");
    driver.ready(1, Role::Both);
    driver.ready(2, Role::Both);
    assert_eq!(driver.arrivals(2), [1, 2]);
    driver.finish(1);
    driver.drain(2);
    assert_eq!(driver.arrivals(2), [1, 1]);
    driver.ready(2, Role::Both);
    assert_eq!(driver.arrivals(2), [2, 2]);
    driver.gone(2);
    for request in 0..6 {
        driver.finish(request);
    }
    driver.ready(3, Role::Both);
    assert_eq!(driver.arrivals(2), [3, 1], "nothing is left on 1 and nothing counts on 2");
}

#[test]
fn where_decode_is_apart_the_prompt_goes_to_a_prefill_endpoint() {
    for name in ["round-robin", "least-loaded"] {
        let mut driver = Driver::new(name);
        driver.ready(1, Role::Decode);
        assert_eq!(driver.arrive(), Some((1, None)), "decode engines can do all of it");
        driver.ready(8, Role::Prefill);
        driver.ready(9, Role::Prefill);
        assert_eq!(driver.arrive(), Some((1, Some(8))));
        assert_eq!(driver.arrive(), Some((1, Some(9))));
        driver.gone(8);
        assert_eq!(driver.arrive(), Some((1, Some(9))));
        driver.ready(2, Role::Both);
        assert_eq!(driver.arrive(), Some((2, None)), "an aggregated engine does all of it");
    }
}

#[test]
fn a_prompt_counts_on_its_prefill_endpoint_until_it_is_done() {
    let mut driver = Driver::new("least-loaded");
    driver.ready(1, Role::Decode);
    driver.ready(8, Role::Prefill);
    driver.ready(9, Role::Prefill);
    assert_eq!(driver.arrive(), Some((1, Some(8))));
    assert_eq!(driver.arrive(), Some((1, Some(9))));
    driver.tell(GateEvent::PrefillDone { request: RequestId(1) });
    assert_eq!(driver.arrive(), Some((1, Some(9))));
    driver.tell(GateEvent::Failed { request: RequestId(0) });
    assert_eq!(driver.arrive(), Some((1, Some(8))));
}
