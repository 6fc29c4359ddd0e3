//! `backfill scale | stop`: steer a run from another terminal.

use super::state::{LocalState, State};
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
    let state = State::open(args, context, Mode::ReadWriteExisting).await?;
    if let State::Local(_) = state {
        check_workers(workers)?;
    }
    let run = state.run().await?;
    if run.state.is_finished() {
        return Err(CommandError::other(format!("run {} has ended: there is nothing to scale", run.id)));
    }
    let active = match &state {
        State::Local(local) => {
            local.store.set_desired_workers(&run.id, workers).await?;
            RunnerLock::is_held(&local.path)
        }
        State::Stack(stack) => {
            // Workers of a run that is stopped come when it is started again.
            let active = run.state == RunState::Running;
            stack.scale(&run, workers, active).await?;
            active
        }
    };
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
    let state = State::open(args, context, Mode::ReadWriteExisting).await?;
    let run = state.run().await?;
    match &state {
        State::Local(local) => stop_local(context, local, timeout).await?,
        State::Stack(stack) => stack.stop(context, &run, timeout).await?,
    }
    if context.json {
        print_json(&state.report().await?)?;
    } else {
        print_line("Backfill stopped successfully.");
        print_line(&state.report().await?.conclusion());
    }
    Ok(Exit::Done)
}

/// What is said while the workers of a run that was stopped are waited for.
pub(super) fn stopping(workers: u64) -> String {
    let workers =
        if workers == 1 { "1 worker finishes".to_owned() } else { format!("{workers} workers finish") };
    format!("Stopping: {workers} what is in flight.")
}

/// Stops what runs on this machine, and waits until its process has ended.
async fn stop_local(context: &Context<'_>, state: &LocalState, timeout: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        // Each time: a process that still waits for its target has yet to make its run, or to let it go on.
        if let Some(run) = state.store.latest_run().await?.filter(|run| run.state == RunState::Running) {
            state.store.set_state(&run.id, RunState::Stopped, SystemClock.now(), &run.damage).await?;
        }
        if !RunnerLock::is_held(&state.path) {
            return Ok(());
        }
        if !told && let Some(run) = state.store.latest_run().await? {
            let workers = state.store.summary(&run.id, SystemClock.now()).await?.chunks_leased;
            if workers > 0 {
                told = true;
                context.say(&stopping(workers));
            }
        }
        if begun.elapsed() >= timeout {
            let message =
                "its process still finishes what is in flight, or waits for the target or the snapshot";
            return Err(CommandError::new(Exit::GaveUpWaiting, message));
        }
        tokio::time::sleep(POLL).await;
    }
}
