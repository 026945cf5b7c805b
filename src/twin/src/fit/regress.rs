//! The regressions themselves, by linfa's least squares.

use forebay_core::engine::profile::{EngineProfile, StepTime};
use forebay_core::learn::physics::{PARAMETER_MAX, PRIOR_DEVIATION};
use forebay_core::learn::predict::PARAMETERS;
use linfa::Dataset;
use linfa::traits::Fit;
use linfa_linear::LinearRegression;
use ndarray::{Array1, Array2};

use super::FitError;
use super::samples::Sample;

/// Rounds of linearising; four are enough for a tenth of a per mille.
const ROUNDS: usize = 20;
/// A move of every logarithm below this ends the rounds.
const CONVERGED: f64 = 1e-7;
/// Noise of a window however many observations it has; as online, neighbours being alike.
const NOISE: f64 = 0.05;
/// Windows beyond this many robust standard deviations of the rest are left out...
const OUTLIER_DEVIATIONS: f64 = 5.0;
/// ... unless they are off by less than this.
const OUTLIER_MIN: f64 = 0.1;
/// Normal standard deviation over median absolute deviation.
const DEVIATION_OF_MEDIAN: f64 = 1.4826;

/// Logarithms of the three multipliers on a profile, fitted to windows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Multipliers {
    pub(super) parameters: [f64; PARAMETERS],
    pub(super) deviations: [f64; PARAMETERS],
    /// Windows that nothing explains, left out: indices into the samples.
    pub(super) outliers: Vec<usize>,
}

/// Fits the multipliers of a profile; the profile is a weak prior, so that what the windows do not
/// excite stays as it is.
pub(super) fn multipliers(
    samples: &[Sample],
    profile: &EngineProfile,
) -> Result<Multipliers, FitError> {
    let all: Vec<usize> = (0..samples.len()).collect();
    let first = gauss_newton(samples, &all, profile)?;
    let (kept, outliers) = part_outliers(samples, profile, &first.0);
    let (parameters, deviations) = gauss_newton(samples, &kept, profile)?;
    Ok(Multipliers { parameters, deviations, outliers })
}

type Fitted = ([f64; PARAMETERS], [f64; PARAMETERS]);

fn gauss_newton(
    samples: &[Sample],
    kept: &[usize],
    profile: &EngineProfile,
) -> Result<Fitted, FitError> {
    let mut parameters = [0.0; PARAMETERS];
    let rows = kept.len() + PARAMETERS;
    let mut inputs = Array2::zeros((rows, PARAMETERS));
    let mut targets = Array1::zeros(rows);
    for _ in 0..ROUNDS {
        for (row, &index) in kept.iter().enumerate() {
            let window = &samples[index].window;
            let mix = window.mix(&profile.limits);
            let (seconds, slopes) = mix.sensitivities(&profile.step_time, &parameters);
            let weight = 1.0 / (NOISE * NOISE + 1.0 / window.observations).sqrt();
            for (column, slope) in slopes.iter().enumerate() {
                inputs[[row, column]] = weight * slope;
            }
            targets[row] = weight * (window.seconds / seconds).ln();
        }
        for (index, deviation) in PRIOR_DEVIATION.iter().enumerate() {
            inputs[[kept.len() + index, index]] = 1.0 / deviation;
            targets[kept.len() + index] = -parameters[index] / deviation;
        }
        let step = least_squares(inputs.clone(), targets.clone())?;
        let mut moved = 0.0_f64;
        for (parameter, step) in parameters.iter_mut().zip(step) {
            moved = moved.max(step.abs());
            *parameter = (*parameter + step).clamp(-PARAMETER_MAX, PARAMETER_MAX);
        }
        if moved < CONVERGED {
            break;
        }
    }
    Ok((parameters, deviations(&inputs)?))
}

/// Standard deviations of the parameters: the diagonal of the inverse of `X'X`, column by column.
fn deviations(inputs: &Array2<f64>) -> Result<[f64; PARAMETERS], FitError> {
    let normal = inputs.t().dot(inputs);
    let mut deviations = [0.0; PARAMETERS];
    for (index, deviation) in deviations.iter_mut().enumerate() {
        let mut unit = Array1::zeros(PARAMETERS);
        unit[index] = 1.0;
        let column = least_squares(normal.clone(), unit)?;
        *deviation = column[index].max(0.0).sqrt();
    }
    Ok(deviations)
}

fn part_outliers(
    samples: &[Sample],
    profile: &EngineProfile,
    parameters: &[f64; PARAMETERS],
) -> (Vec<usize>, Vec<usize>) {
    let errors: Vec<f64> = samples
        .iter()
        .map(|sample| {
            let mix = sample.window.mix(&profile.limits);
            (sample.window.seconds / mix.sensitivities(&profile.step_time, parameters).0).ln()
        })
        .collect();
    let middle = median(errors.iter().copied());
    let spread = DEVIATION_OF_MEDIAN * median(errors.iter().map(|error| (error - middle).abs()));
    let most = (OUTLIER_DEVIATIONS * spread).max(OUTLIER_MIN);
    (0..samples.len()).partition(|&index| (errors[index] - middle).abs() <= most)
}

/// Coefficients of a step without any profile: time is a sum of a fixed part, tokens, KV tokens
/// and pairs, none of them negative.
pub(super) fn coefficients(
    samples: &[Sample],
    limits: &super::Limits,
) -> Result<StepTime, FitError> {
    /// To milliseconds per step, per thousand tokens, per thousand KV tokens, per million pairs.
    const UNITS: [f64; 4] = [1e3, 1e6, 1e6, 1e9];
    let totals: Vec<[f64; 4]> = samples
        .iter()
        .map(|sample| sample.window.mix(limits).totals(sample.window.seconds))
        .collect();
    let mut columns: Vec<usize> =
        (0..4).filter(|&column| totals.iter().any(|total| total[column] > 0.0)).collect();
    loop {
        let mut inputs = Array2::zeros((samples.len(), columns.len()));
        let mut targets = Array1::zeros(samples.len());
        for (row, (sample, total)) in samples.iter().zip(&totals).enumerate() {
            // Relative errors count, not seconds.
            let weight = 1.0 / sample.window.seconds;
            for (place, &column) in columns.iter().enumerate() {
                inputs[[row, place]] = weight * total[column] / scale(&totals, column);
            }
            targets[row] = 1.0;
        }
        let found = least_squares(inputs, targets)?;
        let worst = (0..columns.len()).min_by(|left, right| found[*left].total_cmp(&found[*right]));
        match worst {
            Some(place) if found[place] < 0.0 => {
                columns.remove(place);
            }
            _ => {
                let mut values = [0.0; 4];
                for (place, &column) in columns.iter().enumerate() {
                    values[column] = found[place] / scale(&totals, column) * UNITS[column];
                }
                let [fixed_ms, compute, kv, attention] = values;
                return Ok(StepTime {
                    fixed_ms,
                    weights_ms: 0.0,
                    experts_ms: 0.0,
                    expert_share_per_token: 0.0,
                    compute_ms_per_ktoken: compute,
                    overlap_exponent: 1.0,
                    kv_read_ms_per_ktoken: kv,
                    attention_ms_per_mpair: attention,
                    calibration: 1.0,
                });
            }
        }
    }
}

/// The largest of a column, so that columns are alike in size.
fn scale(totals: &[[f64; 4]], column: usize) -> f64 {
    totals.iter().fold(f64::MIN_POSITIVE, |most, total| most.max(total[column]))
}

fn least_squares(inputs: Array2<f64>, targets: Array1<f64>) -> Result<Vec<f64>, FitError> {
    let fit = LinearRegression::new()
        .with_intercept(false)
        .fit(&Dataset::new(inputs, targets))
        .map_err(|error| FitError::Singular { reason: error.to_string() })?;
    let parameters = fit.params().to_vec();
    if parameters.iter().all(|parameter| parameter.is_finite()) {
        Ok(parameters)
    } else {
        Err(FitError::Singular { reason: "the windows are all alike".into() })
    }
}

/// The middle one; 0 of none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
