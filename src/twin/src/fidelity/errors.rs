//! Errors of simulated against measured runs, as medians of absolute relative errors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Concurrency up to which TTFT is also reported apart: prompts hardly wait for each other, so it
/// shows the prefill and the fixed overheads alone.
pub const LOW_CONCURRENCY_MAX: u32 = 8;

/// One measured run beside its simulation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Run, as its table calls it.
    pub id: String,
    /// Profile that was simulated.
    pub profile: String,
    /// Model of the profile.
    pub model: String,
    /// Accelerator of the profile.
    pub accelerator: String,
    /// Engine version that was measured; empty when not stated.
    pub engine_version: String,
    /// Most prompt tokens of a request.
    pub prompt_tokens: u32,
    /// Most output tokens of a request.
    pub output_tokens: u32,
    /// Requests at once.
    pub concurrency: u32,
    /// Whether the profile was calibrated on other runs of the same sweep, or on this one.
    pub trained: bool,
    /// Measured mean TTFT, ms.
    pub measured_ttft_ms: f64,
    /// Simulated mean TTFT, ms.
    pub simulated_ttft_ms: f64,
    /// Measured mean TPOT, ms.
    pub measured_tpot_ms: f64,
    /// Simulated mean TPOT, ms.
    pub simulated_tpot_ms: f64,
}

impl Compared {
    /// Simulated over measured TTFT, less 1.
    #[must_use]
    pub fn ttft_error(&self) -> f64 {
        self.simulated_ttft_ms / self.measured_ttft_ms - 1.0
    }

    /// Simulated over measured TPOT, less 1.
    #[must_use]
    pub fn tpot_error(&self) -> f64 {
        self.simulated_tpot_ms / self.measured_tpot_ms - 1.0
    }
}

/// Errors over a set of runs; shares, absent without runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// Runs compared.
    pub rows: u64,
    /// Median of |simulated / measured - 1| of TPOT.
    pub tpot_median_abs_error: Option<f64>,
    /// 90th percentile of the same.
    pub tpot_p90_abs_error: Option<f64>,
    /// Median of |simulated / measured - 1| of TTFT.
    pub ttft_median_abs_error: Option<f64>,
    /// 90th percentile of the same.
    pub ttft_p90_abs_error: Option<f64>,
}

/// Errors of one model on one accelerator at one concurrency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Model.
    pub model: String,
    /// Accelerator.
    pub accelerator: String,
    /// Requests at once; absent for all of them together.
    pub concurrency: Option<u32>,
    /// Its errors.
    #[serde(flatten)]
    pub errors: Errors,
}

impl Errors {
    /// Errors over some runs.
    #[must_use]
    pub fn of<'a>(runs: impl Iterator<Item = &'a Compared> + Clone) -> Self {
        let tpot: Vec<f64> = runs.clone().map(|run| run.tpot_error().abs()).collect();
        let ttft: Vec<f64> = runs.map(|run| run.ttft_error().abs()).collect();
        Self {
            rows: tpot.len() as u64,
            tpot_median_abs_error: quantile(&tpot, 0.5),
            tpot_p90_abs_error: quantile(&tpot, 0.9),
            ttft_median_abs_error: quantile(&ttft, 0.5),
            ttft_p90_abs_error: quantile(&ttft, 0.9),
        }
    }
}

/// Errors by model and accelerator, first over all concurrencies, then by each.
#[must_use]
pub(super) fn groups(runs: &[&Compared]) -> Vec<Group> {
    let mut groups: BTreeMap<(&str, &str, Option<u32>), Vec<&Compared>> = BTreeMap::new();
    for run in runs {
        for concurrency in [None, Some(run.concurrency)] {
            groups.entry((&run.model, &run.accelerator, concurrency)).or_default().push(run);
        }
    }
    groups
        .into_iter()
        .map(|((model, accelerator, concurrency), runs)| Group {
            model: model.to_owned(),
            accelerator: accelerator.to_owned(),
            concurrency,
            errors: Errors::of(runs.iter().copied()),
        })
        .collect()
}

/// The quantile of some figures, interpolated between neighbours; `None` without figures.
#[must_use]
pub(super) fn quantile(figures: &[f64], share: f64) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[3.0], 0.9), Some(3.0));
        assert_eq!(quantile(&[4.0, 1.0], 0.5), Some(2.5));
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.9), Some(4.6));
    }

    #[test]
    fn groups_hold_all_concurrencies_and_each() {
        let run = |concurrency, simulated_tpot_ms| Compared {
            id: String::new(),
            profile: "m-bf16-a-tp1".to_owned(),
            model: "m".to_owned(),
            accelerator: "a".to_owned(),
            engine_version: String::new(),
            prompt_tokens: 1,
            output_tokens: 2,
            concurrency,
            trained: false,
            measured_ttft_ms: 100.0,
            simulated_ttft_ms: 80.0,
            measured_tpot_ms: 10.0,
            simulated_tpot_ms,
        };
        let runs = [run(4, 11.0), run(8, 10.0), run(8, 8.0)];
        let groups = groups(&runs.iter().collect::<Vec<_>>());
        let figures: Vec<_> = groups
            .iter()
            .map(|group| {
                (group.concurrency, group.errors.rows, group.errors.tpot_median_abs_error.unwrap())
            })
            .map(|(concurrency, rows, error)| (concurrency, rows, (error * 1e6).round() as u64))
            .collect();
        assert_eq!(figures, [(None, 3, 100_000), (Some(4), 1, 100_000), (Some(8), 2, 100_000)]);
        assert!((groups[0].errors.ttft_median_abs_error.unwrap() - 0.2).abs() < 1e-12);
    }
}
