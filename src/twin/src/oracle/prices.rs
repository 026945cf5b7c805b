//! Prices over time: the factor `sigma` by bucket, and the best answer of prices to a schedule.

/// `sigma` by bucket, such that no replica's life makes a profit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prices {
    pub(super) sigma: Vec<f64>,
}

impl Prices {
    /// Price as cost: what holds without any start-up.
    pub(super) fn flat(buckets: usize) -> Self {
        Self { sigma: vec![1.0; buckets] }
    }

    /// The largest excess of earnings over cost, in buckets, over all lives: those that start
    /// within the span (which may earn up to their start-up) and those that begin with it.
    pub(super) fn excess(&self) -> (f64, f64) {
        let (mut running, mut within) = (0.0_f64, 0.0_f64);
        let (mut total, mut from_start) = (0.0_f64, 0.0_f64);
        for (bucket, sigma) in self.sigma.iter().enumerate() {
            total += sigma - 1.0;
            from_start = from_start.max(total);
            if bucket > 0 {
                running = (running + sigma - 1.0).max(0.0);
                within = within.max(running);
            }
        }
        (within, from_start)
    }

    /// Lowers prices until no life makes a profit, against the rounding of averages. A life that
    /// starts inside the first bucket earns no more than one that starts at either edge of it.
    pub(super) fn made_safe(mut self, start_up_buckets: f64) -> Self {
        // Each pass scales by at least what the worst interval needs, so few are needed.
        for _ in 0..64 {
            let (within, from_start) = self.excess();
            if within <= start_up_buckets && from_start <= 0.0 {
                return self;
            }
            let length = self.sigma.len() as f64;
            let over = (within - start_up_buckets).max(from_start);
            let factor = (1.0 - (over / length).max(1e-12)).max(0.0);
            self.sigma.iter_mut().for_each(|sigma| *sigma *= factor);
        }
        Self::flat(self.sigma.len())
    }

    /// Moves a share `step` of the way to `other`; both stay safe, and so does what is between.
    pub(super) fn approach(&mut self, other: &Self, step: f64) {
        for (sigma, &target) in self.sigma.iter_mut().zip(&other.sigma) {
            *sigma += (target - *sigma) * step;
        }
    }

    /// The prices that earn most from `work` (USD by bucket; below zero where replicas that exist
    /// anyway could do more than there is). `sigma[b] = 1 + y[b] - y[b+1]`, where the potential
    /// `y` begins at 0, stays in 0..=start-up and rises by at most one per bucket; it is at its
    /// best on the lattice of whole buckets counted from 0 and from the start-up.
    pub(super) fn best_answer(work: &[f64], start_up_buckets: f64) -> Self {
        let levels = lattice(start_up_buckets);
        let width = levels.len();
        // Backward: value[i] = most that can be earned from here on with y at levels[i].
        let mut value = vec![0.0_f64; width];
        let mut choice = vec![0_u16; width * work.len()];
        for bucket in (0..work.len()).rev() {
            let usd = work[bucket].max(0.0);
            let mut earlier = vec![f64::NEG_INFINITY; width];
            for (from, best) in earlier.iter_mut().enumerate() {
                for (to, &later) in value.iter().enumerate() {
                    let sigma = 1.0 + levels[from] - levels[to];
                    if sigma < -1e-9 {
                        break;
                    }
                    let earned = usd * sigma.max(0.0) + later;
                    if earned > *best {
                        *best = earned;
                        choice[bucket * width + from] = to as u16;
                    }
                }
            }
            value = earlier;
        }
        let mut at = 0;
        let mut sigma = Vec::with_capacity(work.len());
        for (bucket, &usd) in work.iter().enumerate() {
            let next = usize::from(choice[bucket * width + at]);
            let price = (1.0 + levels[at] - levels[next]).max(0.0);
            sigma.push(if usd < 0.0 { 0.0 } else { price });
            at = next;
        }
        Self { sigma }
    }
}

/// Potentials worth looking at, in rising order: whole buckets from 0 and from the start-up. A
/// start-up of more than [`LEVELS_MAX`] buckets is cut to that, which only lowers prices.
fn lattice(start_up_buckets: f64) -> Vec<f64> {
    const LEVELS_MAX: f64 = 40.0;
    let top = start_up_buckets.clamp(0.0, LEVELS_MAX);
    let mut levels: Vec<f64> = (0..=top as u32)
        .flat_map(|whole| [f64::from(whole), (top - f64::from(whole)).max(0.0)])
        .collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    levels
}

/// By bucket the cheapest bucket among it and the `window` that follow, by `price`.
pub(super) fn cheapest_within(price: &[f64], window: u32) -> Vec<u32> {
    let window = window as usize;
    let mut queue: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let mut cheapest = vec![0_u32; price.len()];
    for bucket in (0..price.len()).rev() {
        while queue.back().is_some_and(|&later| price[later] >= price[bucket]) {
            queue.pop_back();
        }
        queue.push_back(bucket);
        while queue.front().is_some_and(|&first| first - bucket > window) {
            queue.pop_front();
        }
        cheapest[bucket] = queue.front().copied().unwrap_or(bucket) as u32;
    }
    cheapest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn earned(work: &[f64], prices: &Prices) -> f64 {
        work.iter().zip(&prices.sigma).map(|(usd, sigma)| usd * sigma).sum()
    }

    /// Cheapest whole-number schedule with `n[b] >= work[b]`, by trying all of them.
    fn brute_force(work: &[u32], start_up: f64) -> f64 {
        let top = work.iter().copied().max().unwrap_or(0);
        let mut best = vec![0.0; 1 + top as usize];
        for (bucket, &needed) in work.iter().enumerate() {
            best = (0..=top)
                .map(|now| {
                    if now < needed {
                        return f64::INFINITY;
                    }
                    let before = (0..=top).map(|then| {
                        let starts =
                            if bucket == 0 { 0.0 } else { f64::from(now.saturating_sub(then)) };
                        best[then as usize] + start_up * starts
                    });
                    f64::from(now) + before.fold(f64::INFINITY, f64::min)
                })
                .collect();
        }
        best.into_iter().fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn best_prices_earn_exactly_the_cheapest_schedule(
            work in prop::collection::vec(0_u32..6, 1..12), start_up in 0_u32..14,
        ) {
            let start_up = f64::from(start_up) * 0.5;
            let usd: Vec<f64> = work.iter().map(|&count| f64::from(count)).collect();
            let prices = Prices::best_answer(&usd, start_up);
            let cheapest = brute_force(&work, start_up);
            prop_assert!((earned(&usd, &prices) - cheapest).abs() < 1e-9);
            let (within, from_start) = prices.excess();
            prop_assert!(within <= start_up + 1e-9 && from_start <= 1e-9);
        }

        #[test]
        fn safe_prices_are_safe(
            sigma in prop::collection::vec(0.0_f64..4.0, 1..40), start_up in 0.0_f64..9.0,
        ) {
            let safe = Prices { sigma: sigma.clone() }.made_safe(start_up);
            let (within, from_start) = safe.excess();
            prop_assert!(within <= start_up && from_start <= 0.0);
        }

        #[test]
        fn the_cheapest_bucket_is_found(
            price in prop::collection::vec(0.0_f64..4.0, 1..40), window in 0_u32..50,
        ) {
            for (bucket, &found) in cheapest_within(&price, window).iter().enumerate() {
                let end = (bucket + window as usize).min(price.len() - 1);
                let least = price[bucket..=end].iter().copied().fold(f64::INFINITY, f64::min);
                prop_assert!((price[found as usize] - least).abs() < 1e-12);
                prop_assert!((bucket..=end).contains(&(found as usize)));
            }
        }
    }

    #[test]
    fn a_short_valley_is_paid_for_and_a_long_one_is_not() {
        // Start-up of two buckets: one bucket of valley is cheaper held (7), four are not: 6 + 2.
        let short = [3.0, 3.0, 0.0, 1.0];
        assert!((earned(&short, &Prices::best_answer(&short, 2.0)) - 8.0).abs() < 1e-12);
        let long = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        assert!((earned(&long, &Prices::best_answer(&long, 2.0)) - 4.0).abs() < 1e-12);
    }
}
