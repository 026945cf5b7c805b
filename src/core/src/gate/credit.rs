//! The right to place requests on one endpoint, which finds its own size.
//!
//! Law: something waits for capacity there: the credit is what runs. Nothing waits and the credit
//! binds: it doubles until the first hit, then grows by 5 %, at least by one, per scrape. No
//! latency enters: credits steered by latency collapse under overload.

/// Requests that a new endpoint may have before anything is known of it: little enough that a
/// slow engine is not flooded, and 256 after five scrapes.
const CREDIT_INITIAL: u32 = 8;

/// Largest credit: far above any engine's `max_num_seqs`.
const CREDIT_MAX: u32 = 65_536;

/// Requests that one endpoint may have at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credit {
    requests_max: u32,
    /// Whether the limit was ever met.
    hit: bool,
}

impl Credit {
    pub(super) const fn new() -> Self {
        Self { requests_max: CREDIT_INITIAL, hit: false }
    }

    /// Requests that may be there.
    pub(super) const fn requests_max(self) -> u32 {
        self.requests_max
    }

    /// Whether nothing more may be placed.
    pub(super) const fn binds(self, in_flight: u32) -> bool {
        in_flight >= self.requests_max
    }

    /// Learns from a scrape. `waiting` is what waits for capacity; `in_flight` is what we have
    /// placed there.
    pub(super) fn scraped(&mut self, running: u32, waiting: u32, in_flight: u32) {
        if waiting > 0 {
            // Never nothing, or nothing would ever be learned again.
            (self.requests_max, self.hit) = (running.clamp(1, CREDIT_MAX), true);
        } else if self.binds(in_flight) {
            let step = if self.hit { (self.requests_max / 20).max(1) } else { self.requests_max };
            self.requests_max = (self.requests_max + step).min(CREDIT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credit_doubles_until_the_first_hit_then_creeps() {
        let mut credit = Credit::new();
        credit.scraped(7, 0, 7);
        assert_eq!(credit.requests_max(), 8, "it does not bind");
        credit.scraped(8, 0, 8);
        credit.scraped(16, 0, 16);
        credit.scraped(32, 0, 32);
        assert_eq!(credit.requests_max(), 64);
        credit.scraped(50, 14, 64);
        assert_eq!(credit.requests_max(), 50);
        credit.scraped(50, 0, 50);
        assert_eq!(credit.requests_max(), 52);
        credit.scraped(10, 2, 12);
        credit.scraped(10, 0, 10);
        assert_eq!(credit.requests_max(), 11, "at least by one");
        credit.scraped(0, 3, 3);
        assert_eq!(credit.requests_max(), 1, "never nothing");
    }

    #[test]
    fn the_credit_is_bounded() {
        let mut credit = Credit::new();
        for _ in 0..40 {
            credit.scraped(0, 0, u32::MAX);
        }
        assert_eq!(credit.requests_max(), CREDIT_MAX);
    }
}
