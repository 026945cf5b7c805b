//! From counters at scrapes to counts per step.
//!
//! A counter's rise between two scrapes is laid evenly over the time between them. A fall is a
//! restart: what stands then was counted since, as Prometheus reads it. After a silence longer
//! than [`gap_s`] a counter that only rose still tells the total, not when; one that fell tells
//! nothing, and steps that no scrape covers stay unknown.

use std::collections::{BTreeMap, BTreeSet};

use forebay_core::observe::history::{History, HistoryStep};
use forebay_core::time::Span;

/// A scrape target: its `job` and `instance`.
pub(super) type Target = (String, String);

/// What a series counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counts {
    Arrivals,
    /// Prompts up to the bound with this place in the list of bounds, all shorter ones included.
    Prompt(Part),
    Output(Part),
}

/// Part of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Bits of the (positive) upper bound, which order as the bounds do.
    Bucket(u64),
    Sum,
}

/// One value of one series at one step's end.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// Evaluated at the end of this many steps.
    pub(super) step: u64,
    pub(super) value: f64,
}

/// Collects points of a range, chunk by chunk in order of time.
pub(super) struct Rebuild {
    start_s: f64,
    step_s: f64,
    steps: Vec<Cell>,
    /// Distinct scrape times of each target, rising; only the newest of past chunks is kept.
    scrapes: BTreeMap<Target, BTreeSet<u64>>,
    /// Last value of each series and the scrape that gave it.
    last: BTreeMap<(Counts, String), (f64, f64)>,
    resets: u64,
    gaps: u64,
    gap_known_s: f64,
}

#[derive(Clone, Default)]
struct Cell {
    traffic: HistoryStep,
    /// Cumulative over buckets, as Prometheus counts them.
    prompt: BTreeMap<u64, f64>,
    output: BTreeMap<u64, f64>,
    /// The part of the step that scrapes cover, s from its start.
    covered: Option<(f64, f64)>,
}

/// A scrape is missed once in a while; three steps without one, or two minutes, are a gap.
pub(super) fn gap_s(step_s: f64) -> f64 {
    (3.0 * step_s).max(120.0)
}

/// Least part of a step that must be covered for it to be known.
const COVERED_MIN: f64 = 0.5;

impl Rebuild {
    pub(super) fn new(start_s: f64, step: Span, steps: u64) -> Self {
        Self {
            start_s,
            step_s: step.as_seconds(),
            steps: vec![Cell::default(); steps as usize],
            scrapes: BTreeMap::new(),
            last: BTreeMap::new(),
            resets: 0,
            gaps: 0,
            gap_known_s: 0.0,
        }
    }

    /// Takes in when a target was last scraped before the end of each step (Unix seconds).
    /// Returns the scrape time by step.
    pub(super) fn scrapes(&mut self, target: &Target, points: &[Point]) -> BTreeMap<u64, f64> {
        let known = self.scrapes.entry(target.clone()).or_default();
        if let Some(newest) = known.pop_last() {
            known.clear();
            known.insert(newest);
        }
        known.extend(points.iter().map(|point| point.value.max(0.0).to_bits()));
        points.iter().map(|point| (point.step, point.value)).collect()
    }

    /// Takes in one series of a target.
    pub(super) fn series(
        &mut self,
        counts: Counts,
        target: &Target,
        identity: String,
        scraped: &BTreeMap<u64, f64>,
        points: &[Point],
    ) {
        let key = (counts, identity);
        for point in points {
            let Some(&at) = scraped.get(&point.step) else { continue };
            let before = match self.last.get(&key) {
                Some(&(earlier, _)) if at <= earlier => continue,
                Some(&before) => Some(before),
                // A new series on a target that was scraped before started from zero.
                None => self.scrape_before(target, at).map(|earlier| (earlier, 0.0)),
            };
            if let Some((earlier, value)) = before {
                self.rise(counts, (earlier, at), point.value - value, point.value);
            }
            self.last.insert(key.clone(), (at, point.value));
        }
    }

    fn scrape_before(&self, target: &Target, at: f64) -> Option<f64> {
        let scrapes = self.scrapes.get(target)?;
        scrapes.range(..at.max(0.0).to_bits()).next_back().map(|bits| f64::from_bits(*bits))
    }

    /// A counter stood `difference` higher at `to` than at `from`, at `value`.
    fn rise(&mut self, counts: Counts, (from, to): (f64, f64), difference: f64, value: f64) {
        let gap = to - from > gap_s(self.step_s);
        let reset = difference < 0.0;
        if counts == Counts::Arrivals {
            self.resets += u64::from(reset);
            self.gaps += u64::from(gap);
        }
        if gap && reset {
            return;
        }
        if gap && counts == Counts::Arrivals {
            self.gap_known_s += to - from;
        }
        let amount = if reset { value } else { difference };
        if !amount.is_finite() {
            return;
        }
        let (begin, end) = ((from - self.start_s) / self.step_s, (to - self.start_s) / self.step_s);
        let first = begin.floor().max(0.0) as usize;
        let last = (end.ceil().max(0.0) as usize).min(self.steps.len());
        for index in first..last {
            let low = begin.max(index as f64);
            let high = end.min(index as f64 + 1.0);
            let part = amount * (high - low) / (end - begin);
            let cell = &mut self.steps[index];
            match counts {
                Counts::Arrivals => {
                    cell.traffic.arrivals += part;
                    let (low, high) = (low - index as f64, high - index as f64);
                    cell.covered = Some(
                        cell.covered
                            .map_or((low, high), |known| (known.0.min(low), known.1.max(high))),
                    );
                }
                Counts::Prompt(Part::Sum) => cell.traffic.prompt.sum += part,
                Counts::Output(Part::Sum) => cell.traffic.output.sum += part,
                Counts::Prompt(Part::Bucket(bound)) => {
                    *cell.prompt.entry(bound).or_default() += part
                }
                Counts::Output(Part::Bucket(bound)) => {
                    *cell.output.entry(bound).or_default() += part
                }
            }
        }
    }

    /// The history, with what was inferred.
    pub(super) fn finish(self, step: Span, mut notes: Vec<String>) -> History {
        if self.resets > 0 {
            notes.push(format!("{} counter resets: an engine restarted, what it counted between its last scrape and the restart is missing", self.resets));
        }
        if self.gaps > 0 {
            notes.push(format!(
                "{} gaps in the scrapes of single targets, {:.0} s of them with counters that went on: their total is known and laid evenly over the gap; of the others it is missing",
                self.gaps, self.gap_known_s
            ));
        }
        let steps = self
            .steps
            .into_iter()
            .map(|mut cell| {
                let covered = cell.covered.map_or(0.0, |(from, to)| to - from);
                if covered < COVERED_MIN {
                    return None;
                }
                cell.traffic.arrivals /= covered;
                for (histogram, cumulative) in [
                    (&mut cell.traffic.prompt, &cell.prompt),
                    (&mut cell.traffic.output, &cell.output),
                ] {
                    let mut below = 0.0;
                    for (&bound, &count) in cumulative {
                        histogram.add(f64::from_bits(bound), (count - below).max(0.0));
                        below = count.max(below);
                    }
                }
                Some(cell.traffic)
            })
            .collect();
        History { step, steps, notes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        ("vllm".into(), name.into())
    }

    fn points(values: &[(u64, f64)]) -> Vec<Point> {
        values.iter().map(|&(step, value)| Point { step, value }).collect()
    }

    /// Arrivals of one target, scraped 5 s before the end of each step that it has a value for.
    fn feed(rebuild: &mut Rebuild, name: &str, values: &[(u64, f64)]) {
        let times: Vec<(u64, f64)> =
            values.iter().map(|&(step, _)| (step, 1_000.0 + 60.0 * step as f64 - 5.0)).collect();
        let scraped = rebuild.scrapes(&target(name), &points(&times));
        rebuild.series(Counts::Arrivals, &target(name), name.into(), &scraped, &points(values));
    }

    fn arrivals(rebuild: Rebuild) -> (Vec<Option<f64>>, Vec<String>) {
        let history = rebuild.finish(Span::from_secs(60), Vec::new());
        (
            history
                .steps
                .iter()
                .map(|step| step.as_ref().map(|step| step.arrivals.round()))
                .collect(),
            history.notes,
        )
    }

    #[test]
    fn rises_are_laid_over_the_time_between_scrapes() {
        let mut rebuild = Rebuild::new(1_000.0, Span::from_secs(60), 3);
        feed(&mut rebuild, "a", &[(0, 500.0), (1, 560.0), (2, 620.0), (3, 680.0)]);
        let (found, notes) = arrivals(rebuild);
        // 1/s throughout; the last 5 s of the last step are not covered and follow the rest.
        assert_eq!(found, [Some(60.0), Some(60.0), Some(60.0)]);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_restart_counts_from_zero_and_is_noted() {
        let mut rebuild = Rebuild::new(1_000.0, Span::from_secs(60), 2);
        feed(&mut rebuild, "a", &[(0, 500.0), (1, 60.0), (2, 120.0)]);
        let (found, notes) = arrivals(rebuild);
        assert_eq!(found, [Some(60.0), Some(60.0)]);
        assert!(notes[0].starts_with("1 counter resets"), "{notes:?}");
    }

    #[test]
    fn a_gap_is_unknown_unless_the_counter_went_on() {
        let mut lost = Rebuild::new(1_000.0, Span::from_secs(60), 10);
        feed(&mut lost, "a", &[(0, 0.0), (1, 60.0), (8, 6.0), (9, 66.0), (10, 126.0)]);
        let (found, notes) = arrivals(lost);
        assert_eq!(found[0], Some(60.0));
        assert_eq!(found[2..7], [None; 5]);
        assert_eq!(found[8], Some(60.0));
        assert!(notes[1].starts_with("1 gaps in the scrapes of single targets, 0 s"), "{notes:?}");
        let mut went_on = Rebuild::new(1_000.0, Span::from_secs(60), 10);
        feed(&mut went_on, "a", &[(0, 0.0), (1, 60.0), (8, 480.0), (9, 540.0), (10, 600.0)]);
        let (found, notes) = arrivals(went_on);
        assert_eq!(found, [Some(60.0); 10]);
        assert!(notes[0].contains("420 s of them with counters that went on"), "{notes:?}");
    }

    #[test]
    fn a_new_replica_starts_uncounted_and_a_new_label_from_zero() {
        let mut rebuild = Rebuild::new(1_000.0, Span::from_secs(60), 3);
        feed(&mut rebuild, "a", &[(0, 0.0), (1, 60.0), (2, 120.0), (3, 180.0)]);
        // What a replica had counted at its first scrape is not known to belong here.
        feed(&mut rebuild, "b", &[(2, 9_000.0), (3, 9_060.0)]);
        let times: Vec<(u64, f64)> =
            (0..=3).map(|step| (step, 995.0 + 60.0 * step as f64)).collect();
        let scraped: BTreeMap<u64, f64> = times.into_iter().collect();
        rebuild.series(
            Counts::Arrivals,
            &target("a"),
            "another tier".into(),
            &scraped,
            &points(&[(2, 60.0), (3, 120.0)]),
        );
        let (found, _) = arrivals(rebuild);
        // From 1,055 on the new label counts too, from 1,115 on the new replica.
        assert_eq!(found[0], Some(60.0 + 5.0));
        assert_eq!(found[1], Some(60.0 + 60.0 + 5.0));
        assert_eq!(found[2], Some(180.0));
    }

    #[test]
    fn buckets_are_told_apart_and_chunks_join() {
        let mut rebuild = Rebuild::new(1_000.0, Span::from_secs(60), 2);
        feed(&mut rebuild, "a", &[(0, 0.0), (1, 10.0)]);
        feed(&mut rebuild, "a", &[(2, 30.0)]);
        let bucket = |bound: f64| Counts::Prompt(Part::Bucket(bound.to_bits()));
        let scraped: BTreeMap<u64, f64> = [(0, 1_000.0), (1, 1_060.0)].into();
        for (bound, value) in [(100.0, 4.0), (200.0, 9.0), (f64::INFINITY, 10.0)] {
            rebuild.series(
                bucket(bound),
                &target("a"),
                bound.to_string(),
                &scraped,
                &points(&[(0, 0.0), (1, value)]),
            );
        }
        rebuild.series(
            Counts::Prompt(Part::Sum),
            &target("a"),
            "sum".into(),
            &scraped,
            &points(&[(0, 50.0), (1, 1_650.0)]),
        );
        let history = rebuild.finish(Span::from_secs(60), Vec::new());
        let first = history.steps[0].as_ref().unwrap();
        assert_eq!(first.prompt.bounds, [100.0, 200.0, f64::INFINITY]);
        assert_eq!(first.prompt.counts, [4.0, 5.0, 1.0]);
        assert_eq!(first.prompt.mean(), Some(160.0));
        assert!((history.arrivals() - 30.83).abs() < 0.01, "{}", history.arrivals());
    }
}
