//! Possible futures: arrivals resampled from the record, and the queue as it is.

use forebay_core::ids::TierId;
use forebay_core::plan::roll::Interval;
use forebay_core::time::{PICOS_PER_SECOND, Picos, Span, Time};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::HORIZON_MIN;
use super::course::Course;

/// Blocks of the record that stay together: what happens within two minutes (bursts, a client that
/// starts) happens so again.
const BLOCK: Span = Span::from_secs(120);
/// Below this many requests an interval's own mean length is chance.
const INTERVAL_REQUESTS_MIN: f32 = 8.0;
/// Odd, so that every scenario has another seed.
const SCENARIO_SALT: u64 = 0x9e37_79b9_7f4a_7c15;

/// One request of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coming {
    pub(super) at: Picos,
    pub(super) tier: TierId,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
}

/// One possible future.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// In order of time; those that the gate holds already lie before the beginning.
    pub(super) arrivals: Vec<Coming>,
    /// Seed of everything else that is drawn.
    pub(super) seed: u64,
    pub(super) begins: Picos,
    pub(super) ends: Picos,
    /// Work that arrives, as a multiple of what it is on average.
    pub(super) work: f64,
}

/// All futures of one request.
pub(super) struct Futures<'a> {
    course: &'a Course<'a>,
    intervals: Vec<&'a Interval>,
    /// Mean rate of each tier in the record, requests per second.
    rates: Vec<f64>,
}

impl<'a> Futures<'a> {
    /// `None` when nothing is recorded and nothing waits.
    pub(super) fn new(course: &'a Course<'a>) -> Option<Self> {
        let record = &course.request.record;
        let intervals: Vec<&Interval> =
            record.intervals().filter(|interval| interval.span > Span::ZERO).collect();
        if intervals.is_empty() {
            return None;
        }
        let tiers = 0..course.world.tiers.len();
        let rates = tiers.map(|tier| record.requests_per_s(tier).unwrap_or(0.0)).collect();
        Some(Self { course, intervals, rates })
    }

    /// Requests that one run over a horizon simulates, on average.
    pub(super) fn requests_of_one(&self, horizon: Span) -> f64 {
        self.standing() + self.rate() * horizon.as_seconds()
    }

    /// The longest horizon, up to the one asked for, over which one run simulates at most
    /// `requests`.
    pub(super) fn horizon_within(&self, requests: f64) -> Span {
        let asked = self.course.request.horizon;
        let rate = self.rate();
        let seconds = if rate > 0.0 { (requests - self.standing()) / rate } else { f64::INFINITY };
        if seconds >= asked.as_seconds() {
            return asked;
        }
        Span::from_seconds(seconds).max(HORIZON_MIN).min(asked)
    }

    /// Requests that are there at the beginning.
    fn standing(&self) -> f64 {
        let live = &self.course.request.live;
        let held: u32 = live.queue.iter().map(|held| held.requests).sum();
        let loads = live.endpoints.iter().filter_map(|endpoint| endpoint.load);
        let inside = loads.map(|load| load.running + load.waiting + load.waiting_for_kv);
        f64::from(held) + f64::from(inside.sum::<u32>())
    }

    /// Median rate that is coming, requests per second.
    fn rate(&self) -> f64 {
        (0..self.rates.len()).map(|tier| self.rates[tier] * self.factor(tier, 0.5)).sum()
    }

    /// What the record is multiplied by at a level of the forecast.
    fn factor(&self, tier: usize, level: f64) -> f64 {
        let outlooks = &self.course.request.outlooks;
        let outlook = outlooks.iter().find(|outlook| outlook.tier.index() == tier);
        match (outlook, self.rates[tier]) {
            (Some(outlook), recorded) if recorded > 0.0 => {
                quantile(&outlook.requests_per_s, level).map_or(1.0, |rate| rate / recorded)
            }
            _ => 1.0,
        }
    }

    /// The future of that number; the same for every plan.
    pub(super) fn scenario(&self, number: u64, horizon: Span) -> Scenario {
        let seed = self.course.request.seed ^ (number + 1).wrapping_mul(SCENARIO_SALT);
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        // The first draws of nearby seeds are correlated.
        let _ = random.next_u64();
        let begins = self.course.request.asked_at.as_picos();
        let ends = begins.saturating_add(horizon.as_picos());
        let level = evenly(number);
        let tiers = self.rates.len();
        let factors: Vec<f64> = (0..tiers).map(|tier| self.factor(tier, level)).collect();
        let mut scenario =
            Scenario { arrivals: self.held(&mut random), seed, begins, ends, work: 0.0 };
        let mut at = begins;
        while at < ends {
            let mut place = random.random_range(0..self.intervals.len());
            let block_ends = at.saturating_add(BLOCK.as_picos()).min(ends);
            while at < block_ends {
                let interval = self.intervals[place];
                self.resample(interval, at, &factors, &mut random, &mut scenario);
                at = at.saturating_add(interval.span.as_picos());
                // The record as a ring: so every interval is as likely as any other.
                place = (place + 1) % self.intervals.len();
            }
        }
        scenario.arrivals.sort_by_key(|coming| coming.at);
        let mean: f64 = (0..tiers)
            .map(|tier| self.rates[tier] * self.mean_factor(tier) * self.course.work_s(tier))
            .sum::<f64>()
            * horizon.as_seconds();
        scenario.work = if mean > 0.0 { scenario.work / mean } else { 1.0 };
        scenario
    }

    fn resample(
        &self,
        interval: &Interval,
        at: Picos,
        factors: &[f64],
        random: &mut impl Rng,
        scenario: &mut Scenario,
    ) {
        let span = interval.span.as_picos();
        let inside = (scenario.ends - at).min(span) as f64 / span as f64;
        for (tier, count) in interval.tiers.iter().enumerate().take(factors.len()) {
            let means = self.course.tiers[tier];
            let prompt_mean = if count.requests >= INTERVAL_REQUESTS_MIN {
                f64::from(count.prompt_tokens / count.requests)
            } else {
                means.prompt_tokens
            };
            let wanted = f64::from(count.requests.max(0.0)) * factors[tier];
            scenario.work += wanted * inside * self.course.work_s(tier);
            let rest = random.random::<f64>() < wanted.fract();
            for _ in 0..wanted as u64 + u64::from(rest) {
                let offset = (random.random::<f64>() * span as f64) as Picos;
                let prompt = self.course.prompts.draw(prompt_mean, random);
                let output = self.course.outputs.draw(means.output_tokens, random);
                let coming = Coming {
                    at: at + offset,
                    tier: TierId(tier as u8),
                    prompt_tokens: whole(prompt),
                    output_tokens: whole(output),
                };
                if coming.at < scenario.ends {
                    scenario.arrivals.push(coming);
                }
            }
        }
    }

    /// Those whom the gate holds.
    fn held(&self, random: &mut impl Rng) -> Vec<Coming> {
        let begins = self.course.request.asked_at;
        let mut held = Vec::new();
        for group in &self.course.request.live.queue {
            let Some(means) = self.course.tiers.get(group.tier.index()) else { continue };
            let mean =
                if group.prompt_tokens > 0.0 { group.prompt_tokens } else { means.prompt_tokens };
            let at = Time(group.arrived_at.0.min(begins.0)).as_picos();
            held.extend((0..group.requests).map(|_| Coming {
                at,
                tier: group.tier,
                prompt_tokens: whole(self.course.prompts.draw(mean, random)),
                output_tokens: whole(self.course.outputs.draw(means.output_tokens, random)),
            }));
        }
        held
    }

    /// The mean of [`Self::factor`] over all levels.
    fn mean_factor(&self, tier: usize) -> f64 {
        const LEVELS: u32 = 64;
        let level = |step: u32| (f64::from(step) + 0.5) / f64::from(LEVELS);
        (0..LEVELS).map(|step| self.factor(tier, level(step))).sum::<f64>() / f64::from(LEVELS)
    }
}

/// Quantile by straight lines between the levels that are given, flat outside.
fn quantile(quantiles: &[(f64, f64)], level: f64) -> Option<f64> {
    let after = quantiles.partition_point(|(at, _)| *at <= level);
    let below = after.checked_sub(1).and_then(|index| quantiles.get(index));
    let value = match (below, quantiles.get(after)) {
        (Some((low, from)), Some((high, to))) => from + (to - from) * (level - low) / (high - low),
        (Some((_, only)), None) | (None, Some((_, only))) => *only,
        (None, None) => return None,
    };
    value.is_finite().then_some(value.max(0.0))
}

/// Numbers that fill 0..1 evenly however many there are (van der Corput, base 2), the middle first.
fn evenly(number: u64) -> f64 {
    (number + 1).reverse_bits() as f64 / 2_f64.powi(64)
}

/// A length as engines take it; a 32nd of what `u32` holds, so that sums of a few stay inside.
pub(super) fn whole(tokens: f64) -> u32 {
    const TOKENS_MAX: f64 = (1_u32 << 27) as f64;
    tokens.round().clamp(1.0, TOKENS_MAX) as u32
}

/// Seconds as picoseconds, saturating.
pub(super) fn picos(seconds: f64) -> Picos {
    (seconds * PICOS_PER_SECOND as f64) as Picos
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_fill_the_unit_evenly_from_the_middle() {
        let levels: Vec<f64> = (0..4).map(evenly).collect();
        assert_eq!(levels, [0.5, 0.25, 0.75, 0.125]);
    }

    #[test]
    fn quantiles_are_interpolated_and_flat_outside() {
        let known = [(0.5, 10.0), (0.9, 18.0)];
        assert_eq!(quantile(&known, 0.7).map(f64::round), Some(14.0));
        assert_eq!((quantile(&known, 0.1), quantile(&known, 0.99)), (Some(10.0), Some(18.0)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
