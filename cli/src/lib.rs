//! The commands `console` and `backfill`: arguments, configuration, presentation. No logic beyond that.

pub mod args;
pub mod commands;
pub mod config;
pub mod exit;
pub mod memory;
pub mod output;
pub mod progress;
pub mod render;
pub mod settings;
pub mod terminal;
pub mod waiting;

use args::{BackfillCli, ConsoleCli};
use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

/// Buffers of megabytes come and go: the system's allocator gives their pages back each time, which costs a fifth of the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `console GROUP COMMAND`.
pub fn console() -> ExitCode {
    match ConsoleCli::try_parse() {
        Ok(cli) => commands::run(cli.group, &cli.global),
        Err(answer) => print(&answer),
    }
}

/// `backfill COMMAND`: the same commands as `console backfill COMMAND`.
pub fn backfill() -> ExitCode {
    match BackfillCli::try_parse() {
        Ok(cli) => commands::run(args::Group::Backfill { command: cli.command }, &cli.global),
        Err(answer) => print(&answer),
    }
}

/// Prints what the parser answers by itself: help, the version, or what is wrong with the command line.
fn print(answer: &clap::Error) -> ExitCode {
    let exit = if answer.use_stderr() { Exit::Usage } else { Exit::Done };
    output::record(answer.print());
    commands::conclude(exit)
}
