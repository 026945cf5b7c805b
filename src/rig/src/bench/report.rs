//! What pickers cost, medians over runs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::process::Spent;
use super::{Picker, Scenario};
use crate::load::Report as Load;

/// One measurement.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// Requests answered.
    pub answered: u64,
    /// Requests that were not, by status and reason.
    pub others: BTreeMap<String, u64>,
    /// Beyond the engine's time of service, ms; absent when idle.
    pub excess_p50_ms: Option<f64>,
    /// The same.
    pub excess_p95_ms: Option<f64>,
    /// The same.
    pub excess_p99_ms: Option<f64>,
    /// How late the generator was, P99, ms.
    pub lateness_p99_ms: Option<f64>,
    /// CPU of the picker by request, ms; absent when idle.
    pub picker_cpu_ms: Option<f64>,
    /// CPU of Envoy by request, ms; absent when idle.
    pub envoy_cpu_ms: Option<f64>,
    /// CPU of the picker, cores.
    pub picker_cores: f64,
    /// Resident memory of the picker at the end, MiB.
    pub picker_rss_mib: f64,
}

impl Measured {
    pub(super) fn loaded(load: Load, picker: Spent, envoy: Spent) -> Self {
        let Some(stream) = load.streams.first() else { return Self::default() };
        let each = |cpu_s: f64| Some(cpu_s * 1e3 / stream.offered.max(1) as f64);
        Self {
            answered: stream.answered,
            others: stream.others.clone(),
            excess_p50_ms: stream.beyond_service_ms.p50,
            excess_p95_ms: stream.beyond_service_ms.p95,
            excess_p99_ms: stream.beyond_service_ms.p99,
            lateness_p99_ms: stream.lateness_ms.p99,
            picker_cpu_ms: each(picker.cpu_s),
            envoy_cpu_ms: each(envoy.cpu_s),
            picker_cores: picker.cpu_s / load.took_s,
            picker_rss_mib: picker.rss_mib,
        }
    }

    pub(super) fn idle(picker: Spent, span: Duration) -> Self {
        Self {
            picker_cores: picker.cpu_s / span.as_secs_f64(),
            picker_rss_mib: picker.rss_mib,
            ..Self::default()
        }
    }

    pub(super) fn line(&self, picker: Picker) -> String {
        format!(
            "{:<13} excess P50 {} P95 {} P99 {} ms, CPU {} ms/request ({:.3} cores), Envoy {} ms, \
             RSS {:.0} MiB, {} answered, not: {:?}",
            picker.name(),
            number(self.excess_p50_ms),
            number(self.excess_p95_ms),
            number(self.excess_p99_ms),
            number(self.picker_cpu_ms),
            self.picker_cores,
            number(self.envoy_cpu_ms),
            self.picker_rss_mib,
            self.answered,
            self.others,
        )
    }
}

/// All measurements, in the order in which they were made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// By scenario and picker.
    pub rows: Vec<Row>,
}

/// One scenario with one picker.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the picker.
    pub picker: String,
    /// Each run.
    pub runs: Vec<Measured>,
    /// Medians over the runs, each quantity by itself; `others` are those of the last run.
    pub median: Measured,
}

impl Report {
    pub(super) fn add(&mut self, scenario: &Scenario, picker: Picker, measured: Measured) {
        let same = |row: &Row| row.scenario == scenario.name && row.picker == picker.name();
        let index = self.rows.iter().position(same).unwrap_or_else(|| {
            self.rows.push(Row {
                scenario: scenario.name.into(),
                picker: picker.name().into(),
                runs: Vec::new(),
                median: Measured::default(),
            });
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        row.runs.push(measured);
        row.median = medians(&row.runs);
    }

    /// Medians, one line for each scenario and picker.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<14}{:<14}{:>5}  {:>8}{:>8}{:>8}  {:>12}{:>12}{:>8}{:>9}\n",
            "",
            "medians",
            "runs",
            "P50 ms",
            "P95 ms",
            "P99 ms",
            "CPU ms/req",
            "Envoy ms",
            "cores",
            "RSS MiB"
        );
        for Row { scenario, picker, runs, median } in &self.rows {
            // Writing to a String cannot fail.
            let _infallible = writeln!(
                text,
                "{scenario:<14}{picker:<14}{:>5}  {:>8}{:>8}{:>8}  {:>12}{:>12}{:>8.3}{:>9.1}",
                runs.len(),
                number(median.excess_p50_ms),
                number(median.excess_p95_ms),
                number(median.excess_p99_ms),
                number(median.picker_cpu_ms),
                number(median.envoy_cpu_ms),
                median.picker_cores,
                median.picker_rss_mib,
            );
        }
        text
    }
}

fn medians(runs: &[Measured]) -> Measured {
    let of = |value: fn(&Measured) -> Option<f64>| median(runs.iter().filter_map(value).collect());
    Measured {
        answered: of(|run| Some(run.answered as f64)).unwrap_or(0.0) as u64,
        others: runs.last().map(|run| run.others.clone()).unwrap_or_default(),
        excess_p50_ms: of(|run| run.excess_p50_ms),
        excess_p95_ms: of(|run| run.excess_p95_ms),
        excess_p99_ms: of(|run| run.excess_p99_ms),
        lateness_p99_ms: of(|run| run.lateness_p99_ms),
        picker_cpu_ms: of(|run| run.picker_cpu_ms),
        envoy_cpu_ms: of(|run| run.envoy_cpu_ms),
        picker_cores: of(|run| Some(run.picker_cores)).unwrap_or(0.0),
        picker_rss_mib: of(|run| Some(run.picker_rss_mib)).unwrap_or(0.0),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}
