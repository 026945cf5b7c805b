//! What a unit of coverage of each row is worth inside one group: the multipliers of a Lagrangian
//! bound. Any multipliers give a valid bound; good ones come from coordinate ascent, which solves
//! each row's fractional knapsack exactly.

use super::part::{Part, PartOffer};

/// Rounds over all rows; the multipliers also improve from call to call.
const ROUNDS: usize = 2;

/// A bound on a group at given prices, and what deviating from it costs.
#[derive(Debug, Default)]
pub(super) struct Worth {
    /// No mix has a smaller reduced value.
    pub(super) bound: f64,
    /// The count of each variant that the bound takes.
    pub(super) best: Vec<i64>,
    /// What one replica more or less than it costs at least, by variant.
    pub(super) moves: Vec<f64>,
    /// Price of a replica's shared takes, by variant.
    priced: Vec<f64>,
    /// Worth of a replica's coverage.
    covers: Vec<f64>,
    /// Worth of a replica in own limits and ratio.
    linear: Vec<f64>,
    /// Excess value at `best`, by variant.
    least: Vec<f64>,
    segments: Vec<(f64, f64)>,
}

impl Worth {
    /// How far a count of a variant lies above the bound's choice.
    pub(super) fn excess(&self, part: &Part, v: usize, count: i64) -> f64 {
        self.at(&part.offers[v], v, count) - self.least[v]
    }

    fn at(&self, offer: &PartOffer, v: usize, count: i64) -> f64 {
        offer.value(count) as f64 + (self.priced[v] - self.linear[v]) * count as f64
            - self.covers[v] * offer.counted(count) as f64
    }

    /// Improves `worths` and computes the bound that they give. `worths` holds one for each row,
    /// own limit and part of the ratio.
    pub(super) fn ascend(
        &mut self,
        part: &Part,
        prices: &[f64],
        worths: &mut Vec<f64>,
        units: i64,
    ) {
        let variants = part.offers.len();
        let (rows, limits, ratio) = (part.rows.len(), part.limits.len(), part.ratio.len());
        let terms = rows + limits + ratio;
        worths.resize(terms, 0.0);
        for vector in
            [&mut self.priced, &mut self.covers, &mut self.linear, &mut self.least, &mut self.moves]
        {
            vector.clear();
            vector.resize(variants, 0.0);
        }
        self.best.clear();
        self.best.resize(variants, 0);
        for v in 0..variants {
            let takes = &part.takes[v * part.shared..(v + 1) * part.shared];
            self.priced[v] = takes.iter().zip(prices).map(|(t, price)| *t as f64 * price).sum();
        }
        for (k, row) in part.rows.iter().enumerate() {
            worths[k] = worths[k].clamp(0.0, Part::worth_max(row, prices));
            let sums = if row.counts_spares { &mut self.linear } else { &mut self.covers };
            add(sums, &row.each, worths[k]);
        }
        for (l, (each, _)) in part.limits.iter().chain(&part.ratio).enumerate() {
            add(&mut self.linear, each, worths[rows + l]);
        }
        let rounds = if terms <= 1 { 1 } else { ROUNDS };
        for _ in 0..rounds {
            for (k, row) in part.rows.iter().enumerate() {
                let worth =
                    self.knapsack(part, &row.each, row.need as f64, worths[k], !row.counts_spares);
                let worth = worth.clamp(0.0, Part::worth_max(row, prices));
                let sums = if row.counts_spares { &mut self.linear } else { &mut self.covers };
                add(sums, &row.each, worth - worths[k]);
                worths[k] = worth;
            }
            for (l, (each, bound)) in part.limits.iter().chain(&part.ratio).enumerate() {
                let exact = l >= limits;
                let bound = if exact { bound * units } else { *bound };
                let mut worth = self.knapsack(part, each, bound as f64, worths[rows + l], false);
                if !exact {
                    worth = worth.min(0.0);
                }
                add(&mut self.linear, each, worth - worths[rows + l]);
                worths[rows + l] = worth;
            }
        }
        self.evaluate(part, worths, units);
    }

    fn evaluate(&mut self, part: &Part, worths: &[f64], units: i64) {
        let (rows, limits) = (part.rows.len(), part.limits.len());
        let pairs = worths.iter().zip(&part.rows);
        let mut bound: f64 = pairs.map(|(worth, row)| worth * row.need as f64).sum();
        for (l, (_, most)) in part.limits.iter().chain(&part.ratio).enumerate() {
            let most = if l >= limits { most * units } else { *most };
            bound += worths[rows + l] * most as f64;
        }
        for v in 0..part.offers.len() {
            let offer = &part.offers[v];
            // Linear between these counts, so the least is at one of them.
            let corners = [offer.lo, offer.held, offer.spare, offer.hi];
            let mut best = (f64::INFINITY, offer.lo);
            for corner in corners {
                let count = corner.clamp(offer.lo, offer.hi);
                let value = self.at(offer, v, count);
                if value < best.0 {
                    best = (value, count);
                }
            }
            (self.least[v], self.best[v]) = best;
            bound += best.0;
            let mut moved = f64::INFINITY;
            for count in [best.1 - 1, best.1 + 1] {
                if count >= offer.lo && count <= offer.hi {
                    moved = moved.min(self.at(offer, v, count) - best.0);
                }
            }
            self.moves[v] = moved;
        }
        self.bound = bound;
    }

    /// The worth of one term at which the bound is greatest, all others fixed: where the sum that
    /// the variants choose crosses what is asked.
    fn knapsack(&mut self, part: &Part, each: &[i64], asked: f64, now: f64, coverage: bool) -> f64 {
        self.segments.clear();
        let mut sum = 0.0;
        for (v, offer) in part.offers.iter().enumerate() {
            if each[v] == 0 {
                continue;
            }
            let each = each[v] as f64;
            let (covers, linear) = if coverage {
                (self.covers[v] - now * each, self.linear[v])
            } else {
                (self.covers[v], self.linear[v] - now * each)
            };
            let base = self.priced[v] - linear - covers;
            let counted = |count: i64| if coverage { offer.counted(count) } else { count } as f64;
            sum += each * counted(offer.lo);
            let mut segment = |from: i64, to: i64| {
                let more = counted(to) - counted(from);
                if more > 0.0 {
                    let dearer = (offer.value(to) - offer.value(from)) as f64;
                    let dearer = dearer + base * (to - from) as f64;
                    self.segments.push((dearer / (each * more), each * more));
                }
            };
            let held = offer.held.clamp(offer.lo, offer.hi);
            if offer.spare > 0 && coverage {
                segment(offer.lo, offer.hi);
            } else {
                segment(offer.lo, held);
                segment(held, offer.hi);
            }
        }
        self.segments.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        if sum >= asked && coverage {
            return 0.0;
        }
        let mut last = 0.0;
        for (worth, more) in &self.segments {
            last = *worth;
            sum += more;
            if sum >= asked {
                break;
            }
        }
        last
    }
}

/// Adds a multiple of whole numbers to sums.
fn add(sums: &mut [f64], each: &[i64], factor: f64) {
    for (sum, each) in sums.iter_mut().zip(each) {
        *sum += factor * *each as f64;
    }
}
