//! Says what is waited for before the progress of a run is shown.

use crate::render::notice;
use backfill::model::RunId;
use backfill::ports::{Clock, SteadyClock};
use backfill::waits::Waits;
use local::SqliteStore;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often it is looked whether something is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// How often a wait that goes on is told again.
const AGAIN: Duration = Duration::from_secs(30);

/// Tells people on standard error what is waited for, until it is dropped.
#[derive(Debug)]
pub struct Announcer {
    waits: Waits,
    run: Option<(SqliteStore, RunId)>,
    task: JoinHandle<()>,
}

impl Announcer {
    /// Begins to look at `waits`; says nothing if `quiet`. What is waited for is recorded with `run`, if there is one.
    pub fn start(waits: Waits, quiet: bool, run: Option<(SqliteStore, RunId)>) -> Announcer {
        let task = tokio::spawn(announce(waits.clone(), quiet, run.clone()));
        Announcer { waits, run, task }
    }

    /// Ends it when the wait is over, and removes what was recorded of it.
    pub async fn end(self) {
        self.task.abort();
        if let Some((store, run)) = &self.run {
            self.waits.record(store, run, SteadyClock.now()).await;
        }
    }
}

async fn announce(waits: Waits, quiet: bool, run: Option<(SqliteStore, RunId)>) {
    let mut told: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = SteadyClock.now();
        match waits.shown(now) {
            Some(wait) if told.is_none_or(|at| at.elapsed() >= AGAIN) => {
                told = Some(Instant::now());
                if !quiet {
                    notice(&wait.sentence(now));
                }
            }
            Some(_) => {}
            None => told = None,
        }
        if let Some((store, run)) = &run {
            waits.record(store, run, now).await;
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
