//! The line of those who were told to come back: each gets a time of its own, as fast as they can
//! be served and no faster, so that they find room.
//!
//! Time is cut into slots. What is booked in slots that are over is forgotten; what of it really
//! came back tells how much of the rest is to be expected.

use super::supply::served_at;
use crate::ids::TierId;
use crate::time::{Span, Time};

/// Longest time that a refusal names: beyond two minutes no rate says anything any more.
pub(super) const RETRY_AFTER_MAX: Span = Span::from_secs(120);
/// Shortest: less would be a busy loop over the network.
const RETRY_AFTER_MIN: Span = Span::from_millis(100);

/// One slot.
const SLOT: Span = Span::from_millis(500);
/// Slots ahead, and a few for what is just over.
const SLOTS: usize = 256;

/// Weight of one slot in the share of those who come back.
const RETURN_GAIN: f64 = 0.1;

/// Told times are spread by up to this part, so that those told at one moment do not come at one
/// moment.
const JITTER: f64 = 0.1;

/// 2^64 over the golden ratio, odd: spreads identities that count up.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u64,
    booked_tokens: f64,
    returned_tokens: f64,
}

/// Those of one tier who were told to come back.
#[derive(Clone, Debug)]
struct TierLine {
    slots: Vec<Slot>,
    /// Until where it is booked without a gap.
    end: Time,
    returning: f64,
}

/// What is booked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) tokens: f64,
    /// When what waits is served.
    pub(super) free_at: Time,
    /// Spreads the time told.
    pub(super) salt: u64,
}

/// The lines of all tiers.
#[derive(Debug)]
pub(super) struct Line {
    tiers: Vec<TierLine>,
}

impl Line {
    pub(super) fn new(tiers: usize) -> Self {
        let tier =
            TierLine { slots: vec![Slot::default(); SLOTS], end: Time::ZERO, returning: 0.0 };
        Self { tiers: vec![tier; tiers] }
    }

    /// A time for one more request, behind what waits and behind those who were told before;
    /// `None` = beyond [`RETRY_AFTER_MAX`]. `course` and `share` as in [`served_at`].
    pub(super) fn book(
        &mut self,
        now: Time,
        tier: TierId,
        wish: Wish,
        course: impl Iterator<Item = (Time, f64)>,
        share: impl Fn(f64) -> f64,
    ) -> Option<Span> {
        let Wish { tokens, free_at, salt } = wish;
        let line = &mut self.tiers[tier.index()];
        let from = line.end.max(free_at).max(now);
        let last = now + RETRY_AFTER_MAX;
        if from >= last {
            return None;
        }
        // The course from there on.
        let later = course.map(|(at, rate)| (at.max(from), rate));
        let at = served_at(last_of_each(later), tokens, share, last)?;
        line.end = at;
        let slot = line.slot(at);
        slot.booked_tokens += tokens;
        let spread = (salt.wrapping_mul(GOLDEN) >> 11) as f64 / (1_u64 << 53) as f64;
        let wait_s = at.since(now).as_seconds() * (1.0 + JITTER * spread);
        Some(Span::from_seconds(wait_s).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
    }

    /// Somebody is back.
    pub(super) fn returned(&mut self, now: Time, tier: TierId, tokens: f64) {
        self.tiers[tier.index()].slot(now).returned_tokens += tokens;
    }

    /// Tokens of those who are expected back until then.
    pub(super) fn expected(&mut self, now: Time, tier: TierId, until: Time) -> f64 {
        let line = &mut self.tiers[tier.index()];
        if line.end <= now {
            return 0.0;
        }
        let (first, last) = (now.0 / SLOT.0, until.min(line.end).0 / SLOT.0);
        let count = (last.saturating_sub(first) + 1).min(SLOTS as u64);
        let booked = (first..first + count).map(|number| {
            let slot = &line.slots[(number % SLOTS as u64) as usize];
            if slot.number == number { slot.booked_tokens } else { 0.0 }
        });
        booked.sum::<f64>() * line.returning
    }
}

/// Of entries with the same time only the last counts.
fn last_of_each(course: impl Iterator<Item = (Time, f64)>) -> impl Iterator<Item = (Time, f64)> {
    let mut course = course.peekable();
    std::iter::from_fn(move || {
        loop {
            let entry = course.next()?;
            if course.peek().is_none_or(|next| next.0 > entry.0) {
                return Some(entry);
            }
        }
    })
}

impl TierLine {
    fn slot(&mut self, at: Time) -> &mut Slot {
        let number = at.0 / SLOT.0;
        let slot = &mut self.slots[(number % SLOTS as u64) as usize];
        if slot.number != number {
            if slot.booked_tokens > 0.0 {
                let came = (slot.returned_tokens / slot.booked_tokens).min(1.0);
                self.returning += RETURN_GAIN * (came - self.returning);
            }
            *slot = Slot { number, ..Slot::default() };
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIER: TierId = TierId(0);

    fn at(seconds: f64) -> Time {
        Time::from_seconds(seconds)
    }

    fn book(line: &mut Line, now: f64, free: f64, salt: u64) -> Option<Span> {
        let course = std::iter::once((at(now), 100.0));
        let wish = Wish { tokens: 100.0, free_at: at(free), salt };
        line.book(at(now), TIER, wish, course, |rate| rate)
    }

    #[test]
    fn everybody_gets_a_time_of_his_own_behind_those_before() {
        let mut line = Line::new(1);
        for turn in 1..=100 {
            let told = book(&mut line, 0.0, 3.0, turn).unwrap().as_seconds();
            let own = 3.0 + turn as f64;
            assert!((own..=own * (1.0 + JITTER)).contains(&told), "{turn}: {told}");
        }
        for turn in 101..=117 {
            assert!(book(&mut line, 0.0, 3.0, turn).is_some());
        }
        assert_eq!(book(&mut line, 0.0, 3.0, 118), None, "beyond the cap");
        let told = book(&mut line, 119.0, 0.0, 0).unwrap();
        assert!((told.as_seconds() - 2.0).abs() < 0.2, "{told}");
    }

    #[test]
    fn those_who_stay_away_are_expected_no_more() {
        let mut line = Line::new(1);
        for second in 0..400 {
            let now = f64::from(second);
            book(&mut line, now, now + 5.0, 0).unwrap();
            if second >= 5 {
                line.returned(at(now), TIER, 100.0);
            }
        }
        let expected = line.expected(at(400.0), TIER, at(410.0));
        assert!((300.0..=600.0).contains(&expected), "{expected}");
        for second in 400..900 {
            let now = f64::from(second);
            book(&mut line, now, now + 5.0, 0).unwrap();
        }
        assert!(line.expected(at(900.0), TIER, at(910.0)) < 60.0);
    }
}
