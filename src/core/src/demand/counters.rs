//! What counters gained between scrapes, whatever the scrapes were through: restarts, NaN, gaps
//! and clocks that stepped back.

use crate::time::Time;

/// A longer pause between two readings is a gap: what happened in it is averaged over so much
/// time that it says nothing about now. Four scrapes at the usual 15 s.
pub(super) const GAP_SECONDS_MAX: f64 = 60.0;

/// What a counter gained, over the time in which that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gained {
    /// Increase of the counter.
    pub(super) amount: f64,
    /// Time in which it was seen to gain that, s.
    pub(super) seconds: f64,
}

impl Gained {
    /// Per second; `None` when no time is known.
    pub(super) fn per_second(self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.amount / self.seconds)
    }

    /// Adds up the readings of one counter, oldest first. Readings that are no counts, and those
    /// that are not later than the one before, are left out; the time of a gap is left out, and so
    /// is that of a restart, which hides what was gained before it. `None` with nothing left.
    pub(super) fn over(readings: impl Iterator<Item = (Time, f64)>) -> Option<Self> {
        let mut before: Option<(Time, f64)> = None;
        let mut gained: Option<Self> = None;
        for (at, value) in readings {
            if !is_count(value) {
                continue;
            }
            if let Some((then, old)) = before {
                let seconds = at.since(then).as_seconds();
                if seconds <= 0.0 {
                    continue;
                }
                if seconds <= GAP_SECONDS_MAX && value >= old {
                    let sum = gained.get_or_insert_default();
                    sum.amount += value - old;
                    sum.seconds += seconds;
                }
            }
            before = Some((at, value));
        }
        gained
    }
}

/// Whether a reading can be a count.
pub(super) fn is_count(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// What a counter gained from `then` to `now`, both counts; a fall is a restart from zero.
pub(super) fn increase(then: f64, now: f64) -> f64 {
    if now < then { now } else { now - then }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(readings: &[(f64, f64)]) -> Option<Gained> {
        Gained::over(readings.iter().map(|&(second, value)| (Time::from_seconds(second), value)))
    }

    #[test]
    fn a_restart_hides_its_interval_and_no_other() {
        let gained = over(&[(0.0, 100.0), (15.0, 200.0), (30.0, 30.0), (45.0, 130.0)]).unwrap();
        assert_eq!(gained, Gained { amount: 200.0, seconds: 30.0 });
        assert_eq!(over(&[(0.0, 100.0), (15.0, 20.0)]), None);
    }

    #[test]
    fn readings_that_are_no_counts_leave_no_trace() {
        let clean = over(&[(0.0, 10.0), (30.0, 40.0)]);
        assert_eq!(over(&[(0.0, 10.0), (15.0, f64::NAN), (30.0, 40.0)]), clean);
        assert_eq!(over(&[(0.0, 10.0), (15.0, -1.0), (30.0, 40.0)]), clean);
        assert_eq!(over(&[(0.0, 10.0), (15.0, f64::INFINITY), (30.0, 40.0)]), clean);
        assert_eq!(over(&[(0.0, f64::NAN), (15.0, 3.0)]), None);
    }

    #[test]
    fn a_clock_that_stepped_back_does_not_divide_by_nothing() {
        let gained = over(&[(30.0, 10.0), (15.0, 20.0), (30.0, 30.0), (45.0, 40.0)]).unwrap();
        assert_eq!(gained, Gained { amount: 30.0, seconds: 15.0 });
    }

    #[test]
    fn a_gap_is_unknown_and_not_a_low_rate() {
        let gained = over(&[(0.0, 0.0), (15.0, 150.0), (200.0, 160.0), (215.0, 310.0)]).unwrap();
        assert_eq!(gained.per_second(), Some(10.0));
    }
}
