//! How fast replicas may change, and which of the recent recommendations counts
//! (`horizontal.go`, `autoscaling/v2` behavior).

use std::collections::VecDeque;

use forebay_core::time::{Span, Time};

/// `behavior.scaleUp` and `behavior.scaleDown`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Behavior {
    pub(crate) up: Rules,
    pub(crate) down: Rules,
}

/// One direction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// `stabilizationWindowSeconds`.
    pub(crate) window: Span,
    pub(crate) policies: Vec<Rate>,
    pub(crate) select: Select,
}

/// One policy: how much may change within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) amount: Amount,
    pub(crate) period: Span,
}

/// Pods or percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Pods(u32),
    Percent(u32),
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

impl Default for Behavior {
    /// Up at once by 100 % or 4 pods per 15 s; down after 300 s, by 100 % per 15 s.
    fn default() -> Self {
        let period = Span::from_secs(15);
        let all = Rate { amount: Amount::Percent(100), period };
        let four = Rate { amount: Amount::Pods(4), period };
        Self {
            up: Rules { window: Span::ZERO, policies: vec![four, all], select: Select::Max },
            down: Rules { window: Span::from_secs(300), policies: vec![all], select: Select::Max },
        }
    }
}

/// Recommendations kept: an hour (the longest window that the API admits) at 5 s.
const RECOMMENDATIONS_MAX: usize = 720;

/// Scale events kept: half an hour (the longest period that the API admits) at 5 s.
const EVENTS_MAX: usize = 360;

/// What the controller remembers about one target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    recommendations: VecDeque<(Time, u32)>,
    added: VecDeque<(Time, u32)>,
    removed: VecDeque<(Time, u32)>,
}

impl Memory {
    /// The first sync counts the replicas found as a recommendation.
    pub(crate) fn begin(&mut self, now: Time, current: u32) {
        if self.recommendations.is_empty() {
            self.recommendations.push_back((now, current));
        }
    }

    /// Records a change that was carried out.
    pub(crate) fn changed(&mut self, now: Time, from: u32, to: u32) {
        let events = if to > from { &mut self.added } else { &mut self.removed };
        push_bounded(events, (now, from.abs_diff(to)), EVENTS_MAX);
    }

    /// `normalizeDesiredReplicasWithBehaviors`: stabilises, then limits the rate and the bounds.
    pub(crate) fn normalize(
        &mut self,
        now: Time,
        behavior: &Behavior,
        current: u32,
        desired: u32,
        bounds: (u32, u32),
    ) -> u32 {
        let stabilized = self.stabilize(now, behavior, current, desired);
        self.limit(now, behavior, current, stabilized, bounds)
    }

    /// Up to the lowest recommendation of the up window, down to the highest of the down window.
    fn stabilize(&mut self, now: Time, behavior: &Behavior, current: u32, desired: u32) -> u32 {
        let within = |at: Time, window: Span| now.since(at) < window;
        let recent = |window: Span| {
            let inside = self.recommendations.iter().filter(move |(at, _)| within(*at, window));
            inside.map(|(_, replicas)| *replicas)
        };
        let lowest = recent(behavior.up.window).fold(desired, u32::min);
        let highest = recent(behavior.down.window).fold(desired, u32::max);
        push_bounded(&mut self.recommendations, (now, desired), RECOMMENDATIONS_MAX);
        let longest = Span(behavior.up.window.0.max(behavior.down.window.0));
        while self.recommendations.len() > 1
            && self.recommendations.front().is_some_and(|(at, _)| !within(*at, longest))
        {
            self.recommendations.pop_front();
        }
        current.max(lowest).min(highest)
    }

    fn limit(
        &self,
        now: Time,
        behavior: &Behavior,
        current: u32,
        desired: u32,
        (min, max): (u32, u32),
    ) -> u32 {
        if desired > current {
            let limit = self.up_limit(now, &behavior.up, current).max(current);
            desired.min(limit.min(max))
        } else if desired < current {
            let limit = self.down_limit(now, &behavior.down, current).min(current);
            desired.max(limit.max(min))
        } else {
            desired
        }
    }

    /// Replicas that this period began with.
    fn at_start(&self, now: Time, period: Span, current: u32) -> u32 {
        let sum = |events: &VecDeque<(Time, u32)>| -> u32 {
            events.iter().filter(|(at, _)| now.since(*at) < period).map(|(_, change)| change).sum()
        };
        (current + sum(&self.removed)).saturating_sub(sum(&self.added))
    }

    fn up_limit(&self, now: Time, rules: &Rules, current: u32) -> u32 {
        let proposals = rules.policies.iter().map(|policy| {
            let start = self.at_start(now, policy.period, current);
            match policy.amount {
                Amount::Pods(pods) => start.saturating_add(pods),
                Amount::Percent(percent) => {
                    (u64::from(start) * u64::from(100 + percent)).div_ceil(100) as u32
                }
            }
        });
        match rules.select {
            Select::Max => proposals.max(),
            Select::Min => proposals.min(),
            Select::Disabled => None,
        }
        .unwrap_or(current)
    }

    fn down_limit(&self, now: Time, rules: &Rules, current: u32) -> u32 {
        let proposals = rules.policies.iter().map(|policy| {
            let start = self.at_start(now, policy.period, current);
            match policy.amount {
                Amount::Pods(pods) => start.saturating_sub(pods),
                Amount::Percent(percent) => {
                    (u64::from(start) * u64::from(100_u32.saturating_sub(percent)) / 100) as u32
                }
            }
        });
        match rules.select {
            Select::Max => proposals.min(),
            Select::Min => proposals.max(),
            Select::Disabled => None,
        }
        .unwrap_or(current)
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Span::from_secs(seconds)
    }

    #[test]
    fn by_default_up_doubles_or_adds_four_in_15_s() {
        let behavior = Behavior::default();
        let mut memory = Memory::default();
        memory.begin(at(0), 2);
        // 2 -> 50 wanted: max(2 + 4, 2 * 2) = 6.
        assert_eq!(memory.normalize(at(0), &behavior, 2, 50, (1, 100)), 6);
        memory.changed(at(0), 2, 6);
        // 10 s later the period still began with 2: nothing more.
        assert_eq!(memory.normalize(at(10), &behavior, 6, 50, (1, 100)), 6);
        // A new period: max(6 + 4, 12) = 12.
        assert_eq!(memory.normalize(at(15), &behavior, 6, 50, (1, 100)), 12);
    }

    #[test]
    fn down_follows_the_highest_recommendation_of_the_window() {
        let behavior = Behavior::default();
        let mut memory = Memory::default();
        memory.begin(at(0), 10);
        assert_eq!(memory.normalize(at(0), &behavior, 10, 10, (1, 100)), 10);
        assert_eq!(memory.normalize(at(100), &behavior, 10, 6, (1, 100)), 10);
        assert_eq!(memory.normalize(at(200), &behavior, 10, 3, (1, 100)), 10);
        // At 301 s the recommendation of 10 is out of the window; the 6 of t = 100 is the highest.
        assert_eq!(memory.normalize(at(301), &behavior, 10, 2, (1, 100)), 6);
    }

    #[test]
    fn up_waits_for_the_lowest_recommendation_of_its_window() {
        let mut behavior = Behavior::default();
        behavior.up.window = Span::from_secs(300);
        let mut memory = Memory::default();
        memory.begin(at(0), 4);
        for second in (0..300).step_by(15) {
            assert_eq!(memory.normalize(at(second), &behavior, 4, 8, (1, 100)), 4);
        }
        assert_eq!(memory.normalize(at(300), &behavior, 4, 9, (1, 100)), 8);
    }

    #[test]
    fn one_pod_per_period_and_disabled_directions() {
        let one = |seconds| Rules {
            window: Span::ZERO,
            policies: vec![Rate { amount: Amount::Pods(1), period: Span::from_secs(seconds) }],
            select: Select::Max,
        };
        let mut behavior = Behavior { up: one(180), down: one(300) };
        let mut memory = Memory::default();
        assert_eq!(memory.normalize(at(0), &behavior, 3, 9, (1, 100)), 4);
        memory.changed(at(0), 3, 4);
        assert_eq!(memory.normalize(at(179), &behavior, 4, 9, (1, 100)), 4);
        assert_eq!(memory.normalize(at(180), &behavior, 4, 9, (1, 100)), 5);
        behavior.up.select = Select::Disabled;
        assert_eq!(memory.normalize(at(500), &behavior, 4, 9, (1, 100)), 4);
        assert_eq!(memory.normalize(at(500), &behavior, 4, 0, (1, 100)), 3);
    }

    #[test]
    fn percent_down_keeps_the_part_that_is_left() {
        // 10 % of 15 within 60 s: int(15 * 0.9) = 13.
        let ten = Rate { amount: Amount::Percent(10), period: Span::from_secs(60) };
        let down = Rules { window: Span::ZERO, policies: vec![ten], select: Select::Min };
        let behavior = Behavior { down, ..Behavior::default() };
        let mut memory = Memory::default();
        assert_eq!(memory.normalize(at(0), &behavior, 15, 1, (1, 100)), 13);
    }
}
