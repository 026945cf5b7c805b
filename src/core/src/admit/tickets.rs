//! Tickets: places in the queue that outlive a connection. A ticket stands for work that waits
//! outside; whoever brings it back goes on where he was.

use super::id::secret_id;
pub use super::register::Full;
use super::register::Register;
use crate::time::Time;

/// Tickets out at one time: at some hundred bytes each, tens of MB.
pub const TICKETS_MAX: usize = 100_000;
/// Tickets of one flow: a tenth, so that no tenant takes the places of all others.
pub const TICKETS_PER_FLOW_MAX: usize = TICKETS_MAX / 10;

secret_id! {
    /// The name of a ticket.
    TicketId
}

/// Tickets that are out. `T` is what a ticket stands for: its place, and what is needed to ask
/// again.
#[derive(Debug)]
pub struct Tickets<T> {
    register: Register<T>,
    expired: u64,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self::new(TICKETS_MAX, TICKETS_PER_FLOW_MAX)
    }
}

impl<T> Tickets<T> {
    /// None out; at most `all` at one time, `per_flow` of one flow.
    #[must_use]
    pub const fn new(all: usize, per_flow: usize) -> Self {
        Self { register: Register::new(all, per_flow), expired: 0 }
    }

    /// Gives a ticket to `flow`, good until `until`. `random` names it: 128 bits that nobody can
    /// guess. A ticket that is renewed keeps its name: give it as `random`.
    ///
    /// # Errors
    /// The value back, and which bound is reached.
    pub fn issue(
        &mut self,
        now: Time,
        random: u128,
        flow: u64,
        until: Time,
        value: T,
    ) -> Result<TicketId, (Full, T)> {
        self.expire(now);
        self.register.insert(random, flow, until, value).map(|()| TicketId(random))
    }

    /// Takes the ticket back: it can be redeemed once, by the flow that it was given to, until it
    /// ends. With the value comes the time until which it was good.
    pub fn redeem(&mut self, now: Time, ticket: TicketId, flow: u64) -> Option<(Time, T)> {
        self.expire(now);
        self.register.take(ticket.0, flow)
    }

    /// What a ticket of `flow` stands for.
    #[must_use]
    pub fn get(&self, ticket: TicketId, flow: u64) -> Option<&T> {
        self.register.get(ticket.0, flow)
    }

    /// Forgets what ended by `now`.
    pub fn expire(&mut self, now: Time) {
        while self.register.pop_ended(now).is_some() {
            self.expired += 1;
        }
    }

    /// Tickets out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.register.len()
    }

    /// Whether none is out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tickets that ended without being redeemed, since the start.
    #[must_use]
    pub const fn expired(&self) -> u64 {
        self.expired
    }
}
