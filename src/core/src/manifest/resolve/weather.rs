//! What a scenario changes about the fleets and what goes wrong in it.

use super::Resolver;
use crate::api::scenario::FaultSpec;
use crate::api::{Duration, ScenarioSpec};
use crate::ids::AcceleratorId;
use crate::manifest::{Located, suggest};
use crate::scenario::{Fault, FaultKind};
use crate::time::{Span, Time};

/// Scrapes more often than each second are not what any Prometheus does.
const SCRAPE_MIN: Span = Span::from_secs(1);
/// After five minutes Prometheus takes a sample for stale, so rarer scrapes show nothing.
const SCRAPE_MAX: Span = Span::from_secs(300);

impl Resolver<'_> {
    /// Initial replicas and start-ups.
    pub(super) fn overrides(&mut self, scenario: &Located<ScenarioSpec>) {
        let spec = scenario.spec();
        if !(SCRAPE_MIN..=SCRAPE_MAX).contains(&spec.scrape_interval.0) {
            let what = format!("{} is not an interval of scrapes", spec.scrape_interval);
            self.problems.push(
                scenario
                    .problem("spec.scrapeInterval", what)
                    .expected(format!("from {SCRAPE_MIN} to {}", Duration(SCRAPE_MAX))),
            );
        }
        for (index, initial) in spec.initial_replicas.iter().enumerate() {
            let path = format!("spec.initialReplicas[{index}]");
            let fleet = initial.fleet.as_deref();
            let Some(id) = self.variant_named(scenario, &path, fleet, &initial.variant) else {
                continue;
            };
            let variant = &mut self.world.variants[id.index()];
            let (min, max) = (variant.replicas_min, variant.replicas_max);
            if !(min..=max).contains(&initial.replicas) {
                let what = format!("{} is outside the bounds of the variant", initial.replicas);
                self.problems.push(
                    scenario
                        .problem(&format!("{path}.replicas"), what)
                        .expected(format!("from {min} to {max}")),
                );
            }
            variant.replicas_initial = initial.replicas;
        }
        for (index, change) in spec.start_ups.iter().enumerate() {
            let path = format!("spec.startUps[{index}]");
            let fleet = change.fleet.as_deref();
            let Some(id) = self.variant_named(scenario, &path, fleet, &change.variant) else {
                continue;
            };
            let start_up = &mut self.world.variants[id.index()].start_up;
            let phases = [
                (&mut start_up.image, change.image),
                (&mut start_up.weights, change.weights),
                (&mut start_up.compile, change.compile),
                (&mut start_up.warm_up, change.warm_up),
            ];
            for (phase, changed) in phases {
                *phase = changed.map_or(*phase, |duration| duration.0);
            }
            start_up.sigma = change.sigma.unwrap_or(start_up.sigma);
        }
    }

    /// The faults in order of their beginning.
    pub(super) fn faults(&mut self, scenario: &Located<ScenarioSpec>) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for (index, fault) in scenario.spec().faults.iter().enumerate() {
            let path = format!("spec.faults[{index}]");
            let (from, to) = self.window(scenario, &path, fault);
            let kind = self.fault_kind(scenario, &path, fault);
            faults.extend(kind.map(|kind| Fault { from, to, kind }));
        }
        faults.sort_by_key(|fault| fault.from);
        faults
    }

    fn fault_kind(
        &mut self,
        scenario: &Located<ScenarioSpec>,
        path: &str,
        fault: &FaultSpec,
    ) -> Option<FaultKind> {
        Some(match fault {
            FaultSpec::NodeLoss { accelerator_class, nodes, .. } => FaultKind::NodeLoss {
                accelerator: match accelerator_class {
                    Some(name) => Some(self.class_hit(scenario, path, name)?),
                    None => None,
                },
                nodes: *nodes,
            },
            FaultSpec::SpotReclaim { replicas, notice, .. } => {
                FaultKind::SpotReclaim { replicas: *replicas, notice: notice.0 }
            }
            FaultSpec::SlowStart { factor, .. } => FaultKind::SlowStart { factor: *factor },
            FaultSpec::OutOfStock { accelerator_class, .. } => FaultKind::OutOfStock {
                accelerator: self.class_hit(scenario, path, accelerator_class)?,
            },
            FaultSpec::MetricBlackout { fleet, variant, .. } => FaultKind::MetricBlackout {
                variant: match variant {
                    Some(name) => {
                        Some(self.variant_named(scenario, path, fleet.as_deref(), name)?)
                    }
                    None => None,
                },
            },
            FaultSpec::MetricNan { share, .. } => FaultKind::MetricNan { share: share.0 },
            FaultSpec::PartialScrape { share, .. } => FaultKind::PartialScrape { share: share.0 },
            FaultSpec::FlashCrowd { factor, .. } => FaultKind::FlashCrowd { factor: *factor },
        })
    }

    /// A class that a fault hits, or a problem.
    fn class_hit(
        &mut self,
        scenario: &Located<ScenarioSpec>,
        path: &str,
        name: &str,
    ) -> Option<AcceleratorId> {
        let found = self.accelerator(name);
        if found.is_none() {
            let used = self.world.accelerators.iter().map(|class| class.name.as_str());
            let hint = suggest::hint(name, used);
            let what = format!("no fleet of this run uses `{name}`");
            let path = format!("{path}.acceleratorClass");
            self.problems.push(scenario.problem(&path, what).hint(hint));
        }
        found
    }

    /// When a fault begins and ends.
    fn window(
        &mut self,
        scenario: &Located<ScenarioSpec>,
        path: &str,
        fault: &FaultSpec,
    ) -> (Time, Time) {
        let (from, to) = match fault {
            FaultSpec::NodeLoss { at, .. } | FaultSpec::SpotReclaim { at, .. } => {
                return (instant(*at), instant(*at));
            }
            FaultSpec::FlashCrowd { at, duration, .. } => (*at, Duration(at.0 + duration.0)),
            FaultSpec::SlowStart { from, to, .. }
            | FaultSpec::OutOfStock { from, to, .. }
            | FaultSpec::MetricBlackout { from, to, .. }
            | FaultSpec::MetricNan { from, to, .. }
            | FaultSpec::PartialScrape { from, to, .. } => (*from, *to),
        };
        if from.0 >= to.0 {
            let what = format!("from {from} to {to} is no time at all");
            let problem = scenario.problem(path, what).expected("an end after the beginning");
            self.problems.push(problem);
        }
        (instant(from), instant(to))
    }
}

/// Faults count from the start of the run.
const fn instant(since_start: Duration) -> Time {
    Time(since_start.0.0)
}
