//! `forebay plan`: what to hold, for how much, and why.

mod instance;
mod text;

use anyhow::Result;

use crate::cli::PlanArguments;

pub(crate) fn run(arguments: &PlanArguments) -> Result<()> {
    instance::run(arguments)
}
