//! Limits hold over any window, and say honestly when to come back.

use proptest::prelude::*;

use super::*;

fn tenant(requests: Option<u32>, tokens: Option<u64>) -> TenantSpec {
    TenantSpec {
        name: "acme".to_owned(),
        weight: 1.0,
        limits: Some(TenantLimits { requests_per_minute: requests, tokens_per_minute: tokens }),
        tiers: Vec::new(),
    }
}

fn limits(requests: Option<u32>, tokens: Option<u64>) -> Limits {
    Limits::new(Time::ZERO, &[tenant(requests, tokens)])
}

fn at(seconds: f64) -> Time {
    Time::from_seconds(seconds)
}

const ACME: Option<&str> = Some("acme");

#[test]
fn requests_beyond_the_limit_are_told_when_the_next_one_is_free() {
    let mut limits = limits(Some(3), None);
    for _ in 0..3 {
        assert!(limits.admit(at(1.0), ACME, 10).is_ok());
    }
    let limited = limits.admit(at(1.0), ACME, 10).unwrap_err();
    assert_eq!((limited.what, limited.per_minute), (LimitOf::Requests, 3));
    assert_eq!(limited.retry_after, Span::from_secs(20));
    assert!(limits.admit(at(20.9), ACME, 10).is_err());
    assert!(limits.admit(at(21.0), ACME, 10).is_ok());
    assert!(limits.admit(at(1.0), Some("nobody"), 10).is_ok(), "no limit where none is written");
    assert!(limits.admit(at(1.0), None, 10).is_ok());
}

#[test]
fn tokens_are_settled_after_the_answer() {
    let mut limits = limits(None, Some(600));
    let charge = limits.admit(at(0.0), ACME, 500).unwrap();
    let limited = limits.admit(at(0.0), ACME, 200).unwrap_err();
    assert_eq!((limited.what, limited.retry_after), (LimitOf::Tokens, Span::from_secs(10)));
    // It took less: the rest is there at once.
    limits.settle(at(0.0), charge, 100);
    assert_eq!(limits.tokens_left(at(0.0), "acme"), Some(500));
    let charge = limits.admit(at(0.0), ACME, 200).unwrap();
    // It took more: the tenant is in debt.
    limits.settle(at(0.0), charge, 1_100);
    assert_eq!(limits.tokens_left(at(0.0), "acme"), Some(-600));
    let limited = limits.admit(at(0.0), ACME, 1).unwrap_err();
    assert_eq!(limited.retry_after, Span(60_100_000_000), "600 tokens of debt and one");
    assert!(limits.admit(at(60.1), ACME, 1).is_ok());
}

#[test]
fn a_request_larger_than_the_limit_goes_when_nothing_is_used() {
    let mut limits = limits(None, Some(100));
    let charge = limits.admit(at(0.0), ACME, 1_000).unwrap();
    let limited = limits.admit(at(0.0), ACME, 1_000).unwrap_err();
    // In debt for five minutes, and a minute until it is full again.
    assert_eq!(limited.retry_after, Span::from_secs(360));
    limits.settle(at(0.0), charge, 1_000_000);
    assert_eq!(limits.tokens_left(at(0.0), "acme"), Some(-500), "debt is bounded");
}

#[test]
fn a_request_over_one_limit_is_charged_to_neither() {
    let mut limits = limits(Some(1), Some(100));
    assert!(limits.admit(at(0.0), ACME, 40).is_ok());
    assert_eq!(limits.admit(at(0.0), ACME, 40).unwrap_err().what, LimitOf::Requests);
    assert_eq!(limits.tokens_left(at(0.0), "acme"), Some(60));
    assert_eq!(limits.admit(at(0.0), ACME, 70).unwrap_err().what, LimitOf::Tokens);
    assert!(limits.admit(at(60.0), ACME, 40).is_ok(), "the refused one took no request");
}

#[test]
fn a_request_that_comes_back_with_a_ticket_is_counted_once() {
    let mut limits = limits(Some(1), Some(100));
    let charge = limits.admit(at(0.0), ACME, 60).unwrap();
    limits.settle(at(0.0), charge, 0);
    assert!(limits.admit(at(0.0), ACME, 60).is_err());
    assert!(limits.readmit(at(0.0), ACME, 60).is_ok());
    assert_eq!(limits.readmit(at(0.0), ACME, 60).unwrap_err().what, LimitOf::Tokens);
}

#[test]
fn a_reload_forgives_nothing_and_a_changed_limit_begins_anew() {
    let mut limits = limits(Some(1), None);
    let charge = limits.admit(at(0.0), ACME, 0).unwrap();
    limits.reload(at(0.0), &[tenant(Some(1), None)]);
    assert!(limits.admit(at(0.0), ACME, 0).is_err());
    limits.reload(at(0.0), &[tenant(Some(2), None)]);
    assert!(limits.admit(at(0.0), ACME, 0).is_ok());
    limits.reload(at(0.0), &[]);
    assert!(limits.admit(at(0.0), ACME, 0).is_ok());
    limits.settle(at(0.0), charge, 10);
}

proptest! {
    /// Whatever comes when: over any window no more is let in than the limit and what came back.
    #[test]
    fn no_window_lets_in_more_than_a_minutes_worth_and_what_came_back(
        asks in prop::collection::vec((0_u64..20_000, 1_u64..200, 0_u64..300), 1..80),
        requests in 1_u32..20,
        tokens in 50_u64..500,
    ) {
        let mut limits = limits(Some(requests), Some(tokens));
        let mut now = Time::ZERO;
        let mut admitted: Vec<Time> = Vec::new();
        for (gap_ms, estimate, used) in asks {
            now += Span::from_millis(gap_ms);
            match limits.admit(now, ACME, estimate) {
                Ok(charge) => {
                    admitted.push(now);
                    limits.settle(now, charge, used);
                }
                Err(limited) => {
                    // The time told is enough, and the least that is (up to the rounding of ns).
                    let before = limits.admit(now + Span(limited.retry_after.0.saturating_sub(2)), ACME, estimate);
                    prop_assert!(before.is_err() || limited.retry_after.0 <= 2);
                    let after = now + limited.retry_after;
                    match limits.admit(after, ACME, estimate) {
                        Ok(charge) => { admitted.push(after); limits.settle(after, charge, used); }
                        Err(other) => prop_assert_ne!(other.what, limited.what),
                    }
                    now = now.max(after);
                }
            }
            let left = limits.tokens_left(now, "acme").unwrap_or(0);
            prop_assert!(left <= tokens as i64 && left >= -5 * tokens as i64);
        }
        for (first, start) in admitted.iter().enumerate() {
            for (last, end) in admitted.iter().enumerate().skip(first) {
                let back = end.since(*start).as_seconds() / 60.0 * f64::from(requests);
                prop_assert!((last - first + 1) as f64 <= f64::from(requests) + back + 1e-6);
            }
        }
    }
}
