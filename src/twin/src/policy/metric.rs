//! The metrics that a SPEC names, each with the query that its users run.

use forebay_core::time::Span;

use super::error::did_you_mean;
use super::query::{Operator, Query};
use super::series::Series;

/// Name, what it is, and its query with a window for rates.
type Named = (&'static str, &'static str, fn(Span) -> Query);

/// Metrics of `metric=`. Each is a total over the pool; an AverageValue target is per replica.
pub(crate) const METRICS: &[Named] = &[
    ("running", "sequences in the engines' batches", |_| Query::gauge(Series::Running)),
    ("waiting", "requests that wait in the engines", |_| Query::gauge(Series::Waiting)),
    ("load", "running and waiting", |_| {
        let (running, waiting) = (Query::gauge(Series::Running), Query::gauge(Series::Waiting));
        Query::combine(Operator::Add, running, waiting)
    }),
    ("kv", "KV cache in use, in full caches", |_| Query::gauge(Series::Kv)),
    ("queue", "requests held in the gate", |_| Query::gauge(Series::Queue)),
    ("inflight", "requests that the router has in flight", |_| Query::gauge(Series::RouterRunning)),
    ("saturation", "the gate's pool saturation", |_| Query::gauge(Series::Saturation)),
    ("requests", "arrivals per second at the router", |window| {
        Query::rate(Series::Requests, window)
    }),
    ("prompt_tokens", "prompt tokens per second that engines take in", |window| {
        Query::rate(Series::PromptTokens, window)
    }),
    ("generation_tokens", "tokens per second that engines generate", |window| {
        Query::rate(Series::GenerationTokens, window)
    }),
    ("arriving_prompt_tokens", "prompt tokens per second that arrive at the router", |window| {
        Query::rate(Series::RouterPromptTokens, window)
    }),
];

/// The query of a named metric.
///
/// # Errors
/// A hint that lists what there is.
pub(crate) fn find(name: &str, window: Span) -> Result<Query, String> {
    let names = METRICS.iter().map(|(name, ..)| *name);
    METRICS.iter().find(|(known, ..)| *known == name).map(|(.., query)| query(window)).ok_or_else(
        || {
            did_you_mean(name, names.clone()).unwrap_or_else(|| {
                format!("metrics there are: {}", names.collect::<Vec<_>>().join(", "))
            })
        },
    )
}

/// The name of a query that is one of the named metrics, with its window.
pub(crate) fn name_of(query: &Query) -> Option<(&'static str, Option<Span>)> {
    let window = match query {
        Query::Read { window, .. } => *window,
        _ => None,
    };
    let found = METRICS.iter().find(|(.., make)| make(window.unwrap_or_default()) == *query);
    found.map(|(name, ..)| (*name, window))
}
