//! The monotonic clock as core's time.

use forebay_core::time::{Span, Time};
use tokio::time::Instant;

/// Time since a fixed instant of this process; all that share state must share it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is this instant.
    #[must_use]
    pub const fn since(origin: Instant) -> Self {
        Self { origin }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        let passed = Instant::now().duration_since(self.origin);
        Time::ZERO + Span(u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// When a deadline is on tokio's clock.
    #[must_use]
    pub fn instant(&self, at: Time) -> Instant {
        self.origin + std::time::Duration::from_nanos(at.0)
    }
}
