//! Tokens per minute: a level that refills evenly. Admission charges an estimate, the answer
//! settles it, and where it was too low the tenant is in debt and waits until that is refilled.

use crate::time::{Span, Time};

/// Debt at most, in minutes of the limit: one answer that ran away shuts a tenant out for five
/// minutes, not for hours.
const DEBT_MINUTES_MAX: i128 = 5;
const NANOS_PER_MINUTE: i128 = 60_000_000_000;

/// A limit on tokens, and how much of it is used. Levels are in tokens times nanoseconds of a
/// minute, so that refilling is exact.
#[derive(Debug)]
pub(super) struct Tokens {
    per_minute: u64,
    level: i128,
    at: Time,
}

impl Tokens {
    pub(super) fn new(now: Time, per_minute: u64) -> Self {
        Self { per_minute, level: full(per_minute), at: now }
    }

    /// Whether a request of about `tokens` may go. One that is larger than the whole limit goes
    /// when nothing is used.
    ///
    /// # Errors
    /// The time until it may.
    pub(super) fn room(&mut self, now: Time, tokens: u64) -> Result<(), Span> {
        self.refill(now);
        let needed = full(tokens.min(self.per_minute));
        let missing = needed - self.level;
        if missing <= 0 {
            return Ok(());
        }
        // Per nanosecond as many units come back as the limit has tokens.
        let rate = i128::from(self.per_minute.max(1));
        let nanos = (missing + rate - 1) / rate;
        Err(Span(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    pub(super) fn charge(&mut self, tokens: u64) {
        self.lower(full(tokens));
    }

    /// Takes `used` tokens in place of the `charged` ones.
    pub(super) fn settle(&mut self, now: Time, charged: u64, used: u64) {
        self.refill(now);
        self.lower(full(used).saturating_sub(full(charged)));
    }

    /// Tokens left, rounded down.
    pub(super) fn left(&self, now: Time) -> i64 {
        let level = self.level_at(now).div_euclid(NANOS_PER_MINUTE);
        i64::try_from(level).unwrap_or(if level < 0 { i64::MIN } else { i64::MAX })
    }

    pub(super) const fn per_minute(&self) -> u64 {
        self.per_minute
    }

    fn refill(&mut self, now: Time) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
    }

    fn level_at(&self, now: Time) -> i128 {
        let refilled = i128::from(now.since(self.at).0).saturating_mul(i128::from(self.per_minute));
        self.level.saturating_add(refilled).min(full(self.per_minute))
    }

    fn lower(&mut self, by: i128) {
        let most = full(self.per_minute);
        let least = most.saturating_mul(-DEBT_MINUTES_MAX);
        self.level = self.level.saturating_sub(by).clamp(least, most);
    }
}

/// That many tokens as a level.
fn full(tokens: u64) -> i128 {
    i128::from(tokens) * NANOS_PER_MINUTE
}
