//! Closed forms for what replicas hold: microseconds, right to about a fifth. [`super::Sizer`]
//! corrects them by replaying a sample.

use super::normal;
use super::shape::{Shape, Steady};
use super::{Goal, Limit, Objective};

/// How exactly the rate is found, as a share of it; the closed form itself is off by a fifth.
const TOLERANCE: f64 = 1e-4;
/// Rates tried at most; some six are.
const TRIES_MAX: usize = 60;
/// Tries in a row that leave more than half of the range, after which it is halved.
const SLOW_MAX: usize = 3;
/// The lowest rate that is tried, as a share of the highest.
const RANGE: f64 = 1e-6;
/// Share of the fluctuation of a batch that a request still feels in its own mean step: it lives
/// about as long as the fluctuation.
const BATCH_AVERAGING: f64 = 0.7;
/// What counts as busy all the time: beyond it queues grow without end.
const UTILIZATION_MAX: f64 = 0.98;

/// Where replicas stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Each replica.
    pub(super) steady: Steady,
    /// How many.
    pub(super) replicas: f64,
    /// Why not more on each.
    pub(super) binding: Limit,
    /// Rate over the rate at which queues would grow without end.
    pub(super) utilization: f64,
    /// The goal is kept at some rate above 0; where it is not, this is the point of
    /// [`Goal::Work`].
    pub(super) reachable: bool,
}

/// The largest rate that `replicas` hold: the state in which they do.
pub(super) fn sustainable(shape: &Shape<'_>, goal: &Goal, replicas: f64) -> Point {
    search(shape, goal, |_| replicas)
}

/// The fewest replicas, fractions allowed, that hold `requests_per_s`.
pub(super) fn needed(shape: &Shape<'_>, goal: &Goal, requests_per_s: f64) -> Point {
    search(shape, goal, |steady| requests_per_s / steady.requests_per_s)
}

/// Regula falsi with Illinois's halving: the goal is kept from `low` down and broken from `high` up.
fn search(shape: &Shape<'_>, goal: &Goal, replicas: impl Fn(&Steady) -> f64) -> Point {
    let goal = Aim::of(shape, goal);
    let strain = |prompts_per_step: f64| {
        let steady = shape.steady(prompts_per_step);
        goal.strain(shape, &steady, replicas(&steady))
    };
    let most = shape.prompts_per_step_max();
    let (mut low, mut high) = (most * RANGE, most);
    let mut at_low = strain(low);
    let reachable = at_low.broken.is_none();
    if !reachable && let Aim::Latency { .. } = goal {
        let point = search(shape, &Goal::Work { step_max_s: None }, replicas);
        let binding = if at_low.broken == Some(Limit::Tpot) {
            Limit::TpotUnreachable
        } else {
            Limit::TtftUnreachable
        };
        return Point { binding, reachable, ..point };
    }
    let mut at_high = strain(high);
    let mut binding = at_high.broken;
    if binding.is_none() {
        low = most;
    }
    let (mut width, mut slow, mut last) = (high - low, 0, None);
    for _ in 0..TRIES_MAX {
        let tolerance = low * TOLERANCE;
        if high - low <= tolerance {
            break;
        }
        let part = at_low.excess / (at_low.excess - at_high.excess);
        let tried = if slow < SLOW_MAX && part.is_finite() {
            (low + (high - low) * part).max(low + tolerance / 2.0).min(high - tolerance / 2.0)
        } else {
            f64::midpoint(low, high)
        };
        let at = strain(tried);
        let kept = at.broken.is_none();
        if kept {
            (low, at_low) = (tried, at);
        } else {
            (high, at_high, binding) = (tried, at, at.broken);
        }
        if last == Some(kept) {
            let other = if kept { &mut at_high } else { &mut at_low };
            other.excess /= 2.0;
        }
        last = Some(kept);
        slow = if high - low > width / 2.0 { slow + 1 } else { 0 };
        if slow == 0 || slow > SLOW_MAX {
            (width, slow) = (high - low, 0);
        }
    }
    let steady = shape.steady(low);
    let utilization = steady.requests_per_s / shape.steady(most).requests_per_s;
    let binding = binding.unwrap_or_else(|| shape.ceiling());
    Point { steady, replicas: replicas(&steady), binding, utilization, reachable }
}

/// A goal, with what does not depend on the rate worked out.
enum Aim {
    /// `z`: the percentile in standard deviations. `scales`: of a median prompt, and of one at the
    /// percentile, over the mean one.
    Latency {
        objective: Objective,
        z: f64,
        scales: [f64; 2],
    },
    Work {
        step_max_s: Option<f64>,
    },
}

/// How a state stands to its limits.
#[derive(Clone, Copy)]
struct Strain {
    /// Below 0 where all limits are kept, -1 without any load; at most 1.
    excess: f64,
    /// The limit that is broken, if one is.
    broken: Option<Limit>,
}

impl Strain {
    const NONE: Self = Self { excess: -1.0, broken: None };

    /// Adds a limit to those before it.
    fn and(self, value: f64, most: f64, limit: Limit) -> Self {
        // Bounded either way, and rising with the value.
        let excess = (value - most) / value.max(most).max(f64::MIN_POSITIVE);
        let broken = self.broken.or_else(|| (value > most).then_some(limit));
        Self { excess: self.excess.max(excess), broken }
    }
}

impl Aim {
    fn of(shape: &Shape<'_>, goal: &Goal) -> Self {
        match *goal {
            Goal::Work { step_max_s } => Self::Work { step_max_s },
            Goal::Latency(objective) => {
                let z = normal::quantile(objective.percentile);
                let scales = [0.0, z].map(|z| shape.prompt_scale(z));
                Self::Latency { objective, z: z.max(0.0), scales }
            }
        }
    }

    fn strain(&self, shape: &Shape<'_>, steady: &Steady, replicas: f64) -> Strain {
        let load = steady.requests_per_s * steady.prompt_s;
        let stable = Strain::NONE.and(load, UTILIZATION_MAX, Limit::Stability);
        let (objective, z, scales) = match self {
            Self::Work { step_max_s: Some(most) } if shape.gaps > 0.0 => {
                return stable.and(steady.step_s, *most, Limit::Tpot);
            }
            Self::Work { .. } => return stable,
            // Where queues grow without end there is no time to first token.
            Self::Latency { .. } if stable.broken.is_some() => return stable,
            Self::Latency { objective, z, scales } => (objective, *z, scales),
        };
        let replicas = replicas.max(1.0);
        let mut strain = stable;
        if shape.gaps > 0.0 {
            let spread = z * (shape.dispersion.max(1.0) * steady.batch / replicas).sqrt();
            let fluctuating = steady.batch + spread;
            let at_tail = shape.mixed((steady.batch + BATCH_AVERAGING * spread) / shape.gaps);
            let chance = (at_tail.share * (1.0 - at_tail.share) / shape.gaps).sqrt();
            strain = strain
                .and(fluctuating, shape.batch_by_kv(), Limit::Kv)
                .and(fluctuating, shape.batch_by_sequences(), Limit::Sequences)
                .and(at_tail.step_s + z * chance * at_tail.extra_s, objective.tpot_s, Limit::Tpot);
        }
        let ttft_s = ttft_s(shape, objective, scales, steady, replicas, load);
        strain.and(ttft_s, objective.ttft_s, Limit::Ttft)
    }
}

/// TTFT at the percentile, s: wait behind others (Allen-Cunneen, exponential tail) and own prompt.
fn ttft_s(
    shape: &Shape<'_>,
    objective: &Objective,
    scales: &[f64; 2],
    steady: &Steady,
    replicas: f64,
    load: f64,
) -> f64 {
    let miss = 1.0 - objective.percentile;
    let waits = load.powf((2.0 * (replicas + 1.0)).sqrt() - 1.0);
    let variation = shape.dispersion.max(1.0) + shape.prompt_variation_squared;
    let wait_mean = steady.prompt_s * variation / 2.0 / (replicas * (1.0 - load));
    let wait = if waits > miss { wait_mean * (waits / miss).ln() } else { 0.0 };
    let [own, own_tail] = scales.map(|scale| shape.own_ttft_s(steady, scale));
    own + wait.hypot(own_tail - own)
}

impl Shape<'_> {
    /// Length of a prompt that is `z` standard deviations (of its logarithm) longer than the
    /// median, over the mean.
    pub(super) fn prompt_scale(&self, z: f64) -> f64 {
        let variance = (1.0 + self.prompt_variation_squared).ln();
        (z * variance.sqrt() - variance / 2.0).exp()
    }

    /// TTFT without a queue of a prompt of this [`Self::prompt_scale`], with overhead and the rest
    /// of the step under way, s.
    pub(super) fn own_ttft_s(&self, steady: &Steady, scale: f64) -> f64 {
        let tokens = self.uncached * scale;
        let room =
            (f64::from(self.profile().limits.max_num_batched_tokens) - steady.batch).max(1.0);
        let chunks = (tokens / room).max(1.0);
        let own = chunks * self.step_s(steady.batch, scale / chunks);
        self.profile().request_overhead_ms * 1e-3 + steady.step_s / 2.0 + own
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::demand::{Moments, Workload};
    use crate::fleet::Role;
    use crate::plan::testing::profile;

    proptest! {
        /// The state found keeps its goal, and a little more rate does not.
        #[test]
        fn what_is_found_is_the_edge(
            prompt in 1.0_f64..20_000.0,
            output in 1.0_f64..2_000.0,
            dispersion in 1.0_f64..20.0,
            replicas in 1.0_f64..50.0,
            ttft_s in 0.02_f64..20.0,
            tpot_s in 0.005_f64..0.5,
            percentile in 0.5_f64..0.999,
            role in prop_oneof![Just(Role::Both), Just(Role::Prefill), Just(Role::Decode)],
        ) {
            let profile = profile();
            let workload = Workload {
                prompt_tokens: Moments::with_variation(prompt, 1.0),
                output_tokens: Moments::with_variation(output, 1.0),
                cached_share: 0.0,
                dispersion,
            };
            let shape = Shape::new(&profile, role, &workload);
            let goal = Goal::Latency(Objective { ttft_s, tpot_s, percentile });
            let point = sustainable(&shape, &goal, replicas);
            prop_assume!(point.reachable && !shape.too_large());
            let aim = Aim::of(&shape, &goal);
            let broken = |steady: &Steady| aim.strain(&shape, steady, replicas).broken;
            prop_assert_eq!(broken(&point.steady), None);
            let most = shape.prompts_per_step_max();
            let found = point.steady.requests_per_s * point.steady.step_s;
            let found = if shape.gaps > 0.0 { found } else { most * point.utilization };
            let more = found * (1.0 + 2.0 * TOLERANCE);
            prop_assert!(more >= most || broken(&shape.steady(more)).is_some(), "{point:?}");
        }
    }
}
