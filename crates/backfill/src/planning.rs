//! Planning as a job that may be broken off anywhere and run again, also twice at once: each chunk is there once.
//!
//! ```text
//! shards ──all stored──► messages(0) ──page──► messages(n) ──last page──► complete
//! ```
//! A shard is stored whole or not at all, and what is stored is not read again. Messages are sent in the order of the
//! queue, which follows from the shards alone; how many were sent is recorded after each page. Whoever is broken off
//! between a page and its record sends that page again: workers recognise the second message of a chunk.
//!
//! A shard that cannot be read for now (no permission for one object, an archived object, a bad sector) must not keep
//! the others back. It is put off to the end and tried once more; if it still cannot be read, the chunks of all other
//! shards are enqueued and planning stays where it is. The run cannot end as done then, and the next start plans what
//! is left.

use crate::chunking::queue_order;
use crate::model::{
    Amendment, ChunkId, Millis, Planning, Run, RunId, RunState, ShardId, Wait, WaitCause, clipped,
};
use crate::plan::{Outline, Planned};
use crate::ports::{Checkpoints, Queue, StoreError};
use crate::reconcile::enqueue_open;
use crate::source::{OpenedSnapshot, Repository, SourceError};
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeSet, HashSet};
use tokio_util::sync::CancellationToken;

/// Messages between two records of how many were sent.
const PAGE: usize = 1000;

/// Shards stored between two looks at what the operator wants.
const LOOK: usize = 64;

/// Shards stored at once.
const CONCURRENCY: usize = 16;

/// Shards that are named where some cannot be read.
const EXAMPLES: usize = 5;

/// For how long it is remembered which shards could not be read: as long as any record of a run is kept.
const REMEMBERED: Millis = 400 * 86_400_000;

/// Who records which shards could not be read.
const PLANNER: &str = "planner";

/// How far a call to plan has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanningEnd {
    /// Where planning stands.
    pub planning: Planning,
    /// Shards that cannot be read for now, each with the reason. All others are planned and enqueued.
    pub unreadable: Vec<(ShardId, String)>,
}

/// Whether the shards are stored.
enum Stored {
    All,
    /// All but these. How many were stored by this call is told, too.
    AllBut(Vec<(ShardId, String)>, usize),
    /// It was broken off.
    Some,
}

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
    /// Whether, if some shards cannot be read, messages are sent for those that were stored before, too: an earlier call
    /// may have been killed before it sent them. Not for somebody who calls this again and again.
    pub resend: bool,
}

impl Planner<'_> {
    /// Goes on with the planning until it is complete, until `stop` (a deadline, say), or until the run is stopped.
    /// Returns how far it has come.
    ///
    /// # Errors
    /// When the snapshot cannot be read, or checkpoints or queue do not work. What is stored stays.
    pub async fn run(&self, run: &Run, stop: &CancellationToken) -> Result<PlanningEnd, PlanningError> {
        let mut planning = self.checkpoints.run(&run.id).await?.planning;
        let ended = |planning| Ok(PlanningEnd { planning, unreadable: Vec::new() });
        if planning == Planning::Shards {
            note_unreadable(self.checkpoints, &run.id, &[], 0).await?;
            match self.store_shards(run, stop).await? {
                Stored::Some => return ended(planning),
                Stored::All => {}
                Stored::AllBut(unreadable, stored) => {
                    self.note_routings(run).await?;
                    if stored > 0 || self.resend {
                        enqueue_open(self.checkpoints, self.queue, &run.id).await?;
                    }
                    return Ok(PlanningEnd { planning, unreadable });
                }
            }
            self.note_routings(run).await?;
            planning = self.checkpoints.advance_planning(&run.id, planning, Planning::Messages(0)).await?;
        }
        ended(send_messages(self.checkpoints, self.queue, &run.id, planning, stop).await?)
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

    /// Notes in which indices documents have routings, which decides how all of an index are written. No worker has a chunk
    /// before that, unless shards could not be read for a while.
    async fn note_routings(&self, run: &Run) -> Result<(), StoreError> {
        let shards = self.checkpoints.shards(&run.id).await?;
        let routed: BTreeSet<String> =
            shards.into_iter().filter(|shard| shard.routed).map(|shard| shard.id.index).collect();
        match routed.is_empty() {
            true => Ok(()),
            false => self.checkpoints.amend(&run.id, &Amendment::Routed(routed)).await,
        }
    }

    /// Stores the shards that are not yet there. Those that cannot be read are tried again when all others are stored.
    async fn store_shards(&self, run: &Run, stop: &CancellationToken) -> Result<Stored, PlanningError> {
        self.still_the_same(run)?;
        let mut count = 0usize;
        let mut unreadable = Vec::new();
        for _ in 0..2 {
            unreadable.clear();
            let known: HashSet<ShardId> =
                self.checkpoints.shards(&run.id).await?.into_iter().map(|shard| shard.id).collect();
            let planned = self.outline.shards(self.repository, self.opened, run.spec.chunk_bytes, &known);
            let stored = planned
                .take_until(stop.cancelled())
                .map_err(PlanningError::Source)
                .map_ok(|planned| async move {
                    match planned {
                        Planned::Shard(shard, chunks) => {
                            self.checkpoints.add_shard(&run.id, &shard, &chunks).await?;
                            Ok(None)
                        }
                        Planned::Unreadable(shard, error) => Ok(Some((shard, clipped(&error.to_string())))),
                    }
                })
                .try_buffer_unordered(CONCURRENCY);
            let mut stored = std::pin::pin!(stored);
            while let Some(put_off) = stored.try_next().await? {
                if let Some(put_off) = put_off {
                    unreadable.push(put_off);
                    continue;
                }
                count += 1;
                if count.is_multiple_of(LOOK)
                    && self.checkpoints.control(&run.id).await?.state != RunState::Running
                {
                    return Ok(Stored::Some);
                }
            }
            if stop.is_cancelled() {
                return Ok(Stored::Some);
            }
            if unreadable.is_empty() {
                return Ok(Stored::All);
            }
        }
        unreadable.sort_unstable();
        Ok(Stored::AllBut(unreadable, count))
    }
}

/// Records which shards cannot be read, where status sees it; none removes that.
///
/// # Errors
/// When the checkpoints do not work.
pub async fn note_unreadable(
    checkpoints: &dyn Checkpoints,
    run: &RunId,
    unreadable: &[(ShardId, String)],
    now: Millis,
) -> Result<(), StoreError> {
    let wait = (!unreadable.is_empty()).then(|| Wait {
        cause: WaitCause::ShardsUnreadable,
        reason: unreadable_shards(unreadable),
        since: now,
        until: None,
    });
    checkpoints.note_wait(run, PLANNER, wait.as_ref(), now, now.saturating_add(REMEMBERED)).await
}

/// Names the shards that cannot be read, in a sentence.
fn unreadable_shards(unreadable: &[(ShardId, String)]) -> String {
    let named: Vec<String> =
        unreadable.iter().take(EXAMPLES).map(|(shard, why)| format!("{shard}: {why}")).collect();
    let more = match unreadable.len().saturating_sub(EXAMPLES) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let shards =
        if unreadable.len() == 1 { "1 shard".to_owned() } else { format!("{} shards", unreadable.len()) };
    format!(
        "{shards} cannot be read for now and will be tried again by the next start: {}{more}",
        named.join("; ")
    )
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
