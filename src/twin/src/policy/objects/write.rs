//! The objects to apply for a policy: what `forebay tune --yaml` prints.

use std::fmt::Write as _;

use forebay_core::fleet::World;

use super::super::autoscaler::Keda;
use super::super::error::SpecError;
use super::super::group::Group;
use super::super::hpa::arithmetic::TargetKind;
use super::super::hpa::behavior::{Amount, Rules, Select};
use super::super::hpa::settings::{MetricTarget, Settings};
use super::super::metric;
use super::super::query::Query;
use super::super::registry;
use super::super::spec::PolicySpec;
use super::{QUERY_PREFIX, VARIANT, promql};

/// The HorizontalPodAutoscalers or ScaledObjects of a policy, one per pool, as YAML documents
/// that `hpa:file=` and `keda:file=` read back as the same policy. The names of Deployments and
/// the address of Prometheus are to be filled in.
///
/// # Errors
/// A policy that is no plain HPA or ScaledObject.
pub fn to_yaml(spec: &PolicySpec, world: &World) -> Result<String, SpecError> {
    let pools = registry::autoscalers_of(spec, world)?;
    let mut text = format!("# {spec}\n");
    for (group, settings, keda) in pools {
        let document = match keda {
            Some(keda) => scaled_object(&group, world, &settings, &keda),
            None => autoscaler(&group, world, &settings),
        };
        let document = document.ok_or_else(|| {
            let hint = "only hpa, keda, llmd-queue (without guard), llmd-saturation and \
                        llmd-tokens are plain scaling objects";
            SpecError::new(spec, "its formula is no single PromQL query", hint)
        })?;
        text.push_str("---\n");
        text.push_str(&document);
    }
    Ok(text)
}

/// Kind, names and target, up to `spec:`.
fn head(group: &Group, world: &World, kind: &str, annotations: &[(String, String)]) -> String {
    let variant = &world.variants[group.first().index()];
    let fleet = &world.fleets[group.fleet.index()].name;
    let api = if kind == "ScaledObject" { "keda.sh/v1alpha1" } else { "autoscaling/v2" };
    let mut text = format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {fleet}-{name}\n  annotations:\n    \
         {VARIANT}: {fleet}/{name}\n",
        name = variant.name
    );
    for (key, value) in annotations {
        let _ = writeln!(text, "    {key}: {}", quoted(value));
    }
    let _ = write!(
        text,
        "spec:\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: Deployment\n    name: {}\n",
        variant.name
    );
    if group.variants.len() > 1 {
        let others = group.variants[1..].iter().map(|id| world.variants[id.index()].name.as_str());
        let others = others.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "    # tuned for one pool that falls back to {others}");
    }
    text
}

fn autoscaler(group: &Group, world: &World, settings: &Settings) -> Option<String> {
    let mut annotations = Vec::new();
    let mut metrics = String::from("  metrics:\n");
    for (index, target) in settings.metrics.iter().enumerate() {
        let name = metric_name(target, index);
        annotations.push((format!("{QUERY_PREFIX}{name}"), promql::print(&target.query)?));
        let (kind, field, key) = match target.kind {
            TargetKind::AverageValue => ("External", "external", "averageValue"),
            TargetKind::Value => ("External", "external", "value"),
            TargetKind::Pods => ("Pods", "pods", "averageValue"),
        };
        let kind_of_target = if key == "value" { "Value" } else { "AverageValue" };
        let _ = write!(
            metrics,
            "    - type: {kind}\n      {field}:\n        metric:\n          name: {name}\n        \
             target:\n          type: {kind_of_target}\n          {key}: {}\n",
            quoted(&quantity(target.target))
        );
    }
    let mut text = head(group, world, "HorizontalPodAutoscaler", &annotations);
    let (min, max) = bounds(group, settings);
    let _ = write!(text, "  minReplicas: {}\n  maxReplicas: {max}\n", min.max(1));
    let _ = writeln!(text, "  # each metric is the query of its annotation, through your adapter");
    text.push_str(&metrics);
    text.push_str("  behavior:\n");
    text.push_str(&behavior(settings, "    "));
    Some(text)
}

fn scaled_object(group: &Group, world: &World, settings: &Settings, keda: &Keda) -> Option<String> {
    let mut text = head(group, world, "ScaledObject", &[]);
    let (min, max) = bounds(group, settings);
    let (polling, cooldown) = (keda.polling.as_seconds(), keda.cooldown.as_seconds());
    let _ = write!(
        text,
        "  pollingInterval: {polling:.0}\n  cooldownPeriod: {cooldown:.0}\n  minReplicaCount: \
         {}\n  maxReplicaCount: {max}\n  advanced:\n    horizontalPodAutoscalerConfig:\n      \
         behavior:\n",
        keda.min.unwrap_or(min)
    );
    text.push_str(&behavior(settings, "        "));
    text.push_str("  triggers:\n");
    for target in &settings.metrics {
        let kind = match target.kind {
            TargetKind::AverageValue => "AverageValue",
            TargetKind::Value => "Value",
            // KEDA has no per-pod metrics.
            TargetKind::Pods => return None,
        };
        let _ = write!(
            text,
            "    - type: prometheus\n      metricType: {kind}\n      metadata:\n        \
             serverAddress: http://prometheus.monitoring:9090\n        query: {}\n        \
             threshold: {}\n        activationThreshold: {}\n",
            quoted(&promql::print(&target.query)?),
            quoted(&target.target.to_string()),
            quoted(&target.activation.to_string())
        );
        if !target.empty_is_zero {
            text.push_str("        ignoreNullValues: \"false\"\n");
        }
    }
    Some(text)
}

fn bounds(group: &Group, settings: &Settings) -> (u32, u32) {
    (settings.min.unwrap_or(group.min), settings.max.unwrap_or(group.max))
}

fn behavior(settings: &Settings, indent: &str) -> String {
    let directions = [
        ("scaleUp", &settings.behavior.up, settings.tolerance.up),
        ("scaleDown", &settings.behavior.down, settings.tolerance.down),
    ];
    directions.map(|(name, rules, tolerance)| direction(name, rules, tolerance, indent)).concat()
}

fn direction(name: &str, rules: &Rules, tolerance: f64, indent: &str) -> String {
    let select = match rules.select {
        Select::Max => "Max",
        Select::Min => "Min",
        Select::Disabled => "Disabled",
    };
    let window = rules.window.as_seconds();
    let mut text = format!(
        "{indent}{name}:\n{indent}  stabilizationWindowSeconds: {window:.0}\n{indent}  \
         selectPolicy: {select}\n"
    );
    // The field is beta since Kubernetes 1.35; without it the cluster's 0.1 holds.
    if (tolerance - 0.1).abs() > f64::EPSILON {
        let _ = writeln!(text, "{indent}  tolerance: {}", quoted(&tolerance.to_string()));
    }
    let _ = writeln!(text, "{indent}  policies:");
    for rate in &rules.policies {
        let (kind, value) = match rate.amount {
            Amount::Pods(pods) => ("Pods", pods),
            Amount::Percent(percent) => ("Percent", percent),
        };
        let period = rate.period.as_seconds();
        let _ = writeln!(
            text,
            "{indent}    - type: {kind}\n{indent}      value: {value}\n{indent}      \
             periodSeconds: {period:.0}"
        );
    }
    text
}

/// A name for the adapter to serve the query under.
fn metric_name(target: &MetricTarget, index: usize) -> String {
    match (metric::name_of(&target.query), &target.query) {
        (_, Query::Read { series, window: None, .. }) => series.name().replace(':', "_"),
        (Some((name, _)), _) => format!("forebay_{name}"),
        _ => format!("forebay_query_{index}"),
    }
}

/// A quantity that the API accepts: whole thousandths at the finest, written in them if need be.
fn quantity(number: f64) -> String {
    if number.fract() == 0.0 { number.to_string() } else { format!("{:.0}m", number * 1e3) }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
