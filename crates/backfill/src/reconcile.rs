//! Messages that were lost, as by the queue's retention or by a purge: their chunks are enqueued again.
//!
//! The queue cannot be asked which messages it holds, only how many, and chunks do not tell when they were last looked at.
//! But a run that is planned, whose queue is empty, of which nobody holds a chunk, and of which nothing has moved for a
//! while has lost the messages of all its open chunks. Messages that are lost while others are there are missed when those
//! are through, and no harm is done until then. A message too many does no harm either: workers recognise it.

use crate::model::{ChunkId, ChunkState, Millis, Planning, RunState};
use crate::ports::{Checkpoints, Queue, StoreError, Summary};
use crate::walk::with_chunks;
use futures::TryStreamExt;

/// For how long nothing must have moved: longer than a queue's own count of its messages lags behind.
pub const QUIET: Millis = 180_000;

/// Messages sent at once.
const PAGE: usize = 1000;

/// Whether the messages of all open chunks are lost. `in_queue` is how many messages the queue has, in workers' hands or
/// not; `quiet` for how long nothing must have moved, by the samples of the summary.
pub fn is_lost(summary: &Summary, in_queue: u64, quiet: Millis, now: Millis) -> bool {
    let run = &summary.run;
    let ended = summary.chunks_done + summary.chunks_failed;
    run.state == RunState::Running
        && run.planning == Planning::Complete
        && ended < summary.chunks_total
        && summary.chunks_leased == 0
        && in_queue == 0
        && still_for(summary, quiet, now)
}

/// Whether no sample since then tells of anything else than the sums do now, and there is one that old.
fn still_for(summary: &Summary, quiet: Millis, now: Millis) -> bool {
    if quiet == 0 {
        return true;
    }
    let (documents, bytes) = (summary.counters.documents(), summary.counters.stored_bytes);
    let same = summary.samples.iter().rev();
    let mut same = same.take_while(|sample| sample.documents == documents && sample.stored_bytes == bytes);
    same.any(|sample| sample.at.saturating_add(quiet) <= now)
}

/// Enqueues all open chunks of a run whose messages [are lost](is_lost), in the order of the queue; how many those were.
/// Broken off half-way, the next one sends the rest when these are through.
///
/// # Errors
/// When checkpoints or queue do not work.
pub async fn reconcile(
    checkpoints: &dyn Checkpoints,
    queue: &dyn Queue,
    summary: &Summary,
    in_queue: u64,
    quiet: Millis,
    now: Millis,
) -> Result<u64, StoreError> {
    if !is_lost(summary, in_queue, quiet, now) {
        return Ok(0);
    }
    let run = &summary.run.id;
    let mut open: Vec<(u64, ChunkId)> = Vec::new();
    let shards = checkpoints.shards(run).await?;
    let mut shards = std::pin::pin!(with_chunks(checkpoints, run, &shards));
    while let Some((_, chunks)) = shards.try_next().await? {
        let chunks = chunks.into_iter().filter(|c| !matches!(c.state, ChunkState::Done | ChunkState::Failed));
        open.extend(chunks.map(|chunk| (chunk.order, chunk.id)));
    }
    open.sort_unstable();
    let open: Vec<ChunkId> = open.into_iter().map(|(_, id)| id).collect();
    for page in open.chunks(PAGE) {
        queue.enqueue(run, page).await?;
    }
    Ok(open.len() as u64)
}
