//! The order of events of `stock-flow`, by hand.

use std::collections::BTreeMap;

use forebay_core::fleet::Role;
use forebay_core::gate::{Arrival, EndpointLoad, Gate, GateEffect, GateEvent, Refusal};
use forebay_core::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use forebay_core::time::{Span, Time};

use super::build;
use super::testing::world;

struct Flow {
    gate: Box<dyn Gate + Send>,
    next: u64,
}

fn millis(count: u64) -> Time {
    Time::ZERO + Span::from_millis(count)
}

fn load(waiting: f64, kv_usage: f64) -> EndpointLoad {
    EndpointLoad { running: 0.0, waiting, kv_usage }
}

impl Flow {
    fn new(tunables: &[(&str, &str)]) -> Self {
        let tunables: BTreeMap<_, _> =
            tunables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { gate: build("stock-flow", &tunables, &world(), FleetId(0), 1).unwrap(), next: 0 }
    }

    fn tell(&mut self, now: Time, event: GateEvent<'_>) -> Vec<GateEffect> {
        let mut effects = Vec::new();
        self.gate.step(now, event, &mut effects);
        effects
    }

    fn ready(&mut self, endpoints: u32) {
        for endpoint in (0..endpoints).map(EndpointId) {
            let (variant, role) = (VariantId(0), Role::Both);
            self.tell(Time::ZERO, GateEvent::EndpointReady { endpoint, variant, role });
        }
    }

    fn scraped(&mut self, now: Time, endpoint: u32, load: EndpointLoad) -> Vec<GateEffect> {
        let endpoint = EndpointId(endpoint);
        self.tell(now, GateEvent::Scraped { endpoint, at: now, load })
    }

    fn arrive(&mut self, now: Time, tier: u8) -> Vec<GateEffect> {
        let request = RequestId(self.next);
        self.next += 1;
        let arrival = Arrival::new(request, TierId(tier), 100, Time::MAX);
        self.tell(now, GateEvent::Arrived(&arrival))
    }

    /// Runs the gate's own deadlines until `until`; when each request left, and where to.
    fn run(&mut self, until: Time) -> Vec<(Time, u64)> {
        let mut left = Vec::new();
        while let Some(due) = self.gate.next_deadline().filter(|due| *due <= until) {
            for effect in self.tell(due, GateEvent::Due) {
                if let GateEffect::Dispatch { request, .. } = effect {
                    left.push((due, request.0));
                }
            }
        }
        left
    }
}

#[test]
fn between_two_scrapes_everything_goes_to_one_engine_and_then_the_gate_shuts() {
    let mut flow = Flow::new(&[]);
    flow.ready(8);
    for endpoint in 0..8 {
        // Engine 5 has a little less in its cache than the others.
        let kv_usage = if endpoint == 5 { 0.0 } else { 0.1 };
        flow.scraped(Time::ZERO, endpoint, load(0.0, kv_usage));
    }
    for at in 0..44 {
        let effects = flow.arrive(millis(at), 0);
        assert!(
            matches!(effects[..], [GateEffect::Dispatch { endpoint: EndpointId(5), .. }]),
            "{effects:?}"
        );
    }
    assert_eq!(flow.gate.next_deadline(), None, "idle, it does not tick");
    // 36 still wait there: 36 / 5 and seven times 0.1 / 0.8 make a mean of 1.009 over eight.
    flow.scraped(millis(50), 5, load(36.0, 0.4));
    assert_eq!(flow.arrive(millis(51), 0), []);
    let saturation = flow.gate.saturation().unwrap();
    assert!((saturation - (7.2 + 0.875) / 8.0).abs() < 1e-12, "{saturation}");
    assert_eq!(flow.run(millis(900)), [], "nothing but a scrape opens it");
    flow.scraped(millis(900), 5, load(35.0, 0.4));
    assert_eq!(flow.run(millis(950)), [(millis(901), 44)]);
}

#[test]
fn a_backlog_drains_by_one_per_tick_and_completions_do_nothing() {
    let mut flow = Flow::new(&[("detector", "concurrency"), ("concurrency", "4")]);
    flow.ready(1);
    flow.scraped(Time::ZERO, 0, load(0.0, 0.0));
    for request in 0..10 {
        let effects = flow.arrive(Time::ZERO, 0);
        assert_eq!(effects.len(), usize::from(request < 4));
    }
    assert_eq!(flow.gate.next_deadline(), Some(millis(1_000)), "only the sweep");
    for request in 0..3 {
        let finished = GateEvent::Finished { request: RequestId(request), output_tokens: 1 };
        let at = millis(20) + Span(300_000 + request);
        assert_eq!(flow.tell(at, finished), [], "a completion dispatches nothing");
    }
    let ticks = [(millis(21), 4), (millis(22), 5), (millis(23), 6)];
    assert_eq!(flow.run(millis(40)), ticks);
    // An arrival has its own cycle, which serves whoever is first.
    flow.tell(millis(41), GateEvent::Finished { request: RequestId(3), output_tokens: 1 });
    let effects = flow.arrive(Time(41_200_000), 0);
    assert!(
        matches!(effects[..], [GateEffect::Dispatch { request: RequestId(7), .. }]),
        "{effects:?}"
    );
}

#[test]
fn bands_are_strict_and_expiry_waits_for_the_sweep() {
    let mut flow = Flow::new(&[("ttl", "2500ms"), ("priority.batch", "99")]);
    assert_eq!(flow.arrive(millis(100), 1), [], "an empty pool is full");
    assert_eq!(flow.arrive(millis(100), 0), []);
    assert_eq!(flow.arrive(millis(100), 2), []);
    flow.ready(1);
    assert_eq!(flow.run(millis(200)), [], "metrics are missing");
    flow.scraped(millis(200), 0, load(0.0, 0.0));
    let order: Vec<_> = flow.run(millis(300)).into_iter().map(|(_, request)| request).collect();
    assert_eq!(order, [2, 1, 0]);

    flow.scraped(millis(300), 0, load(5.0, 0.0));
    assert_eq!(flow.arrive(millis(400), 0), []);
    let refused = |flow: &mut Flow, until| {
        let mut refused = Vec::new();
        while let Some(due) = flow.gate.next_deadline().filter(|due| *due <= until) {
            refused.extend(flow.tell(due, GateEvent::Due).into_iter().map(|effect| (due, effect)));
        }
        refused
    };
    let expected = GateEffect::Refuse {
        request: RequestId(3),
        reason: Refusal::TtlExpired,
        retry_after: None,
        place: None,
    };
    assert_eq!(refused(&mut flow, millis(10_000)), [(millis(3_000), expected)]);
}

#[test]
fn a_full_band_refuses_and_a_client_that_went_still_counts_until_the_sweep() {
    let mut flow = Flow::new(&[("band_requests", "2")]);
    flow.ready(1);
    assert_eq!(flow.arrive(millis(1), 0), []);
    assert_eq!(flow.arrive(millis(1), 0), []);
    flow.tell(millis(2), GateEvent::ClientGone { request: RequestId(0) });
    assert_eq!(flow.gate.queued(TierId(0)).requests, 1);
    let effects = flow.arrive(millis(3), 0);
    assert!(
        matches!(effects[..], [GateEffect::Refuse { reason: Refusal::Saturated, .. }]),
        "{effects:?}"
    );
    assert_eq!(flow.arrive(millis(3), 1), [], "another band has room");
    flow.run(millis(1_500));
    assert_eq!(flow.arrive(millis(1_500), 0), [], "swept");
}

#[test]
fn with_flow_control_off_only_negative_priorities_are_shed() {
    let mut gate = build("stock", &BTreeMap::new(), &world(), FleetId(0), 1).unwrap();
    let mut effects = Vec::new();
    let (endpoint, variant) = (EndpointId(0), VariantId(0));
    let ready = GateEvent::EndpointReady { endpoint, variant, role: Role::Both };
    gate.step(Time::ZERO, ready, &mut effects);
    let full = GateEvent::Scraped { endpoint, at: Time::ZERO, load: load(6.0, 0.1) };
    gate.step(Time::ZERO, full, &mut effects);
    for tier in 0..3 {
        let arrival = Arrival::new(RequestId(u64::from(tier)), TierId(tier), 100, Time::MAX);
        gate.step(Time::ZERO, GateEvent::Arrived(&arrival), &mut effects);
    }
    assert!(
        matches!(
            effects[..],
            [
                GateEffect::Dispatch { .. },
                GateEffect::Dispatch { .. },
                GateEffect::Refuse { reason: Refusal::Saturated, .. }
            ]
        ),
        "{effects:?}"
    );
}
