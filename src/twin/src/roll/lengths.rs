//! Lengths drawn from what histograms show.

use forebay_core::plan::roll::Lengths;
use rand::{Rng, RngExt};

/// A distribution of lengths whose shape comes from a histogram and whose mean from the caller.
/// Within a bucket lengths are log-uniform. Without a histogram lengths are exponential.
#[derive(Clone, Debug, Default)]
pub(super) struct LengthLaw {
    buckets: Vec<Bucket>,
    /// Mean of what the buckets alone would give.
    mean: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    low: f64,
    high: f64,
    /// Share of requests up to and including this bucket.
    requests_to: f64,
    /// Share of tokens up to and including this bucket.
    tokens_to: f64,
}

impl LengthLaw {
    pub(super) fn new(lengths: &Lengths) -> Self {
        let sane = |count: f64| if count.is_finite() { count.max(0.0) } else { 0.0 };
        let total: f64 = lengths.counts.iter().map(|&count| sane(count)).sum();
        if total <= 0.0 {
            return Self::default();
        }
        let mut law = Self::default();
        let mut requests_to = 0.0;
        for (index, &count) in lengths.counts.iter().enumerate() {
            let (low, high) = Lengths::bucket(index);
            let (low, high) = (low.max(1.0), high.max(1.0));
            let share = sane(count) / total;
            requests_to += share;
            law.mean += share * mean_between(low, high);
            law.buckets.push(Bucket { low, high, requests_to, tokens_to: law.mean });
        }
        for bucket in &mut law.buckets {
            bucket.tokens_to /= law.mean;
        }
        law
    }

    /// The length of a request; `mean` is the mean of such draws, tokens.
    pub(super) fn draw(&self, mean: f64, random: &mut impl Rng) -> f64 {
        let (place, within): (f64, f64) = (random.random(), random.random());
        let found = self.buckets.iter().find(|bucket| place < bucket.requests_to);
        self.scaled(found, within, mean)
    }

    /// The length of a request that is under way: the longer, the likelier to be met.
    pub(super) fn draw_met(&self, mean: f64, random: &mut impl Rng) -> f64 {
        let (place, within): (f64, f64) = (random.random(), random.random());
        if self.buckets.is_empty() {
            // An exponential length, weighted by itself, is the sum of two.
            return self.scaled(None, place, mean) + self.scaled(None, within, mean);
        }
        let found = self.buckets.iter().find(|bucket| place < bucket.tokens_to);
        self.scaled(found, within, mean)
    }

    fn scaled(&self, found: Option<&Bucket>, within: f64, mean: f64) -> f64 {
        match found.or_else(|| self.buckets.last()) {
            Some(bucket) => {
                let length = bucket.low * (bucket.high / bucket.low).powf(within);
                if mean > 0.0 { length * mean / self.mean } else { length }
            }
            None => -mean * (1.0 - within).ln(),
        }
    }
}

/// Mean of a log-uniform length.
fn mean_between(low: f64, high: f64) -> f64 {
    if high > low { (high - low) / (high / low).ln() } else { low }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64Mcg;

    use super::*;

    fn law() -> LengthLaw {
        let mut counts = vec![0.0; 17];
        // (50, 100] and (500, 1,000], half each.
        (counts[6], counts[9]) = (500.0, 500.0);
        LengthLaw::new(&Lengths { counts, mean: 400.0 })
    }

    #[test]
    fn draws_have_the_mean_asked_for_and_those_met_are_longer() {
        let mut random = Pcg64Mcg::seed_from_u64(1);
        for law in [law(), LengthLaw::default()] {
            let mut mean = |draw: &mut dyn FnMut(&mut Pcg64Mcg) -> f64| {
                (0..20_000).map(|_| draw(&mut random)).sum::<f64>() / 20_000.0
            };
            let plain = mean(&mut |random| law.draw(300.0, random));
            let met = mean(&mut |random| law.draw_met(300.0, random));
            assert!((plain - 300.0).abs() < 9.0, "{plain}");
            assert!(met > 1.5 * plain, "{met} is hardly longer than {plain}");
        }
    }
}
