//! What a refused request is told: why, when to come back, and what keeps its place.

use super::forebay::Forebay;
use super::line::{RETRY_AFTER_MAX, Wish};
use super::queue::Held;
use super::returning::Content;
use super::{GateEffect, Refusal};
use crate::time::{Span, Time};

impl Forebay {
    pub(super) fn refuse(
        &mut self,
        now: Time,
        held: &Held,
        reason: Refusal,
        effects: &mut Vec<GateEffect>,
    ) {
        let place = self.queue.place_of(held);
        let (reason, retry_after) = self.promise(now, held, reason);
        if let Some(content) = retry_after.and_then(|_| Content::of_held(held)) {
            self.returning.refused(now, content, place);
        }
        effects.push(GateEffect::Refuse {
            request: held.request,
            reason,
            retry_after,
            place: Some(place),
        });
    }

    /// When there will be room for it, behind all that waits and all that was told before.
    fn promise(&mut self, now: Time, held: &Held, reason: Refusal) -> (Refusal, Option<Span>) {
        // Where nobody is and nobody comes, and where even an idle engine would be too slow,
        // coming back does not help.
        let hopeless = held.late_at < held.since;
        if reason == Refusal::NoEndpoints || (reason == Refusal::Late && hopeless) {
            return (reason, None);
        }
        let beyond = (Refusal::NoCapacityInSight, Some(RETRY_AFTER_MAX));
        let Some(free_at) = self.turn(now, held.tier, self.queue.cost_ahead(held)) else {
            return beyond;
        };
        let foretold = self.engines.tokens_per_second();
        let share = self.share_of(now, held.tier);
        let course = self.supply.course(now, foretold);
        let wish = Wish { tokens: held.cost_tokens(), free_at, salt: held.request.0 };
        let told = self.line.book(now, held.tier, wish, course, share);
        told.map_or(beyond, |told| (reason, Some(told)))
    }
}
