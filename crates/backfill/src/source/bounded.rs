//! Metadata, read within a budget of memory.

use super::SourceError;
use crate::budget::Budget;
use crate::ports::{BlobError, Blobs};
use snapshot::error::Error;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What a file of metadata may take at first, in bytes. Nearly all take less, and many are read at once.
const SMALL: usize = 1 << 20;

/// The blobs of a repository, and how much memory their metadata may take. Clones share it.
///
/// Most files of metadata are small, and many are read at once. How large one becomes is known only when it is decompressed. So
/// each may become [`SMALL`] at first; the few that need more are read one at a time, up to the limit.
#[derive(Clone, Debug)]
pub struct BoundedBlobs {
    blobs: Arc<dyn Blobs>,
    budget: Budget,
    large: Arc<Semaphore>,
}

impl From<Arc<dyn Blobs>> for BoundedBlobs {
    fn from(blobs: Arc<dyn Blobs>) -> BoundedBlobs {
        BoundedBlobs::new(blobs, Budget::default())
    }
}

impl BoundedBlobs {
    /// These blobs within this budget.
    pub fn new(blobs: Arc<dyn Blobs>, budget: Budget) -> BoundedBlobs {
        BoundedBlobs { blobs, budget, large: Arc::new(Semaphore::new(1)) }
    }

    /// The blobs, for reading ranges.
    pub fn ranges(&self) -> &dyn Blobs {
        self.blobs.as_ref()
    }

    /// The budget.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The repository's root as the user knows it, for messages.
    pub fn location(&self) -> String {
        self.blobs.location()
    }

    /// Reads a file of metadata whole, and parses it; what was parsed, and the ETag. `parse` is given the file's name, its bytes,
    /// and how many they may become when they are decompressed.
    pub async fn read<T>(
        &self,
        path: &str,
        parse: impl Fn(&str, &[u8], usize) -> snapshot::Result<T>,
    ) -> Result<(T, String), SourceError> {
        let small = SMALL.min(self.budget.metadata);
        match self.read_within(path, small, &parse).await {
            Err(error) if is_too_large(&error) => {}
            read => return read,
        }
        // The semaphore is never closed.
        let _alone = self.large.acquire().await;
        self.read_within(path, self.budget.metadata, &parse).await
    }

    async fn read_within<T>(
        &self,
        path: &str,
        limit: usize,
        parse: impl Fn(&str, &[u8], usize) -> snapshot::Result<T>,
    ) -> Result<(T, String), SourceError> {
        let blob = self.blobs.get(path, limit).await?;
        let parsed = parse(path, &blob.bytes, limit);
        let located = |error| SourceError::Snapshot { location: self.location(), error: Box::new(error) };
        Ok((parsed.map_err(located)?, blob.etag))
    }
}

/// Whether a file needs more memory than it may take.
pub(super) fn is_too_large(error: &SourceError) -> bool {
    match error {
        SourceError::Blob(BlobError::TooLarge { .. }) => true,
        SourceError::Snapshot { error, .. } => matches!(**error, Error::TooLarge { .. }),
        _ => false,
    }
}
