//! Tickets and leases are bounded, belong to somebody, and end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::leases::{LeaseId, Leases, Standing};
use super::register::Full;
use super::tickets::{TicketId, Tickets};
use crate::time::{Span, Time};

fn at(seconds: u64) -> Time {
    Time::ZERO + Span::from_secs(seconds)
}

#[test]
fn a_ticket_is_redeemed_once_by_its_own_flow_and_in_time() {
    let mut tickets = Tickets::new(10, 10);
    let ticket = tickets.issue(at(0), 0xabc, 1, at(60), "place").unwrap();
    assert_eq!(ticket.to_string().parse(), Ok(ticket));
    assert_eq!(tickets.redeem(at(1), ticket, 2), None, "another flow's");
    assert_eq!(tickets.redeem(at(1), ticket, 1), Some((at(60), "place")));
    assert_eq!(tickets.redeem(at(1), ticket, 1), None, "a place is there once");
    let late = tickets.issue(at(1), 0xdef, 1, at(60), "late").unwrap();
    assert_eq!(tickets.redeem(at(60), late, 1), None);
    assert_eq!((tickets.len(), tickets.expired()), (0, 1));
    assert!(!format!("{ticket:?}").contains("abc"), "a log does not give it away");
    for wrong in ["", "abc", "+0000000000000000000000000000abc", "zz000000000000000000000000000abc"]
    {
        assert!(wrong.parse::<TicketId>().is_err(), "{wrong}");
    }
}

#[test]
fn tickets_are_bounded_for_each_flow_and_in_all() {
    let mut tickets = Tickets::new(3, 2);
    assert!(tickets.issue(at(0), 1, 7, at(9), ()).is_ok());
    assert!(tickets.issue(at(0), 2, 7, at(9), ()).is_ok());
    assert_eq!(tickets.issue(at(0), 3, 7, at(9), ()).unwrap_err().0, Full::Holder(2));
    assert!(tickets.issue(at(0), 3, 8, at(20), ()).is_ok());
    assert_eq!(tickets.issue(at(0), 4, 9, at(9), ()).unwrap_err().0, Full::All(3));
    assert!(tickets.issue(at(9), 4, 9, at(19), ()).is_ok(), "what ended makes room");
}

#[test]
fn a_release_is_heard_the_same_twice() {
    let mut leases = Leases::new(10, 10);
    let lease = leases.grant(5, 1, at(60), "capacity").unwrap();
    assert_eq!(leases.release(lease, 2), Standing::Unknown, "another caller's");
    assert_eq!(leases.find(lease, 2), Standing::Unknown);
    assert_eq!(leases.find(lease, 1), Standing::Held(&mut "capacity"));
    assert_eq!(leases.release(lease, 1), Standing::Held("capacity"));
    assert_eq!(leases.release(lease, 1), Standing::Released);
    assert_eq!(leases.release(lease, 2), Standing::Unknown);
    assert_eq!(leases.find(lease, 1), Standing::Released);
    assert_eq!(leases.find(lease, 2), Standing::Unknown);
    assert_eq!(leases.release(LeaseId(6), 1), Standing::Unknown);

    let lost = leases.grant(7, 1, at(60), "lost").unwrap();
    assert_eq!(leases.next_deadline(), Some(at(60)));
    assert_eq!(leases.pop_expired(at(59)), None);
    assert_eq!(leases.pop_expired(at(60)), Some((lost, "lost")));
    assert_eq!(leases.pop_expired(at(60)), None);
    assert_eq!((leases.release(lost, 1), leases.expired()), (Standing::Expired, 1));
    assert_eq!(leases.find(lost, 1), Standing::Expired);
}

#[test]
fn what_is_remembered_of_ended_leases_is_bounded() {
    let mut leases = Leases::new(10, 10);
    for id in 0..20_001 {
        let lease = leases.grant(id, 1, at(60), ()).unwrap();
        assert_eq!(leases.release(lease, 1), Standing::Held(()));
    }
    assert_eq!(leases.release(LeaseId(0), 1), Standing::Unknown, "forgotten");
    assert_eq!(leases.release(LeaseId(20_000), 1), Standing::Released);
}

proptest! {
    /// Against a plain list: nothing is lost, nothing is there twice, no bound is passed.
    #[test]
    fn leases_agree_with_a_plain_list(
        steps in prop::collection::vec((0_u8..3, 0_u128..12, 0_u64..3, 1_u64..30), 1..200),
    ) {
        let mut leases = Leases::new(6, 3);
        let mut plain: BTreeMap<u128, (u64, Time)> = BTreeMap::new();
        let mut now = Time::ZERO;
        for (what, id, caller, span) in steps {
            match what {
                0 => {
                    let until = now + Span::from_secs(span);
                    let of_caller = plain.values().filter(|(of, _)| *of == caller).count();
                    let room = plain.len() < 6 && of_caller < 3 && !plain.contains_key(&id);
                    prop_assert_eq!(leases.grant(id, caller, until, id).is_ok(), room);
                    if room {
                        plain.insert(id, (caller, until));
                    }
                }
                1 => {
                    let held = plain.get(&id).is_some_and(|(of, _)| *of == caller);
                    let released = leases.release(LeaseId(id), caller);
                    prop_assert_eq!(released == Standing::Held(id), held);
                    if held {
                        plain.remove(&id);
                    }
                }
                _ => {
                    now += Span::from_secs(span);
                    while let Some((lease, id)) = leases.pop_expired(now) {
                        prop_assert_eq!(lease, LeaseId(id));
                        prop_assert!(plain.remove(&id).is_some_and(|(_, until)| until <= now));
                    }
                    prop_assert!(plain.values().all(|(_, until)| *until > now));
                }
            }
            prop_assert_eq!(leases.len(), plain.len());
            prop_assert_eq!(leases.next_deadline(), plain.values().map(|(_, until)| *until).min());
        }
    }
}
