//! Step-time physics of one variant, learned as logarithms of three multipliers on its profile:
//! fixed time and weights, time per token, time per KV token. An engine without a step counter
//! teaches one multiplier for all.
//!
//! The profile is the prior and stays in force until learning has beaten it on windows that
//! neither had seen, and again as soon as learning does worse.

use serde::{Deserialize, Serialize};

use super::Estimate;
use super::predict::{PARAMETERS, scaled_profile};
use super::rls::{Rls, Settings, Update};
use super::steps::{Context, LeftOut, StepWindow};
use crate::engine::profile::EngineProfile;

/// Standard deviation of each multiplier's logarithm before any data: profiles that were carried
/// over from another accelerator are off by a third, attention kernels by more.
pub const PRIOR_DEVIATION: [f64; PARAMETERS] = [0.35, 0.35, 0.5];
/// A multiplier's logarithm never leaves this: four times off is another engine, not this one.
pub const PARAMETER_MAX: f64 = std::f64::consts::LN_2 * 2.0;
/// Noise of a window's mean however many gaps it has. What the mix of steps leaves out scatters by
/// half of this, but is alike in neighbouring windows, so that a window counts for less than one.
const NOISE: f64 = 0.05;
/// Noise of one observation relative to the mean; those of one step are not independent.
const NOISE_OF_ONE: f64 = 1.0;
/// A window's weight after as many others in its direction as it takes to forget it: 500 windows,
/// two hours of one replica.
const FORGETTING: f64 = 0.998;
const INNOVATION_DEVIATIONS_MAX: f64 = 3.0;
/// A parameter that moves by its prior's deviation must move a window by this much of its noise to
/// be touched by it.
const EXCITATION_MIN: f64 = 0.5;
/// Weight of the newest window in the score: about fifty windows count.
const SCORE_WEIGHT: f64 = 0.02;
/// Fewest windows that are scored before learning may come into force.
pub const SCORED_MIN: u64 = 20;
/// Learning in force is dropped when its score is this much worse than the prior's.
const WORSE_MAX: f64 = 1.1;

/// Standard deviation over mean absolute error of a normal error.
const DEVIATION_OF_MEAN_ERROR: f64 = 1.253;

const SETTINGS: Settings<PARAMETERS> = Settings {
    prior: [0.0; PARAMETERS],
    prior_deviation: PRIOR_DEVIATION,
    forgetting: FORGETTING,
    innovation_deviations_max: INNOVATION_DEVIATIONS_MAX,
    excitation_min: EXCITATION_MIN,
};
const COMMON: Settings<1> = Settings {
    prior: [0.0],
    prior_deviation: [PRIOR_DEVIATION[0]],
    forgetting: FORGETTING,
    innovation_deviations_max: INNOVATION_DEVIATIONS_MAX,
    excitation_min: EXCITATION_MIN,
};

/// Learning against the prior: mean absolute error of the logarithm of a window's time, newer
/// windows weighing more, each predicted before it was learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Error of what was learned.
    pub learned: f64,
    /// Error of the profile alone.
    pub prior: f64,
    /// Windows scored.
    pub windows: u64,
}

/// Physics of one variant and one revision of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhysicsLearner {
    multipliers: Rls<PARAMETERS>,
    common: Rls<1>,
    score: Score,
    in_force: bool,
    clipped: u64,
    context: Context,
}

impl Default for PhysicsLearner {
    fn default() -> Self {
        Self {
            multipliers: Rls::new(&SETTINGS),
            common: Rls::new(&COMMON),
            score: Score::default(),
            in_force: false,
            clipped: 0,
            context: Context::default(),
        }
    }
}

impl PhysicsLearner {
    /// Learns from a window of an engine whose profile (the prior) this is.
    ///
    /// # Errors
    /// [`LeftOut`]: the window moves no parameter.
    pub fn observe(&mut self, profile: &EngineProfile, window: &StepWindow) -> Result<(), LeftOut> {
        let window = self.context.smooth(window);
        let mix = window.mix(&profile.limits);
        let parameters = self.parameters_learned();
        let (seconds, slopes) = mix.sensitivities(&profile.step_time, &parameters);
        let prior_seconds = mix.seconds(&profile.step_time);
        let innovation = (window.seconds / seconds).ln();
        let prior_error = (window.seconds / prior_seconds).ln().abs();
        if !innovation.is_finite() || !prior_error.is_finite() {
            return Err(LeftOut::Contradiction);
        }
        let noise = (NOISE * NOISE + NOISE_OF_ONE * NOISE_OF_ONE / window.observations).sqrt();
        let update = if window.steps.is_some() {
            let update = self.multipliers.update(&SETTINGS, &slopes, innovation, noise);
            self.multipliers.clamp(&[-PARAMETER_MAX; PARAMETERS], &[PARAMETER_MAX; PARAMETERS]);
            update
        } else {
            let update = self.common.update(&COMMON, &[slopes.iter().sum()], innovation, noise);
            self.common.clamp(&[-PARAMETER_MAX], &[PARAMETER_MAX]);
            update
        };
        let Update::Applied { clipped, .. } = update else { return Err(LeftOut::NotExcited) };
        self.clipped += u64::from(clipped);
        self.judge(innovation.abs(), prior_error);
        Ok(())
    }

    fn judge(&mut self, learned: f64, prior: f64) {
        // One wild window weighs no more in the score than a gross error.
        let cut = |error: f64| error.min(1.0);
        let score = &mut self.score;
        score.windows += 1;
        let weight = SCORE_WEIGHT.max(1.0 / score.windows as f64);
        score.learned += weight * (cut(learned) - score.learned);
        score.prior += weight * (cut(prior) - score.prior);
        let bar = if self.in_force { WORSE_MAX } else { 1.0 };
        self.in_force = score.windows >= SCORED_MIN && score.learned <= score.prior * bar;
    }

    /// Whether learning counts: it has seen enough and is not worse than the profile.
    #[must_use]
    pub const fn in_force(&self) -> bool {
        self.in_force
    }

    /// Learning against the profile.
    #[must_use]
    pub const fn score(&self) -> Score {
        self.score
    }

    /// Windows learned from whose innovation was cut.
    #[must_use]
    pub const fn clipped(&self) -> u64 {
        self.clipped
    }

    /// Logarithms of the multipliers as learned, in force or not.
    #[must_use]
    pub fn parameters_learned(&self) -> [f64; PARAMETERS] {
        if self.has_steps() {
            *self.multipliers.parameters()
        } else {
            [self.common.parameters()[0]; PARAMETERS]
        }
    }

    /// Logarithms of the multipliers in force; 0 where the profile stands.
    #[must_use]
    pub fn parameters(&self) -> [f64; PARAMETERS] {
        if self.in_force { self.parameters_learned() } else { [0.0; PARAMETERS] }
    }

    /// The multipliers as learned, by [`super::predict::PARAMETER_NAMES`].
    #[must_use]
    pub fn multipliers(&self) -> [Estimate; PARAMETERS] {
        let parameters = self.parameters_learned();
        let (deviations, samples) = if self.has_steps() {
            (self.multipliers.deviations(), self.multipliers.samples())
        } else {
            ([self.common.deviations()[0]; PARAMETERS], self.common.samples())
        };
        std::array::from_fn(|index| {
            let value = parameters[index].exp();
            Estimate { value, deviation: value * deviations[index], samples: samples as f64 }
        })
    }

    /// The profile with what is in force applied.
    #[must_use]
    pub fn profile(&self, profile: &EngineProfile) -> EngineProfile {
        scaled_profile(profile, &self.parameters())
    }

    /// Predicted mean time of a window, s, with its uncertainty: that of learning; while the prior
    /// is in force that of the prior, or its score once it has one.
    #[must_use]
    pub fn predict(&self, profile: &EngineProfile, window: &StepWindow) -> Estimate {
        let mix = window.mix(&profile.limits);
        let (seconds, slopes) = mix.sensitivities(&profile.step_time, &self.parameters());
        let deviation = if !self.in_force {
            let believed = Rls::new(&SETTINGS).prediction_deviation(&slopes);
            // A profile that was scored is as good as its score.
            let scored = DEVIATION_OF_MEAN_ERROR * self.score.prior;
            if self.score.windows >= SCORED_MIN { believed.min(scored) } else { believed }
        } else if self.has_steps() {
            self.multipliers.prediction_deviation(&slopes)
        } else {
            self.common.prediction_deviation(&[slopes.iter().sum()])
        };
        let samples = self.score.windows as f64;
        Estimate { value: seconds, deviation: seconds * deviation, samples }
    }

    pub(super) fn is_sound(&self) -> bool {
        let within = |parameter: &f64| parameter.abs() <= PARAMETER_MAX;
        let score = [self.score.learned, self.score.prior];
        self.multipliers.parameters().iter().all(within)
            && self.common.parameters().iter().all(within)
            && score.iter().all(|error| error.is_finite() && *error >= 0.0)
    }

    fn has_steps(&self) -> bool {
        self.multipliers.samples() >= self.common.samples()
    }
}
