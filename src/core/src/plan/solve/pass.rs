//! One pass: the least sum of the groups' values within the shared limits.
//!
//! Prices on the limits first: they part the groups, and bound the sum from below. What the bound
//! and the best choice known leave open is a gap; only mixes whose reduced value lies within it
//! can be part of a better choice, and a sweep over those closes it.

use super::columns::Columns;
use super::part::{Part, Pass};
use super::prices::{self, Prices};
use super::search::{Search, slack};
use super::sweep::{Question, sweep};

/// A mix of every group, with the sum of their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) value: i64,
    pub(super) counts: Vec<Vec<i64>>,
}

/// What a pass ended with.
#[derive(Debug)]
pub(super) struct Passed {
    /// The best choice found; `None`: none was found.
    pub(super) best: Option<Choice>,
    /// No choice has a lower value; infinite where there is none at all.
    pub(super) bound: f64,
    pub(super) prices: Vec<f64>,
    pub(super) rounds: u64,
}

impl Passed {
    /// Whether the best choice is proven to be the least, values being multiples of `unit`.
    pub(super) fn proven(&self, unit: i64) -> bool {
        self.best.as_ref().is_some_and(|best| closed(best.value, self.bound, unit))
    }
}

/// Whether no multiple of `unit` fits between a bound and a value.
pub(super) fn closed(value: i64, bound: f64, unit: i64) -> bool {
    bound > (value - unit) as f64 + 0.5
}

/// Widths of the sweeps, one after the other, until nothing is dropped.
const WIDTHS: [usize; 6] = [64, 512, 4_096, 32_768, 262_144, usize::MAX];
/// One part in so many of the budget is kept for the sweeps.
const SWEEPS_SHARE: u64 = 3;
/// Mixes of one group that are listed at most; with more the gap is approached in steps.
const LISTED_MAX: usize = 20_000;
/// First part of the gap that mixes are listed for.
const FIRST_SHARE: f64 = 1.0 / 16.0;

/// What a pass works with.
pub(super) struct Solver<'a> {
    pub(super) parts: Vec<Part>,
    pub(super) pass: &'a Pass,
    /// What all values are multiples of.
    pub(super) unit: i64,
    /// No choice has a larger value.
    pub(super) value_max: i64,
    pub(super) search: &'a mut Search,
}

impl Solver<'_> {
    /// Solves the pass, starting from prices and a choice that may be none.
    ///
    /// `thorough` false: gives up early where no choice is found; there may be none.
    pub(super) fn solve(
        &mut self,
        start: Option<Vec<Vec<i64>>>,
        start_prices: &[f64],
        thorough: bool,
    ) -> Passed {
        let least = self.parts.iter().map(|part| part.offers.iter().map(|o| o.lo).collect());
        let least: Vec<Vec<i64>> = least.collect();
        let best = start.and_then(|counts| self.choice(counts));
        // Where shortfalls are allowed, doing the least is a choice, if a bad one.
        let mut best = best.or_else(|| self.choice(least));
        let mut pool: Vec<Columns> =
            self.parts.iter().map(|part| Columns::new(part.shared, part.offers.len())).collect();
        if let Some(choice) = &best {
            for (group, counts) in choice.counts.iter().enumerate() {
                self.add(&mut pool[group], group, counts);
            }
        }
        let limits = &self.pass.limits;
        let mut found = Prices::new(start_prices.to_vec());
        // Prices must leave something for the sweeps: they alone rarely find a choice that fits.
        let nodes_max = self.search.nodes_max;
        let left = nodes_max.saturating_sub(self.search.nodes);
        self.search.nodes_max = nodes_max - left / SWEEPS_SHARE;
        prices::ascend(self, limits, &mut pool, &mut best, &mut found);
        self.search.nodes_max = nodes_max;
        let mut passed =
            Passed { best, bound: found.bound, prices: found.prices.clone(), rounds: found.rounds };
        if passed.bound.is_infinite() || passed.proven(self.unit) || limits.is_empty() {
            return passed;
        }
        self.sweep_pool(&pool, &mut passed, &found);
        if passed.best.is_none() && !thorough {
            return passed;
        }
        self.close(&mut passed, &found);
        passed
    }

    /// A first choice from the mixes that the prices brought up.
    fn sweep_pool(&mut self, pool: &[Columns], passed: &mut Passed, found: &Prices) {
        for width in [WIDTHS[0], WIDTHS[1]] {
            let before = passed.best.is_some();
            self.sweep(pool, passed, &found.prices, width);
            if before || passed.best.is_some() {
                return;
            }
        }
    }

    fn sweep(
        &mut self,
        columns: &[Columns],
        passed: &mut Passed,
        prices: &[f64],
        width: usize,
    ) -> f64 {
        let at_most = match &passed.best {
            Some(best) => (best.value - self.unit) as f64,
            None => self.value_max as f64,
        };
        let question = Question {
            columns,
            limits: &self.pass.limits,
            prices,
            at_most,
            width,
            nodes_max: self.search.nodes_max.saturating_sub(self.search.nodes),
        };
        let swept = sweep(&question);
        self.search.nodes += swept.nodes;
        if let Some((value, chosen)) = swept.best
            && passed.best.as_ref().is_none_or(|best| value < best.value)
        {
            let counts = chosen.iter().zip(columns).map(|(c, columns)| columns.counts(*c).to_vec());
            passed.best = Some(Choice { value, counts: counts.collect() });
        }
        swept.dropped
    }

    /// Closes the gap as far as the budget goes.
    fn close(&mut self, passed: &mut Passed, found: &Prices) {
        let mut share = FIRST_SHARE;
        let mut width = 1;
        let mut listed_for = -1.0;
        let mut lists: Vec<Columns> = Vec::new();
        let mut found = found.clone();
        while self.search.nodes < self.search.nodes_max && !passed.proven(self.unit) {
            let gap = self.gap(passed, found.bound);
            let wanted = (gap * share).min(gap);
            if wanted > listed_for {
                let Some(listed) = self.list(&found, wanted) else {
                    share /= 4.0;
                    if share < 1e-6 {
                        return;
                    }
                    continue;
                };
                lists = listed;
                listed_for = wanted;
            }
            let dropped = self.sweep(&lists, passed, &found.prices, WIDTHS[width]);
            // What was not listed, and what was listed and dropped.
            let unlisted = found.bound + listed_for;
            let best = passed.best.as_ref().map_or(f64::INFINITY, |best| best.value as f64);
            passed.bound = passed.bound.max(dropped.min(unlisted).min(best));
            let gap = self.gap(passed, found.bound);
            let complete = listed_for >= gap;
            if complete && dropped.is_infinite() {
                // All that could be better was looked at.
                passed.bound = best;
                return;
            }
            if dropped.is_infinite() || (!complete && share < 1.0) {
                share *= 4.0;
            } else {
                if width + 1 == WIDTHS.len() {
                    return;
                }
                width += 1;
            }
            for list in &mut lists {
                let least = list.cheapest(&found.prices).map_or(0.0, |(_, reduced)| reduced);
                list.prune(|list, column| list.reduced(column, &found.prices) <= least + gap);
            }
            found.rounds += 1;
        }
    }

    /// What a better choice may lie above the bound that prices give: no part of it has a mix whose
    /// reduced value lies further above its group's least.
    fn gap(&self, passed: &Passed, bound: f64) -> f64 {
        match &passed.best {
            Some(best) => ((best.value - self.unit) as f64 - bound + slack(bound)).max(0.0),
            None => (self.value_max as f64 - bound).max(0.0),
        }
    }

    /// Every mix of each group whose reduced value lies at most `within` above the group's least.
    /// `None` where they are too many.
    fn list(&mut self, found: &Prices, within: f64) -> Option<Vec<Columns>> {
        let mut lists = Vec::with_capacity(self.parts.len());
        for (group, part) in self.parts.iter().enumerate() {
            let mut columns = Columns::new(part.shared, part.offers.len());
            let cutoff = found.least[group] + within;
            let cutoff = cutoff + slack(cutoff);
            let mut worths = found.worths[group].clone();
            let mut full = false;
            self.search.run(part, &found.prices, &mut worths, cutoff, &mut |mix| {
                columns.push(mix.value, mix.takes, mix.counts);
                full = columns.len() >= LISTED_MAX;
                if full { f64::NEG_INFINITY } else { cutoff }
            });
            if full || self.search.nodes >= self.search.nodes_max {
                return None;
            }
            columns.prune(|_, _| true);
            lists.push(columns);
        }
        Some(lists)
    }

    /// A choice, where it keeps everything.
    pub(super) fn choice(&self, counts: Vec<Vec<i64>>) -> Option<Choice> {
        let shared = self.pass.limits.len();
        let (mut sum, mut takes) = (vec![0; shared], vec![0; shared]);
        let mut value = 0;
        for (part, counts) in self.parts.iter().zip(&counts) {
            if !part.allows(counts) {
                return None;
            }
            value += part.measure(counts, &mut takes);
            for (sum, taken) in sum.iter_mut().zip(&takes) {
                *sum += taken;
            }
        }
        let fits = sum.iter().zip(&self.pass.limits).all(|(sum, limit)| sum <= limit);
        fits.then_some(Choice { value, counts })
    }

    fn add(&self, columns: &mut Columns, group: usize, counts: &[i64]) {
        let mut takes = vec![0; self.pass.limits.len()];
        let value = self.parts[group].measure(counts, &mut takes);
        columns.insert(value, &takes, counts);
    }
}
