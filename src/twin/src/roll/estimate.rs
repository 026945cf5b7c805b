//! From outcomes to estimates: what all scenarios together say of a plan.

use forebay_core::fleet::{Slo, World};
use forebay_core::ids::TierId;
use forebay_core::plan::roll::{ERRORS_SIGNIFICANT, Predicted, Verdict};

use super::course::Course;
use super::rollout::Outcome;

/// A plan misses grossly when it misses this many times what the percentile allows...
const MISSES_GROSS: f64 = 3.0;
/// ... and at least this share of its requests: less cannot be told from so few.
const MISS_GROSS_MIN: f64 = 0.02;
/// Scenarios below which the effect of their work cannot be told from chance.
const CONTROLLED_MIN: usize = 6;

/// Outcomes of one plan, in the order of the scenarios.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    outcomes: Vec<Outcome>,
}

/// Requests judged and attained in one scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) judged: f64,
    pub(super) attained: f64,
}

impl Tally {
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    pub(super) fn scenarios(&self) -> u32 {
        self.outcomes.len() as u32
    }

    /// Mean dollars over the horizon.
    pub(super) fn cost_mean(&self) -> f64 {
        let sum: f64 = self.outcomes.iter().map(|outcome| outcome.cost).sum();
        sum / self.outcomes.len().max(1) as f64
    }

    fn samples(&self, tier: usize) -> Vec<Sample> {
        let of_tier = self.outcomes.iter().map(|outcome| outcome.tiers[tier]);
        of_tier
            .map(|tier| Sample { judged: tier.judged.into(), attained: tier.attained.into() })
            .collect()
    }

    /// What the scenarios say of each tier that has anything to judge; `work` is that of the
    /// scenarios, 1 on average.
    pub(super) fn predict(
        &self,
        course: &Course<'_>,
        first: &Self,
        work: &[f64],
    ) -> Vec<Predicted> {
        let tiers = (0..course.world.tiers.len()).filter_map(|tier| {
            let samples = self.samples(tier);
            let judged: f64 = samples.iter().map(|sample| sample.judged).sum();
            if judged <= 0.0 {
                return None;
            }
            let (attainment, standard_error) = attainment(&samples, work);
            let (difference, difference_error) = difference(&samples, &first.samples(tier));
            let backlog: f64 =
                self.outcomes.iter().map(|outcome| f64::from(outcome.tiers[tier].backlog)).sum();
            Some(Predicted {
                tier: TierId(tier as u8),
                requests: judged as u64,
                attainment,
                standard_error,
                difference,
                difference_error,
                backlog_requests: backlog / samples.len() as f64,
            })
        });
        tiers.collect()
    }
}

/// Attainment over all scenarios with its standard error. What a scenario attains is regressed on
/// the work that it happened to bring, and the estimate is that at the known mean of 1.
pub(super) fn attainment(samples: &[Sample], work: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let judged: f64 = samples.iter().map(|sample| sample.judged).sum();
    let attained: f64 = samples.iter().map(|sample| sample.attained).sum();
    let ratio = attained / judged;
    // Each scenario's part in the error of a ratio.
    let parts: Vec<f64> = samples
        .iter()
        .map(|sample| (sample.attained - ratio * sample.judged) * count / judged)
        .collect();
    let work = &work[..samples.len().min(work.len())];
    let (slope, centre) =
        if samples.len() >= CONTROLLED_MIN { regress(&parts, work) } else { (0.0, 1.0) };
    let estimate = (ratio - slope * (centre - 1.0)).clamp(0.0, 1.0);
    let spread: f64 =
        parts.iter().zip(work).map(|(part, work)| (part - slope * (work - centre)).powi(2)).sum();
    let over_scenarios = (spread / (count * (count - 1.0).max(1.0))).sqrt();
    // Half a request more of each kind, so that 100 % of ten is not certain.
    let share = (attained + 0.5) / (judged + 1.0);
    let of_requests = (share * (1.0 - share) / judged).sqrt();
    (estimate, over_scenarios.max(of_requests))
}

/// Mean difference of what two plans attain in the same scenarios, with its standard error.
pub(super) fn difference(samples: &[Sample], first: &[Sample]) -> (f64, f64) {
    let differences: Vec<f64> = samples
        .iter()
        .zip(first)
        .filter(|(one, other)| one.judged > 0.0 && other.judged > 0.0)
        .map(|(one, other)| one.attained / one.judged - other.attained / other.judged)
        .collect();
    let count = differences.len() as f64;
    if differences.is_empty() {
        return (0.0, 0.0);
    }
    let mean = differences.iter().sum::<f64>() / count;
    let spread: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    (mean, (spread / (count * (count - 1.0).max(1.0))).sqrt())
}

/// Slope of `values` (which sum to 0) on `work`, and the mean of `work`.
fn regress(values: &[f64], work: &[f64]) -> (f64, f64) {
    let centre = work.iter().sum::<f64>() / work.len().max(1) as f64;
    let spread: f64 = work.iter().map(|work| (work - centre).powi(2)).sum();
    let joint: f64 = values.iter().zip(work).map(|(value, work)| value * (work - centre)).sum();
    (if spread > 0.0 { joint / spread } else { 0.0 }, centre)
}

/// By how much the worst tier falls short beyond what chance explains.
pub(super) fn shortfall(course: &Course<'_>, tiers: &[Predicted]) -> f64 {
    let short = tiers.iter().filter_map(|tier| {
        let wanted = slo(course, tier.tier)?.percentile();
        Some(wanted - tier.attainment - ERRORS_SIGNIFICANT * tier.standard_error)
    });
    short.fold(0.0, f64::max)
}

/// Whether a plan may be chosen.
pub(super) fn verdict(course: &Course<'_>, tiers: &[Predicted]) -> Verdict {
    let veto = tiers.iter().find_map(|tier| {
        let wanted = slo(course, tier.tier)?.percentile();
        let gross = 1.0 - ((1.0 - wanted) * MISSES_GROSS).max(MISS_GROSS_MIN);
        let best = tier.attainment + ERRORS_SIGNIFICANT * tier.standard_error;
        (best < gross).then(|| reason(course.world, tier, gross))
    });
    veto.map_or(Verdict::Keep, Verdict::Veto)
}

fn reason(world: &World, tier: &Predicted, gross: f64) -> String {
    format!(
        "{} would attain {:.1} % +- {:.1}, and less than {:.1} % is a gross miss",
        world.tiers[tier.tier.index()].name,
        tier.attainment * 100.0,
        tier.standard_error * 100.0,
        gross * 100.0
    )
}

fn slo<'a>(course: &Course<'a>, tier: TierId) -> Option<&'a Slo> {
    course.fleet.slos.get(tier.index())?.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_the_scenarios_takes_chance_out_of_the_estimate() {
        // Attainment falls by 0.4 per unit of work above its mean; only the work is chance.
        let work = [0.8, 1.3, 1.1, 0.9, 1.2, 1.0, 1.3, 1.2];
        let samples: Vec<Sample> = work
            .iter()
            .map(|work| Sample { judged: 1e6, attained: 1e6 * (0.9 - 0.4 * (work - 1.0)) })
            .collect();
        let (plain, plain_error) = attainment(&samples, &[1.0; 8]);
        let (controlled, controlled_error) = attainment(&samples, &work);
        assert!((plain - 0.86).abs() < 1e-9, "{plain}");
        assert!((controlled - 0.9).abs() < 1e-9, "{controlled}");
        assert!(controlled_error < 0.02 * plain_error, "{controlled_error} of {plain_error}");
    }

    #[test]
    fn a_full_score_of_a_few_is_not_certain() {
        let (ratio, error) = attainment(&[Sample { judged: 10.0, attained: 10.0 }; 2], &[1.0; 2]);
        assert!((ratio - 1.0).abs() < 1e-12 && error > 0.03, "{ratio} {error}");
    }
}
