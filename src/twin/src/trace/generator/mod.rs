//! Generated traffic: a curve over the day, bursts, clients and length distributions, from YAML or
//! built in.

mod spec;

use std::sync::Arc;

use forebay_core::time::{RUN_DAYS_MAX, Span, Time};

use super::TraceError;
use super::gaps::Family;
use super::pool::{Arrivals, Bin, Client, Pool, PoolLengths};
use spec::Spec;

/// The day that is simulated when no trace is given.
const DAY: &str = include_str!("day.yaml");
/// Steps in which the curve is followed.
const BIN_S: f64 = 60.0;

/// A generated pool, how long it lasts, and what to say about it.
pub(super) struct Generated {
    pub(super) pool: Pool,
    pub(super) length: Span,
    pub(super) notes: Vec<String>,
}

/// Reads a generator file.
pub(super) fn load(
    path: &str,
    window: (Time, Time),
    rate_scale: f64,
    seed: u64,
) -> Result<Generated, TraceError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TraceError::Io { path: path.into(), source })?;
    generate(path, &text, window, rate_scale, seed)
}

/// The built-in day.
pub(super) fn builtin_day(
    window: (Time, Time),
    rate_scale: f64,
    seed: u64,
) -> Result<Generated, TraceError> {
    let mut generated = generate(super::BUILTIN_DAY, DAY, window, rate_scale, seed)?;
    generated.notes.push(
        "a generated day after the statistics of a real pool (ServeGen m-large, first 7 days): \
         its rate by hour is that of the first day; peak over mean 2.78; prompt mean/p50/p99 \
         1115/663/10384 and output 183/71/952 tokens; the 5 largest clients send 43 % of the \
         requests; CV of a client's gaps 2.85. The mean rate of the pool is 209.5/s: \
         a rate scale of 10.475 gives it back"
            .into(),
    );
    Ok(generated)
}

fn generate(
    path: &str,
    text: &str,
    window: (Time, Time),
    rate_scale: f64,
    seed: u64,
) -> Result<Generated, TraceError> {
    let spec = Spec::parse(path, text)?;
    let wrong = |what: String, hint: &str| TraceError::Format {
        path: path.into(),
        what,
        hint: hint.into(),
    };
    let duration_s = spec.duration.0.as_seconds();
    let day_s = 86_400.0;
    if duration_s <= 0.0 || duration_s > RUN_DAYS_MAX as f64 * day_s {
        return Err(wrong(
            format!("duration is {}", spec.duration.0),
            "give a duration above 0 and of at most 200 days",
        ));
    }
    let (start_s, end_s) = (window.0.as_seconds(), window.1.as_seconds().min(duration_s));
    if start_s >= duration_s {
        return Err(wrong(
            format!("the window starts at {}, the trace ends at {}", window.0, spec.duration.0),
            "choose a window inside the trace",
        ));
    }
    let levels = levels(&spec, duration_s);
    let mean = levels.iter().map(|level| level.level * level.length_s).sum::<f64>() / duration_s;
    if !(mean > 0.0 && mean.is_finite()) {
        return Err(wrong(
            "the curve is 0 throughout".into(),
            "give at least one point a level above 0",
        ));
    }
    let per_level = spec.mean_requests_per_second * rate_scale / mean;
    let bins: Arc<[Bin]> = levels
        .iter()
        .filter_map(|level| {
            let from = level.start_s.max(start_s);
            let to = (level.start_s + level.length_s).min(end_s);
            let requests = level.level * per_level * (to - from);
            (to > from && requests > 0.0).then_some(Bin {
                start_s: from - start_s,
                length_s: to - from,
                requests,
                cv: spec.clients.cv,
                family: Family::Gamma,
            })
        })
        .collect();
    let shares = spec.clients.shares();
    let clients = shares
        .iter()
        .enumerate()
        .map(|(id, &share)| Client {
            id: id as u32,
            share,
            bins: Arc::clone(&bins),
            arrivals: Arrivals::Renewal { cv: spec.clients.cv },
        })
        .collect();
    let lengths = PoolLengths::Common {
        prompt: spec
            .prompt_tokens
            .distribution()
            .map_err(|what| wrong(format!("promptTokens: {what}"), spec::LENGTHS_HINT))?,
        output: spec
            .output_tokens
            .distribution()
            .map_err(|what| wrong(format!("outputTokens: {what}"), spec::LENGTHS_HINT))?,
    };
    let notes = vec![format!(
        "generated: {} clients, mean {:.3} requests/s, renewals with a CV of {} in operational time",
        shares.len(),
        spec.mean_requests_per_second * rate_scale,
        spec.clients.cv
    )];
    let length = Span::from_seconds(end_s - start_s);
    Ok(Generated { pool: Pool { clients, lengths, seed }, length, notes })
}

struct Level {
    start_s: f64,
    length_s: f64,
    level: f64,
}

/// The curve with its bursts, in steps.
fn levels(spec: &Spec, duration_s: f64) -> Vec<Level> {
    let steps = (duration_s / BIN_S).ceil() as usize;
    (0..steps)
        .map(|step| {
            let start_s = step as f64 * BIN_S;
            let length_s = (duration_s - start_s).min(BIN_S);
            let mut level =
                spec.curve.as_ref().map_or(1.0, |curve| curve.level(start_s + length_s / 2.0));
            for burst in &spec.bursts {
                let (from, to) = (
                    burst.at.0.as_seconds(),
                    burst.at.0.as_seconds() + burst.length.0.as_seconds(),
                );
                let part = ((start_s + length_s).min(to) - start_s.max(from)).max(0.0) / length_s;
                level *= (burst.factor - 1.0).mul_add(part, 1.0);
            }
            Level { start_s, length_s, level }
        })
        .collect()
}

#[cfg(test)]
mod tests;
