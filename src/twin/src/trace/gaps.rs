//! Gaps between arrivals with a mean of 1: Gamma or Weibull, told by their coefficient of
//! variation.

use rand::Rng;
use rand_distr::{Distribution, Exp1, Gamma};

use super::draw::open_unit;

/// Family of the gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Gamma,
    Weibull,
}

/// Least effective number of separate gaps that a block is given; below it all arrivals would
/// fall on one instant.
const ATOMS_MIN: f64 = 0.05;
/// Below this shape `U^(1/shape)` underflows, so gaps are compared by their logarithms.
const GAMMA_SHAPE_SMALL: f64 = 0.02;
/// Range of the Weibull exponent (1 / shape): from all but regular to one gap only.
const WEIBULL_EXPONENT_MIN: f64 = 1e-3;
const WEIBULL_EXPONENT_MAX: f64 = 500.0;
/// The exponent is found to this error in ln(1 + CV^2): a tenth of a percent.
const EXPONENT_ERROR_MAX: f64 = 1e-3;
/// Newton steps, guarded by bisection: it takes 4 to 6.
const EXPONENT_STEPS_MAX: usize = 40;

/// Fills `gaps` with `count` gaps that add up to 1 and whose CV, over these gaps, is `cv`:
/// for Gamma in the mean over draws (a Dirichlet), for Weibull in every draw.
pub(super) fn closed_gaps(
    family: Family,
    cv: f64,
    count: usize,
    random: &mut impl Rng,
    gaps: &mut Vec<f64>,
) {
    gaps.clear();
    if count <= 1 || cv <= 0.0 {
        gaps.resize(count, 1.0 / count.max(1) as f64);
        return;
    }
    match family {
        Family::Gamma => dirichlet(dirichlet_shape(cv, count), count, random, gaps),
        Family::Weibull => weibull(cv, count, random, gaps),
    }
    let total: f64 = gaps.iter().sum();
    for gap in gaps.iter_mut() {
        *gap /= total;
    }
}

/// Gamma shape whose gaps, scaled to add up to 1, have an expected squared CV of `cv^2`: a
/// symmetric Dirichlet has `(n - 1) / (n a + 1)`.
fn dirichlet_shape(cv: f64, count: usize) -> f64 {
    let count = count as f64;
    ((count - 1.0) / (cv * cv) - 1.0).max(ATOMS_MIN) / count
}

fn dirichlet(shape: f64, count: usize, random: &mut impl Rng, gaps: &mut Vec<f64>) {
    if shape >= GAMMA_SHAPE_SMALL
        && let Ok(gamma) = Gamma::new(shape, 1.0)
    {
        gaps.extend((0..count).map(|_| gamma.sample(random)));
        if gaps.iter().sum::<f64>() > 0.0 {
            return;
        }
        gaps.clear();
    }
    let Ok(gamma) = Gamma::new(shape + 1.0, 1.0) else { return };
    gaps.extend((0..count).map(|_| gamma.sample(random).ln() + open_unit(random).ln() / shape));
    let largest = gaps.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for gap in gaps.iter_mut() {
        *gap = (*gap - largest).exp();
    }
}

/// Weibull gaps are powers of exponential ones; the exponent is chosen so that these very gaps
/// have the wanted CV.
fn weibull(cv: f64, count: usize, random: &mut impl Rng, gaps: &mut Vec<f64>) {
    gaps.extend((0..count).map(|_| {
        let exponential: f64 = Exp1.sample(random);
        exponential.max(f64::MIN_POSITIVE).ln()
    }));
    let largest = gaps.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for log in gaps.iter_mut() {
        *log -= largest;
    }
    let spread = cv * cv;
    let target = spread.min(count as f64 - 1.0 - ATOMS_MIN).ln_1p();
    let (mut low, mut high) = (WEIBULL_EXPONENT_MIN, WEIBULL_EXPONENT_MAX);
    let mut exponent = cv.max(WEIBULL_EXPONENT_MIN).powf(0.8).min(WEIBULL_EXPONENT_MAX);
    for _ in 0..EXPONENT_STEPS_MAX {
        let (mut first, mut second, mut first_slope, mut second_slope) = (0.0, 0.0, 0.0, 0.0);
        for log in gaps.iter() {
            let gap = (exponent * log).exp();
            first += gap;
            first_slope += log * gap;
            second += gap * gap;
            second_slope += log * gap * gap;
        }
        let error = (count as f64 * second / (first * first)).ln() - target;
        if error.abs() < EXPONENT_ERROR_MAX {
            break;
        }
        if error > 0.0 {
            high = exponent
        } else {
            low = exponent
        }
        let slope = 2.0 * (second_slope / second - first_slope / first);
        let step = exponent - error / slope;
        exponent = if step > low && step < high { step } else { (low * high).sqrt() };
    }
    for log in gaps.iter_mut() {
        *log = (exponent * *log).exp();
    }
}

/// Gaps of an endless renewal process: Gamma with a mean of 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct RenewalGaps {
    gamma: Option<Gamma<f64>>,
    shape: f64,
}

impl RenewalGaps {
    /// Gaps with that CV; 0 for regular ones.
    pub(super) fn new(cv: f64) -> Self {
        let shape = 1.0 / (cv * cv);
        let gamma = if shape.is_finite() { Gamma::new(shape, 1.0 / shape).ok() } else { None };
        Self { gamma, shape }
    }

    /// One gap.
    pub(super) fn draw(&self, random: &mut impl Rng) -> f64 {
        self.gamma.map_or(1.0, |gamma| gamma.sample(random))
    }

    /// From an arbitrary moment to the first arrival: a uniform part of a gap that was met in
    /// proportion to its length (a Gamma with one more in its shape). Starting with an ordinary
    /// gap instead would add `(CV^2 - 1) / 2` arrivals.
    pub(super) fn draw_first(&self, random: &mut impl Rng) -> f64 {
        let gap = match self.gamma {
            Some(_) => {
                Gamma::new(self.shape + 1.0, 1.0 / self.shape).map_or(1.0, |met| met.sample(random))
            }
            None => 1.0,
        };
        gap * open_unit(random)
    }
}

#[cfg(test)]
mod tests {
    use super::super::draw::{Purpose, stream};
    use super::*;

    fn squared_cv(gaps: &[f64]) -> f64 {
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count / (mean * mean)
    }

    #[test]
    fn gamma_gaps_have_their_squared_cv_in_the_mean_and_add_up_to_one() {
        let mut random = stream(1, Purpose::Arrivals, 0);
        let mut gaps = Vec::new();
        for (cv, count) in [(0.3, 50), (1.0, 100), (3.0, 200), (9.0, 300)] {
            let draws = 4_000;
            let mut total = 0.0;
            for _ in 0..draws {
                closed_gaps(Family::Gamma, cv, count, &mut random, &mut gaps);
                assert!((gaps.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                total += squared_cv(&gaps);
            }
            let found = (total / f64::from(draws)).sqrt();
            assert!((found / cv - 1.0).abs() < 0.03, "cv {cv}: {found}");
        }
    }

    #[test]
    fn weibull_gaps_have_their_cv_in_every_draw() {
        let mut random = stream(1, Purpose::Arrivals, 0);
        let mut gaps = Vec::new();
        for (cv, count) in
            [(0.3, 50), (1.0, 100), (3.0, 200), (8.6, 799), (20.0, 500), (40.0, 1_602)]
        {
            closed_gaps(Family::Weibull, cv, count, &mut random, &mut gaps);
            let found = squared_cv(&gaps).sqrt();
            assert!((found / cv - 1.0).abs() < 0.002, "cv {cv}: {found}");
        }
    }

    #[test]
    fn no_cv_breaks_a_block() {
        let mut random = stream(1, Purpose::Arrivals, 0);
        let mut gaps = Vec::new();
        for family in [Family::Gamma, Family::Weibull] {
            for cv in [0.0, 1e-6, 1.0, 1e3, 1e9] {
                for count in [0, 1, 2, 10, 1_000] {
                    closed_gaps(family, cv, count, &mut random, &mut gaps);
                    assert_eq!(gaps.len(), count);
                    assert!(
                        gaps.iter().all(|gap| gap.is_finite() && *gap >= 0.0),
                        "{family:?} {cv}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_renewal_process_starts_without_an_excess() {
        let renewal = RenewalGaps::new(3.0);
        let (span, runs) = (50.0, 20_000);
        let mut arrivals = 0_u32;
        let mut random = stream(1, Purpose::Arrivals, 0);
        for _ in 0..runs {
            let mut at = renewal.draw_first(&mut random);
            while at < span {
                arrivals += 1;
                at += renewal.draw(&mut random);
            }
        }
        let mean = f64::from(arrivals) / f64::from(runs);
        // An ordinary start would give 54. Standard error: sqrt(9 * 50 / 20,000) = 0.15.
        assert!((mean - span).abs() < 0.6, "{mean}");
    }
}
