//! The commands `console` and `backfill`: arguments, configuration, presentation. No logic beyond that.

pub mod args;
pub mod commands;
pub mod config;
pub mod exit;
pub mod memory;
pub mod progress;
pub mod render;
pub mod settings;
pub mod terminal;
pub mod waiting;

use args::{BackfillCli, ConsoleCli};
use clap::Parser;
use std::process::ExitCode;

/// Buffers of megabytes come and go: the system's allocator gives their pages back each time, which costs a fifth of the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `console GROUP COMMAND`.
pub fn console() -> ExitCode {
    let cli = ConsoleCli::parse();
    commands::run(cli.group, &cli.global)
}

/// `backfill COMMAND`: the same commands as `console backfill COMMAND`.
pub fn backfill() -> ExitCode {
    let cli = BackfillCli::parse();
    commands::run(args::Group::Backfill { command: cli.command }, &cli.global)
}
