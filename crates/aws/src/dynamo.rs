//! Checkpoints in one table of DynamoDB.
//!
//! | partition key | sort key | what |
//! |---|---|---|
//! | `backfill` | `RUN#`place | the list of runs, in the order of their creation |
//! | run | `CTL` | state, workers wanted, planning, who retries: small, read with each save |
//! | run | `RUN#0000`… | the rest of the run, compressed, in parts |
//! | run | `DMG`, `NTS`, `SMP` | damage; notes; points of progress |
//! | run | `WAIT#`owner | what a worker waits for; expires within a minute unless it is renewed |
//! | run`#s`k | `S#`index`#`shard | a shard as planned: written last, so it is there whole or not at all |
//! | run`#s`k | `T#`index`#`shard`#`stripe | sums of some of the shard's chunks, and the ends of their leases |
//! | run`#s`k | `E#`…, `F#`… | errors of chunks, those that were given up apart |
//! | run`#`index`#`shard | `R#`number | what never changes of a chunk |
//! | run`#`index`#`shard | `C#`number | what changes of a chunk; absent until it is claimed |
//!
//! A transition of a chunk reads `R` and `C`, applies [`backfill::model::chunk`], and writes `C` (if its revision is
//! still the one that was read) and the deltas of `T` in one transaction. So the sums are exact at any time, and a summary
//! reads shards and sums, never chunks. `k` is one of 16, by hash: no partition takes all writes. All items of a run
//! expire together, 400 days after its creation.

mod chunks;
#[cfg(test)]
mod earlier;
mod item;
mod keys;
#[cfg(test)]
mod load;
mod records;
mod runs;
mod shards;
mod summary;
mod sums;
mod table;
mod transitions;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use backfill::model::chunk::ClaimRefused;
use backfill::model::{
    Amendment, Chunk, ChunkId, ChunkState, HandedBack, Lease, Millis, Planning, Progress, Reason, Run, RunId,
    RunState, Settled, Shard, ShardId, Wait,
};
use backfill::ports::{
    Checkpoints, ClaimOutcome, Creation, RetryLease, RunControl, Sample, StoreError, Summary,
};
use futures::{StreamExt, TryStreamExt};
use table::Table;
use transitions::{Outcome, transition};

/// Chunks that are retried at once.
const RETRIES: usize = 16;

/// The checkpoint store in a table of DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoCheckpoints {
    table: Table,
}

impl DynamoCheckpoints {
    /// The store in this table, which must be there with the keys `pk` and `sk`, both texts.
    pub fn new(client: Client, table: impl Into<String>) -> DynamoCheckpoints {
        DynamoCheckpoints { table: Table { client, name: table.into() } }
    }

    /// The name of the table.
    pub fn table(&self) -> &str {
        &self.table.name
    }
}

#[async_trait]
impl Checkpoints for DynamoCheckpoints {
    async fn create_run(&self, run: &Run, newest: Option<&RunId>) -> Result<Creation, StoreError> {
        runs::create(&self.table, run, newest).await
    }

    async fn add_shard(&self, run: &RunId, shard: &Shard, chunks: &[Chunk]) -> Result<(), StoreError> {
        shards::add(&self.table, run, shard, chunks).await
    }

    async fn advance_planning(
        &self,
        run: &RunId,
        from: Planning,
        to: Planning,
    ) -> Result<Planning, StoreError> {
        runs::advance_planning(&self.table, run, from, to).await
    }

    async fn run(&self, id: &RunId) -> Result<Run, StoreError> {
        Ok(runs::read(&self.table, id).await?.run)
    }

    async fn latest_run(&self) -> Result<Option<Run>, StoreError> {
        let Some(id) = runs::latest(&self.table).await? else { return Ok(None) };
        match self.run(&id).await {
            Ok(run) => Ok(Some(run)),
            // It has expired.
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn control(&self, id: &RunId) -> Result<RunControl, StoreError> {
        runs::control(&self.table, id).await
    }

    async fn set_state(
        &self,
        id: &RunId,
        state: RunState,
        now: Millis,
        damage: &[String],
    ) -> Result<(), StoreError> {
        runs::set_state(&self.table, id, state, now, damage).await
    }

    async fn set_desired_workers(&self, id: &RunId, workers: u32) -> Result<(), StoreError> {
        runs::set_desired_workers(&self.table, id, workers).await
    }

    async fn amend(&self, id: &RunId, amendment: &Amendment) -> Result<(), StoreError> {
        runs::amend(&self.table, id, amendment).await
    }

    async fn shard(&self, run: &RunId, shard: &ShardId) -> Result<Shard, StoreError> {
        shards::read(&self.table, run, shard).await
    }

    async fn claim(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        owner: &str,
        now: Millis,
        until: Millis,
    ) -> Result<ClaimOutcome, StoreError> {
        let ours = ChunkState::Leased(Lease { owner: owner.to_owned(), until });
        let claim = |chunk: &mut Chunk, again: bool| -> Result<Result<(), ClaimRefused>, StoreError> {
            // A transaction of which nobody knew the outcome went well.
            if again && chunk.state == ours {
                return Ok(Ok(()));
            }
            Ok(chunk.claim(owner, now, until))
        };
        let Outcome { value, chunk, .. } = transition(&self.table, run, chunk, claim).await?;
        Ok(match value {
            Ok(()) => ClaimOutcome::Granted(Box::new(chunk)),
            Err(refused) => ClaimOutcome::Refused(refused),
        })
    }

    async fn save(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
        until: Millis,
    ) -> Result<RunControl, StoreError> {
        let save = |chunk: &mut Chunk, _| Ok(chunk.save(epoch, progress.clone(), until)?);
        Ok(transition(&self.table, run, chunk, save).await?.control)
    }

    async fn hand_back(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
        reason: &Reason,
    ) -> Result<HandedBack, StoreError> {
        let give = |chunk: &mut Chunk, _| Ok(chunk.hand_back(epoch, progress.clone(), reason.clone())?);
        Ok(transition(&self.table, run, chunk, give).await?.value)
    }

    async fn complete(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        epoch: u64,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let complete = |chunk: &mut Chunk, _| Ok(chunk.complete(epoch, progress.clone())?);
        transition(&self.table, run, chunk, complete).await.map(drop)
    }

    /// Chunk by chunk: what breaks off half-way has made some chunks pending that have no message yet, which the next
    /// reconciliation sends.
    async fn retry_failed(&self, run: &RunId) -> Result<Vec<ChunkId>, StoreError> {
        runs::control(&self.table, run).await?;
        let partitions: Vec<String> = (0..keys::SPREAD).map(|at| keys::spread_partition(run, at)).collect();
        let given_up = summary::errors(&self.table, &partitions, true, None).await?;
        let retries = given_up.iter().map(|(chunk, _)| async move {
            let retried = transition(&self.table, run, chunk, |chunk, _| Ok(chunk.retry())).await?;
            Ok::<_, StoreError>(retried.value.then(|| chunk.clone()))
        });
        let retries: Vec<_> = retries.collect();
        let retried: Vec<Option<ChunkId>> =
            futures::stream::iter(retries).buffered(RETRIES).try_collect().await?;
        Ok(retried.into_iter().flatten().collect())
    }

    /// Chunk by chunk: what breaks off half-way is gone on with by the next call.
    async fn redo(&self, run: &RunId, shard: &ShardId) -> Result<(), StoreError> {
        let chunks = shards::read_chunks(&self.table, run, shard).await?;
        let redone = chunks.iter().map(|chunk| async move {
            let redo = |chunk: &mut Chunk, _| {
                chunk.redo();
                Ok(())
            };
            transition(&self.table, run, &chunk.id, redo).await.map(drop)
        });
        let redone: Vec<_> = redone.collect();
        futures::stream::iter(redone).buffer_unordered(RETRIES).try_collect().await
    }

    async fn settle(&self, run: &RunId, chunk: &ChunkId, settled: &Settled) -> Result<(), StoreError> {
        let settle = |chunk: &mut Chunk, _| Ok(chunk.settle(settled)?);
        transition(&self.table, run, chunk, settle).await.map(drop)
    }

    async fn hold_retry(
        &self,
        run: &RunId,
        owner: &str,
        now: Millis,
        until: Millis,
    ) -> Result<RetryLease, StoreError> {
        runs::hold_retry(&self.table, run, owner, now, until).await
    }

    async fn release_retry(&self, run: &RunId, owner: &str) -> Result<(), StoreError> {
        runs::release_retry(&self.table, run, owner).await
    }

    async fn delete_run(&self, run: &RunId) -> Result<(), StoreError> {
        runs::unlist(&self.table, run).await?;
        shards::delete(&self.table, run).await
    }

    async fn shards(&self, run: &RunId) -> Result<Vec<Shard>, StoreError> {
        shards::read_all(&self.table, run).await
    }

    async fn chunks(&self, run: &RunId, shard: &ShardId) -> Result<Vec<Chunk>, StoreError> {
        shards::read_chunks(&self.table, run, shard).await
    }

    async fn add_sample(&self, run: &RunId, sample: &Sample) -> Result<(), StoreError> {
        runs::add_sample(&self.table, run, sample).await
    }

    async fn note_wait(
        &self,
        run: &RunId,
        owner: &str,
        wait: Option<&Wait>,
        _: Millis,
        until: Millis,
    ) -> Result<(), StoreError> {
        runs::note_wait(&self.table, run, owner, wait, until).await
    }

    async fn summary(&self, run: &RunId, now: Millis) -> Result<Summary, StoreError> {
        summary::summary(&self.table, run, now).await
    }
}
