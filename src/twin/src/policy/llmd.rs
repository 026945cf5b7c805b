//! llm-d's recommended scalers, all of them KEDA on the router's metrics
//! (llm-d `guides/workload-autoscaling`: `keda-epp`, `keda-epp-token-aware`, `slo-aware`).

use std::collections::VecDeque;

use forebay_core::engine::profile::EngineProfile;
use forebay_core::engine::work::step_seconds;
use forebay_core::fleet::{Role, Slo, World};
use forebay_core::observe::Histogram;
use forebay_core::time::{Span, Time};

use super::autoscaler::{Autoscaler, Keda};
use super::common::Common;
use super::error::SpecError;
use super::group::{Group, Replicas};
use super::hpa::arithmetic::TargetKind;
use super::hpa::behavior::{Amount, Behavior, Rate, Rules, Select};
use super::hpa::settings::{MetricTarget, Settings};
use super::keys::Keys;
use super::pools::{Scaler, Scope, Want};
use super::query::{Operator, Query};
use super::registry::{Autoscaled, role_prefix};
use super::series::Series;

/// Queue, saturation and tokens: a ScaledObject per pool that polls each 15 s.
pub(crate) fn read_autoscalers(
    keys: &mut Keys<'_>,
    common: &Common,
    world: &World,
) -> Result<Vec<Autoscaled>, SpecError> {
    let mut pools = Vec::new();
    for group in &common.groups {
        keys.set_role(role_prefix(group.role));
        let keda = read_keda(keys)?;
        let settings = match keys.spec().name() {
            "llmd-queue" => queue(keys)?,
            "llmd-saturation" => saturation(keys)?,
            _ => tokens(keys, group, &world.variants[group.first().index()].profile)?,
        };
        pools.push((group.clone(), settings, Some(keda)));
    }
    keys.set_role(None);
    Ok(pools)
}

/// The control law on latency, per pool.
pub(crate) fn read_slo(
    keys: &mut Keys<'_>,
    common: &Common,
    world: &World,
) -> Result<Vec<Box<dyn Scaler>>, SpecError> {
    let mut scalers: Vec<Box<dyn Scaler>> = Vec::new();
    for (index, group) in common.groups.iter().enumerate() {
        keys.set_role(role_prefix(group.role));
        let keda = read_keda(keys)?;
        scalers.push(Box::new(SloScaler::read(keys, index, group, world, keda)?));
    }
    keys.set_role(None);
    Ok(scalers)
}

fn read_keda(keys: &mut Keys<'_>) -> Result<Keda, SpecError> {
    let polling = keys.span("polling", Span::from_secs(15))?;
    if polling == Span::ZERO {
        return Err(keys.error("polling=0s", "KEDA needs an interval, for instance 15s"));
    }
    Ok(Keda { polling, cooldown: keys.span("cooldown", Span::from_secs(300))?, min: None })
}

fn trigger(query: Query, target: f64) -> MetricTarget {
    let kind = TargetKind::AverageValue;
    MetricTarget { query, target, kind, activation: 0.0, empty_is_zero: true }
}

fn rules(window_s: u64, amounts: &[Amount], period_s: u64) -> Rules {
    let period = Span::from_secs(period_s);
    let policies = amounts.iter().map(|amount| Rate { amount: *amount, period }).collect();
    Rules { window: Span::from_secs(window_s), policies, select: Select::Max }
}

/// Both windows 300 s, 100 % per 15 s: the stabilization windows absorb the overshoot.
fn windows() -> Behavior {
    let rules = rules(300, &[Amount::Percent(100)], 15);
    Behavior { up: rules.clone(), down: rules }
}

/// `keda-epp` queue: the sum of the flow-control queue at 1 per replica, and of running requests
/// at 16; the larger wins. With `guard=true` one formula instead: the demand less the replicas
/// that are not ready yet, never below the replicas there are; then up without a window.
fn queue(keys: &mut Keys<'_>) -> Result<Settings, SpecError> {
    let queue_target = keys.number("queue_target", 1.0, 0.01..=1e6)?;
    let running_target = keys.number("running_target", 16.0, 0.01..=1e6)?;
    let queue = Query::gauge(Series::Queue);
    let running = Query::gauge(Series::RouterRunning);
    if !keys.flag("guard", false)? {
        let triggers = vec![trigger(queue, queue_target), trigger(running, running_target)];
        return Settings::with_metrics(keys, triggers, &windows());
    }
    let implied = |query: Query, target: f64| {
        Query::combine(Operator::Divide, Query::OrZero(Box::new(query)), Query::Number(target))
    };
    let demand = Query::combine(
        Operator::Max,
        implied(queue, queue_target),
        implied(running, running_target),
    );
    // demand <= replicas ? demand : max(demand - pending, replicas), which is the smaller of the
    // demand and of that maximum.
    let pending = Query::gauge(Series::ReplicasUnavailable);
    let discounted = Query::combine(Operator::Subtract, demand.clone(), pending);
    let floored = Query::combine(Operator::Max, discounted, Query::gauge(Series::Replicas));
    let guarded = Query::combine(Operator::Min, demand, floored);
    let mut behavior = windows();
    behavior.up.window = Span::ZERO;
    Settings::with_metrics(keys, vec![trigger(guarded, 1.0)], &behavior)
}

/// `keda-epp` saturation: the pool's saturation at 0.7, and running requests at 16 per replica.
fn saturation(keys: &mut Keys<'_>) -> Result<Settings, SpecError> {
    let saturation_target = keys.number("saturation_target", 0.7, 0.01..=10.0)?;
    let running_target = keys.number("running_target", 16.0, 0.01..=1e6)?;
    let triggers = vec![
        trigger(Query::gauge(Series::Saturation), saturation_target),
        trigger(Query::gauge(Series::RouterRunning), running_target),
    ];
    Settings::with_metrics(keys, triggers, &windows())
}

/// `keda-epp-token-aware`: seconds of prefill backlog at 1.5 per replica (tokens in flight over
/// the calibrated peak prefill rate), full KV caches at 0.8; both where a replica does both.
fn tokens(
    keys: &mut Keys<'_>,
    group: &Group,
    profile: &EngineProfile,
) -> Result<Settings, SpecError> {
    let scale = keys.number("target_scale", 1.0, 0.01..=100.0)?;
    let mut triggers = Vec::new();
    if group.role != Role::Decode {
        let peak = keys.number("peak_prefill", peak_prefill_rate(profile).round(), 1.0..=1e9)?;
        let backlog = keys.number("backlog_target", 1.5, 0.01..=1e3)?;
        let inflight = Query::gauge(Series::InflightTokens);
        let seconds = Query::combine(Operator::Divide, inflight, Query::Number(peak));
        triggers.push(trigger(Query::OrZero(Box::new(seconds)), backlog * scale));
    }
    if group.role != Role::Prefill {
        let kv = keys.number("kv_target", 0.8, 0.01..=10.0)?;
        let used = Query::OrZero(Box::new(Query::gauge(Series::Kv)));
        triggers.push(trigger(used, kv * scale));
    }
    let behavior = Behavior {
        up: rules(0, &[Amount::Pods(1)], 180),
        down: rules(300, &[Amount::Pods(1)], 300),
    };
    Settings::with_metrics(keys, triggers, &behavior)
}

/// What `calibrate.sh` measures on an idle stack: a prompt of one full chunk over its TTFT.
pub(crate) fn peak_prefill_rate(profile: &EngineProfile) -> f64 {
    let chunk = f64::from(profile.limits.max_num_batched_tokens);
    let step = &profile.step_time;
    let attention_s = step.calibration * step.attention_ms_per_mpair * 1e-9 * chunk * chunk / 2.0;
    let ttft_s = step_seconds(step, chunk) + attention_s + profile.request_overhead_ms * 1e-3;
    chunk / ttft_s
}

/// Recorded samples kept: the longest smoothing window at the shortest interval.
const SAMPLES_MAX: usize = 240;

/// `slo-aware`: a control law on P90 latency over its SLO.
pub(crate) struct SloScaler {
    inner: Autoscaler,
    law: SloLaw,
    samples: VecDeque<(Time, f64)>,
    next_sample: Time,
}

#[derive(Clone, Debug, PartialEq)]
struct SloLaw {
    group: usize,
    /// By tier: TTFT and TPOT that the rule divides by, s; `None` where it promises neither.
    slos: Vec<Option<(f64, f64)>>,
    role: Role,
    quantile: f64,
    clamp: f64,
    rate_window: Span,
    smoothing: Span,
    record: Span,
    up: f64,
    down: f64,
}

impl SloScaler {
    /// The guide's rule covers one SLO pair; with several tiers its users write one rule per
    /// priority, of which the worst counts. With separate roles TTFT drives prefill and TPOT
    /// drives decode, as the guide proposes.
    fn read(
        keys: &mut Keys<'_>,
        index: usize,
        group: &Group,
        world: &World,
        keda: Keda,
    ) -> Result<Self, SpecError> {
        let up = keys.number("theta_up", 0.55, 0.01..=2.0)?;
        let down = keys.number("theta_down", up * 0.40 / 0.55, 0.0..=2.0)?;
        let clamp = keys.number("clamp", 2.0, 0.1..=100.0)?;
        if down > up || clamp <= up {
            let hint = "the guide has theta_down 0.40 < theta_up 0.55 < clamp 2";
            return Err(keys.error("theta_down, theta_up and clamp must rise in this order", hint));
        }
        let slos = world.fleets[group.fleet.index()].slos.iter().map(|slo| match slo {
            Some(Slo::Latency { ttft, tpot, .. }) => Some((ttft.as_seconds(), tpot.as_seconds())),
            _ => None,
        });
        let law = SloLaw {
            group: index,
            slos: slos.collect(),
            role: group.role,
            quantile: keys.number("quantile", 0.9, 0.01..=0.999)?,
            clamp,
            rate_window: keys.span("rate_window", Span::from_secs(60))?,
            smoothing: keys.span("smoothing", Span::from_secs(45))?,
            record: keys.span("record", Span::from_secs(15))?,
            up,
            down,
        };
        if law.record == Span::ZERO {
            return Err(keys.error("record=0s", "recording rules need an interval, such as 15s"));
        }
        let behavior = Behavior {
            up: rules(30, &[Amount::Percent(100), Amount::Pods(4)], 60),
            down: rules(180, &[Amount::Pods(1)], 120),
        };
        let settings =
            Settings::with_metrics(keys, vec![trigger(Query::Number(0.0), 1.0)], &behavior)?;
        let inner = Autoscaler::new(index, settings, Some(keda));
        Ok(Self { inner, law, samples: VecDeque::new(), next_sample: Time::ZERO })
    }

    fn smoothed(&self, now: Time) -> f64 {
        let inside = self.samples.iter().filter(|(at, _)| now.since(*at) < self.law.smoothing);
        let (sum, count) =
            inside.fold((0.0, 0.0), |(sum, count), (_, value)| (sum + value, count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }
}

impl SloLaw {
    /// P90 over SLO, worst of TTFT and TPOT and of the tiers, clamped; 0 without traffic.
    fn saturation(&self, now: Time, scope: &Scope<'_>) -> f64 {
        let fleet = scope.groups[self.group].fleet;
        let ends = scope.view.metrics.router_window(fleet, now, self.rate_window);
        let Some((first, last)) = ends else {
            return 0.0;
        };
        let tiers = first.value.tiers.iter().zip(&last.value.tiers).zip(&self.slos);
        let over = |then: &Histogram, now: &Histogram, slo: f64| {
            now.since(then).quantile(self.quantile).map_or(0.0, |latency| latency / slo)
        };
        let worst = tiers.filter_map(|((then, now), slo)| {
            let (ttft, tpot) = (*slo)?;
            let ttft = over(&then.ttft, &now.ttft, ttft);
            let tpot = over(&then.tpot, &now.tpot, tpot);
            Some(match self.role {
                Role::Both => ttft.max(tpot),
                Role::Prefill => ttft,
                Role::Decode => tpot,
            })
        });
        worst.fold(0.0, f64::max).min(self.clamp)
    }

    /// The formula of the ScaledObject: `n` replicas, `r` of them ready.
    fn desired(&self, saturation: f64, pods: Replicas) -> f64 {
        let (n, r) = (f64::from(pods.current), f64::from(pods.ready));
        if saturation > self.up {
            let credit = if r > 0.0 && r < n { r / n } else { 1.0 };
            n + (n * (saturation * credit / self.up - 1.0)).ceil()
        } else if saturation < self.down {
            n - (n * (1.0 - saturation / self.down)).floor()
        } else {
            n
        }
    }
}

impl Scaler for SloScaler {
    fn step(&mut self, now: Time, scope: &Scope<'_>, wants: &mut Vec<Want>) {
        if self.next_sample <= now {
            self.next_sample = now + self.law.record;
            if self.samples.len() == SAMPLES_MAX {
                self.samples.pop_front();
            }
            self.samples.push_back((now, self.law.saturation(now, scope)));
        }
        if self.inner.next_deadline().is_some_and(|due| due <= now) {
            let pods = scope.groups[self.law.group].replicas(scope.view);
            let saturation = self.smoothed(now);
            self.inner.feed(self.law.desired(saturation, pods));
            let before = wants.len();
            self.inner.step(now, scope, wants);
            for want in &mut wants[before..] {
                want.reason = format!("P90 over SLO {saturation:.3}: {} asked for", want.replicas);
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline().map(|due| due.min(self.next_sample))
    }
}
