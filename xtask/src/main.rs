//! The tasks of the repository that are more than one command of cargo: `cargo xtask --help` lists them.

mod corpus;
mod fixtures;
mod fuzz;
mod lint;
mod server;
mod simulate;
mod test;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

/// Tasks of this repository.
#[derive(Subcommand)]
enum Task {
    /// Check formatting, Clippy's lints, the fuzz targets and the dependencies.
    Lint,
    /// Lint, and run all tests, including those against real servers.
    Test(test::Arguments),
    /// Make the fixtures again, from real servers.
    Fixtures(fixtures::Arguments),
    /// Start a real server on loopback.
    #[command(subcommand)]
    Server(server::Task),
    /// Start, scale, stop, kill and fail at random, on one machine or on an emulator of AWS: every document must arrive.
    Simulate(simulate::Arguments),
    /// Fuzz the readers.
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Lint => lint::run(),
        Task::Test(arguments) => test::run(&arguments),
        Task::Fixtures(arguments) => fixtures::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Server(task) => server::run(task).map(|()| ExitCode::SUCCESS),
        Task::Simulate(arguments) => simulate::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
