//! What becomes of a request when it comes, and when its time in the queue is over.

use std::sync::Arc;

use super::engines::Need;
use super::forebay::Forebay;
use super::queue::{Held, Wants};
use super::supply::served_at;
use super::{Arrival, GateEffect, Refusal};
use crate::fleet::Late;
use crate::ids::TierId;
use crate::time::{Span, Time};

/// Requests held at most: 20,000 bodies of 20 kB are 400 MB.
const QUEUE_REQUESTS_MAX: usize = 20_000;

/// Prompt tokens held at most: at 4 bytes each 1 GB, whatever the requests' lengths.
const QUEUE_TOKENS_MAX: u64 = 250_000_000;

/// Part of a predicted time by which it is usually wrong: a request that is to attain needs that
/// much more.
const PREDICTION_ERROR: f64 = 0.1;

/// How far ahead it is worth to look for the turn of a request that may wait for hours.
const FORESIGHT: Span = Span::from_secs(3_600);

/// What the gate thinks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// In time, or to be served last: `late` of the request says which.
    Welcome,
    Refuse(Refusal),
}

impl Forebay {
    pub(super) fn arrived(
        &mut self,
        now: Time,
        arrival: &Arrival<'_>,
        effects: &mut Vec<GateEffect>,
    ) {
        let mut held = self.held(now, arrival);
        let verdict = match self.judge(now, &mut held) {
            Verdict::Refuse(Refusal::Late) if arrival.enforced && self.may_try(now, &held) => {
                Verdict::Welcome
            }
            verdict => verdict,
        };
        if !arrival.enforced {
            return self.watch(now, &held, verdict, effects);
        }
        match verdict {
            Verdict::Refuse(reason) => self.refuse(now, &held, reason, effects),
            // With nothing else waiting it need not go through the queue.
            Verdict::Welcome if self.queue.is_empty() && !held.late => {
                let may = self.may_enter(now, held.tier);
                match self.place(&held, self.needs(held.tier)).filter(|_| may) {
                    Some(placement) => self.send(now, &held, &placement, effects),
                    // It was only to be tried.
                    None if held.late_at <= now => {
                        self.refuse(now, &held, Refusal::Late, effects);
                    }
                    None => self.push(now, held, effects),
                }
            }
            Verdict::Welcome => {
                self.push(now, held, effects);
                self.dispatch(now, effects);
            }
        }
    }

    fn held(&mut self, now: Time, arrival: &Arrival<'_>) -> Held {
        let place = match &arrival.place {
            Some(place) => {
                self.returning.redeemed(arrival, place);
                Some(*place)
            }
            None => self.returning.claim(arrival),
        };
        let policy = &self.tiers[arrival.tier.index()];
        let wants = Wants {
            prefix: arrival.prefix.cloned(),
            adapter: arrival.adapter,
            candidates: arrival.candidates.map(Arc::from),
            tpot: arrival.tpot,
        };
        let held = Held {
            request: arrival.request,
            tier: arrival.tier,
            flow: arrival.flow,
            user: arrival.user,
            weight: arrival.weight,
            prompt_tokens: arrival.prompt_tokens,
            output_tokens: policy.output_expected(arrival.output_tokens_max),
            output_tokens_max: arrival.output_tokens_max,
            deadline: arrival.deadline,
            late_at: arrival.deadline,
            hold_until: now + arrival.hold_max.unwrap_or(policy.hold_max),
            late: false,
            ordered_by: place
                .map_or(arrival.deadline, |place| place.deadline.min(arrival.deadline)),
            sequence: place.map_or(arrival.request.0, |place| place.sequence),
            since: place.map_or(now, |place| place.since.min(now)),
            flow_had: place.map(|place| place.flow_had),
            user_had: place.map(|place| place.user_had),
            wants: (wants != Wants::default()).then(|| Box::new(wants)),
        };
        if place.is_some() {
            self.line.returned(now, held.tier, held.cost_tokens());
        }
        held
    }

    /// Time from dispatch until a request has what its deadline is about, on an idle engine.
    fn unloaded(&self, held: &Held) -> Span {
        let policy = &self.tiers[held.tier.index()];
        let (ttft, per_token) = self.engines.unloaded(held.prompt_tokens);
        let answer = if policy.completes { held.output_tokens } else { 0 };
        with_error(ttft.0 + u64::from(answer) * per_token.0)
    }

    /// Whether a request can still attain, given all that is ahead of it and all that is coming.
    fn judge(&mut self, now: Time, held: &mut Held) -> Verdict {
        let candidates = held.wants.as_deref().and_then(|wants| wants.candidates.as_deref());
        if !self.engines.serves(candidates) {
            return self.judge_without_endpoint(now, held);
        }
        let policy = &self.tiers[held.tier.index()];
        let (late, deferrable) = (policy.late, policy.deferrable);
        held.late_at = held.deadline - self.unloaded(held);
        let turn = if self.queue.is_empty() && self.engines.any(Need::Credit) {
            Some(now)
        } else {
            let ahead = self.ahead(now, held);
            self.turn(now, held.tier, ahead)
        };
        if turn.is_none_or(|turn| turn > held.late_at) || held.late_at <= now {
            // What no idle engine could do is no matter of room.
            if held.late_at > now {
                self.tiers[held.tier.index()].reserve.saw(now, false);
            }
            match late {
                Late::Refuse => return Verdict::Refuse(Refusal::Late),
                Late::ServeLast => held.late = true,
            }
        } else if !deferrable && turn.is_none_or(|turn| turn > held.hold_until) {
            return Verdict::Refuse(Refusal::Saturated);
        }
        Verdict::Welcome
    }

    /// Whether to send a request that is foretold to be late, because an engine stands idle and it
    /// has long not been tried whether it is true.
    fn may_try(&mut self, now: Time, held: &Held) -> bool {
        let idle = self.queue.is_empty() && self.engines.any(self.needs(held.tier));
        idle && held.deadline > now && self.engines.try_prompt(now, held.prompt_tokens)
    }

    /// Nobody is there for it. While something is or may be on its way it waits, whatever its
    /// objective: that is about load, and there is no quicker way to be served.
    fn judge_without_endpoint(&self, now: Time, held: &mut Held) -> Verdict {
        let others = self.engines.any(Need::Nothing);
        if others || self.supply.is_barren() {
            return Verdict::Refuse(Refusal::NoEndpoints);
        }
        held.late_at = Time::MAX;
        let first = self.supply.course(now, 0.0).find(|(_, rate)| *rate > 0.0);
        match first {
            Some((ready_at, _)) if ready_at > held.hold_until => {
                Verdict::Refuse(Refusal::Saturated)
            }
            _ => Verdict::Welcome,
        }
    }

    /// Tokens of its own tier that go before a request: of one that comes for the first time those
    /// that wait, and those who were told to come back; of one that comes back, hardly any.
    fn ahead(&mut self, now: Time, held: &Held) -> f64 {
        if held.since < now {
            return 0.0;
        }
        let until = held.deadline.min(now + FORESIGHT);
        self.queue.cost_ahead(held) + self.line.expected(now, held.tier, until)
    }

    /// When about so much of a tier is served; `None` = not within foresight. It has what those
    /// above leave once all that waits above is served, and what it is guaranteed past all that.
    pub(super) fn turn(&self, now: Time, tier: TierId, ahead_tokens: f64) -> Option<Time> {
        let excess = self.engines.excess_tokens();
        let behind = self.queue.cost_above(tier) + ahead_tokens + excess;
        if behind <= 0.0 {
            return Some(now);
        }
        let course = || self.supply.course(now, self.engines.tokens_per_second());
        let end = now + FORESIGHT;
        let left = served_at(course(), behind, self.left_for(now, tier), end);
        let floor = self.tiers[tier.index()].floor;
        if floor <= 0.0 {
            return left;
        }
        // What engines hold too much is served by all that they are.
        let guaranteed =
            served_at(course(), ahead_tokens + excess * floor, |rate| rate * floor, end);
        left.into_iter().chain(guaranteed).min()
    }

    /// What a tier has of all that is served: what those above leave, less what those below are
    /// guaranteed, and never less than its own floor.
    pub(super) fn share_of(&self, now: Time, tier: TierId) -> impl Fn(f64) -> f64 + use<> {
        let floor = self.tiers[tier.index()].floor;
        let left = self.left_for(now, tier);
        move |rate| left(rate).max(rate * floor)
    }

    /// What those above a tier leave, less what those below it are guaranteed; may be negative.
    fn left_for(&self, now: Time, tier: TierId) -> impl Fn(f64) -> f64 + use<> {
        let index = tier.index();
        let above: f64 = self.tiers[..index].iter().map(|policy| policy.takes(now)).sum();
        let below: f64 = (index + 1..self.tiers.len())
            .filter(|below| self.queue.waits(TierId(*below as u8)))
            .map(|below| self.tiers[below].floor)
            .sum();
        move |rate| rate * (1.0 - below.min(1.0)) - above
    }

    /// Sends a request whatever the gate thinks of it, and counts what that is.
    fn watch(&mut self, now: Time, held: &Held, verdict: Verdict, effects: &mut Vec<GateEffect>) {
        let credit = self.place(held, self.needs(held.tier));
        let placement = credit.or_else(|| self.engines.pick(&held.ask(), Need::Nothing));
        let full = self.is_full(held);
        let would_have = &mut self.would_have[held.tier.index()];
        let Some(placement) = placement else {
            would_have.refused(Refusal::NoEndpoints);
            return self.refuse(now, held, Refusal::NoEndpoints, effects);
        };
        match verdict {
            Verdict::Refuse(reason) => would_have.refused(reason),
            Verdict::Welcome if credit.is_some() && !held.late => would_have.sent += 1,
            Verdict::Welcome if full => would_have.refused(Refusal::Saturated),
            Verdict::Welcome => would_have.held += 1,
        }
        self.send(now, held, &placement, effects);
    }

    fn is_full(&self, held: &Held) -> bool {
        let tokens = self.queue.prompt_tokens() + u64::from(held.prompt_tokens);
        self.queue.len() >= QUEUE_REQUESTS_MAX || tokens > QUEUE_TOKENS_MAX
    }

    /// Takes a request into the queue; when that is full the lowest tier gives way.
    fn push(&mut self, now: Time, held: Held, effects: &mut Vec<GateEffect>) {
        if self.is_full(&held) {
            let victim = self.queue.last();
            let victim =
                victim.filter(|victim| victim.tier > held.tier || (victim.late && !held.late));
            match victim.map(|victim| victim.request) {
                Some(victim) => {
                    if let Some(victim) = self.queue.remove(victim) {
                        self.refuse(now, &victim, Refusal::Saturated, effects);
                    }
                }
                None => return self.refuse(now, &held, Refusal::Saturated, effects),
            }
        }
        self.queue.push(held);
    }

    /// Decides about everything whose time has come.
    pub(super) fn due(&mut self, now: Time, effects: &mut Vec<GateEffect>) {
        while let Some((_, request)) = self.queue.next_timer().filter(|(at, _)| *at <= now) {
            let Some(held) = self.queue.remove(request) else { break };
            if held.hold_until <= now {
                self.refuse(now, &held, Refusal::TtlExpired, effects);
                continue;
            }
            // What is known of engines may have changed since it came.
            let late_at = held.deadline - self.unloaded(&held);
            if late_at > now {
                let place = self.queue.place_of(&held);
                let had = (Some(place.flow_had), Some(place.user_had));
                self.queue.push(Held { late_at, flow_had: had.0, user_had: had.1, ..held });
            } else {
                self.turned_late(now, held, effects);
            }
        }
    }

    pub(super) fn turned_late(&mut self, now: Time, held: Held, effects: &mut Vec<GateEffect>) {
        self.tiers[held.tier.index()].reserve.saw(now, false);
        match self.tiers[held.tier.index()].late {
            Late::Refuse => self.refuse(now, &held, Refusal::Late, effects),
            Late::ServeLast => self.queue.push(Held { late: true, ..held }),
        }
    }
}

/// A predicted time with its usual error.
pub(super) fn with_error(nanos: u64) -> Span {
    Span((nanos as f64 * (1.0 + PREDICTION_ERROR)) as u64)
}
