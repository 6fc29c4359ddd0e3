//! The failed-document stream: what the target refused for good, kept with the reason.

use super::StoreError;
use crate::model::{ChunkId, Position, RunId, Settled};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A document (or a block of them that cannot be decoded) that did not reach the target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedDocument {
    /// Index or data stream that it was meant for.
    pub index: String,
    /// `_id`; absent where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Custom routing, if it had any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub routing: Option<String>,
    /// What happened, in words.
    pub reason: String,
    /// The kind of error: the target's own type such as `mapper_parsing_exception`, or one of ours.
    pub error_type: String,
    /// Where the document is in the snapshot: index, shard, segment and document number.
    pub origin: String,
    /// Its position in the chunk, by which repeated records are recognised.
    pub position: Position,
    /// `_source` as it was, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<Box<RawValue>>,
    /// `_source` in base 64, if it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_base64: Option<String>,
}

impl FailedDocument {
    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let texts = [&self.index, &self.reason, &self.error_type, &self.origin];
        let parts = [&self.id, &self.routing, &self.source_base64];
        size_of::<FailedDocument>()
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + parts.iter().map(|part| part.as_ref().map_or(0, String::len)).sum::<usize>()
            + self.source.as_ref().map_or(0, |source| source.get().len())
    }
}

/// Which part of the stream is meant: the failed documents between two cursors of a chunk under one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedPart {
    /// The run.
    pub run: RunId,
    /// The chunk.
    pub chunk: ChunkId,
    /// The claim's epoch: a late writer never overwrites its successor's records.
    pub epoch: u64,
    /// The cursor before which everything is already recorded.
    pub from: Position,
    /// What the retry that wrote it settled; `None` as the worker writes it. The next retry sees here what is still to
    /// be moved in the checkpoint, should this one be killed in between.
    pub settled: Option<Settled>,
}

/// A part that is stored, and how far it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Which.
    pub part: FailedPart,
    /// Records at and behind this position do not count: another part has them.
    pub end: Option<Position>,
}

/// Keeps failed documents durably, in parts. Each part is complete or not there at all. Its name, its content, and
/// which of several parts are in force, are the same for all adapters: see [`crate::failed`].
#[async_trait]
pub trait FailedDocuments: Send + Sync + std::fmt::Debug {
    /// Writes the records of a part; returns when they are durable. Writing the same part again replaces it. A part
    /// without records is kept, too: it says that what earlier claims recorded behind its beginning is void.
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError>;

    /// The parts of a chunk that are in force, see [`crate::failed::in_force`], in the order of their positions; none
    /// where none was ever written.
    async fn parts(&self, run: &RunId, chunk: &ChunkId) -> Result<Vec<StoredPart>, StoreError>;

    /// The records of a part that count. A part fits into memory: a worker had it there.
    async fn read(&self, part: &StoredPart) -> Result<Vec<FailedDocument>, StoreError>;

    /// Replaces a part by what is left of it after a retry: the records that failed again, and what was settled. First
    /// the new one is written, then the old one removed; if this is killed in between, the new one is in force.
    async fn replace(
        &self,
        part: &FailedPart,
        settled: &Settled,
        records: &[FailedDocument],
    ) -> Result<(), StoreError>;

    /// Removes everything that is kept of a run. Goes on when it is called again after it was killed; does nothing
    /// when there is nothing.
    async fn delete(&self, run: &RunId) -> Result<(), StoreError>;

    /// Where the stream of a run is, for people.
    fn location(&self, run: &RunId) -> String;
}
