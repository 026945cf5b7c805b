//! Tiers nested by priority, each prefix of them as one workload with one objective.

use super::shape::Shape;
use super::{Goal, Limit, Needed, Objective, TierAsk};
use crate::demand::{Moments, TierLoad, Workload};
use crate::engine::profile::EngineProfile;
use crate::fleet::Role;

/// What the replicas of one prefix are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) workload: Workload,
    pub(super) requests_per_s: f64,
    pub(super) goal: Goal,
}

/// Share of the time that replicas which are sized well spend on prompts, for how much longer
/// those wait who come last.
const BUSY_TYPICAL: f64 = 0.8;

/// What one prefix needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sized {
    pub(super) replicas: f64,
    pub(super) binding: Limit,
    pub(super) operating_batch: f64,
    pub(super) utilization: f64,
}

impl Sized {
    fn too_large() -> Self {
        Self {
            replicas: f64::INFINITY,
            binding: Limit::TooLarge,
            operating_batch: 0.0,
            utilization: 0.0,
        }
    }
}

/// Sizes every prefix of the tiers with `size`, which is told the number of the prefix.
pub(super) fn nested(
    profile: &EngineProfile,
    role: Role,
    tiers: &[TierAsk<'_>],
    mut size: impl FnMut(usize, &Shape<'_>, &Ask) -> Sized,
) -> Needed {
    let mut needed = Needed {
        by_prefix: Vec::with_capacity(tiers.len()),
        binding: Limit::NoDemand,
        operating_batch: 0.0,
        utilization: 0.0,
    };
    let mut sum = Sum::default();
    // The last TTFT, and the strictest TPOT and percentile, of the tiers so far.
    let mut strictest: Option<Objective> = None;
    let mut before = 0.0_f64;
    for (prefix, tier) in tiers.iter().enumerate() {
        let rate = tier.load.requests_per_s;
        // A rate that is not a number is no demand that anybody could size for.
        if !rate.is_finite() || rate <= 0.0 {
            needed.by_prefix.push(before);
            continue;
        }
        let above = sum.work(role);
        sum.add(tier.load);
        let own = tier.slo.as_ref().and_then(Objective::of);
        strictest = match (strictest, own) {
            (Some(above), Some(own)) => Some(Objective {
                ttft_s: own.ttft_s,
                tpot_s: own.tpot_s.min(above.tpot_s),
                percentile: own.percentile.max(above.percentile),
            }),
            (above, own) => own.or(above),
        };
        let workload = sum.workload();
        let shape = Shape::new(profile, role, &workload);
        let goal = match (own, strictest) {
            (Some(_), Some(shared)) => {
                let above_share = above / sum.work(role).max(f64::MIN_POSITIVE);
                Goal::Latency(behind(&shape, shared, above_share * BUSY_TYPICAL))
            }
            (_, shared) => Goal::Work { step_max_s: shared.map(|shared| shared.tpot_s) },
        };
        let ask = Ask { workload, requests_per_s: sum.requests_per_s, goal };
        let point = if shape.too_large() { Sized::too_large() } else { size(prefix, &shape, &ask) };
        if point.replicas >= before {
            before = point.replicas;
            needed.binding = point.binding;
            needed.operating_batch = point.operating_batch;
            needed.utilization = point.utilization;
        }
        needed.by_prefix.push(before);
    }
    needed
}

/// An objective for those who come last: whoever is above them takes `above` of the time, so
/// their wait is as much longer as that leaves less.
fn behind(shape: &Shape<'_>, objective: Objective, above: f64) -> Objective {
    let own_s = shape.own_ttft_s(&shape.steady(0.0), shape.prompt_scale(0.0));
    let slack_s = objective.ttft_s - own_s;
    let ttft_s = if slack_s > 0.0 { own_s + slack_s * (1.0 - above) } else { objective.ttft_s };
    Objective { ttft_s, ..objective }
}

/// Demand of several tiers together.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    requests_per_s: f64,
    prompt: Moments,
    output: Moments,
    cached_per_s: f64,
    variance_per_s: f64,
}

impl Sum {
    fn add(&mut self, load: &TierLoad) {
        let rate = load.requests_per_s;
        let workload = &load.workload;
        self.requests_per_s += rate;
        for (sum, length) in [
            (&mut self.prompt, &workload.prompt_tokens),
            (&mut self.output, &workload.output_tokens),
        ] {
            sum.mean += rate * length.mean;
            sum.squared += rate * length.squared;
        }
        self.cached_per_s += rate * workload.prompt_tokens.mean * workload.cached_share;
        // Counts of independent tiers: variances add.
        self.variance_per_s += rate * workload.dispersion;
    }

    fn workload(&self) -> Workload {
        let rate = self.requests_per_s;
        let mean = |sum: Moments| Moments { mean: sum.mean / rate, squared: sum.squared / rate };
        Workload {
            prompt_tokens: mean(self.prompt),
            output_tokens: mean(self.output),
            cached_share: if self.prompt.mean > 0.0 {
                self.cached_per_s / self.prompt.mean
            } else {
                0.0
            },
            dispersion: self.variance_per_s / rate,
        }
    }

    /// What makes others wait, in tokens per second: prompts where there are prompts to compute.
    fn work(&self, role: Role) -> f64 {
        match role {
            Role::Decode => self.output.mean,
            Role::Both | Role::Prefill => self.prompt.mean - self.cached_per_s,
        }
    }
}
