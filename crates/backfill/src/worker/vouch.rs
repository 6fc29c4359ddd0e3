//! Whether the indices that a chunk is written to are still those that the run began to write to. [`crate::destinations`]
//! says why that matters.

use super::{Worker, WorkerError};
use crate::destinations::replaced_of;
use crate::model::{AttemptError, Cause, Chunk, IndexPlan};
use crate::ports::{StoreError, TargetError};
use std::time::Duration;
use tokio::time::timeout;

/// How long a comparison waits for the target. Nothing renews the lease meanwhile, so it is much shorter than a lease.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Returns what was lost before a chunk is begun. A target that does not answer is no reason not to begin: its deliveries
/// wait for it, and the comparison at the end of the chunk is the one that counts.
pub(super) async fn before(worker: &Worker, chunk: &Chunk) -> Result<Option<AttemptError>, StoreError> {
    let Some(index) = worker.run.index(&chunk.id.shard.index) else { return Ok(None) };
    match replaced(worker, index).await {
        Ok(lost) => Ok(lost),
        Err(WorkerError::Store(error)) => Err(error),
        Err(error) => {
            tracing::debug!(chunk = %chunk.id, %error, "the target index is not compared yet");
            Ok(None)
        }
    }
}

/// Returns what was lost of the documents of an index of the snapshot, if its target index was replaced.
///
/// # Errors
/// When the store fails, or the target does not answer within [`ANSWER_WITHIN`].
pub(super) async fn replaced(
    worker: &Worker,
    index: &IndexPlan,
) -> Result<Option<AttemptError>, WorkerError> {
    timeout(ANSWER_WITHIN, compare(worker, index)).await.unwrap_or_else(|_| {
        let reason = format!("it does not answer within {ANSWER_WITHIN:?} what its index is");
        Err(TargetError::Unreachable { target: worker.target.location(), reason }.into())
    })
}

async fn compare(worker: &Worker, index: &IndexPlan) -> Result<Option<AttemptError>, WorkerError> {
    let lost = replaced_of(worker.target.as_ref(), &worker.run, index).await?;
    if lost.is_none() {
        return Ok(None);
    }
    // The worker may have known the run before the operator put the index back to its beginning.
    let run = worker.checkpoints.run(&worker.run.id).await?;
    let lost = replaced_of(worker.target.as_ref(), &run, index).await?;
    Ok(lost.map(|lost| {
        tracing::warn!(index = index.name, lost, "documents that were written are gone");
        let message = format!(
            "{lost}, and with it documents that were written before; `backfill redo {}` puts the index back to its \
             beginning",
            index.name
        );
        AttemptError { cause: Cause::Target, message }
    }))
}
