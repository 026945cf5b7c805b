//! llm-d's Workload Variant Autoscaler (deprecated; v0.9.0 was its last), for the record: its V1
//! saturation analyzer, through an HPA on `wva_desired_replicas`.

use forebay_core::time::{Span, Time};

use super::autoscaler::Autoscaler;
use super::common::Common;
use super::error::SpecError;
use super::hpa::arithmetic::TargetKind;
use super::hpa::behavior::{Amount, Behavior, Rate, Rules, Select};
use super::hpa::settings::{MetricTarget, Settings};
use super::keys::Keys;
use super::pools::{Scaler, Scope, Want};
use super::query::{Query, Sight};
use super::registry::role_prefix;
use super::series::Series;

/// Thresholds of the analyzer (`saturation-scaling-config`).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Thresholds {
    kv: f64,
    queue: f64,
    kv_spare: f64,
    queue_spare: f64,
}

/// The analyzer of one pool with its HPA.
pub(crate) struct Wva {
    inner: Autoscaler,
    group: usize,
    thresholds: Thresholds,
    interval: Span,
    next_analysis: Time,
    /// `wva_desired_replicas`; `None` before the first analysis.
    desired: Option<u32>,
}

/// One analyzer and one HPA per pool.
pub(crate) fn read(
    keys: &mut Keys<'_>,
    common: &Common,
) -> Result<Vec<Box<dyn Scaler>>, SpecError> {
    let mut scalers: Vec<Box<dyn Scaler>> = Vec::new();
    for (index, group) in common.groups.iter().enumerate() {
        keys.set_role(role_prefix(group.role));
        let thresholds = Thresholds {
            kv: keys.number("kv_threshold", 0.80, 0.0..=1.0)?,
            queue: keys.number("queue_threshold", 5.0, 0.0..=1e6)?,
            kv_spare: keys.number("kv_spare", 0.1, 0.0..=1.0)?,
            queue_spare: keys.number("queue_spare", 3.0, 0.0..=1e6)?,
        };
        let interval = keys.span("interval", Span::from_secs(60))?;
        if interval == Span::ZERO {
            return Err(keys.error("interval=0s", "WVA optimises each 60s"));
        }
        let rules = Rules {
            window: Span::from_secs(120),
            policies: vec![Rate { amount: Amount::Percent(100), period: Span::from_secs(15) }],
            select: Select::Max,
        };
        let metric = MetricTarget {
            query: Query::Number(f64::NAN),
            target: 1.0,
            kind: TargetKind::AverageValue,
            activation: 0.0,
            empty_is_zero: false,
        };
        let behavior = Behavior { up: rules.clone(), down: rules };
        let settings = Settings::with_metrics(keys, vec![metric], &behavior)?;
        scalers.push(Box::new(Wva {
            inner: Autoscaler::new(index, settings, None),
            group: index,
            thresholds,
            interval,
            next_analysis: Time::ZERO,
            desired: None,
        }));
    }
    keys.set_role(None);
    Ok(scalers)
}

impl Wva {
    /// One more if the replicas that are not saturated have too little to spare on average, one
    /// less if they would still have enough with one of them gone. `None` without metrics or
    /// while replicas start: the last answer stands.
    fn analyse(&self, now: Time, scope: &Scope<'_>) -> Option<u32> {
        let group = &scope.groups[self.group];
        let sight = Sight { view: scope.view, group, now };
        let pods = group.replicas(scope.view);
        if pods.starting + pods.unschedulable > 0 {
            return None;
        }
        let kv = sight.per_pod(Series::Kv, None);
        let queue = sight.per_pod(Series::Waiting, None);
        let load: Vec<(f64, f64)> =
            kv.iter().zip(&queue).map(|((_, kv), (_, queue))| (*kv, *queue)).collect();
        (!load.is_empty()).then(|| self.thresholds.step(pods.current, &load))
    }
}

impl Thresholds {
    /// The analyzer on (KV usage, queue) per replica: `current`, one more or one less.
    fn step(&self, current: u32, load: &[(f64, f64)]) -> u32 {
        let free = load.iter().filter(|(kv, queue)| *kv < self.kv && *queue < self.queue);
        let count = free.clone().count() as f64;
        if count < 1.0 {
            return current + 1;
        }
        let (kv, queue) =
            free.fold((0.0, 0.0), |(kv, queue), (k, q)| (kv + k / count, queue + q / count));
        let spare = |kv: f64, queue: f64| {
            self.kv - kv >= self.kv_spare && self.queue - queue >= self.queue_spare
        };
        if !spare(kv, queue) {
            return current + 1;
        }
        let more = count / (count - 1.0);
        if count >= 2.0 && spare(kv * more, queue * more) { current - 1 } else { current }
    }
}

impl Scaler for Wva {
    fn step(&mut self, now: Time, scope: &Scope<'_>, wants: &mut Vec<Want>) {
        if self.next_analysis <= now {
            self.next_analysis = now + self.interval;
            let current = scope.groups[self.group].replicas(scope.view).current;
            // The safety net: the last answer, or what there is.
            self.desired = self.analyse(now, scope).or(self.desired).or(Some(current));
        }
        if self.inner.next_deadline().is_some_and(|due| due <= now) {
            self.inner.feed(self.desired.map_or(f64::NAN, f64::from));
            let before = wants.len();
            self.inner.step(now, scope, wants);
            for want in &mut wants[before..] {
                want.reason = format!("wva_desired_replicas {}", self.desired.unwrap_or_default());
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline().map(|due| due.min(self.next_analysis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: Thresholds = Thresholds { kv: 0.8, queue: 5.0, kv_spare: 0.1, queue_spare: 3.0 };

    #[test]
    fn steps_of_one_by_spare_capacity() {
        // Mean KV 0.75: spare 0.05 < 0.1: up.
        assert_eq!(V1.step(2, &[(0.75, 0.0), (0.75, 0.0)]), 3);
        // Queue 2.5: spare 2.5 < 3: up.
        assert_eq!(V1.step(2, &[(0.1, 2.5), (0.1, 2.5)]), 3);
        // 0.5 on 2: 1.0 on the one left: no. 0.35: 0.7, spare 0.1: just safe.
        assert_eq!(V1.step(2, &[(0.5, 0.0), (0.5, 0.0)]), 2);
        assert_eq!(V1.step(2, &[(0.34, 0.0), (0.34, 0.0)]), 1);
        // Never from one.
        assert_eq!(V1.step(1, &[(0.0, 0.0)]), 1);
        // All saturated: up, by one, however deep the queues are.
        assert_eq!(V1.step(2, &[(0.9, 500.0), (0.95, 700.0)]), 3);
    }

    #[test]
    fn a_saturated_replica_does_not_count() {
        // Nine of ten drown; the tenth has room: the pool stays as it is.
        let mut load = vec![(0.99, 50.0); 9];
        load.push((0.2, 0.0));
        assert_eq!(V1.step(10, &load), 10);
    }
}
