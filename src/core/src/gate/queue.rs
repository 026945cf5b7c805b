//! What waits: tiers, flows in them by tokens had, earliest deadline first in a flow.

use std::collections::{BTreeMap, BTreeSet};

use super::{Queued, RequestMap};
use crate::ids::{RequestId, TierId};
use crate::time::Time;

/// Flows remembered per tier; beyond it idle ones are forgotten, and with them what they had.
const FLOWS_MAX: usize = 4_096;

/// Virtual tokens per token at weight 1, so that weights up to that many still tell.
const VIRTUAL_PER_TOKEN: f64 = 1_024.0;

/// Smallest and largest weight: beyond that virtual counters would overflow or stand still.
const WEIGHT: (f64, f64) = (1e-3, 1e3);

/// One request that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) request: RequestId,
    pub(super) tier: TierId,
    pub(super) flow: u64,
    pub(super) weight: f64,
    pub(super) prompt_tokens: u32,
    pub(super) deadline: Time,
    /// After this it cannot attain any more.
    pub(super) late_at: Time,
    /// Its connection is held until then.
    pub(super) hold_until: Time,
    /// Whether it is too late already, and served after all others.
    pub(super) late: bool,
}

impl Held {
    /// When something has to be decided about it.
    fn timer(&self) -> Time {
        if self.late { self.hold_until } else { self.hold_until.min(self.late_at) }
    }
}

/// All that waits, by tier.
#[derive(Debug)]
pub(super) struct Queue {
    tiers: Vec<TierQueue>,
    /// Those that are late, by tier and deadline.
    late: BTreeMap<(TierId, Time, RequestId), Held>,
    places: RequestMap<Held>,
    timers: BTreeSet<(Time, RequestId)>,
}

#[derive(Debug, Default)]
struct TierQueue {
    flows: BTreeMap<u64, Flow>,
    /// Flows that have something waiting, by what they had.
    active: BTreeSet<(u64, u64)>,
    /// What the flow had that was served last: newcomers start there, not at nothing.
    clock: u64,
    queued: Queued,
}

#[derive(Debug)]
struct Flow {
    /// Tokens had, over its weight.
    had: u64,
    weight: f64,
    waiting: BTreeMap<(Time, RequestId), Held>,
}

impl Queue {
    pub(super) fn new(tiers: usize) -> Self {
        Self {
            tiers: (0..tiers).map(|_| TierQueue::default()).collect(),
            late: BTreeMap::new(),
            places: RequestMap::default(),
            timers: BTreeSet::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn queued(&self, tier: TierId) -> Queued {
        self.tiers.get(tier.index()).map(|queue| queue.queued).unwrap_or_default()
    }

    /// Prompt tokens that wait in this tier and those above it.
    pub(super) fn tokens_ahead(&self, tier: TierId) -> u64 {
        self.tiers.iter().take(tier.index() + 1).map(|queue| queue.queued.prompt_tokens).sum()
    }

    /// Whether anything that is not late waits in a tier above this one.
    pub(super) fn any_above(&self, tier: TierId) -> bool {
        self.tiers.iter().take(tier.index()).any(|queue| !queue.active.is_empty())
    }

    pub(super) fn push(&mut self, held: Held) {
        let tier = &mut self.tiers[held.tier.index()];
        tier.queued.requests += 1;
        tier.queued.prompt_tokens += u64::from(held.prompt_tokens);
        self.timers.insert((held.timer(), held.request));
        self.places.insert(held.request, held);
        if held.late {
            self.late.insert((held.tier, held.deadline, held.request), held);
        } else {
            tier.push(held);
        }
    }

    /// The next one of a tier that is not late.
    pub(super) fn head(&self, tier: TierId) -> Option<&Held> {
        let queue = &self.tiers[tier.index()];
        let (_, flow) = queue.active.first()?;
        queue.flows.get(flow)?.waiting.values().next()
    }

    /// The next one of those that are late.
    pub(super) fn late_head(&self) -> Option<&Held> {
        self.late.values().next()
    }

    /// Takes a request out, wherever it waits.
    pub(super) fn remove(&mut self, request: RequestId) -> Option<Held> {
        let held = self.places.remove(&request)?;
        self.timers.remove(&(held.timer(), request));
        let tier = &mut self.tiers[held.tier.index()];
        tier.queued.requests -= 1;
        tier.queued.prompt_tokens -= u64::from(held.prompt_tokens);
        if held.late {
            self.late.remove(&(held.tier, held.deadline, request));
        } else {
            tier.remove(&held);
        }
        Some(held)
    }

    /// Charges a flow for tokens had, or gives back what it was charged too much.
    pub(super) fn charge(&mut self, tier: TierId, flow: u64, tokens: i64) {
        if let Some(queue) = self.tiers.get_mut(tier.index()) {
            queue.charge(flow, tokens);
        }
    }

    /// The next time at which something has to be decided about a request.
    pub(super) fn next_timer(&self) -> Option<(Time, RequestId)> {
        self.timers.first().copied()
    }

    /// Who gives way when the queue is full: the last of the flow that had most, in the lowest
    /// tier that holds anything; late ones first.
    pub(super) fn last(&self) -> Option<&Held> {
        let late = self.late.values().next_back();
        let of_tier = |queue: &'_ TierQueue| {
            let (_, flow) = queue.active.last()?;
            queue.flows.get(flow)?.waiting.values().next_back().map(|held| held.request)
        };
        let in_time = || self.tiers.iter().rev().find_map(of_tier);
        late.or_else(|| in_time().and_then(|request| self.places.get(&request)))
    }
}

impl TierQueue {
    fn push(&mut self, held: Held) {
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&held.flow) {
            self.flows.retain(|_, flow| !flow.waiting.is_empty());
        }
        let clock = self.active.first().map_or(self.clock, |(had, _)| *had);
        let flow = self.flows.entry(held.flow).or_insert_with(|| Flow {
            had: clock,
            weight: 1.0,
            waiting: BTreeMap::new(),
        });
        flow.weight = held.weight;
        if flow.waiting.is_empty() {
            // Being away saves nothing up.
            flow.had = flow.had.max(clock);
            self.active.insert((flow.had, held.flow));
        }
        flow.waiting.insert((held.deadline, held.request), held);
    }

    fn remove(&mut self, held: &Held) {
        let Some(flow) = self.flows.get_mut(&held.flow) else { return };
        flow.waiting.remove(&(held.deadline, held.request));
        self.clock = self.clock.max(flow.had);
        if flow.waiting.is_empty() {
            self.active.remove(&(flow.had, held.flow));
        }
    }

    fn charge(&mut self, name: u64, tokens: i64) {
        let Some(flow) = self.flows.get_mut(&name) else { return };
        let weight = flow.weight.clamp(WEIGHT.0, WEIGHT.1);
        let change = (tokens.unsigned_abs() as f64 * VIRTUAL_PER_TOKEN / weight) as u64;
        let had = if tokens < 0 {
            flow.had.saturating_sub(change)
        } else {
            flow.had.saturating_add(change)
        };
        if !flow.waiting.is_empty() {
            self.active.remove(&(flow.had, name));
            self.active.insert((had, name));
        }
        flow.had = had;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn held(request: u64, tier: u8, flow: u64, deadline: u64) -> Held {
        let deadline = Time::ZERO + Span::from_secs(deadline);
        Held {
            request: RequestId(request),
            tier: TierId(tier),
            flow,
            weight: 1.0,
            prompt_tokens: 100,
            deadline,
            late_at: deadline,
            hold_until: Time::MAX,
            late: false,
        }
    }

    fn order(queue: &mut Queue, tier: u8) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(next) = queue.head(TierId(tier)).copied() {
            queue.remove(next.request);
            queue.charge(next.tier, next.flow, i64::from(next.prompt_tokens));
            order.push(next.request.0);
        }
        order
    }

    #[test]
    fn flows_share_by_tokens_and_weight_with_deadlines_inside() {
        let mut queue = Queue::new(1);
        for request in 0..4 {
            queue.push(held(request, 0, 1, 100 - request));
        }
        for request in 10..14 {
            queue.push(Held { prompt_tokens: 200, ..held(request, 0, 2, 5) });
        }
        // Flow 2's requests cost twice as much, so it has every third place.
        assert_eq!(order(&mut queue, 0), [3, 10, 2, 1, 11, 0, 12, 13]);

        for request in 0..4 {
            queue.push(held(request, 0, 3, 9));
            queue.push(Held { weight: 2.0, ..held(request + 10, 0, 4, 9) });
        }
        assert_eq!(order(&mut queue, 0), [0, 10, 11, 1, 12, 13, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_flow_that_comes_back_has_saved_nothing_up() {
        let mut queue = Queue::new(1);
        queue.push(held(1, 0, 7, 9));
        assert_eq!(order(&mut queue, 0), [1]);
        for request in 10..20 {
            queue.push(held(request, 0, 8, 9));
        }
        assert_eq!(order(&mut queue, 0).len(), 10);
        for request in 20..24 {
            queue.push(held(request, 0, 8, 9));
        }
        queue.push(held(30, 0, 7, 9));
        queue.push(held(31, 0, 7, 9));
        let order = order(&mut queue, 0);
        let second = order.iter().position(|request| *request == 31).unwrap();
        assert!(second >= 2, "flow 7 alternates instead of catching up: {order:?}");
    }

    #[test]
    fn the_lowest_tier_gives_way_and_the_late_before_it() {
        let mut queue = Queue::new(3);
        queue.push(held(1, 0, 1, 9));
        queue.push(held(2, 1, 1, 9));
        queue.push(held(3, 1, 1, 10));
        assert_eq!(queue.last().map(|held| held.request.0), Some(3));
        queue.push(Held { late: true, ..held(4, 0, 1, 1) });
        assert_eq!(queue.last().map(|held| held.request.0), Some(4));
        assert_eq!(queue.late_head().map(|held| held.request.0), Some(4));
        assert_eq!(queue.queued(TierId(0)).requests, 2);
        assert_eq!(queue.tokens_ahead(TierId(1)), 400);
        for request in 1..5 {
            assert!(queue.remove(RequestId(request)).is_some());
            assert!(queue.remove(RequestId(request)).is_none());
        }
        assert!(queue.is_empty() && queue.next_timer().is_none() && queue.last().is_none());
    }
}
