//! Stationary traffic of a point at a rate.

use std::sync::Arc;

use forebay_core::time::Time;
use rand::distr::Distribution;
use rand::{RngExt, SeedableRng};
use rand_distr::{Exp1, Gamma, LogNormal};
use rand_pcg::Pcg64Mcg;

use super::grid::{Bunching, Family, Point};
use crate::trace::{Request, Source, TraceError};

/// How long a modulated rate keeps its level, mean, s.
const LEVEL_S: f64 = 10.0;
/// The window that dispersion is counted in, s.
const WINDOW_S: f64 = 10.0;
/// Tokens of one piece of the common prefix.
const PIECE_TOKENS: u32 = 64;
/// Prefixes in use: a prompt begins with one of them.
const PREFIXES: u64 = 4;

/// Draws the requests of a point.
pub(super) struct Stationary {
    random: Pcg64Mcg,
    left: u64,
    at_s: f64,
    gaps: Gaps,
    prompt: Lengths,
    output: Lengths,
    cached_share: f64,
}

impl Stationary {
    /// `requests` of a point at a rate.
    pub(super) fn new(point: &Point, requests_per_s: f64, requests: u64, seed: u64) -> Self {
        Self {
            random: Pcg64Mcg::seed_from_u64(seed),
            left: requests,
            at_s: 0.0,
            gaps: Gaps::new(point, requests_per_s),
            prompt: Lengths::new(point.lengths, point.prompt_tokens, point.prompt_variation),
            output: Lengths::new(point.lengths, point.output_tokens, point.output_variation),
            cached_share: point.cached_share,
        }
    }

    /// The common part of a prompt, in pieces.
    fn prefix(&mut self, prompt_tokens: u32) -> Option<Arc<[u64]>> {
        let common = f64::from(prompt_tokens) * self.cached_share / f64::from(PIECE_TOKENS);
        let most = u64::from((prompt_tokens - 1) / PIECE_TOKENS);
        let pieces = (common.round() as u64).min(most);
        let chosen = self.random.random_range(0..PREFIXES);
        (pieces > 0).then(|| (1..=pieces).map(|piece| piece * PREFIXES + chosen).collect())
    }
}

impl Source for Stationary {
    fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.at_s = self.gaps.next_s(self.at_s, &mut self.random);
        let prompt_tokens = self.prompt.draw(&mut self.random);
        let output_tokens = self.output.draw(&mut self.random);
        let prefix = self.prefix(prompt_tokens);
        let at = Time::from_seconds(self.at_s);
        Ok(Some(Request { at, prompt_tokens, output_tokens, client: 0, prefix }))
    }

    fn prefix_piece_tokens(&self) -> u32 {
        if self.cached_share > 0.0 { PIECE_TOKENS } else { 0 }
    }
}

enum Lengths {
    LogNormal(LogNormal<f64>),
    Gamma(Gamma<f64>),
    Constant(f64),
}

impl Lengths {
    fn new(family: Family, mean: f64, variation: f64) -> Self {
        let squared = variation * variation;
        let drawn = match family {
            Family::LogNormal => {
                let variance = (1.0 + squared).ln();
                let location = mean.ln() - variance / 2.0;
                LogNormal::new(location, variance.sqrt()).ok().map(Self::LogNormal)
            }
            Family::Gamma => Gamma::new(1.0 / squared, mean * squared).ok().map(Self::Gamma),
        };
        drawn.unwrap_or(Self::Constant(mean))
    }

    fn draw(&self, random: &mut Pcg64Mcg) -> u32 {
        let length = match self {
            Self::LogNormal(law) => law.sample(random),
            Self::Gamma(law) => law.sample(random),
            Self::Constant(length) => *length,
        };
        length.round().max(1.0) as u32
    }
}

enum Gaps {
    Renewal(Gamma<f64>),
    Modulated { mean_per_s: f64, levels: Option<Gamma<f64>>, rate_per_s: f64, until_s: f64 },
}

impl Gaps {
    fn new(point: &Point, requests_per_s: f64) -> Self {
        let excess = (point.dispersion - 1.0).max(0.0);
        if point.bunching == Bunching::Renewal
            && let Ok(gaps) = Gamma::new(1.0 / point.dispersion, point.dispersion / requests_per_s)
        {
            return Self::Renewal(gaps);
        }
        // Counts in a window: Var = mean + 2 v rate^2 L^2 (W/L - 1 + exp(-W/L)), with v the
        // squared coefficient of variation of the level and L its mean time.
        let share = WINDOW_S / LEVEL_S;
        let per_variance = 2.0 * LEVEL_S * LEVEL_S * (share - 1.0 + (-share).exp());
        let variance = excess * WINDOW_S / (per_variance * requests_per_s);
        Self::Modulated {
            mean_per_s: requests_per_s,
            levels: Gamma::new(1.0 / variance, variance).ok().filter(|_| excess > 0.0),
            rate_per_s: requests_per_s,
            until_s: 0.0,
        }
    }

    fn next_s(&mut self, at_s: f64, random: &mut Pcg64Mcg) -> f64 {
        match self {
            Self::Renewal(gaps) => at_s + gaps.sample(random),
            Self::Modulated { mean_per_s, levels, rate_per_s, until_s } => {
                let mut at_s = at_s;
                let mut left: f64 = Exp1.sample(random);
                loop {
                    let here = (*until_s - at_s).max(0.0) * *rate_per_s;
                    if left <= here {
                        return at_s + left / *rate_per_s;
                    }
                    left -= here;
                    at_s = until_s.max(at_s);
                    let level = levels.as_ref().map_or(1.0, |levels| levels.sample(random));
                    *rate_per_s = *mean_per_s * level;
                    let stays: f64 = Exp1.sample(random);
                    *until_s = at_s + LEVEL_S * stays;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::grid;

    #[test]
    fn traffic_is_what_the_point_says() {
        for (number, bunching) in [Bunching::Renewal, Bunching::Modulated].into_iter().enumerate() {
            for lengths in [Family::LogNormal, Family::Gamma] {
                let point = Point {
                    dispersion: 4.0,
                    prompt_variation: 1.0,
                    cached_share: 0.5,
                    bunching,
                    lengths,
                    ..grid::draw(1, number as u64, &|_| true).remove(0)
                };
                let mut source = Stationary::new(&point, 20.0, 200_000, 1);
                let (mut counts, mut prompts, mut cached) = (vec![0.0_f64; 900], 0.0, 0.0);
                while let Some(request) = source.next_request().unwrap() {
                    if let Some(count) = counts.get_mut((request.at.as_seconds() / 10.0) as usize) {
                        *count += 1.0;
                    }
                    prompts += f64::from(request.prompt_tokens);
                    let pieces = request.prefix.map_or(0, |ids| ids.len());
                    cached += pieces as f64 * f64::from(PIECE_TOKENS);
                }
                let windows = counts.len() as f64;
                let mean = counts.iter().sum::<f64>() / windows;
                let variance =
                    counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / windows;
                assert!((mean / 200.0 - 1.0).abs() < 0.05, "{mean}");
                assert!((variance / mean / 4.0 - 1.0).abs() < 0.25, "{}", variance / mean);
                assert!((prompts / 200_000.0 / point.prompt_tokens - 1.0).abs() < 0.03);
                assert!((cached / prompts - 0.5).abs() < 0.06, "{}", cached / prompts);
            }
        }
    }
}
