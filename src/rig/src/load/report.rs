//! What a load found, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Options;
use super::tally::{Samples, Tally};

/// What became of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `forebay.load/v1`.
    pub schema: String,
    /// Where it went.
    pub url: String,
    /// Seconds in which requests fell due.
    pub span_s: f64,
    /// Seconds until the last answer.
    pub took_s: f64,
    /// Start of the window in which rates and gaps count, seconds; it ends with `span_s`.
    pub warm_up_s: f64,
    /// Subtracted from latencies in the columns `beyond service`, ms.
    pub service_ms: f64,
    /// By stream, in the order given.
    pub streams: Vec<StreamReport>,
}

/// What became of one stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// Requests that fell due.
    pub offered: u64,
    /// Answered whole, at the first try.
    pub answered: u64,
    /// Answers a second in the window.
    pub answered_per_s: f64,
    /// The others by status and reason, or by how they failed.
    pub others: BTreeMap<String, u64>,
    /// From due to last byte, of those answered.
    pub latency_ms: Latency,
    /// Latency beyond the time of service.
    pub beyond_service_ms: Latency,
    /// From due to first byte; streamed answers only.
    pub ttft_ms: Latency,
    /// Time of a token after the first; streamed answers only.
    pub tpot_ms: Latency,
    /// From due to the end of a refusal.
    pub refusal_ms: Latency,
    /// By how much requests left after they were due: the generator's own fault.
    pub lateness_ms: Latency,
    /// Longest time without an answer in the window, ms.
    pub longest_gap_ms: f64,
    /// Answers by second of their end.
    pub answers_by_second: Vec<u64>,
    /// Of those who were told when to come back and did: how many were answered then.
    pub back_answered: u64,
    /// And what became of the others.
    pub back_others: BTreeMap<String, u64>,
    /// When they were told to come back.
    pub told_ms: Latency,
}

/// Percentiles; absent without a sample.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half are at most this.
    pub p50: Option<f64>,
    /// 95 % are at most this.
    pub p95: Option<f64>,
    /// 99 % are at most this.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

impl Latency {
    fn of(samples: &Samples, less: Duration) -> Self {
        let sorted = samples.sorted();
        let less = less.as_secs_f64() * 1e3;
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.max(1) - 1).map(|micros| f64::from(*micros) / 1e3 - less)
        };
        Self {
            count: sorted.len() as u64,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

impl Report {
    pub(super) fn new(options: &Options, tallies: &[Arc<Mutex<Tally>>], took: Duration) -> Self {
        let streams = options.streams.iter().zip(tallies).map(|(stream, tally)| {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            StreamReport::new(&stream.name, &tally, options)
        });
        Self {
            schema: "forebay.load/v1".into(),
            url: options.url.to_string(),
            span_s: options.span.as_secs_f64(),
            took_s: took.as_secs_f64(),
            warm_up_s: options.warm_up.as_secs_f64(),
            service_ms: options.service.as_secs_f64() * 1e3,
            streams: streams.collect(),
        }
    }

    /// One line for each stream, and what became of those not answered.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let line = |text: &mut String, arguments: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _infallible = text.write_fmt(arguments);
            text.push('\n');
        };
        let beyond = self.service_ms > 0.0;
        let what = if beyond { "beyond service ms" } else { "latency ms" };
        line(
            &mut text,
            format_args!(
                "{:<14} {:>8} {:>9} {:>9}  {what:<26} {:<17} {:<17} {:>7}",
                "stream", "offered", "answered", "per s", "TTFT ms", "TPOT ms", "gap s"
            ),
        );
        line(
            &mut text,
            format_args!(
                "{:<14} {:>8} {:>9} {:>9}  {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7}",
                "", "", "", "", "P50", "P95", "P99", "P50", "P99", "P50", "P99", ""
            ),
        );
        for stream in &self.streams {
            let latency = if beyond { &stream.beyond_service_ms } else { &stream.latency_ms };
            line(
                &mut text,
                format_args!(
                    "{:<14} {:>8} {:>9} {:>9.1}  {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7.2}",
                    stream.name,
                    stream.offered,
                    stream.answered,
                    stream.answered_per_s,
                    number(latency.p50),
                    number(latency.p95),
                    number(latency.p99),
                    number(stream.ttft_ms.p50),
                    number(stream.ttft_ms.p99),
                    number(stream.tpot_ms.p50),
                    number(stream.tpot_ms.p99),
                    stream.longest_gap_ms / 1e3,
                ),
            );
        }
        for stream in &self.streams {
            for (what, count) in &stream.others {
                line(&mut text, format_args!("{}: {count} x {what}", stream.name));
            }
            if stream.refusal_ms.count > 0 {
                let Latency { p50, p99, .. } = stream.refusal_ms;
                line(
                    &mut text,
                    format_args!(
                        "{}: refused after {} ms (P50), {} ms (P99)",
                        stream.name,
                        number(p50),
                        number(p99)
                    ),
                );
            }
            let back: u64 = stream.back_answered + stream.back_others.values().sum::<u64>();
            if back > 0 {
                line(
                    &mut text,
                    format_args!(
                        "{}: {back} came back when told (P50 {} ms): {} answered, others {:?}",
                        stream.name,
                        number(stream.told_ms.p50),
                        stream.back_answered,
                        stream.back_others
                    ),
                );
            }
            if stream.lateness_ms.p99.is_some_and(|late| late > LATE_MS) {
                line(
                    &mut text,
                    format_args!(
                        "{}: the generator itself was late by {} ms (P99)",
                        stream.name,
                        number(stream.lateness_ms.p99)
                    ),
                );
            }
        }
        text
    }
}

/// Lateness of the generator that a reader must know of, ms.
const LATE_MS: f64 = 5.0;

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value.abs() < 10.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.0}"),
    }
}

impl StreamReport {
    fn new(name: &str, tally: &Tally, options: &Options) -> Self {
        let window = options.span.saturating_sub(options.warm_up).as_secs_f64();
        let plain = |samples| Latency::of(samples, Duration::ZERO);
        Self {
            name: name.to_owned(),
            offered: tally.offered,
            answered: tally.answered,
            answered_per_s: if window > 0.0 { tally.in_window as f64 / window } else { 0.0 },
            others: tally.others.clone(),
            latency_ms: plain(&tally.latency),
            beyond_service_ms: Latency::of(&tally.latency, options.service),
            ttft_ms: plain(&tally.first),
            tpot_ms: plain(&tally.per_token),
            refusal_ms: plain(&tally.refusal),
            lateness_ms: plain(&tally.lateness),
            longest_gap_ms: tally.longest_gap.as_secs_f64() * 1e3,
            answers_by_second: tally.by_second.clone(),
            back_answered: tally.back_answered,
            back_others: tally.back_others.clone(),
            told_ms: plain(&tally.told),
        }
    }
}
