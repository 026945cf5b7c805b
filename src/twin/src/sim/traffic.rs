//! From a trace to arrivals: which fleet, tier and tenant each request belongs to, and when it
//! comes, under the scenario's shares, shapes and flash crowds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use forebay_core::scenario::{FaultKind, ScenarioPlan, Shape, Share};
use forebay_core::time::{Picos, Span, Time};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::trace::{Request, Source, TraceError};

/// The first minute of an hour, in which dumps arrive.
const DUMP_SPREAD: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3_600);
/// Copies of a request in a flash crowd arrive within this time of it.
const CROWD_SPREAD: Span = Span::from_secs(1);

/// One request as it arrives at a fleet's door.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) at: Picos,
    /// Place in [`ScenarioPlan::shares`].
    pub(crate) share: usize,
    /// Tenant, hashed.
    pub(crate) flow: u64,
    /// What the tenant may have, relative to others.
    pub(crate) weight: f64,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) prefix: Option<Arc<[u64]>>,
}

/// Arrivals in order of time. Memory holds only what a dump collects: one hour of its share.
pub(crate) struct Traffic<'a> {
    source: Box<dyn Source + 'a>,
    piece_tokens: u32,
    shares: &'a [Share],
    /// Upper ends of the shares' intervals in `0..1`.
    share_ends: Vec<f64>,
    /// Per share: its tenants.
    tenants: Vec<Vec<Tenant>>,
    crowds: Vec<(Time, Time, f64)>,
    seed: u64,
    drawn: u64,
    /// Drawn from the source and not yet given out.
    next: Option<Incoming>,
    exhausted: bool,
    /// Delayed requests by time and order of entry.
    delayed: BinaryHeap<Reverse<Delayed>>,
}

/// One tenant of a share.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    /// Upper end of its interval in `0..1`.
    end: f64,
    flow: u64,
    weight: f64,
}

#[derive(Debug)]
struct Delayed {
    sequence: u64,
    incoming: Incoming,
}

impl Delayed {
    const fn key(&self) -> (Picos, u64) {
        (self.incoming.at, self.sequence)
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Delayed {}
impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<'a> Traffic<'a> {
    /// Shares `source` out as `plan` says. Which request goes where depends on `seed` alone.
    pub(crate) fn new(source: Box<dyn Source + 'a>, plan: &'a ScenarioPlan, seed: u64) -> Self {
        let crowds = plan
            .faults
            .iter()
            .filter_map(|fault| match fault.kind {
                FaultKind::FlashCrowd { factor } => Some((fault.from, fault.to, factor)),
                _ => None,
            })
            .collect();
        Self {
            piece_tokens: source.prefix_piece_tokens(),
            source,
            shares: &plan.shares,
            share_ends: interval_ends(plan.shares.iter().map(|share| share.weight)),
            tenants: plan.shares.iter().map(|share| tenants(share, plan)).collect(),
            crowds,
            seed,
            drawn: 0,
            next: None,
            exhausted: false,
            delayed: BinaryHeap::new(),
        }
    }

    /// Tokens that one identity of a prefix stands for.
    pub(crate) const fn piece_tokens(&self) -> u32 {
        self.piece_tokens
    }

    /// The next arrival; `None` after the last.
    ///
    /// # Errors
    /// A line of the trace that cannot be read.
    pub(crate) fn next_arrival(&mut self) -> Result<Option<Incoming>, TraceError> {
        loop {
            if self.next.is_none() && !self.exhausted {
                match self.source.next_request()? {
                    Some(request) => self.take_in(request),
                    None => self.exhausted = true,
                }
                continue;
            }
            let delayed_at = self.delayed.peek().map(|Reverse(delayed)| delayed.incoming.at);
            return Ok(match (&self.next, delayed_at) {
                (Some(next), Some(at)) if at <= next.at => self.pop_delayed(),
                (Some(_), _) => self.next.take(),
                (None, _) => self.pop_delayed(),
            });
        }
    }

    fn pop_delayed(&mut self) -> Option<Incoming> {
        self.delayed.pop().map(|Reverse(delayed)| delayed.incoming)
    }

    fn take_in(&mut self, request: Request) {
        let number = self.drawn;
        self.drawn += 1;
        let draw = xxh3_64_with_seed(&number.to_le_bytes(), self.seed);
        let share = pick(&self.share_ends, unit(draw));
        // A client stays with one tenant; traces without clients spread over tenants by request.
        let owner = if request.client == 0 { number } else { u64::from(request.client) };
        let tenant = unit(xxh3_64_with_seed(&owner.to_le_bytes(), self.seed ^ TENANT_SALT));
        let tenants = &self.tenants[share];
        let place = tenants.partition_point(|other| other.end <= tenant).min(tenants.len() - 1);
        let Tenant { flow, weight, .. } = tenants[place];
        let mut incoming = Incoming {
            at: request.at.as_picos(),
            share,
            flow,
            weight,
            prompt_tokens: request.prompt_tokens.max(1),
            output_tokens: request.output_tokens.max(1),
            prefix: request.prefix,
        };
        self.crowd(request.at, &incoming, draw);
        match self.shares[share].shape {
            Shape::Constant => self.next = Some(incoming),
            Shape::HourlyDump => {
                let hour = request.at.0 / HOUR.0 + 1;
                let spread = unit(draw.rotate_left(32)) * DUMP_SPREAD.as_seconds();
                let at = Time(hour * HOUR.0) + Span::from_seconds(spread);
                incoming.at = at.as_picos();
                self.delay(incoming);
            }
        }
    }

    fn crowd(&mut self, at: Time, incoming: &Incoming, draw: u64) {
        let factor: f64 = self
            .crowds
            .iter()
            .filter(|(from, to, _)| *from <= at && at < *to)
            .map(|(_, _, factor)| factor)
            .product();
        let extra = (factor - 1.0).max(0.0);
        let copies = extra.floor() as u64
            + u64::from(unit(xxh3_64_with_seed(&draw.to_le_bytes(), 1)) < extra.fract());
        for copy in 0..copies {
            let jitter = unit(xxh3_64_with_seed(&draw.to_le_bytes(), copy + 2));
            let mut copied = incoming.clone();
            copied.at = (at + Span::from_seconds(jitter * CROWD_SPREAD.as_seconds())).as_picos();
            self.delay(copied);
        }
    }

    fn delay(&mut self, incoming: Incoming) {
        let sequence = self.delayed.len() as u64 + (self.drawn << 20);
        self.delayed.push(Reverse(Delayed { sequence, incoming }));
    }
}

const TENANT_SALT: u64 = 0x74_65_6e_61_6e_74;

/// A hash as a number in `0..1`.
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

fn interval_ends(weights: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let total: f64 = weights.clone().sum();
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        })
        .collect()
}

fn tenants(share: &Share, plan: &ScenarioPlan) -> Vec<Tenant> {
    let ends = interval_ends(share.tenants.iter().map(|(_, weight)| *weight));
    share
        .tenants
        .iter()
        .zip(ends)
        .map(|((name, _), end)| Tenant {
            end,
            flow: xxh3_64_with_seed(name.as_bytes(), 0),
            weight: plan.tenant_weights.get(name).copied().unwrap_or(1.0),
        })
        .collect()
}

fn pick(ends: &[f64], at: f64) -> usize {
    ends.partition_point(|end| *end <= at).min(ends.len() - 1)
}

#[cfg(test)]
mod tests {
    use forebay_core::ids::{FleetId, TierId};
    use forebay_core::scenario::{Billing, Client, Fault};

    use forebay_core::time::WallTime;

    use super::*;

    struct Even {
        given: u64,
        count: u64,
    }

    impl Source for Even {
        fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
            self.given += 1;
            Ok((self.given <= self.count).then(|| Request {
                at: Time::ZERO + Span::from_secs(self.given),
                prompt_tokens: 10,
                output_tokens: 5,
                client: 0,
                prefix: None,
            }))
        }
    }

    fn share(weight: f64, shape: Shape) -> Share {
        Share {
            fleet: FleetId(0),
            tier: TierId(0),
            weight,
            tenants: vec![("a".into(), 3.0), ("b".into(), 1.0)],
            shape,
            client: Client::Held,
        }
    }

    fn plan(shares: Vec<Share>, faults: Vec<Fault>) -> ScenarioPlan {
        ScenarioPlan {
            name: "test".into(),
            shares,
            billing: Billing::PerReplica,
            faults,
            scrape_interval: Span::from_secs(15),
            starts_at: WallTime::default(),
            unscored: Span::ZERO,
            tenant_weights: Default::default(),
        }
    }

    fn all(plan: &ScenarioPlan, count: u64) -> Vec<Incoming> {
        let mut traffic = Traffic::new(Box::new(Even { given: 0, count }), plan, 7);
        std::iter::from_fn(|| traffic.next_arrival().unwrap()).collect()
    }

    #[test]
    fn shares_and_tenants_come_out_as_weighed() {
        let plan = plan(vec![share(85.0, Shape::Constant), share(15.0, Shape::Constant)], vec![]);
        let arrivals = all(&plan, 20_000);
        let second = arrivals.iter().filter(|incoming| incoming.share == 1).count();
        assert!((2_800..3_200).contains(&second), "{second} of 20,000 for a share of 15 %");
        let flow = arrivals[0].flow;
        let same = arrivals.iter().filter(|incoming| incoming.flow == flow).count();
        assert!((4_700..5_300).contains(&same) || (14_700..15_300).contains(&same), "{same}");
    }

    #[test]
    fn dumps_arrive_in_the_first_minute_of_the_next_hour_and_in_order() {
        let shares = vec![share(50.0, Shape::Constant), share(50.0, Shape::HourlyDump)];
        let plan = plan(shares, vec![]);
        let arrivals = all(&plan, 9_000);
        assert_eq!(arrivals.len(), 9_000);
        assert!(arrivals.is_sorted_by_key(|incoming| incoming.at));
        for dumped in arrivals.iter().filter(|incoming| incoming.share == 1) {
            let second = Time::from_picos(dumped.at).as_seconds();
            assert!(second >= 3_600.0 && second % 3_600.0 <= 60.0, "{second}");
        }
    }

    #[test]
    fn a_flash_crowd_multiplies_arrivals_while_it_lasts() {
        let fault = Fault {
            from: Time::from_seconds(1_000.0),
            to: Time::from_seconds(2_000.0),
            kind: FaultKind::FlashCrowd { factor: 2.5 },
        };
        let plan = plan(vec![share(1.0, Shape::Constant)], vec![fault]);
        let arrivals = all(&plan, 3_000);
        assert!(arrivals.is_sorted_by_key(|incoming| incoming.at));
        assert!((4_400..4_600).contains(&arrivals.len()), "{}", arrivals.len());
    }
}
