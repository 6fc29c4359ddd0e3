//! The failed-document stream: what the target refused for good, kept with the reason.

use super::StoreError;
use crate::model::{ChunkId, Position, RunId};
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

/// Which part of the stream is written: the failed documents between two cursors of a chunk under one claim.
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
}

/// Keeps failed documents durably.
#[async_trait]
pub trait FailedDocuments: Send + Sync + std::fmt::Debug {
    /// Writes the records of a part; returns when they are durable. Writing the same part again replaces it.
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError>;

    /// Where the stream of a run is, for people.
    fn location(&self, run: &RunId) -> String;
}
