//! Scores of one horizon: how far the maxima of the past lay above what was guessed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Scores kept per horizon at most.
const SCORES_MAX: usize = 480;
/// A prediction is opened every so many parts of the horizon.
const PARTS: u64 = 8;
/// Scores older than this are forgotten: the weather changes within the day. Twelve hours cost 9 %
/// more than four at the same attainment.
const MEMORY: Span = Span::from_secs(4 * 3_600);
/// Share of a window's steps that must be known for its maximum to count.
const KNOWN_MIN: f64 = 0.6;
/// Quantile at which the two guesses are compared.
const JUDGED_AT: f64 = 0.9;
/// Weight of one window in the running loss: about a tenth of the scores kept.
const LOSS_WEIGHT: f64 = 0.04;
/// The guess that is not in force must be better by this share to take over.
const TAKE_OVER: f64 = 0.02;

/// Where a series stands, guessed in two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Guess {
    pub(super) last: f64,
    pub(super) level: f64,
}

impl Guess {
    pub(super) const fn of(&self, corrected: bool) -> f64 {
        if corrected { self.level } else { self.last }
    }
}

/// Scores of one horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Horizon {
    lead: Span,
    open: VecDeque<Open>,
    /// Logarithm of maximum over guess in units of the scale, sorted in time, for both guesses.
    last: VecDeque<f32>,
    level: VecDeque<f32>,
    /// Running quantile loss of both.
    loss: Guess,
    corrected: bool,
}

/// A window that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    at: Time,
    guess: Guess,
    scale: f64,
    highest: f64,
    steps: u32,
}

impl Horizon {
    /// Without scores the level is in force: on traffic it wins most of the time.
    pub(super) const fn new(lead: Span) -> Self {
        Self {
            lead,
            open: VecDeque::new(),
            last: VecDeque::new(),
            level: VecDeque::new(),
            loss: Guess { last: 0.0, level: 0.0 },
            corrected: true,
        }
    }

    /// Takes in a value, after which the series stands as guessed.
    pub(super) fn observe(&mut self, now: Time, value: f64, guess: Guess, scale: f64, step: Span) {
        let window = self.lead + step;
        let every = Span((self.lead.0 / PARTS).max(step.0));
        let most = ((MEMORY.0 / every.0.max(1)) as usize).clamp(super::SCORES_MIN, SCORES_MAX);
        while let Some(open) = self.open.front_mut() {
            let ended = now.since(open.at) > window;
            if ended {
                let open = *open;
                self.open.pop_front();
                let steps = window.as_seconds() / step.as_seconds().max(1e-3);
                if f64::from(open.steps) >= KNOWN_MIN * steps.floor() {
                    self.close(&open, most);
                }
                continue;
            }
            break;
        }
        for open in &mut self.open {
            open.highest = open.highest.max(value);
            open.steps += 1;
        }
        if self.open.back().is_none_or(|open| now.since(open.at) >= every) {
            self.open.push_back(Open { at: now, guess, scale, highest: value, steps: 0 });
        }
    }

    fn close(&mut self, open: &Open, most: usize) {
        let log = |value: f64| (value + super::NEXT_TO_NOTHING).ln();
        let over = |guess: f64| (log(open.highest) - log(guess)).min(super::RISE_MAX) / open.scale;
        let (last, level) = (over(open.guess.last), over(open.guess.level));
        if self.last.len() >= super::SCORES_MIN {
            let judge = |scores: &VecDeque<f32>, score: f64| {
                let off = score - quantile_of(scores, JUDGED_AT);
                open.scale * if off > 0.0 { JUDGED_AT * off } else { (JUDGED_AT - 1.0) * off }
            };
            let losses = (judge(&self.last, last), judge(&self.level, level));
            self.loss.last += LOSS_WEIGHT * (losses.0 - self.loss.last);
            self.loss.level += LOSS_WEIGHT * (losses.1 - self.loss.level);
            let (force, other) = if self.corrected {
                (self.loss.level, self.loss.last)
            } else {
                (self.loss.last, self.loss.level)
            };
            self.corrected ^= other < force * (1.0 - TAKE_OVER);
        }
        for (scores, score) in [(&mut self.last, last), (&mut self.level, level)] {
            while scores.len() >= most {
                scores.pop_front();
            }
            scores.push_back(score as f32);
        }
    }

    /// Whether the smoothed level is in force.
    pub(super) const fn corrected(&self) -> bool {
        self.corrected
    }

    /// Scores kept.
    pub(super) fn scored(&self) -> usize {
        self.last.len()
    }

    /// The score that this share of scores does not exceed.
    pub(super) fn score(&self, corrected: bool, share: f64) -> f64 {
        quantile_of(if corrected { &self.level } else { &self.last }, share)
    }
}

/// The conformal quantile: rank `share * (n + 1)`, rounded up.
fn quantile_of(scores: &VecDeque<f32>, share: f64) -> f64 {
    let mut sorted = [0.0_f32; SCORES_MAX];
    let count = scores.len().min(SCORES_MAX);
    for (place, &score) in sorted.iter_mut().zip(scores) {
        *place = score;
    }
    let rank = (share * (count as f64 + 1.0)).ceil() as usize;
    let Some(sorted) = sorted.get_mut(..count).filter(|sorted| !sorted.is_empty()) else {
        return 0.0;
    };
    let (_, score, _) = sorted.select_nth_unstable_by(rank.clamp(1, count) - 1, f32::total_cmp);
    f64::from(*score)
}
