//! The report as the page needs it: policies in the order of the table, with what is drawn.

use std::collections::BTreeMap;

use super::super::judge::Standing;
use super::super::{Report, Run, TierTarget, Timeline};
use super::scale::Clock;

/// Most steps that a figure over time draws: more than the pixels of a column.
pub(super) const STEPS_MAX: usize = 600;
/// Least share of the axis of time that a run-off takes to be marked.
const RUN_OFF_MIN: f64 = 0.004;
/// Colours before they repeat with another dash.
const COLOURS: usize = 8;

/// A report with what its figures share.
pub(super) struct View<'a> {
    pub(super) report: &'a Report,
    /// In the order of the table.
    pub(super) policies: Vec<Policy<'a>>,
    pub(super) tiers: Vec<TierTarget>,
    pub(super) clock: Clock,
}

/// One run as it is drawn.
pub(super) struct Policy<'a> {
    pub(super) label: String,
    pub(super) run: &'a Run,
    pub(super) standing: Standing,
    /// The timeline in at most [`STEPS_MAX`] steps.
    pub(super) timeline: Timeline,
}

impl<'a> View<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let labels = report.labels();
        let policies = report
            .ranked()
            .into_iter()
            .map(|(index, run, standing)| Policy {
                label: labels[index].clone(),
                run,
                standing,
                timeline: reduced(&run.timeline),
            })
            .collect();
        Self {
            report,
            policies,
            tiers: report.tier_targets(),
            clock: Clock::new(report.trace.start_s, drawn_s(report)),
        }
    }

    /// Where the traffic ends on the axis of time, if a run-off that can be seen follows.
    pub(super) fn traffic_end(&self) -> Option<f64> {
        let end = self.report.trace.duration_s / self.clock.duration_s;
        (end < 1.0 - RUN_OFF_MIN).then_some(end)
    }

    /// Tiers that had requests in any run.
    pub(super) fn served_tiers(&self) -> impl Iterator<Item = &TierTarget> {
        self.tiers.iter().filter(|tier| {
            let mut outcomes = self.policies.iter().filter_map(|p| p.run.tiers.get(&tier.name));
            outcomes.any(|outcome| outcome.requests > 0)
        })
    }

    /// Keys of a column of the timelines, over all policies, in order.
    pub(super) fn keys<T>(&self, column: fn(&Timeline) -> &BTreeMap<String, T>) -> Vec<String> {
        let keys = self.policies.iter().flat_map(|policy| column(&policy.timeline).keys());
        let keys: std::collections::BTreeSet<&String> = keys.collect();
        keys.into_iter().cloned().collect()
    }

    /// Keys of demand (`fleet/role`): by fleet, prefill before decode.
    pub(super) fn roles(&self) -> Vec<String> {
        let mut roles = self.keys(|timeline| &timeline.demand);
        let later = |key: &str| key.ends_with("/decode");
        let fleet = |key: &str| key.rsplit_once('/').map_or("", |(fleet, _)| fleet).to_owned();
        roles.sort_by_key(|key| (fleet(key), later(key)));
        roles
    }

    /// Largest value of some columns over all policies, so that panels compare.
    pub(super) fn largest(&self, values: impl Fn(&Timeline) -> f64) -> f64 {
        self.policies.iter().map(|policy| values(&policy.timeline)).fold(0.0, f64::max)
    }
}

/// Length of the axis of time, s: the window, and the run-off of the longest run.
fn drawn_s(report: &Report) -> f64 {
    let window_s = report.trace.duration_s;
    let ends = report.runs.iter().map(|run| steps(&run.timeline) as f64 * run.timeline.step_s);
    // A last step that the window fills in part is no run-off.
    let step_s = report.runs.iter().map(|run| run.timeline.step_s).fold(0.0, f64::max);
    let end_s = ends.filter(|end_s| end_s.is_finite()).fold(0.0, f64::max);
    if end_s > window_s + step_s { end_s } else { window_s }
}

/// Steps of the longest column that is drawn.
fn steps(timeline: &Timeline) -> usize {
    let columns = timeline.demand.values().chain(timeline.capacity.values()).map(Vec::len);
    columns.chain([timeline.queued.len()]).max().unwrap_or(0)
}

/// Class number of a policy's colour.
pub(super) const fn colour(place: usize) -> usize {
    place % COLOURS
}

/// Whether a policy's line is dashed: where its colour was used before.
pub(super) const fn dashed(place: usize) -> bool {
    place >= COLOURS
}

/// The largest finite value of a column.
pub(super) fn peak(column: &[f64]) -> f64 {
    column.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// The same run in at most [`STEPS_MAX`] steps: means of levels, sums of counts, and the longest
/// queue.
fn reduced(timeline: &Timeline) -> Timeline {
    let every = steps(timeline).div_ceil(STEPS_MAX).max(1);
    let mean = |column: &Vec<f64>| -> Vec<f64> {
        column.chunks(every).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect()
    };
    let sum = |column: &Vec<u64>| -> Vec<u64> {
        column.chunks(every).map(|part| part.iter().sum()).collect()
    };
    let levels = |columns: &BTreeMap<String, Vec<f64>>| {
        columns.iter().map(|(key, column)| (key.clone(), mean(column))).collect()
    };
    let counts = |columns: &BTreeMap<String, Vec<u64>>| {
        columns.iter().map(|(key, column)| (key.clone(), sum(column))).collect()
    };
    Timeline {
        step_s: timeline.step_s * every as f64,
        demand: levels(&timeline.demand),
        capacity: levels(&timeline.capacity),
        replicas: levels(&timeline.replicas),
        accelerators: levels(&timeline.accelerators),
        arrivals: counts(&timeline.arrivals),
        missed: counts(&timeline.missed),
        queued: timeline
            .queued
            .chunks(every)
            .map(|part| part.iter().copied().max().unwrap_or(0))
            .collect(),
        cost_usd: timeline.cost_usd.chunks(every).map(|part| part.iter().sum()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_timelines_are_reduced_without_losing_requests() {
        let timeline = Timeline {
            step_s: 60.0,
            demand: BTreeMap::from([("a/both".into(), vec![2.0; 1_500])]),
            missed: BTreeMap::from([("x".into(), vec![1; 1_500])]),
            queued: (0..1_500).collect(),
            ..Timeline::default()
        };
        let reduced = reduced(&timeline);
        assert_eq!(reduced.queued.len(), 500);
        assert_eq!(reduced.queued[0], 2);
        assert!((reduced.step_s - 180.0).abs() < 1e-9);
        assert_eq!(reduced.missed["x"].iter().sum::<u64>(), 1_500);
        assert!((reduced.demand["a/both"][7] - 2.0).abs() < 1e-12);
    }
}
