//! What waits in one tier: tenants by tokens had, in them users by tokens had, in them the
//! earliest deadline first.

use std::collections::{BTreeMap, BTreeSet};

use super::Held;
use super::fair::Shares;
use crate::gate::Queued;
use crate::ids::RequestId;
use crate::time::Time;

/// Flows remembered per tier; beyond it idle ones are forgotten, and with them what they had.
const FLOWS_MAX: usize = 4_096;

/// Users remembered per flow, likewise.
const USERS_MAX: usize = 1_024;

/// Order inside a user.
type Turn = (Time, u64, RequestId);

#[derive(Debug, Default)]
pub(super) struct TierQueue {
    shares: Shares,
    flows: BTreeMap<u64, Flow>,
    pub(super) queued: Queued,
    /// Expected tokens, prompts and answers, of what waits in time.
    pub(super) cost_tokens: f64,
}

#[derive(Debug, Default)]
struct Flow {
    shares: Shares,
    users: BTreeMap<u64, User>,
    cost_tokens: f64,
}

#[derive(Debug, Default)]
struct User {
    waiting: BTreeSet<Turn>,
    cost_tokens: f64,
}

fn turn(held: &Held) -> Turn {
    (held.ordered_by, held.sequence, held.request)
}

impl TierQueue {
    pub(super) fn push(&mut self, held: &Held) {
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&held.flow) {
            self.flows.retain(|_, flow| !flow.shares.is_idle());
            self.shares.forget_idle();
        }
        self.shares.enter(held.flow, held.weight, held.flow_had);
        let flow = self.flows.entry(held.flow).or_default();
        if flow.shares.len() >= USERS_MAX && !flow.users.contains_key(&held.user) {
            flow.users.retain(|_, user| !user.waiting.is_empty());
            flow.shares.forget_idle();
        }
        flow.shares.enter(held.user, 1.0, held.user_had);
        let user = flow.users.entry(held.user).or_default();
        user.waiting.insert(turn(held));
        user.cost_tokens += held.cost_tokens();
        flow.cost_tokens += held.cost_tokens();
        self.cost_tokens += held.cost_tokens();
    }

    pub(super) fn remove(&mut self, held: &Held) {
        self.cost_tokens = (self.cost_tokens - held.cost_tokens()).max(0.0);
        let Some(flow) = self.flows.get_mut(&held.flow) else { return };
        flow.cost_tokens = (flow.cost_tokens - held.cost_tokens()).max(0.0);
        if let Some(user) = flow.users.get_mut(&held.user) {
            user.waiting.remove(&turn(held));
            user.cost_tokens = (user.cost_tokens - held.cost_tokens()).max(0.0);
            if user.waiting.is_empty() {
                user.cost_tokens = 0.0;
                flow.shares.leave(held.user);
            }
        }
        if flow.shares.is_idle() {
            flow.cost_tokens = 0.0;
            self.shares.leave(held.flow);
        }
        if self.shares.is_idle() {
            self.cost_tokens = 0.0;
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.shares.is_idle()
    }

    pub(super) fn first(&self) -> Option<RequestId> {
        let flow = self.flows.get(&self.shares.first()?)?;
        let user = flow.users.get(&flow.shares.first()?)?;
        user.waiting.first().map(|(_, _, request)| *request)
    }

    /// The last of the user that had most, in the flow that had most.
    pub(super) fn last(&self) -> Option<RequestId> {
        let flow = self.flows.get(&self.shares.last()?)?;
        let user = flow.users.get(&flow.shares.last()?)?;
        user.waiting.last().map(|(_, _, request)| *request)
    }

    /// Requests in order as long as nobody is served: flow by flow, user by user.
    pub(super) fn in_order(&self) -> impl Iterator<Item = RequestId> + '_ {
        let flows = self.shares.in_order().filter_map(|name| self.flows.get(&name));
        let users =
            flows.flat_map(|flow| flow.shares.in_order().filter_map(|name| flow.users.get(&name)));
        users.flat_map(|user| user.waiting.iter().map(|(_, _, request)| *request))
    }

    pub(super) fn charge(&mut self, flow: u64, user: u64, tokens: i64) {
        self.shares.charge(flow, tokens);
        if let Some(flow) = self.flows.get_mut(&flow) {
            flow.shares.charge(user, tokens);
        }
    }

    /// Virtual tokens that a flow and its user had.
    pub(super) fn had(&self, flow: u64, user: u64) -> (u64, u64) {
        let of_user = self.flows.get(&flow).map_or(0, |flow| flow.shares.had(user));
        (self.shares.had(flow), of_user)
    }

    /// Tokens of this tier that go before one more request of a flow and user: what its own have
    /// waiting, over their share, and never more than all that waits.
    pub(super) fn ahead_of(&self, flow: u64, weight: f64, user: u64) -> f64 {
        let Some(known) = self.flows.get(&flow) else { return 0.0 };
        let of_user = known.users.get(&user).map_or(0.0, |user| user.cost_tokens);
        let in_flow = (of_user * known.shares.spread(user, 1.0)).min(known.cost_tokens);
        (in_flow * self.shares.spread(flow, weight)).min(self.cost_tokens)
    }
}
