//! The workloads, fleets and objectives that capacity is judged on.

use forebay_core::demand::{Moments, Workload};
use forebay_core::fleet::{Role, Slo};
use forebay_core::time::Span;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// How arrivals bunch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bunching {
    /// Gamma gaps: arrivals come in clumps, with no memory beyond the clump.
    Renewal,
    /// Poisson at a rate that keeps a level for ten seconds on average, then takes another.
    Modulated,
}

/// Family of the lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Log-normal, as the sizer assumes.
    LogNormal,
    /// Gamma, as it does not.
    Gamma,
}

/// One point of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Place in the grid.
    pub number: usize,
    /// Engine profile.
    pub profile: String,
    /// `both`, `prefill` or `decode`.
    pub role: String,
    /// Replicas that serve.
    pub replicas: u32,
    /// Mean prompt, tokens.
    pub prompt_tokens: f64,
    /// Standard deviation over mean.
    pub prompt_variation: f64,
    /// Mean output, tokens.
    pub output_tokens: f64,
    /// Standard deviation over mean.
    pub output_variation: f64,
    /// Family of both.
    pub lengths: Family,
    /// Share of the prompt that is a common prefix.
    pub cached_share: f64,
    /// Variance over mean of the arrivals in ten seconds.
    pub dispersion: f64,
    /// How arrivals bunch; of no effect at dispersion 1.
    pub bunching: Bunching,
    /// TTFT objective, ms.
    pub ttft_ms: u64,
    /// TPOT objective, ms.
    pub tpot_ms: u64,
    /// Share of requests that must meet both.
    pub percentile: f64,
}

impl Point {
    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        let roles = [Role::Prefill, Role::Decode];
        roles.into_iter().find(|role| role.name() == self.role).unwrap_or(Role::Both)
    }

    /// The workload as moments.
    #[must_use]
    pub fn workload(&self) -> Workload {
        Workload {
            prompt_tokens: Moments::with_variation(self.prompt_tokens, self.prompt_variation),
            output_tokens: Moments::with_variation(self.output_tokens, self.output_variation),
            cached_share: self.cached_share,
            dispersion: self.dispersion,
        }
    }

    /// The objective.
    #[must_use]
    pub fn slo(&self) -> Slo {
        Slo::Latency {
            ttft: Span::from_millis(self.ttft_ms),
            tpot: Span::from_millis(self.tpot_ms),
            percentile: self.percentile,
        }
    }

    /// Held out: took no part in the choice of constants.
    #[must_use]
    pub const fn held_out(&self) -> bool {
        self.number % 2 == 1
    }
}

/// Dense and mixture-of-experts models, one to eight accelerators, small and large caches.
const PROFILES: [&str; 10] = [
    "llama-3.1-8b-fp8-l40s-tp1",
    "llama-3.1-8b-bf16-a100-sxm-tp1",
    "llama-3.1-8b-fp8-h100-sxm-tp1",
    "qwen3-32b-fp8-h100-sxm-tp1",
    "qwen3-32b-bf16-a100-sxm-tp2",
    "llama-3.3-70b-fp8-h100-sxm-tp4",
    "llama-3.3-70b-fp8-l40s-tp8",
    "gpt-oss-120b-mxfp4-h100-sxm-tp2",
    "gpt-oss-120b-mxfp4-b200-sxm-tp1",
    "qwen3-235b-a22b-fp8-block-h200-sxm-tp4",
];
const ROLES: [Role; 4] = [Role::Both, Role::Both, Role::Prefill, Role::Decode];
const REPLICAS: [u32; 7] = [1, 2, 3, 4, 6, 8, 16];
const PROMPTS: [f64; 5] = [250.0, 600.0, 1_200.0, 2_500.0, 6_000.0];
const OUTPUTS: [f64; 4] = [60.0, 150.0, 300.0, 600.0];
const VARIATIONS: [f64; 4] = [0.3, 0.7, 1.0, 1.5];
const CACHED: [f64; 4] = [0.0, 0.0, 0.3, 0.6];
const DISPERSIONS: [f64; 6] = [1.0, 1.0, 1.0, 2.0, 5.0, 10.0];
const TTFT_MS: [u64; 5] = [300, 500, 1_000, 2_000, 5_000];
const TPOT_MS: [u64; 5] = [20, 35, 60, 100, 150];
const PERCENTILES: [f64; 2] = [0.95, 0.99];

/// `count` points drawn from the lists above, each value of a list as likely as it is there.
/// `keep` passes over points that make no sense.
pub(super) fn draw(count: usize, seed: u64, keep: &dyn Fn(&Point) -> bool) -> Vec<Point> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut points = Vec::with_capacity(count);
    // A list of points, not a search: a `keep` that keeps nothing ends it.
    for _ in 0..count.saturating_mul(100) {
        if points.len() == count {
            break;
        }
        let point = one(points.len(), &mut random);
        if keep(&point) {
            points.push(point);
        }
    }
    points
}

fn one(number: usize, random: &mut impl Rng) -> Point {
    fn any<T: Copy + Default>(list: &[T], random: &mut impl Rng) -> T {
        list.choose(random).copied().unwrap_or_default()
    }
    let role = ROLES.choose(random).copied().unwrap_or(Role::Both);
    Point {
        number,
        profile: any(&PROFILES, random).to_owned(),
        role: role.name().to_owned(),
        replicas: any(&REPLICAS, random),
        prompt_tokens: any(&PROMPTS, random),
        prompt_variation: any(&VARIATIONS, random),
        output_tokens: any(&OUTPUTS, random),
        output_variation: any(&VARIATIONS, random),
        lengths: if random.random_bool(0.5) { Family::LogNormal } else { Family::Gamma },
        cached_share: if role == Role::Decode { 0.0 } else { any(&CACHED, random) },
        dispersion: any(&DISPERSIONS, random),
        bunching: if random.random_bool(0.5) { Bunching::Renewal } else { Bunching::Modulated },
        ttft_ms: any(&TTFT_MS, random),
        tpot_ms: any(&TPOT_MS, random),
        percentile: any(&PERCENTILES, random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_is_the_same_each_time_and_has_everything() {
        let points = draw(200, 1, &|_| true);
        assert_eq!(points, draw(200, 1, &|_| true));
        for profile in PROFILES {
            assert!(points.iter().any(|point| point.profile == profile), "{profile}");
        }
        for role in ["both", "prefill", "decode"] {
            assert!(points.iter().filter(|point| point.role == role).count() > 30, "{role}");
        }
        assert!(draw(5, 1, &|_| false).is_empty());
    }
}
