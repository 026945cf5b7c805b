//! History into a profile: step-time physics fitted in one batch to windows of scrapes, judged on
//! later windows that the fit has not seen.

mod regress;
mod render;
pub mod samples;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use forebay_core::engine::profile::{EngineProfile, Evidence, EvidenceLevel, KvCache, Limits};
use forebay_core::learn::predict::{PARAMETER_NAMES, PARAMETERS, scaled};
use serde::Serialize;

pub use render::render;
use samples::Sample;

/// Share of the windows, the earliest, that a fit is made on; the rest judge it.
const TRAINING_SHARE: f64 = 0.75;
/// Fewest windows that a fit is made on: ten for each parameter.
pub const SAMPLES_MIN: usize = 40;

/// vLLM's defaults on large accelerators, where no profile tells the limits.
pub const LIMITS_DEFAULT: Limits = Limits { max_num_batched_tokens: 8_192, max_num_seqs: 1_024 };

/// Windows left out, by reason.
pub type LeftOutCounts = BTreeMap<String, u64>;

/// Why there is no fit.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Too little was seen.
    #[error(
        "{found} windows can be learned from, at least {SAMPLES_MIN} are needed ({left_out}); give \
         a longer history, or one in which the engines served"
    )]
    TooFew {
        /// Windows that can be.
        found: usize,
        /// What was left out, in words.
        left_out: String,
    },
    /// The windows do not tell the coefficients apart.
    #[error("the least squares have no answer: {reason}; give windows at different loads")]
    Singular {
        /// What linfa says.
        reason: String,
    },
}

/// A fitted profile and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FitReport {
    /// Name of the profile that the fit began with; absent when it began with none.
    pub prior: Option<String>,
    /// The profile: coefficients of the earliest three quarters of the windows.
    #[serde(skip)]
    pub profile: EngineProfile,
    /// Multipliers on the prior; empty without one.
    pub multipliers: Vec<MultiplierFit>,
    /// Windows that were fitted.
    pub fitted: usize,
    /// Later windows that judged it.
    pub held_out: usize,
    /// Errors of the fit on the windows that it was made on.
    pub error_in_sample: FitErrors,
    /// Errors of the fit on later windows.
    pub error_out_of_sample: FitErrors,
    /// Errors of the prior on the same later windows.
    pub error_prior_out_of_sample: Option<FitErrors>,
    /// Windows left out, by reason.
    pub left_out: LeftOutCounts,
}

/// One multiplier of a fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MultiplierFit {
    /// What it multiplies.
    pub name: &'static str,
    /// By how much.
    pub value: f64,
    /// Standard deviation of it.
    pub deviation: f64,
}

/// Relative errors of predicted times over windows, percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FitErrors {
    /// Mean of the absolute errors.
    pub mean_percent: f64,
    /// Half of the windows have a smaller absolute error.
    pub median_percent: f64,
    /// Nine in ten have a smaller one.
    pub p90_percent: f64,
    /// Mean error with its sign: above 0, the profile says too long.
    pub bias_percent: f64,
}

/// Fits a profile to windows. With a prior its multipliers are fitted and everything else is kept;
/// without one, the coefficients of a linear step, and what windows cannot tell (model, KV
/// capacity) is to be filled in by hand.
///
/// # Errors
/// [`FitError`]: too few windows, or windows all alike.
pub fn fit(
    mut samples: Vec<Sample>,
    mut left_out: LeftOutCounts,
    prior: Option<&EngineProfile>,
) -> Result<FitReport, FitError> {
    samples.sort_by(|left, right| {
        left.at_s.total_cmp(&right.at_s).then_with(|| left.endpoint.cmp(&right.endpoint))
    });
    if samples.len() < SAMPLES_MIN {
        let words: Vec<String> =
            left_out.iter().map(|(reason, count)| format!("{count}: {reason}")).collect();
        let left_out = if words.is_empty() { "none left out".into() } else { words.join("; ") };
        return Err(FitError::TooFew { found: samples.len(), left_out });
    }
    let training = (samples.len() as f64 * TRAINING_SHARE) as usize;
    let (train, test) = samples.split_at(training);
    let (base, found) = match prior {
        Some(prior) => (prior.clone(), regress::multipliers(train, prior)?),
        None => {
            let base = without_prior(train)?;
            let found = regress::multipliers(train, &base)?;
            (base, found)
        }
    };
    let mut profile = base.clone();
    profile.step_time = scaled(&base.step_time, &found.parameters);
    if !found.outliers.is_empty() {
        left_out.insert("far from all others".into(), found.outliers.len() as u64);
    }
    let kept: Vec<&Sample> = train
        .iter()
        .enumerate()
        .filter(|(index, _)| found.outliers.binary_search(index).is_err())
        .map(|(_, sample)| sample)
        .collect();
    let later: Vec<&Sample> = test.iter().collect();
    let error_out_of_sample = errors(&later, &profile);
    profile.evidence = evidence(prior, kept.len(), later.len(), &error_out_of_sample);
    Ok(FitReport {
        prior: prior.map(|prior| prior.name.clone()),
        multipliers: multipliers(prior, &found),
        fitted: kept.len(),
        held_out: later.len(),
        error_in_sample: errors(&kept, &profile),
        error_out_of_sample,
        error_prior_out_of_sample: prior.map(|prior| errors(&later, prior)),
        left_out,
        profile,
    })
}

fn multipliers(prior: Option<&EngineProfile>, found: &regress::Multipliers) -> Vec<MultiplierFit> {
    let names = PARAMETER_NAMES.iter().take(if prior.is_some() { PARAMETERS } else { 0 });
    names
        .zip(found.parameters.iter().zip(found.deviations))
        .map(|(name, (parameter, deviation))| {
            let value = parameter.exp();
            MultiplierFit { name, value, deviation: value * deviation }
        })
        .collect()
}

/// vLLM's defaults where windows cannot tell; a linear step.
fn without_prior(samples: &[Sample]) -> Result<EngineProfile, FitError> {
    let most = |of: fn(&Sample) -> f64| samples.iter().map(of).fold(1.0, f64::max);
    let capacity = most(|sample| sample.window.kv_tokens);
    Ok(EngineProfile {
        name: "fitted".into(),
        model: "unknown".into(),
        quantization: "unknown".into(),
        accelerator: "unknown".into(),
        tensor_parallel: 1,
        engine: "vllm".into(),
        step_time: regress::coefficients(samples, &LIMITS_DEFAULT)?,
        kv: KvCache {
            capacity_tokens: capacity.ceil() as u64,
            block_tokens: 16,
            bytes_per_token: 1,
        },
        limits: LIMITS_DEFAULT,
        request_overhead_ms: 0.0,
        evidence: Evidence {
            level: EvidenceLevel::Measured,
            source: String::new(),
            step_time_mape_percent: None,
            note: None,
        },
    })
}

fn evidence(
    prior: Option<&EngineProfile>,
    fitted: usize,
    held_out: usize,
    errors: &FitErrors,
) -> Evidence {
    let source = match prior {
        Some(prior) => format!(
            "fitted by `forebay fit` on {fitted} windows of scrapes, from {} ({})",
            prior.name, prior.evidence.source
        ),
        None => format!("fitted by `forebay fit` on {fitted} windows of scrapes, without a prior"),
    };
    let note = prior.is_none().then(|| {
        "Model, quantization, accelerator, parallelism, limits, KV capacity (the most that was \
         held) and KV bytes per token are to be filled in: scrapes do not tell them"
            .to_owned()
    });
    Evidence {
        level: EvidenceLevel::Measured,
        source: format!("{source}; error on {held_out} later windows"),
        step_time_mape_percent: Some((errors.mean_percent * 100.0).round() / 100.0),
        note,
    }
}

fn errors(samples: &[&Sample], profile: &EngineProfile) -> FitErrors {
    let errors: Vec<f64> = samples
        .iter()
        .map(|sample| {
            let predicted = sample.window.mix(&profile.limits).seconds(&profile.step_time);
            predicted / sample.window.seconds - 1.0
        })
        .collect();
    let mut sizes: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let count = sizes.len().max(1) as f64;
    let at = |share: f64| sizes.get((share * sizes.len() as f64) as usize).copied().unwrap_or(0.0);
    FitErrors {
        mean_percent: 100.0 * sizes.iter().sum::<f64>() / count,
        median_percent: 100.0 * regress::median(sizes.iter().copied()),
        p90_percent: 100.0 * at(0.9),
        bias_percent: 100.0 * errors.iter().sum::<f64>() / count,
    }
}
