//! Leases and what they hold: capacity that the gate has granted to callers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use forebay_core::admit::leases::Full;
use forebay_core::admit::{LeaseId, Leases, Standing};
use forebay_core::time::{Span, Time};
use tokio::sync::Notify;

use crate::front::Pass;

/// Longest sleep of the timer: a clock that jumps delays nothing for longer.
const SLEEP_MAX: Span = Span::from_secs(60);

/// What became of leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseMeters {
    /// Held now.
    pub held: u64,
    /// Granted since the start.
    pub granted: u64,
    /// Released by their callers.
    pub released: u64,
    /// Never released: their capacity was given back when they ended.
    pub expired: u64,
}

#[derive(Debug, Default)]
pub(super) struct LeaseTable {
    leases: Mutex<Leases<Pass>>,
    counts: Mutex<LeaseMeters>,
    /// Wakes the timer when a lease was granted.
    granted: Notify,
}

impl LeaseTable {
    /// Whether a caller may hold one more.
    pub(super) fn room(&self, holder: u64) -> Result<(), Full> {
        self.lock().room(holder)
    }

    /// Holds `pass` for a caller. Dropped with the error, its capacity goes back.
    pub(super) fn grant(
        &self,
        random: u128,
        holder: u64,
        until: Time,
        pass: Pass,
    ) -> Result<LeaseId, Full> {
        let granted = self.lock().grant(random, holder, until, pass);
        let lease = granted.map_err(|(full, _)| full)?;
        self.counts().granted += 1;
        self.granted.notify_one();
        Ok(lease)
    }

    pub(super) fn release(&self, lease: LeaseId, holder: u64) -> Standing<Pass> {
        let released = self.lock().release(lease, holder);
        self.counts().released += u64::from(matches!(released, Standing::Held(_)));
        released
    }

    /// The first token of the request of a lease went out; whether that is news.
    pub(super) fn first_token(&self, lease: LeaseId, holder: u64) -> Standing<bool> {
        // The gate is told under our lock, for which it never asks.
        self.lock().find(lease, holder).map(Pass::first_token)
    }

    pub(super) fn meters(&self) -> LeaseMeters {
        let (held, expired) = {
            let leases = self.lock();
            (leases.len() as u64, leases.expired())
        };
        LeaseMeters { held, expired, ..*self.counts() }
    }

    /// Gives back what was never released.
    pub(super) async fn keep_time(&self, now: impl Fn() -> Time) {
        loop {
            let next = self.lock().next_deadline();
            let sleep = next.map_or(SLEEP_MAX, |at| at.since(now()).min(SLEEP_MAX));
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_nanos(sleep.0)) => (),
                () = self.granted.notified() => (),
            }
            self.expire(now());
        }
    }

    /// Gives back what ended by itself by `now`.
    pub(super) fn expire(&self, now: Time) {
        loop {
            // The gate is told outside of our lock.
            let expired = self.lock().pop_expired(now);
            let Some((lease, pass)) = expired else { return };
            tracing::warn!(?lease, endpoint = pass.endpoint(), "a lease was never released");
            drop(pass);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Leases<Pass>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, LeaseMeters> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
