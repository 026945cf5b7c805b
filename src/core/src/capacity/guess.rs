//! Closed forms for what replicas hold: microseconds, right to about a fifth. [`super::Sizer`]
//! corrects them by replaying a sample.

use super::normal;
use super::shape::{Shape, Steady};
use super::{Goal, Limit, Objective};

/// Halvings of the search: to a millionth of the range.
const HALVINGS: usize = 20;
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

fn search(shape: &Shape<'_>, goal: &Goal, replicas: impl Fn(&Steady) -> f64) -> Point {
    let most = shape.prompts_per_step_max();
    let mut binding = shape.ceiling();
    let mut holds = |prompts_per_step: f64| {
        let steady = shape.steady(prompts_per_step);
        let broken = broken(shape, goal, &steady, replicas(&steady));
        binding = broken.unwrap_or(binding);
        broken.is_none()
    };
    let least = most * RANGE;
    let reachable = holds(least);
    if !reachable && let Goal::Latency(_) = goal {
        let point = search(shape, &Goal::Work { step_max_s: None }, replicas);
        let binding =
            if binding == Limit::Tpot { Limit::TpotUnreachable } else { Limit::TtftUnreachable };
        return Point { binding, reachable, ..point };
    }
    let (mut low, mut high) = (least, most);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    let steady = shape.steady(low);
    let utilization = steady.requests_per_s / shape.steady(most).requests_per_s;
    Point { steady, replicas: replicas(&steady), binding, utilization, reachable }
}

/// The limit that a state breaks, if it breaks one.
fn broken(shape: &Shape<'_>, goal: &Goal, steady: &Steady, replicas: f64) -> Option<Limit> {
    let load = steady.requests_per_s * steady.prompt_s;
    if load > UTILIZATION_MAX {
        return Some(Limit::Stability);
    }
    let objective = match goal {
        Goal::Latency(objective) => objective,
        Goal::Work { step_max_s } => {
            let slow = shape.gaps > 0.0 && step_max_s.is_some_and(|most| steady.step_s > most);
            return slow.then_some(Limit::Tpot);
        }
    };
    let z = normal::quantile(objective.percentile).max(0.0);
    let replicas = replicas.max(1.0);
    if shape.gaps > 0.0 {
        let spread = z * (shape.dispersion.max(1.0) * steady.batch / replicas).sqrt();
        let fluctuating = steady.batch + spread;
        if fluctuating > shape.batch_by_kv() {
            return Some(Limit::Kv);
        }
        if fluctuating > shape.batch_by_sequences() {
            return Some(Limit::Sequences);
        }
        let at_tail = shape.steady((steady.batch + BATCH_AVERAGING * spread) / shape.gaps);
        let chance = (at_tail.mixed_share * (1.0 - at_tail.mixed_share) / shape.gaps).sqrt();
        if at_tail.step_s + z * chance * at_tail.mixed_extra_s > objective.tpot_s {
            return Some(Limit::Tpot);
        }
    }
    let ttft_s = ttft_s(shape, objective, steady, replicas, load);
    (ttft_s > objective.ttft_s).then_some(Limit::Ttft)
}

/// TTFT at the percentile, s: wait behind others (Allen-Cunneen, exponential tail) and own prompt.
fn ttft_s(
    shape: &Shape<'_>,
    objective: &Objective,
    steady: &Steady,
    replicas: f64,
    load: f64,
) -> f64 {
    let miss = 1.0 - objective.percentile;
    let waits = load.powf((2.0 * (replicas + 1.0)).sqrt() - 1.0);
    let variation = shape.dispersion.max(1.0) + shape.prompt_variation_squared;
    let wait_mean = steady.prompt_s * variation / 2.0 / (replicas * (1.0 - load));
    let wait = if waits > miss { wait_mean * (waits / miss).ln() } else { 0.0 };
    let own = shape.own_ttft_s(steady, 0.0);
    let own_tail = shape.own_ttft_s(steady, normal::quantile(objective.percentile));
    own + wait.hypot(own_tail - own)
}

impl Shape<'_> {
    /// TTFT without a queue of a prompt that is `z` standard deviations (of its logarithm) longer
    /// than the median, with overhead and the rest of the step under way, s.
    pub(super) fn own_ttft_s(&self, steady: &Steady, z: f64) -> f64 {
        let variance = (1.0 + self.prompt_variation_squared).ln();
        let scale = (z * variance.sqrt() - variance / 2.0).exp();
        let tokens = self.uncached * scale;
        let room =
            (f64::from(self.profile().limits.max_num_batched_tokens) - steady.batch).max(1.0);
        let prompts = scale;
        let chunks = (tokens / room).max(1.0);
        let own = chunks * self.step_s(steady.batch, prompts / chunks);
        self.profile().request_overhead_ms * 1e-3 + steady.step_s / 2.0 + own
    }
}
