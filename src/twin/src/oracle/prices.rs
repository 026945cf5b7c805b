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

    /// As [`Prices::best_answer`], with prices constant in blocks of `grain` buckets.
    pub(super) fn best_in_blocks(work: &[f64], start_up_buckets: f64, grain: usize) -> Self {
        if grain <= 1 {
            return Self::best_answer(work, start_up_buckets);
        }
        let blocks: Vec<f64> = work.chunks(grain).map(|block| block.iter().sum()).collect();
        let coarse = Self::best_answer(&blocks, start_up_buckets / grain as f64);
        let sigma = (0..work.len()).map(|bucket| coarse.sigma[bucket / grain]).collect();
        Self { sigma }
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

/// How much work each bucket draws at given prices: a smooth stand-in for the cheapest bucket of a
/// window, without which the prices would chase a schedule that jumps with every change.
pub(super) struct Attraction {
    weight: Vec<f64>,
    /// Sums of the weights before each bucket.
    before: Vec<f64>,
}

impl Attraction {
    /// A price higher by this draws 2.7 times less.
    const SOFTNESS: f64 = 0.05;

    pub(super) fn of(sigma: &[f64]) -> Self {
        let lowest = sigma.iter().copied().fold(f64::INFINITY, f64::min);
        let weight: Vec<f64> =
            sigma.iter().map(|price| ((lowest - price) / Self::SOFTNESS).exp()).collect();
        let mut sum = 0.0;
        let mut before = vec![0.0];
        before.extend(weight.iter().map(|weight| {
            sum += weight;
            sum
        }));
        Self { weight, before }
    }

    /// Adds to `work` what arrived, spread over the `window` that follows each arrival; all of it
    /// goes to the `cheapest` bucket where weights are too small to tell apart.
    pub(super) fn spread(&self, arrived: &[f64], window: u32, cheapest: &[u32], work: &mut [f64]) {
        const SHARE_MIN: f64 = 1e-9;
        let total = self.before.last().copied().unwrap_or(0.0);
        let mut rise = vec![0.0; arrived.len() + 1];
        for (bucket, &usd) in arrived.iter().enumerate().filter(|(_, usd)| **usd > 0.0) {
            let end = bucket.saturating_add(window as usize + 1).min(arrived.len());
            let sum = self.before[end] - self.before[bucket];
            if window == 0 || sum <= total * SHARE_MIN {
                work[cheapest[bucket] as usize] += usd;
            } else {
                rise[bucket] += usd / sum;
                rise[end] -= usd / sum;
            }
        }
        let mut level = 0.0;
        for ((work, weight), rise) in work.iter_mut().zip(&self.weight).zip(&rise) {
            level += rise;
            *work += (level * weight).max(0.0);
        }
    }
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
        fn prices_in_blocks_are_safe_and_earn_no_more(
            work in prop::collection::vec(0.0_f64..6.0, 1..40), start_up in 0.0_f64..9.0,
            grain in 1_usize..9,
        ) {
            let fine = Prices::best_answer(&work, start_up);
            let blocks = Prices::best_in_blocks(&work, start_up, grain);
            let (within, from_start) = blocks.excess();
            prop_assert!(within <= start_up + 1e-9 && from_start <= 1e-9);
            prop_assert!(earned(&work, &blocks) <= earned(&work, &fine) + 1e-9);
        }

        #[test]
        fn spreading_keeps_the_amount_and_the_window(
            sigma in prop::collection::vec(0.0_f64..3.0, 1..40), window in 0_u32..50,
            at in 0_usize..40,
        ) {
            let at = at % sigma.len();
            let mut arrived = vec![0.0; sigma.len()];
            arrived[at] = 2.0;
            let mut work = vec![0.0; sigma.len()];
            let cheapest = cheapest_within(&sigma, window);
            Attraction::of(&sigma).spread(&arrived, window, &cheapest, &mut work);
            prop_assert!((work.iter().sum::<f64>() - 2.0).abs() < 1e-6);
            let end = at + window as usize;
            let outside = work.iter().enumerate().filter(|(bucket, _)| *bucket < at || *bucket > end);
            prop_assert!(outside.map(|(_, usd)| *usd).sum::<f64>() < 1e-6);
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
