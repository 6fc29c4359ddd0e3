//! Where a backfill keeps its state: a file on this machine, or a stack on AWS. Commands do not care which.

use super::Context;
use super::stack::StackState;
use crate::args::StateArgs;
use crate::exit::{CommandError, Result};
use crate::settings;
use backfill::model::{Run, RunId};
use backfill::ports::{Checkpoints, Clock, FailedDocuments, Fleet, FleetState, StoreError, SystemClock};
use backfill::status::{FleetStatus, StatusReport};
use local::{FsFailedDocuments, LocalFleet, Mode, RunnerLock, SqliteStore};
use std::path::PathBuf;
use std::time::Duration;

/// The state of a backfill.
pub(super) enum State {
    /// Of one on this machine.
    Local(LocalState),
    /// Of one on AWS.
    Stack(Box<StackState>),
}

impl State {
    /// Opens what arguments and configuration say. `mode` is for a file.
    pub(super) async fn open(args: &StateArgs, context: &Context<'_>, mode: Mode) -> Result<State> {
        Ok(match settings::stack(args, context.config) {
            Some(stack) => State::Stack(Box::new(StackState::open(&stack).await?)),
            None => State::Local(LocalState::open(args, context, mode)?),
        })
    }

    /// The checkpoints.
    pub(super) fn checkpoints(&self) -> &dyn Checkpoints {
        match self {
            State::Local(local) => &local.store,
            State::Stack(stack) => &stack.checkpoints,
        }
    }

    /// The failed documents.
    pub(super) fn failed(&self) -> Box<dyn FailedDocuments> {
        match self {
            State::Local(local) => Box::new(local.failed()),
            State::Stack(stack) => Box::new(stack.failed.clone()),
        }
    }

    /// How often it makes sense to look at it.
    pub(super) fn poll(&self) -> Duration {
        match self {
            State::Local(_) => Duration::from_millis(200),
            State::Stack(_) => Duration::from_secs(2),
        }
    }

    /// What it is, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            State::Local(local) => format!("the state file {}", local.path.display()),
            State::Stack(stack) => format!("the stack {}", stack.stack.name),
        }
    }

    /// The newest run.
    pub(super) async fn run(&self) -> Result<Run> {
        let newest = self.checkpoints().latest_run().await?;
        newest.ok_or_else(|| CommandError::other(format!("nothing was started with {}", self.name())))
    }

    /// The run of this name; the newest if none is named.
    pub(super) async fn run_named(&self, id: Option<&str>) -> Result<Run> {
        let Some(id) = id else { return self.run().await };
        match self.checkpoints().run(&RunId(id.to_owned())).await {
            Err(StoreError::NotFound(_)) => {
                Err(CommandError::usage(format!("there is no run {id} in {}", self.name())))
            }
            found => Ok(found?),
        }
    }

    /// The status of the newest run.
    pub(super) async fn report(&self) -> Result<StatusReport> {
        // Looked at first: a runner that ends in between has written its last by then.
        let fleet = match self {
            State::Local(local) => LocalFleet::new(local.store.clone()).state().await?,
            State::Stack(stack) => {
                stack.conclude().await?;
                stack.fleet.state().await?
            }
        };
        let run = self.run().await?;
        report(self.checkpoints(), self.failed().as_ref(), &fleet, &run.id).await
    }
}

async fn report(
    checkpoints: &dyn Checkpoints,
    failed: &dyn FailedDocuments,
    fleet: &FleetState,
    run: &RunId,
) -> Result<StatusReport> {
    let now = SystemClock.now();
    let summary = checkpoints.summary(run, now).await?;
    let fleet = FleetStatus::new(fleet, &summary);
    Ok(StatusReport::new(&summary, fleet, failed.location(run), now))
}

/// The state of a local backfill.
pub(super) struct LocalState {
    pub(super) path: PathBuf,
    pub(super) store: SqliteStore,
}

impl LocalState {
    pub(super) fn open(args: &StateArgs, context: &Context<'_>, mode: Mode) -> Result<LocalState> {
        let path = settings::state_file(args, context.config)?;
        let store = SqliteStore::open(&path, mode)?;
        Ok(LocalState { path, store })
    }

    /// Opens the state file of the lock's holder, and makes it if it is missing.
    pub(super) fn open_or_create(path: PathBuf, lock: &RunnerLock) -> Result<LocalState> {
        let store = SqliteStore::open_or_create(&path, lock)?;
        Ok(LocalState { path, store })
    }

    pub(super) fn failed(&self) -> FsFailedDocuments {
        FsFailedDocuments::beside(&self.path)
    }

    /// The status of a run.
    pub(super) async fn report(&self, run: &RunId) -> Result<StatusReport> {
        let fleet = LocalFleet::new(self.store.clone()).state().await?;
        report(&self.store, &self.failed(), &fleet, run).await
    }
}
