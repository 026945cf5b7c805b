//! `forebay fit`.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use forebay_core::engine::profile::EngineProfile;
use forebay_core::fleet::Role;
use forebay_telemetry::history::{PREFIX, fetch_pages_blocking};
use forebay_twin::fit::samples::Sample;
use forebay_twin::fit::{self, LeftOutCounts, samples};
use forebay_twin::profiles;

use crate::cli::FitArguments;
use crate::output;

pub(crate) fn run(arguments: &FitArguments) -> Result<()> {
    let prior = arguments.profile.as_deref().map(find_profile).transpose()?;
    let (samples, left_out) = read(arguments, prior.as_ref())?;
    let report = fit::fit(samples, left_out, prior.as_ref())?;
    let yaml = profiles::render_fitted(&report.profile)?;
    if let Some(json) = &arguments.json {
        output::write_json(json, &report)?;
    }
    match &arguments.out {
        Some(path) => {
            output::write_file(path, &yaml)?;
            output::show(&fit::render(&report), arguments.json.as_deref())
        }
        // The profile is the result; what is said about it goes beside it.
        None if arguments.json.is_none() => {
            eprint!("{}", fit::render(&report));
            output::print(&yaml)
        }
        None => output::show(&fit::render(&report), arguments.json.as_deref()),
    }
}

fn read(
    arguments: &FitArguments,
    prior: Option<&EngineProfile>,
) -> Result<(Vec<Sample>, LeftOutCounts)> {
    match (&arguments.samples, &arguments.prometheus) {
        (Some(path), None) => {
            let name = path.display().to_string();
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
            Ok(samples::parse(&name, &text)?)
        }
        (None, Some(url)) => from_prometheus(url, arguments.prefill, prior),
        _ => bail!("give --samples FILE or --prometheus URL, one of them"),
    }
}

/// Windows of every engine in the range; limits are the prior's.
fn from_prometheus(
    url: &str,
    prefill: bool,
    prior: Option<&EngineProfile>,
) -> Result<(Vec<Sample>, LeftOutCounts)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let path = if url.starts_with(PREFIX) { url.to_owned() } else { format!("{PREFIX}{url}") };
    let engines = fetch_pages_blocking(&path, now.as_secs_f64())?;
    let role = if prefill { Role::Prefill } else { Role::Both };
    let limits = prior.map_or(fit::LIMITS_DEFAULT, |prior| prior.limits.clone());
    let (mut all, mut left_out) = (Vec::new(), LeftOutCounts::new());
    for engine in engines {
        let pages = &engine.pages;
        all.extend(samples::from_pages(&engine.endpoint, pages, &limits, role, &mut left_out));
    }
    Ok((all, left_out))
}

/// A profile by name among those built in, or the only one of a file.
fn find_profile(name: &str) -> Result<EngineProfile> {
    let is_file = name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml");
    if !is_file {
        let all = profiles::built_in()?;
        let known: Vec<String> = all.iter().map(|profile| profile.name.clone()).collect();
        return all.into_iter().find(|profile| profile.name == name).with_context(|| {
            format!(
                "no built-in profile `{name}`; there are {}; a file needs its ending (.yaml)",
                known.join(", ")
            )
        });
    }
    let text = std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
    let mut found = profiles::parse(name, &text)?;
    match (found.pop(), found.is_empty()) {
        (Some(profile), true) => Ok(profile),
        _ => bail!("{name} must hold exactly one EngineProfile"),
    }
}
