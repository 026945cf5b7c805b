//! Traffic rebuilt from recorded metrics: counts per step are held, what lies within a step is
//! drawn.

use std::sync::Arc;

use forebay_core::observe::history::{History, HistoryStep, LengthHistogram};
use forebay_core::time::{Span, Time};
use rand::RngExt;

use super::TraceError;
use super::alias::AliasTable;
use super::draw::Stream;
use super::gaps::Family;
use super::lengths::TOKENS_MAX;
use super::pool::{Arrivals, Bin, Client, Pool, PoolLengths};

/// Steps are joined until their histograms hold this many requests: fewer say little about a
/// tail, and lengths are counted when a request ends, some steps after it came.
const OBSERVATIONS_MIN: f64 = 1_000.0;
/// The open bucket ends at this multiple of its lower bound.
const OPEN_BUCKET_FACTOR: f64 = 2.0;
/// Mean of a bucket's lengths, as a part of its width, is kept inside this range.
const PART_MIN: f64 = 0.01;

/// A pool of one client, and how long it lasts.
pub(super) struct Rebuilt {
    pub(super) pool: Pool,
    pub(super) length: Span,
    pub(super) notes: Vec<String>,
}

/// Builds a pool from a history.
pub(super) fn rebuild(
    path: &str,
    history: &History,
    window: (Time, Time),
    rate_scale: f64,
    seed: u64,
) -> Result<Rebuilt, TraceError> {
    let wrong = |what: &str, hint: &str| TraceError::Format {
        path: path.into(),
        what: what.into(),
        hint: hint.into(),
    };
    let step_s = history.step.as_seconds();
    let (start_s, end_s) =
        (window.0.as_seconds(), window.1.as_seconds().min(history.length().as_seconds()));
    if !(step_s > 0.0 && start_s < end_s) {
        return Err(wrong(
            "the window lies outside the range",
            "choose a window inside the range that was queried",
        ));
    }
    let arrivals = filled(&history.steps).ok_or_else(|| {
        wrong(
            "nothing is known of the whole range",
            "choose a range in which the series were scraped",
        )
    })?;
    let bins: Vec<Bin> = arrivals
        .iter()
        .enumerate()
        .filter_map(|(index, &requests)| {
            let begin = index as f64 * step_s;
            let (from, to) = (begin.max(start_s), (begin + step_s).min(end_s));
            let requests = requests * rate_scale * (to - from) / step_s;
            (to > from && requests > 0.0).then_some(Bin {
                start_s: from - start_s,
                length_s: to - from,
                requests,
                cv: 1.0,
                family: Family::Gamma,
            })
        })
        .collect();
    if bins.is_empty() {
        return Err(wrong("no request arrived in the window", "choose a window with traffic"));
    }
    let lengths = RebuiltLengths::new(&history.steps, step_s, start_s).ok_or_else(|| {
        wrong(
            "no request of the range has a length",
            "check that prompt and output histograms are scraped",
        )
    })?;
    let mut notes = history.notes.clone();
    let percent = 100.0 * history.unknown_steps() as f64 / history.steps.len() as f64;
    if percent > 0.0 {
        notes.push(format!("{percent:.1} % of the range is unknown (no scrape); its rate was drawn straight between the known steps around it"));
    }
    notes.push(format!(
        "counts per {} are held; arrival times within are drawn as a Poisson process's",
        history.step
    ));
    notes.push("lengths within a histogram's bucket are drawn so that the mean holds; prompt and output lengths independently of each other".into());
    let client = Client { id: 0, share: 1.0, bins: bins.into(), arrivals: Arrivals::Held };
    let pool = Pool { clients: vec![client], lengths: PoolLengths::Rebuilt(lengths), seed };
    Ok(Rebuilt { pool, length: Span::from_seconds(end_s - start_s), notes })
}

/// Arrivals by step, straight lines over unknown ones; `None` when no step is known.
fn filled(steps: &[Option<HistoryStep>]) -> Option<Vec<f64>> {
    let known: Vec<(usize, f64)> = steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| step.as_ref().map(|step| (index, step.arrivals.max(0.0))))
        .collect();
    let (first, last) = (*known.first()?, *known.last()?);
    let at = |index: usize| {
        let after = known.partition_point(|&(place, _)| place < index);
        match (after.checked_sub(1).map(|before| known[before]), known.get(after)) {
            (_, Some(&(place, value))) if place == index => value,
            (Some((from, low)), Some(&(to, high))) => {
                (high - low).mul_add((index - from) as f64 / (to - from) as f64, low)
            }
            (None, _) => first.1,
            (_, None) => last.1,
        }
    };
    Some((0..steps.len()).map(at).collect())
}

/// Length distributions by time.
#[derive(Clone, Debug)]
pub(super) struct RebuiltLengths {
    spans: Vec<SpanLengths>,
}

#[derive(Clone, Debug)]
struct SpanLengths {
    /// From the start of the window.
    start: Time,
    prompt: Arc<BucketDistribution>,
    output: Arc<BucketDistribution>,
}

impl RebuiltLengths {
    fn new(steps: &[Option<HistoryStep>], step_s: f64, start_s: f64) -> Option<Self> {
        let mut spans: Vec<SpanLengths> = Vec::new();
        let (mut prompt, mut output) = (LengthHistogram::default(), LengthHistogram::default());
        let mut begin = 0;
        for (index, step) in steps.iter().enumerate() {
            if let Some(step) = step {
                prompt.merge(&step.prompt);
                output.merge(&step.output);
            }
            let last = index + 1 == steps.len();
            if !last && prompt.count().min(output.count()) < OBSERVATIONS_MIN {
                continue;
            }
            let tables = BucketDistribution::new(&prompt).zip(BucketDistribution::new(&output));
            // The rest at the end has too few to stand alone when something came before it.
            let enough = spans.is_empty() || prompt.count().min(output.count()) >= OBSERVATIONS_MIN;
            if let (Some((prompt, output)), true) = (tables, enough) {
                let start = Time::from_seconds(begin as f64 * step_s - start_s);
                spans.push(SpanLengths {
                    start,
                    prompt: Arc::new(prompt),
                    output: Arc::new(output),
                });
            }
            (prompt, output) = (LengthHistogram::default(), LengthHistogram::default());
            begin = index + 1;
        }
        (!spans.is_empty()).then_some(Self { spans })
    }

    /// Prompt and output length of a request.
    pub(super) fn draw(&self, at: Time, random: &mut Stream) -> (u32, u32) {
        let place = self.spans.partition_point(|span| span.start <= at).saturating_sub(1);
        let span = &self.spans[place];
        (span.prompt.draw(random), span.output.draw(random))
    }
}

/// Lengths of a histogram: a bucket by its count, then a place in it.
#[derive(Clone, Debug)]
struct BucketDistribution {
    buckets: AliasTable,
    /// Lower (exclusive) and upper bounds.
    edges: Vec<(f64, f64)>,
    /// A length lies at `lower + width * u^power`, whose mean is that of the histogram.
    power: f64,
}

impl BucketDistribution {
    fn new(histogram: &LengthHistogram) -> Option<Self> {
        let mut lower = 0.0;
        let mut edges = Vec::with_capacity(histogram.bounds.len());
        for &bound in &histogram.bounds {
            let upper =
                if bound.is_finite() { bound } else { (lower * OPEN_BUCKET_FACTOR).max(1.0) };
            edges.push((lower, upper));
            lower = upper;
        }
        let weights: Vec<(u32, f64)> = histogram
            .counts
            .iter()
            .enumerate()
            .map(|(index, &count)| (index as u32, count.max(0.0)))
            .collect();
        let buckets = AliasTable::new(&weights)?;
        let over = |of: fn(&(f64, f64)) -> f64| -> f64 {
            edges.iter().zip(&weights).map(|(edge, (_, count))| of(edge) * count).sum()
        };
        let widths = over(|edge| edge.1 - edge.0);
        let part = (histogram.sum - over(|edge| edge.0)) / widths;
        let part = if part.is_finite() { part.clamp(PART_MIN, 1.0 - PART_MIN) } else { 0.5 };
        Some(Self { buckets, edges, power: 1.0 / part - 1.0 })
    }

    fn draw(&self, random: &mut Stream) -> u32 {
        let (lower, upper) = self.edges[self.buckets.draw(random) as usize];
        let place = (upper - lower).mul_add(random.random::<f64>().powf(self.power), lower);
        place.round().clamp((lower + 1.0).min(upper), upper).clamp(1.0, f64::from(TOKENS_MAX))
            as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    fn lengths(values: &[(f64, f64)], sum: f64) -> LengthHistogram {
        let mut histogram = LengthHistogram { sum, ..LengthHistogram::default() };
        for &(bound, count) in values {
            histogram.add(bound, count);
        }
        histogram
    }

    fn history() -> History {
        let step = |arrivals: f64, mean: f64| HistoryStep {
            arrivals,
            prompt: lengths(
                &[(500.0, arrivals / 2.0), (1_000.0, arrivals / 2.0), (f64::INFINITY, 0.0)],
                mean * arrivals,
            ),
            output: lengths(&[(100.0, arrivals)], 20.0 * arrivals),
        };
        History {
            step: Span::from_secs(60),
            steps: vec![
                Some(step(1_500.0, 600.0)),
                Some(step(1_500.5, 600.0)),
                None,
                None,
                Some(step(4_500.5, 450.0)),
                Some(HistoryStep::default()),
            ],
            notes: vec!["two counter resets".into()],
        }
    }

    fn rebuilt(window: (Time, Time), scale: f64) -> Rebuilt {
        rebuild("prometheus:x", &history(), window, scale, 1).unwrap()
    }

    #[test]
    fn counts_and_means_hold_and_unknown_steps_are_filled_and_said() {
        let all = rebuilt((Time::ZERO, Time::MAX), 1.0);
        assert_eq!(all.length, Span::from_secs(360));
        let mut source = Arc::new(all.pool).stream();
        let (mut counts, mut prompts, mut outputs) = ([0_u32; 6], [0.0; 6], 0.0);
        while let Some(request) = source.next_request().unwrap() {
            let step = (request.at.as_seconds() / 60.0) as usize;
            counts[step] += 1;
            prompts[step] += f64::from(request.prompt_tokens);
            outputs += f64::from(request.output_tokens);
        }
        for (found, wanted) in counts.into_iter().zip([1_500, 1_500, 2_500, 3_500, 4_500, 0]) {
            assert!(found.abs_diff(wanted) <= 1, "{counts:?}");
        }
        let near = |found: f64, wanted: f64| {
            assert!((found / wanted - 1.0).abs() < 0.02, "{found} for {wanted}")
        };
        near(prompts[0] / f64::from(counts[0]), 600.0);
        near(prompts[4] / f64::from(counts[4]), 450.0);
        near(outputs / f64::from(counts.iter().sum::<u32>()), 20.0);
        let notes = all.notes.join("\n");
        assert!(
            notes.contains("33.3 % of the range is unknown")
                && notes.contains("two counter resets"),
            "{notes}"
        );
    }

    #[test]
    fn windows_and_scales_apply() {
        let at = |seconds| Time::ZERO + Span::from_secs(seconds);
        let cut = rebuilt((at(30), at(90)), 3.0);
        assert!((cut.pool.requests_expected() - 3.0 * 1_500.25).abs() < 1e-6);
        assert_eq!(cut.length, Span::from_secs(60));
    }

    #[test]
    fn nothing_known_is_an_error_not_silence() {
        let mut empty = history();
        empty.steps = vec![None, None];
        let error = rebuild("p", &empty, (Time::ZERO, Time::MAX), 1.0, 1).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("nothing is known of the whole range"));
        empty.steps = vec![Some(HistoryStep { arrivals: 5.0, ..HistoryStep::default() })];
        let error = rebuild("p", &empty, (Time::ZERO, Time::MAX), 1.0, 1).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("has a length"));
    }
}
