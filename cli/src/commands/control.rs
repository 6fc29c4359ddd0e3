//! `backfill scale | stop`: steer a run from another terminal.

use super::status::LocalState;
use super::{Context, print_json, print_line};
use crate::args::StateArgs;
use crate::exit::{CommandError, Exit, Result};
use backfill::model::RunState;
use backfill::ports::{Checkpoints, Clock, SystemClock};
use local::{Mode, RunnerLock};
use std::path::Path;
use std::time::{Duration, Instant};

/// More workers than any one machine makes sense of.
const MAX_WORKERS: u32 = 256;
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn scale(context: &Context<'_>, workers: u32, args: &StateArgs) -> Result<Exit> {
    check_workers(workers)?;
    let state = LocalState::open(args, context, Mode::ReadWriteExisting)?;
    let run = state.run().await?;
    if run.state.is_finished() {
        return Err(CommandError::other(format!("run {} has ended: there is nothing to scale", run.id)));
    }
    state.store.set_desired_workers(&run.id, workers).await?;
    let active = RunnerLock::is_held(&state.path);
    if context.json {
        print_json(&serde_json::json!({"run": run.id.0, "desired": workers, "active": active}))?;
    } else if active {
        print_line(&format!("Scaled to {workers} workers."));
    } else {
        print_line(&format!("Nothing runs now; the next `backfill start` will use {workers} workers."));
    }
    Ok(Exit::Done)
}

/// Refuses numbers of workers that this machine cannot mean.
pub(super) fn check_workers(workers: u32) -> Result<()> {
    if workers > MAX_WORKERS {
        return Err(CommandError::usage(format!(
            "{workers} workers are more than the {MAX_WORKERS} of one machine"
        )));
    }
    Ok(())
}

/// Takes the lock of the state file: nobody else works on it then. `advice` is for when somebody does.
pub(super) fn lock(state: &Path, advice: &str) -> Result<RunnerLock> {
    RunnerLock::acquire(state)?.ok_or_else(|| {
        let process =
            RunnerLock::runner_pid(state).map_or_else(String::new, |pid| format!(" in process {pid}"));
        let state = state.display();
        CommandError::other(format!("a backfill already runs{process} with the state file {state}; {advice}"))
    })
}

pub(super) async fn stop(context: &Context<'_>, timeout: Duration, args: &StateArgs) -> Result<Exit> {
    let state = LocalState::open(args, context, Mode::ReadWriteExisting)?;
    let run = state.run().await?;
    if run.state == RunState::Running {
        state.store.set_state(&run.id, RunState::Stopped, SystemClock.now(), &run.damage).await?;
    }
    let begun = Instant::now();
    while RunnerLock::is_held(&state.path) {
        if begun.elapsed() >= timeout {
            let message = "workers still finish what is in flight; the backfill will end by itself";
            return Err(CommandError::new(Exit::GaveUpWaiting, message));
        }
        tokio::time::sleep(POLL).await;
    }
    if context.json {
        print_json(&state.report().await?)?;
    } else {
        print_line("Backfill stopped successfully.");
        print_line(&state.report().await?.conclusion());
    }
    Ok(Exit::Done)
}
