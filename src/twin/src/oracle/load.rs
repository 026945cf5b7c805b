//! The load of a trace as the bound needs it: streamed once, every request priced on the variant
//! that is cheapest for it.

use forebay_core::fleet::{CapacityType, Role, Slo, World};
use forebay_core::ids::{FleetId, TierId};
use forebay_core::time::{Span, Time};

use super::account::Book;
use super::needs::{Needs, PACE};
use super::physics::{Need, Rates, start_up_min};
use super::tariff::{Seller, Tariff};
use crate::sim::TPOT_OUTPUT_TOKENS_MIN;

/// Requests after which the way to bound work is settled: enough to tell what limits a fleet,
/// few enough to try every candidate on. Any choice is valid, so this only decides tightness.
const SAMPLE: usize = 4_096;
/// Window lengths in buckets that are told apart; longer windows round up to the next.
const WINDOWS: [u32; 21] =
    [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1_024, u32::MAX];

/// What a bound counts.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadOptions {
    /// Requests that arrived earlier are not scored, and cash before it does not count.
    pub scored_from: Time,
    /// Length of the buckets in which prices are constant; see [`bucket_for`].
    pub bucket: Span,
    /// Whether minimums of replicas are held throughout: not so where faults take replicas away.
    pub minimums_held: bool,
}

impl LoadOptions {
    /// Counts from `scored_from`, in buckets that suit `window`, with minimums held.
    #[must_use]
    pub fn new(scored_from: Time, window: Span) -> Self {
        Self { scored_from, bucket: bucket_for(window), minimums_held: true }
    }
}

/// A bucket length that suits a window: half a minute for a day, longer in proportion, so that
/// the bound takes about as long for a week.
#[must_use]
pub fn bucket_for(window: Span) -> Span {
    const BUCKETS: u64 = 2_880;
    const SECONDS_MIN: u64 = 10;
    Span::from_secs((window.as_seconds() as u64).div_ceil(BUCKETS).clamp(SECONDS_MIN, 600))
}

/// `world` with bounds and engine limits so wide that every one of `changed` (the same world as
/// the policies to be compared changed it) lies within.
#[must_use]
pub fn envelope<'a>(world: &World, changed: impl IntoIterator<Item = &'a World>) -> World {
    let mut wide = world.clone();
    for other in changed {
        for (variant, other) in wide.variants.iter_mut().zip(&other.variants) {
            variant.replicas_min = variant.replicas_min.min(other.replicas_min);
            variant.replicas_initial = variant.replicas_initial.min(other.replicas_initial);
            variant.replicas_max = variant.replicas_max.max(other.replicas_max);
            let (limits, other) = (&mut variant.profile.limits, &other.profile.limits);
            limits.max_num_seqs = limits.max_num_seqs.max(other.max_num_seqs);
            limits.max_num_batched_tokens =
                limits.max_num_batched_tokens.max(other.max_num_batched_tokens);
        }
    }
    wide
}

/// Why there is no bound.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// A variant has no price, so nothing can be said about cost.
    #[error(
        "variant {variant} has no price for {capacity:?} capacity of {accelerator}; give the \
         AcceleratorClass one"
    )]
    NoPrice {
        /// Name of the variant.
        variant: String,
        /// How it is paid for.
        capacity: CapacityType,
        /// Name of its accelerator class.
        accelerator: String,
    },
}

/// One way of keeping the books of a fleet: a tariff and what each tier must pay under it.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) tariff: Tariff,
    pub(super) books: Vec<Book>,
}

/// One fleet of the bound.
#[derive(Clone, Debug)]
pub(super) struct FleetLoad {
    split: bool,
    slos: Vec<Option<Slo>>,
    pub(super) sellers: Vec<Seller>,
    candidates: Vec<Vec<Rates>>,
    /// Shortest start-up of any variant, s.
    pub(super) start_up_s: f64,
    pub(super) accounts: Vec<Account>,
    /// What each variant would have to do if it served everything alone.
    pub(super) needs: Vec<Needs>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    fleet: FleetId,
    tier: TierId,
    at: Time,
    need: Need,
    near: Time,
    far: Time,
    patient: bool,
}

impl FleetLoad {
    /// Whether some variant could be asked for more replicas than there may be, if it served all
    /// that its role has to do.
    pub(super) fn may_run_out(&self, buckets: usize, bucket_s: f64) -> bool {
        self.sellers.iter().zip(&self.needs).any(|(seller, needs)| {
            let most = needs.load(buckets, false).into_iter().fold(0.0, f64::max);
            most > seller.replicas_max * bucket_s
        })
    }
}

/// All that the bound needs to know of a trace.
#[derive(Clone, Debug)]
pub struct Load {
    pub(super) options: LoadOptions,
    pub(super) windows: Vec<u32>,
    pub(super) fleets: Vec<FleetLoad>,
    /// Scored requests by tier.
    pub(super) requests: Vec<u64>,
    /// The largest share that may miss, by tier.
    pub(super) miss_share: Vec<f64>,
    pub(super) tier_names: Vec<String>,
    /// Committed accelerators at their price, USD per second.
    pub(super) committed_usd_s: f64,
    pub(super) last_arrival: Time,
    pub(super) buckets: u32,
    sample: Option<Vec<Row>>,
}

impl Load {
    /// An empty load of `world`, whose bounds and engine limits no policy may exceed: see
    /// [`envelope`].
    ///
    /// # Errors
    /// A variant without a price.
    pub fn new(world: &World, options: LoadOptions) -> Result<Self, OracleError> {
        let mut fleets = Vec::with_capacity(world.fleets.len());
        let mut windows = WINDOWS.to_vec();
        let mut miss_share = vec![0.0_f64; world.tiers.len()];
        for (index, fleet) in world.fleets.iter().enumerate() {
            let (mut sellers, mut candidates) = (Vec::new(), Vec::new());
            let mut start_up_s = f64::INFINITY;
            for (id, variant) in world.variants_of(FleetId(index as u16)) {
                let seller = Seller::new(world, id, options.minimums_held)?;
                start_up_s = start_up_s.min(start_up_min(variant));
                candidates.push(Rates::candidates(&variant.profile));
                sellers.push(seller);
            }
            for (tier, slo) in fleet.slos.iter().enumerate() {
                let Some(slo) = slo else { continue };
                miss_share[tier] = miss_share[tier].max(1.0 - slo.percentile());
                if let Slo::Completion { within, .. } = slo {
                    windows.push((within.0 / options.bucket.0.max(1)) as u32);
                    windows.push((within.0 / options.bucket.0.max(1)) as u32 + 1);
                }
            }
            fleets.push(FleetLoad {
                split: sellers.iter().any(|seller| seller.role == Role::Prefill),
                slos: fleet.slos.clone(),
                sellers,
                candidates,
                start_up_s: if start_up_s.is_finite() { start_up_s } else { 0.0 },
                accounts: Vec::new(),
                needs: vec![Needs::default(); fleet.variants.len()],
            });
        }
        windows.sort_unstable();
        windows.dedup();
        let committed_usd_s = world
            .accelerators
            .iter()
            .filter_map(|class| Some(class.price_committed?.0 * f64::from(class.committed)))
            .sum::<f64>()
            / 3_600.0;
        Ok(Self {
            last_arrival: options.scored_from,
            options,
            windows,
            fleets,
            requests: vec![0; world.tiers.len()],
            miss_share,
            tier_names: world.tiers.iter().map(|tier| tier.name.clone()).collect(),
            committed_usd_s,
            buckets: 1,
            sample: Some(Vec::new()),
        })
    }

    /// Adds a request of `tier` on `fleet` that arrived at `at`. `shared_tokens` of its prompt
    /// are carried by some other request too ([`super::census::Census`]; 0 without identities).
    pub fn add(
        &mut self,
        fleet: FleetId,
        tier: TierId,
        at: Time,
        prompt_tokens: u32,
        output_tokens: u32,
        shared_tokens: u32,
    ) {
        if at < self.options.scored_from {
            return;
        }
        self.requests[tier.index()] += 1;
        self.last_arrival = self.last_arrival.max(at);
        let Some(slo) = self.fleets[fleet.index()].slos[tier.index()] else { return };
        let gaps = output_tokens.saturating_sub(1);
        let need = |gap_max_s| Need {
            prompt: f64::from(prompt_tokens),
            shared: f64::from(shared_tokens.min(prompt_tokens.saturating_sub(1))),
            gaps: f64::from(gaps),
            gap_max_s,
        };
        let (need, near, far) = match slo {
            Slo::Completion { within, .. } => (need(None), at + within, at + within),
            Slo::Latency { ttft, tpot, .. } => {
                let far = at + ttft + Span(tpot.0.saturating_mul(u64::from(gaps)));
                if output_tokens < TPOT_OUTPUT_TOKENS_MIN {
                    let gap = tpot.as_seconds() + ttft.as_seconds() / f64::from(gaps.max(1));
                    (need(Some(gap)), far, far)
                } else {
                    (need(Some(tpot.as_seconds())), at + ttft, far)
                }
            }
        };
        let patient = matches!(slo, Slo::Completion { .. });
        let row = Row { fleet, tier, at, need, near, far, patient };
        match &mut self.sample {
            Some(sample) => {
                sample.push(row);
                if sample.len() >= SAMPLE {
                    self.settle();
                }
            }
            None => self.enter(&row),
        }
    }

    /// Chooses how work is bounded and opens the accounts, if that is still to be done; then
    /// closes the books for reading.
    pub(super) fn close(&mut self) {
        self.settle();
        let books = self.fleets.iter_mut().flat_map(|fleet| &mut fleet.accounts);
        books.flat_map(|account| &mut account.books).for_each(Book::close);
    }

    fn settle(&mut self) {
        let Some(sample) = self.sample.take() else { return };
        let tiers = self.requests.len();
        for (index, fleet) in self.fleets.iter_mut().enumerate() {
            let needs: Vec<&Need> = sample
                .iter()
                .filter(|row| row.fleet.index() == index)
                .map(|row| &row.need)
                .collect();
            for (seller, candidates) in
                fleet.sellers.iter_mut().zip(std::mem::take(&mut fleet.candidates))
            {
                seller.settle(candidates, &needs);
            }
            fleet.accounts = Tariff::of(&fleet.sellers)
                .into_iter()
                .map(|tariff| Account { tariff, books: vec![Book::default(); tiers] })
                .collect();
        }
        for row in &sample {
            self.enter(row);
        }
    }

    fn enter(&mut self, row: &Row) {
        let bucket =
            |at: Time| (at.since(self.options.scored_from).0 / self.options.bucket.0.max(1)) as u32;
        let arrived = bucket(row.at);
        let class = |end: Time| {
            let span = bucket(end) - arrived;
            self.windows.partition_point(|&window| window < span) as u8
        };
        let (near, far) = (class(row.near), class(row.far));
        self.buckets = self.buckets.max(bucket(row.far).saturating_add(1));
        let pace = row.need.gap_max_s.unwrap_or(0.0) * PACE * row.need.gaps;
        let paced = bucket(row.at + Span::from_seconds(pace));
        let patience = bucket(row.far) - arrived;
        let fleet = &mut self.fleets[row.fleet.index()];
        for (seller, needs) in fleet.sellers.iter().zip(&mut fleet.needs) {
            let Some(rates) = seller.rates() else { continue };
            if row.patient {
                needs.add_patient(seller.role, rates, &row.need, arrived, patience);
            } else {
                needs.add(seller.role, rates, &row.need, arrived, paced);
            }
        }
        for account in &mut fleet.accounts {
            let bill = account.tariff.bill(&fleet.sellers, fleet.split, &row.need);
            if let Some((near_usd, total_usd)) = bill {
                account.books[row.tier.index()].add(arrived, near, far, near_usd, total_usd);
            }
        }
    }
}
