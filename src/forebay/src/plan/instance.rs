//! `forebay plan --instance`: solves a bare instance.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use forebay_core::plan::solve::{Budget, Instance, solve};

use super::text;
use crate::cli::PlanArguments;
use crate::output;

pub(super) fn run(arguments: &PlanArguments) -> Result<()> {
    let Some(path) = &arguments.instance else {
        let schema = serde_json::to_string_pretty(&Instance::schema())?;
        return output::print(&format!("{schema}\n"));
    };
    let instance = read(path)?;
    let budget = Budget { nodes: arguments.nodes, alternatives: arguments.alternatives };
    let named = || path.display().to_string();
    let solution = solve(&instance, None, budget).with_context(named)?;
    if let Some(json) = &arguments.json {
        output::write_json(json, &solution)?;
    }
    output::show(&text::render(&solution), arguments.json.as_deref())
}

fn read(path: &Path) -> Result<Instance> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
    } else {
        let told = || format!("cannot read {}", path.display());
        text = std::fs::read_to_string(path).with_context(told)?;
    }
    Instance::parse(&text).with_context(|| path.display().to_string())
}
