//! Work lately placed, so that nobody's cache makes him serve far more than his share.

use crate::time::{Span, Time};

/// Half of the weight of work is gone after this long: a few answers.
const HALF_LIFE: Span = Span::from_secs(10);

/// Half-lives after which the scale is set anew, long before numbers overflow.
const SCALE_MAX: f64 = 40.0;

/// An endpoint with this many times the work of the least busy one, and so many requests more,
/// has had enough for now: what it has cached does not count.
const SHARE_MAX: f64 = 1.5;
/// See [`SHARE_MAX`].
const REQUESTS_MORE: f64 = 4.0;

/// A decaying scale of work: what is placed later weighs more, so nothing placed earlier has to
/// be touched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    origin: Time,
    /// What a unit of work weighed when it was last asked.
    weight_now: f64,
}

impl Share {
    /// What a unit of work placed now weighs, and the factor by which all earlier work must be
    /// multiplied first, if any.
    pub(super) fn weight(&mut self, now: Time) -> (f64, Option<f64>) {
        let halves = now.since(self.origin).as_seconds() / HALF_LIFE.as_seconds();
        if halves <= SCALE_MAX {
            self.weight_now = halves.exp2();
            return (self.weight_now, None);
        }
        (self.origin, self.weight_now) = (now, 1.0);
        (1.0, Some((-halves).exp2()))
    }

    /// Whether an endpoint with `work`, where the least busy one has `least`, may be given a
    /// request of `tokens` for its cache's sake.
    pub(super) fn allows(&self, work: f64, least: f64, tokens: f64) -> bool {
        work <= SHARE_MAX * least + REQUESTS_MORE * tokens * self.weight_now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_work_weighs_more_and_the_scale_never_overflows() {
        let (mut share, mut work) = (Share::default(), 0.0);
        for second in 0..100_000 {
            let (weight, factor) = share.weight(Time::ZERO + Span::from_secs(second));
            work = work * factor.unwrap_or(1.0) + weight;
            assert!(work.is_finite());
        }
        // One per second with a half-life of ten: about 15 at once.
        assert!(share.allows(work, 0.0, 4.0) && !share.allows(work, 0.0, 3.0));
        assert!(share.allows(work, work, 0.0) && !share.allows(work, work / 2.0, 0.0));
    }
}
