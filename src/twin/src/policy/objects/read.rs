//! Scaling objects from a file.

use std::collections::BTreeMap;

use forebay_core::time::Span;
use serde::Deserialize;
use serde_json::Value;

use super::super::autoscaler::Keda;
use super::super::hpa::arithmetic::{TargetKind, Tolerance};
use super::super::hpa::behavior::{Amount, Behavior, Rate, Rules, Select};
use super::super::hpa::settings::{MetricTarget, Settings};
use super::super::metric;
use super::super::query::Query;
use super::super::series::Series;
use super::{QUERY_PREFIX, VARIANT, promql};

/// One scaling object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// Kind and name, for messages.
    pub(crate) name: String,
    /// `scaleTargetRef.name`.
    pub(crate) target: String,
    /// The variant named by annotation.
    pub(crate) variant: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) keda: Option<Keda>,
}

/// Window of the rate behind an adapter's `..._per_second` metric, whose query is not in the HPA.
const RATE_WINDOW: Span = Span::from_secs(60);

/// Reads every scaling object of a file of one or several YAML documents; other kinds are passed
/// over.
pub(crate) fn read_file(path: &str, keda: bool) -> Result<Vec<Object>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| format!("{path}: {error}"))?;
    let wanted = if keda { "ScaledObject" } else { "HorizontalPodAutoscaler" };
    let mut objects = Vec::new();
    for document in documents.into_iter().filter(|document| document["kind"] == wanted) {
        let object: Manifest = serde_json::from_value(document)
            .map_err(|error| format!("{path}: {wanted}: {error}"))?;
        let name = format!("{wanted} {}", object.metadata.name);
        let read = if keda { object.scaled_object() } else { object.autoscaler() };
        objects.push(read.map_err(|what| format!("{path}: {name}: {what}"))?);
    }
    if objects.is_empty() {
        return Err(format!("{path}: no object of kind {wanted}"));
    }
    Ok(objects)
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "apiVersion")]
    api_version: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The fields of both kinds; each reads its own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    scale_target_ref: TargetRef,
    min_replicas: Option<u32>,
    max_replicas: Option<u32>,
    #[serde(default)]
    metrics: Vec<Metric>,
    behavior: Option<BehaviorSpec>,
    polling_interval: Option<u64>,
    cooldown_period: Option<u64>,
    min_replica_count: Option<u32>,
    max_replica_count: Option<u32>,
    #[serde(default)]
    triggers: Vec<Trigger>,
    #[serde(default)]
    advanced: Advanced,
}

#[derive(Deserialize)]
struct TargetRef {
    name: String,
}

#[derive(Deserialize)]
struct Metric {
    #[serde(rename = "type")]
    kind: String,
    external: Option<Source>,
    pods: Option<Source>,
    object: Option<Source>,
}

#[derive(Deserialize)]
struct Source {
    metric: MetricName,
    target: Target,
}

#[derive(Deserialize)]
struct MetricName {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    average_value: Option<Value>,
    value: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BehaviorSpec {
    scale_up: Option<RulesSpec>,
    scale_down: Option<RulesSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RulesSpec {
    stabilization_window_seconds: Option<u64>,
    select_policy: Option<String>,
    #[serde(default)]
    policies: Vec<RateSpec>,
    tolerance: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RateSpec {
    #[serde(rename = "type")]
    kind: String,
    value: u32,
    period_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trigger {
    #[serde(rename = "type")]
    kind: String,
    metric_type: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Advanced {
    horizontal_pod_autoscaler_config: Option<HpaConfig>,
    scaling_modifiers: Option<Value>,
}

#[derive(Deserialize)]
struct HpaConfig {
    behavior: Option<BehaviorSpec>,
}

impl Manifest {
    fn object(self, settings: Settings, keda: Option<Keda>) -> Object {
        Object {
            name: self.metadata.name,
            target: self.spec.scale_target_ref.name,
            variant: self.metadata.annotations.get(VARIANT).cloned(),
            settings,
            keda,
        }
    }

    fn autoscaler(self) -> Result<Object, String> {
        if self.api_version != "autoscaling/v2" {
            return Err(format!("apiVersion {}; expected autoscaling/v2", self.api_version));
        }
        let annotations = &self.metadata.annotations;
        let metrics: Result<Vec<_>, String> =
            self.spec.metrics.iter().map(|metric| metric.target(annotations)).collect();
        let metrics = metrics?;
        if metrics.is_empty() {
            return Err("no metrics; the default, CPU, says nothing about an engine".to_owned());
        }
        let max = self.spec.max_replicas.ok_or("spec.maxReplicas is missing")?;
        let min = self.spec.min_replicas.unwrap_or(1);
        let settings = settings(metrics, self.spec.behavior.as_ref(), (min, max))?;
        Ok(self.object(settings, None))
    }

    fn scaled_object(self) -> Result<Object, String> {
        if self.spec.advanced.scaling_modifiers.is_some() {
            return Err("advanced.scalingModifiers is not supported; for llm-d's formulas use \
                 the policies llmd-queue:guard=true or llmd-slo"
                .to_owned());
        }
        let metrics: Result<Vec<_>, String> =
            self.spec.triggers.iter().map(Trigger::target).collect();
        let metrics = metrics?;
        if metrics.is_empty() {
            return Err("no triggers".to_owned());
        }
        let behavior = self.spec.advanced.horizontal_pod_autoscaler_config.as_ref();
        let behavior = behavior.and_then(|config| config.behavior.as_ref());
        let min = self.spec.min_replica_count.unwrap_or(0);
        let max = self.spec.max_replica_count.unwrap_or(100);
        let settings = settings(metrics, behavior, (min, max))?;
        let keda = Keda {
            polling: Span::from_secs(self.spec.polling_interval.unwrap_or(30).max(1)),
            cooldown: Span::from_secs(self.spec.cooldown_period.unwrap_or(300)),
            min: Some(min),
        };
        Ok(self.object(settings, Some(keda)))
    }
}

impl Metric {
    fn target(&self, annotations: &BTreeMap<String, String>) -> Result<MetricTarget, String> {
        let (source, pods) = match (&self.external, &self.object, &self.pods) {
            (Some(source), ..) | (_, Some(source), _) => (source, false),
            (.., Some(source)) => (source, true),
            _ => {
                let kind = &self.kind;
                return Err(format!("metric of type {kind}; known are External, Object and Pods"));
            }
        };
        let name = &source.metric.name;
        let query = match annotations.get(&format!("{QUERY_PREFIX}{name}")) {
            Some(text) => map(text)?,
            None => adapted(name)?,
        };
        let (value, kind) = match (&source.target.average_value, &source.target.value, pods) {
            (Some(value), _, true) => (value, TargetKind::Pods),
            (Some(value), _, false) => (value, TargetKind::AverageValue),
            (None, Some(value), false) => (value, TargetKind::Value),
            _ => return Err(format!("metric {name} has no averageValue or value")),
        };
        let target = positive(value, name)?;
        Ok(MetricTarget { query, target, kind, activation: 0.0, empty_is_zero: false })
    }
}

impl Trigger {
    fn target(&self) -> Result<MetricTarget, String> {
        if self.kind != "prometheus" {
            return Err(format!("trigger of type {}; only prometheus is known", self.kind));
        }
        let text = |key: &str| self.metadata.get(key).map(plain);
        let query = map(&text("query").ok_or("a prometheus trigger has no query")?)?;
        let threshold = self.metadata.get("threshold").ok_or("a trigger has no threshold")?;
        let activation = match self.metadata.get("activationThreshold") {
            Some(value) => quantity(value).ok_or("activationThreshold is not a number")?,
            None => 0.0,
        };
        let kind = match self.metric_type.as_deref() {
            None | Some("AverageValue") => TargetKind::AverageValue,
            Some("Value") => TargetKind::Value,
            Some(other) => {
                return Err(format!("metricType {other}; expected AverageValue or Value"));
            }
        };
        Ok(MetricTarget {
            query,
            target: positive(threshold, "a trigger")?,
            kind,
            activation,
            empty_is_zero: text("ignoreNullValues").is_none_or(|value| value == "true"),
        })
    }
}

fn map(text: &str) -> Result<Query, String> {
    promql::parse(text).map_err(|what| {
        format!(
            "query `{}` cannot be mapped: {what}; known are {}",
            text.trim(),
            promql::mappable()
        )
    })
}

/// A metric as adapters name it: the series itself, or a rate (`..._per_second`, `..._rate`).
fn adapted(name: &str) -> Result<Query, String> {
    if let Some(series) = Series::find(name).filter(|series| !series.is_counter()) {
        return Ok(Query::gauge(series));
    }
    let bare =
        ["_per_second", "_rate", "_per_sec"].iter().find_map(|suffix| name.strip_suffix(suffix));
    let counter =
        bare.and_then(|bare| Series::find(bare).or_else(|| Series::find(&format!("{bare}_total"))));
    if let Some(series) = counter.filter(|series| series.is_counter()) {
        return Ok(Query::rate(series, RATE_WINDOW));
    }
    metric::find(name, RATE_WINDOW).map_err(|_| {
        format!(
            "metric {name} cannot be mapped; name a known series (with _per_second for a rate), or \
             give its query in annotation {QUERY_PREFIX}{name}; known are {}",
            promql::mappable()
        )
    })
}

fn settings(
    metrics: Vec<MetricTarget>,
    behavior: Option<&BehaviorSpec>,
    (min, max): (u32, u32),
) -> Result<Settings, String> {
    if min > max {
        return Err(format!("the minimum of {min} exceeds the maximum of {max}"));
    }
    let defaults = Behavior::default();
    let up = behavior.and_then(|behavior| behavior.scale_up.as_ref());
    let down = behavior.and_then(|behavior| behavior.scale_down.as_ref());
    let tolerance =
        |rules: Option<&RulesSpec>| match rules.and_then(|rules| rules.tolerance.as_ref()) {
            None => Ok(0.1),
            Some(value) => quantity(value).ok_or_else(|| format!("tolerance {}", plain(value))),
        };
    Ok(Settings {
        metrics,
        sync: Span::from_secs(15),
        tolerance: Tolerance { up: tolerance(up)?, down: tolerance(down)? },
        behavior: Behavior { up: rules(up, defaults.up)?, down: rules(down, defaults.down)? },
        min: Some(min),
        max: Some(max),
    })
}

fn rules(spec: Option<&RulesSpec>, default: Rules) -> Result<Rules, String> {
    let Some(spec) = spec else {
        return Ok(default);
    };
    let policies: Result<Vec<Rate>, String> = spec
        .policies
        .iter()
        .map(|policy| {
            let amount = match policy.kind.as_str() {
                "Pods" => Amount::Pods(policy.value),
                "Percent" => Amount::Percent(policy.value),
                other => return Err(format!("policy type {other}; expected Pods or Percent")),
            };
            Ok(Rate { amount, period: Span::from_secs(policy.period_seconds) })
        })
        .collect();
    let policies = policies?;
    let select = match spec.select_policy.as_deref() {
        None | Some("Max") => Select::Max,
        Some("Min") => Select::Min,
        Some("Disabled") => Select::Disabled,
        Some(other) => return Err(format!("selectPolicy {other}; expected Max, Min or Disabled")),
    };
    Ok(Rules {
        window: spec.stabilization_window_seconds.map_or(default.window, Span::from_secs),
        policies: if policies.is_empty() { default.policies } else { policies },
        select,
    })
}

fn positive(value: &Value, of: &str) -> Result<f64, String> {
    quantity(value)
        .filter(|number| *number > 0.0)
        .ok_or_else(|| format!("target {} of {of}; expected a quantity above 0", plain(value)))
}

/// A scalar as it was written.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A Kubernetes quantity: `16`, `500m`, `2k`, `1.5`, `4Ki`.
fn quantity(value: &Value) -> Option<f64> {
    let text = plain(value);
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    // As fractions, so that 700m is 0.7 to the last bit.
    let (times, over) = match &text[digits.len()..] {
        "" => (1.0, 1.0),
        "m" => (1.0, 1e3),
        "k" => (1e3, 1.0),
        "M" => (1e6, 1.0),
        "Ki" => (1_024.0, 1.0),
        "Mi" => (1_048_576.0, 1.0),
        _ => return None,
    };
    digits
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .map(|number| number * times / over)
}
