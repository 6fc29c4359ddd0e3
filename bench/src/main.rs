//! Measures the layers of a backfill apart, each against its limit measured in the same run, and writes the tables of
//! `docs/performance.md`.
//!
//! What is measured runs in a process of its own, so that its CPU time and its memory are its own; runs of what is
//! compared take turns, so that all meet the same machine; of several runs the median counts.

mod blobs;
mod bodies;
mod cold;
mod cost;
mod data;
mod decode;
mod documents;
mod download;
mod gzip;
mod http;
mod layers;
mod measure;
mod pieces;
mod pipeline;
mod plan;
mod report;
mod s3;
mod sink;
mod status;
mod target;
mod upload;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(about, long_about = None)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make the data sets that are not there yet, by real servers
    Data(Common),
    /// Measure, making the data sets that are missing; prints tables
    Run(layers::Arguments),
    /// One measured process
    #[command(subcommand, hide = true)]
    Part(Part),
}

/// What a measured process does. Each prints one line of JSON.
#[derive(Subcommand)]
enum Part {
    Pipeline(pipeline::Arguments),
    Download(download::Arguments),
    Upload(upload::Arguments),
    Gzip(gzip::Arguments),
    Plan(plan::Arguments),
    Status(status::Arguments),
    Sink,
}

/// Which data.
#[derive(Args, Clone)]
struct Common {
    /// Size of the data sets: 1 is a million documents of 1 KB and a hundred thousand of 20 KB, in each form
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where data sets are kept; must be open to all users when run as root
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Data(common) => data::make_all(&common),
        Task::Run(arguments) => layers::run(&arguments),
        Task::Part(part) => run_part(part),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_part(part: Part) -> Result<()> {
    let measured = match part {
        Part::Pipeline(arguments) => pipeline::run(&arguments)?,
        Part::Download(arguments) => download::run(&arguments)?,
        Part::Upload(arguments) => upload::run(&arguments)?,
        Part::Gzip(arguments) => gzip::run(&arguments)?,
        Part::Plan(arguments) => plan::run(&arguments)?,
        Part::Status(arguments) => status::run(&arguments)?,
        Part::Sink => return sink::run(),
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}
