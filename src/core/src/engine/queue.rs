//! Those who wait: the queue in order of arrival, and the loads of remote KV.

use std::collections::{BTreeMap, VecDeque};

use super::requests::{Requests, Slot, Stage, Ticket};

/// Tickets of departed requests that the queue may carry beyond the live ones before it is
/// cleaned. Tests make it small, so that cleaning happens.
const STALE_SLACK: usize = if cfg!(test) { 1 } else { 64 };

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    tickets: VecDeque<Ticket>,
    /// Live requests in `tickets`.
    waiting: u32,
    /// Requests whose remote KV is on its way.
    loading: u32,
    /// Requests whose remote KV has come, in the order in which their loads started.
    loaded: BTreeMap<u64, u32>,
    loads: u64,
}

impl Queue {
    /// Everybody who waits.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting + self.deferred()
    }

    /// Those who wait for remote KV, or have it and wait for a seat.
    pub(super) fn deferred(&self) -> u32 {
        self.loading + self.loaded.len() as u32
    }

    /// Nobody waits for admission; loads under way do not count.
    pub(super) fn nobody_to_admit(&self) -> bool {
        self.waiting == 0 && self.loaded.is_empty()
    }

    pub(super) fn push_back(&mut self, requests: &Requests, slot: u32) {
        self.clean(requests);
        self.tickets.push_back(requests.ticket(slot));
        self.waiting += 1;
    }

    pub(super) fn push_front(&mut self, requests: &Requests, slot: u32) {
        self.tickets.push_front(requests.ticket(slot));
        self.waiting += 1;
    }

    /// The first in the queue.
    pub(super) fn front(&mut self, requests: &Requests) -> Option<u32> {
        while let Some(&ticket) = self.tickets.front() {
            if let Some(slot) = requests.admit(ticket) {
                return Some(slot);
            }
            self.tickets.pop_front();
        }
        None
    }

    /// Removes whom [`Self::front`] has shown.
    pub(super) fn pop_front(&mut self) {
        self.tickets.pop_front();
        self.waiting -= 1;
    }

    /// The request that was at the front now waits for remote KV.
    pub(super) fn start_load(&mut self, slot: &mut Slot) {
        self.loads += 1;
        slot.load = self.loads;
        self.loading += 1;
    }

    /// Remote KV has come.
    pub(super) fn finish_load(&mut self, index: u32, slot: &Slot) {
        self.loading -= 1;
        self.loaded.insert(slot.load, index);
    }

    pub(super) fn pop_loaded(&mut self) -> Option<u32> {
        self.loaded.pop_first().map(|(_, slot)| slot)
    }

    /// A request that waits in any way is leaving; its slot is given up next.
    pub(super) fn leave(&mut self, slot: &Slot) {
        match slot.stage {
            Stage::Waiting => self.waiting -= 1,
            Stage::Loading => self.loading -= 1,
            Stage::Loaded => {
                self.loaded.remove(&slot.load);
            }
            Stage::Prefilling | Stage::Decoding | Stage::Leased | Stage::Unused => {}
        }
    }

    /// Drops the tickets of departed requests once they outweigh the others.
    fn clean(&mut self, requests: &Requests) {
        if self.tickets.len() > 2 * self.waiting as usize + STALE_SLACK {
            self.tickets.retain(|&ticket| requests.admit(ticket).is_some());
        }
    }
}
