//! What our own gate decides, by hand.

use forebay_core::fleet::{Late, Role, World};
use forebay_core::gate::{
    Arrival, EndpointLoad, Forebay, Gate, GateEffect, GateEvent, Refusal, SCRAPE_INTERVAL,
};
use forebay_core::ids::{EndpointId, FleetId, RequestId, TierId, VariantId};
use forebay_core::time::{Span, Time};

use super::testing::world;

pub(super) const HIGH: u8 = 0;
pub(super) const LOW: u8 = 1;
const BATCH: u8 = 2;

pub(super) struct Driver {
    pub(super) gate: Forebay,
    pub(super) now: Time,
    pub(super) next: u64,
}

/// What became of a request: where it went, or why not.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    Sent(u64, u32, Option<u32>),
    Refused(u64, Refusal),
}

impl Driver {
    pub(super) fn new(world: &World) -> Self {
        let gate = Forebay::new(world, FleetId(0), SCRAPE_INTERVAL);
        Self { gate, now: Time::ZERO, next: 0 }
    }

    pub(super) fn tell(&mut self, event: GateEvent<'_>) -> Vec<Fate> {
        let mut effects = Vec::new();
        self.gate.step(self.now, event, &mut effects);
        let fates = effects.into_iter().map(|effect| match effect {
            GateEffect::Dispatch { request, endpoint, prefill } => {
                Fate::Sent(request.0, endpoint.0, prefill.map(|prefill| prefill.0))
            }
            GateEffect::Refuse { request, reason, retry_after, .. } => {
                let helps = !matches!(reason, Refusal::NoEndpoints | Refusal::Late);
                assert!(retry_after.is_some() || !helps, "{reason:?} without a time");
                Fate::Refused(request.0, reason)
            }
        });
        fates.collect()
    }

    pub(super) fn ready(&mut self, endpoint: u32, variant: u16) -> Vec<Fate> {
        let role = [Role::Both, Role::Prefill, Role::Decode][usize::from(variant)];
        let (endpoint, variant) = (EndpointId(endpoint), VariantId(variant));
        self.tell(GateEvent::EndpointReady { endpoint, variant, role })
    }

    pub(super) fn scraped(&mut self, endpoint: u32, running: f64, waiting: f64) -> Vec<Fate> {
        let load = EndpointLoad { running, waiting, kv_usage: 0.1 };
        self.tell(GateEvent::Scraped { endpoint: EndpointId(endpoint), at: self.now, load })
    }

    pub(super) fn arrive(&mut self, tier: u8, prompt_tokens: u32, patience: Span) -> Vec<Fate> {
        let request = RequestId(self.next);
        self.next += 1;
        let arrival = Arrival::new(request, TierId(tier), prompt_tokens, self.now + patience);
        self.tell(GateEvent::Arrived(&arrival))
    }

    pub(super) fn many(&mut self, count: usize, tier: u8) -> Vec<Fate> {
        (0..count).flat_map(|_| self.arrive(tier, 20, Span::from_secs(50))).collect()
    }

    pub(super) fn finish(&mut self, request: u64) -> Vec<Fate> {
        self.tell(GateEvent::Finished { request: RequestId(request), output_tokens: 250 })
    }

    /// An engine that is known to run four at a time, all of them taken by requests 0 to 3.
    pub(super) fn full(world: &World) -> Self {
        let mut driver = Self::new(world);
        driver.ready(0, 0);
        assert_eq!(driver.many(4, HIGH).len(), 4);
        driver.next = 99;
        assert_eq!(driver.many(1, HIGH).len(), 1);
        driver.now += Span::from_millis(200);
        assert_eq!(driver.scraped(0, 4.0, 1.0), []);
        driver.finish(99);
        driver.next = 4;
        driver
    }
}

#[test]
fn a_completion_dispatches_the_next_in_the_same_step_by_tier_then_deadline() {
    let mut driver = Driver::full(&world());
    assert_eq!(driver.many(1, LOW), []);
    assert_eq!(driver.arrive(HIGH, 20, Span::from_secs(50)), []);
    assert_eq!(driver.arrive(HIGH, 20, Span::from_secs(30)), []);
    assert_eq!(driver.gate.queued(TierId(HIGH)).requests, 2);
    assert_eq!(driver.finish(0), [Fate::Sent(6, 0, None)], "the earliest deadline");
    assert_eq!(driver.finish(1), [Fate::Sent(5, 0, None)]);
    let failed = driver.tell(GateEvent::Failed { request: RequestId(2) });
    assert_eq!(failed, [Fate::Sent(4, 0, None)]);
}

#[test]
fn what_an_engine_failed_is_not_charged() {
    let mut driver = Driver::full(&world());
    let arrive = |driver: &mut Driver, flow: u64| {
        let request = RequestId(driver.next);
        driver.next += 1;
        let deadline = driver.now + Span::from_secs(50);
        let arrival = Arrival { flow, ..Arrival::new(request, TierId(HIGH), 1_000, deadline) };
        driver.tell(GateEvent::Arrived(&arrival))
    };
    // Two tenants, three requests each: 4 to 6 and 7 to 9.
    for flow in [1, 1, 1, 2, 2, 2] {
        assert_eq!(arrive(&mut driver, flow), []);
    }
    assert_eq!(driver.finish(0), [Fate::Sent(4, 0, None)]);
    // Charged for it, the first tenant would be behind the second.
    let failed = driver.tell(GateEvent::Failed { request: RequestId(4) });
    assert_eq!(failed, [Fate::Sent(5, 0, None)]);
    assert_eq!(driver.finish(1), [Fate::Sent(7, 0, None)], "what runs is charged");
}

#[test]
fn a_floor_gives_a_lower_tier_its_share_and_no_more() {
    let mut world = world();
    world.tiers[usize::from(LOW)].floor = 0.25;
    let mut driver = Driver::full(&world);
    assert_eq!(driver.many(200, HIGH), []);
    assert_eq!(driver.many(200, LOW), []);
    let mut low = 0;
    let mut running: Vec<u64> = (0..4).collect();
    for turn in 0..160 {
        let finished = running[turn % 4];
        match driver.finish(finished)[..] {
            [Fate::Sent(request, 0, None)] => {
                low += u32::from(request >= 204);
                running[turn % 4] = request;
            }
            ref other => panic!("{other:?}"),
        }
    }
    assert!((38..=40).contains(&low), "a quarter of 160: {low}");
}

#[test]
fn deferrable_work_waits_for_room_and_for_everybody_above() {
    let mut driver = Driver::new(&world());
    driver.ready(0, 0);
    driver.scraped(0, 0.0, 0.0);
    let hour = Span::from_secs(3_600);
    assert_eq!(driver.arrive(HIGH, 1_100, hour), [Fate::Sent(0, 0, None)]);
    // More than half a chunk of 2,048 tokens lies ahead.
    assert_eq!(driver.gate.budget(driver.now, TierId(BATCH)), Some(0));
    assert_eq!(driver.arrive(BATCH, 100, hour), []);
    assert_eq!(driver.arrive(HIGH, 100, hour), [Fate::Sent(2, 0, None)]);
    let first = driver.tell(GateEvent::FirstToken { request: RequestId(0) });
    assert_eq!(first, [Fate::Sent(1, 0, None)]);
    assert!(driver.gate.budget(driver.now, TierId(BATCH)).is_some_and(|budget| budget > 0));
}

#[test]
fn whoever_cannot_attain_is_refused_or_served_last() {
    let mut world = world();
    world.tiers[usize::from(LOW)].late = Late::ServeLast;
    let mut driver = Driver::full(&world);
    // 10,000 tokens take half a second at 50 ms per thousand.
    let soon = Span::from_millis(300);
    assert_eq!(driver.arrive(HIGH, 10_000, soon), [Fate::Refused(4, Refusal::Late)]);
    assert_eq!(driver.arrive(LOW, 10_000, soon), []);
    assert_eq!(driver.arrive(BATCH, 20, Span::from_secs(3_000)), []);
    assert_eq!(driver.finish(0), [Fate::Sent(6, 0, None)], "batch can attain, 5 cannot");
    assert_eq!(driver.finish(1), [Fate::Sent(5, 0, None)]);

    // One that could attain when it came is told as soon as it cannot.
    driver.many(2, HIGH);
    assert_eq!(driver.arrive(HIGH, 20, Span::from_secs(2)), []);
    let due = driver.gate.next_deadline().unwrap();
    assert!(due < driver.now + Span::from_secs(2));
    let mut told = Vec::new();
    while told.is_empty() {
        driver.now = driver.gate.next_deadline().unwrap();
        told = driver.tell(GateEvent::Due);
    }
    assert_eq!(told, [Fate::Refused(9, Refusal::Late)]);
    assert!(driver.now < due + Span::from_secs(2));
}

#[test]
fn a_connection_is_held_as_long_as_its_tier_says_even_without_endpoints() {
    let mut world = world();
    world.tiers[usize::from(HIGH)].hold_max = Span::from_secs(7);
    let mut driver = Driver::new(&world);
    assert_eq!(driver.arrive(HIGH, 20, Span::from_secs(50)), []);
    assert_eq!(driver.arrive(HIGH, 20, Span::from_secs(50)), []);
    assert_eq!(driver.gate.next_deadline(), Some(Time::ZERO + Span::from_secs(7)));
    assert_eq!(driver.tell(GateEvent::ClientGone { request: RequestId(0) }), []);
    driver.now = Time::ZERO + Span::from_secs(6);
    assert_eq!(driver.ready(3, 0), [Fate::Sent(1, 3, None)], "it wakes when one appears");
    assert_eq!(driver.arrive(HIGH, 20, Span::from_secs(50)), [Fate::Sent(2, 3, None)]);
    driver.tell(GateEvent::EndpointDraining { endpoint: EndpointId(3) });
    assert_eq!(driver.arrive(HIGH, 20, Span::from_secs(50)), []);
    driver.now = driver.gate.next_deadline().unwrap();
    assert_eq!(driver.tell(GateEvent::Due), [Fate::Refused(3, Refusal::NoCapacityInSight)]);
    assert_eq!(driver.gate.next_deadline(), None);
}

#[test]
fn a_long_prompt_goes_to_the_least_busy_prefill_engine_and_waits_for_its_credit() {
    let mut driver = Driver::new(&world());
    for (endpoint, variant) in [(0, 2), (8, 1), (9, 1)] {
        driver.ready(endpoint, variant);
    }
    let long = Span::from_secs(50);
    assert_eq!(driver.arrive(HIGH, 3_000, long), [Fate::Sent(0, 0, Some(8))]);
    assert_eq!(driver.arrive(HIGH, 2_000, long), [Fate::Sent(1, 0, Some(9))]);
    assert_eq!(driver.arrive(HIGH, 3_000, long), [Fate::Sent(2, 0, Some(9))]);
    assert_eq!(driver.arrive(HIGH, 2_000, long), [Fate::Sent(3, 0, Some(8))]);
    assert_eq!(driver.arrive(HIGH, 400, long), [], "two chunks lie ahead on both");
    let done = driver.tell(GateEvent::PrefillDone { request: RequestId(0) });
    assert_eq!(done, [Fate::Sent(4, 0, Some(8))]);
    assert_eq!(driver.arrive(HIGH, 100, long), [Fate::Sent(5, 0, None)], "short prompts stay");
}

#[test]
fn a_credit_that_binds_grows_without_scrapes_that_say_the_same() {
    let mut driver = Driver::full(&world());
    driver.now += Span::from_millis(200);
    driver.scraped(0, 4.0, 0.0);
    assert_eq!(driver.finish(0), []);
    assert_eq!(driver.many(3, HIGH).len(), 2, "the credit grew to five");
    let due = driver.gate.next_deadline().unwrap();
    assert_eq!(due, driver.now + Span::from_millis(200));
    driver.now = due;
    assert_eq!(driver.tell(GateEvent::Due).len(), 1);
    // Blind, it stays as it is.
    driver.tell(GateEvent::ScrapeLost { endpoint: EndpointId(0) });
    assert_eq!(driver.many(1, HIGH), []);
    assert!(driver.gate.next_deadline().unwrap() > driver.now + Span::from_secs(10));
}

#[test]
fn a_credit_that_has_long_been_binding_grows_when_somebody_needs_it() {
    let mut driver = Driver::full(&world());
    driver.now += Span::from_millis(200);
    driver.scraped(0, 4.0, 0.0);
    assert_eq!(driver.many(1, HIGH).len(), 1);
    driver.now += Span::from_secs(2);
    assert_eq!(driver.many(1, HIGH), [Fate::Sent(5, 0, None)]);
    assert_eq!(driver.many(1, HIGH), [], "once, until more is known");
    assert!(driver.gate.next_deadline().unwrap() > driver.now);
}
