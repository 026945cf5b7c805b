//! Mixes of one group that were found, stored flat: the columns that a pass chooses from.

/// Mixes of one group: value, takes of the shared limits, counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) values: Vec<i64>,
    takes: Vec<i64>,
    counts: Vec<i64>,
    shared: usize,
    variants: usize,
}

/// Above this many columns only equal ones are looked for, not dominated ones: the check is
/// quadratic.
const DOMINANCE_MAX: usize = 1_500;

impl Columns {
    pub(super) fn new(shared: usize, variants: usize) -> Self {
        Self { shared, variants, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn takes(&self, column: usize) -> &[i64] {
        &self.takes[column * self.shared..(column + 1) * self.shared]
    }

    pub(super) fn counts(&self, column: usize) -> &[i64] {
        &self.counts[column * self.variants..(column + 1) * self.variants]
    }

    pub(super) fn push(&mut self, value: i64, takes: &[i64], counts: &[i64]) -> usize {
        self.values.push(value);
        self.takes.extend_from_slice(takes);
        self.counts.extend_from_slice(counts);
        self.values.len() - 1
    }

    /// The place of a mix, added where it is new.
    pub(super) fn insert(&mut self, value: i64, takes: &[i64], counts: &[i64]) -> usize {
        let same = (0..self.len()).find(|column| self.counts(*column) == counts);
        same.unwrap_or_else(|| self.push(value, takes, counts))
    }

    /// Value plus takes at their prices.
    pub(super) fn reduced(&self, column: usize, prices: &[f64]) -> f64 {
        let mut reduced = self.values[column] as f64;
        for (taken, price) in self.takes(column).iter().zip(prices) {
            reduced += *taken as f64 * price;
        }
        reduced
    }

    /// The column of the least reduced value, and that value.
    pub(super) fn cheapest(&self, prices: &[f64]) -> Option<(usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for column in 0..self.len() {
            let reduced = self.reduced(column, prices);
            if best.is_none_or(|(_, least)| reduced < least) {
                best = Some((column, reduced));
            }
        }
        best
    }

    /// Drops columns that another one equals or beats in value and in every take, and those that
    /// `keep` refuses.
    pub(super) fn prune(&mut self, keep: impl Fn(&Self, usize) -> bool) {
        let mut order: Vec<usize> = (0..self.len()).filter(|column| keep(self, *column)).collect();
        let key = |column: &usize| (self.values[*column], self.takes(*column), *column);
        order.sort_unstable_by(|left, right| key(left).cmp(&key(right)));
        let thorough = order.len() <= DOMINANCE_MAX;
        let mut kept: Vec<usize> = Vec::new();
        for column in order {
            let beaten = |other: &usize| {
                self.takes(*other).iter().zip(self.takes(column)).all(|(less, more)| less <= more)
            };
            let dominated =
                if thorough { kept.iter().any(beaten) } else { kept.last().is_some_and(beaten) };
            if !dominated {
                kept.push(column);
            }
        }
        let mut pruned = Self::new(self.shared, self.variants);
        for column in kept {
            pruned.push(self.values[column], self.takes(column), self.counts(column));
        }
        *self = pruned;
    }
}
