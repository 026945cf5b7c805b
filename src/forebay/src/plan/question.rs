//! `forebay plan --demand`: what to hold for a load.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use forebay_core::fleet::World;
use forebay_core::manifest::Source;
use forebay_core::plan::question::{self, Demand, Manner};
use forebay_core::scenario::ScenarioPlan;

use super::traffic;
use crate::cli::PlanArguments;
use crate::inputs::load_world;
use crate::output;

/// What a demand begins with that is read off a trace.
const TRACE: &str = "trace:";
/// What a demand ends with that is a file.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

pub(super) fn run(arguments: &PlanArguments, demand: &str) -> Result<()> {
    let (world, scenario) = load_world(&arguments.fleet, None)?;
    let (demand, about) = read(demand, &world, &scenario)?;
    let manner = Manner { tiered: !arguments.one_queue, alternatives: arguments.alternatives };
    let mut answer =
        question::answer(&world, &demand, manner).map_err(|errors| anyhow!("{errors}"))?;
    answer.notes.extend(about);
    if let Some(path) = &arguments.json {
        output::write_json(path, &answer)?;
    }
    output::show(&question::render(&answer), arguments.json.as_deref())
}

/// The demand, and what a reader must know of where it comes from.
fn read(demand: &str, world: &World, scenario: &ScenarioPlan) -> Result<(Demand, Option<String>)> {
    if let Some(trace) = demand.strip_prefix(TRACE) {
        let (demand, about) = traffic::busiest(trace, world, scenario)?;
        return Ok((demand, Some(about)));
    }
    let path = Path::new(demand);
    let ending = path.extension().and_then(|ending| ending.to_str());
    let named_as_a_file = ending.is_some_and(|ending| ENDINGS.contains(&ending));
    let read = if named_as_a_file || path.exists() {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {demand}"))?;
        Demand::read(Source::new(demand, text), world)
    } else {
        Demand::parse(demand, world)
    };
    read.map(|demand| (demand, None)).map_err(|errors| anyhow!("{errors}"))
}
