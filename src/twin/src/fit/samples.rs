//! Windows of scrapes as a table: what `forebay fit --samples` reads (docs/fit.md).

use std::fmt::Write;

use forebay_core::engine::profile::Limits;
use forebay_core::fleet::Role;
use forebay_core::learn::steps::{Context, GAPS_MIN, LeftOut, StepWindow};
use forebay_core::observe::{Aged, EngineSample};
use forebay_core::time::Span;

use super::LeftOutCounts;
use crate::table::{Row, Table, TableError};

/// Shortest window that is made from pages: Prometheus's usual interval, less what a scrape may be
/// early.
const WINDOW_MIN: Span = Span::from_millis(14_500);
/// Steps that an engine makes before its windows count: compiling and capturing are over.
const WARM_STEPS: f64 = 1_000.0;

const COLUMNS: [&str; 13] = [
    "at_s",
    "endpoint",
    "window_s",
    "seconds",
    "observations",
    "steps",
    "decodes",
    "prefill_tokens",
    "cached_tokens",
    "prompts",
    "prefill_steps",
    "prompt_spread",
    "kv_tokens",
];

/// One window of one engine, with when and whose it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// End of the window, s on any clock that all rows share.
    pub at_s: f64,
    /// Whose.
    pub endpoint: String,
    /// What it showed.
    pub window: StepWindow,
}

/// Reads a table of windows; `name` is what errors call it. Rows that cannot be learned from are
/// counted, not kept.
///
/// # Errors
/// [`TableError`]: a column is missing, or a field is no number.
pub fn parse(name: &str, text: &str) -> Result<(Vec<Sample>, LeftOutCounts), TableError> {
    let table = Table::parse(name, text, &COLUMNS)?;
    let (mut samples, mut left_out) = (Vec::new(), LeftOutCounts::new());
    for row in table.rows() {
        let sample = sample(&row)?;
        let made = row.number("steps_made")?;
        match unfit(&sample.window, made) {
            Some(reason) => *left_out.entry(reason.explain().to_owned()).or_default() += 1,
            None => samples.push(sample),
        }
    }
    Ok((samples, left_out))
}

fn sample(row: &Row<'_>) -> Result<Sample, TableError> {
    let prefill_only = match row.text("prefill_only") {
        "" | "0" => false,
        "1" => true,
        _ => return Err(row.wrong("prefill_only", "0 or 1")),
    };
    Ok(Sample {
        at_s: row.needed("at_s")?,
        endpoint: row.text("endpoint").to_owned(),
        window: StepWindow {
            window_s: row.needed("window_s")?,
            seconds: row.needed("seconds")?,
            observations: row.needed("observations")?,
            steps: row.number("steps")?,
            decodes: row.needed("decodes")?,
            prefill_tokens: row.needed("prefill_tokens")?,
            cached_tokens: row.needed("cached_tokens")?,
            prompts: row.needed("prompts")?,
            prefill_steps: row.needed("prefill_steps")?,
            prompt_spread: row.needed("prompt_spread")?,
            kv_tokens: row.needed("kv_tokens")?,
            prefill_only,
        },
    })
}

fn unfit(window: &StepWindow, steps_made: Option<f64>) -> Option<LeftOut> {
    let counts = [
        window.decodes,
        window.prefill_tokens,
        window.cached_tokens,
        window.prompts,
        window.prefill_steps,
        window.kv_tokens,
        window.steps.unwrap_or(0.0),
    ];
    let positive = window.seconds > 0.0 && window.window_s > 0.0 && window.prompt_spread > 0.0;
    if window.observations <= 0.0 {
        Some(LeftOut::Idle)
    } else if steps_made.is_some_and(|steps| steps < WARM_STEPS) {
        Some(LeftOut::WarmingUp)
    } else if !window.prefill_only && window.observations < GAPS_MIN {
        Some(LeftOut::TooFew)
    } else if !positive || counts.iter().any(|count| *count < 0.0) {
        Some(LeftOut::Contradiction)
    } else {
        None
    }
}

/// The table that [`parse`] reads.
#[must_use]
pub fn render(samples: &[Sample]) -> String {
    let mut text = COLUMNS.join(",");
    text.push_str(",prefill_only\n");
    for Sample { at_s, endpoint, window } in samples {
        let endpoint = endpoint.replace(['"', ',', '\n'], "_");
        let steps = window.steps.map(|steps| steps.to_string()).unwrap_or_default();
        let figures = [
            window.decodes,
            window.prefill_tokens,
            window.cached_tokens,
            window.prompts,
            window.prefill_steps,
            window.prompt_spread,
            window.kv_tokens,
        ]
        .map(|figure| figure.to_string())
        .join(",");
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "{at_s},{endpoint},{},{},{},{steps},{figures},{}",
            window.window_s,
            window.seconds,
            window.observations,
            u8::from(window.prefill_only)
        );
    }
    text
}

/// Windows between successive pages of one engine, in order of time; what cannot be learned from
/// is counted by reason.
#[must_use]
pub fn from_pages(
    endpoint: &str,
    pages: &[Aged<EngineSample>],
    limits: &Limits,
    role: Role,
    left_out: &mut LeftOutCounts,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut context = Context::default();
    let mut base: Option<&Aged<EngineSample>> = None;
    let mut leave_out =
        |reason: LeftOut| *left_out.entry(reason.explain().to_owned()).or_default() += 1;
    for page in pages {
        let Some(first) = base else {
            base = Some(page);
            continue;
        };
        if page.at > first.at && page.at.since(first.at) < WINDOW_MIN {
            continue;
        }
        let window = StepWindow::between(
            Aged { at: first.at, value: &first.value },
            Aged { at: page.at, value: &page.value },
            limits,
            role,
        );
        let made = first.value.iteration_tokens.count();
        let cold = made > 0.0 && made < WARM_STEPS;
        match window {
            Ok(_) if cold => leave_out(LeftOut::WarmingUp),
            Ok(window) => samples.push(Sample {
                at_s: page.at.as_seconds(),
                endpoint: endpoint.to_owned(),
                window: context.smooth(&window),
            }),
            Err(reason) => leave_out(reason),
        }
        if page.at > first.at {
            base = Some(page);
        }
    }
    samples
}
