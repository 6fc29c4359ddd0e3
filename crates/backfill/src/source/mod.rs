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

use crate::model::Finding;
use crate::ports::BlobError;

/// Why the source could not be read. Each variant is a decision of the caller.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Blobs could not be fetched.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The repository's metadata is damaged, contradictory or not supported, or what was asked for is not in it.
    #[error("{location}: {error}")]
    Snapshot {
        /// The repository, or a directory in it.
        location: String,
        /// What is wrong.
        #[source]
        error: Box<snapshot::error::Error>,
    },
    /// A Lucene file is damaged, not supported, or not understood.
    #[error("{location}: {error}")]
    Lucene {
        /// The shard.
        location: String,
        /// What is wrong.
        #[source]
        error: Box<lucene::Error>,
    },
    /// Bytes that must be there are not, or are not those that the snapshot's list of files was made of.
    #[error("{location}: {what}")]
    Damaged {
        /// The file.
        location: String,
        /// What is wrong.
        what: String,
    },
    /// Something does not agree with something else.
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

    /// Whether the cause lies in the snapshot, so that trying again is pointless but other parts may be fine.
    pub fn is_of_snapshot(&self) -> bool {
        match self {
            // Too large for here, but other parts may not be.
            SourceError::Blob(BlobError::TooLarge { .. }) => true,
            SourceError::Blob(error) => blob_is_damage(error),
            _ => true,
        }
    }

    /// Whether it is proven that bytes are missing or are not those that were written.
    pub fn is_damage(&self) -> bool {
        match self {
            SourceError::Blob(error) => blob_is_damage(error),
            SourceError::Snapshot { error, .. } => error.is_damage(),
            SourceError::Lucene { error, .. } => error.is_damage(),
            SourceError::Damaged { .. } => true,
            _ => false,
        }
    }

    /// Whether the snapshot says of itself that it has a format, or a version of one, that is not known.
    pub fn is_unsupported(&self) -> bool {
        match self {
            SourceError::Snapshot { error, .. } => error.is_unsupported(),
            SourceError::Lucene { error, .. } => error.is_unsupported(),
            _ => false,
        }
    }

    /// What to report of it where other parts of the snapshot go on.
    pub fn finding(&self) -> Finding {
        if self.is_damage() {
            Finding::damaged(self.to_string())
        } else {
            Finding::unreadable(self.to_string())
        }
    }
}

/// Whether a blob error means that the snapshot is damaged, rather than that the store cannot be used.
pub fn blob_is_damage(error: &BlobError) -> bool {
    matches!(
        error,
        BlobError::NotFound { .. }
            | BlobError::Outside { .. }
            | BlobError::Changed { .. }
            | BlobError::Short { .. }
    )
}
