//! What a fleet is asked for, read off counters: arrivals, lengths, and what waits.

use crate::fleet::Role;
use crate::ids::FleetId;
use crate::observe::{EngineSample, Histogram, RouterSample, RouterTierSample};
use crate::plan::FleetView;
use crate::time::{Span, Time};

/// Demand on one fleet, averaged over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Arrivals per second, admitted or not.
    pub requests_per_s: f64,
    /// Mean prompt length, tokens.
    pub prompt_tokens: f64,
    /// Share of prompt tokens found in a prefix cache, 0..1.
    pub cached_share: f64,
    /// Mean output length, tokens.
    pub output_tokens: f64,
}

/// Over how long mean lengths are taken: long enough for some requests to finish.
const LENGTHS_WINDOW: Span = Span::from_secs(300);

/// Demand on a fleet over `window`; `None` when no counter tells. Arrivals come from the router,
/// which also counts what waits and what was refused; without a router from the engines, which
/// show only what they could serve. `output_tokens_before` stands in until a request finished.
#[must_use]
pub fn observe(
    view: &FleetView<'_>,
    fleet: FleetId,
    now: Time,
    window: Span,
    output_tokens_before: Option<f64>,
) -> Option<Demand> {
    let (requests_per_s, prompt_per_s) = arrivals_at_router(view, fleet, now, window)
        .or_else(|| arrivals_at_engines(view, fleet, now, window))?;
    let lengths = engine_lengths(view, fleet, now);
    let output_tokens = lengths.output.or(output_tokens_before);
    if requests_per_s <= 0.0 {
        let output_tokens = output_tokens.unwrap_or(0.0);
        let cached_share = lengths.cached_share;
        return Some(Demand {
            requests_per_s: 0.0,
            prompt_tokens: 0.0,
            cached_share,
            output_tokens,
        });
    }
    Some(Demand {
        requests_per_s,
        prompt_tokens: prompt_per_s / requests_per_s,
        cached_share: lengths.cached_share,
        output_tokens: output_tokens?,
    })
}

fn arrivals_at_router(
    view: &FleetView<'_>,
    fleet: FleetId,
    now: Time,
    window: Span,
) -> Option<(f64, f64)> {
    let (first, last) = view.metrics.router_window(fleet, now, window)?;
    let seconds = last.at.since(first.at).as_seconds();
    let added = |read: fn(&RouterTierSample) -> f64| -> f64 {
        let tiers = |sample: &RouterSample| sample.tiers.iter().map(read).collect::<Vec<_>>();
        let pairs = tiers(first.value).into_iter().zip(tiers(last.value));
        pairs.map(|(then, now)| increase(then, now)).sum()
    };
    (seconds > 0.0).then(|| {
        (
            added(|tier| tier.requests_total) / seconds,
            added(|tier| tier.prompt_tokens_total) / seconds,
        )
    })
}

fn arrivals_at_engines(
    view: &FleetView<'_>,
    fleet: FleetId,
    now: Time,
    window: Span,
) -> Option<(f64, f64)> {
    let mut rates: Option<(f64, f64)> = None;
    for (id, variant) in view.world.variants_of(fleet) {
        if variant.role == Role::Decode {
            continue;
        }
        for (endpoint, _) in view.metrics.engines(id, now) {
            let Some((first, last)) = view.metrics.engine_window(endpoint, now, window) else {
                continue;
            };
            let seconds = last.at.since(first.at).as_seconds();
            let added =
                |read: fn(&EngineSample) -> f64| increase(read(first.value), read(last.value));
            let (requests, prompt) = rates.unwrap_or_default();
            rates = Some((
                requests + added(|sample| sample.requests_finished_total) / seconds,
                prompt + added(|sample| sample.prompt_tokens_total) / seconds,
            ));
        }
    }
    rates
}

struct Lengths {
    output: Option<f64>,
    cached_share: f64,
}

fn engine_lengths(view: &FleetView<'_>, fleet: FleetId, now: Time) -> Lengths {
    let mut outputs: Option<Histogram> = None;
    let (mut queries, mut hits) = (0.0, 0.0);
    for (id, variant) in view.world.variants_of(fleet) {
        for (endpoint, _) in view.metrics.engines(id, now) {
            let window = view.metrics.engine_window(endpoint, now, LENGTHS_WINDOW);
            let Some((first, last)) = window.map(|(first, last)| (first.value, last.value)) else {
                continue;
            };
            // A prefill engine generates one token of each request; that says nothing.
            if variant.role != Role::Prefill {
                let more = last.generation_lengths.since(&first.generation_lengths);
                match &mut outputs {
                    Some(outputs) => outputs.merge(&more),
                    None => outputs = Some(more),
                }
            }
            if variant.role != Role::Decode {
                queries +=
                    increase(first.prefix_queries_tokens_total, last.prefix_queries_tokens_total);
                hits += increase(first.prefix_hits_tokens_total, last.prefix_hits_tokens_total);
            }
        }
    }
    let cached_share = if queries > 0.0 { (hits / queries).clamp(0.0, 1.0) } else { 0.0 };
    Lengths { output: outputs.and_then(|outputs| outputs.mean()), cached_share }
}

/// What a counter gained; a fall is a restart from zero, NaN is nothing.
fn increase(then: f64, now: f64) -> f64 {
    let gained = if now < then { now } else { now - then };
    if gained.is_finite() { gained.max(0.0) } else { 0.0 }
}

/// What waits at the router, by tier, and in the engines' own queues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backlog {
    /// Requests held by the router, by [`crate::ids::TierId`].
    pub queued: Vec<f64>,
    /// Requests that wait for capacity in engines.
    pub waiting: f64,
}

/// What waits now, as far as it shows.
#[must_use]
pub fn backlog(view: &FleetView<'_>, fleet: FleetId, now: Time) -> Backlog {
    let router = view.metrics.router(fleet, now);
    let queued = router.map(|router| router.value.tiers.iter().map(|tier| tier.queued).collect());
    let mut waiting = 0.0;
    for (id, variant) in view.world.variants_of(fleet) {
        if variant.role == Role::Decode {
            continue;
        }
        for (_, sample) in view.metrics.engines(id, now) {
            let value = sample.value.waiting - sample.value.waiting_deferred;
            waiting += if value.is_finite() { value.max(0.0) } else { 0.0 };
        }
    }
    Backlog { queued: queued.unwrap_or_default(), waiting }
}
