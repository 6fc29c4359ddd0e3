//! Planning as a job that may be broken off anywhere and run again, also twice at once: each chunk is there once.
//!
//! ```text
//! shards ──all stored──► messages(0) ──page──► messages(n) ──last page──► complete
//! ```
//! A shard is stored whole or not at all, and what is stored is not read again. Messages are sent in the order of the
//! queue, which follows from the shards alone; how many were sent is recorded after each page. Whoever is broken off
//! between a page and its record sends that page again: workers recognise the second message of a chunk.

use crate::chunking::queue_order;
use crate::model::{ChunkId, Planning, Run, RunId, RunState, ShardId};
use crate::plan::Outline;
use crate::ports::{Checkpoints, Queue, StoreError};
use crate::source::{OpenedSnapshot, Repository, SourceError};
use futures::{StreamExt, TryStreamExt};
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

/// Messages between two records of how many were sent.
const PAGE: usize = 1000;

/// Shards stored between two looks at what the operator wants.
const LOOK: usize = 64;

/// Shards stored at once.
const CONCURRENCY: usize = 16;

/// Why planning broke off.
#[derive(Debug, thiserror::Error)]
pub enum PlanningError {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The checkpoint store or the queue does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Plans a run that is stored already.
#[derive(Debug)]
pub struct Planner<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The snapshot.
    pub opened: &'a OpenedSnapshot,
    /// What is meant of it: by the run's own selection.
    pub outline: &'a Outline,
    /// Where shards and chunks are stored.
    pub checkpoints: &'a dyn Checkpoints,
    /// Where messages go.
    pub queue: &'a dyn Queue,
}

impl Planner<'_> {
    /// Goes on with the planning until it is complete, until `stop` (a deadline, say), or until the run is stopped.
    /// Returns how far it has come.
    ///
    /// # Errors
    /// When the snapshot cannot be read, or checkpoints or queue do not work. What is stored stays.
    pub async fn run(&self, run: &Run, stop: &CancellationToken) -> Result<Planning, PlanningError> {
        let mut planning = self.checkpoints.run(&run.id).await?.planning;
        if planning == Planning::Shards {
            if !self.store_shards(run, stop).await? {
                return Ok(planning);
            }
            planning = self.checkpoints.advance_planning(&run.id, planning, Planning::Messages(0)).await?;
        }
        Ok(send_messages(self.checkpoints, self.queue, &run.id, planning, stop).await?)
    }

    /// What the snapshot holds was looked at anew by whoever goes on with a planning: an index that can no longer be read
    /// would be left out.
    fn still_the_same(&self, run: &Run) -> Result<(), SourceError> {
        let now: HashSet<&str> = self.outline.indices.iter().map(|index| index.name.as_str()).collect();
        let Some(gone) = run.indices.iter().find(|index| !now.contains(index.name.as_str())) else {
            return Ok(());
        };
        let why = self.outline.refused.iter().find(|(name, _)| *name == gone.name);
        Err(SourceError::Inconsistent {
            location: format!("index {}", gone.name),
            what: format!(
                "it is a part of run {}, but is not to be read any more{}",
                run.id,
                why.map_or_else(String::new, |(_, why)| format!(": {why}"))
            ),
        })
    }

    /// Stores the shards that are not yet there; whether all are there now.
    async fn store_shards(&self, run: &Run, stop: &CancellationToken) -> Result<bool, PlanningError> {
        self.still_the_same(run)?;
        let known: HashSet<ShardId> =
            self.checkpoints.shards(&run.id).await?.into_iter().map(|shard| shard.id).collect();
        let planned = self.outline.shards(self.repository, self.opened, run.spec.chunk_bytes, &known);
        let stored = planned
            .take_until(stop.cancelled())
            .map_err(PlanningError::Source)
            .map_ok(|(shard, chunks)| async move {
                self.checkpoints.add_shard(&run.id, &shard, &chunks).await.map_err(PlanningError::Store)
            })
            .try_buffer_unordered(CONCURRENCY);
        let mut stored = std::pin::pin!(stored);
        let mut count = 0usize;
        while stored.try_next().await?.is_some() {
            count += 1;
            if count.is_multiple_of(LOOK)
                && self.checkpoints.control(&run.id).await?.state != RunState::Running
            {
                return Ok(false);
            }
        }
        Ok(!stop.is_cancelled())
    }
}

/// Sends the messages of a run whose shards are all stored. Needs nothing of the snapshot.
///
/// # Errors
/// When checkpoints or queue do not work.
pub async fn send_messages(
    checkpoints: &dyn Checkpoints,
    queue: &dyn Queue,
    run: &RunId,
    mut planning: Planning,
    stop: &CancellationToken,
) -> Result<Planning, StoreError> {
    let Planning::Messages(mut sent) = planning else { return Ok(planning) };
    let shards = checkpoints.shards(run).await?;
    let mut order = queue_order(&shards).skip(usize::try_from(sent).unwrap_or(usize::MAX));
    while !stop.is_cancelled() && checkpoints.control(run).await?.state == RunState::Running {
        let page: Vec<ChunkId> = order.by_ref().take(PAGE).collect();
        let next = if page.is_empty() {
            Planning::Complete
        } else {
            queue.enqueue(run, &page).await?;
            sent += page.len() as u64;
            Planning::Messages(sent)
        };
        planning = checkpoints.advance_planning(run, planning, next).await?;
        match planning {
            Planning::Messages(n) if n == sent => {}
            // Another planner was faster: go on behind it.
            Planning::Messages(n) if n > sent => {
                let ahead = usize::try_from(n - sent).unwrap_or(usize::MAX);
                order.by_ref().take(ahead).for_each(drop);
                sent = n;
            }
            _ => break,
        }
    }
    Ok(planning)
}
