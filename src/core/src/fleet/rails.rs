//! What no decision about a fleet may leave.

use super::Schedule;
use crate::ids::AcceleratorId;
use crate::time::WallTime;
use crate::units::UsdPerHour;

/// What no decision about a fleet may leave; the default binds nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetRails {
    /// Money, accelerators and speed.
    pub limits: Limits,
    /// Hours that need more, or that must not scale in.
    pub schedules: Vec<Schedule>,
    /// Change nothing.
    pub paused: Option<Pause>,
}

/// Limits of one fleet; `None` = nobody set one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Most that its replicas may cost per hour.
    pub cost_per_hour_max: Option<UsdPerHour>,
    /// Most accelerators of a class, at most one entry per class.
    pub accelerators_max: Vec<(AcceleratorId, u32)>,
    /// Most replicas added in any ten minutes, over all variants.
    pub replicas_added_max: Option<u32>,
    /// Most replicas removed in any ten minutes, over all variants.
    pub replicas_removed_max: Option<u32>,
}

/// A fleet in which nothing is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Until when; `None` = until somebody ends it.
    pub until: Option<WallTime>,
}

impl Pause {
    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self, now: WallTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_when_it_says_so() {
        let until = Some(WallTime(100));
        assert!(Pause { until }.holds(WallTime(99)));
        assert!(!Pause { until }.holds(WallTime(100)));
        assert!(Pause { until: None }.holds(WallTime(i64::MAX)));
    }
}
