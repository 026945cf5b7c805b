//! The columns of the comparison, shared by the terminal and by Markdown.

use super::super::format::{attained, count, milliseconds, money, required, times};
use super::super::judge::{Standing, shortened};
use super::super::{Report, Run, TierSummary, TierTarget};

/// Title of the column that holds cost over the lower bound.
pub(in super::super) const OVER_BOUND: &str = "vs bound";
/// What stands where there is nothing to show.
const NONE: &str = "–";
/// Length of the names of the oracles, with the blanks for a mark.
const ORACLE_CHARS: usize = 13;
/// Widest title of a tier.
const TIER_CHARS_MAX: usize = 16;

/// Which side a column's cells lean to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One column.
#[derive(Clone, Debug)]
pub(in super::super) struct Column {
    pub(in super::super) title: String,
    pub(in super::super) subtitle: String,
    pub(in super::super) align: Align,
    /// What rows that are not runs need.
    pub(in super::super) width_min: usize,
    /// The higher, the sooner it goes where there is no room; 0 never goes.
    pub(in super::super) dispensable: u8,
    /// One per run, in the order of [`Report::ranked`].
    pub(in super::super) cells: Vec<Cell>,
}

/// One cell.
#[derive(Clone, Debug)]
pub(in super::super) struct Cell {
    pub(in super::super) text: String,
    /// Whether it is below what was promised.
    pub(in super::super) missed: bool,
}

impl Column {
    /// Characters of the widest cell, title included.
    pub(in super::super) fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.text.chars().count());
        let titles = [self.title.chars().count(), self.subtitle.chars().count()];
        cells.chain(titles).max().unwrap_or(0).max(self.width_min)
    }

    /// A text padded to the column.
    pub(in super::super) fn aligned(&self, text: &str) -> String {
        let width = self.width();
        match self.align {
            Align::Left => format!("{text:<width$}"),
            Align::Right => format!("{text:>width$}"),
        }
    }
}

/// Cost over the lower bound, as a table shows it.
pub(in super::super) fn over_bound(report: &Report, cost_usd: f64) -> String {
    report
        .over_bound(cost_usd)
        .map_or_else(|| NONE.to_owned(), |ratio| format!("{}x", times(ratio)))
}

/// All columns, in the order of a wide table.
pub(in super::super) fn columns(report: &Report) -> Vec<Column> {
    let labels = report.labels();
    let ranked = report.ranked();
    let column =
        |title: &str, subtitle: &str, dispensable: u8, cell: &dyn Fn(&Run) -> String| Column {
            title: title.to_owned(),
            subtitle: subtitle.to_owned(),
            align: Align::Right,
            width_min: 0,
            dispensable,
            cells: ranked
                .iter()
                .map(|(_, run, _)| Cell { text: cell(run), missed: false })
                .collect(),
        };
    let mut columns = vec![Column {
        align: Align::Left,
        width_min: ORACLE_CHARS,
        cells: ranked
            .iter()
            .map(|(index, _, standing)| Cell {
                text: format!("{} {}", mark(standing), labels[*index]),
                missed: matches!(standing, Standing::Misses(_)),
            })
            .collect(),
        ..column("  policy", "", 0, &|_| String::new())
    }];
    columns.push(column("cost", "", 0, &|run| money(run.cost_usd)));
    columns.push(column(OVER_BOUND, "", 1, &|run| over_bound(report, run.cost_usd)));
    columns.extend(attainment_columns(report, &ranked));
    if let Some(strictest) = strictest_tier(report) {
        let latency = |pick: fn(&TierSummary) -> Option<f64>| {
            let tier = strictest.clone();
            move |run: &Run| {
                run.tiers.get(&tier).and_then(pick).map_or_else(|| NONE.to_owned(), milliseconds)
            }
        };
        let tier = shortened(&strictest, TIER_CHARS_MAX);
        columns.push(column("P95 TTFT", &tier, 2, &latency(|tier| tier.ttft_ms.p95)));
        columns.push(column("P95 TPOT", &tier, 3, &latency(|tier| tier.tpot_ms.p95)));
    }
    let total =
        |run: &Run, pick: fn(&TierSummary) -> u64| run.tiers.values().map(pick).sum::<u64>();
    columns.push(column("shed", "", 4, &|run| count(total(run, |tier| tier.shed))));
    columns.push(column("timed out", "", 4, &|run| count(total(run, |tier| tier.timed_out))));
    columns.push(column("failed", "", 4, &|run| count(total(run, |tier| tier.failed))));
    columns.push(column("replicas", "mean / max", 5, &replicas));
    columns.push(column("starts", "", 6, &|run| {
        count(run.replicas.values().map(|replicas| u64::from(replicas.starts)).sum())
    }));
    columns.push(column("flaps/h", "", 7, &|run| format!("{:.1}", run.flaps_per_hour)));
    columns
}

fn attainment_columns(report: &Report, ranked: &[(usize, &Run, Standing)]) -> Vec<Column> {
    let column = |tier: TierTarget| {
        let share = tier.required();
        let cells: Vec<Cell> = ranked
            .iter()
            .map(|(_, run, standing)| {
                let attainment = run.tiers.get(&tier.name).and_then(TierSummary::share);
                let missed = standing.misses(&tier.name);
                let text = attainment.map_or_else(|| NONE.to_owned(), |kept| attained(kept, share));
                Cell { text, missed }
            })
            .collect();
        // Room for the marks, where there are any.
        let pad = if cells.iter().any(|cell| cell.missed) { "  " } else { "" };
        let marked = |cell: Cell| Cell {
            text: format!("{}{}", cell.text, if cell.missed { " ✗" } else { pad }),
            ..cell
        };
        Column {
            title: shortened(&tier.name, TIER_CHARS_MAX) + pad,
            subtitle: share.map_or_else(String::new, |share| format!("≥ {}{pad}", required(share))),
            align: Align::Right,
            width_min: 0,
            dispensable: 0,
            cells: cells.into_iter().map(marked).collect(),
        }
    };
    report.tier_targets().into_iter().map(column).collect()
}

/// The tier whose latency is shown: the first with requests that is not deferrable.
fn strictest_tier(report: &Report) -> Option<String> {
    let has_requests = |name: &str| {
        report.runs.iter().any(|run| run.tiers.get(name).is_some_and(|tier| tier.requests > 0))
    };
    let tiers = report.tier_targets();
    let served = || tiers.iter().filter(|tier| has_requests(&tier.name));
    served().find(|tier| !tier.deferrable).or_else(|| served().next()).map(|tier| tier.name.clone())
}

/// Replicas over all variants: means add up; the most of each variant at most do.
fn replicas(run: &Run) -> String {
    let mean: f64 = run.replicas.values().map(|replicas| replicas.mean).sum();
    let max: u32 = run.replicas.values().map(|replicas| replicas.max).sum();
    format!("{mean:.1} / {max}")
}

const fn mark(standing: &Standing) -> &'static str {
    match standing {
        Standing::Keeps => "✓",
        Standing::Misses(_) => "✗",
        Standing::Unjudged => " ",
        Standing::Aborted => "!",
    }
}
