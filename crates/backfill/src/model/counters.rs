//! What has been counted. Counters belong to a cursor: they describe exactly the documents before it.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// Counts of a chunk, a shard, an index or a run. Every live document ends in exactly one of `indexed`,
/// `already_there`, `failed`, `nested` or `damaged`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Documents that the target acknowledged.
    pub indexed: u64,
    /// Documents written with `create` that the target already held (a replay, or an earlier run).
    pub already_there: u64,
    /// Documents kept in the failed-document stream.
    pub failed: u64,
    /// Live Lucene documents that are nested children: their parents carry them inside `_source`.
    pub nested: u64,
    /// Documents in blocks that could not be decoded. A run with any of these ends as damaged.
    pub damaged: u64,
    /// Bytes of `_source` of the documents read.
    pub source_bytes: u64,
    /// Bytes of stored-fields data consumed, as they lie in the snapshot.
    pub stored_bytes: u64,
    /// Bulk requests sent, retries included.
    pub requests: u64,
    /// Documents that the target refused for the moment and that were sent again.
    pub retries: u64,
    /// Milliseconds that workers spent on this.
    pub busy_ms: u64,
    /// Of the failed documents, those whose sources are not in the snapshot: see [`crate::limit::is_unsourced`].
    pub unsourced: u64,
}

impl Counters {
    /// Root documents read: everything but nested children and what could not be decoded.
    pub fn documents(&self) -> u64 {
        self.indexed.saturating_add(self.already_there).saturating_add(self.failed)
    }

    /// Live Lucene documents accounted for, nested children included. Comparable with a shard's live count.
    pub fn accounted(&self) -> u64 {
        self.documents().saturating_add(self.nested).saturating_add(self.damaged)
    }
}

/// Sums stay where they are at their end: a damaged record may hold any number.
impl AddAssign<&Counters> for Counters {
    fn add_assign(&mut self, other: &Counters) {
        self.indexed = self.indexed.saturating_add(other.indexed);
        self.already_there = self.already_there.saturating_add(other.already_there);
        self.failed = self.failed.saturating_add(other.failed);
        self.nested = self.nested.saturating_add(other.nested);
        self.damaged = self.damaged.saturating_add(other.damaged);
        self.source_bytes = self.source_bytes.saturating_add(other.source_bytes);
        self.stored_bytes = self.stored_bytes.saturating_add(other.stored_bytes);
        self.requests = self.requests.saturating_add(other.requests);
        self.retries = self.retries.saturating_add(other.retries);
        self.busy_ms = self.busy_ms.saturating_add(other.busy_ms);
        self.unsourced = self.unsourced.saturating_add(other.unsourced);
    }
}
