//! A group as one pass sees it: which rows must hold, what counts, what is priced.

use super::group::Group;
use super::model::{ENOUGH, Model, NEED, SHORTFALL_STEPS, missing_steps};

/// What a row is in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowMode {
    /// It must be covered.
    Hard,
    /// Its shortfall is what the pass minimises.
    Counted,
    /// Its shortfall is limited, together with others: a shared limit of the pass.
    Limited(usize),
    /// It comes later.
    Ignored,
}

/// What a pass minimises, and under what.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// Whether cost is minimised; else the shortfall of counted rows.
    pub(super) cost: bool,
    /// By row of the model.
    pub(super) rows: Vec<RowMode>,
    /// Bounds of the shared limits: those of the model, then one for each earlier level.
    pub(super) limits: Vec<i64>,
}

/// One variant in a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartOffer {
    pub(super) lo: i64,
    pub(super) hi: i64,
    pub(super) held: i64,
    pub(super) spare: i64,
    pub(super) each: i64,
    pub(super) start: i64,
    pub(super) removal: i64,
    /// Replicas up to which more may pay even where nothing is left to cover.
    pub(super) kept: i64,
    /// Whether a ratio counts it: then more may be needed than any row asks for.
    pub(super) bound: bool,
}

impl PartOffer {
    pub(super) const fn value(&self, count: i64) -> i64 {
        let over = if count > self.held { count - self.held } else { 0 };
        let under = if count < self.held { self.held - count } else { 0 };
        self.each * count + self.start * over + self.removal * under
    }

    pub(super) const fn counted(&self, count: i64) -> i64 {
        if count > self.spare { count - self.spare } else { 0 }
    }
}

/// A row in a pass.
#[derive(Clone, Debug)]
pub(super) struct PartRow {
    pub(super) each: Vec<i64>,
    pub(super) mode: RowMode,
    pub(super) weight: i64,
    /// Coverage that is asked where it must be covered, and the most that is of use.
    pub(super) need: i64,
    /// Whether spares count as well: a minimum does not ask what a replica is for.
    pub(super) counts_spares: bool,
}

impl PartRow {
    /// Replicas of a variant that count.
    pub(super) const fn counted(&self, offer: &PartOffer, count: i64) -> i64 {
        if self.counts_spares { count } else { offer.counted(count) }
    }

    /// Replicas of a variant that must be there before one counts.
    pub(super) const fn spare(&self, offer: &PartOffer) -> i64 {
        if self.counts_spares { 0 } else { offer.spare }
    }
}

/// A group in a pass.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) offers: Vec<PartOffer>,
    /// Rows that are not ignored.
    pub(super) rows: Vec<PartRow>,
    /// Limits of its own: what a replica of each variant takes, and the most.
    pub(super) limits: Vec<(Vec<i64>, i64)>,
    /// Parts of a fixed ratio: who counts, and replicas in one unit.
    pub(super) ratio: Vec<(Vec<i64>, i64)>,
    /// Takes of the shared limits: `takes[variant * shared + limit]`.
    pub(super) takes: Vec<i64>,
    pub(super) shared: usize,
}

impl Part {
    pub(super) fn new(model: &Model, group: &Group, pass: &Pass) -> Self {
        let in_ratio = |v: usize| group.ratio.iter().any(|part| part.each[v] > 0);
        let offers = group.offers.iter().enumerate().map(|(v, offer)| {
            let offer = &model.offers[*offer];
            let (lo, hi, held) = (i64::from(offer.lo), i64::from(offer.hi), i64::from(offer.held));
            let (each, start, removal) =
                if pass.cost { (offer.each, offer.start, offer.removal) } else { (0, 0, 0) };
            let kept = if each < removal { held.min(hi) } else { lo };
            let spare = i64::from(offer.spare);
            let kept = kept.max(lo);
            PartOffer { lo, hi, held, spare, each, start, removal, kept, bound: in_ratio(v) }
        });
        let offers: Vec<PartOffer> = offers.collect();
        let rows = group.rows.iter().filter(|row| pass.rows[row.row] != RowMode::Ignored);
        let rows = rows.map(|row| PartRow {
            each: row.each.clone(),
            mode: pass.rows[row.row],
            weight: model.needs[row.row].weight,
            need: ENOUGH,
            counts_spares: model.counts_spares(row.row),
        });
        let own = model.shared.len();
        let shared = pass.limits.len();
        let mut takes = vec![0; offers.len() * shared];
        for v in 0..offers.len() {
            takes[v * shared..v * shared + own]
                .copy_from_slice(&group.takes[v * own..(v + 1) * own]);
        }
        Self {
            rows: rows.collect(),
            limits: group.limits.iter().map(|l| (l.each.clone(), l.bound)).collect(),
            ratio: group.ratio.iter().map(|l| (l.each.clone(), l.bound)).collect(),
            offers,
            takes,
            shared,
        }
    }

    /// Value and takes of a mix, which is assumed to keep what is hard.
    pub(super) fn measure(&self, counts: &[i64], takes: &mut [i64]) -> i64 {
        takes.fill(0);
        let mut value = 0;
        for (v, (offer, count)) in self.offers.iter().zip(counts).enumerate() {
            value += offer.value(*count);
            for (taken, each) in takes.iter_mut().zip(&self.takes[v * self.shared..]) {
                *taken += each * count;
            }
        }
        for row in &self.rows {
            let steps = || row.weight * missing_steps(self.covered(row, counts));
            match row.mode {
                RowMode::Counted => value += steps(),
                RowMode::Limited(limit) => takes[limit] += steps(),
                RowMode::Hard | RowMode::Ignored => (),
            }
        }
        value
    }

    fn covered(&self, row: &PartRow, counts: &[i64]) -> i64 {
        let pairs = row.each.iter().zip(&self.offers).zip(counts);
        pairs.map(|((each, offer), count)| each * row.counted(offer, *count)).sum()
    }

    /// Whether a mix keeps bounds, hard rows, own limits and ratio.
    pub(super) fn allows(&self, counts: &[i64]) -> bool {
        let sum = |each: &[i64]| each.iter().zip(counts).map(|(e, n)| e * n).sum::<i64>();
        let inside = self.offers.iter().zip(counts).all(|(o, n)| (o.lo..=o.hi).contains(n));
        let hard = self.rows.iter().filter(|row| row.mode == RowMode::Hard);
        let units = self.ratio.first().map_or(0, |(each, unit)| sum(each) / unit);
        inside
            && { hard }.all(|row| self.covered(row, counts) >= row.need)
            && self.limits.iter().all(|(each, most)| sum(each) <= *most)
            && self.ratio.iter().all(|(each, unit)| sum(each) == unit * units)
    }

    /// What a unit of coverage of a row is worth at most, given the prices of shared limits.
    pub(super) fn worth_max(row: &PartRow, prices: &[f64]) -> f64 {
        let per_step = SHORTFALL_STEPS as f64 / NEED as f64;
        match row.mode {
            RowMode::Hard => f64::INFINITY,
            RowMode::Counted => row.weight as f64 * per_step,
            RowMode::Limited(limit) => row.weight as f64 * prices[limit] * per_step,
            RowMode::Ignored => 0.0,
        }
    }
}
