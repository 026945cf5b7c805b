//! `exec:COMMAND`: anybody's own policy as a program. It reads one observation per line and
//! answers each with one line; see `docs/external-policy.md`.
//!
//! Time in the protocol is the run's own (virtual) time. The wall clock only decides when a
//! program that does not answer counts as hung.

mod observation;
mod process;

pub(crate) use observation::SCHEMA as OBSERVATION_SCHEMA;
#[cfg(test)]
pub(crate) use observation::line as observation_line;

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::fleet::World;
use forebay_core::ids::VariantId;
use forebay_core::plan::{FleetView, PlanEffect, PlanEvent, Planner};
use forebay_core::time::{Span, Time};
use serde::Deserialize;

use self::process::Process;
use super::common::find_variants;
use super::error::SpecError;
use super::keys::Keys;

/// Most replicas that an answer may name; more is nonsense rather than a decision.
const REPLICAS_MAX: u32 = 1_000_000;

/// A program that decides.
pub(crate) struct Exec {
    words: Vec<String>,
    interval: Span,
    timeout: Duration,
    process: Option<Process>,
    decision: u64,
    due: Option<Time>,
}

/// One answer.
#[derive(Debug, Deserialize)]
struct Answer {
    replicas: BTreeMap<String, u32>,
    #[serde(default)]
    reason: String,
    /// May repeat the number of the observation; then it must be the right one.
    #[serde(default)]
    decision: Option<u64>,
}

impl Exec {
    pub(crate) fn read(keys: &mut Keys<'_>) -> Result<Self, SpecError> {
        let interval = keys.span("interval", Span::from_secs(30))?;
        let timeout = keys.span("timeout", Span::from_secs(5))?;
        if interval == Span::ZERO || timeout == Span::ZERO {
            return Err(keys.error("an interval or timeout of 0s", "both must be above 0s"));
        }
        let command = keys.text("command").unwrap_or_default();
        let words = process::split_words(command)
            .map_err(|what| keys.error(what, "close the quote, or escape it with a backslash"))?;
        Ok(Self {
            words,
            interval,
            timeout: Duration::from_nanos(timeout.0),
            process: None,
            decision: 0,
            due: Some(Time::ZERO),
        })
    }

    /// Asks the program; an error says what went wrong.
    fn ask(&mut self, now: Time, view: &FleetView<'_>) -> Result<Answer, String> {
        self.decision += 1;
        let line = observation::line(now, self.decision, view);
        if self.process.is_none() {
            self.process = Some(Process::start(&self.words)?);
        }
        let Some(process) = &mut self.process else {
            return Err("it did not start".to_owned());
        };
        let line = process.exchange(line, self.timeout)?;
        let answer: Answer = serde_json::from_str(&line).map_err(|error| {
            let line = shorten(&line);
            format!(
                "answered `{line}`: {error}; expected {{\"replicas\": {{\"fleet/variant\": 3}}}}"
            )
        })?;
        match answer.decision {
            Some(number) if number != self.decision => {
                Err(format!("answered decision {number} where {} was asked", self.decision))
            }
            _ => Ok(answer),
        }
    }
}

impl Planner for Exec {
    fn step(&mut self, now: Time, event: PlanEvent<'_>, effects: &mut Vec<PlanEffect>) {
        let PlanEvent::Due(view) = event else { return };
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let outcome = self
            .ask(now, view)
            .and_then(|answer| scales(&answer, view.world).map(|to| (answer, to)));
        match outcome {
            Ok((answer, scales)) => {
                self.due = Some(now + self.interval);
                let changed = scales.into_iter().filter(|(variant, replicas)| {
                    view.targets[variant.index()].replicas_desired != *replicas
                });
                effects.extend(changed.map(|(variant, replicas)| PlanEffect::Scale {
                    variant,
                    replicas,
                    reason: if answer.reason.is_empty() {
                        "external policy".to_owned()
                    } else {
                        shorten(&answer.reason)
                    },
                }));
            }
            Err(what) => {
                self.due = None;
                self.process = None;
                let what = format!("external policy `{}` at {now}: {what}", self.words.join(" "));
                effects.push(PlanEffect::Abort { what });
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.due
    }
}

/// Replicas by variant; every name must be one variant.
fn scales(answer: &Answer, world: &World) -> Result<Vec<(VariantId, u32)>, String> {
    let mut scales = Vec::new();
    for (name, replicas) in &answer.replicas {
        let found = find_variants(world, name)
            .map_err(|hint| format!("answered for unknown variant `{name}`; {hint}"))?;
        let [variant] = found.as_slice() else {
            return Err(format!(
                "answered for `{name}`, which several fleets have; write fleet/{name}"
            ));
        };
        if *replicas > REPLICAS_MAX {
            return Err(format!(
                "answered {replicas} replicas for `{name}`; at most {REPLICAS_MAX}"
            ));
        }
        scales.push((*variant, *replicas));
    }
    Ok(scales)
}

/// The first characters of something long.
fn shorten(text: &str) -> String {
    /// Enough to recognise a line by.
    const CHARS_MAX: usize = 200;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests;
