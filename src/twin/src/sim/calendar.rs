//! What is to happen next: one heap of events ordered by time, then by order of entry, so that
//! equal times never depend on anything but the program.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use forebay_core::ids::{EndpointId, FleetId, RequestId};
use forebay_core::time::Picos;

/// Something that happens at a known time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// An engine reaches its next observable step border; void unless `turn` is still current.
    Engine { endpoint: EndpointId, turn: u32 },
    /// A gate asked to be woken; void unless `turn` is still current.
    Gate { fleet: FleetId, turn: u32 },
    /// The planner asked to be woken; void unless this is still its deadline.
    Planner,
    /// An answer reaches the planner.
    Rolled,
    /// Prometheus scrapes everybody.
    Scrape,
    /// A node that was asked for is there.
    NodeReady { node: u32 },
    /// A node has been empty for its removal delay; void unless `turn` is still current.
    NodeIdle { node: u32, turn: u32 },
    /// A replica finished its start-up.
    ReplicaReady { endpoint: EndpointId },
    /// A draining replica has used up its grace period.
    DrainOver { endpoint: EndpointId },
    /// The KV of a request has arrived at its decode endpoint.
    KvArrived { request: RequestId },
    /// The lease on a prefill endpoint's blocks runs out after the decode side was lost.
    LeaseOver { request: RequestId, endpoint: EndpointId },
    /// A client gives up its held connection.
    HoldOver { request: RequestId, attempt: u32 },
    /// A client comes back after a refusal.
    ClientBack { request: RequestId },
    /// The queue worker of a fleet looks for work.
    Pull { fleet: FleetId },
    /// A fault begins or ends.
    Fault { index: u32, begins: bool },
    /// Spot replicas whose notice was given are taken.
    Reclaim { endpoint: EndpointId },
    /// Stock that was out may be there again, or a quota was freed: place pending replicas.
    Place,
    /// A step of the timeline ends.
    TimelineStep,
    /// Scoring begins.
    ScoringBegins,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Picos,
    sequence: u64,
    event: Event,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: `BinaryHeap` gives the greatest first.
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The heap of events to come.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    heap: BinaryHeap<Entry>,
    sequence: u64,
}

impl Calendar {
    /// Enters an event.
    pub(super) fn push(&mut self, at: Picos, event: Event) {
        self.sequence += 1;
        self.heap.push(Entry { at, sequence: self.sequence, event });
    }

    /// When the next event happens.
    pub(super) fn next_at(&self) -> Option<Picos> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the next event.
    pub(super) fn pop(&mut self) -> Option<(Picos, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_their_order_of_entry() {
        let mut calendar = Calendar::default();
        calendar.push(5, Event::Scrape);
        calendar.push(3, Event::Place);
        calendar.push(5, Event::Planner);
        let order: Vec<_> = std::iter::from_fn(|| calendar.pop()).collect();
        assert_eq!(order, [(3, Event::Place), (5, Event::Scrape), (5, Event::Planner)]);
    }
}
