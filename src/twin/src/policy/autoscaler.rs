//! HPA and KEDA as scalers of one group: an HPA alone, or KEDA with the HPA that it drives.

use forebay_core::time::{Span, Time};

use super::group::Group;
use super::hpa::controller::Controller;
use super::hpa::settings::Settings;
use super::pools::{Scaler, Scope, Want};
use super::query::{Query, Sight};

/// What KEDA adds to an HPA: waking from zero and going to sleep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Keda {
    /// `pollingInterval`.
    pub(crate) polling: Span,
    /// `cooldownPeriod`: time after the last activity before zero.
    pub(crate) cooldown: Span,
    /// `minReplicaCount`; `None` = the group's own.
    pub(crate) min: Option<u32>,
}

/// The autoscaler of one group.
pub(crate) struct Autoscaler {
    group: usize,
    controller: Controller,
    keda: Option<KedaState>,
    next_sync: Time,
}

struct KedaState {
    keda: Keda,
    next_poll: Time,
    last_active: Option<Time>,
}

impl Autoscaler {
    pub(crate) fn new(group: usize, settings: Settings, keda: Option<Keda>) -> Self {
        let keda = keda.map(|keda| KedaState { keda, next_poll: Time::ZERO, last_active: None });
        Self { group, controller: Controller::new(settings), keda, next_sync: Time::ZERO }
    }

    /// Sets the value of an autoscaler whose single metric is computed by its owner.
    pub(crate) fn feed(&mut self, value: f64) {
        if let Some(metric) = self.controller.settings.metrics.first_mut() {
            metric.query = Query::Number(value);
        }
    }

    /// Lowest the HPA may go: with KEDA never below 1, zero is KEDA's own business.
    fn bounds(&self, group: &Group) -> (u32, u32) {
        let settings = &self.controller.settings;
        let max = settings.max.unwrap_or(group.max);
        let min = match &self.keda {
            Some(state) => state.keda.min.unwrap_or(group.min).max(1),
            // HPAScaleToZero is off by default: minReplicas is at least 1.
            None => settings.min.unwrap_or(group.min).max(1),
        };
        (min, max.max(min))
    }

    fn sync(&mut self, now: Time, scope: &Scope<'_>) -> Option<Want> {
        let group = &scope.groups[self.group];
        let pods = group.replicas(scope.view);
        let sight = Sight { view: scope.view, group, now };
        let proposals = self.controller.propose(&sight, pods);
        let bounds = self.bounds(group);
        let replicas = self.controller.decide(now, pods, &proposals, bounds)?;
        let reason = self.controller.explain(&proposals);
        Some(Want { group: self.group, replicas, reason })
    }

    /// KEDA's scale executor: it only ever moves between zero and the minimum.
    fn poll(&mut self, now: Time, scope: &Scope<'_>) -> Option<Want> {
        let group = &scope.groups[self.group];
        let pods = group.replicas(scope.view);
        let sight = Sight { view: scope.view, group, now };
        let state = self.keda.as_mut()?;
        let metrics = &self.controller.settings.metrics;
        let answers: Vec<Option<f64>> =
            metrics.iter().map(|metric| metric.answer(&sight)).collect();
        let active = metrics
            .iter()
            .zip(&answers)
            .any(|(metric, answer)| answer.is_some_and(|value| value > metric.activation));
        let min = state.keda.min.unwrap_or(group.min);
        let want = |replicas: u32, reason: String| Want { group: self.group, replicas, reason };
        if active {
            let wakes = pods.desired == 0;
            // While a trigger fails, KEDA notes the failure instead of the activity.
            if wakes || answers.iter().all(Option::is_some) {
                state.last_active = Some(now);
            }
            return wakes
                .then(|| want(min.max(1), "a trigger is active: wake from zero".to_owned()));
        }
        if answers.iter().any(Option::is_none) {
            return None;
        }
        if pods.desired > 0 && min == 0 {
            let cool = state.last_active.is_none_or(|last| now.since(last) > state.keda.cooldown);
            return cool.then(|| {
                let cooldown = state.keda.cooldown;
                want(0, format!("no trigger active for {cooldown}: to zero"))
            });
        }
        (pods.desired < min).then(|| want(min, "below minReplicaCount".to_owned()))
    }
}

impl Scaler for Autoscaler {
    fn step(&mut self, now: Time, scope: &Scope<'_>, wants: &mut Vec<Want>) {
        let mut polled = None;
        if self.keda.as_ref().is_some_and(|state| state.next_poll <= now) {
            polled = self.poll(now, scope);
            if let Some(state) = &mut self.keda {
                state.next_poll = now + state.keda.polling;
            }
        }
        if self.next_sync <= now {
            self.next_sync = now + self.controller.settings.sync;
            // Both write the same scale; KEDA's write came first, the HPA then reads it.
            if polled.is_none() {
                wants.extend(self.sync(now, scope));
            }
        }
        wants.extend(polled);
    }

    fn next_deadline(&self) -> Option<Time> {
        let poll = self.keda.as_ref().map(|state| state.next_poll);
        Some(poll.map_or(self.next_sync, |poll| poll.min(self.next_sync)))
    }
}
