//! The miss budget: a tier that attains more than its percentile pays too much, and may slowly
//! spend what it is owed; one that attains less is protected more.
//!
//! Slowly: misses of production traffic come in rare clusters (two thirds of a day's misses in ten
//! minutes). Headroom bought after a cluster comes too late, and headroom given up between two of
//! them is missing in the next: on four days of such traffic a budget that acted by the hour cost
//! 5 to 15 % more at equal attainment than a fixed level. So it follows the weather of days.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::missed::Judged;
use crate::time::{Span, Time};

/// Over which misses are judged. Neighbouring fleet sizes differ by 0.1 to 0.3 points of
/// attainment only, so less would chase noise.
const WINDOW: Span = Span::from_secs(6 * 3_600);
/// Counts are kept per bin of this length: one window is [`BINS_MAX`] bins.
const BIN: Span = Span::from_secs(300);
const BINS_MAX: usize = (WINDOW.0 / BIN.0) as usize;
/// How often budget may be spent: the level falls at most once in this time.
const SPEND_EVERY: Span = Span::from_secs(3_600);
/// How often the level may rise: a cluster of misses is answered a few times while it lasts.
const PROTECT_EVERY: Span = Span::from_secs(900);
/// Spell that must be bad for the level to rise: misses before it were answered already.
const SPELL: Span = Span::from_secs(900);
/// A level falls only after this much of the window was watched.
const WATCHED_MIN: Span = Span::from_secs(3_600);
/// Step down per spend when nothing at all was missed.
const SPEND: f64 = 0.02;
/// Step up per protection and excess of one miss budget; at most three times that at once.
const PROTECT: f64 = 0.01;
const EXCESS_MAX: f64 = 3.0;
/// Requests below which a share of misses says nothing, as a multiple of those in which one miss
/// is expected.
const REQUESTS_MIN: f64 = 3.0;

/// Levels: from three in four to nineteen in twenty; scores of a few hours tell no more.
const LEVEL_MIN: f64 = 0.67;
const LEVEL_MAX: f64 = 1.645;
/// Where a tier without history starts: nine in ten.
pub const LEVEL_START: f64 = 1.28;

/// The budget of one tier: how safely to plan for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Share that may miss, 0..1.
    allowed: f64,
    level: f64,
    bins: VecDeque<Bin>,
    /// Since when it has been counting; moves on over time that is not counted.
    watched: Span,
    last: Option<Time>,
    spent_at: Option<Time>,
    protected_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    from: Time,
    requests: f64,
    missed: f64,
}

/// What moved the level, or did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Up: more than the budget was missed, and is being missed.
    Protected,
    /// Down: less than the budget was missed.
    Spent,
    /// Neither is due or sure.
    Held,
    /// Data is stale or capacity was not to be had: says nothing about the level.
    Frozen,
}

impl Budget {
    /// A budget for a promise that `percentile` (0..1) of requests attain.
    #[must_use]
    pub fn new(percentile: f64) -> Self {
        Self {
            allowed: (1.0 - percentile).clamp(1e-4, 1.0),
            level: LEVEL_START,
            bins: VecDeque::new(),
            watched: Span::ZERO,
            last: None,
            spent_at: None,
            protected_at: None,
        }
    }

    /// Standard deviations above the mean to plan for.
    #[must_use]
    pub const fn level(&self) -> f64 {
        self.level
    }

    /// The quantile that belongs to the level.
    #[must_use]
    pub fn quantile(&self) -> f64 {
        normal_cdf(self.level)
    }

    /// Share missed over the window; `None` before any request was judged.
    #[must_use]
    pub fn missed_share(&self) -> Option<f64> {
        share(self.bins.iter())
    }

    /// Takes in what was judged since the last call. `frozen`: data is stale, or capacity was
    /// asked for and not to be had, so that misses are no fault of the level.
    pub fn observe(&mut self, now: Time, judged: Option<&Judged>, frozen: bool) -> Verdict {
        let passed = self.last.map_or(Span::ZERO, |last| now.since(last));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        while self.bins.front().is_some_and(|bin| now.since(bin.from) >= WINDOW) {
            self.bins.pop_front();
        }
        let (Some(judged), false) = (judged.filter(|judged| is_sound(judged)), frozen) else {
            return Verdict::Frozen;
        };
        self.watched = self.watched + Span(passed.0.min(BIN.0));
        self.count(now, judged);
        self.decide(now)
    }

    fn count(&mut self, now: Time, judged: &Judged) {
        if self.bins.back().is_none_or(|bin| now.since(bin.from) >= BIN) {
            if self.bins.len() == BINS_MAX {
                self.bins.pop_front();
            }
            self.bins.push_back(Bin { from: now, ..Bin::default() });
        }
        if let Some(bin) = self.bins.back_mut() {
            bin.requests += judged.requests;
            bin.missed += judged.missed.min(judged.requests);
        }
    }

    fn decide(&mut self, now: Time) -> Verdict {
        let spell = self.bins.iter().filter(|bin| now.since(bin.from) < SPELL + BIN);
        let (Some(whole), Some(recent)) = (share(self.bins.iter()), share(spell.clone())) else {
            return Verdict::Held;
        };
        let enough = REQUESTS_MIN / self.allowed;
        let sure = |bins: f64| bins >= enough;
        let excess = |missed: f64| (missed - self.allowed) / self.allowed;
        let due = |at: Option<Time>, every: Span| at.is_none_or(|at| now.since(at) >= every);
        if excess(whole) > 0.0 && excess(recent) > 0.0 {
            if due(self.protected_at, PROTECT_EVERY) && sure(requests(spell)) {
                self.protected_at = Some(now);
                self.spent_at = Some(now);
                self.level += PROTECT * excess(whole.max(recent)).min(EXCESS_MAX);
                self.level = self.level.min(LEVEL_MAX);
                return Verdict::Protected;
            }
        } else if excess(whole) < 0.0
            && excess(recent) <= 0.0
            && self.watched >= WATCHED_MIN
            && due(self.spent_at, SPEND_EVERY)
            && sure(requests(self.bins.iter()))
        {
            self.spent_at = Some(now);
            self.level = (self.level + SPEND * excess(whole)).max(LEVEL_MIN);
            return Verdict::Spent;
        }
        Verdict::Held
    }
}

fn is_sound(judged: &Judged) -> bool {
    let sound = |value: f64| value.is_finite() && value >= 0.0;
    sound(judged.requests) && sound(judged.missed)
}

fn requests<'a>(bins: impl Iterator<Item = &'a Bin>) -> f64 {
    bins.map(|bin| bin.requests).sum()
}

fn share<'a>(bins: impl Iterator<Item = &'a Bin>) -> Option<f64> {
    let (requests, missed) =
        bins.fold((0.0, 0.0), |(all, missed), bin| (all + bin.requests, missed + bin.missed));
    (requests > 0.0).then(|| missed / requests)
}

/// Standard normal distribution function (Abramowitz and Stegun 26.2.17, error below 7.5e-8).
#[must_use]
pub fn normal_cdf(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782
                + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series;
    if z >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
