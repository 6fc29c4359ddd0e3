//! The source: a snapshot repository opened through the [`Blobs`](crate::ports::Blobs) port.
//!
//! What the bytes mean is the business of the `snapshot` and `lucene` crates; here it is decided which bytes to fetch.

pub mod bounded;
pub mod repository;
pub mod segment;
pub mod shard;

pub use bounded::BoundedBlobs;
pub use repository::{IndexSource, OpenedSnapshot, Repository};
pub use segment::Segment;
pub use shard::ShardSource;

use crate::ports::BlobError;

/// Why the source could not be read. Each variant is a decision of the caller.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Blobs could not be fetched.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The repository's metadata is damaged, contradictory or unsupported, or what was asked for is not in it.
    #[error("{location}: {error}")]
    Snapshot {
        /// The repository, or a directory in it.
        location: String,
        /// What is wrong.
        #[source]
        error: Box<snapshot::error::Error>,
    },
    /// A Lucene file is damaged or of an unsupported format.
    #[error("{location}: {error}")]
    Lucene {
        /// The shard.
        location: String,
        /// What is wrong.
        #[source]
        error: Box<lucene::Error>,
    },
    /// Something that must be there is not, or does not agree with something else.
    #[error("{location}: {what}")]
    Inconsistent {
        /// The file or shard.
        location: String,
        /// What is wrong.
        what: String,
    },
    /// A file of a shard has more bytes than may be read at once here.
    #[error("{location}: it has {} MiB, of which at most {} may be in memory here", len >> 20, limit >> 20)]
    TooLarge {
        /// The file.
        location: String,
        /// Its length.
        len: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The place is no repository.
    #[error("{location} is not a snapshot repository: {why}")]
    NotARepository {
        /// The place.
        location: String,
        /// How that was seen.
        why: String,
    },
    /// The snapshot is not complete, and that was not allowed.
    #[error(
        "snapshot {snapshot} is {state}: {missing} of its shards are missing ({examples}); pass --allow-partial to migrate what it holds"
    )]
    Partial {
        /// Name of the snapshot.
        snapshot: String,
        /// Its state.
        state: String,
        /// How many shards it lacks.
        missing: usize,
        /// The first few of them.
        examples: String,
    },
}

impl SourceError {
    /// Whether one blob cannot be read for now, although its store answers: what does not need it goes on.
    pub fn is_of_one_blob(&self) -> bool {
        matches!(
            self,
            SourceError::Blob(
                BlobError::Denied { .. } | BlobError::Unavailable { .. } | BlobError::Unreadable { .. }
            )
        )
    }

    /// Whether the cause lies in the snapshot's bytes, so that trying again is pointless but other parts may be fine.
    pub fn is_damage(&self) -> bool {
        match self {
            // Too large for here, but other parts may not be.
            SourceError::Blob(BlobError::TooLarge { .. }) => true,
            SourceError::Blob(error) => blob_is_damage(error),
            _ => true,
        }
    }
}

/// Whether a blob error means that the snapshot is damaged, rather than that the store cannot be used.
pub fn blob_is_damage(error: &BlobError) -> bool {
    matches!(error, BlobError::NotFound { .. } | BlobError::Changed { .. } | BlobError::Short { .. })
}
