//! Calibration of profiles on one half of the measured sweeps: few figures per model and
//! accelerator, held near what is plausible, so that they carry over to sweeps never seen.
//!
//! Gauss-Newton on the logarithms of measured over simulated TPOT and TTFT, reweighted so that
//! single runs of unknown circumstances do not pull (Huber), with a normal prior on every figure.
//! Parallelism may differ a little: each profile has its own small offsets on two of the figures,
//! pulled to zero.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::engine::profile::EngineProfile;

use super::calibration::{Calibration, FIGURES};
use super::load::{self, Outcome};
use super::measured::{self, MeasuredRun, sweep_hash};
use crate::table::TableError;

/// What is plausible for each figure of a [`Calibration`] before any run is seen. Kernels are measured, so factors are near 1; their sum leaves
/// out the host, so overheads are above 0.
const FIGURE_PRIORS: [Prior; FIGURES] = [
    Prior { mean: 0.0, deviation: 0.15, probe: 0.03, least_zero: false },
    Prior { mean: 0.0, deviation: 0.4, probe: 0.1, least_zero: false },
    Prior { mean: 0.0, deviation: 0.4, probe: 0.1, least_zero: false },
    Prior { mean: 0.0, deviation: 0.4, probe: 0.1, least_zero: false },
    Prior { mean: 0.3, deviation: 1.0, probe: 0.1, least_zero: true },
    Prior { mean: 20.0, deviation: 20.0, probe: 3.0, least_zero: true },
];
/// Which figures a profile may have its own offset on, and the prior deviation of that: the whole
/// step and prefill, in which accelerators communicate, and the time per request, in which kernel
/// launches of prefill hide where the accelerators outrun the host.
const OFFSETS: [(usize, f64); 3] = [(0, 0.06), (1, 0.06), (5, 25.0)];
/// What an error of TPOT and TTFT weighs: about twice the median difference of repeated
/// measurements across engine versions would be too lax, one half of the targets is right.
const TPOT_DEVIATION: f64 = 0.04;
/// See [`TPOT_DEVIATION`].
const TTFT_DEVIATION: f64 = 0.10;
/// Deviations beyond which an error counts only linearly.
const HUBER: f64 = 1.0;
/// Deviations beyond which a run is taken to have been measured under other circumstances (a
/// server with a smaller batch limit, for instance) and hardly counts.
const OUTLIER: f64 = 10.0;
/// Fewest runs that a model and accelerator is calibrated on: as many as there are figures.
const RUNS_MIN: usize = FIGURES;
/// How far the TTFT of a run is believed whose load pattern had to be guessed.
const TRUST_GUESSED_LOAD: f64 = 0.5;
/// Rounds of fitting; the objective hardly falls after eight.
const ROUNDS: usize = 12;
/// Levenberg's damping at the start, how it falls after a success and rises after a failure.
const DAMPING_START: f64 = 0.1;
/// See [`DAMPING_START`].
const DAMPING_EASE: f64 = 3.0;
/// See [`DAMPING_START`].
const DAMPING_RAISE: f64 = 5.0;

struct Prior {
    mean: f64,
    deviation: f64,
    /// Step of the numeric derivative.
    probe: f64,
    /// Whether negative values mean nothing.
    least_zero: bool,
}

/// What came out of a fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fit {
    /// Calibrated profiles by name; profiles of models and accelerators without runs are absent.
    pub profiles: BTreeMap<String, EngineProfile>,
    /// The sweeps that took part.
    pub trained: BTreeSet<u64>,
}

/// Calibrates `profiles`, as the tables of step times give them, on one half of the sweeps of a
/// table of measured runs.
///
/// # Errors
/// [`TableError`]: a column is missing, or a figure is not a number.
pub fn fit(measured_csv: &str, profiles: &[EngineProfile]) -> Result<Fit, TableError> {
    let runs = measured::sort(measured_csv, profiles)?.runs;
    let half = training_half(&runs, profiles);
    let training = runs.into_iter().filter(|run| half.contains(&sweep_hash(&run.sweep)));
    let training: Vec<MeasuredRun> =
        training.filter(|run| load::is_plausible(run, &profiles[run.profile])).collect();
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    for run in training {
        let group = groups.entry(key(&profiles[run.profile])).or_default();
        if !group.own.contains(&run.profile) {
            group.own.push(run.profile);
        }
        group.runs.push(run);
    }
    groups.retain(|_, group| group.runs.len() >= RUNS_MIN);
    let runs = groups.values().flat_map(|group| &group.runs);
    let trained = runs.map(|run| sweep_hash(&run.sweep)).collect();
    groups.values_mut().for_each(Group::start);
    for _ in 0..ROUNDS {
        improve(&mut groups, profiles);
    }
    let mut fit = Fit { trained, ..Fit::default() };
    for (index, profile) in profiles.iter().enumerate() {
        if let Some(group) = groups.get(&key(profile))
            && let Some((figures, ..)) = &group.best
        {
            let own = group.own.contains(&index);
            let calibration = group.calibration(figures, index);
            let applied = calibration.apply_with_evidence(profile, group.runs.len(), own);
            fit.profiles.insert(profile.name.clone(), applied);
        }
    }
    Ok(fit)
}

type Key = (String, String, String);

fn key(profile: &EngineProfile) -> Key {
    (profile.model.clone(), profile.quantization.clone(), profile.accelerator.clone())
}

/// Every other sweep of each model and accelerator, in the order of their hashes: a choice that
/// knows nothing of the figures, and leaves no model all on one side.
fn training_half(runs: &[MeasuredRun], profiles: &[EngineProfile]) -> BTreeSet<u64> {
    let mut sweeps: BTreeMap<Key, BTreeSet<u64>> = BTreeMap::new();
    for run in runs {
        sweeps.entry(key(&profiles[run.profile])).or_default().insert(sweep_hash(&run.sweep));
    }
    sweeps.into_values().flat_map(|hashes| hashes.into_iter().step_by(2)).collect()
}

/// Figures of a group: those of the accelerator, then the offsets of each profile.
type Figures = Vec<f64>;

/// The runs of one model and accelerator, and its calibration so far.
#[derive(Default)]
struct Group {
    runs: Vec<MeasuredRun>,
    /// Profiles with runs, in order.
    own: Vec<usize>,
    /// The best figures so far, with their objective and the equations around them.
    best: Option<(Figures, f64, Equations)>,
    /// What to simulate next.
    tried: Figures,
    damping: f64,
}

/// Normal equations of a Gauss-Newton step.
struct Equations {
    matrix: Vec<Vec<f64>>,
    right: Vec<f64>,
}

impl Group {
    /// Starts from the prior.
    fn start(&mut self) {
        self.tried = FIGURE_PRIORS.iter().map(|prior| prior.mean).collect();
        self.tried.resize(FIGURES + self.own.len() * OFFSETS.len(), 0.0);
        self.damping = DAMPING_START;
    }

    /// The calibration of a profile, with or without runs of its own, under some figures.
    fn calibration(&self, figures: &[f64], profile: usize) -> Calibration {
        let mut own = [0.0; FIGURES];
        own.copy_from_slice(&figures[..FIGURES]);
        if let Some(place) = self.offsets_place(profile) {
            for (offset, (figure, _)) in OFFSETS.iter().enumerate() {
                own[*figure] += figures[place + offset];
            }
        }
        Calibration::from_figures(own)
    }

    /// Where the offsets of a profile begin among the figures.
    fn offsets_place(&self, profile: usize) -> Option<usize> {
        let place = self.own.iter().position(|&own| own == profile)?;
        Some(FIGURES + place * OFFSETS.len())
    }

    /// Mean and deviation of the prior of each figure.
    fn priors(&self) -> Vec<(f64, f64)> {
        let offsets = OFFSETS.iter().map(|(_, deviation)| (0.0, *deviation));
        let own = self.own.iter().flat_map(|_| offsets.clone());
        FIGURE_PRIORS.iter().map(|prior| (prior.mean, prior.deviation)).chain(own).collect()
    }
}

/// One round for every group: all simulations first, on all cores.
fn improve(groups: &mut BTreeMap<Key, Group>, profiles: &[EngineProfile]) {
    let jobs: Vec<(&MeasuredRun, EngineProfile)> = groups
        .values()
        .flat_map(|group| group.runs.iter().map(move |run| (group, run)))
        .flat_map(|(group, run)| {
            let figures = group.calibration(&group.tried, run.profile).figures();
            let apply =
                move |figures| Calibration::from_figures(figures).apply(&profiles[run.profile]);
            let probes = (0..FIGURES).map(move |figure| {
                let mut probed = figures;
                probed[figure] += FIGURE_PRIORS[figure].probe;
                (run, apply(probed))
            });
            std::iter::once((run, apply(figures))).chain(probes)
        })
        .collect();
    let outcomes = load::on_all_cores(&jobs, |(run, profile)| load::simulate(profile, run).ok());
    drop(jobs);
    let mut outcomes = outcomes.chunks_exact(1 + FIGURES);
    for group in groups.values_mut() {
        let own: Vec<_> = outcomes.by_ref().take(group.runs.len()).collect();
        group.learn(&own);
    }
}

impl Group {
    /// Takes in what was simulated for the figures that were tried, and chooses the next ones:
    /// Levenberg's rule, so that the objective of the best figures never rises.
    fn learn(&mut self, outcomes: &[&[Option<Outcome>]]) {
        let (objective, equations) = self.equations(outcomes);
        if self.best.as_ref().is_none_or(|(_, best, _)| objective < *best) {
            self.best = Some((self.tried.clone(), objective, equations));
            self.damping /= DAMPING_EASE;
        } else {
            self.damping *= DAMPING_RAISE;
        }
        let Some((figures, _, equations)) = &self.best else { return };
        let mut matrix = equations.matrix.clone();
        for (place, row) in matrix.iter_mut().enumerate() {
            row[place] *= 1.0 + self.damping;
        }
        let Some(moves) = solve(matrix, equations.right.clone()) else { return };
        self.tried = figures.iter().zip(moves).map(|(figure, step)| figure + step).collect();
        for (figure, prior) in FIGURE_PRIORS.iter().enumerate() {
            let reach = 2.0 * prior.deviation;
            let moved = self.tried[figure].clamp(figures[figure] - reach, figures[figure] + reach);
            self.tried[figure] = if prior.least_zero { moved.max(0.0) } else { moved };
        }
    }

    /// The objective and the normal equations at the figures that were tried.
    fn equations(&self, outcomes: &[&[Option<Outcome>]]) -> (f64, Equations) {
        let size = self.tried.len();
        let (mut matrix, mut right) = (vec![vec![0.0; size]; size], vec![0.0; size]);
        let mut objective = 0.0;
        for (place, (mean, deviation)) in self.priors().into_iter().enumerate() {
            let error = (self.tried[place] - mean) / deviation;
            objective += error * error / 2.0;
            matrix[place][place] += deviation.powi(-2);
            right[place] -= error / deviation;
        }
        for (run, outcomes) in self.runs.iter().zip(outcomes) {
            // A run that cannot be simulated takes no part; which ones those are hardly changes.
            let Some(outcomes) = outcomes.iter().copied().collect::<Option<Vec<_>>>() else {
                continue;
            };
            let at_run = errors(run, outcomes[0]);
            let probed: Vec<_> = outcomes[1..].iter().map(|probe| errors(run, *probe)).collect();
            for (part, (error, trust)) in at_run.into_iter().zip(trust(run)).enumerate() {
                let mut slopes = vec![0.0; size];
                for (figure, prior) in FIGURE_PRIORS.iter().enumerate() {
                    slopes[figure] = (probed[figure][part] - error) / prior.probe;
                }
                if let Some(place) = self.offsets_place(run.profile) {
                    for (offset, (figure, _)) in OFFSETS.iter().enumerate() {
                        slopes[place + offset] = slopes[*figure];
                    }
                }
                objective += trust * loss(error);
                let weight = trust * weight(error);
                for (row, slope) in slopes.iter().enumerate() {
                    right[row] -= weight * slope * error;
                    for (column, other) in slopes.iter().enumerate() {
                        matrix[row][column] += weight * slope * other;
                    }
                }
            }
        }
        (objective, Equations { matrix, right })
    }
}

/// Measured over simulated as logarithms in units of their deviations: TPOT, TTFT.
fn errors(run: &MeasuredRun, outcome: Outcome) -> [f64; 2] {
    [
        (run.tpot_ms / outcome.tpot_ms).ln() / TPOT_DEVIATION,
        (run.ttft_ms / outcome.ttft_ms).ln() / TTFT_DEVIATION,
    ]
}

/// How far TPOT and TTFT of a run are believed. A load pattern that had to be guessed decides TTFT
/// far more than TPOT.
fn trust(run: &MeasuredRun) -> [f64; 2] {
    [1.0, if run.client_known { 1.0 } else { TRUST_GUESSED_LOAD }]
}

/// What an error costs: its square at first, then its size, then hardly more: a run beyond
/// [`OUTLIER`] was measured under other circumstances.
fn loss(error: f64) -> f64 {
    let size = error.abs();
    if size <= HUBER { size * size / 2.0 } else { HUBER * (size.min(OUTLIER) - HUBER / 2.0) }
}

/// The weight with which least squares follow [`loss`].
fn weight(error: f64) -> f64 {
    let size = error.abs();
    if size <= HUBER {
        1.0
    } else if size <= OUTLIER {
        HUBER / size
    } else {
        0.0
    }
}

/// Solves a symmetric positive definite system by elimination; `None` when it is singular.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for pivot in 0..size {
        let diagonal = matrix[pivot][pivot];
        if diagonal.is_nan() || diagonal <= 0.0 {
            return None;
        }
        for row in pivot + 1..size {
            let factor = matrix[row][pivot] / diagonal;
            let (above, below) = matrix.split_at_mut(row);
            for (below, above) in below[0].iter_mut().zip(&above[pivot]).skip(pivot) {
                *below -= factor * above;
            }
            right[row] -= factor * right[pivot];
        }
    }
    let mut solution = vec![0.0; size];
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|column| matrix[row][column] * solution[column]).sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    Some(solution)
}
