//! `backfill status`.

use super::state::State;
use super::{Context, print_json, print_line};
use crate::args::StatusArgs;
use crate::exit::{CommandError, Exit, Result};
use crate::render;
use crate::terminal;
use backfill::status::{BackfillStatus, Outcome, StatusReport};
use local::Mode;
use std::time::{Duration, Instant};

/// How often a watched status is printed.
const WATCH: Duration = Duration::from_secs(2);

pub(super) async fn status(context: &Context<'_>, args: &StatusArgs) -> Result<Exit> {
    let state = State::open(&args.state, context, Mode::ReadOnlyExisting).await?;
    let begun = Instant::now();
    let mut printed: Option<Instant> = None;
    loop {
        let report = state.report().await?;
        let ended = !matches!(report.status, BackfillStatus::Running | BackfillStatus::Stopping);
        let due = args.watch && printed.is_none_or(|at| at.elapsed() >= WATCH);
        if due || ended || (!args.watch && !args.wait) {
            if printed.is_some() && !context.json {
                print_line("");
            }
            print(context, &report, args.deep_check)?;
            printed = Some(Instant::now());
        }
        if ended {
            return Ok(if args.wait { exit_of(&report) } else { Exit::Done });
        }
        if !args.watch && !args.wait {
            return Ok(Exit::Done);
        }
        if args.timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
            return Err(CommandError::new(
                Exit::GaveUpWaiting,
                "the backfill still runs; gave up waiting for its end",
            ));
        }
        tokio::time::sleep(state.poll()).await;
    }
}

fn print(context: &Context<'_>, report: &StatusReport, deep: bool) -> Result<()> {
    if context.json {
        return print_json(report);
    }
    render::status(report, deep).print();
    Ok(())
}

/// Prints what became of the run, on standard error where that is not what was asked for.
pub(super) fn print_conclusion(report: &StatusReport) {
    match report.outcome {
        Outcome::Complete | Outcome::CompleteWithFailedDocuments => print_line(&report.conclusion()),
        Outcome::Damaged
        | Outcome::Unreadable
        | Outcome::Refused
        | Outcome::Failed
        | Outcome::TargetReplaced
        | Outcome::TooManyFailed
        | Outcome::Unfinished => terminal::notice(&report.conclusion()),
    }
}

/// How `start` exits when the run stands like this.
pub(super) fn exit_of(report: &StatusReport) -> Exit {
    match report.outcome {
        Outcome::Complete => Exit::Done,
        Outcome::CompleteWithFailedDocuments => Exit::FailedDocuments,
        Outcome::Damaged | Outcome::Unreadable => Exit::Snapshot,
        Outcome::TargetReplaced => Exit::Target,
        Outcome::Refused => Exit::Refused,
        Outcome::TooManyFailed => Exit::TooManyFailed,
        Outcome::Failed if report.is_snapshot_at_fault() => Exit::Snapshot,
        // Shards could not be read, and whatever else there was is done.
        Outcome::Failed if report.chunks_failed == 0 => Exit::Snapshot,
        Outcome::Failed => report.given_up_cause.map_or(Exit::Error, Exit::of),
        Outcome::Unfinished => Exit::Interrupted,
    }
}
