//! What our own gate believes of endpoints, of what is on its way, and of what it only watches.

use forebay_core::gate::{Arrival, Coming, Gate, GateEffect, GateEvent, Outlook, Refusal};
use forebay_core::ids::{RequestId, TierId, VariantId};
use forebay_core::time::{Span, Time};

use super::forebay_tests::{Driver, Fate, HIGH, LOW};
use super::testing::world;

impl Driver {
    fn watched(&mut self, tier: u8, prompt_tokens: u32, patience: Span) -> Vec<Fate> {
        let request = RequestId(self.next);
        self.next += 1;
        let arrival = Arrival {
            enforced: false,
            ..Arrival::new(request, TierId(tier), prompt_tokens, self.now + patience)
        };
        self.tell(GateEvent::Arrived(&arrival))
    }

    /// Pages of endpoint 0, one per second.
    fn pages(&mut self, seconds: u64, running: f64) -> Vec<Fate> {
        let pages = (0..seconds).flat_map(|_| {
            self.now += Span::from_secs(1);
            self.scraped(0, running, 0.0)
        });
        pages.collect()
    }

    fn outlook(&mut self, ready_s: &[u64], on_demand: bool) -> Vec<Fate> {
        let coming: Vec<_> = ready_s
            .iter()
            .map(|ready| Coming {
                ready_at: Time::ZERO + Span::from_secs(*ready),
                variant: VariantId(0),
            })
            .collect();
        self.tell(GateEvent::Outlook(&Outlook { coming: &coming, on_demand }))
    }
}

#[test]
fn who_is_only_watched_goes_at_once_and_is_counted() {
    let mut driver = Driver::full(&world());
    let long = Span::from_secs(50);
    assert_eq!(driver.watched(HIGH, 20, long), [Fate::Sent(4, 0, None)]);
    assert_eq!(driver.watched(LOW, 20, Span::from_millis(5)), [Fate::Sent(5, 0, None)]);
    let high = driver.gate.would_have(TierId(HIGH)).unwrap();
    assert_eq!((high.sent, high.held), (0, 1));
    let low = driver.gate.would_have(TierId(LOW)).unwrap();
    assert_eq!((low.sent, low.held, low.refused_late), (0, 0, 1));
    for request in 0..6 {
        driver.finish(request);
    }
    assert_eq!(driver.watched(HIGH, 20, long).len(), 1);
    assert_eq!(driver.gate.would_have(TierId(HIGH)).unwrap().sent, 1);

    let mut nobody = Driver::new(&world());
    nobody.outlook(&[], false);
    assert_eq!(nobody.watched(HIGH, 20, long), [Fate::Refused(0, Refusal::NoEndpoints)]);
}

#[test]
fn requests_whose_end_got_lost_are_found_missing_and_forgotten() {
    let mut driver = Driver::full(&world());
    assert_eq!(driver.many(2, HIGH), [], "four are there");
    let sent = driver.pages(8, 2.0);
    assert_eq!(sent, [Fate::Sent(4, 0, None), Fate::Sent(5, 0, None)], "two are not");
    assert_eq!(driver.gate.mended(), 0);
    driver.pages(40, 6.0);
    assert_eq!(driver.gate.mended(), 0, "what is on the pages again is not forgotten");
    driver.pages(40, 2.0);
    assert_eq!(driver.gate.mended(), 4);
    assert_eq!(driver.finish(0), [], "the oldest were; their ends come too late");
}

#[test]
fn what_ran_before_a_restart_counts_until_it_is_gone() {
    let mut driver = Driver::new(&world());
    driver.ready(0, 0);
    driver.scraped(0, 4.0, 1.0);
    assert_eq!(driver.many(3, HIGH), [], "five are there that nobody here sent");
    driver.now += Span::from_secs(1);
    let sent = driver.scraped(0, 2.0, 0.0);
    assert_eq!(sent, [Fate::Sent(0, 0, None), Fate::Sent(1, 0, None)]);
}

#[test]
fn who_wakes_the_fleet_is_held_while_a_replica_starts() {
    let mut driver = Driver::new(&world());
    driver.outlook(&[20], true);
    assert_eq!(driver.arrive(HIGH, 20, Span::from_millis(100)), [], "whatever its objective");
    driver.now = Time::ZERO + Span::from_secs(20);
    assert_eq!(driver.ready(0, 0), [Fate::Sent(0, 0, None)]);
}

#[test]
fn nobody_is_held_for_a_replica_that_comes_too_late_or_not_at_all() {
    let mut driver = Driver::new(&world());
    driver.outlook(&[100], true);
    let arrival = Arrival::new(RequestId(0), TierId(HIGH), 20, Time::ZERO + Span::from_secs(2));
    let mut effects = Vec::new();
    driver.gate.step(driver.now, GateEvent::Arrived(&arrival), &mut effects);
    let [GateEffect::Refuse { retry_after: Some(told), place: Some(_), .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    assert!((Span::from_secs(100)..Span::from_secs(120)).contains(&told), "{told}");

    driver.outlook(&[], false);
    driver.next = 1;
    let refused = driver.arrive(HIGH, 20, Span::from_secs(50));
    assert_eq!(refused, [Fate::Refused(1, Refusal::NoEndpoints)]);
}

#[test]
fn a_request_that_comes_back_has_its_old_place() {
    let mut driver = Driver::full(&world());
    let hold_max = Some(Span::from_secs(1));
    let deadline = driver.now + Span::from_secs(40);
    let first = Arrival { hold_max, ..Arrival::new(RequestId(4), TierId(HIGH), 20, deadline) };
    assert_eq!(driver.tell(GateEvent::Arrived(&first)), []);
    driver.next = 5;
    assert_eq!(driver.many(2, HIGH), []);
    driver.now += Span::from_secs(1);
    let mut effects = Vec::new();
    driver.gate.step(driver.now, GateEvent::Due, &mut effects);
    let [GateEffect::Refuse { request: RequestId(4), place, retry_after, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    driver.now += retry_after.unwrap();
    let deadline = driver.now + Span::from_secs(50);
    let back = Arrival { place, ..Arrival::new(RequestId(90), TierId(HIGH), 20, deadline) };
    assert_eq!(driver.tell(GateEvent::Arrived(&back)), []);
    assert_eq!(driver.finish(0), [Fate::Sent(90, 0, None)], "before those that came after it");
}
