//! The keys of `hpa` and `keda`, and what a scaling object says, in one form.

use forebay_core::time::Span;

use super::arithmetic::{TargetKind, Tolerance};
use super::behavior::{Amount, Behavior, Rate, Rules, Select};
use crate::policy::error::SpecError;
use crate::policy::keys::{Keys, parse_span, print_span};
use crate::policy::metric;
use crate::policy::query::Query;

/// One HPA, however it was written down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) metrics: Vec<MetricTarget>,
    /// How often the controller looks (`--horizontal-pod-autoscaler-sync-period`).
    pub(crate) sync: Span,
    pub(crate) tolerance: Tolerance,
    pub(crate) behavior: Behavior,
    /// `minReplicas`; `None` = the pool's own.
    pub(crate) min: Option<u32>,
    /// `maxReplicas`; `None` = the pool's own.
    pub(crate) max: Option<u32>,
}

/// One metric with its target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricTarget {
    pub(crate) query: Query,
    pub(crate) target: f64,
    pub(crate) kind: TargetKind,
    /// KEDA: the trigger is active above this value.
    pub(crate) activation: f64,
    /// KEDA: an empty answer counts as 0 instead of as an error.
    pub(crate) empty_is_zero: bool,
}

impl Settings {
    /// Reads `metric`, `target`, `type`, `window`, `target_scale`, `sync`, `tolerance`, `up.*`
    /// and `down.*`. For KEDA also `activation` and `ignore_null`.
    pub(crate) fn read(
        keys: &mut Keys<'_>,
        default_metric: &str,
        default_target: &str,
        keda: bool,
    ) -> Result<Self, SpecError> {
        let window = keys.span("window", Span::from_secs(60))?;
        let queries = keys.list("metric", default_metric, |name| metric::find(name, window))?;
        let number = |text: &str| match text.parse::<f64>() {
            Ok(target) if target > 0.0 && target.is_finite() => Ok(target),
            _ => Err("expected a number above 0 for each metric, separated by `|`".to_owned()),
        };
        let targets = keys.list("target", default_target, number)?;
        let kinds = keys.list("type", "AverageValue", parse_kind)?;
        let activations = if keda {
            keys.list("activation", "0", |text| {
                text.parse::<f64>().map_err(|_| "expected a number".to_owned())
            })?
        } else {
            Vec::new()
        };
        let empty_is_zero = keda && keys.flag("ignore_null", true)?;
        let scale = keys.number("target_scale", 1.0, 0.01..=100.0)?;
        if targets.len() != queries.len() {
            return Err(keys.error(
                format!("{} metrics but {} targets", queries.len(), targets.len()),
                "give one target per metric, separated by `|`",
            ));
        }
        let each = |list: &[f64], index: usize| {
            list.get(index).or(list.last()).copied().unwrap_or_default()
        };
        let metrics = queries.into_iter().enumerate().map(|(index, query)| MetricTarget {
            query,
            target: each(&targets, index) * scale,
            kind: kinds.get(index).or(kinds.last()).copied().unwrap_or(TargetKind::AverageValue),
            activation: each(&activations, index),
            empty_is_zero,
        });
        let metrics = metrics.collect();
        Self::with_metrics(keys, metrics, &Behavior::default())
    }

    /// The controller's own keys around metrics that were found elsewhere.
    pub(crate) fn with_metrics(
        keys: &mut Keys<'_>,
        metrics: Vec<MetricTarget>,
        defaults: &Behavior,
    ) -> Result<Self, SpecError> {
        let sync = keys.span("sync", Span::from_secs(15))?;
        if sync == Span::ZERO {
            return Err(keys.error("sync=0s", "the controller needs a period, for instance 15s"));
        }
        let tolerance = keys.number("tolerance", 0.1, 0.0..=1.0)?;
        Ok(Self {
            metrics,
            sync,
            tolerance: Tolerance { up: tolerance, down: tolerance },
            behavior: Behavior {
                up: read_rules(keys, "up", &defaults.up)?,
                down: read_rules(keys, "down", &defaults.down)?,
            },
            min: None,
            max: None,
        })
    }
}

fn read_rules(keys: &mut Keys<'_>, direction: &str, default: &Rules) -> Result<Rules, SpecError> {
    let window = keys.span(&format!("{direction}.window"), default.window)?;
    let rates = default.policies.iter().map(print_rate).collect::<Vec<_>>().join("|");
    let policies = keys.list(&format!("{direction}.policies"), &rates, parse_rate)?;
    let words: &[&str] = &["max", "min", "disabled"];
    let select =
        match keys.choice(&format!("{direction}.select"), select_word(default.select), words)? {
            "min" => Select::Min,
            "disabled" => Select::Disabled,
            _ => Select::Max,
        };
    Ok(Rules { window, policies, select })
}

const fn select_word(select: Select) -> &'static str {
    match select {
        Select::Max => "max",
        Select::Min => "min",
        Select::Disabled => "disabled",
    }
}

/// `4/15s` (pods) or `100%/15s`.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    let expected =
        || "expected pods/span or percent/span, for instance 4/15s or 100%/15s".to_owned();
    let (amount, period) = text.split_once('/').ok_or_else(expected)?;
    let amount = match amount.trim().strip_suffix('%') {
        Some(percent) => Amount::Percent(percent.parse().map_err(|_| expected())?),
        None => Amount::Pods(amount.trim().parse().map_err(|_| expected())?),
    };
    let period = parse_span(period.trim()).filter(|period| *period > Span::ZERO);
    Ok(Rate { amount, period: period.ok_or_else(expected)? })
}

pub(crate) fn print_rate(rate: &Rate) -> String {
    let period = print_span(rate.period);
    match rate.amount {
        Amount::Pods(pods) => format!("{pods}/{period}"),
        Amount::Percent(percent) => format!("{percent}%/{period}"),
    }
}

fn parse_kind(text: &str) -> Result<TargetKind, String> {
    match text {
        "AverageValue" => Ok(TargetKind::AverageValue),
        "Value" => Ok(TargetKind::Value),
        "Pods" => Ok(TargetKind::Pods),
        _ => Err("expected AverageValue, Value or Pods".to_owned()),
    }
}
