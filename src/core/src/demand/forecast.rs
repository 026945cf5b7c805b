//! How much work is coming: the highest value of a series from now to the end of a lead time, with
//! an interval that covers as often as it says.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Horizons for which scores are kept; leads between them are interpolated.
pub const HORIZONS: [Span; 5] = [
    Span::from_secs(60),
    Span::from_secs(120),
    Span::from_secs(240),
    Span::from_secs(480),
    Span::from_secs(960),
];
/// Scores kept per horizon.
const SCORES_MAX: usize = 240;
/// Predictions that are open at once per horizon: one is made every so many parts of it.
const OPEN_PARTS: u64 = 8;
/// Scores below which an interval is a guess.
pub const SCORES_MIN: usize = 20;

/// What is coming, up to the end of a lead time and one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    /// Best single guess of the maximum.
    pub point: f64,
    /// Lower end: the maximum is below it as rarely as it is above `high`.
    pub low: f64,
    /// Upper end, at `quantile`.
    pub high: f64,
    /// The quantile given: what was asked for, or the most extreme that the scores can tell.
    pub quantile: f64,
    /// Scores behind the interval, of the horizon with the fewest.
    pub scores_used: usize,
    /// Whether the correction is in force (else: last value).
    pub corrected: bool,
    /// Age of the last value; the interval is wider for it.
    pub age: Span,
}

/// Forecaster of one series, sampled in steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    step: Span,
    last: Option<(Time, f64)>,
    volatility: f64,
    horizons: Vec<Horizon>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Horizon {
    open: VecDeque<Open>,
    scores: VecDeque<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    at: Time,
    point: f64,
    scale: f64,
    highest: f64,
}

impl Forecaster {
    /// Knows nothing yet; `step` is the time between two decisions.
    #[must_use]
    pub fn new(step: Span) -> Self {
        Self {
            step,
            last: None,
            volatility: 0.0,
            horizons: vec![Horizon::default(); HORIZONS.len()],
        }
    }

    /// Takes in the value of a step; what is not a finite number of at least 0 is unknown, and so
    /// is a step for which this is not called.
    pub fn observe(&mut self, now: Time, value: f64) {
        if !(value.is_finite() && value >= 0.0) || self.last.is_some_and(|(at, _)| now <= at) {
            return;
        }
        if let Some((_, before)) = self.last {
            let change = (value - before).abs();
            self.volatility += 0.02 * (change - self.volatility);
        }
        self.last = Some((now, value));
        let scale = self.scale(value);
        for (horizon, &lead) in self.horizons.iter_mut().zip(&HORIZONS) {
            horizon.observe(now, value, scale, lead, self.step);
        }
    }

    /// The maximum over `[now, now + lead + step]`; `None` before the first value.
    #[must_use]
    pub fn ahead(&self, now: Time, lead: Span, quantile: f64) -> Option<Ahead> {
        let (at, value) = self.last?;
        let age = now.since(at);
        let horizon = &self.horizons[HORIZONS.iter().position(|&h| h >= lead + age).unwrap_or(4)];
        let scale = self.scale(value);
        let mut scores: Vec<f32> = horizon.scores.iter().copied().collect();
        scores.sort_by(f32::total_cmp);
        let most = scores.len() as f64 / (scores.len() as f64 + 1.0);
        let quantile = quantile.clamp(0.0, most.max(0.5));
        let pick = |share: f64| {
            let rank = (share * (scores.len() as f64 + 1.0)).ceil() as usize;
            scores
                .get(rank.clamp(1, scores.len().max(1)) - 1)
                .map_or(0.0, |&score| f64::from(score))
        };
        Some(Ahead {
            point: value + scale * pick(0.5),
            low: (value + scale * pick(1.0 - quantile)).max(0.0),
            high: value + scale * pick(quantile),
            quantile,
            scores_used: scores.len(),
            corrected: false,
            age,
        })
    }

    fn scale(&self, value: f64) -> f64 {
        self.volatility.max(0.01 * value).max(1e-9)
    }
}

impl Horizon {
    fn observe(&mut self, now: Time, value: f64, scale: f64, lead: Span, step: Span) {
        for open in &mut self.open {
            open.highest = open.highest.max(value);
        }
        while let Some(open) = self.open.front() {
            if now.since(open.at) < lead {
                break;
            }
            if self.scores.len() == SCORES_MAX {
                self.scores.pop_front();
            }
            self.scores.push_back(((open.highest - open.point) / open.scale) as f32);
            self.open.pop_front();
        }
        let every = Span((lead.0 / OPEN_PARTS).max(step.0));
        if self.open.back().is_none_or(|open| now.since(open.at) >= every) {
            self.open.push_back(Open { at: now, point: value, scale, highest: value });
        }
    }
}
