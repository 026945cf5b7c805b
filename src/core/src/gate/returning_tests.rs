//! Who comes back without a ticket has a place of his own, once.

use super::returning::{Content, Returning};
use super::{Arrival, Place};
use crate::engine::Prefix;
use crate::ids::{RequestId, TierId};
use crate::time::{Span, Time};

fn at(seconds: u64) -> Time {
    Time::ZERO + Span::from_secs(seconds)
}

fn prefix(content: u64) -> Prefix {
    Prefix { ids: [content].into(), piece_tokens: 16 }
}

fn arrival(prefix: &Prefix) -> Arrival<'_> {
    Arrival { prefix: Some(prefix), ..Arrival::new(RequestId(9), TierId(0), 20, at(60)) }
}

/// Refuses a request of this content, which is the `sequence`-th.
fn refuse(returning: &mut Returning, now: Time, content: u64, sequence: u64) -> Place {
    let place = Place { since: now, deadline: at(60), sequence, flow_had: 0, user_had: 0 };
    let prefix = prefix(content);
    returning.refused(now, Content::of(&arrival(&prefix)).unwrap(), place);
    place
}

#[test]
fn copies_of_a_request_have_a_place_each_in_order() {
    let mut returning = Returning::default();
    let (first, second) =
        (refuse(&mut returning, at(0), 7, 1), refuse(&mut returning, at(1), 7, 2));
    let (same, other) = (prefix(7), prefix(8));
    assert_eq!(returning.claim(&arrival(&other)), None);
    assert_eq!(returning.claim(&arrival(&same)), Some(first));
    assert_eq!(returning.claim(&arrival(&same)), Some(second));
    assert_eq!(returning.claim(&arrival(&same)), None, "each once");
}

#[test]
fn a_place_that_was_redeemed_is_nobody_elses() {
    let mut returning = Returning::default();
    let (first, second) =
        (refuse(&mut returning, at(0), 7, 1), refuse(&mut returning, at(0), 7, 2));
    let same = prefix(7);
    returning.redeemed(&arrival(&same), &first);
    assert_eq!(returning.claim(&arrival(&same)), Some(second));
    assert_eq!(returning.claim(&arrival(&same)), None, "its ticket was redeemed");
}

#[test]
fn places_are_forgotten_in_time_and_bounded() {
    let mut returning = Returning::default();
    refuse(&mut returning, at(0), 7, 1);
    let again = refuse(&mut returning, at(200), 7, 2);
    refuse(&mut returning, at(300), 8, 3);
    let same = prefix(7);
    assert_eq!(returning.claim(&arrival(&same)), Some(again), "the first is forgotten");
    for copy in 0..1_000 {
        refuse(&mut returning, at(400), 9, copy);
    }
    for content in 0..200_000 {
        refuse(&mut returning, at(400), 1_000 + content, content);
    }
    assert!(returning.len() <= 65_536, "{}", returning.len());
    assert_eq!(returning.claim(&arrival(&prefix(9))), None, "older ones give way");
}
