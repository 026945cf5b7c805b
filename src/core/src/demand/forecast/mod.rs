//! How much work is coming: the highest value of a series from now to the end of a lead time, with
//! an upper end that covers as often as it says.
//!
//! Two guesses of where the series stands compete: its last value, and a level smoothed over some
//! minutes that follows rises at once and falls slowly. Around each, the maxima that followed are
//! scored per horizon; a quantile of the recent scores is the upper end (split conformal, locally
//! scaled). The smoothed level is in force while its upper ends had the lower quantile loss.
//!
//! A score is the logarithm of maximum over guess, in units of the square root of the relative
//! volatility. A spike both enters the scores and raises the volatility; in plain units the two
//! multiply (on production traffic an upper end of 59 where 14 was the most ever seen), the root
//! of one and the logarithm of the other do not. On four days of it the root cost 2 % less than
//! the volatility itself and 7 % less than no scale, at the same attainment.

mod horizon;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};
use horizon::{Guess, Horizon};

/// Horizons for which scores are kept; leads between them are interpolated.
pub const HORIZONS: [Span; 5] = [
    Span::from_secs(60),
    Span::from_secs(120),
    Span::from_secs(240),
    Span::from_secs(480),
    Span::from_secs(960),
];
/// Scores that a horizon must have; until then the next shorter one stands in for it.
const SCORES_MIN: usize = 20;

/// Time constant of the smoothed level, s.
const LEVEL_SECONDS: f64 = 150.0;
/// Weight of the last value in a level that rises to it.
const RISE_WEIGHT: f64 = 0.5;
/// Time constant of the volatility, s.
const VOLATILITY_SECONDS: f64 = 600.0;
/// Least volatility as a share of the level: a calm series may still move.
const VOLATILITY_MIN: f64 = 0.005;
/// Added to values before their logarithm is taken, in replicas: a twentieth of one does not
/// matter, and nothing has no logarithm.
const NEXT_TO_NOTHING: f64 = 0.05;
/// Upper end over the guess, as a share of it, before there are any scores: a guess by itself.
const UNSCORED_EXCESS: f64 = 0.4;
/// Most that is expected of a rise within a lead, as a logarithm: a factor of two. What rises by
/// more cannot be provided for, and the queue takes it. Without this bound a spike in a calm hour
/// is a score that, in the units of a stormy one, is a multiple of everything ever seen.
const RISE_MAX: f64 = std::f64::consts::LN_2;
/// After a pause longer than this nothing of the level is left.
const PAUSE_MAX: Span = Span::from_secs(960);

/// What is coming, up to the end of a lead time and one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    /// Best single guess of the maximum: the median.
    pub point: f64,
    /// Lower end: the maximum is below it as rarely as it is above `high`.
    pub low: f64,
    /// Upper end, at `quantile`.
    pub high: f64,
    /// The quantile given: what was asked for, or the most extreme that the scores can tell.
    pub quantile: f64,
    /// Scores behind it, of the horizon with the fewest; 0 = none yet, and a fixed
    /// excess stands in for them.
    pub scores_used: usize,
    /// Whether the smoothed level is in force (else: the last value).
    pub corrected: bool,
    /// Age of the last value. What may have happened since widens the interval: it is one for a
    /// lead that is longer by the age.
    pub age: Span,
}

/// Forecaster of one series of work, sampled in steps. Some 44 KiB as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    step: Span,
    last: Option<(Time, f64)>,
    level: f64,
    volatility: f64,
    /// Values behind level and volatility, as far as it matters: they are plain means at first.
    values: u32,
    horizons: Vec<Horizon>,
}

impl Forecaster {
    /// Knows nothing yet; `step` is the time between two values.
    #[must_use]
    pub fn new(step: Span) -> Self {
        Self {
            step,
            last: None,
            level: 0.0,
            volatility: 0.0,
            values: 0,
            horizons: HORIZONS.iter().map(|&lead| Horizon::new(lead)).collect(),
        }
    }

    /// Takes in the value of a step. A value that is not a finite number of at least 0 is unknown,
    /// and so is a step for which this is not called; a time not after the last one is ignored.
    pub fn observe(&mut self, now: Time, value: f64) {
        if !(value.is_finite() && value >= 0.0) || self.last.is_some_and(|(at, _)| now <= at) {
            return;
        }
        let passed = self.last.map_or(Span::ZERO, |(at, _)| now.since(at));
        match self.last {
            Some((_, before)) if passed <= PAUSE_MAX => {
                self.values = self.values.saturating_add(1);
                let fewest = 1.0 / f64::from(self.values);
                let weight = |span: Span, constant: f64| {
                    (1.0 - (-span.as_seconds() / constant).exp()).max(fewest)
                };
                self.level += weight(passed, LEVEL_SECONDS) * (value - self.level);
                // A change over several steps is no more than one change.
                let change = (value - before).abs();
                self.volatility +=
                    weight(self.step, VOLATILITY_SECONDS) * (change - self.volatility);
            }
            // Nothing known, or too long ago; how much it moves is remembered.
            _ => self.level = value,
        }
        self.last = Some((now, value));
        let (guesses, scale) = (self.guesses(value), self.scale());
        for horizon in &mut self.horizons {
            horizon.observe(now, value, guesses, scale, self.step);
        }
    }

    /// The maximum over `[now, now + lead + step]` at a quantile of at least a half; `None` before
    /// the first value. Leads beyond the last horizon that has scores take its scores, grown with
    /// the square root of time.
    #[must_use]
    pub fn ahead(&self, now: Time, lead: Span, quantile: f64) -> Option<Ahead> {
        let (at, value) = self.last?;
        let age = now.since(at);
        let scored = |horizon: &&Horizon| horizon.scored() >= SCORES_MIN;
        let usable = self.horizons.iter().take_while(scored).count();
        if usable == 0 {
            let base = self.guesses(value).of(true);
            let wide = UNSCORED_EXCESS * base;
            return Some(Ahead {
                point: base,
                low: (base - wide).max(0.0),
                high: base + wide,
                quantile: quantile.clamp(0.5, 0.95),
                scores_used: 0,
                corrected: true,
                age,
            });
        }
        let (below, above, part) = place(lead + age, usable - 1);
        let (near, far) = (&self.horizons[below], &self.horizons[above]);
        let corrected = far.corrected();
        let base = self.guesses(value).of(corrected);
        let scores_used = near.scored().min(far.scored());
        // n scores tell no quantile beyond n / (n + 1).
        let count = scores_used as f64;
        let quantile = quantile.clamp(0.5, count / (count + 1.0));
        let pick = |share: f64| {
            let (near, far) = (near.score(corrected, share), far.score(corrected, share));
            let score = if part <= 1.0 { near + part * (far - near) } else { far * part };
            (base + NEXT_TO_NOTHING) * (self.scale() * score).min(RISE_MAX).exp() - NEXT_TO_NOTHING
        };
        Some(Ahead {
            point: pick(0.5).max(0.0),
            low: pick(1.0 - quantile).max(0.0),
            high: pick(quantile).max(0.0),
            quantile,
            scores_used,
            corrected,
            age,
        })
    }

    fn guesses(&self, value: f64) -> Guess {
        let risen = RISE_WEIGHT * value + (1.0 - RISE_WEIGHT) * self.level;
        Guess { last: value, level: self.level.max(risen) }
    }

    fn scale(&self) -> f64 {
        (self.volatility / (self.level + NEXT_TO_NOTHING) + VOLATILITY_MIN).sqrt()
    }
}

/// The horizons around a lead and its place between them on the logarithm of time, 0..1; beyond
/// the `last` one the factor by which its scores grow.
fn place(lead: Span, last: usize) -> (usize, usize, f64) {
    if lead >= HORIZONS[last] {
        let times = lead.as_seconds() / HORIZONS[last].as_seconds();
        return (last, last, times.sqrt());
    }
    let above = HORIZONS.iter().position(|&horizon| horizon >= lead).unwrap_or(last);
    if above == 0 {
        return (0, 0, 1.0);
    }
    let (low, high) = (HORIZONS[above - 1].as_seconds(), HORIZONS[above].as_seconds());
    (above - 1, above, (lead.as_seconds() / low).ln() / (high / low).ln())
}
