//! The local fleet: workers as threads, and the supervisor that keeps as many of them as are wanted.
//!
//! Each worker is a thread with a runtime of its own, so that it uses one core at most and has connections of its
//! own. The supervisor looks at the run's control record five times a second: it starts and stops workers at once
//! when another number is wanted, stops all when the run is stopped, and ends when no work is left.

mod fleet;
mod port;
#[cfg(test)]
mod tests;

use crate::lock::RunnerLock;
use crate::store::SqliteStore;
use backfill::model::{RunId, RunState};
use backfill::ports::{Checkpoints, Clock, Sample, SteadyClock, StoreError};
use fleet::Fleet;
pub use port::LocalFleet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often the control record is looked at.
const POLL: Duration = Duration::from_millis(200);

/// How often a point of progress is recorded.
const SAMPLE: Duration = Duration::from_secs(1);

/// How long work may be left that no worker finds. Longer than any message is kept back: a lease takes a minute, the
/// pause after an error half a minute.
const STALLED: Duration = Duration::from_secs(180);

/// What a worker is given.
#[derive(Clone, Debug)]
pub struct WorkerContext {
    /// Its number, from 0; a number is used again when its worker has ended.
    pub number: u32,
    /// Cancelled when the worker is to hand back what it holds and end.
    pub stop: CancellationToken,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEnd<E> {
    /// It found no work any more. It is started again should there be work again.
    Idle {
        /// Whether it had found any before.
        received: bool,
    },
    /// It was told to stop.
    Stopped,
    /// It cannot go on. It is not started again, unless it is scaled away and back.
    Fatal(E),
}

/// A worker's work: made and run on the worker's own thread.
pub type WorkerFuture<E> = Pin<Box<dyn Future<Output = WorkerEnd<E>>>>;

/// Why a worker failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerFailure<E> {
    /// It said so.
    Error(E),
    /// It broke off, or its thread could not be started.
    Broken(String),
}

impl<E: fmt::Display> fmt::Display for WorkerFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerFailure::Error(error) => error.fmt(f),
            WorkerFailure::Broken(reason) => write!(f, "the worker broke off: {reason}"),
        }
    }
}

/// What happens while a run is worked on.
#[derive(Debug)]
pub enum RunnerEvent<'a, E> {
    /// Another number of workers is wanted; told at the start, too.
    Scaled {
        /// The number.
        workers: u32,
    },
    /// A worker was started.
    Started {
        /// Its number.
        worker: u32,
    },
    /// A worker has ended without an error.
    Ended {
        /// Its number.
        worker: u32,
    },
    /// A worker has ended with an error.
    Failed {
        /// Its number.
        worker: u32,
        /// Why.
        failure: &'a WorkerFailure<E>,
    },
    /// All workers were told to stop, and finish what they have in flight.
    Stopping {
        /// How many of them are still at work.
        workers: usize,
    },
    /// A point of progress was recorded.
    Sampled(Sample),
}

/// How the work on a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum RunnerEnd<E> {
    /// The queue has nothing left for the run.
    Finished,
    /// The run was stopped, or ended by someone else; all workers have handed back.
    Stopped(RunState),
    /// The caller's token was cancelled; all workers have handed back.
    Interrupted,
    /// Work is left, but every worker has failed. Failures that read the same are told once.
    Failed(Vec<WorkerFailure<E>>),
}

/// Works on one run with as many workers as are wanted. `W` makes the work of a worker.
pub struct Runner<W> {
    store: Arc<SqliteStore>,
    // Released when the runner is dropped.
    lock: RunnerLock,
    clock: Arc<dyn Clock>,
    stalled: Duration,
    worker: Arc<W>,
}

impl<W> fmt::Debug for Runner<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("store", &self.store).field("lock", &self.lock).finish_non_exhaustive()
    }
}

impl<W, E> Runner<W>
where
    W: Fn(WorkerContext) -> WorkerFuture<E> + Send + Sync + 'static,
    E: fmt::Display + Send + 'static,
{
    /// A runner on a state file whose lock the caller has just taken.
    pub fn new(store: Arc<SqliteStore>, lock: RunnerLock, worker: W) -> Runner<W> {
        Runner { store, lock, clock: Arc::new(SteadyClock), stalled: STALLED, worker: Arc::new(worker) }
    }

    /// Takes the time from this clock, which must be the one by which the workers take leases.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Runner<W> {
        self.clock = clock;
        self
    }

    /// Waits only this long for work that no worker finds.
    #[cfg(test)]
    fn with_stalled(mut self, stalled: Duration) -> Runner<W> {
        self.stalled = stalled;
        self
    }

    /// Works on the run until nothing is left, it is stopped, or `interrupt` is cancelled. What earlier runners
    /// left behind is reclaimed first. All workers have ended when this returns; the lock is held until the runner is
    /// dropped, so that the caller can conclude the run under it.
    ///
    /// # Errors
    /// When the state file cannot be read or written, or holds work that no worker finds.
    pub async fn run(
        &self,
        run: &RunId,
        interrupt: CancellationToken,
        mut on_event: impl FnMut(RunnerEvent<'_, E>),
    ) -> Result<RunnerEnd<E>, StoreError> {
        self.store.reclaim(run).await?;
        let mut fleet = Fleet::new(self.worker.clone());
        let supervised = self.supervise(run, &mut fleet, &interrupt, &mut on_event).await;
        if fleet.running() > 0 {
            on_event(RunnerEvent::Stopping { workers: fleet.running() });
            if matches!(supervised, Ok(RunnerEnd::Interrupted)) {
                // Whoever looks meanwhile sees that it stops. What cannot be recorded is recorded by the caller.
                let stopped = self.store.set_state(run, RunState::Stopped, self.clock.now(), &[]).await;
                if let Err(error) = stopped {
                    tracing::info!(%error, "the stop could not be recorded yet");
                }
            }
            fleet.stop_all();
            while let Some(end) = fleet.next_end().await {
                fleet::tell(&end, &mut on_event);
            }
        }
        let end = supervised?;
        self.sample(run, &mut on_event).await?;
        Ok(end)
    }

    /// Keeps as many workers as are wanted; returns when that is over, with workers perhaps still running.
    async fn supervise(
        &self,
        run: &RunId,
        fleet: &mut Fleet<W, E>,
        interrupt: &CancellationToken,
        on_event: &mut impl FnMut(RunnerEvent<'_, E>),
    ) -> Result<RunnerEnd<E>, StoreError> {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sampled: Option<Instant> = None;
        let mut wanted = None;
        loop {
            let due = tokio::select! {
                () = interrupt.cancelled() => return Ok(RunnerEnd::Interrupted),
                Some(end) = fleet.next_end() => {
                    fleet::tell(&end, on_event);
                    false
                }
                _ = poll.tick() => true,
            };
            let control = self.store.control(run).await?;
            if control.state != RunState::Running {
                return Ok(RunnerEnd::Stopped(control.state));
            }
            if wanted.replace(control.desired_workers) != Some(control.desired_workers) {
                on_event(RunnerEvent::Scaled { workers: control.desired_workers });
            }
            fleet.shrink(control.desired_workers);
            let work = self.store.work(run, self.clock.now(), control.desired_workers).await?;
            if fleet.running() == 0 {
                if !work.any {
                    return Ok(RunnerEnd::Finished);
                }
                if control.desired_workers > 0 && fleet.startable(control.desired_workers).next().is_none() {
                    return Ok(RunnerEnd::Failed(fleet.take_failures()));
                }
                if fleet.fruitless(control.desired_workers) > self.stalled {
                    return Err(self.store.stalled(run));
                }
            }
            // Only now and then: a worker that sees no work where there is some must not be started in a loop.
            if due {
                for number in fleet.start(control.desired_workers, work.visible) {
                    on_event(RunnerEvent::Started { worker: number });
                }
                if sampled.is_none_or(|at| at.elapsed() >= SAMPLE) {
                    sampled = Some(Instant::now());
                    self.sample(run, on_event).await?;
                }
            }
        }
    }

    async fn sample(
        &self,
        run: &RunId,
        on_event: &mut impl FnMut(RunnerEvent<'_, E>),
    ) -> Result<(), StoreError> {
        let totals = self.store.totals(run).await?;
        let sample = Sample {
            at: self.clock.now(),
            documents: totals.documents(),
            stored_bytes: totals.stored_bytes,
            // Messages are beside the chunks that they are about: none gets lost.
            missing: 0,
        };
        self.store.add_sample(run, &sample).await?;
        on_event(RunnerEvent::Sampled(sample));
        Ok(())
    }
}
