//! The twin against measured serving: how far simulated TTFT and TPOT are from what was measured.
//!
//! Calibration happens when profiles are generated, on one half of the sweeps ([`fit`]); nothing
//! is fitted here. A run whose sweep took part in the calibration is reported apart.

mod calibration;
mod errors;
pub mod fit;
mod load;
mod measured;
mod noise;
mod render;

use std::collections::BTreeSet;

use forebay_core::engine::profile::EngineProfile;
use serde::{Deserialize, Serialize};

use crate::table::TableError;
pub use calibration::Calibration;
pub use errors::{Compared, Errors, Group, LOW_CONCURRENCY_MAX};
pub use load::ASSUMPTIONS;
pub use measured::{MeasuredRun, sweep_hash};
pub use noise::{NoiseFloor, Spread};
pub use render::render;

/// Version of the JSON.
pub const SCHEMA: &str = "forebay.fidelity/v1";

/// The twin beside measured runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FidelityReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Rows of the table.
    pub rows: u64,
    /// Rows that were simulated.
    pub scored: u64,
    /// What the headline figures are over.
    pub scope: Scope,
    /// Median of |simulated / measured - 1| of TPOT over `scope`; absent without runs.
    pub tpot_median_abs_error: Option<f64>,
    /// The same of TTFT.
    pub ttft_median_abs_error: Option<f64>,
    /// The headline figures with their 90th percentiles.
    pub errors: Errors,
    /// Over the runs of `scope` at concurrency 8 and below.
    pub low_concurrency: Errors,
    /// Over the runs that the profiles were calibrated on, if there are any in the table.
    pub trained: Errors,
    /// Over `scope`, by model and accelerator, then by concurrency.
    pub groups: Vec<Group>,
    /// Rows that were not simulated, by reason.
    pub not_scored: Vec<NotScored>,
    /// How far apart repeated measurements are in this table.
    pub noise_floor: NoiseFloor,
    /// What was assumed about how the runs were measured.
    pub assumptions: Vec<String>,
    /// Every run beside its simulation, in the order of the table.
    pub runs: Vec<Compared>,
}

/// What the headline figures of a report are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Sweeps that took no part in the calibration; the table also has some that did.
    HeldOut,
    /// All runs: none of them took part in the calibration.
    All,
}

/// Rows left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotScored {
    /// Why.
    pub reason: String,
    /// How many.
    pub rows: u64,
}

/// Compares the twin with a table of measured runs; `trained` are the [`sweep_hash`]es of the sweeps
/// that `profiles` were calibrated on ([`crate::profiles::trained_sweeps`]).
///
/// # Errors
/// [`TableError`]: a column is missing, or a figure is not a number.
pub fn run(
    measured_csv: &str,
    profiles: &[EngineProfile],
    trained: &BTreeSet<u64>,
) -> Result<FidelityReport, TableError> {
    let sorted = measured::sort(measured_csv, profiles)?;
    let outcomes = load::simulate_all(&sorted.runs, profiles);
    let mut not_scored = sorted.not_scored;
    let mut runs = Vec::new();
    for (run, outcome) in sorted.runs.iter().zip(outcomes) {
        match outcome {
            Ok(outcome) => runs.push(compare(run, outcome, &profiles[run.profile], trained)),
            Err(reason) => *not_scored.entry(reason.to_owned()).or_default() += 1,
        }
    }
    let any_trained = runs.iter().any(|run| run.trained);
    let scored: Vec<&Compared> = runs.iter().filter(|run| !run.trained).collect();
    let low = scored.iter().copied().filter(|run| run.concurrency <= LOW_CONCURRENCY_MAX);
    let errors = Errors::of(scored.iter().copied());
    Ok(FidelityReport {
        schema: SCHEMA.to_owned(),
        rows: sorted.rows,
        scored: runs.len() as u64,
        scope: if any_trained { Scope::HeldOut } else { Scope::All },
        tpot_median_abs_error: errors.tpot_median_abs_error,
        ttft_median_abs_error: errors.ttft_median_abs_error,
        low_concurrency: Errors::of(low),
        trained: Errors::of(runs.iter().filter(|run| run.trained)),
        groups: errors::groups(&scored),
        errors,
        not_scored: not_scored
            .into_iter()
            .map(|(reason, rows)| NotScored { reason, rows })
            .collect(),
        noise_floor: noise::noise_floor(&sorted.repeats),
        assumptions: ASSUMPTIONS.iter().map(|assumption| (*assumption).to_owned()).collect(),
        runs,
    })
}

fn compare(
    run: &MeasuredRun,
    outcome: load::Outcome,
    profile: &EngineProfile,
    trained: &BTreeSet<u64>,
) -> Compared {
    Compared {
        id: run.id.clone(),
        profile: profile.name.clone(),
        model: profile.model.clone(),
        accelerator: profile.accelerator.clone(),
        engine_version: run.version.clone(),
        prompt_tokens: run.prompt_tokens,
        output_tokens: run.output_tokens,
        concurrency: run.concurrency,
        trained: trained.contains(&sweep_hash(&run.sweep)),
        measured_ttft_ms: run.ttft_ms,
        simulated_ttft_ms: outcome.ttft_ms,
        measured_tpot_ms: run.tpot_ms,
        simulated_tpot_ms: outcome.tpot_ms,
    }
}

#[cfg(test)]
mod tests;
