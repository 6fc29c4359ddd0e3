//! The worker: takes chunks from the queue and processes one at a time, from claim to checkpointed end.
//!
//! Data flows in one direction and is bounded at every step, so memory stays flat whatever the shard's size:
//! ranges being fetched ([`reader`]), one decoded block, one batch under construction or waiting, and the batches in
//! flight ([`flow`]), whose memory is used again ([`crate::buffers`]).

pub mod acks;
pub mod deliver;
mod feed;
pub mod flow;
pub mod process;
pub mod reader;
mod vouch;

pub use process::ChunkEnd;

use crate::budget::Budget;
use crate::buffers::Buffers;
use crate::model::chunk::ClaimRefused;
use crate::model::{AttemptError, Cause, Chunk, ChunkId, HandedBack, Millis, Progress, Reason, Run};
use crate::ports::{
    BlobError, Blobs, Checkpoints, ClaimOutcome, Clock, FailedDocuments, Message, Queue, StoreError, Target,
    TargetError,
};
use crate::waits::Waits;
use flow::{Flow, FlowLimits};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a chunk with an error is left alone; doubled with each attempt in a row.
const RETRY: Duration = Duration::from_millis(250);
/// How long at most.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Length of a lease; renewed with each checkpoint.
    pub lease: Duration,
    /// Time between checkpoints. Much shorter than the lease.
    pub checkpoint_every: Duration,
    /// How long a target that takes nothing is waited for.
    pub patience: Duration,
    /// How long a stopping worker waits for what is in flight.
    pub drain: Duration,
    /// Whether being told to stop means that the worker's time is up, as it is for a function at its deadline, and not
    /// that nobody wants the work. An attempt that brings nothing until then counts.
    pub time_limited: bool,
    /// Limits of what is sent at once.
    pub flow: FlowLimits,
    /// Size of a fetched range, at most.
    pub fetch_bytes: u64,
    /// Ranges fetched ahead, while one is being decoded.
    pub fetch_ahead: usize,
    /// How much memory there is.
    pub budget: Budget,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions {
            lease: Duration::from_secs(60),
            checkpoint_every: Duration::from_secs(1),
            patience: Duration::from_secs(600),
            drain: Duration::from_secs(20),
            time_limited: false,
            flow: FlowLimits::default(),
            fetch_bytes: 8 << 20,
            fetch_ahead: 3,
            budget: Budget::default(),
        }
    }
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The snapshot cannot be read: no permission, no connection.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The snapshot is not the one that was planned.
    #[error("{0}")]
    SnapshotChanged(String),
    /// The target cannot be written to.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The checkpoint store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of the worker broke off: a defect.
    #[error("{0}")]
    Reader(String),
}

impl From<reader::ReadError> for WorkerError {
    fn from(error: reader::ReadError) -> WorkerError {
        match error {
            reader::ReadError::Blob(error) => WorkerError::Blob(error),
            reader::ReadError::Changed(what) => WorkerError::SnapshotChanged(what),
            reader::ReadError::Store(error) => WorkerError::Store(error),
        }
    }
}

impl WorkerError {
    /// Whose fault it is.
    pub fn cause(&self) -> Cause {
        match self {
            WorkerError::Blob(_) | WorkerError::SnapshotChanged(_) => Cause::Snapshot,
            WorkerError::Target(_) => Cause::Target,
            WorkerError::Store(_) | WorkerError::Reader(_) => Cause::Worker,
        }
    }

    /// Whether others may go well where this chunk does not. What patience was lost over is the whole target's.
    pub fn is_of_the_chunk(&self) -> bool {
        match self {
            WorkerError::Blob(BlobError::OutOfReach { .. }) => false,
            WorkerError::Reader(_) | WorkerError::Blob(_) | WorkerError::SnapshotChanged(_) => true,
            WorkerError::Target(error) => {
                matches!(error, TargetError::Denied { .. } | TargetError::Unexpected { .. })
            }
            WorkerError::Store(_) => false,
        }
    }

    fn as_attempt(&self) -> AttemptError {
        AttemptError { cause: self.cause(), message: self.to_string() }
    }
}

/// Why a look into the queue came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct StepError {
    /// The chunk that was being worked on, if there was one.
    pub chunk: Option<ChunkId>,
    /// What went wrong.
    pub error: WorkerError,
}

impl<E: Into<WorkerError>> From<E> for StepError {
    fn from(error: E) -> StepError {
        StepError { chunk: None, error: error.into() }
    }
}

/// What came of one look into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There was no message.
    Idle,
    /// A message led to nothing: its chunk is done, given up, or in other hands.
    Skipped,
    /// A chunk was worked on.
    Worked(ChunkEnd),
}

/// A worker and all it needs.
#[derive(Debug)]
pub struct Worker {
    /// Its name, unique among the workers of a run.
    pub owner: String,
    /// The run it works for.
    pub run: Run,
    /// The repository.
    pub blobs: Arc<dyn Blobs>,
    /// The checkpoint store.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// Where documents go.
    pub target: Arc<dyn Target>,
    /// Where failed documents go.
    pub failed: Arc<dyn FailedDocuments>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How it works.
    pub options: WorkerOptions,
    /// How much is sent at once; kept from chunk to chunk.
    pub flow: Arc<Mutex<Flow>>,
    /// Memory of batches; kept from chunk to chunk.
    pub buffers: Buffers,
    /// What it waits for; kept from chunk to chunk.
    pub waits: Waits,
}

impl Worker {
    /// Looks into the queue once, and works on what it finds there until its end or until `stop`.
    ///
    /// # Errors
    /// When the snapshot, the target or the store make going on pointless. The chunk has been handed back then,
    /// if at all possible; otherwise its lease ends by itself.
    pub async fn step(&self, stop: &CancellationToken) -> Result<Step, StepError> {
        let now = self.clock.now();
        let Some(message) = self.queue.receive(now, self.lease_end()).await? else {
            return Ok(Step::Idle);
        };
        let claim =
            self.checkpoints.claim(&self.run.id, &message.chunk, &self.owner, now, self.lease_end()).await;
        let claim = match claim {
            Err(StoreError::NotFound(what)) => {
                // The run was deleted, and its message has stayed behind.
                tracing::info!("a message is passed over: {what}");
                self.queue.delete(&message).await?;
                return Ok(Step::Skipped);
            }
            claim => claim?,
        };
        let chunk = match claim {
            ClaimOutcome::Granted(chunk) => *chunk,
            ClaimOutcome::Refused(ClaimRefused::Done | ClaimRefused::Failed) => {
                self.queue.delete(&message).await?;
                return Ok(Step::Skipped);
            }
            ClaimOutcome::Refused(ClaimRefused::Held { until }) => {
                self.queue.extend(&message, until).await?;
                return Ok(Step::Skipped);
            }
        };
        let (claimed, progress) = (chunk.clone(), chunk.progress.clone());
        if let Some(lost) = vouch::before(self, &chunk).await? {
            self.hand_back(&message, &claimed, &progress, &Reason::Hopeless(lost)).await?;
            return Ok(Step::Worked(ChunkEnd::GivenUp));
        }
        let task = match process::ChunkTask::begin(self, &message, chunk).await {
            Ok(task) => task,
            Err(error) => {
                self.hand_back(&message, &claimed, &progress, &Reason::Error(error.as_attempt())).await?;
                return Err(StepError { chunk: Some(claimed.id), error });
            }
        };
        let ended = task.run(stop).await;
        self.record_waits().await;
        ended.map(Step::Worked).map_err(|error| StepError { chunk: Some(claimed.id), error })
    }

    /// Records what is waited for where others see it, if that is due.
    async fn record_waits(&self) {
        self.waits.record(self.checkpoints.as_ref(), &self.run.id, self.clock.now()).await;
    }

    /// Gives a claimed chunk back, and its message: for later if something is wrong with it.
    async fn hand_back(
        &self,
        message: &Message,
        chunk: &Chunk,
        progress: &Progress,
        reason: &Reason,
    ) -> Result<(), StoreError> {
        let left = self.checkpoints.hand_back(&self.run.id, &chunk.id, chunk.epoch, progress, reason).await?;
        match (left, reason) {
            (HandedBack::Failed, _) => self.queue.delete(message).await,
            (HandedBack::Pending { idle_claims }, Reason::Error(_)) => {
                let pause = RETRY.saturating_mul(1 << idle_claims.min(10)).min(MAX_RETRY);
                let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                self.queue.extend(message, self.clock.now().saturating_add(pause)).await
            }
            (HandedBack::Pending { .. }, _) => self.queue.hand_back(message).await,
        }
    }

    fn lease_end(&self) -> Millis {
        let lease = u64::try_from(self.options.lease.as_millis()).unwrap_or(u64::MAX);
        self.clock.now().saturating_add(lease)
    }
}
