//! `forebay plan`: what to hold, for how much, and why.

mod instance;
mod question;
mod stdio;
mod text;
mod traffic;

use anyhow::Result;

use crate::cli::PlanArguments;

pub(crate) fn run(arguments: &PlanArguments) -> Result<()> {
    match &arguments.demand {
        Some(demand) => question::run(arguments, demand),
        None if arguments.stdio => stdio::run(arguments),
        None => instance::run(arguments),
    }
}
