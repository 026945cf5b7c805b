//! Clients: they hold, come back with a ticket, or pull from a queue of their own.

use std::collections::BTreeSet;

use forebay_core::gate::GateEvent;
use forebay_core::ids::{FleetId, RequestId};
use forebay_core::scenario::Client;
use forebay_core::time::{Picos, Span, Time};

use super::Simulation;
use super::calendar::Event;
use super::flights::{Flight, Place};
use super::score::Outcome;

/// A queue worker that was refused tries again after this time unless it was told otherwise.
const PULL_RETRY: Span = Span::from_secs(1);

/// Queues in front of queue workers, by fleet.
#[derive(Debug)]
pub(super) struct Clients {
    /// Waiting work, the earliest deadline first.
    waiting: Vec<BTreeSet<(Picos, RequestId)>>,
    /// Pulled and without an outcome.
    pulled: Vec<u32>,
    /// Until when a worker waits after a refusal.
    backing_off: Vec<Picos>,
}

impl Clients {
    pub(super) fn new(fleets: usize) -> Self {
        Self {
            waiting: vec![BTreeSet::new(); fleets],
            pulled: vec![0; fleets],
            backing_off: vec![0; fleets],
        }
    }

    /// A request has its outcome.
    pub(super) fn forget(&mut self, flight: &Flight) {
        let fleet = flight.fleet.index();
        let waited = self.waiting[fleet].remove(&(flight.deadline, flight.id));
        if flight.pulled && !waited {
            self.pulled[fleet] = self.pulled[fleet].saturating_sub(1);
        }
    }

    fn wait(&mut self, flight: &Flight) {
        self.waiting[flight.fleet.index()].insert((flight.deadline, flight.id));
    }

    /// Requests that wait in queues outside.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.iter().map(|queue| queue.len() as u64).sum()
    }
}

impl Simulation<'_> {
    fn client_of(&self, id: RequestId) -> Option<Client> {
        self.flights.get(id).map(|flight| self.scenario.shares[flight.share].client)
    }

    /// A new request does what its client does.
    pub(super) fn come(&mut self, id: RequestId) {
        let Some(client) = self.client_of(id) else { return };
        if matches!(client, Client::Pull { .. }) {
            if let Some(flight) = self.flights.get_mut(id) {
                flight.pulled = true;
                self.clients.wait(flight);
                let fleet = flight.fleet;
                self.pull(fleet);
            }
        } else {
            self.knock(id);
        }
    }

    /// The queue worker of a fleet takes as much as it may.
    pub(super) fn pull(&mut self, fleet: FleetId) {
        let queue = fleet.index();
        while let Some(&(deadline, id)) = self.clients.waiting[queue].first() {
            if self.now < self.clients.backing_off[queue] {
                return;
            }
            let Some(Client::Pull { concurrency }) = self.client_of(id) else { return };
            if deadline <= self.now {
                self.conclude(id, Outcome::TimedOut, false);
                continue;
            }
            let Some(flight) = self.flights.get(id) else { return };
            let now = Time::from_picos(self.now);
            let budget = self.gates[queue].gate.budget(now, flight.tier);
            let room = match budget {
                Some(budget) => budget > 0,
                None => self.clients.pulled[queue] < concurrency,
            };
            if !room {
                return;
            }
            self.clients.waiting[queue].pop_first();
            self.clients.pulled[queue] += 1;
            self.knock(id);
        }
    }

    /// The gate refused a request.
    pub(super) fn refused(&mut self, id: RequestId, retry_after: Option<Span>) {
        let Some(client) = self.client_of(id) else { return };
        match client {
            Client::Held => self.conclude(id, Outcome::Shed, false),
            Client::Ticket { retry } => self.go_away(id, retry_after.unwrap_or(retry)),
            Client::Pull { .. } => self.give_back(id, retry_after.unwrap_or(PULL_RETRY)),
        }
    }

    /// A held connection has lasted as long as it may.
    pub(super) fn hold_over(&mut self, id: RequestId, attempt: u32) {
        let held = self
            .flights
            .get(id)
            .filter(|flight| flight.place == Place::Gate && flight.attempt == attempt)
            .map(|flight| flight.fleet);
        let (Some(fleet), Some(client)) = (held, self.client_of(id)) else { return };
        match client {
            Client::Held => self.conclude(id, Outcome::TimedOut, false),
            Client::Ticket { retry } => self.go_away(id, retry),
            Client::Pull { .. } => self.give_back(id, PULL_RETRY),
        }
        self.tell_gate(fleet, GateEvent::ClientGone { request: id });
    }

    /// A client goes and comes back after `wait`, unless its deadline comes first.
    fn go_away(&mut self, id: RequestId, wait: Span) {
        let back_at = self.now + wait.as_picos().max(1);
        let Some(flight) = self.flights.get_mut(id) else { return };
        flight.place = Place::Client;
        if back_at < flight.deadline {
            self.calendar.push(back_at, Event::ClientBack { request: id });
        } else {
            self.conclude(id, Outcome::TimedOut, false);
        }
    }

    /// A queue worker puts a request back and waits.
    fn give_back(&mut self, id: RequestId, wait: Span) {
        let Some(flight) = self.flights.get_mut(id) else { return };
        flight.place = Place::Client;
        let queue = flight.fleet.index();
        self.clients.wait(flight);
        self.clients.pulled[queue] = self.clients.pulled[queue].saturating_sub(1);
        self.clients.backing_off[queue] = self.now + wait.as_picos().max(1);
        let event = Event::Pull { fleet: flight.fleet };
        self.calendar.push(self.clients.backing_off[queue], event);
    }

    /// A client that was away is back.
    pub(super) fn client_back(&mut self, id: RequestId) {
        if self.flights.get(id).is_some_and(|flight| flight.place == Place::Client) {
            self.knock(id);
        }
    }
}
