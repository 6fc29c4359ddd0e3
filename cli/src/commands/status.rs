//! `backfill status`.

use super::{Context, print_json, print_line};
use crate::args::{StateArgs, StatusArgs};
use crate::exit::{CommandError, Exit, Result};
use crate::{render, settings};
use backfill::model::{Run, RunId};
use backfill::ports::{Checkpoints, Clock, FailedDocuments, Fleet, StoreError, SystemClock};
use backfill::status::{BackfillStatus, FleetStatus, Outcome, StatusReport};
use local::{FsFailedDocuments, LocalFleet, Mode, SqliteStore};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a watched status is printed.
const WATCH: Duration = Duration::from_secs(2);
/// How often a status that is waited for is looked at.
const POLL: Duration = Duration::from_millis(200);

pub(super) async fn status(context: &Context<'_>, args: &StatusArgs) -> Result<Exit> {
    let state = LocalState::open(&args.state, context, Mode::ReadOnlyExisting)?;
    let begun = Instant::now();
    let mut printed: Option<Instant> = None;
    loop {
        let report = state.report().await?;
        let ended = report.status != BackfillStatus::Running;
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
        tokio::time::sleep(POLL).await;
    }
}

fn print(context: &Context<'_>, report: &StatusReport, deep: bool) -> Result<()> {
    if context.json {
        return print_json(report);
    }
    print_line(render::status(report, deep).trim_end());
    Ok(())
}

/// How `start` exits when the run stands like this.
pub(super) fn exit_of(report: &StatusReport) -> Exit {
    match report.outcome {
        Outcome::Complete => Exit::Done,
        Outcome::CompleteWithFailedDocuments => Exit::FailedDocuments,
        Outcome::Damaged => Exit::Snapshot,
        Outcome::Failed if !report.damage.is_empty() => Exit::Snapshot,
        Outcome::Failed => report.given_up_cause.map_or(Exit::Error, Exit::of),
        Outcome::Unfinished => Exit::Interrupted,
    }
}

/// The state of a local backfill.
pub(super) struct LocalState {
    pub(super) path: PathBuf,
    pub(super) store: SqliteStore,
}

impl LocalState {
    pub(super) fn open(args: &StateArgs, context: &Context<'_>, mode: Mode) -> Result<LocalState> {
        let path = settings::state_file(args, context.config);
        let store = SqliteStore::open(&path, mode)?;
        Ok(LocalState { path, store })
    }

    pub(super) fn failed(&self) -> FsFailedDocuments {
        FsFailedDocuments::beside(&self.path)
    }

    /// The newest run.
    pub(super) async fn run(&self) -> Result<Run> {
        self.store.latest_run().await?.ok_or_else(|| {
            CommandError::other(format!("nothing was started with the state file {}", self.path.display()))
        })
    }

    /// The run of this name; the newest if none is named.
    pub(super) async fn run_named(&self, id: Option<&str>) -> Result<Run> {
        let Some(id) = id else { return self.run().await };
        match self.store.run(&RunId(id.to_owned())).await {
            Err(StoreError::NotFound(_)) => Err(CommandError::usage(format!(
                "there is no run {id} in the state file {}",
                self.path.display()
            ))),
            found => Ok(found?),
        }
    }

    /// The status of the newest run.
    pub(super) async fn report(&self) -> Result<StatusReport> {
        // Looked at first: a runner that ends in between has written its last by then.
        let fleet = LocalFleet::new(self.store.clone()).state().await?;
        let run = self.run().await?;
        let now = SystemClock.now();
        let summary = self.store.summary(&run.id, now).await?;
        let fleet = FleetStatus::new(&fleet, &summary);
        Ok(StatusReport::new(&summary, fleet, self.failed().location(&run.id), now))
    }
}
