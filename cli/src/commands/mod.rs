//! The commands.

mod clusters;
mod control;
mod describe;
mod failed;
mod plan;
mod redo;
mod reset;
mod retry;
mod snapshots;
mod stack;
mod start;
mod state;
mod status;
mod verify;

use crate::args::{BackfillCommand, ClustersCommand, FailedCommand, Global, Group, SnapshotCommand};
use crate::config::Config;
use crate::exit::{Exit, Result};
use crate::memory;
use crate::output;
use crate::terminal::{self, notice, print_line};
use backfill::ports::Blobs;
use backfill::source::{BoundedBlobs, OpenedSnapshot, Repository};
use std::process::ExitCode;
use std::sync::Arc;

/// What every command is given.
struct Context<'a> {
    config: &'a Config,
    json: bool,
}

impl Context<'_> {
    /// Tells people what happens; scripts read standard output.
    fn say(&self, text: &str) {
        if !self.json {
            notice(text);
        }
    }
}

/// Runs a command to its end.
pub fn run(group: Group, global: &Global) -> ExitCode {
    log_to_stderr(global.verbose);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|e| crate::exit::CommandError::other(format!("cannot start: {e}")))
        .and_then(|runtime| {
            let config = Config::load(global.config_file.as_deref())?;
            let result = runtime.block_on(dispatch(group, &Context { config: &config, json: global.json }));
            runtime.shutdown_background();
            result
        });
    conclude(result.unwrap_or_else(|error| {
        notice(&format!("error: {error}"));
        error.exit
    }))
}

/// The exit code of a command. It is never that of success where results could not be written.
pub(crate) fn conclude(exit: Exit) -> ExitCode {
    let Some(reason) = output::failure() else { return exit.into() };
    notice(&format!("error: cannot write to standard output: {reason}"));
    if exit == Exit::Done { Exit::Error.into() } else { exit.into() }
}

async fn dispatch(group: Group, context: &Context<'_>) -> Result<Exit> {
    match group {
        Group::Clusters { command: ClustersCommand::CatIndices(args) } => {
            clusters::cat_indices(context, &args).await
        }
        Group::Clusters { command: ClustersCommand::ConnectionCheck(args) } => {
            clusters::connection_check(context, &args).await
        }
        Group::Snapshot { command: SnapshotCommand::List { repository } } => {
            snapshots::list(context, &repository).await
        }
        Group::Snapshot { command: SnapshotCommand::Describe { repository, snapshot } } => {
            snapshots::describe(context, &repository, &snapshot).await
        }
        Group::Backfill { command } => match command {
            BackfillCommand::Plan(args) => plan::plan(context, &args).await,
            BackfillCommand::Start(args) => start::start(context, &args).await,
            BackfillCommand::Status(args) => status::status(context, &args).await,
            BackfillCommand::Scale { workers, state } => control::scale(context, workers, &state).await,
            BackfillCommand::Stop { timeout, state } => control::stop(context, timeout, &state).await,
            BackfillCommand::Verify(args) => verify::verify(context, &args).await,
            BackfillCommand::Describe(args) => describe::describe(context, &args).await,
            BackfillCommand::Redo(args) => redo::redo(context, &args).await,
            BackfillCommand::Reset(args) => reset::reset(context, &args).await,
            BackfillCommand::FailedDocuments { command } => match command {
                FailedCommand::Location(state) => failed::location(context, &state).await,
                FailedCommand::Count { filter, state } => failed::count(context, &filter, &state).await,
                FailedCommand::List { filter, limit, state } => {
                    failed::list(context, &filter, limit, &state).await
                }
                FailedCommand::Retry(args) => retry::retry(context, &args).await,
            },
        },
    }
}

/// Opens the repository that is meant.
async fn open_repository(blobs: Arc<dyn Blobs>) -> Result<Repository> {
    Ok(Repository::open(BoundedBlobs::new(blobs, memory::budget(1))).await?)
}

/// Opens the repository and the snapshot that are meant.
async fn open_snapshot(
    blobs: Arc<dyn Blobs>,
    name: &str,
    allow_partial: bool,
) -> Result<(Repository, OpenedSnapshot)> {
    let repository = open_repository(blobs).await?;
    let opened = repository.snapshot(name, allow_partial).await?;
    Ok((repository, opened))
}

/// Why there is nothing to do.
fn nothing_selected(snapshot: &str) -> String {
    format!(
        "no index of snapshot {snapshot} is selected; see `console snapshot describe`, --index and --include-hidden"
    )
}

/// Prints a value as JSON on one line.
fn print_json<T: serde::Serialize>(value: &T) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|e| crate::exit::CommandError::other(e.to_string()))?;
    output::print(&(text + "\n"));
    Ok(())
}

fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("BACKFILL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(terminal::LogWriter).with_ansi(false);
    // Set once in a process; a second time changes nothing.
    let _ = subscriber.try_init();
}
