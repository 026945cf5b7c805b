//! How fast the queue drains, for an honest `Retry-After`.

use crate::time::{Span, Time};

/// Longest `Retry-After`: beyond two minutes the rate says nothing any more.
const RETRY_AFTER_MAX: Span = Span::from_secs(120);
/// Shortest: the header has whole seconds.
const RETRY_AFTER_MIN: Span = Span::from_secs(1);
/// Length over which the rate is measured: long enough for a few completions of long answers.
const WINDOW: Span = Span::from_secs(10);

/// Prompt tokens dispatched in the current and the previous window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    since: Time,
    tokens: u64,
    previous_tokens: u64,
}

impl Drain {
    pub(super) fn dispatched(&mut self, now: Time, tokens: u64) {
        self.roll(now);
        self.tokens += tokens;
    }

    /// Backlog over rate, within bounds; the longest while nothing drains.
    pub(super) fn retry_after(&mut self, now: Time, backlog_tokens: u64) -> Span {
        self.roll(now);
        let elapsed = now.since(self.since).as_seconds();
        // The previous window counts for the part of it that is within one length of now.
        let share = 1.0 - elapsed / WINDOW.as_seconds();
        let tokens = self.tokens as f64 + self.previous_tokens as f64 * share.max(0.0);
        let tokens_per_second = tokens / WINDOW.as_seconds();
        if tokens_per_second <= 0.0 {
            return RETRY_AFTER_MAX;
        }
        let wait = Span::from_seconds(backlog_tokens as f64 / tokens_per_second);
        wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
    }

    fn roll(&mut self, now: Time) {
        let windows = now.since(self.since).0 / WINDOW.0;
        if windows > 0 {
            self.previous_tokens = if windows == 1 { self.tokens } else { 0 };
            self.tokens = 0;
            self.since += Span(windows * WINDOW.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Span::from_secs(seconds)
    }

    #[test]
    fn retry_after_is_backlog_over_recent_rate() {
        let mut drain = Drain::default();
        assert_eq!(drain.retry_after(at(0), 500), RETRY_AFTER_MAX, "nothing drains yet");
        for second in 0..15 {
            drain.dispatched(at(second), 100);
        }
        // 500 in this window, half of the 1,000 of the one before: 100 tokens/s.
        assert_eq!(drain.retry_after(at(15), 3_000), Span::from_secs(30));
        assert_eq!(drain.retry_after(at(15), 1), RETRY_AFTER_MIN);
        assert_eq!(drain.retry_after(at(15), 1_000_000), RETRY_AFTER_MAX);
        assert_eq!(drain.retry_after(at(40), 1), RETRY_AFTER_MAX, "it stopped");
    }
}
