//! Room that lower tiers leave for a burst of a higher one.
//!
//! Work on an engine is never taken back. So where answers take seconds, a burst of a tier finds
//! every place taken by those below it, however strict the order of the queue is, and waits for
//! them to end. Each tier therefore keeps some places free of lower ones, as many as keep its
//! promise and no more: one that misses adds to them, one that is in time takes a little away, so
//! that in the long run as many miss as may (trunk reservation, its size found by tracking a
//! quantile: Robbins and Monro, 1951).

use crate::fleet::{Fleet, Slo};
use crate::ids::TierId;
use crate::time::{Span, Time};

/// What one miss adds, as a share of all places: a burst in which ten miss moves it by a fifth.
const GAIN: f64 = 0.02;

/// Part of the misses that a promise allows that is spent on bursts: engines take the rest.
const MISS_SHARE: f64 = 0.25;

/// Least share of misses to aim at: a promise to all is one to nearly all.
const MISSES_MIN: f64 = 1e-4;

/// Most that one tier keeps free, as a share of all places: beyond it those below would idle
/// engines that it cannot fill.
const SHARE_MAX: f64 = 0.5;

/// Half of what is kept is given up after so long without a request that tells anything.
const HALF_LIFE: Span = Span::from_secs(600);

/// What one tier keeps free.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reserve {
    /// Share of all places, 0 to [`SHARE_MAX`].
    share: f64,
    /// Misses that are allowed, as a share of its requests; 0 where nothing is kept.
    misses_max: f64,
    at: Time,
}

impl Reserve {
    /// For a tier of a fleet. One without a promise of time to first token keeps nothing.
    pub(super) fn new(fleet: &Fleet, tier: TierId) -> Self {
        let misses_max = match fleet.slos.get(tier.index()) {
            Some(Some(Slo::Latency { percentile, .. })) => {
                ((1.0 - percentile) * MISS_SHARE).max(MISSES_MIN)
            }
            _ => 0.0,
        };
        Self { misses_max, ..Self::default() }
    }

    /// A request of the tier was sent in time, or was too late.
    pub(super) fn saw(&mut self, now: Time, in_time: bool) {
        if self.misses_max <= 0.0 {
            return;
        }
        let step = if in_time { -GAIN * self.misses_max } else { GAIN * (1.0 - self.misses_max) };
        self.share = (self.kept_at(now) + step).clamp(0.0, SHARE_MAX);
        self.at = now;
    }

    /// How much of all places it keeps free now.
    pub(super) fn kept_at(&self, now: Time) -> f64 {
        if self.share <= 0.0 {
            return 0.0;
        }
        self.share * (-now.since(self.at).as_seconds() / HALF_LIFE.as_seconds()).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(misses_max: f64) -> Reserve {
        Reserve { misses_max, ..Reserve::default() }
    }

    #[test]
    fn as_many_miss_as_may() {
        // Whoever comes while less than a fifth is kept misses every tenth time.
        let (mut reserve, mut misses) = (reserve(0.005), 0.0);
        for second in 0..100_000_u64 {
            let now = Time::ZERO + Span::from_millis(second * 100);
            let in_time = reserve.kept_at(now) >= 0.2 || second % 10 != 0;
            misses += f64::from(u8::from(!in_time));
            reserve.saw(now, in_time);
        }
        assert!(misses / 100_000.0 < 0.0075, "{misses}");
        assert!((0.15..0.25).contains(&reserve.kept_at(Time::ZERO + Span::from_secs(10_000))));
    }

    #[test]
    fn it_is_bounded_and_given_up_by_who_does_not_come() {
        let mut reserve = reserve(0.005);
        for _ in 0..1_000 {
            reserve.saw(Time::ZERO, false);
        }
        assert!((reserve.kept_at(Time::ZERO) - SHARE_MAX).abs() < 1e-12);
        assert!(reserve.kept_at(Time::ZERO + Span::from_secs(6_000)) < 0.001);
    }

    #[test]
    fn who_promises_all_keeps_room_and_who_promises_a_completion_does_not() {
        let slo = |percentile| Slo::Latency {
            ttft: Span::from_secs(2),
            tpot: Span::from_millis(100),
            percentile,
        };
        let completion = Slo::Completion { within: Span::from_secs(60), percentile: 0.9 };
        let mut fleet = crate::plan::testing::world(&[]).fleets.remove(0);
        fleet.slos = vec![Some(slo(1.0)), Some(slo(0.99)), Some(completion), None];
        let kept = |tier| {
            let mut reserve = Reserve::new(&fleet, TierId(tier));
            reserve.saw(Time::ZERO, false);
            reserve.kept_at(Time::ZERO) > 0.0
        };
        assert_eq!([0, 1, 2, 3].map(kept), [true, true, false, false]);
    }

    #[test]
    fn without_a_promise_nothing_is_kept() {
        let mut reserve = reserve(0.0);
        reserve.saw(Time::ZERO, false);
        assert!(reserve.kept_at(Time::ZERO) <= 0.0);
    }
}
