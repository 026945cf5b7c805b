//! What the engines of a fleet tell about demand: lengths, the cached share, what waits in them,
//! and, for want of a router, arrivals.

use super::counters::{GAP_SECONDS_MAX, Gained, increase, is_count};
use crate::fleet::Role;
use crate::ids::FleetId;
use crate::observe::{EngineSample, Histogram};
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// A scrape older than this says nothing about what waits now; three usual intervals.
const FRESH: Span = Span::from_secs(45);
/// With fewer of the ready endpoints scraped, the rest is not guessed from them.
const SEEN_SHARE_MIN: f64 = 0.5;

/// What engines tell.
#[derive(Clone, Debug, Default)]
pub(super) struct EngineDemand {
    /// Requests/s and the newest scrape behind it; `None` = fewer than two scrapes, or of too few
    /// endpoints.
    pub(super) arrivals: Option<(f64, Time)>,
    /// Mean prompt of what finished within the rate window.
    pub(super) prompt_mean: Option<f64>,
    /// Mean output of what finished within the rate window.
    pub(super) output_mean: Option<f64>,
    /// Requests that wait for capacity in engines; `None` = no engine tells.
    pub(super) waiting: Option<f64>,
    /// Ready endpoints scraped lately, as a share; 1 when none is ready.
    pub(super) seen_share: f64,
    /// Newest scrape of all.
    pub(super) until: Option<Time>,
    /// Lengths counted since the time asked for.
    pub(super) prompts: Option<Histogram>,
    pub(super) outputs: Option<Histogram>,
    /// Prefix cache since the time asked for, tokens.
    pub(super) queries_tokens: f64,
    pub(super) hits_tokens: f64,
}

/// Reads the engines of a fleet: rates over `window`, lengths since `since`.
pub(super) fn read(
    view: &FleetView<'_>,
    fleet: FleetId,
    now: Time,
    window: Span,
    since: Time,
) -> EngineDemand {
    let mut read = EngineDemand::default();
    let (mut ready, mut seen, mut timed) = (0_usize, 0_usize, 0_usize);
    let mut arrivals_per_s = 0.0;
    let (mut prompts, mut outputs) = (None, None);
    for (id, variant) in view.world.variants_of(fleet) {
        // Each request passes one engine of these; a decode engine only takes it over.
        let admits = variant.role != Role::Decode;
        let generates = variant.role != Role::Prefill;
        if admits {
            ready += view.targets[id.index()].endpoints_ready.len();
        }
        for (endpoint, page) in view.metrics.engines(id, now) {
            read.until = read.until.max(Some(page.at));
            let scrapes: Vec<_> = view.metrics.engine_scrapes(endpoint, now, window).collect();
            let lengths = view.metrics.engine_scrapes(endpoint, now, FRESH + window);
            let mut before: Option<(Time, &EngineSample)> = None;
            for scrape in lengths {
                if let Some((then, old)) = before {
                    let seconds = scrape.at.since(then).as_seconds();
                    if scrape.at > since && seconds > 0.0 && seconds <= GAP_SECONDS_MAX {
                        read.take_in(old, scrape.value, admits, generates);
                    }
                }
                before = Some((scrape.at, scrape.value));
            }
            let (Some(first), Some(last)) = (scrapes.first(), scrapes.last()) else { continue };
            if generates {
                merge(&mut outputs, &lengths_gained(first.value, last.value, false));
            }
            if !admits {
                continue;
            }
            merge(&mut prompts, &lengths_gained(first.value, last.value, true));
            let fresh = now.since(page.at) <= FRESH;
            seen += usize::from(fresh);
            if fresh && let Some(waits) = waits(page.value) {
                *read.waiting.get_or_insert_default() += waits;
            }
            let finished = scrapes.iter().map(|page| (page.at, page.value.requests_finished_total));
            if let Some(rate) = Gained::over(finished).and_then(Gained::per_second) {
                timed += 1;
                let held = piled_up(&scrapes.iter().map(|s| (s.at, s.value)).collect::<Vec<_>>());
                arrivals_per_s += (rate + held).max(0.0);
            }
        }
    }
    read.seen_share = if ready == 0 { 1.0 } else { (seen as f64 / ready as f64).min(1.0) };
    // Endpoints that were not scraped are taken to do as the others.
    let missing = if timed == 0 { 1.0 } else { ready.max(timed) as f64 / timed as f64 };
    if timed > 0 && missing <= 1.0 / SEEN_SHARE_MIN {
        read.arrivals = read.until.map(|until| (arrivals_per_s * missing, until));
    }
    read.prompt_mean = prompts.and_then(|lengths| finite_mean(&lengths));
    read.output_mean = outputs.and_then(|lengths| finite_mean(&lengths));
    read
}

impl EngineDemand {
    fn take_in(&mut self, then: &EngineSample, now: &EngineSample, admits: bool, generates: bool) {
        if generates {
            // A prefill engine generates one token of each request; that says nothing.
            merge(&mut self.outputs, &lengths_gained(then, now, false));
        }
        if !admits {
            return;
        }
        merge(&mut self.prompts, &lengths_gained(then, now, true));
        let gained = |read: fn(&EngineSample) -> f64| {
            let (then, now) = (read(then), read(now));
            if is_count(then) && is_count(now) { increase(then, now) } else { 0.0 }
        };
        self.queries_tokens += gained(|engine| engine.prefix_queries_tokens_total);
        self.hits_tokens += gained(|engine| engine.prefix_hits_tokens_total);
    }
}

fn lengths_gained(then: &EngineSample, now: &EngineSample, prompts: bool) -> Histogram {
    if prompts {
        now.prompt_lengths.since(&then.prompt_lengths)
    } else {
        now.generation_lengths.since(&then.generation_lengths)
    }
}

fn merge(all: &mut Option<Histogram>, more: &Histogram) {
    match all {
        Some(all) => all.merge(more),
        None => *all = Some(*more),
    }
}

fn finite_mean(lengths: &Histogram) -> Option<f64> {
    lengths.mean().filter(|mean| mean.is_finite() && *mean >= 0.0)
}

/// Requests that wait for capacity in one engine; `None` where the page has no number.
fn waits(page: &EngineSample) -> Option<f64> {
    let deferred = if is_count(page.waiting_deferred) { page.waiting_deferred } else { 0.0 };
    is_count(page.waiting).then(|| (page.waiting - deferred).max(0.0))
}

/// Requests/s by which what an engine holds has grown: arrivals that it has not finished. Zero
/// where gauges are missing, as if it kept up.
fn piled_up(scrapes: &[(Time, &EngineSample)]) -> f64 {
    let held = |page: &EngineSample| {
        (is_count(page.running) && is_count(page.waiting)).then_some(page.running + page.waiting)
    };
    let mut known = scrapes.iter().filter_map(|(at, page)| Some((*at, held(page)?)));
    let Some((first_at, first)) = known.next() else { return 0.0 };
    let Some((last_at, last)) = known.next_back() else { return 0.0 };
    let seconds = last_at.since(first_at).as_seconds();
    if seconds > 0.0 { (last - first) / seconds } else { 0.0 }
}
