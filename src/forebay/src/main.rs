//! The `forebay` binary: command line and wiring.

#![forbid(unsafe_code)]

mod bench_gate;
mod capacity;
mod cli;
mod engine;
mod explain;
mod fidelity;
mod forecast;
mod inputs;
mod load;
mod output;
mod plan;
mod profiles;
mod signals;
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
        cli::Command::Engine(arguments) => engine::run(&arguments),
        cli::Command::Load(arguments) => load::run(&arguments),
        cli::Command::FloorPicker(arguments) => bench_gate::floor(&arguments),
        cli::Command::BenchGate(arguments) => bench_gate::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
