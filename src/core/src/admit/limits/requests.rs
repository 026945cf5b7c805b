//! Requests per minute: governor's cell-rate algorithm in the time that it is told.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::time::{Span, Time};

/// A limit on requests, and how much of it is used.
#[derive(Debug)]
pub(super) struct Requests {
    limiter: RateLimiter<NotKeyed, InMemoryState, Told, NoOpMiddleware<Instant>>,
    clock: Told,
    per_minute: u32,
}

impl Requests {
    /// `per_minute` requests at once, and as many again over each minute; `None` for 0.
    pub(super) fn new(now: Time, per_minute: u32) -> Option<Self> {
        let clock = Told::default();
        clock.0.store(now.0, Ordering::Relaxed);
        let quota = Quota::per_minute(NonZeroU32::new(per_minute)?);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Some(Self { limiter, clock, per_minute })
    }

    /// Takes one request.
    ///
    /// # Errors
    /// There is none left; the time until there is.
    pub(super) fn take(&self, now: Time) -> Result<(), Span> {
        self.clock.0.fetch_max(now.0, Ordering::Relaxed);
        self.limiter.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            Span(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
        })
    }

    pub(super) const fn per_minute(&self) -> u32 {
        self.per_minute
    }
}

/// A clock that shows the time it was last told.
#[derive(Clone, Debug, Default)]
struct Told(Arc<AtomicU64>);

/// Nanoseconds, as in [`Time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Instant(u64);

impl Clock for Told {
    type Instant = Instant;

    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::Relaxed))
    }
}

impl std::ops::Add<Nanos> for Instant {
    type Output = Self;

    fn add(self, span: Nanos) -> Self {
        Self(self.0.saturating_add(span.as_u64()))
    }
}

impl Reference for Instant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, span: Nanos) -> Self {
        Self(self.0.checked_sub(span.as_u64()).unwrap_or(self.0))
    }
}
