//! One sync of one HorizontalPodAutoscaler (`reconcileAutoscaler`).

use forebay_core::time::Time;

use super::arithmetic::{self, PodValues, TargetKind};
use super::behavior::Memory;
use super::settings::{MetricTarget, Settings};
use crate::policy::group::Replicas;
use crate::policy::query::{Query, Sight};

/// A controller with what it remembers.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    pub(crate) settings: Settings,
    memory: Memory,
}

/// What came of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Proposal {
    /// `None` = the metric could not be read.
    pub(crate) replicas: Option<u32>,
    pub(crate) value: f64,
}

impl Controller {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, memory: Memory::default() }
    }

    /// Asks every metric for its number of replicas.
    pub(crate) fn propose(&self, sight: &Sight<'_>, pods: Replicas) -> Vec<Proposal> {
        self.settings.metrics.iter().map(|metric| self.propose_one(metric, sight, pods)).collect()
    }

    fn propose_one(&self, metric: &MetricTarget, sight: &Sight<'_>, pods: Replicas) -> Proposal {
        let tolerance = self.settings.tolerance;
        if metric.kind == TargetKind::Pods {
            let values = pod_values(&metric.query, sight, pods);
            let value = values.shown.iter().sum::<f64>() / values.shown.len().max(1) as f64;
            let replicas = arithmetic::pods(&values, metric.target, pods.desired, tolerance);
            return Proposal { replicas: replicas.filter(|_| value.is_finite()), value };
        }
        let answer = metric.answer(sight);
        let replicas = answer.map(|value| match metric.kind {
            TargetKind::Value => {
                arithmetic::value(value, metric.target, pods.desired, pods.ready, tolerance)
            }
            _ => arithmetic::average_value(value, metric.target, pods.current, tolerance),
        });
        Proposal { replicas, value: answer.unwrap_or(f64::NAN) }
    }

    /// Decides; `None` = leave the scale as it is.
    pub(crate) fn decide(
        &mut self,
        now: Time,
        pods: Replicas,
        proposals: &[Proposal],
        bounds: (u32, u32),
    ) -> Option<u32> {
        let (min, max) = bounds;
        let current = pods.desired;
        self.memory.begin(now, current);
        // At zero the autoscaler is switched off: somebody else must wake the target.
        if current == 0 && min != 0 {
            return None;
        }
        let desired = if current > max {
            max
        } else if current < min {
            min
        } else {
            let known = proposals.iter().filter_map(|proposal| proposal.replicas);
            let largest = known.clone().max()?;
            // A metric that cannot be read forbids going down, never going up.
            if known.count() < proposals.len() && largest < current {
                return None;
            }
            self.memory.normalize(now, &self.settings.behavior, current, largest, bounds)
        };
        if desired == current {
            return None;
        }
        self.memory.changed(now, current, desired);
        Some(desired)
    }

    /// The metric that asked for most, in words.
    pub(crate) fn explain(&self, proposals: &[Proposal]) -> String {
        let asked = self.settings.metrics.iter().zip(proposals);
        let largest = asked.max_by_key(|(_, proposal)| proposal.replicas);
        largest.map_or_else(String::new, |(metric, proposal)| {
            let name = metric.label();
            format!("{name} {:.3} at target {}", proposal.value, metric.target)
        })
    }
}

impl MetricTarget {
    /// The value of the metric; `None` = it cannot be read (no series, NaN, infinite), unless an
    /// empty answer counts as 0.
    pub(crate) fn answer(&self, sight: &Sight<'_>) -> Option<f64> {
        let answer = self.query.answer(sight).filter(|value| value.is_finite());
        if self.empty_is_zero { Some(answer.unwrap_or(0.0)) } else { answer }
    }

    pub(crate) fn label(&self) -> String {
        crate::policy::metric::name_of(&self.query)
            .map_or_else(|| "query".to_owned(), |(name, _)| name.to_owned())
    }
}

/// Values per pod. A pod with a node whose engine does not answer yet is Running without a value;
/// one without a node is Pending.
fn pod_values(query: &Query, sight: &Sight<'_>, pods: Replicas) -> PodValues {
    let shown = query.per_pod(sight);
    let missing = pods.current.saturating_sub(pods.unschedulable + shown.len() as u32);
    PodValues { shown, unready: pods.unschedulable, missing }
}
