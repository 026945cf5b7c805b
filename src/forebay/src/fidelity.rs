//! `forebay fidelity`.

use anyhow::{Context, Result};
use forebay_twin::{fidelity, profiles};

use crate::cli::FidelityArguments;
use crate::output;

pub(crate) fn run(arguments: &FidelityArguments) -> Result<()> {
    let path = &arguments.measured;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let profiles = profiles::built_in()?;
    let report = fidelity::run(&text, &profiles, &profiles::trained_sweeps())
        .with_context(|| path.display().to_string())?;
    if let Some(json) = &arguments.json {
        output::write_json(json, &report)?;
    }
    output::show(&fidelity::render(&report), arguments.json.as_deref())
}
