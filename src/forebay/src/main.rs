//! The `forebay` binary: command line and wiring.

#![forbid(unsafe_code)]

mod bench_gate;
mod capacity;
mod cli;
mod engine;
mod explain;
mod fidelity;
mod fit;
mod forecast;
mod inputs;
mod load;
mod output;
mod plan;
mod profiles;
mod run;
mod signals;
mod simulate;
mod tune;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// A request at the gate is some hundred small allocations that die young, as is a replayed one.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // One provider of cryptography for the process; it can only be there already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let (arguments, warnings) = run::understood(std::env::args_os().collect());
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let result = match cli::Cli::parse_from(arguments).command {
        cli::Command::Simulate(arguments) => simulate::run(&arguments),
        cli::Command::Tune(arguments) => tune::run(&arguments),
        cli::Command::Explain(arguments) => explain::run(&arguments),
        cli::Command::Plan(arguments) => plan::run(&arguments),
        cli::Command::Fidelity(arguments) => fidelity::run(&arguments),
        cli::Command::Forecast(arguments) => forecast::run(&arguments),
        cli::Command::Capacity(arguments) => capacity::run(&arguments),
        cli::Command::Run(arguments) => run::run(&arguments),
        cli::Command::Fit(arguments) => fit::run(&arguments),
        cli::Command::Profiles(arguments) => profiles::run(&arguments),
        cli::Command::Engine(arguments) => engine::run(&arguments),
        cli::Command::Load(arguments) => load::run(&arguments),
        cli::Command::FloorPicker(arguments) => bench_gate::floor(&arguments),
        cli::Command::BenchGate(arguments) => bench_gate::run(&arguments),
        cli::Command::BenchOverload(arguments) => bench_gate::overload(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
