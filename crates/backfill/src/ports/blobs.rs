//! Blobs: the objects of a snapshot repository.

use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;

/// Bytes of a blob and the version of the blob that they came from.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The bytes.
    pub bytes: Bytes,
    /// ETag or its like: changes when the blob's contents change.
    pub etag: String,
}

/// Why a blob could not be read. One variant for each decision of the caller.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("{path}: there is no such file")]
    NotFound {
        /// Full name of the blob.
        path: String,
    },
    /// The name leads out of the repository. Names come from the snapshot, so its contents are not those that were written, or
    /// are not to be trusted.
    #[error(
        "{path}: this name leads outside of the repository, so it is not followed; \
         the snapshot's metadata is damaged or not to be trusted"
    )]
    Outside {
        /// Name of the repository, and the name of the blob as it was asked for.
        path: String,
    },
    /// The blob is not the version that was asked for.
    #[error("{path}: changed while it was being read; the snapshot was modified or taken again")]
    Changed {
        /// Full name of the blob.
        path: String,
    },
    /// The blob is shorter than the range.
    #[error("{path}: ends before byte {end}; it has {len} bytes")]
    Short {
        /// Full name of the blob.
        path: String,
        /// End of the range that was asked for.
        end: u64,
        /// What there is.
        len: u64,
    },
    /// A blob or a list of names has more bytes than may be read at once here.
    #[error("{path}: it has {}, of which at most {} may be in memory here", amount(*len), amount(*limit))]
    TooLarge {
        /// Full name of the blob or directory.
        path: String,
        /// What there is, as far as it was counted.
        len: u64,
        /// What was allowed.
        limit: u64,
    },
    /// Credentials are missing or do not suffice.
    #[error("{path}: no permission to read it: {reason}")]
    Denied {
        /// Full name of the blob or of the repository.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// The store refuses to give this blob until somebody changes that, as one in an archive.
    #[error("{path}: cannot be read: {reason}")]
    Unreadable {
        /// Full name of the blob.
        path: String,
        /// What the store said.
        reason: String,
    },
    /// The store was waited for in vain.
    #[error("{location}: cannot be read for {} seconds: {reason}", waited.as_secs())]
    OutOfReach {
        /// The repository.
        location: String,
        /// What went wrong last.
        reason: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The store cannot be reached or does not answer properly, retries included; may pass.
    #[error("{path}: cannot be read: {reason}")]
    Unavailable {
        /// Full name of the blob or of the repository.
        path: String,
        /// What went wrong.
        reason: String,
    },
}

/// A number of bytes, for messages.
fn amount(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{bytes} bytes"),
        _ => format!("{} MiB", bytes / MIB),
    }
}

/// Reads blobs by name, relative to the root of one repository.
///
/// A name with a slash before it is relative to the store (the bucket) that the repository is in: OpenSearch may put
/// shards there. An adapter whose store is no more than the repository refuses such names.
#[async_trait]
pub trait Blobs: Send + Sync + std::fmt::Debug {
    /// The repository's root as the user knows it, for messages.
    fn location(&self) -> String;

    /// Names (relative to `dir`) of the blobs directly in `dir`; an empty `dir` is the root.
    /// An absent directory is empty, except that an absent root is `NotFound`. `TooLarge` if the names have more than `limit`
    /// bytes in all.
    async fn list(&self, dir: &str, limit: usize) -> Result<Vec<String>, BlobError>;

    /// Length and ETag of a blob.
    async fn size(&self, path: &str) -> Result<(u64, String), BlobError>;

    /// The whole blob; `TooLarge` if it has more than `limit` bytes.
    async fn get(&self, path: &str, limit: usize) -> Result<Blob, BlobError>;

    /// Exactly the bytes of `range`; `Short` if the blob ends before. With `etag`, `Changed` unless the blob has it.
    async fn get_range(&self, path: &str, range: Range<u64>, etag: Option<&str>) -> Result<Blob, BlobError>;
}
