//! `forebay explain`.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, bail};
use forebay_core::explain::{self, Decision};
use forebay_core::time::Span;
use forebay_twin::policy::PolicySpec;

use crate::cli::ExplainArguments;
use crate::inputs::Inputs;
use crate::output;

/// Decisions kept while a run goes on: a week at the usual interval.
const DECISIONS_MAX: usize = 50_000;

pub(crate) fn run(arguments: &ExplainArguments) -> Result<()> {
    let decisions = decisions(arguments)?;
    if let Some(path) = &arguments.json {
        output::write_json(path, &decisions)?;
    }
    let text = match arguments.at {
        Some(_) => decisions.iter().map(explain::render).collect::<Vec<_>>().join("\n"),
        None => changes(&decisions),
    };
    output::show(&text, arguments.json.as_deref())
}

/// All decisions of the run, or the last of each fleet up to the moment asked for.
fn decisions(arguments: &ExplainArguments) -> Result<Vec<Decision>> {
    let at = arguments.at.as_deref().map(parse_at).transpose()?;
    // The whole window is played: what arrives by a moment is drawn with all that comes after it.
    let inputs = Inputs::load(&arguments.input)?;
    let spec = PolicySpec::parse(&arguments.policy)
        .with_context(|| format!("--policy {}", arguments.policy))?;
    let experiment = inputs.experiment();
    experiment.check(&spec)?;
    let kept: Arc<Mutex<Vec<Decision>>> = Arc::default();
    let fleet = arguments.of.clone();
    let sink = Arc::clone(&kept);
    let keep = Box::new(move |decision: Decision| {
        let mine = fleet.as_ref().is_none_or(|fleet| *fleet == decision.fleet);
        // A scrape comes a moment before its decision: the second asked for counts whole.
        let due = at.is_none_or(|at| decision.at_s.floor() <= at.as_seconds());
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
    Ok(decisions)
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
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn what_is_explained_is_what_was_decided_in_the_whole_window() {
        let explained = |more: &[&str]| {
            let command = ["forebay", "explain", "--window", "8h..9h", "--rate-scale", "0.1"];
            let cli = Cli::try_parse_from(command.iter().chain(more)).unwrap();
            let Command::Explain(arguments) = cli.command else { panic!("not explain") };
            decisions(&arguments).unwrap()
        };
        let all = explained(&[]);
        let before: Vec<_> = all.into_iter().filter(|d| d.at_s < 1_216.0).collect();
        let at = explained(&["--at", "00:20:15"]);
        assert_eq!((at.len(), at.last()), (1, before.last()));
        assert!((at[0].at_s - 1_215.0).abs() < 1.0, "{}", at[0].at_s);
    }

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
