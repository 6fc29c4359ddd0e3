//! A longer run of the test that does everything at once.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::{Result, test};

const TEST: &str = "aws::chaos::whatever_happens_each_document_arrives";

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long things are done at random
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// What decides which
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let functions = test::build_functions()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "-p", "cli", "--test", "e2e", "--", "--ignored", "--exact", "--nocapture", TEST])
        .env("BACKFILL_TEST_FUNCTIONS", functions)
        .env("BACKFILL_CHAOS_SECONDS", (arguments.minutes * 60).to_string())
        .env("BACKFILL_CHAOS_SEED", arguments.seed.to_string())
        .status()?;
    Ok(test::code(status))
}
