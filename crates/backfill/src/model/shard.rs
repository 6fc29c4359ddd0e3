//! A shard of the snapshot within a run.

use super::DocumentPlan;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a shard: the index as the snapshot names it, and the shard's number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// Name of the index in the snapshot (for a data stream, the backing index).
    pub index: String,
    /// Shard number, from 0.
    pub shard: u32,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}][{}]", self.index, self.shard)
    }
}

/// What planning found out about a shard. Immutable once stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which shard.
    pub id: ShardId,
    /// Directory of the shard in the repository, relative to its root, without a trailing slash; with a slash before
    /// it, relative to the store that the repository is in.
    pub path: String,
    /// ETag (or its like) of the shard's manifest: a worker that meets another one knows that the snapshot changed.
    pub manifest_etag: String,
    /// Live Lucene documents by the segments' metadata: maxDoc − deleted − soft-deleted, nested children included.
    pub live_docs: u64,
    /// Bytes of stored fields that its chunks will read.
    pub stored_bytes: u64,
    /// Number of its chunks.
    pub chunks: u32,
    /// Why (part of) the shard could not be planned, with the file's name. Makes the run end as damaged.
    pub damage: Option<String>,
}

/// An index of the snapshot within a run. Immutable once stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexPlan {
    /// Name in the snapshot.
    pub name: String,
    /// Index or data stream that is written to.
    pub destination: String,
    /// Whether the destination is a data stream, so that documents are written with `create`.
    pub data_stream: bool,
    /// What becomes of its documents on the way.
    #[serde(default)]
    pub documents: DocumentPlan,
    /// What the operator should know before anything runs, e.g. that documents have no `_source`.
    pub warnings: Vec<String>,
}

/// Bytes of a description of damage that are kept: names in it come from the snapshot, and may be of any length.
const MAX_DESCRIPTION: usize = 2000;

/// As much of a description as is kept.
pub fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_DESCRIPTION)].to_owned()
}
