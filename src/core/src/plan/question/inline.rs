//! A demand on one line, for the command line:
//! `[FLEET/]TIER:rate=30,prompt=1115,output=183[,...][;TIER:...]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ask::{Demand, FleetDemand, Length, Places, Spread, TierDemand};
use crate::api::Share;
use crate::fleet::World;
use crate::manifest::{Errors, Position, Problem, Source, suggest};

/// The keys of a tier.
const KEYS: [&str; 9] = [
    "rate",
    "prompt",
    "prompt_p95",
    "prompt_variation",
    "output",
    "output_p95",
    "output_variation",
    "cached",
    "burstiness",
];

/// What the line is called in errors.
const NAME: &str = "--demand";

/// Where the fields of the demand stand on the line: columns by path.
struct Line {
    source: Arc<Source>,
    columns: BTreeMap<String, u32>,
}

impl Line {
    fn problem_at(&self, column: u32, what: impl Into<String>) -> Problem {
        let mut problem = Problem::general(what);
        problem.source = Some(Arc::clone(&self.source));
        problem.at = Position { line: 1, column };
        problem
    }
}

impl Places for Line {
    fn problem(&self, path: &str, what: String) -> Problem {
        // The nearest that stands around it.
        let mut around = path;
        loop {
            if let Some(column) = self.columns.get(around) {
                return self.problem_at(*column, what);
            }
            match around.rsplit_once('.') {
                Some((outer, _)) => around = outer,
                None => return self.problem_at(1, what),
            }
        }
    }
}

impl Demand {
    /// Reads a demand written on one line and checks it against the world.
    ///
    /// # Errors
    /// Everything that is wrong, with its column.
    pub fn parse(text: &str, world: &World) -> Result<Self, Errors> {
        let source = Arc::new(Source::new(NAME, text));
        let mut line = Line { source, columns: BTreeMap::new() };
        let mut problems = Vec::new();
        let mut demand = Self::default();
        let mut at = 0;
        for part in text.split(';') {
            let start = at + (part.len() - part.trim_start().len());
            at += part.len() + 1;
            if part.trim().is_empty() {
                continue;
            }
            if let Some((fleet, tier)) = tier(part, start, &line, &mut problems) {
                demand.add(fleet, tier, start, &mut line);
            }
        }
        Errors::check(problems)?;
        demand.asks(world, &line, true)?;
        Ok(demand)
    }

    fn add(&mut self, fleet: Option<String>, tier: Tier, start: usize, line: &mut Line) {
        let (tiers, path) = match fleet {
            None => (&mut self.tiers, "tiers".to_owned()),
            Some(name) => {
                let found = self.fleets.iter().position(|other| other.fleet == name);
                let index = found.unwrap_or_else(|| {
                    self.fleets.push(FleetDemand { fleet: name, tiers: Vec::new() });
                    self.fleets.len() - 1
                });
                line.columns.entry(format!("fleets[{index}]")).or_insert(column(start));
                (&mut self.fleets[index].tiers, format!("fleets[{index}].tiers"))
            }
        };
        let path = format!("{path}[{}]", tiers.len());
        for (field, at) in tier.places {
            line.columns.insert(format!("{path}.{field}"), column(at));
        }
        line.columns.insert(path, column(start));
        tiers.push(tier.demand);
    }
}

fn column(offset: usize) -> u32 {
    u32::try_from(offset + 1).unwrap_or(u32::MAX)
}

/// One tier, and where its fields begin.
struct Tier {
    demand: TierDemand,
    places: Vec<(&'static str, usize)>,
}

/// Reads `TIER:key=value,...`.
fn tier(
    part: &str,
    start: usize,
    line: &Line,
    problems: &mut Vec<Problem>,
) -> Option<(Option<String>, Tier)> {
    let before = problems.len();
    let example = "for instance interactive:rate=30,prompt=1115,output=183";
    let Some((name, settings)) = part.split_once(':') else {
        let what = format!("`{}` is no tier with its demand", part.trim());
        problems.push(line.problem_at(column(start), what).expected(example));
        return None;
    };
    let (fleet, name_only) = match name.trim().split_once('/') {
        Some((fleet, tier)) => (Some(fleet.trim().to_owned()), tier.trim()),
        None => (None, name.trim()),
    };
    let mut values: BTreeMap<&'static str, (f64, usize)> = BTreeMap::new();
    // Where the part begins, spaces included.
    let mut at = start - (part.len() - part.trim_start().len()) + name.len() + 1;
    for setting in settings.split(',') {
        let here = at + (setting.len() - setting.trim_start().len());
        at += setting.len() + 1;
        if setting.trim().is_empty() {
            continue;
        }
        let mut wrong = |what: String, expected: &str, hint: Option<String>| {
            let mut problem = line.problem_at(column(here), what);
            if !expected.is_empty() {
                problem = problem.expected(expected);
            }
            problem.hint = hint;
            problems.push(problem);
        };
        let Some((key, value)) = setting.split_once('=') else {
            wrong(format!("`{}` is not key=value", setting.trim()), example, None);
            continue;
        };
        let Some(key) = KEYS.into_iter().find(|known| *known == key.trim()) else {
            let hint = suggest::hint(key.trim(), KEYS);
            wrong(format!("there is no key `{}`", key.trim()), "", Some(hint));
            continue;
        };
        match read(key, value.trim()) {
            Ok(value) if values.insert(key, (value, here)).is_none() => (),
            Ok(_) => wrong(format!("key `{key}` is given twice"), "", Some("keep one".to_owned())),
            Err(expected) => wrong(format!("{key}={}", value.trim()), &expected, None),
        }
    }
    for key in ["rate", "prompt", "output"] {
        if !values.contains_key(key) && problems.len() == before {
            let what = format!("`{}` lacks its {key}", name.trim());
            problems.push(line.problem_at(column(start), what).expected(example));
        }
    }
    if problems.len() > before {
        return None;
    }
    let value = |key: &str| values.get(key).map(|(value, _)| *value);
    let length = |mean, p95, variation| {
        let (p95, variation) = (value(p95), value(variation));
        let mean = value(mean).unwrap_or_default();
        if p95.is_none() && variation.is_none() {
            Length::Mean(mean)
        } else {
            Length::Spread(Spread { mean, p95, variation })
        }
    };
    let demand = TierDemand {
        tier: name_only.to_owned(),
        requests_per_second: value("rate").unwrap_or_default(),
        prompt_tokens: length("prompt", "prompt_p95", "prompt_variation"),
        output_tokens: length("output", "output_p95", "output_variation"),
        cached_share: Share(value("cached").unwrap_or_default()),
        burstiness: value("burstiness").unwrap_or(1.0),
    };
    let place = |keys: [&str; 2]| {
        let last = keys.iter().filter_map(|key| values.get(key)).map(|(_, at)| *at).next();
        last.unwrap_or(start)
    };
    let places = vec![
        ("promptTokens", place(["prompt_p95", "prompt"])),
        ("outputTokens", place(["output_p95", "output"])),
    ];
    Some((fleet, Tier { demand, places }))
}

/// A value within its range, or what would be right.
fn read(key: &str, text: &str) -> Result<f64, String> {
    if key == "cached" {
        return Share::parse(text).map(|share| share.0).map_err(|error| error.expected.to_owned());
    }
    let (low, high) = match key {
        "rate" => (0.0, 1e6),
        "burstiness" => (0.0, 1e3),
        "prompt_variation" | "output_variation" => (0.0, 20.0),
        _ => (1.0, 1e7),
    };
    let number = text.parse().ok().filter(|number: &f64| (low..=high).contains(number));
    number.ok_or_else(|| format!("a number from {low} to {high}"))
}
