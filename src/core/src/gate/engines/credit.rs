//! The right to place requests on one endpoint, which finds its own size.
//!
//! Law: something waits for capacity there: the credit is what runs. Nothing waits and the credit
//! binds: it doubles until the first hit, then grows by 5 %, at least by one. A growth that is hit
//! at once makes the next attempt rarer, one that holds makes it more frequent, so that the limit
//! is probed but not crowded. No latency of answers enters: credits steered by that collapse
//! under overload.

use crate::time::{Span, Time};

/// Requests that a new endpoint may have before anything is known of it: little enough that a
/// slow engine is not flooded, and 256 after five looks.
const CREDIT_INITIAL: u32 = 8;

/// Largest credit: far above any engine's `max_num_seqs`.
const CREDIT_MAX: u32 = 65_536;

/// Shortest and longest time between two attempts to grow after the first hit: with the shortest
/// the credit grows threefold in a second, with the longest one request in hundreds meets a
/// limit that has not moved.
const PROBE: (Span, Span) = (Span::from_millis(50), Span::from_secs(4));

/// The same at first.
const PROBE_INITIAL: Span = Span::from_millis(200);

/// Requests that one endpoint may have at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    requests_max: u32,
    /// Whether the limit was ever met.
    hit: bool,
    /// Time to the next attempt to grow.
    probe: Span,
    /// When it last grew or was hit.
    changed_at: Time,
    /// Whether it grew since the last hit.
    grew: bool,
}

impl Credit {
    pub(super) const fn new() -> Self {
        Self {
            requests_max: CREDIT_INITIAL,
            hit: false,
            probe: PROBE_INITIAL,
            changed_at: Time::ZERO,
            grew: false,
        }
    }

    /// Requests that may be there.
    pub(super) const fn requests_max(self) -> u32 {
        self.requests_max
    }

    /// Whether nothing more may be placed.
    pub(super) const fn binds(self, in_flight: u32) -> bool {
        in_flight >= self.requests_max
    }

    /// Something waits for capacity beside `running` others.
    pub(super) fn met(&mut self, now: Time, running: u32) {
        // Never nothing, or nothing would ever be learned again.
        let running = running.clamp(1, CREDIT_MAX);
        if self.grew && running < self.requests_max {
            self.probe = Span((self.probe.0 * 2).min(PROBE.1.0));
        }
        (self.requests_max, self.hit) = (running, true);
        (self.changed_at, self.grew) = (now, false);
    }

    /// Nothing waits, with so many there.
    pub(super) fn clear(&mut self, now: Time, in_flight: u32) {
        if !self.binds(in_flight) || self.next_growth() > now {
            return;
        }
        if self.grew {
            self.probe = Span((self.probe.0 / 2).max(PROBE.0.0));
        }
        let step = if self.hit { (self.requests_max / 20).max(1) } else { self.requests_max };
        self.requests_max = (self.requests_max + step).min(CREDIT_MAX);
        (self.changed_at, self.grew) = (now, true);
    }

    /// When it may grow again.
    pub(super) fn next_growth(self) -> Time {
        if self.hit { self.changed_at + self.probe } else { Time::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Span::from_millis(milliseconds)
    }

    #[test]
    fn the_credit_doubles_until_the_first_hit_then_creeps() {
        let mut credit = Credit::new();
        credit.clear(at(0), 7);
        assert_eq!(credit.requests_max(), 8, "it does not bind");
        for in_flight in [8, 16, 32] {
            credit.clear(at(0), in_flight);
        }
        assert_eq!(credit.requests_max(), 64);
        credit.met(at(50), 50);
        assert_eq!(credit.requests_max(), 50);
        credit.clear(at(100), 50);
        assert_eq!(credit.requests_max(), 50, "not so soon after a growth that was hit");
        credit.clear(at(450), 50);
        assert_eq!(credit.requests_max(), 52);
        credit.met(at(500), 0);
        assert_eq!(credit.requests_max(), 1, "never nothing");
    }

    #[test]
    fn a_limit_that_does_not_move_is_probed_ever_more_rarely_and_one_that_does_is_followed() {
        let mut credit = Credit::new();
        let mut attempts = Vec::new();
        for tick in 0..1_200 {
            let before = credit.requests_max();
            if before > 4 {
                credit.met(at(tick * 50), 4);
                attempts.push(tick * 50);
            } else {
                credit.clear(at(tick * 50), before);
            }
        }
        let late = attempts.iter().filter(|attempt| **attempt > 30_000).count();
        assert!((5..=9).contains(&late), "every four seconds: {attempts:?}");
        for tick in 1_200..1_600 {
            credit.clear(at(tick * 50), credit.requests_max());
        }
        assert!(credit.requests_max() > 50, "{}", credit.requests_max());
    }

    #[test]
    fn the_credit_is_bounded() {
        let mut credit = Credit::new();
        for _ in 0..40 {
            credit.clear(at(0), u32::MAX);
        }
        assert_eq!(credit.requests_max(), CREDIT_MAX);
    }
}
