//! A deterministic sample of a workload: lengths and arrivals that have its moments.
//!
//! What the moments leave open is filled in as traffic usually is: lengths are log-normal and
//! independent of each other. Arrivals have the dispersion asked for in windows of ten seconds: a
//! share of what exceeds a Poisson process comes from clumps of arrivals (prompts queue), the rest
//! from a rate that keeps a level for ten seconds in the mean (batches swell).

use std::sync::Arc;

use super::normal;
use crate::demand::{Moments, Workload};
use crate::engine::Prefix;

/// Window in which [`Workload::dispersion`] is counted, and mean time that a rate lasts, s.
const WINDOW_S: f64 = 10.0;
/// Variance of a rate's mean over one window, as a part of the rate's own, for levels that last
/// exponentially long, one window in the mean: 2 / e.
const WINDOW_VARIANCE: f64 = 0.735_758_882_342_884_6;
/// Lengths and windows are drawn in strata of this many: their moments are then close to those
/// asked for over any few strata, while neighbours are as independent as in traffic.
const STRATA: usize = 256;
/// Few, since levels in a row that even out would hide what swells a batch for a minute.
const LEVEL_STRATA: usize = 4;
/// Pieces into which the mean cached prefix is cut.
const PIECES_PER_PREFIX: f64 = 4.0;
/// Longest chain of pieces that a prompt is known by; prompts in the far tail share no more.
const PIECES_MAX: usize = 256;

/// Pseudo-random numbers in [0, 1) (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Standard normal numbers, stratified in blocks.
#[derive(Clone, Debug)]
struct Normals {
    dice: Dice,
    block: Vec<f64>,
    strata: usize,
}

impl Normals {
    fn new(seed: u64, strata: usize) -> Self {
        Self { dice: Dice::new(seed), block: Vec::new(), strata }
    }

    fn next(&mut self) -> f64 {
        if self.block.is_empty() {
            let strata = self.strata;
            self.block.extend((0..strata).map(|stratum| {
                normal::quantile((stratum as f64 + self.dice.unit()) / strata as f64)
            }));
            for last in (1..strata).rev() {
                let other = (self.dice.unit() * (last + 1) as f64) as usize;
                self.block.swap(last, other);
            }
        }
        self.block.pop().unwrap_or_default()
    }
}

/// A log-normal variable by its mean and squared coefficient of variation.
#[derive(Clone, Copy, Debug)]
struct LogNormal {
    location: f64,
    sigma: f64,
}

impl LogNormal {
    fn new(mean: f64, variation_squared: f64) -> Self {
        let variance = (1.0 + variation_squared.max(0.0)).ln();
        Self { location: mean.max(f64::MIN_POSITIVE).ln() - variance / 2.0, sigma: variance.sqrt() }
    }

    fn of(length: &Moments) -> Self {
        Self::new(length.mean.max(1.0), length.variation_squared())
    }

    fn at(self, z: f64) -> f64 {
        (self.location + self.sigma * z).exp()
    }
}

/// One request of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    /// Pieces of the common prefix that its prompt begins with.
    pub(super) pieces: u16,
}

/// Requests without their times; the same ones for every rate and count of replicas.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    prompts: (Normals, LogNormal),
    outputs: (Normals, LogNormal),
    cached_share: f64,
    piece_tokens: u32,
    requests: Vec<Lengths>,
    prefixes: Vec<Prefix>,
}

impl Sample {
    pub(super) fn new(workload: &Workload, block_tokens: u32, seed: u64) -> Self {
        let prompts = LogNormal::of(&workload.prompt_tokens);
        let cached_share = workload.cached_share.clamp(0.0, 1.0);
        let cached = workload.prompt_tokens.mean * cached_share;
        let blocks = (cached / PIECES_PER_PREFIX / f64::from(block_tokens)).round().max(1.0);
        Self {
            prompts: (Normals::new(seed ^ 0x70, STRATA), prompts),
            outputs: (Normals::new(seed ^ 0x6F, STRATA), LogNormal::of(&workload.output_tokens)),
            cached_share,
            piece_tokens: blocks as u32 * block_tokens,
            requests: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    /// At least `count` requests.
    pub(super) fn requests(&mut self, count: usize) -> &[Lengths] {
        while self.requests.len() < count {
            let prompt = self.prompts.1.at(self.prompts.0.next()).round().max(1.0);
            let output = self.outputs.1.at(self.outputs.0.next()).round().max(1.0);
            let pieces = (prompt * self.cached_share / f64::from(self.piece_tokens)).round();
            // The last token is computed in any case.
            let most = (prompt - 1.0) / f64::from(self.piece_tokens);
            self.requests.push(Lengths {
                prompt_tokens: prompt as u32,
                output_tokens: output as u32,
                pieces: pieces.min(most).min(PIECES_MAX as f64) as u16,
            });
        }
        &self.requests
    }

    /// The common prefix cut to so many pieces; `None` for none.
    pub(super) fn prefix(&mut self, pieces: u16) -> Option<Prefix> {
        while self.prefixes.len() < usize::from(pieces) {
            let ids: Arc<[u64]> = (1..=self.prefixes.len() as u64 + 1).collect();
            self.prefixes.push(Prefix { ids, piece_tokens: self.piece_tokens });
        }
        usize::from(pieces).checked_sub(1).map(|last| self.prefixes[last].clone())
    }
}

/// Times of arrival at a rate, s; the same luck at every rate.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    gaps: Dice,
    holds: Dice,
    /// Mean size of a clump; at least 1.
    clump: f64,
    levels: Normals,
    level: LogNormal,
    requests_per_s: f64,
    /// Rate now, and until when.
    window: (f64, f64),
    at_s: f64,
}

impl Arrivals {
    /// `clumped_share` of what exceeds a dispersion of 1 is clumps, 0..1; the rest is waves.
    pub(super) fn new(requests_per_s: f64, dispersion: f64, clumped_share: f64, seed: u64) -> Self {
        let excess = (dispersion - 1.0).max(0.0);
        // Clumps are Poisson and of geometric size; their counts have the dispersion
        // E[size^2] / E[size] = 2 mean - 1.
        let clump = 1.0 + excess * clumped_share / 2.0;
        let waves = excess * (1.0 - clumped_share) / (requests_per_s * WINDOW_S * WINDOW_VARIANCE);
        Self {
            gaps: Dice::new(seed ^ 0x67),
            holds: Dice::new(seed ^ 0x68),
            clump,
            levels: Normals::new(seed ^ 0x6C, LEVEL_STRATA),
            level: LogNormal::new(1.0, waves),
            requests_per_s,
            window: (requests_per_s, 0.0),
            at_s: 0.0,
        }
    }

    pub(super) fn next_s(&mut self) -> f64 {
        if self.at_s > 0.0 && self.gaps.unit() * self.clump >= 1.0 {
            return self.at_s;
        }
        let mut left = self.gaps.exponential() * self.clump;
        loop {
            let (rate, end_s) = self.window;
            let until_end = (end_s - self.at_s) * rate;
            if left <= until_end {
                self.at_s += left / rate;
                return self.at_s;
            }
            left -= until_end.max(0.0);
            self.at_s = end_s;
            let rate = self.requests_per_s * self.level.at(self.levels.next());
            self.window =
                (rate.max(self.requests_per_s * 1e-6), end_s + WINDOW_S * self.holds.exponential());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_moments_asked_for() {
        let workload = Workload {
            prompt_tokens: Moments::with_variation(1_500.0, 1.2),
            output_tokens: Moments::with_variation(200.0, 0.8),
            cached_share: 0.4,
            dispersion: 5.0,
        };
        let mut sample = Sample::new(&workload, 16, 1);
        let piece = f64::from(sample.piece_tokens);
        let requests = sample.requests(8_192)[..8_192].to_vec();
        let mean = |read: &dyn Fn(&Lengths) -> f64| {
            requests.iter().map(read).sum::<f64>() / requests.len() as f64
        };
        let prompt = mean(&|request| f64::from(request.prompt_tokens));
        let squared = mean(&|request| f64::from(request.prompt_tokens).powi(2));
        let output = mean(&|request| f64::from(request.output_tokens));
        let cached = mean(&|request| f64::from(request.pieces) * piece);
        assert!((prompt / 1_500.0 - 1.0).abs() < 0.01, "{prompt}");
        assert!((squared / workload.prompt_tokens.squared - 1.0).abs() < 0.05, "{squared}");
        assert!((output / 200.0 - 1.0).abs() < 0.01, "{output}");
        assert!((cached / prompt / 0.4 - 1.0).abs() < 0.03, "{}", cached / prompt);
        assert_eq!(sample.prefix(3).map(|prefix| prefix.ids.to_vec()), Some(vec![1, 2, 3]));
        assert_eq!(sample.prefix(0), None);
    }

    #[test]
    fn arrivals_have_the_rate_and_the_dispersion_asked_for() {
        let cases = [(20.0, 1.0, 0.5), (20.0, 8.0, 0.8), (20.0, 8.0, 0.3), (2.0, 3.0, 0.5)];
        for (rate, dispersion, clumped_share) in cases {
            let mut arrivals = Arrivals::new(rate, dispersion, clumped_share, 7);
            let mut counts = vec![0.0_f64; 20_000];
            while let Some(count) = counts.get_mut((arrivals.next_s() / WINDOW_S) as usize) {
                *count += 1.0;
            }
            let windows = counts.len() as f64;
            let mean = counts.iter().sum::<f64>() / windows;
            let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / windows;
            assert!((mean / (rate * WINDOW_S) - 1.0).abs() < 0.02, "{mean}");
            assert!((variance / mean / dispersion - 1.0).abs() < 0.15, "{}", variance / mean);
        }
    }
}
