//! Mixes of one group at given prices: depth first over its variants, cut by the bound that prices
//! on its rows give ([`super::worth`]).

use super::part::{Part, RowMode};
use super::worth::Worth;

/// Told of each mix that is found; answers the reduced value from which on mixes are of no use.
pub(super) type Visit<'a> = dyn FnMut(&Found<'_>) -> f64 + 'a;

/// A mix that was found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) counts: &'a [i64],
    pub(super) value: i64,
    pub(super) takes: &'a [i64],
    /// Value plus takes at their prices.
    pub(super) reduced: f64,
}

/// Slack of comparisons between sums in floating point, as a share of their size.
const RELATIVE_SLACK: f64 = 1e-12;

/// How far two ways to add up the same may differ.
pub(super) fn slack(size: f64) -> f64 {
    1e-6 + RELATIVE_SLACK * size.abs()
}

/// Memory of the search, kept between calls.
#[derive(Debug, Default)]
pub(super) struct Search {
    counts: Vec<i64>,
    takes: Vec<i64>,
    order: Vec<usize>,
    /// Coverage that is left to find, by depth and row.
    open: Vec<i64>,
    /// Most that the variants from a depth on can cover, by depth and row.
    reach: Vec<i64>,
    /// What is left of own limits, by depth and limit; then the ratio's sums.
    room: Vec<i64>,
    /// Least that the variants from a depth on take of own limits; then of the ratio's sums.
    least: Vec<i64>,
    /// Most that they add to the ratio's sums.
    most: Vec<i64>,
    /// What a replica of each variant takes of the shared limits, at their prices.
    priced: Vec<f64>,
    cutoff: f64,
    slack: f64,
    pub(super) worth: Worth,
    /// Partial mixes looked at since the start.
    pub(super) nodes: u64,
    /// Partial mixes that may be looked at.
    pub(super) nodes_max: u64,
}

impl Search {
    /// Visits every mix of the group whose reduced value lies below `cutoff`, which the visitor
    /// lowers. Gives a lower bound on the reduced value of any mix that was not visited, at most
    /// the last cutoff; infinite where the group has no mix at all.
    ///
    /// `worths` are prices on the group's rows from an earlier call with like prices: a start.
    pub(super) fn run(
        &mut self,
        part: &Part,
        prices: &[f64],
        worths: &mut Vec<f64>,
        cutoff: f64,
        visit: &mut Visit<'_>,
    ) -> f64 {
        self.cutoff = cutoff;
        self.counts.clear();
        self.counts.resize(part.offers.len(), 0);
        self.takes.clear();
        self.takes.resize(part.shared, 0);
        self.priced.clear();
        self.priced.extend((0..part.offers.len()).map(|v| {
            let takes = &part.takes[v * part.shared..(v + 1) * part.shared];
            takes.iter().zip(prices).map(|(each, price)| *each as f64 * price).sum::<f64>()
        }));
        if part.ratio.is_empty() {
            return self.run_units(part, prices, worths, 0, visit);
        }
        let units = part.ratio.iter().map(|(each, unit)| {
            let most: i64 = each.iter().zip(&part.offers).map(|(e, offer)| e * offer.hi).sum();
            most / unit
        });
        let units = units.min().unwrap_or(0);
        let mut bound = f64::INFINITY;
        for units in 0..=units {
            bound = bound.min(self.run_units(part, prices, worths, units, visit));
        }
        bound.min(self.cutoff)
    }

    /// The same for a fixed number of units of the ratio.
    fn run_units(
        &mut self,
        part: &Part,
        prices: &[f64],
        worths: &mut Vec<f64>,
        units: i64,
        visit: &mut Visit<'_>,
    ) -> f64 {
        self.worth.ascend(part, prices, worths, units);
        let bound = self.worth.bound;
        self.slack = slack(bound);
        self.nodes += 1;
        if bound >= self.cutoff - self.slack {
            return bound;
        }
        if self.nodes >= self.nodes_max {
            return bound;
        }
        self.prepare(part, units);
        let complete = self.descend(part, prices, 0, bound, 0.0, visit);
        if complete { self.cutoff } else { bound }
    }

    /// Orders the variants, the dearest to move first, and sums what the later ones can do.
    fn prepare(&mut self, part: &Part, units: i64) {
        let variants = part.offers.len();
        self.order.clear();
        self.order.extend(0..variants);
        let moves = &self.worth.moves;
        self.order.sort_unstable_by(|left, right| {
            moves[*right].total_cmp(&moves[*left]).then(left.cmp(right))
        });
        let (rows, limits, ratio) = (part.rows.len(), part.limits.len(), part.ratio.len());
        let sums = limits + ratio;
        for (vector, width) in [
            (&mut self.open, rows),
            (&mut self.reach, rows),
            (&mut self.room, sums),
            (&mut self.least, sums),
            (&mut self.most, sums),
        ] {
            vector.clear();
            vector.resize((variants + 1) * width, 0);
        }
        for depth in (0..variants).rev() {
            let v = self.order[depth];
            let offer = &part.offers[v];
            for (k, row) in part.rows.iter().enumerate() {
                self.reach[depth * rows + k] =
                    self.reach[(depth + 1) * rows + k] + row.each[v] * row.counted(offer, offer.hi);
            }
            for (l, (each, _)) in part.limits.iter().chain(&part.ratio).enumerate() {
                let next = (depth + 1) * sums + l;
                self.least[depth * sums + l] = self.least[next] + each[v] * offer.lo;
                self.most[depth * sums + l] = self.most[next] + each[v] * offer.hi;
            }
        }
        for (k, row) in part.rows.iter().enumerate() {
            self.open[k] = row.need;
        }
        for (l, (_, most)) in part.limits.iter().enumerate() {
            self.room[l] = *most;
        }
        for (l, (_, unit)) in part.ratio.iter().enumerate() {
            self.room[limits + l] = unit * units;
        }
    }

    /// The counts worth trying for the variant at a depth; empty where the branch is dead.
    fn range(&self, part: &Part, depth: usize) -> (i64, i64) {
        let v = self.order[depth];
        let offer = &part.offers[v];
        let rows = part.rows.len();
        let sums = part.limits.len() + part.ratio.len();
        let (mut lower, mut upper) = (offer.lo, offer.hi);
        let mut useful = offer.kept;
        for (k, row) in part.rows.iter().enumerate() {
            let open = self.open[depth * rows + k];
            let each = row.each[v];
            if open > 0 && each > 0 {
                useful = useful.max((open - 1) / each + 1 + row.spare(offer));
            }
            let must = open - self.reach[(depth + 1) * rows + k];
            if row.mode == RowMode::Hard && must > 0 {
                if each == 0 {
                    return (1, 0);
                }
                lower = lower.max((must - 1) / each + 1 + row.spare(offer));
            }
        }
        for (l, (each, _)) in part.limits.iter().chain(&part.ratio).enumerate() {
            let room = self.room[depth * sums + l];
            let rest = (depth + 1) * sums + l;
            let each = each[v];
            let spare = room - self.least[rest];
            if spare < 0 {
                return (1, 0);
            }
            if each > 0 {
                upper = upper.min(spare / each);
            }
            let exact = l >= part.limits.len();
            let must = room - self.most[rest];
            if exact && must > 0 {
                if each == 0 {
                    return (1, 0);
                }
                lower = lower.max((must - 1) / each + 1);
            }
        }
        if !offer.bound {
            upper = upper.min(useful.max(lower));
        }
        (lower, upper)
    }

    /// Tries the counts of the variant at a depth. `sum` is the reduced value of the variants before
    /// it, shortfalls left out. False where the budget ended it early.
    fn descend(
        &mut self,
        part: &Part,
        prices: &[f64],
        depth: usize,
        bound: f64,
        sum: f64,
        visit: &mut Visit<'_>,
    ) -> bool {
        if depth == part.offers.len() {
            // Shortfalls only add to it: most mixes need not be added up exactly.
            if sum < self.cutoff + slack(sum) {
                self.leaf(part, prices, visit);
            }
            return true;
        }
        if self.nodes >= self.nodes_max {
            return false;
        }
        let (lower, upper) = self.range(part, depth);
        if lower > upper {
            return true;
        }
        let v = self.order[depth];
        let middle = self.worth.best[v].clamp(lower, upper);
        // A variant with spares is not convex: its excess may fall again beyond them.
        let convex = part.offers[v].spare == 0;
        let mut complete = true;
        for upward in [true, false] {
            let mut count = if upward { middle } else { middle - 1 };
            while count >= lower && count <= upper {
                let next = bound + self.worth.excess(part, v, count);
                if next < self.cutoff - self.slack {
                    self.nodes += 1;
                    self.take(part, depth, v, count);
                    let own = part.offers[v].value(count) as f64 + self.priced[v] * count as f64;
                    complete &= self.descend(part, prices, depth + 1, next, sum + own, visit);
                } else if convex {
                    break;
                }
                count += if upward { 1 } else { -1 };
            }
        }
        complete
    }

    fn take(&mut self, part: &Part, depth: usize, v: usize, count: i64) {
        self.counts[v] = count;
        let rows = part.rows.len();
        let offer = &part.offers[v];
        for (k, row) in part.rows.iter().enumerate() {
            self.open[(depth + 1) * rows + k] =
                self.open[depth * rows + k] - row.each[v] * row.counted(offer, count);
        }
        let sums = part.limits.len() + part.ratio.len();
        for (l, (each, _)) in part.limits.iter().chain(&part.ratio).enumerate() {
            self.room[(depth + 1) * sums + l] = self.room[depth * sums + l] - each[v] * count;
        }
    }

    fn leaf(&mut self, part: &Part, prices: &[f64], visit: &mut Visit<'_>) {
        let value = part.measure(&self.counts, &mut self.takes);
        let mut reduced = value as f64;
        for (price, taken) in prices.iter().zip(&self.takes) {
            reduced += price * *taken as f64;
        }
        if reduced < self.cutoff {
            let found = Found { counts: &self.counts, value, takes: &self.takes, reduced };
            self.cutoff = visit(&found).min(self.cutoff);
        }
    }
}
