//! Messages that were lost, as by the queue's retention or by a purge: their chunks are enqueued again.
//!
//! The queue cannot be asked which messages it holds, only how many, and what it tells lags behind. But each chunk that
//! waits for a worker has a message, and so has each that a worker holds. When there are fewer messages than chunks that
//! wait, each time that somebody looks for a while, messages are lost, and all open chunks are enqueued again. Of chunks
//! that are held no message is expected: as many messages as there are workers may be missing unnoticed, until so few
//! chunks wait that they show. In return a count that lags behind workers who come and go shows no loss.
//!
//! A message too many does no harm: workers recognise it, and delete it when its chunk is through. Such messages do not
//! multiply: some are sent only when there are fewer than open chunks, so there are at most twice as many afterwards, if
//! they are sent within the time after which the next look may find too few.

use crate::model::{ChunkId, ChunkState, Counters, Millis, Planning, RunId, RunState};
use crate::ports::{Checkpoints, Queue, Sample, StoreError, Summary};
use crate::walk::with_chunks;
use futures::TryStreamExt;

/// For how long messages must have been missing: longer than a queue's own count of its messages lags behind.
pub const QUIET: Millis = 180_000;

/// Messages sent at once.
const PAGE: usize = 1000;

/// How many chunks wait for a worker beyond the messages that there are. `in_queue` is how many the queue has, in
/// workers' hands or not.
pub fn missing(summary: &Summary, in_queue: u64) -> u64 {
    let run = &summary.run;
    if run.state != RunState::Running || run.planning != Planning::Complete {
        return 0;
    }
    let elsewhere = summary.chunks_done + summary.chunks_failed + summary.chunks_leased;
    summary.chunks_total.saturating_sub(elsewhere).saturating_sub(in_queue)
}

/// Whether messages are lost: whether they [are missing](missing) now, were so by each sample of the last `quiet`
/// milliseconds, and there is one that old.
pub fn is_lost(summary: &Summary, in_queue: u64, quiet: Millis, now: Millis) -> bool {
    let mut lacking = summary.samples.iter().rev().take_while(|sample| sample.missing > 0);
    missing(summary, in_queue) > 0 && lacking.any(|sample| sample.at.saturating_add(quiet) <= now)
}

/// Looks after a running run: notes a point of progress, and if messages [are lost](is_lost) enqueues all open chunks, in
/// the order of the queue; how many those were. Somebody must look again and again, less than `quiet` apart.
///
/// # Errors
/// When checkpoints or queue do not work.
pub async fn look(
    checkpoints: &dyn Checkpoints,
    queue: &dyn Queue,
    summary: &Summary,
    in_queue: u64,
    quiet: Millis,
    now: Millis,
) -> Result<u64, StoreError> {
    let lost = is_lost(summary, in_queue, quiet, now);
    // The queue's count lags behind what is sent now, even if that should not be all: it is looked at afresh. Noted before
    // the first message, so that whoever looks meanwhile does not send them, too.
    let missing = if lost { 0 } else { missing(summary, in_queue) };
    let Counters { stored_bytes, .. } = summary.counters;
    let documents = summary.counters.documents();
    let sample = Sample { at: now, documents, stored_bytes, missing };
    checkpoints.add_sample(&summary.run.id, &sample).await?;
    if lost { enqueue_open(checkpoints, queue, &summary.run.id).await } else { Ok(0) }
}

/// Enqueues all open chunks of a run; how many those are.
pub(crate) async fn enqueue_open(
    checkpoints: &dyn Checkpoints,
    queue: &dyn Queue,
    run: &RunId,
) -> Result<u64, StoreError> {
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
