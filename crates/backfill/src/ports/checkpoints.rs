//! The checkpoint store: durable records of runs, shards and chunks.

use crate::model::chunk::{ClaimRefused, WriteRefused};
use crate::model::{
    Amendment, AttemptError, Chunk, ChunkId, Counters, Finding, HandedBack, Millis, Planning, Progress,
    Reason, Run, RunId, RunState, Settled, Shard, ShardId, Wait,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::AddAssign;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write was refused by the state machine; the store is fine.
    #[error(transparent)]
    Refused(#[from] WriteRefused),
    /// There is no such record.
    #[error("{0}")]
    NotFound(String),
    /// The store cannot be reached, opened, read or written.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was being done, with the name of the store.
        what: String,
        /// What went wrong.
        reason: String,
    },
    /// A record cannot be understood: written by another version, or damaged.
    #[error("{what}: {reason}")]
    Invalid {
        /// Which record of which store.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The answer to a claim.
#[derive(Clone, Debug)]
pub enum ClaimOutcome {
    /// The chunk is this worker's, under the record's epoch.
    Granted(Box<Chunk>),
    /// It is not: done, given up, or held by another.
    Refused(ClaimRefused),
}

/// The answer to whoever would try the failed documents of a run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryLease {
    /// Nobody else may until the time that was asked for.
    Granted,
    /// Somebody else is at it.
    Held {
        /// Until then, unless they renew it.
        until: Millis,
    },
}

/// The answer to the creation of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It is stored, and the newest.
    Created,
    /// Another run was created meanwhile; nothing was stored.
    Superseded(RunId),
}

/// What the operator wants of a run, as seen by each write of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunControl {
    /// Where the run stands; anything but `Running` tells workers to hand back.
    pub state: RunState,
    /// How many workers are wanted.
    pub desired_workers: u32,
}

/// A point of the run's progress over time, from which the rate is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Millis,
    /// Documents read until then.
    pub documents: u64,
    /// Stored-field bytes consumed until then.
    pub stored_bytes: u64,
    /// Messages that were missing then, by what the queue tells: see [`missing`](crate::reconcile::missing).
    pub missing: u64,
}

/// How many shards are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCounts {
    /// All shards of the run.
    pub total: u64,
    /// Those whose chunks are all done and that have no damage.
    pub completed: u64,
    /// Those of which a chunk was claimed or done, but not all are done or given up.
    pub in_progress: u64,
    /// Those of which no chunk was ever claimed.
    pub unclaimed: u64,
}

/// An index's part of a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSummary {
    /// Name in the snapshot.
    pub index: String,
    /// Live Lucene documents by metadata.
    pub live_docs: u64,
    /// Stored-field bytes to read.
    pub stored_bytes: u64,
    /// Its shards.
    pub shards: ShardCounts,
    /// Whether part of it is damaged or cannot be read.
    #[serde(default)]
    pub broken: bool,
    /// What was counted.
    pub counters: Counters,
}

/// All that status says of a run, aggregated by the store.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run itself.
    pub run: Run,
    /// Shards by state.
    pub shards: ShardCounts,
    /// Chunks of the run.
    pub chunks_total: u64,
    /// Chunks done.
    pub chunks_done: u64,
    /// Chunks given up.
    pub chunks_failed: u64,
    /// Chunks under a lease that has not ended.
    pub chunks_leased: u64,
    /// Sums over all chunks.
    pub counters: Counters,
    /// Live Lucene documents of all shards.
    pub live_docs: u64,
    /// Segments that could not be planned and whose live documents nobody can count, so that [`Self::live_docs`] is too low.
    pub uncounted_segments: u64,
    /// Stored-field bytes of all shards.
    pub stored_bytes: u64,
    /// By index, in the run's order.
    pub indices: Vec<IndexSummary>,
    /// Shards of which not all could be planned, with the reason.
    pub damaged_shards: Vec<(ShardId, Finding)>,
    /// Errors of pending chunks whose last attempt ended with one; the first few.
    pub last_errors: Vec<(ChunkId, AttemptError)>,
    /// Chunks given up, with the error of the last attempt; the first few.
    pub given_up: Vec<(ChunkId, AttemptError)>,
    /// Recent progress, oldest first.
    pub samples: Vec<Sample>,
    /// What is waited for, by whom ever it is recorded; records that have expired are left out.
    pub waits: Vec<Wait>,
}

/// A shard with the sums of its chunks, as stores keep them.
#[derive(Clone, Debug)]
pub struct ShardSums {
    /// The shard.
    pub id: ShardId,
    /// Its live Lucene documents by metadata.
    pub live_docs: u64,
    /// Its stored-field bytes.
    pub stored_bytes: u64,
    /// Why (part of) it could not be planned.
    pub findings: Vec<Finding>,
    /// Live documents of its segments that could not be planned.
    pub damaged_docs: u64,
    /// Its segments that could not be planned and whose live documents nobody can count.
    pub uncounted_segments: u64,
    /// Its chunks.
    pub chunks: u64,
    /// Those that were ever claimed.
    pub claimed: u64,
    /// Those that are done.
    pub done: u64,
    /// Those that were given up.
    pub given_up: u64,
    /// Those with damage.
    pub damaged: u64,
    /// Sums over all of them.
    pub counters: Counters,
}

impl ShardSums {
    /// Whether part of it is damaged or cannot be read.
    fn is_broken(&self) -> bool {
        !self.findings.is_empty() || self.damaged > 0
    }

    /// The shard as part of the counts. One that is through but damaged, or given up, is in the total only.
    fn counts(&self) -> ShardCounts {
        let through = self.done.saturating_add(self.given_up) == self.chunks;
        ShardCounts {
            total: 1,
            completed: u64::from(self.done == self.chunks && !self.is_broken()),
            in_progress: u64::from(!through && self.claimed > 0),
            unclaimed: u64::from(!through && self.claimed == 0),
        }
    }
}

impl AddAssign<&ShardCounts> for ShardCounts {
    fn add_assign(&mut self, other: &ShardCounts) {
        self.total = self.total.saturating_add(other.total);
        self.completed = self.completed.saturating_add(other.completed);
        self.in_progress = self.in_progress.saturating_add(other.in_progress);
        self.unclaimed = self.unclaimed.saturating_add(other.unclaimed);
    }
}

impl Summary {
    /// Aggregates the shards of a run. What they do not tell is left empty: leases, errors, samples, and waits.
    pub fn of(run: Run, shards: impl IntoIterator<Item = ShardSums>) -> Summary {
        let indices = run.indices.iter().map(|plan| IndexSummary {
            index: plan.name.clone(),
            live_docs: 0,
            stored_bytes: 0,
            shards: ShardCounts::default(),
            broken: false,
            counters: Counters::default(),
        });
        let mut summary = Summary {
            shards: ShardCounts::default(),
            chunks_total: 0,
            chunks_done: 0,
            chunks_failed: 0,
            chunks_leased: 0,
            counters: Counters::default(),
            live_docs: 0,
            uncounted_segments: 0,
            stored_bytes: 0,
            indices: indices.collect(),
            damaged_shards: Vec::new(),
            last_errors: Vec::new(),
            given_up: Vec::new(),
            samples: Vec::new(),
            waits: Vec::new(),
            run,
        };
        let names = summary.run.indices.iter().map(|plan| plan.name.as_str());
        let by_name: HashMap<&str, usize> = names.zip(0..).collect();
        for mut shard in shards {
            shard.counters.damaged = shard.counters.damaged.saturating_add(shard.damaged_docs);
            let counts = shard.counts();
            summary.shards += &counts;
            summary.chunks_total = summary.chunks_total.saturating_add(shard.chunks);
            summary.chunks_done = summary.chunks_done.saturating_add(shard.done);
            summary.chunks_failed = summary.chunks_failed.saturating_add(shard.given_up);
            summary.counters += &shard.counters;
            summary.live_docs = summary.live_docs.saturating_add(shard.live_docs);
            summary.uncounted_segments = summary.uncounted_segments.saturating_add(shard.uncounted_segments);
            summary.stored_bytes = summary.stored_bytes.saturating_add(shard.stored_bytes);
            if let Some(at) = by_name.get(shard.id.index.as_str()) {
                let index = &mut summary.indices[*at];
                index.live_docs = index.live_docs.saturating_add(shard.live_docs);
                index.stored_bytes = index.stored_bytes.saturating_add(shard.stored_bytes);
                index.shards += &counts;
                index.broken |= shard.is_broken();
                index.counters += &shard.counters;
            }
            let findings = shard.findings.into_iter().map(|finding| (shard.id.clone(), finding));
            summary.damaged_shards.extend(findings);
        }
        summary
    }
}

/// Stores runs, shards and chunks. Each method is atomic and durable when it returns.
#[async_trait]
pub trait Checkpoints: Send + Sync + std::fmt::Debug {
    /// Stores a new run, which becomes the newest, if the newest one is still `newest` (`None`: there is none). Of
    /// several that try at once, one is [`Creation::Created`]. Creating the newest run again changes nothing.
    async fn create_run(&self, run: &Run, newest: Option<&RunId>) -> Result<Creation, StoreError>;

    /// Stores a planned shard with all its chunks, at once or (if the shard is there already) not at all. A shard
    /// that is only stored in part, as by a planner that was killed, is not there.
    async fn add_shard(&self, run: &RunId, shard: &Shard, chunks: &[Chunk]) -> Result<(), StoreError>;

    /// Records how far planning has come, if it stands at `from`; returns where it stands now.
    async fn advance_planning(
        &self,
        run: &RunId,
        from: Planning,
        to: Planning,
    ) -> Result<Planning, StoreError>;

    /// The run of this name.
    async fn run(&self, id: &RunId) -> Result<Run, StoreError>;

    /// The newest run, if there is any.
    async fn latest_run(&self) -> Result<Option<Run>, StoreError>;

    /// State and scale, cheaply.
    async fn control(&self, id: &RunId) -> Result<RunControl, StoreError>;

    /// Sets the state. `finished` is set when the state is an end, and cleared otherwise. Only a running
    /// run can be stopped: when it has ended meanwhile, nothing changes.
    async fn set_state(
        &self,
        id: &RunId,
        state: RunState,
        now: Millis,
        damage: &[String],
    ) -> Result<(), StoreError>;

    /// Sets the number of workers wanted.
    async fn set_desired_workers(&self, id: &RunId, workers: u32) -> Result<(), StoreError>;

    /// Changes the notes on a run, see [`Notes::amend`](crate::model::Notes::amend). Changes that meet are applied one after
    /// the other.
    async fn amend(&self, id: &RunId, amendment: &Amendment) -> Result<(), StoreError>;

    /// The record of a shard.
    async fn shard(&self, run: &RunId, shard: &ShardId) -> Result<Shard, StoreError>;

    /// Claims a chunk: see [`Chunk::claim`].
    async fn claim(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        owner: &str,
        now: Millis,
        until: Millis,
    ) -> Result<ClaimOutcome, StoreError>;

    /// Saves progress and renews the lease: see [`Chunk::save`].
    async fn save(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
        until: Millis,
    ) -> Result<RunControl, StoreError>;

    /// Saves progress and gives the chunk back, or up: see [`Chunk::hand_back`].
    async fn hand_back(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
        reason: &Reason,
    ) -> Result<HandedBack, StoreError>;

    /// Completes a chunk: see [`Chunk::complete`].
    async fn complete(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
    ) -> Result<(), StoreError>;

    /// Makes all chunks that were given up pending again, see [`Chunk::retry`]; returns them in their order, to be
    /// enqueued.
    async fn retry_failed(&self, run: &RunId) -> Result<Vec<ChunkId>, StoreError>;

    /// Puts all chunks of a shard back to their beginning, see [`Chunk::redo`]; they are given up until
    /// [`Checkpoints::retry_failed`]. Nobody else may work on the run meanwhile. May be called again after it was killed.
    async fn redo(&self, run: &RunId, shard: &ShardId) -> Result<(), StoreError>;

    /// Moves failed documents of a chunk that is done to the counters of those that arrived, see [`Chunk::settle`]: in
    /// one transaction those of the chunk and whatever sums are kept of it (shard, index, run). Refused with
    /// [`WriteRefused::Unsettled`] when the chunk counts another number of failed documents than the caller saw: so a
    /// retry that was killed and repeats itself moves nothing twice. [`crate::failed`] has the whole protocol.
    async fn settle(&self, run: &RunId, chunk: &ChunkId, settled: &Settled) -> Result<(), StoreError>;

    /// Takes or renews the lease of the one who may try the failed documents of a run again: `owner` has it until
    /// `until`, unless another owner has one that has not ended at `now`. Of several that ask at once, one is granted it.
    async fn hold_retry(
        &self,
        run: &RunId,
        owner: &str,
        now: Millis,
        until: Millis,
    ) -> Result<RetryLease, StoreError>;

    /// Gives that lease back; does nothing if `owner` does not have it.
    async fn release_retry(&self, run: &RunId, owner: &str) -> Result<(), StoreError>;

    /// Removes a run with its shards, chunks and samples, and its messages where the store keeps those, too. From the
    /// first step on it is gone for everyone: nothing of it is found, workers that still hold a chunk of it are
    /// answered [`StoreError::NotFound`], and the newest of the runs that are left is the newest. Goes on when it is
    /// called again after it was killed; does nothing when there is no such run. Failed documents are kept elsewhere.
    async fn delete_run(&self, run: &RunId) -> Result<(), StoreError>;

    /// All shards of a run.
    async fn shards(&self, run: &RunId) -> Result<Vec<Shard>, StoreError>;

    /// All chunks of one shard, by number.
    async fn chunks(&self, run: &RunId, shard: &ShardId) -> Result<Vec<Chunk>, StoreError>;

    /// Adds a point of progress; old ones may be dropped.
    async fn add_sample(&self, run: &RunId, sample: &Sample) -> Result<(), StoreError>;

    /// Records what `owner` waits for, which is valid until `until` and replaces what it recorded before; `None` removes
    /// that. Nothing of it is part of the run's own record.
    async fn note_wait(
        &self,
        run: &RunId,
        owner: &str,
        wait: Option<&Wait>,
        now: Millis,
        until: Millis,
    ) -> Result<(), StoreError>;

    /// Aggregates the run at `now`.
    async fn summary(&self, run: &RunId, now: Millis) -> Result<Summary, StoreError>;
}
