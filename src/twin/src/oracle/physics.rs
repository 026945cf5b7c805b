//! What a request must buy of an engine's time, whatever shares its steps: linear supports of the
//! step-time model and the ways to charge the part that a step costs once.

use forebay_core::engine::profile::{EngineProfile, StepTime};
use forebay_core::fleet::Variant;

/// The hull of the step time is taken over steps of up to this many tokens. Beyond them every
/// step-time curve is convex (all experts are touched), so its supports hold there too.
const HULL_TOKENS: u32 = 65_536;
/// Start-ups are taken at this many standard deviations below the median: once in 10^9 starts a
/// replica is faster.
pub const START_UP_SIGMAS: f64 = 6.0;
/// Engines round the time of a step, without its KV, by less than this, s.
const STEP_ROUNDING_S: f64 = 2e-12;
/// Engines hold the time per KV token in whole picoseconds, s.
const KV_ROUNDING_S: f64 = 0.5e-12;
/// Engines hold the time per half pair in whole femtoseconds, s per pair.
const PAIR_ROUNDING_S: f64 = 1e-15;
/// A gap budget is taken to be at least this share of the objective above the shared part of a
/// step, which bounds the charge where an objective is barely longer than a step.
const GAP_SHARE_MIN: f64 = 1e-3;

/// How the part of a step that is paid once is charged to the requests that share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// By the TPOT objective.
    Tpot,
    /// By private KV read over KV capacity.
    Kv,
    /// By sequences over the most that a step may hold.
    Sequences,
    /// By tokens over the most that a step may hold.
    Tokens,
}

impl Charge {
    const ALL: [Self; 4] = [Self::Tpot, Self::Kv, Self::Sequences, Self::Tokens];
}

/// One request as work: tokens and context, no time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Prompt tokens.
    pub prompt: f64,
    /// Of those, tokens that some other request shares, hence perhaps cached; below `prompt`.
    pub shared: f64,
    /// Tokens after the first.
    pub gaps: f64,
    /// Longest mean time per gap, s; `None` without an objective on it.
    pub gap_max_s: Option<f64>,
}

/// A lower bound on the time that requests take of one replica of a variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Part of a step that is paid once, s.
    shared_s: f64,
    /// Per token in a step, s.
    token_s: f64,
    /// Per token of KV read, s.
    kv_s: f64,
    /// Per pair of prefill attention, s.
    pair_s: f64,
    /// The shortest possible step, s.
    step_min_s: f64,
    /// KV tokens that fit.
    kv_capacity: f64,
    sequences_max: f64,
    tokens_max: f64,
    charge: Charge,
}

impl Rates {
    /// Every valid way to bound a profile's work: each support with each charge. The
    /// profile's limits must be the largest that any policy sets.
    #[must_use]
    pub fn candidates(profile: &EngineProfile) -> Vec<Self> {
        let step = &profile.step_time;
        let calibration = step.calibration;
        let scale = |milliseconds: f64, rounding_s: f64| {
            (calibration * milliseconds * 1e-3 - rounding_s).max(0.0)
        };
        let mut candidates = Vec::new();
        for (alpha, beta) in supports(step) {
            for charge in Charge::ALL {
                candidates.push(Self {
                    shared_s: scale(step.fixed_ms + alpha, STEP_ROUNDING_S),
                    token_s: scale(beta, 0.0),
                    kv_s: scale(step.kv_read_ms_per_ktoken * 1e-3, KV_ROUNDING_S),
                    pair_s: scale(step.attention_ms_per_mpair * 1e-6, PAIR_ROUNDING_S),
                    step_min_s: scale(step.fixed_ms + token_time_ms(step, 1.0), STEP_ROUNDING_S),
                    kv_capacity: profile.kv.capacity_tokens as f64,
                    sequences_max: f64::from(profile.limits.max_num_seqs.max(1)),
                    tokens_max: f64::from(profile.limits.max_num_batched_tokens.max(1)),
                    charge,
                });
            }
        }
        candidates
    }

    /// Seconds of a replica that computing the prompt takes at least; `None` = it never fits.
    #[must_use]
    pub fn prefill_s(&self, need: &Need) -> Option<f64> {
        if need.prompt > self.kv_capacity {
            return None;
        }
        let uncached = need.prompt - need.shared;
        let pairs = uncached * (need.prompt + need.shared) / 2.0;
        let once = match self.charge {
            Charge::Tokens => self.shared_s * uncached / self.tokens_max,
            Charge::Tpot | Charge::Kv | Charge::Sequences => 0.0,
        };
        Some(self.token_s * uncached + self.pair_s * pairs + once)
    }

    /// Seconds of a replica that all tokens after the first take at least; `None` = the request
    /// cannot attain here.
    #[must_use]
    pub fn decode_s(&self, need: &Need) -> Option<f64> {
        if need.prompt > self.kv_capacity
            || need.gap_max_s.is_some_and(|gap| gap < self.step_min_s && need.gaps > 0.0)
        {
            return None;
        }
        if need.gaps <= 0.0 {
            return Some(0.0);
        }
        let gaps = need.gaps;
        let read = gaps * (need.prompt + (gaps - 1.0) / 2.0);
        let own = self.token_s * gaps + self.kv_s * read;
        let once = match self.charge {
            Charge::Tpot => need.gap_max_s.map_or(0.0, |gap_max_s| {
                let first = self.token_s + self.kv_s * need.prompt;
                let last = first + self.kv_s * (gaps - 1.0);
                // The root is concave in the gap's number, so its sum is above its chord.
                let root = (first.sqrt() + last.sqrt()) / 2.0;
                let budget = (gap_max_s - self.shared_s).max(gap_max_s * GAP_SHARE_MIN);
                self.shared_s * gaps * root * root / budget
            }),
            Charge::Kv => self.shared_s * (read - gaps * need.shared) / self.kv_capacity,
            Charge::Sequences => self.shared_s * gaps / self.sequences_max,
            Charge::Tokens => self.shared_s * gaps / self.tokens_max,
        };
        Some(own + once)
    }
}

/// `(w + m*touched(N))^q + (g*N)^q)^(1/q)`, ms, as the engine has it.
fn token_time_ms(step: &StepTime, tokens: f64) -> f64 {
    let touched = 1.0 - (1.0 - step.expert_share_per_token).powf(tokens);
    let weights = step.weights_ms + step.experts_ms * touched;
    let compute = step.compute_ms_per_ktoken * 1e-3 * tokens;
    let q = step.overlap_exponent.max(1.0);
    // Scaled by the larger part, so that large exponents do not overflow.
    let larger = weights.max(compute);
    if larger <= 0.0 {
        return 0.0;
    }
    larger * ((weights / larger).powf(q) + (compute / larger).powf(q)).powf(1.0 / q)
}

/// Edges `(alpha, beta)` of the lower convex hull of the token time over 1..=[`HULL_TOKENS`]
/// tokens, thinned to about two per octave; each lies below the curve at every whole number.
fn supports(step: &StepTime) -> Vec<(f64, f64)> {
    let curve: Vec<(f64, f64)> = (1..=HULL_TOKENS)
        .map(|tokens| (f64::from(tokens), token_time_ms(step, f64::from(tokens))))
        .collect();
    let mut hull: Vec<(f64, f64)> = Vec::new();
    for &point in &curve {
        while let [.., before, last] = hull.as_slice() {
            let turn = (last.0 - before.0) * (point.1 - before.1)
                - (last.1 - before.1) * (point.0 - before.0);
            if turn > 0.0 {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    let mut edges = Vec::new();
    let mut next = 0.0;
    for pair in hull.windows(2) {
        let [left, right] = pair else { continue };
        if right.0 < next {
            continue;
        }
        // Looking at every point again makes the line safe whatever rounding did to the hull.
        let beta = (right.1 - left.1) / (right.0 - left.0) * (1.0 - 1e-9);
        let alpha = curve.iter().map(|(n, ms)| ms - beta * n).fold(f64::INFINITY, f64::min);
        if beta >= 0.0 && alpha >= 0.0 {
            edges.push((alpha, beta));
            next = right.0 * std::f64::consts::SQRT_2;
        }
    }
    if edges.is_empty() {
        edges.push((0.0, 0.0));
    }
    edges
}

/// The shortest start-up that is counted on, s: [`START_UP_SIGMAS`] below the median.
#[must_use]
pub fn start_up_min(variant: &Variant) -> f64 {
    let start_up = &variant.start_up;
    start_up.median().as_seconds() * (-START_UP_SIGMAS * start_up.sigma).exp()
}
