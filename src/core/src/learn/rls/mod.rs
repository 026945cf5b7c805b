//! Recursive least squares with the guards that live data need, on fixed-size arrays.
//!
//! `observation = regressors . parameters + noise`. The covariance is updated in Joseph form, which
//! stays positive semi-definite for any gain, so a gain may be masked. Old data are forgotten along
//! the regressors only (Kulhavy's directional forgetting): what is not excited keeps what was
//! learned of it, and its uncertainty does not grow.

#![expect(clippy::needless_range_loop, reason = "matrices are read by row and column")]

use serde::{Deserialize, Serialize};

/// What an estimator begins with and how far it may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings<const D: usize> {
    /// Parameters believed before any data.
    pub prior: [f64; D],
    /// Standard deviation of that belief, above 0. It is also the cap: no parameter is ever less
    /// certain than at first.
    pub prior_deviation: [f64; D],
    /// Weight of an observation when the next one in the same direction comes: above 0, up to 1
    /// (nothing is forgotten).
    pub forgetting: f64,
    /// Innovations beyond this many predicted standard deviations are cut to it; infinite = never.
    pub innovation_deviations_max: f64,
    /// A parameter is not touched by an observation that would move by less than this many
    /// standard deviations of its noise if the parameter moved by its prior's; 0 = always touched.
    pub excitation_min: f64,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// Parameters moved.
    Applied {
        /// Observation minus prediction over its predicted standard deviation, before clipping.
        innovation_deviations: f64,
        /// Whether it was cut.
        clipped: bool,
    },
    /// No parameter is excited enough, or a value is not finite: nothing moved.
    Refused,
}

/// A recursive least-squares estimator of `D` parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Rls<const D: usize> {
    parameters: [f64; D],
    covariance: [[f64; D]; D],
    samples: u64,
}

impl<const D: usize> Rls<D> {
    /// An estimator that knows the prior only.
    #[must_use]
    pub fn new(settings: &Settings<D>) -> Self {
        let mut covariance = [[0.0; D]; D];
        for (index, row) in covariance.iter_mut().enumerate() {
            row[index] = settings.prior_deviation[index] * settings.prior_deviation[index];
        }
        Self { parameters: settings.prior, covariance, samples: 0 }
    }

    /// The parameters.
    #[must_use]
    pub const fn parameters(&self) -> &[f64; D] {
        &self.parameters
    }

    /// Standard deviation of each parameter.
    #[must_use]
    pub fn deviations(&self) -> [f64; D] {
        std::array::from_fn(|index| self.covariance[index][index].max(0.0).sqrt())
    }

    /// Updates that were applied.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// Standard deviation of `regressors . parameters`: how sure a prediction is, noise apart.
    #[must_use]
    pub fn prediction_deviation(&self, regressors: &[f64; D]) -> f64 {
        dot(regressors, &self.times(regressors)).max(0.0).sqrt()
    }

    /// Learns from an observation whose value minus `regressors . parameters` is `innovation` and
    /// whose noise has a standard deviation of `noise`, above 0. For a nonlinear model pass the
    /// residual and the gradient at the present parameters.
    pub fn update(
        &mut self,
        settings: &Settings<D>,
        regressors: &[f64; D],
        innovation: f64,
        noise: f64,
    ) -> Update {
        let finite = regressors.iter().all(|value| value.is_finite()) && innovation.is_finite();
        let excited: [bool; D] = std::array::from_fn(|index| {
            let moved = regressors[index].abs() * settings.prior_deviation[index];
            moved > 0.0 && moved >= settings.excitation_min * noise
        });
        let sound = finite && noise > 0.0 && noise.is_finite();
        if !(sound && excited.contains(&true)) {
            return Update::Refused;
        }
        let x: [f64; D] = regressors.map(|value| value / noise);
        let spread = self.times(&x);
        let known = dot(&x, &spread).max(0.0);
        let mut gain = spread.map(|value| value / (1.0 + known));
        for (gain, excited) in gain.iter_mut().zip(excited) {
            if !excited {
                *gain = 0.0;
            }
        }
        let deviations = innovation / noise / (1.0 + known).sqrt();
        let most = settings.innovation_deviations_max;
        let clipped = deviations.abs() > most;
        let step = deviations.clamp(-most, most) * (1.0 + known).sqrt();
        for (parameter, gain) in self.parameters.iter_mut().zip(&gain) {
            *parameter += gain * step;
        }
        self.joseph(&x, &gain);
        self.forget(settings, &gain, known);
        self.samples += 1;
        Update::Applied { innovation_deviations: deviations, clipped }
    }

    /// Keeps the parameters within bounds that physics sets.
    pub fn clamp(&mut self, low: &[f64; D], high: &[f64; D]) {
        for (index, parameter) in self.parameters.iter_mut().enumerate() {
            *parameter = parameter.clamp(low[index], high[index]);
        }
    }

    /// `P = (I - K x') P (I - K x')' + K K'`.
    fn joseph(&mut self, x: &[f64; D], gain: &[f64; D]) {
        let kept: [[f64; D]; D] = std::array::from_fn(|row| {
            std::array::from_fn(|column| f64::from(row == column) - gain[row] * x[column])
        });
        let half: [[f64; D]; D] = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                (0..D).map(|inner| kept[row][inner] * self.covariance[inner][column]).sum()
            })
        });
        let mut next: [[f64; D]; D] = std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let product: f64 = (0..D).map(|inner| half[row][inner] * kept[column][inner]).sum();
                product + gain[row] * gain[column]
            })
        });
        for row in 0..D {
            for column in 0..row {
                let mean = f64::midpoint(next[row][column], next[column][row]);
                next[row][column] = mean;
                next[column][row] = mean;
            }
        }
        self.covariance = next;
    }

    /// Takes back certainty along the gain, so that the direction's old data weigh less, but never
    /// beyond the certainty of the prior.
    fn forget(&mut self, settings: &Settings<D>, gain: &[f64; D], known: f64) {
        let keep = settings.forgetting;
        if keep >= 1.0 || known <= 0.0 {
            return;
        }
        // With the gain g = P x / (1 + known), the update took P x x' P / (1 + known) away;
        // directional forgetting takes P x x' P * weight / (1 + weight * known) away.
        let weight = keep - (1.0 - keep) / known;
        let back = 1.0 / (1.0 + known) - weight / (1.0 + weight * known);
        let mut growth = back * (1.0 + known) * (1.0 + known);
        for index in 0..D {
            let cap = settings.prior_deviation[index] * settings.prior_deviation[index];
            let room = (cap - self.covariance[index][index]).max(0.0);
            let square = gain[index] * gain[index];
            if square > 0.0 {
                growth = growth.min(room / square);
            }
        }
        for row in 0..D {
            for column in 0..D {
                self.covariance[row][column] += growth.max(0.0) * gain[row] * gain[column];
            }
        }
    }

    fn times(&self, x: &[f64; D]) -> [f64; D] {
        std::array::from_fn(|row| dot(&self.covariance[row], x))
    }
}

fn dot<const D: usize>(left: &[f64; D], right: &[f64; D]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// An estimator as it is stored: arrays of any length, checked when read.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    parameters: Vec<f64>,
    /// Lower triangle by rows.
    covariance: Vec<f64>,
    samples: u64,
}

/// A stored estimator that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored estimator of {expected} parameters: {what}; start from the prior instead")]
pub struct StoredError {
    expected: usize,
    what: &'static str,
}

impl<const D: usize> From<Rls<D>> for Stored {
    fn from(rls: Rls<D>) -> Self {
        let covariance = (0..D).flat_map(|row| rls.covariance[row][..=row].to_vec()).collect();
        Self { parameters: rls.parameters.to_vec(), covariance, samples: rls.samples }
    }
}

impl<const D: usize> TryFrom<Stored> for Rls<D> {
    type Error = StoredError;
    fn try_from(stored: Stored) -> Result<Self, StoredError> {
        let refuse = |what| StoredError { expected: D, what };
        let parameters: [f64; D] =
            stored.parameters.try_into().map_err(|_| refuse("another number of parameters"))?;
        if stored.covariance.len() != D * (D + 1) / 2 {
            return Err(refuse("a covariance of another size"));
        }
        let mut covariance = [[0.0; D]; D];
        let mut values = stored.covariance.into_iter();
        for row in 0..D {
            for column in 0..=row {
                let value = values.next().unwrap_or(f64::NAN);
                covariance[row][column] = value;
                covariance[column][row] = value;
            }
        }
        let finite = covariance.iter().flatten().chain(&parameters).all(|value| value.is_finite());
        if !finite || (0..D).any(|index| covariance[index][index] < 0.0) {
            return Err(refuse("figures that are not finite, or a negative variance"));
        }
        Ok(Self { parameters, covariance, samples: stored.samples })
    }
}

#[cfg(test)]
mod tests;
