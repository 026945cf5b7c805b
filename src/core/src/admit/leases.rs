//! Leases: capacity that was granted to a caller who sends the request himself. It is held until
//! he says that the request has ended, or until the lease ends.

use super::id::secret_id;
pub use super::register::Full;
use super::register::Register;
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};

/// Leases at one time: more than any fleet runs requests.
pub const LEASES_MAX: usize = 100_000;
/// Leases of one caller.
pub const LEASES_PER_CALLER_MAX: usize = 10_000;
/// Ended leases that are remembered, so that a second release hears the same as the first.
const ENDED_REMEMBERED_MAX: usize = 10_000;

secret_id! {
    /// The name of a lease.
    LeaseId
}

/// How a lease stood when its caller named it.
#[derive(Debug, PartialEq, Eq)]
pub enum Standing<T> {
    /// It was held; here is what it holds.
    Held(T),
    /// It was released before.
    Released,
    /// It had ended by itself: the capacity was given back then.
    Expired,
    /// No lease of that name belongs to the caller.
    Unknown,
}

impl<T> Standing<T> {
    /// The same of something made of what is held.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Standing<U> {
        match self {
            Self::Held(value) => Standing::Held(make(value)),
            Self::Released => Standing::Released,
            Self::Expired => Standing::Expired,
            Self::Unknown => Standing::Unknown,
        }
    }
}

/// Leases that are held. `T` is the granted capacity.
#[derive(Debug)]
pub struct Leases<T> {
    register: Register<T>,
    /// How leases ended: whose they were, and whether by themselves.
    ended: BTreeMap<u128, (u64, bool)>,
    /// The same in order, to forget the oldest.
    order: VecDeque<u128>,
    expired: u64,
}

impl<T> Default for Leases<T> {
    fn default() -> Self {
        Self::new(LEASES_MAX, LEASES_PER_CALLER_MAX)
    }
}

impl<T> Leases<T> {
    /// None held; at most `all` at one time, `per_caller` of one caller.
    #[must_use]
    pub const fn new(all: usize, per_caller: usize) -> Self {
        Self {
            register: Register::new(all, per_caller),
            ended: BTreeMap::new(),
            order: VecDeque::new(),
            expired: 0,
        }
    }

    /// Whether `caller` may hold one more. Ask before capacity is asked for.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn room(&self, caller: u64) -> Result<(), Full> {
        self.register.room(caller)
    }

    /// Holds `value` for `caller` until `until`. `random` names the lease: 128 bits that nobody
    /// can guess.
    ///
    /// # Errors
    /// The value back, and which bound is reached.
    pub fn grant(
        &mut self,
        random: u128,
        caller: u64,
        until: Time,
        value: T,
    ) -> Result<LeaseId, (Full, T)> {
        self.register.insert(random, caller, until, value).map(|()| LeaseId(random))
    }

    /// Ends a lease at its caller's word. A repetition changes nothing and hears so.
    pub fn release(&mut self, lease: LeaseId, caller: u64) -> Standing<T> {
        match self.register.take(lease.0, caller) {
            Some((_, value)) => {
                self.remember(lease.0, caller, false);
                Standing::Held(value)
            }
            None => self.standing(lease, caller),
        }
    }

    /// For its caller to say something about what a lease holds.
    pub fn find(&mut self, lease: LeaseId, caller: u64) -> Standing<&mut T> {
        let ended = self.standing(lease, caller);
        self.register.get_mut(lease.0, caller).map_or(ended, Standing::Held)
    }

    /// How a lease stands that is not held.
    fn standing<U>(&self, lease: LeaseId, caller: u64) -> Standing<U> {
        match self.ended.get(&lease.0) {
            Some((of, false)) if *of == caller => Standing::Released,
            Some((of, true)) if *of == caller => Standing::Expired,
            _ => Standing::Unknown,
        }
    }

    /// Takes out one lease that ended by itself by `now`, until there is none: its capacity is to
    /// be given back.
    pub fn pop_expired(&mut self, now: Time) -> Option<(LeaseId, T)> {
        let (id, caller, value) = self.register.pop_ended(now)?;
        self.remember(id, caller, true);
        self.expired += 1;
        Some((LeaseId(id), value))
    }

    /// What a lease of `caller` holds.
    #[must_use]
    pub fn get(&self, lease: LeaseId, caller: u64) -> Option<&T> {
        self.register.get(lease.0, caller)
    }

    /// When the next lease ends by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.register.next_end()
    }

    /// Leases held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.register.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leases that were never released, since the start.
    #[must_use]
    pub const fn expired(&self) -> u64 {
        self.expired
    }

    fn remember(&mut self, id: u128, caller: u64, by_itself: bool) {
        if self.order.len() >= ENDED_REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.order.push_back(id);
        self.ended.insert(id, (caller, by_itself));
    }
}
