//! Who goes next, and where to.

use super::GateEffect;
use super::arrive::with_error;
use super::engines::{Need, Placed, Placement};
use super::forebay::Forebay;
use super::queue::Held;
use crate::ids::{RequestId, TierId};
use crate::time::Time;

/// Requests in flight that are kept account of: hundreds on each of a thousand endpoints.
const IN_FLIGHT_MAX: usize = 262_144;

/// Requests looked at in one tier for one that may go, where those before it wait for endpoints
/// of their own choice.
const CHOOSY_MAX: usize = 32;

impl Forebay {
    /// Sends whatever has a credit, in order.
    pub(super) fn dispatch(&mut self, now: Time, effects: &mut Vec<GateEffect>) {
        while !self.queue.is_empty() && self.engines.any(Need::Credit) {
            let Some((request, placement)) = self.next(now) else { break };
            let Some(held) = self.queue.remove(request) else { break };
            if !held.late && self.misses(now, &held, &placement) {
                self.turned_late(now, held, effects);
            } else {
                if self.crowded {
                    let tokens = held.prompt_tokens + self.output_of(&held);
                    self.supply.served(f64::from(tokens));
                }
                self.send(now, &held, &placement, effects);
            }
        }
    }

    /// Tokens that a request will probably generate, as is thought now.
    fn output_of(&self, held: &Held) -> u32 {
        self.tiers[held.tier.index()].output_expected(held.output_tokens_max)
    }

    /// What a tier needs of a place.
    pub(super) fn needs(&self, tier: TierId) -> Need {
        if self.tiers[tier.index()].deferrable { Need::Room } else { Need::Credit }
    }

    /// Whether a tier may take a place, after those above it have kept theirs free.
    pub(super) fn may_enter(&self, now: Time, tier: TierId) -> bool {
        let above = &self.tiers[..tier.index()];
        let kept: f64 = above.iter().map(|policy| policy.reserve.kept_at(now)).sum();
        if kept <= 0.0 {
            return true;
        }
        let places = self.engines.places();
        places.free as f64 > kept.min(1.0) * places.all as f64
    }

    pub(super) fn place(&self, held: &Held, need: Need) -> Option<Placement> {
        // Deferrable work enters only when nothing of a higher tier waits.
        if need == Need::Room && self.queue.any_above(held.tier) {
            return None;
        }
        self.engines.pick(&held.ask(), need)
    }

    /// The next request and its place; `None` when nothing may go.
    fn next(&self, now: Time) -> Option<(RequestId, Placement)> {
        let tiers = || (0..self.tiers.len()).map(|index| TierId(index as u8));
        // What a floor guarantees goes first, room or no room.
        for tier in tiers().filter(|tier| self.tiers[tier.index()].floor > 0.0) {
            let Some(head) = self.queue.head(tier) else { continue };
            if self.tiers[tier.index()]
                .is_owed(f64::from(head.prompt_tokens + self.output_of(head)))
            {
                match self.place(head, Need::Credit) {
                    Some(placement) => return Some((head.request, placement)),
                    None if head.goes_anywhere() => return None,
                    None => {}
                }
            }
        }
        for tier in tiers().filter(|tier| self.queue.waits(*tier)) {
            if !self.may_enter(now, tier) {
                return None;
            }
            let need = self.needs(tier);
            let mut looked = 0;
            for held in self.queue.in_order(tier) {
                if let Some(placement) = self.place(held, need) {
                    return Some((held.request, placement));
                }
                looked += 1;
                match (held.goes_anywhere(), need) {
                    // Without room for it, lower tiers that cannot wait may still go.
                    (true, Need::Room) => break,
                    (true, _) => return None,
                    (false, _) if looked == CHOOSY_MAX => return None,
                    (false, _) => {}
                }
            }
        }
        let late = self.queue.late_head().filter(|late| self.may_enter(now, late.tier))?;
        let placement = self.place(late, self.needs(late.tier))?;
        Some((late.request, placement))
    }

    /// Whether the request would miss its deadline at this place.
    fn misses(&self, now: Time, held: &Held, placement: &Placement) -> bool {
        // Who waited for the first endpoint is served when it is there.
        if held.late_at == Time::MAX {
            return false;
        }
        let policy = &self.tiers[held.tier.index()];
        let (_, per_token) = self.engines.unloaded(held.prompt_tokens);
        let answer = if policy.completes { held.output_tokens } else { 0 };
        now + with_error(placement.ttft.0 + u64::from(answer) * per_token.0) > held.deadline
    }

    pub(super) fn send(
        &mut self,
        now: Time,
        held: &Held,
        placement: &Placement,
        effects: &mut Vec<GateEffect>,
    ) {
        if !held.late {
            self.tiers[held.tier.index()].reserve.saw(now, true);
        }
        let output_expected = self.output_of(held);
        let cost = f64::from(held.prompt_tokens) + f64::from(output_expected);
        self.queue.charge(held.tier, held.flow, held.user, cost as i64);
        for (index, policy) in self.tiers.iter_mut().enumerate() {
            let tier = TierId(index as u8);
            policy.sent(now, cost, tier == held.tier, self.queue.waits(tier));
        }
        let mut placed = Placed {
            placement: *placement,
            elsewhere: placement.prefill.is_some(),
            first_at: None,
            sent_at: now,
            queued: false,
            beside: 0,
            tier: held.tier,
            flow: held.flow,
            user: held.user,
            prompt_tokens: held.prompt_tokens,
            output_expected,
        };
        if self.in_flight.len() < IN_FLIGHT_MAX {
            self.engines.take(now, held.request, &held.ask(), &mut placed);
            self.in_flight.insert(held.request, placed);
        }
        let Placement { endpoint, prefill, .. } = *placement;
        effects.push(GateEffect::Dispatch { request: held.request, endpoint, prefill });
    }
}
