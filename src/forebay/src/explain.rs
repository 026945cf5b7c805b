//! `forebay explain`.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, bail};
use forebay_core::explain::{self, Decision};
use forebay_core::time::Span;
use forebay_twin::policy::PolicySpec;
use forebay_twin::trace::parse_window;

use crate::cli::ExplainArguments;
use crate::inputs::Inputs;
use crate::output;

/// Decisions kept while a run goes on: a week at the usual interval.
const DECISIONS_MAX: usize = 50_000;
/// How much of the run after the moment asked for is played, so that its decision is made.
const AFTER: Span = Span::from_secs(60);

pub(crate) fn run(arguments: &ExplainArguments) -> Result<()> {
    let at = arguments.at.as_deref().map(parse_at).transpose()?;
    let mut input = arguments.input.clone();
    if let Some(at) = at {
        let window = input.window.as_deref().map(parse_window).transpose();
        let (from, to) = window
            .map_err(|what| anyhow!("--window: {what}"))?
            .map_or((Span::ZERO, None), |(from, to)| (Span(from.0), Some(Span(to.0))));
        let end = from + at + AFTER;
        let end = to.map_or(end, |to| Span(to.0.min(end.0)));
        input.window = Some(format!("{}s..{}s", from.as_seconds(), end.as_seconds()));
    }
    let inputs = Inputs::load(&input)?;
    let spec = PolicySpec::parse(&arguments.policy)
        .with_context(|| format!("--policy {}", arguments.policy))?;
    let experiment = inputs.experiment();
    experiment.check(&spec)?;
    let kept: Arc<Mutex<Vec<Decision>>> = Arc::default();
    let fleet = arguments.of.clone();
    let sink = Arc::clone(&kept);
    let keep = Box::new(move |decision: Decision| {
        let mine = fleet.as_ref().is_none_or(|fleet| *fleet == decision.fleet);
        let due = at.is_none_or(|at| decision.at_s <= at.as_seconds());
        if let (true, Ok(mut kept)) = (mine && due, sink.lock()) {
            if at.is_some() {
                kept.retain(|before| before.fleet != decision.fleet);
            }
            if kept.len() < DECISIONS_MAX {
                kept.push(decision);
            }
        }
    });
    experiment.explain(&spec, keep)?;
    let decisions = kept.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
    if decisions.is_empty() {
        match &arguments.of {
            Some(fleet) => bail!("no decision about a fleet `{fleet}` was explained until then"),
            None => bail!("policy `{spec}` explains no decision; `forebay` does"),
        }
    }
    if let Some(path) = &arguments.json {
        output::write_json(path, &decisions)?;
    }
    let text = match at {
        Some(_) => decisions.iter().map(explain::render).collect::<Vec<_>>().join("\n"),
        None => changes(&decisions),
    };
    output::show(&text, arguments.json.as_deref())
}

/// One line for each decision that changed something.
fn changes(decisions: &[Decision]) -> String {
    let mut text = String::new();
    for decision in decisions {
        let changed: Vec<String> = decision
            .variants
            .iter()
            .filter(|variant| variant.before != variant.decided)
            .map(|v| format!("{} {} -> {}", v.variant, v.before, v.decided))
            .collect();
        if !changed.is_empty() {
            let Decision { fleet, at_s, binding, .. } = decision;
            let at = explain::clock(*at_s);
            let _ = writeln!(text, "{at}  {fleet}  {}: {binding}", changed.join(", "));
        }
    }
    if text.is_empty() {
        text.push_str("nothing was changed\n");
    }
    text
}

/// A moment of the run: `14:05`, `14:05:30`, or a span as `90m` or `3h20m`.
fn parse_at(text: &str) -> Result<Span> {
    let wrong = || anyhow!("--at {text}: expected a clock as 14:05 or a span as 3h20m");
    if !text.contains(':') {
        let span = forebay_core::api::scalar::Duration::parse(text).map_err(|_| wrong())?;
        return Ok(span.0);
    }
    let parts: Vec<u64> =
        text.split(':').map(|part| part.parse().map_err(|_| wrong())).collect::<Result<_>>()?;
    match parts[..] {
        [hours, minutes] if minutes < 60 => Ok(Span::from_secs(hours * 3_600 + minutes * 60)),
        [hours, minutes, seconds] if minutes < 60 && seconds < 60 => {
            Ok(Span::from_secs(hours * 3_600 + minutes * 60 + seconds))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_clock_or_a_span() {
        let seconds = |text| parse_at(text).map(|span| span.as_seconds() as u64).ok();
        assert_eq!(seconds("14:05"), Some(50_700));
        assert_eq!(seconds("26:00:15"), Some(93_615));
        assert_eq!(seconds("3h20m"), Some(12_000));
        for wrong in ["14:65", "noon", "1:2:3:4", ""] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
