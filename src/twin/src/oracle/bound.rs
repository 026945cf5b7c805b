//! The least that anybody could have paid, at any attainment; see the module's proof.

use forebay_core::units::Usd;

use super::account::{Entry, bin_of};
use super::load::{FleetLoad, Load};
use super::prices::{Attraction, Prices, cheapest_within};

/// Prices are first made for long blocks of time, then for shorter ones, each beginning with what
/// the one before found: long blocks find the shape of the day quickly, short ones add the bursts.
const GRAINS_S: [f64; 4] = [3_600.0, 900.0, 180.0, 0.0];
/// Rounds of the game between prices and schedule in each grain.
const ROUNDS: u32 = 24;
/// Rounds after which the bound is looked at: looking costs as much as a round.
const ROUNDS_PER_LOOK: u32 = 4;
/// The first round of a later grain moves prices by `2 / (2 + WARM)`.
const WARM: u32 = 6;
/// Sums over millions of requests are taken to be this much too high: their rounding is smaller.
const ROUNDING: f64 = 1e-9;

/// A lower bound on cash, by the number of requests that miss.
#[derive(Clone, Debug)]
pub struct Bound {
    load: Load,
    /// By fleet: which account, and its prices.
    offers: Vec<Offer>,
}

#[derive(Clone, Debug)]
struct Offer {
    account: usize,
    prices: Prices,
}

/// What one tier's requests pay at given prices.
#[derive(Clone, Copy, Debug)]
struct Payment {
    count: f64,
    usd: f64,
    low: f64,
    high: f64,
}

impl Bound {
    /// The bound of a load, tightest at the attainment that its SLOs ask for.
    #[must_use]
    pub fn of(mut load: Load) -> Self {
        load.close();
        let flat = |fleet: &FleetLoad, account: usize| Offer {
            account: account.min(fleet.accounts.len().saturating_sub(1)),
            prices: Prices::flat(load.buckets as usize),
        };
        let misses = load.misses_allowed();
        let start: Vec<Offer> = load.fleets.iter().map(|fleet| flat(fleet, 0)).collect();
        let mut best = Game::play(&load, &start, &misses);
        for (index, fleet) in load.fleets.iter().enumerate() {
            // Rents are worth a game only where the cheapest variants may not be enough.
            let tight = fleet.may_run_out(load.buckets as usize, load.options.bucket.as_seconds());
            let accounts = if tight { fleet.accounts.len() } else { 1 };
            for account in 1..accounts {
                let mut other: Vec<Offer> = best.1.clone();
                other[index] = flat(fleet, account);
                let found = Game::play(&load, &other, &misses);
                if found.0 > best.0 {
                    best = found;
                }
            }
        }
        Self { offers: best.1, load }
    }

    /// Least cash while as many requests miss as the SLOs allow, committed capacity included.
    #[must_use]
    pub fn cost(&self) -> Usd {
        self.sunk() + self.cash_at(&self.load.misses_allowed())
    }

    /// Committed capacity from the first scored moment to the last arrival: paid in any case.
    #[must_use]
    pub fn sunk(&self) -> Usd {
        Usd(self.load.committed_usd_s * self.load.span_s())
    }

    /// Least cash, without committed capacity, of a run in which `misses[tier]` scored requests
    /// do not attain.
    #[must_use]
    pub fn cash_at(&self, misses: &[u64]) -> Usd {
        Usd(value(&self.load, &self.offers, misses))
    }

    /// Requests that the bound counts, by tier.
    #[must_use]
    pub fn requests(&self) -> &[u64] {
        &self.load.requests
    }

    /// The load that the bound is of.
    pub(super) const fn load(&self) -> &Load {
        &self.load
    }

    /// Names of the tiers, in the order of [`Bound::requests`].
    #[must_use]
    pub fn tier_names(&self) -> &[String] {
        &self.load.tier_names
    }
}

impl Load {
    /// Requests by tier that may miss while the SLOs hold.
    fn misses_allowed(&self) -> Vec<u64> {
        let share = self.requests.iter().zip(&self.miss_share);
        // A part in 10^9 more, so that rounding never forbids a miss.
        share.map(|(&count, &share)| (count as f64 * share * (1.0 + 1e-9)).floor() as u64).collect()
    }

    /// From the first scored moment to the last arrival, s.
    fn span_s(&self) -> f64 {
        self.last_arrival.since(self.options.scored_from).as_seconds()
    }
}

/// Cash at least, for given prices: what attaining requests pay, less what replicas earn that
/// exist in any case, plus what those cost.
fn value(load: &Load, offers: &[Offer], misses: &[u64]) -> f64 {
    let bucket_s = load.options.bucket.as_seconds();
    let mut total = 0.0;
    let mut held = 0.0;
    for (fleet, offer) in load.fleets.iter().zip(offers) {
        let tariff = &fleet.accounts[offer.account].tariff;
        held += tariff.held_usd_s * load.span_s();
        let sold: f64 = offer.prices.sigma.iter().sum();
        total -= tariff.rent_usd_s * sold * bucket_s;
    }
    let windows: Vec<Windows<'_>> =
        offers.iter().map(|offer| Windows::of(load, &offer.prices.sigma)).collect();
    for (tier, &misses) in misses.iter().enumerate() {
        let mut payments = Vec::new();
        for ((fleet, offer), windows) in load.fleets.iter().zip(offers).zip(&windows) {
            let entries = fleet.accounts[offer.account].books[tier].entries();
            payments.extend(entries.iter().map(|entry| windows.payment(entry)));
        }
        total += served(&payments, misses, &thresholds(&payments, misses));
    }
    // Minimums are paid for whatever happens; so that much is a bound too.
    ((held + total) * (1.0 - ROUNDING)).max(held)
}

/// `sum of min(payment, t) - k*t`, from below, at the best of some thresholds.
fn served(payments: &[Payment], misses: u64, thresholds: &[f64]) -> f64 {
    let at = |&threshold: &f64| {
        let capped = payments.iter().map(|payment| payment.capped(threshold)).sum::<f64>();
        capped - misses as f64 * threshold
    };
    if misses == 0 {
        return payments.iter().map(|payment| payment.usd).sum();
    }
    thresholds.iter().map(at).fold(0.0, f64::max)
}

/// Thresholds near the `misses`-th largest payment: any is valid, one of these is near the best.
fn thresholds(payments: &[Payment], misses: u64) -> Vec<f64> {
    let mut bins = std::collections::BTreeMap::<u16, (f64, f64, f64)>::new();
    for payment in payments.iter().filter(|payment| payment.count > 0.0) {
        let bin = bins.entry(bin_of(payment.usd / payment.count)).or_default();
        bin.0 += payment.count;
        bin.1 += payment.usd;
        bin.2 = bin.2.max(payment.high);
    }
    let mut left = misses as f64;
    for &(count, usd, high) in bins.values().rev() {
        left -= count;
        if left < 0.0 {
            return vec![usd / count, high];
        }
    }
    vec![0.0]
}

impl Payment {
    /// `sum of min(payment, threshold)` over its requests, from below.
    fn capped(&self, threshold: f64) -> f64 {
        if threshold >= self.high {
            return self.usd;
        }
        if threshold <= self.low {
            return self.count * threshold;
        }
        // Concave in the payment, hence least with all of them at the ends of the range.
        let spread = self.high - self.low;
        let high = ((self.usd - self.count * self.low) / spread).clamp(0.0, self.count);
        (self.count - high) * self.low + high * threshold
    }
}

/// The lowest price, and where it is, of every window.
struct Windows<'a> {
    sigma: &'a [f64],
    cheapest: Vec<Vec<u32>>,
}

impl<'a> Windows<'a> {
    fn of(load: &Load, sigma: &'a [f64]) -> Self {
        let cheapest = load.windows.iter().map(|&window| cheapest_within(sigma, window)).collect();
        Self { sigma, cheapest }
    }

    fn lowest(&self, entry: &Entry, class: u8) -> f64 {
        self.sigma[self.cheapest[usize::from(class)][entry.bucket as usize] as usize]
    }

    fn payment(&self, entry: &Entry) -> Payment {
        let (near, far) = (self.lowest(entry, entry.near), self.lowest(entry, entry.far));
        let (low, high) = entry.range_usd;
        Payment {
            count: f64::from(entry.count),
            usd: entry.near_usd * near + (entry.total_usd - entry.near_usd) * far,
            low: low * far.min(near),
            high: high * far.max(near),
        }
    }
}

/// The game between prices and the scheduler.
struct Game;

impl Game {
    /// The best prices found, each fleet with its account of `offers`, and the bound at them.
    fn play(load: &Load, offers: &[Offer], misses: &[u64]) -> (f64, Vec<Offer>) {
        let bucket_s = load.options.bucket.as_seconds();
        let mut best = (value(load, offers, misses), offers.to_vec());
        let mut grains: Vec<usize> =
            GRAINS_S.iter().map(|seconds| ((seconds / bucket_s) as usize).max(1)).collect();
        grains.dedup();
        for (number, &grain) in grains.iter().enumerate() {
            Self::play_grain(load, misses, grain, if number == 0 { 0 } else { WARM }, &mut best);
        }
        best
    }

    /// Plays on from the best prices so far, with prices constant in blocks of `grain` buckets.
    fn play_grain(
        load: &Load,
        misses: &[u64],
        grain: usize,
        warm: u32,
        best: &mut (f64, Vec<Offer>),
    ) {
        let bucket_s = load.options.bucket.as_seconds();
        let mut average = best.1.clone();
        for round in 0..ROUNDS {
            let work = Self::schedule(load, &average, misses);
            let step = 2.0 / f64::from(round + 2 + warm);
            for ((fleet, offer), work) in load.fleets.iter().zip(&mut average).zip(&work) {
                let rent = fleet.accounts[offer.account].tariff.rent_usd_s * bucket_s;
                let net: Vec<f64> = work.iter().map(|usd| usd - rent).collect();
                let answer = Prices::best_in_blocks(&net, fleet.start_up_s / bucket_s, grain);
                offer.prices.approach(&answer, step);
            }
            if round % ROUNDS_PER_LOOK == ROUNDS_PER_LOOK - 1 {
                let safe: Vec<Offer> = average
                    .iter()
                    .zip(&load.fleets)
                    .map(|(offer, fleet)| Offer {
                        account: offer.account,
                        prices: offer.prices.clone().made_safe(fleet.start_up_s / bucket_s),
                    })
                    .collect();
                let bound = value(load, &safe, misses);
                if bound > best.0 {
                    *best = (bound, safe);
                }
            }
        }
    }

    /// By fleet and bucket the USD of work that a scheduler puts there who knows the prices and
    /// misses the dearest requests: into the buckets of each window, the cheaper the more.
    fn schedule(load: &Load, offers: &[Offer], misses: &[u64]) -> Vec<Vec<f64>> {
        let buckets = load.buckets as usize;
        let windows: Vec<Windows<'_>> =
            offers.iter().map(|offer| Windows::of(load, &offer.prices.sigma)).collect();
        // By fleet, window class and bucket of arrival.
        let mut arrived = vec![vec![vec![0.0; buckets]; load.windows.len()]; load.fleets.len()];
        for (tier, &misses) in misses.iter().enumerate() {
            let books: Vec<&[Entry]> = load
                .fleets
                .iter()
                .zip(offers)
                .map(|(fleet, offer)| fleet.accounts[offer.account].books[tier].entries())
                .collect();
            let payments: Vec<Payment> = books
                .iter()
                .zip(&windows)
                .flat_map(|(entries, windows)| entries.iter().map(|entry| windows.payment(entry)))
                .collect();
            let limit = match misses {
                0 => f64::INFINITY,
                _ => thresholds(&payments, misses).first().copied().unwrap_or(0.0),
            };
            let mut payment = payments.iter();
            for (entries, arrived) in books.iter().zip(&mut arrived) {
                for entry in *entries {
                    let each = payment.next().map_or(0.0, |one| one.usd / one.count);
                    if each <= limit {
                        let bucket = entry.bucket as usize;
                        arrived[usize::from(entry.near)][bucket] += entry.near_usd;
                        arrived[usize::from(entry.far)][bucket] += entry.total_usd - entry.near_usd;
                    }
                }
            }
        }
        let spread = |(arrived, windows): (&Vec<Vec<f64>>, &Windows<'_>)| {
            let mut work = vec![0.0; buckets];
            let attraction = Attraction::of(windows.sigma);
            for (class, arrived) in arrived.iter().enumerate() {
                attraction.spread(
                    arrived,
                    load.windows[class],
                    &windows.cheapest[class],
                    &mut work,
                );
            }
            work
        };
        arrived.iter().zip(&windows).map(spread).collect()
    }
}
