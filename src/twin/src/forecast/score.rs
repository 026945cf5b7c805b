//! Scores of the forecaster on one series.

use forebay_core::demand::Forecaster;
use forebay_core::time::{Span, Time};
use serde::Serialize;

use super::series::Series;

/// A rise by more than this share within the lead is what start-up times are feared for.
const RISE: f64 = 0.1;
/// Not scored at the start: the time in which scores are collected, or a quarter of a short trace.
const WARM_UP: Span = Span::from_secs(3_600);

/// How the forecaster did on one series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Asked of every interval, 0..1.
    pub quantile: f64,
    /// Steps in the series.
    pub steps: usize,
    /// Length of a step, s.
    pub step_seconds: f64,
    /// Steps at the start that are not scored.
    pub unscored_steps: usize,
    /// Per lead time.
    pub leads: Vec<LeadScore>,
}

/// Scores of one lead time. What is foreseen is the maximum from now to the lead and one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeadScore {
    /// Lead time, s.
    pub lead_seconds: f64,
    /// Predictions scored.
    pub predictions: usize,
    /// Sum of absolute errors over sum of maxima, 0..: the last value as it is.
    pub wape_last: f64,
    /// The same of the forecaster's point.
    pub wape_point: f64,
    /// Share of predictions whose maximum rose by more than a tenth over the last value.
    pub rises: f64,
    /// Share of time in which the correction was in force.
    pub corrected: f64,
    /// The forecaster's upper end.
    pub forecaster: Bound,
    /// Last value times the one factor that covers just as often, known in hindsight.
    pub constant: Bound,
}

/// How good an upper end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bound {
    /// Share of maxima at or below it.
    pub coverage: f64,
    /// The same among rises; `None` without rises.
    pub coverage_given_rise: Option<f64>,
    /// Mean height above the maximum where it covers, over the mean maximum.
    pub mean_excess: f64,
    /// Mean height of the maximum above it where it does not cover, over the mean maximum.
    pub mean_shortfall: f64,
    /// Mean quantile loss over the mean maximum: excess and shortfall in one figure, the lower
    /// the better at its quantile.
    pub quantile_loss: f64,
}

struct Prediction {
    last: f64,
    point: f64,
    high: f64,
    corrected: bool,
    highest: f64,
}

/// Runs the forecaster over a series, as a planner that decides at each step would.
#[must_use]
pub fn score(series: &Series, leads: &[Span], quantile: f64) -> Report {
    let step = Span::from_seconds(series.step_seconds);
    let unscored = ((WARM_UP.0 / step.0) as usize).min(series.work.len() / 4);
    let mut forecaster = Forecaster::new(step);
    let mut predictions: Vec<Vec<Prediction>> = leads.iter().map(|_| Vec::new()).collect();
    for (index, &value) in series.work.iter().enumerate() {
        let now = Time((index as u64 + 1) * step.0);
        forecaster.observe(now, value);
        if index < unscored {
            continue;
        }
        for (lead, predictions) in leads.iter().zip(&mut predictions) {
            let steps = (lead.0 + step.0).div_ceil(step.0) as usize;
            let Some(ahead) = series.work.get(index..=index + steps) else { continue };
            let Some(foreseen) = forecaster.ahead(now, *lead, quantile) else { continue };
            predictions.push(Prediction {
                last: value,
                point: foreseen.point,
                high: foreseen.high,
                corrected: foreseen.corrected,
                highest: ahead.iter().copied().fold(0.0, f64::max),
            });
        }
    }
    let leads = leads.iter().zip(&predictions);
    Report {
        quantile,
        steps: series.work.len(),
        step_seconds: series.step_seconds,
        unscored_steps: unscored,
        leads: leads.map(|(lead, all)| lead_score(*lead, all, quantile)).collect(),
    }
}

fn lead_score(lead: Span, all: &[Prediction], quantile: f64) -> LeadScore {
    let total: f64 = all.iter().map(|one| one.highest).sum();
    let wape = |guess: fn(&Prediction) -> f64| {
        all.iter().map(|one| (guess(one) - one.highest).abs()).sum::<f64>() / total
    };
    let share = |of: fn(&Prediction) -> bool| {
        all.iter().filter(|one| of(one)).count() as f64 / all.len().max(1) as f64
    };
    let forecaster = bound(all, quantile, |one| one.high);
    let factor = constant_factor(all, forecaster.coverage);
    LeadScore {
        lead_seconds: lead.as_seconds(),
        predictions: all.len(),
        wape_last: wape(|one| one.last),
        wape_point: wape(|one| one.point),
        rises: share(rose),
        corrected: share(|one| one.corrected),
        forecaster,
        constant: bound(all, quantile, |one| one.last * factor),
    }
}

fn rose(one: &Prediction) -> bool {
    one.highest > one.last * (1.0 + RISE)
}

/// The factor on the last value that covers this share of all predictions.
fn constant_factor(all: &[Prediction], coverage: f64) -> f64 {
    let mut ratios: Vec<f64> =
        all.iter().filter(|one| one.last > 0.0).map(|one| one.highest / one.last).collect();
    ratios.sort_by(f64::total_cmp);
    let rank = (coverage * ratios.len() as f64).ceil() as usize;
    ratios.get(rank.max(1) - 1).copied().unwrap_or(1.0)
}

fn bound(all: &[Prediction], quantile: f64, height: impl Fn(&Prediction) -> f64) -> Bound {
    let (mut covered, mut rises, mut rises_covered) = (0_usize, 0_usize, 0_usize);
    let (mut excess, mut shortfall, mut loss, mut total) = (0.0, 0.0, 0.0, 0.0);
    for one in all {
        let over = height(one) - one.highest;
        let covers = over >= -1e-9 * one.highest;
        covered += usize::from(covers);
        rises += usize::from(rose(one));
        rises_covered += usize::from(rose(one) && covers);
        total += one.highest;
        excess += over.max(0.0);
        shortfall += (-over).max(0.0);
        loss += if covers { (1.0 - quantile) * over } else { -quantile * over };
    }
    let mean = (total / all.len().max(1) as f64).max(f64::MIN_POSITIVE);
    let per = |sum: f64, count: usize| sum / count.max(1) as f64 / mean;
    Bound {
        coverage: covered as f64 / all.len().max(1) as f64,
        coverage_given_rise: (rises > 0).then(|| rises_covered as f64 / rises as f64),
        mean_excess: per(excess, covered),
        mean_shortfall: per(shortfall, all.len() - covered),
        quantile_loss: per(loss, all.len()),
    }
}
