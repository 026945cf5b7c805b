//! What waits, in order: tiers, and in each of them fair shares.

mod fair;
#[cfg(test)]
mod tests;
mod tier;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::tier::TierQueue;
use super::engines::Ask;
use super::{Place, Queued, RequestMap};
use crate::engine::Prefix;
use crate::ids::{EndpointId, RequestId, TierId};
use crate::time::{Span, Time};

/// One request that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) request: RequestId,
    pub(super) tier: TierId,
    pub(super) flow: u64,
    pub(super) user: u64,
    pub(super) weight: f64,
    pub(super) prompt_tokens: u32,
    /// Tokens that it will probably generate, as was thought when it came.
    pub(super) output_tokens: u32,
    pub(super) output_tokens_max: Option<u32>,
    pub(super) deadline: Time,
    /// After this it cannot attain any more.
    pub(super) late_at: Time,
    /// Its connection is held until then.
    pub(super) hold_until: Time,
    /// Whether it is too late already, and served after all others.
    pub(super) late: bool,
    /// Its place inside its user: the deadline that counts, and what breaks ties.
    pub(super) ordered_by: Time,
    pub(super) sequence: u64,
    /// When it first came.
    pub(super) since: Time,
    /// What its flow and user had when it was away, if it comes back.
    pub(super) flow_had: Option<u64>,
    pub(super) user_had: Option<u64>,
    /// What it wants of an endpoint; most want nothing.
    pub(super) wants: Option<Box<Wants>>,
}

/// What a request wants of an endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wants {
    pub(super) prefix: Option<Prefix>,
    pub(super) adapter: Option<u64>,
    pub(super) candidates: Option<Arc<[EndpointId]>>,
    pub(super) tpot: Option<Span>,
}

impl Held {
    /// When something has to be decided about it.
    fn timer(&self) -> Time {
        if self.late { self.hold_until } else { self.hold_until.min(self.late_at) }
    }

    /// Prompt and answer.
    pub(super) fn cost_tokens(&self) -> f64 {
        f64::from(self.prompt_tokens) + f64::from(self.output_tokens)
    }

    /// Whether it may go anywhere, so that what blocks it blocks everybody behind it.
    pub(super) fn goes_anywhere(&self) -> bool {
        let wants = self.wants.as_deref();
        wants.is_none_or(|wants| wants.candidates.is_none() && wants.tpot.is_none())
    }

    /// What it asks of a place.
    pub(super) fn ask(&self) -> Ask<'_> {
        let wants = self.wants.as_deref();
        Ask {
            prompt_tokens: self.prompt_tokens,
            output_tokens: f64::from(self.output_tokens),
            prefix: wants.and_then(|wants| wants.prefix.as_ref()),
            adapter: wants.and_then(|wants| wants.adapter),
            candidates: wants.and_then(|wants| wants.candidates.as_deref()),
            tpot: wants.and_then(|wants| wants.tpot),
        }
    }
}

/// All that waits, by tier.
#[derive(Debug)]
pub(super) struct Queue {
    tiers: Vec<TierQueue>,
    /// Those that are late, by tier and deadline.
    late: BTreeSet<(TierId, Time, RequestId)>,
    places: RequestMap<Held>,
    timers: BTreeSet<(Time, RequestId)>,
    prompt_tokens: u64,
}

impl Queue {
    pub(super) fn new(tiers: usize) -> Self {
        Self {
            tiers: (0..tiers).map(|_| TierQueue::default()).collect(),
            late: BTreeSet::new(),
            places: RequestMap::default(),
            timers: BTreeSet::new(),
            prompt_tokens: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Prompt tokens held.
    pub(super) const fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens
    }

    pub(super) fn queued(&self, tier: TierId) -> Queued {
        self.tiers.get(tier.index()).map(|queue| queue.queued).unwrap_or_default()
    }

    /// Expected tokens that wait in time in the tiers above this one.
    pub(super) fn cost_above(&self, tier: TierId) -> f64 {
        self.tiers.iter().take(tier.index()).map(|queue| queue.cost_tokens).sum()
    }

    /// Expected tokens of its own tier that go before one more request.
    pub(super) fn cost_ahead(&self, held: &Held) -> f64 {
        self.tiers[held.tier.index()].ahead_of(held.flow, held.weight, held.user)
    }

    /// Whether anything that is not late waits in this tier.
    pub(super) fn waits(&self, tier: TierId) -> bool {
        !self.tiers[tier.index()].is_idle()
    }

    /// Whether anything that is not late waits in a tier above this one.
    pub(super) fn any_above(&self, tier: TierId) -> bool {
        self.tiers.iter().take(tier.index()).any(|queue| !queue.is_idle())
    }

    pub(super) fn push(&mut self, held: Held) {
        let tier = &mut self.tiers[held.tier.index()];
        tier.queued.requests += 1;
        tier.queued.prompt_tokens += u64::from(held.prompt_tokens);
        self.prompt_tokens += u64::from(held.prompt_tokens);
        self.timers.insert((held.timer(), held.request));
        if held.late {
            self.late.insert((held.tier, held.deadline, held.request));
        } else {
            tier.push(&held);
        }
        self.places.insert(held.request, held);
    }

    /// The next one of a tier that is not late.
    pub(super) fn head(&self, tier: TierId) -> Option<&Held> {
        self.places.get(&self.tiers[tier.index()].first()?)
    }

    /// Those of a tier that are not late, about in order.
    pub(super) fn in_order(&self, tier: TierId) -> impl Iterator<Item = &Held> {
        self.tiers[tier.index()].in_order().filter_map(|request| self.places.get(&request))
    }

    /// The next one of those that are late.
    pub(super) fn late_head(&self) -> Option<&Held> {
        let (_, _, request) = self.late.first()?;
        self.places.get(request)
    }

    /// Takes a request out, wherever it waits.
    pub(super) fn remove(&mut self, request: RequestId) -> Option<Held> {
        let held = self.places.remove(&request)?;
        self.timers.remove(&(held.timer(), request));
        let tier = &mut self.tiers[held.tier.index()];
        tier.queued.requests -= 1;
        tier.queued.prompt_tokens -= u64::from(held.prompt_tokens);
        self.prompt_tokens -= u64::from(held.prompt_tokens);
        if held.late {
            self.late.remove(&(held.tier, held.deadline, request));
        } else {
            tier.remove(&held);
        }
        Some(held)
    }

    /// Charges a flow and its user for tokens had, or gives back what they were charged too much.
    pub(super) fn charge(&mut self, tier: TierId, flow: u64, user: u64, tokens: i64) {
        if let Some(queue) = self.tiers.get_mut(tier.index()) {
            queue.charge(flow, user, tokens);
        }
    }

    /// What it takes to come back to where this request is.
    pub(super) fn place_of(&self, held: &Held) -> Place {
        let (flow_had, user_had) = self.tiers[held.tier.index()].had(held.flow, held.user);
        Place {
            since: held.since,
            deadline: held.ordered_by,
            sequence: held.sequence,
            flow_had,
            user_had,
        }
    }

    /// The next time at which something has to be decided about a request.
    pub(super) fn next_timer(&self) -> Option<(Time, RequestId)> {
        self.timers.first().copied()
    }

    /// Who gives way when the queue is full: the last of whoever had most, in the lowest tier
    /// that holds anything; late ones first.
    pub(super) fn last(&self) -> Option<&Held> {
        let late = self.late.last().map(|(_, _, request)| *request);
        let in_time = || self.tiers.iter().rev().find_map(TierQueue::last);
        self.places.get(&late.or_else(in_time)?)
    }
}
