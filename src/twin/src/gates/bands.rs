//! llm-d's flow-control queues: a band per priority, a queue per flow in it, first come first served
//! in a flow.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use forebay_core::engine::Prefix;
use forebay_core::gate::Arrival;
use forebay_core::ids::{RequestId, TierId};
use forebay_core::time::Time;

/// Bytes of a request's body per prompt token: what llm-d's own estimates assume.
const BYTES_PER_TOKEN: u64 = 4;

/// Which flow of a band goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fairness {
    /// `global-strict-fairness-policy`, the default: the oldest request of all flows.
    GlobalStrict,
    /// `round-robin-fairness-policy`: flows in turn, a request each.
    RoundRobin,
}

/// A request in a queue. It stays there when its client goes, until it is reached or swept.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) request: RequestId,
    /// Tells this stay of a request from an earlier one.
    pub(super) serial: u64,
    pub(super) tier: TierId,
    pub(super) tokens: u32,
    pub(super) prefix: Option<Prefix>,
    pub(super) enqueued: Time,
}

impl Item {
    pub(super) fn new(arrival: &Arrival<'_>, serial: u64, now: Time) -> Self {
        Self {
            request: arrival.request,
            serial,
            tier: arrival.tier,
            tokens: arrival.prompt_tokens,
            prefix: arrival.prefix.cloned(),
            enqueued: now,
        }
    }

    fn bytes(&self) -> u64 {
        u64::from(self.tokens) * BYTES_PER_TOKEN
    }
}

/// Requests of one priority.
#[derive(Debug)]
pub(super) struct Band {
    priority: i32,
    fairness: Fairness,
    flows: BTreeMap<u64, VecDeque<Item>>,
    /// The flow that was served last.
    cursor: Option<u64>,
    requests: u64,
    bytes: u64,
}

impl Band {
    /// One band per distinct priority, the highest first.
    pub(super) fn all(priorities: &[i32], fairness: Fairness) -> Vec<Self> {
        let mut distinct = priorities.to_vec();
        distinct.sort_unstable_by(|left, right| right.cmp(left));
        distinct.dedup();
        let band = |priority| Self {
            priority,
            fairness,
            flows: BTreeMap::new(),
            cursor: None,
            requests: 0,
            bytes: 0,
        };
        distinct.into_iter().map(band).collect()
    }

    pub(super) const fn priority(&self) -> i32 {
        self.priority
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests == 0
    }

    /// Whether the band can take one more; what was not swept yet counts.
    pub(super) fn has_room(&self, item: &Item, requests_max: u64, bytes_max: u64) -> bool {
        self.requests < requests_max && self.bytes + item.bytes() <= bytes_max
    }

    pub(super) fn push(&mut self, flow: u64, item: Item) {
        self.requests += 1;
        self.bytes += item.bytes();
        // The oldest of all flows goes first: one queue for all is the same.
        let flow = if self.fairness == Fairness::GlobalStrict { 0 } else { flow };
        self.flows.entry(flow).or_default().push_back(item);
    }

    /// Takes the next one out.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let after = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.flows.range((after, Bound::Unbounded)).next();
        let Some(flow) = next.or_else(|| self.flows.iter().next()).map(|(flow, _)| *flow) else {
            self.cursor = None;
            return None;
        };
        self.cursor = Some(flow);
        let queue = self.flows.get_mut(&flow)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.flows.remove(&flow);
        }
        self.requests -= 1;
        self.bytes -= item.bytes();
        Some(item)
    }

    /// Takes out everything that `expired` says.
    pub(super) fn sweep(&mut self, mut expired: impl FnMut(&Item) -> bool) {
        let (requests, bytes) = (&mut self.requests, &mut self.bytes);
        self.flows.retain(|_, queue| {
            queue.retain(|item| {
                let goes = expired(item);
                if goes {
                    *requests -= 1;
                    *bytes -= item.bytes();
                }
                !goes
            });
            !queue.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band(fairness: Fairness) -> Band {
        Band::all(&[0], fairness).remove(0)
    }

    fn item(request: u64) -> Item {
        Item {
            request: RequestId(request),
            serial: request,
            tier: TierId(0),
            tokens: 100,
            prefix: None,
            enqueued: Time::ZERO,
        }
    }

    fn order(band: &mut Band) -> Vec<u64> {
        std::iter::from_fn(|| band.pop()).map(|item| item.request.0).collect()
    }

    #[test]
    fn flows_take_turns_by_request_or_the_oldest_goes_first() {
        let arrivals = [(7, 1), (7, 2), (7, 3), (5, 4), (9, 5), (5, 6)];
        let mut fair = band(Fairness::RoundRobin);
        let mut strict = band(Fairness::GlobalStrict);
        for (flow, request) in arrivals {
            fair.push(flow, item(request));
            strict.push(flow, item(request));
        }
        assert_eq!(order(&mut fair), [4, 1, 5, 6, 2, 3]);
        assert_eq!(order(&mut strict), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_band_is_bounded_in_requests_and_bytes() {
        let mut band = band(Fairness::RoundRobin);
        band.push(1, item(1));
        assert!(band.has_room(&item(2), 2, 800));
        assert!(!band.has_room(&item(2), 1, 800));
        assert!(!band.has_room(&item(2), 2, 799));
        band.sweep(|item| item.request.0 == 1);
        assert!(band.is_empty() && band.has_room(&item(2), 1, 400));
    }

    #[test]
    fn bands_stand_in_falling_order_of_priority() {
        let bands = Band::all(&[0, 10, -1, 10], Fairness::GlobalStrict);
        let priorities: Vec<_> = bands.iter().map(Band::priority).collect();
        assert_eq!(priorities, [10, 0, -1]);
    }
}
