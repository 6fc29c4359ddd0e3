//! The failed-document stream: how it is kept, read, and tried again.
//!
//! ## Parts
//! A worker writes the failed documents between two cursors of its chunk as one part, before the later of the cursors is
//! saved. A part is named by the claim's epoch and the earlier cursor ([`FailedPart::name`]) and holds compressed NDJSON
//! ([`encode`]). Later claims void what earlier ones recorded behind their beginning ([`in_force`]).
//!
//! ## Retry
//! The checkpoint counts failed documents, the stream keeps them, the target takes them: three stores that no
//! transaction spans. A retry goes through the chunks that are done, part by part:
//!
//! 1. It reads how many failed documents the chunk counts: `seen`.
//! 2. It sends the documents of a part, and waits until each is acknowledged or refused for good.
//! 3. It replaces the part by one with only what was refused again. The new name says what is to be moved in the
//!    checkpoint, and from which number: [`Settled`](crate::model::Settled).
//! 4. It moves these counts ([`Checkpoints::settle`](crate::ports::Checkpoints::settle)), which is refused unless the chunk
//!    still counts `seen`. The next part goes on from the new number.
//!
//! Whenever it is killed, the next one puts things right:
//!
//! | killed | then | the next retry |
//! |---|---|---|
//! | before 3 | the part still has all its documents, all counted as failed | sends them again: ids are kept, so nothing is doubled |
//! | within 3 | both parts may be there | the new one is in force: what it lacks was acknowledged |
//! | between 3 and 4 | the checkpoint counts more than the stream keeps | finds a part whose `seen` is the number that the chunk counts, and does 4 |
//! | after 4 | all agree | finds that the chunk counts less than `seen`: done already |
//!
//! A record leaves the stream only after its document was acknowledged, so none is lost; `failed` of a chunk falls with
//! each settling and never rises again, so none is counted twice. One retry at a time: it has a lease
//! ([`Checkpoints::hold_retry`](crate::ports::Checkpoints::hold_retry)), whose end another must wait for.

mod codec;
mod parts;
mod report;
pub mod retry;

pub use codec::{decode, encode};
pub use parts::{SUFFIX, in_force};
pub use report::{IndexRetry, Kind, Kinds, RetryReport};
pub use retry::{Retry, RetryError, Wanted};

use crate::model::{Chunk, ChunkState, RunId, Shard};
use crate::ports::{Checkpoints, FailedDocument, FailedDocuments, StoreError, StoredPart};
use std::collections::VecDeque;

/// Goes through the failed documents of a run, a part at a time. Tells of those before the cursors only: exactly those
/// that are counted.
#[derive(Debug)]
pub struct Reader<'a> {
    checkpoints: &'a dyn Checkpoints,
    failed: &'a dyn FailedDocuments,
    run: RunId,
    shards: VecDeque<Shard>,
    chunks: VecDeque<Chunk>,
    parts: VecDeque<(StoredPart, Option<crate::model::Position>)>,
    records: std::vec::IntoIter<FailedDocument>,
}

impl<'a> Reader<'a> {
    /// Begins to read. `wanted` says of which indices, by their names in the snapshot.
    pub async fn open(
        checkpoints: &'a dyn Checkpoints,
        failed: &'a dyn FailedDocuments,
        run: &RunId,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Reader<'a>, StoreError> {
        let mut shards: VecDeque<Shard> = checkpoints.shards(run).await?.into();
        shards.retain(|shard| wanted(&shard.id.index));
        Ok(Reader {
            checkpoints,
            failed,
            run: run.clone(),
            shards,
            chunks: VecDeque::new(),
            parts: VecDeque::new(),
            records: Vec::new().into_iter(),
        })
    }

    /// The next failed document.
    pub async fn next(&mut self) -> Result<Option<FailedDocument>, StoreError> {
        loop {
            if let Some(record) = self.records.next() {
                return Ok(Some(record));
            }
            if let Some((part, cursor)) = self.parts.pop_front() {
                let mut records = self.failed.read(&part).await?;
                records.retain(|record| cursor.is_none_or(|cursor| record.position < cursor));
                self.records = records.into_iter();
            } else if let Some(chunk) = self.chunks.pop_front() {
                // Behind the cursor of a chunk under way nothing counts yet.
                let cursor = (chunk.state != ChunkState::Done).then_some(chunk.progress.cursor);
                if chunk.progress.counters.failed > 0 {
                    let parts = self.failed.parts(&self.run, &chunk.id).await?;
                    self.parts = parts.into_iter().map(|part| (part, cursor)).collect();
                }
            } else if let Some(shard) = self.shards.pop_front() {
                self.chunks = self.checkpoints.chunks(&self.run, &shard.id).await?.into();
            } else {
                return Ok(None);
            }
        }
    }
}
