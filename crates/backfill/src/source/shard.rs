//! A shard of a snapshot: named Lucene files over blobs.

use super::{BoundedBlobs, SourceError};
use crate::budget::Budget;
use crate::ports::BlobError;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use lucene::segment_info::SegmentInfo;
use lucene::segments::{SegmentCommit, SegmentInfos};
use snapshot::files::{BlobRange, ShardFiles};
use snapshot::paths::{self, Form};
use snapshot::shard_manifest::{FileInfo, ShardManifest};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Parts of a split blob that are fetched at once.
const PARTS_AT_ONCE: usize = 4;

/// A shard whose manifest and commit have been read.
#[derive(Debug)]
pub struct ShardSource {
    /// ETag of the manifest.
    pub manifest_etag: String,
    /// Its commit.
    pub commit: SegmentInfos,
    /// Its files.
    pub store: ShardStore,
}

/// The files of a shard.
#[derive(Debug)]
pub struct ShardStore {
    blobs: BoundedBlobs,
    /// Its directory, relative to the repository's root.
    path: String,
    files: ShardFiles,
    /// ETags of blobs, as first met.
    pinned: Mutex<HashMap<String, String>>,
}

impl ShardSource {
    /// Reads the manifest of a shard, and the commit that it names.
    pub async fn open(
        blobs: impl Into<BoundedBlobs>,
        path: &str,
        snapshot_uuid: &str,
    ) -> Result<ShardSource, SourceError> {
        let blobs = blobs.into();
        let (manifest, manifest_etag) = find_manifest(&blobs, path, snapshot_uuid).await?;
        let located = |error| SourceError::Snapshot { location: blobs.location(), error: Box::new(error) };
        let files = ShardFiles::new(path, manifest);
        let name = files.segments_file().map_err(located)?.physical_name.clone();
        let store = ShardStore { blobs, path: path.to_owned(), files, pinned: Mutex::default() };
        let bytes = store.read(&name).await?;
        let commit = SegmentInfos::parse(&name, &bytes).map_err(|e| store.lucene(e))?;
        Ok(ShardSource { manifest_etag, commit, store })
    }

    /// What the `.si` file of a segment says of it.
    pub async fn segment_info(&self, commit: &SegmentCommit) -> Result<SegmentInfo, SourceError> {
        let file = commit.segment_info_file();
        let bytes = self.store.read(&file).await?;
        SegmentInfo::parse(&file, &bytes, commit).map_err(|e| self.store.lucene(e))
    }
}

/// The list of a shard's files, whatever it is called in this repository.
async fn find_manifest(
    blobs: &BoundedBlobs,
    dir: &str,
    snapshot_uuid: &str,
) -> Result<(ShardManifest, String), SourceError> {
    let usual = Form::Contained.shard_manifest(dir, snapshot_uuid);
    let missing = match blobs.read(&usual, ShardManifest::parse_with_limit).await {
        Err(error @ SourceError::Blob(BlobError::NotFound { .. })) => error,
        found => return found,
    };
    for path in [
        Form::Plain.shard_manifest(dir, snapshot_uuid),
        // Read only to be refused with the right words.
        paths::shallow_shard_manifest(dir, snapshot_uuid),
    ] {
        match blobs.read(&path, ShardManifest::parse_with_limit).await {
            Err(SourceError::Blob(BlobError::NotFound { .. })) => {}
            found => return found,
        }
    }
    Err(missing)
}

impl ShardStore {
    /// Length of a file.
    pub fn len(&self, file: &str) -> Result<u64, SourceError> {
        Ok(self.files.get(file).map_err(|e| self.snapshot(e))?.length)
    }

    /// Bytes of all files together.
    pub fn total_size(&self) -> u64 {
        self.files.manifest().files.iter().fold(0, |sum, f| sum.saturating_add(f.length))
    }

    /// A range of a file.
    pub async fn read_range(&self, file: &str, range: Range<u64>) -> Result<Bytes, SourceError> {
        if let Some(inline) = self.files.inline(file).map_err(|e| self.snapshot(e))? {
            let part = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok())
                .and_then(|(start, end)| inline.get(start..end));
            return part
                .map(Bytes::copy_from_slice)
                .ok_or_else(|| self.damaged(file, &format!("it does not have the bytes {range:?}")));
        }
        let parts = self.files.ranges(file, range).map_err(|e| self.snapshot(e))?;
        // Nearly always one blob: then nothing is copied.
        if let [part] = parts.as_slice() {
            return self.read_blob(part).await;
        }
        let mut whole = BytesMut::new();
        let mut fetched = futures::stream::iter(parts)
            .map(|part| async move { self.read_blob(&part).await })
            .buffered(PARTS_AT_ONCE);
        while let Some(part) = fetched.next().await {
            whole.extend_from_slice(&part?);
        }
        Ok(whole.freeze())
    }

    /// A range of a blob, of the version that was met first.
    async fn read_blob(&self, part: &BlobRange) -> Result<Bytes, SourceError> {
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).get(&part.blob).cloned();
        let blob = self.blobs.ranges().get_range(&part.blob, part.range.clone(), pinned.as_deref()).await?;
        if pinned.is_none() {
            let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
            let first = pinned.entry(part.blob.clone()).or_insert_with(|| blob.etag.clone());
            // Of several that were under way at once, another may have come first, with another version.
            if *first != blob.etag {
                return Err(
                    BlobError::Changed { path: format!("{}/{}", self.blobs.location(), part.blob) }.into()
                );
            }
        }
        Ok(blob.bytes)
    }

    /// A whole file; its checksum is compared with its own footer and with the snapshot's list of files.
    pub async fn read(&self, file: &str) -> Result<Bytes, SourceError> {
        let length = self.len(file)?;
        self.check_length(file, length)?;
        let bytes = self.read_range(file, 0..length).await?;
        // Before Lucene 4.8 files had no checksum of their own; their readers check what they read.
        if !self.files.get(file).map_err(|e| self.snapshot(e))?.has_footer() {
            return Ok(bytes);
        }
        let crc = lucene::codec::verify_checksum(file, &bytes).map_err(|e| self.lucene(e))?;
        self.compare_checksum(file, crc)?;
        Ok(bytes)
    }

    pub(super) fn budget(&self) -> &Budget {
        self.blobs.budget()
    }

    /// Refuses a file that is too long to be read whole.
    pub(super) fn check_length(&self, file: &str, length: u64) -> Result<(), SourceError> {
        let limit = self.blobs.budget().metadata as u64;
        if length > limit {
            return Err(SourceError::TooLarge {
                location: format!("{}/{file}", self.location()),
                len: length,
                limit,
            });
        }
        Ok(())
    }

    /// Compares the CRC-32 that a file's footer states with the snapshot's list of files.
    pub fn compare_checksum(&self, file: &str, crc: u32) -> Result<(), SourceError> {
        let listed = self.files.get(file).ok().and_then(FileInfo::crc);
        match listed {
            Some(listed) if listed != crc => {
                let what = format!("its checksum is {crc:08x}, but the snapshot was taken with {listed:08x}");
                Err(self.damaged(file, &what))
            }
            _ => Ok(()),
        }
    }

    fn snapshot(&self, error: snapshot::error::Error) -> SourceError {
        SourceError::Snapshot { location: self.blobs.location(), error: Box::new(error) }
    }

    pub(super) fn lucene(&self, error: lucene::Error) -> SourceError {
        SourceError::Lucene { location: self.location(), error: Box::new(error) }
    }

    pub(super) fn damaged(&self, file: &str, what: &str) -> SourceError {
        SourceError::Damaged { location: format!("{}/{file}", self.location()), what: what.to_owned() }
    }

    pub(super) fn inconsistent(&self, file: &str, what: &str) -> SourceError {
        SourceError::Inconsistent { location: format!("{}/{file}", self.location()), what: what.to_owned() }
    }

    /// Where the shard is, for messages.
    pub fn location(&self) -> String {
        match self.path.strip_prefix('/') {
            Some(beside) => format!("{beside}, beside {}", self.blobs.location()),
            None => format!("{}/{}", self.blobs.location(), self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Blob, Blobs};
    use async_trait::async_trait;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A store whose one blob is written again with each reading.
    #[derive(Debug, Default)]
    struct Restless(AtomicUsize);

    #[async_trait]
    impl Blobs for Restless {
        fn location(&self) -> String {
            "store".to_owned()
        }

        async fn list(&self, _: &str, _: usize) -> Result<Vec<String>, BlobError> {
            Ok(Vec::new())
        }

        async fn size(&self, _: &str) -> Result<(u64, String), BlobError> {
            Ok((0, String::new()))
        }

        async fn get(&self, path: &str, _: usize) -> Result<Blob, BlobError> {
            self.get_range(path, 0..0, None).await
        }

        async fn get_range(&self, _: &str, _: Range<u64>, _: Option<&str>) -> Result<Blob, BlobError> {
            let etag = self.0.fetch_add(1, Ordering::Relaxed).to_string();
            tokio::task::yield_now().await;
            Ok(Blob { bytes: Bytes::new(), etag })
        }
    }

    #[tokio::test]
    async fn versions_of_a_blob_are_not_mixed_by_reading_it_twice_at_once() {
        let manifest = ShardManifest {
            file: "snap-u.dat".to_owned(),
            name: "s".to_owned(),
            index_version: 1,
            files: Vec::new(),
        };
        let store = ShardStore {
            blobs: BoundedBlobs::from(Arc::new(Restless::default()) as Arc<dyn Blobs>),
            path: "indices/i/0".to_owned(),
            files: ShardFiles::new("indices/i/0", manifest),
            pinned: Mutex::default(),
        };
        let part = BlobRange { blob: "indices/i/0/__a".to_owned(), range: 0..1 };
        let (first, second) = futures::join!(store.read_blob(&part), store.read_blob(&part));
        assert!(first.is_ok());
        let error = second.unwrap_err().to_string();
        assert!(error.starts_with("store/indices/i/0/__a: changed"), "{error}");
    }
}
