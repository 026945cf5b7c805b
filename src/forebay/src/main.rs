//! The `forebay` binary: command line and wiring.

#![forbid(unsafe_code)]

mod capacity;
mod cli;
mod explain;
mod fidelity;
mod forecast;
mod inputs;
mod output;
mod plan;
mod profiles;
mod simulate;
mod tune;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let result = match cli::Cli::parse().command {
        cli::Command::Simulate(arguments) => simulate::run(&arguments),
        cli::Command::Tune(arguments) => tune::run(&arguments),
        cli::Command::Explain(arguments) => explain::run(&arguments),
        cli::Command::Plan(arguments) => plan::run(&arguments),
        cli::Command::Fidelity(arguments) => fidelity::run(&arguments),
        cli::Command::Forecast(arguments) => forecast::run(&arguments),
        cli::Command::Capacity(arguments) => capacity::run(&arguments),
        cli::Command::Profiles(arguments) => profiles::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
