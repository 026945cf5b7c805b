//! What we believe to be on an endpoint, held against what its page says.
//!
//! Two ways to differ: requests that we never sent (sent before a restart, or by others) are
//! counted at once, at the smaller of two pages in a row; requests that we sent and that are not
//! there (a lease that was never released, an end that got lost) are taken off when they have
//! been missing on every page for a while.

use crate::time::{Span, Time};

/// What is missing on every page for so long is not on its way: no request takes that long from
/// us to a page, and one that runs shows on all of them.
const MISSING_FOR: Span = Span::from_secs(5);

/// After so long a missing request is forgotten for good.
const FORGET_AFTER: Span = Span::from_secs(30);

/// The difference between our account and the pages of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    read: bool,
    /// Surplus on the last page.
    surplus: u32,
    strangers: u32,
    /// Since when something is missing on every page, and the least that was.
    missing_since: Option<Time>,
    missing_min: u32,
    leaked: u32,
}

impl Tally {
    /// A page that was true at `at` says `seen`; we count `ours` there, of which `settled` must
    /// show.
    pub(super) fn read(&mut self, at: Time, seen: u32, ours: u32, settled: u32) {
        let surplus = seen.saturating_sub(ours);
        self.strangers = if self.read { surplus.min(self.surplus) } else { surplus };
        (self.surplus, self.read) = (surplus, true);
        let missing = settled.saturating_sub(seen);
        match self.missing_since {
            _ if missing == 0 => (self.missing_since, self.leaked) = (None, 0),
            None => (self.missing_since, self.missing_min) = (Some(at), missing),
            Some(since) => {
                self.missing_min = self.missing_min.min(missing);
                if at.since(since) >= MISSING_FOR {
                    self.leaked = self.missing_min;
                } else {
                    self.leaked = self.leaked.min(missing);
                }
            }
        }
    }

    /// How many requests are there, where we count `ours`.
    pub(super) const fn corrected(&self, ours: u32) -> u32 {
        ours.saturating_sub(self.leaked) + self.strangers
    }

    /// How many of ours are to be forgotten, and since when they have been missing.
    pub(super) fn lost(&self, now: Time) -> Option<(u32, Time)> {
        let since = self.missing_since?;
        (self.leaked > 0 && now.since(since) >= FORGET_AFTER).then_some((self.leaked, since))
    }

    /// They are forgotten.
    pub(super) const fn mended(&mut self) {
        (self.missing_since, self.leaked) = (None, 0);
    }

    /// Nothing is known of pages any more.
    pub(super) fn blind(&mut self) {
        // Strangers end sooner or later, and nobody would tell.
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Span::from_secs(seconds)
    }

    #[test]
    fn the_first_page_rebuilds_what_was_there_before_us() {
        let mut tally = Tally::default();
        tally.read(at(0), 7, 0, 0);
        assert_eq!(tally.corrected(0), 7);
        tally.read(at(1), 6, 2, 2);
        assert_eq!(tally.corrected(2), 6);
        // One page on which our own already ended elsewhere proves nothing.
        tally.read(at(2), 2, 2, 2);
        tally.read(at(3), 5, 2, 2);
        assert_eq!(tally.corrected(2), 2);
    }

    #[test]
    fn what_is_missing_for_long_is_taken_off_and_then_forgotten() {
        let mut tally = Tally::default();
        for second in 0..5 {
            tally.read(at(second), 3, 5, 5);
            assert_eq!(tally.corrected(5), 5, "not yet");
        }
        tally.read(at(5), 2, 5, 5);
        assert_eq!(tally.corrected(5), 3, "the least that was missing");
        assert_eq!(tally.lost(at(29)), None);
        assert_eq!(tally.lost(at(30)), Some((2, at(0))));
        tally.read(at(31), 5, 5, 5);
        assert_eq!((tally.corrected(5), tally.lost(at(60))), (5, None), "they were there");
    }

    #[test]
    fn what_was_just_sent_is_not_missing() {
        let mut tally = Tally::default();
        for second in 0..60 {
            tally.read(at(second), 3, 5, 3);
        }
        assert_eq!(tally.corrected(5), 5);
    }
}
