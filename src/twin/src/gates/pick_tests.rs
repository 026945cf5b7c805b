//! Where our own gate sends a request: prefixes, adapters, candidates.

use forebay_core::engine::Prefix;
use forebay_core::gate::{Arrival, GateEvent, Refusal};
use forebay_core::ids::{EndpointId, RequestId, TierId};
use forebay_core::time::Span;

use super::forebay_tests::{Driver, Fate, HIGH, LOW};
use super::testing::world;

/// 64 pieces of 64 tokens, the first `common` of them the same for all documents.
fn document(number: u64, common: u64) -> Prefix {
    let id = |piece| if piece < common { piece } else { (number << 8) | piece };
    Prefix { ids: (0..64).map(id).collect(), piece_tokens: 64 }
}

impl Driver {
    fn ask(&mut self, change: impl FnOnce(&mut Arrival<'static>)) -> Vec<Fate> {
        self.ask_of(HIGH, change)
    }

    fn ask_of(&mut self, tier: u8, change: impl FnOnce(&mut Arrival<'static>)) -> Vec<Fate> {
        let deadline = self.now + Span::from_secs(50);
        let mut arrival = Arrival::new(RequestId(self.next), TierId(tier), 20, deadline);
        self.next += 1;
        change(&mut arrival);
        self.tell(GateEvent::Arrived(&arrival))
    }

    /// Sends a document and lets its answer end after a while; where it went.
    fn send(&mut self, prefix: &Prefix, running: &mut Vec<u64>) -> u32 {
        let request = self.next;
        let fates = {
            let deadline = self.now + Span::from_secs(50);
            let arrival = Arrival {
                prefix: Some(prefix),
                ..Arrival::new(RequestId(request), TierId(HIGH), 4_100, deadline)
            };
            self.next += 1;
            self.tell(GateEvent::Arrived(&arrival))
        };
        let [Fate::Sent(_, endpoint, None)] = fates[..] else { panic!("{fates:?}") };
        self.tell(GateEvent::FirstToken { request: RequestId(request) });
        running.push(request);
        if running.len() > 12 {
            self.finish(running.remove(0));
        }
        self.now += Span::from_millis(100);
        endpoint
    }
}

fn four() -> Driver {
    let mut driver = Driver::new(&world());
    for endpoint in 0..4 {
        driver.ready(endpoint, 0);
    }
    driver
}

#[test]
fn a_conversation_goes_where_its_prefix_is() {
    let (mut driver, mut running) = (four(), Vec::new());
    let first: Vec<u32> =
        (0..4).map(|number| driver.send(&document(number, 0), &mut running)).collect();
    let mut again = 0;
    for turn in 0..200 {
        let number = turn % 4;
        let endpoint = driver.send(&document(number, 0), &mut running);
        again += u32::from(endpoint == first[number as usize]);
    }
    assert!(again >= 180, "{again} of 200 came back to where they were");
}

#[test]
fn a_prefix_that_all_share_overloads_nobody() {
    let (mut driver, mut running) = (four(), Vec::new());
    let mut served = [0_u32; 4];
    for number in 0..400 {
        served[driver.send(&document(number, 60), &mut running) as usize] += 1;
    }
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(*most <= 2 * *least, "{served:?}");
}

#[test]
fn an_adapter_stays_where_it_is_loaded() {
    let mut driver = four();
    let first = driver.ask(|arrival| arrival.adapter = Some(7));
    assert_eq!(first, [Fate::Sent(0, 0, None)]);
    assert_eq!(driver.ask(|_| ()), [Fate::Sent(1, 1, None)], "others take turns");
    let again = driver.ask(|arrival| arrival.adapter = Some(7));
    assert_eq!(again, [Fate::Sent(2, 0, None)]);
}

#[test]
fn candidates_bind_and_hold_up_nobody_else() {
    let mut driver = four();
    for request in 0..8 {
        let sent = driver.ask(|arrival| arrival.candidates = Some(&[EndpointId(2)]));
        assert_eq!(sent, [Fate::Sent(request, 2, None)]);
    }
    let full = driver.ask(|arrival| arrival.candidates = Some(&[EndpointId(2)]));
    assert_eq!(full, [], "it waits for its own endpoint");
    let other = driver.ask_of(LOW, |_| ());
    assert!(matches!(other[..], [Fate::Sent(9, endpoint, None)] if endpoint != 2), "{other:?}");
    assert_eq!(driver.finish(0), [Fate::Sent(8, 2, None)]);

    let nobody = driver.ask(|arrival| arrival.candidates = Some(&[]));
    assert_eq!(nobody, [Fate::Refused(10, Refusal::NoEndpoints)]);
    let unknown = driver.ask(|arrival| arrival.candidates = Some(&[EndpointId(77)]));
    assert_eq!(unknown, [Fate::Refused(11, Refusal::NoEndpoints)]);
}
