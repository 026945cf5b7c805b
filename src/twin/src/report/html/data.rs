//! What the script needs to read values out: the timelines and distributions, rounded.

use serde::Serialize;

use super::charts::latency::charts;
use super::view::View;

#[derive(Serialize)]
struct Data {
    start_s: f64,
    duration_s: f64,
    days: bool,
    runs: Vec<RunData>,
    charts: Vec<ChartData>,
}

#[derive(Serialize)]
struct RunData {
    label: String,
    step_s: f64,
    series: Vec<(String, Vec<f64>)>,
}

#[derive(Serialize)]
struct ChartData {
    low: f64,
    high: f64,
    ms: bool,
    runs: Vec<Vec<(f64, f64)>>,
}

/// JSON that may stand inside a script element: it holds no `<`.
pub(super) fn json(view: &View<'_>) -> String {
    let runs = view.policies.iter().map(|policy| RunData {
        label: policy.label.clone(),
        step_s: policy.timeline.step_s,
        series: series(view, &policy.timeline),
    });
    let curves = charts(view).into_iter().map(|chart| ChartData {
        low: rounded(chart.axis.low),
        high: rounded(chart.axis.high),
        ms: chart.measure.milliseconds,
        runs: view
            .policies
            .iter()
            .map(|policy| {
                let outcome = policy.run.tiers.get(&chart.tier.name);
                let cdf = outcome.map(|outcome| (chart.measure.of)(outcome).cdf.as_slice());
                let points = cdf.unwrap_or_default().iter();
                points.map(|(value, share)| (rounded(*value), fifth_decimal(*share))).collect()
            })
            .collect(),
    });
    let data = Data {
        start_s: view.clock.start_s,
        duration_s: view.clock.duration_s,
        days: view.clock.days(),
        runs: runs.collect(),
        charts: curves.collect(),
    };
    // Strings and finite numbers always serialise; a page without read-outs is still a page.
    serde_json::to_string(&data).unwrap_or_else(|_| "null".to_owned()).replace('<', "\\u003c")
}

fn series(view: &View<'_>, timeline: &super::super::Timeline) -> Vec<(String, Vec<f64>)> {
    let levels = |column: &[f64]| column.iter().map(|value| rounded(*value)).collect();
    let counts = |column: &[u64]| column.iter().map(|value| *value as f64).collect::<Vec<f64>>();
    let one_fleet = view.report.fleets.len() <= 1;
    let name = |key: &str| {
        let short = key.rsplit_once('/').map_or(key, |(_, name)| name);
        if one_fleet { short.to_owned() } else { key.to_owned() }
    };
    let mut series = Vec::new();
    for role in view.roles() {
        let Some(column) = timeline.demand.get(&role) else { continue };
        series.push((format!("{} demand", name(&role)), levels(column)));
        if let Some(column) = timeline.capacity.get(&role) {
            series.push((format!("{} capacity", name(&role)), levels(column)));
        }
    }
    for (class, column) in &timeline.accelerators {
        series.push((class.clone(), levels(column)));
    }
    for tier in &view.tiers {
        if let Some(column) = timeline.missed.get(&tier.name) {
            series.push((format!("{} missed", tier.name), counts(column)));
        }
        if let Some(column) = timeline.arrivals.get(&tier.name) {
            series.push((format!("{} arrived", tier.name), counts(column)));
        }
    }
    series.push(("waiting".to_owned(), counts(&timeline.queued)));
    series
}

/// Three significant digits; not finite is 0.
fn rounded(value: f64) -> f64 {
    if !value.is_finite() || value == 0.0 {
        return 0.0;
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    // Through text: the shortest decimal, not 0.30000000000000004.
    format!("{value:.*}", digits.clamp(0, 12) as usize).parse().unwrap_or(0.0)
}

fn fifth_decimal(share: f64) -> f64 {
    format!("{share:.5}").parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_three_digits() {
        for (value, kept) in [(0.123_456, 0.123), (12.345, 12.3), (123_456.0, 123_456.0)] {
            assert!((rounded(value) - kept).abs() < 1e-12, "{value}");
        }
        assert!(rounded(f64::NAN).abs() < 1e-12);
    }
}
