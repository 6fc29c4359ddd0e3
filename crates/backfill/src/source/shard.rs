//! A shard of a snapshot: named Lucene files over blobs.

use super::SourceError;
use crate::ports::Blobs;
use bytes::{Bytes, BytesMut};
use lucene::segments::SegmentInfos;
use snapshot::files::ShardFiles;
use snapshot::shard_manifest::ShardManifest;
use std::ops::Range;
use std::sync::Arc;

/// Files that are read whole may be this large: metadata of Lucene, whose size grows slowly with the segment's.
const MAX_WHOLE_FILE: u64 = 1 << 30;

/// A shard whose manifest has been read.
#[derive(Debug)]
pub struct ShardSource {
    blobs: Arc<dyn Blobs>,
    /// Its directory, relative to the repository's root.
    pub path: String,
    /// ETag of the manifest.
    pub manifest_etag: String,
    /// Its files.
    pub files: ShardFiles,
    /// Its commit.
    pub commit: SegmentInfos,
}

impl ShardSource {
    /// Reads the manifest of a shard, and the commit that it names.
    pub async fn open(
        blobs: Arc<dyn Blobs>,
        path: &str,
        snapshot_uuid: &str,
    ) -> Result<ShardSource, SourceError> {
        let manifest_path = format!("{path}/snap-{snapshot_uuid}.dat");
        let blob = blobs.get(&manifest_path).await?;
        let located = |error| SourceError::Snapshot { location: blobs.location(), error: Box::new(error) };
        let manifest = ShardManifest::parse(&manifest_path, &blob.bytes).map_err(located)?;
        let files = ShardFiles::new(&manifest_path, path, manifest).map_err(located)?;
        let name = files.commit_file().map_err(located)?.to_owned();
        let empty = SegmentInfos {
            generation: 0,
            lucene_version: Default::default(),
            index_created_major: None,
            segments: Vec::new(),
            user_data: Default::default(),
        };
        let mut shard =
            ShardSource { blobs, path: path.to_owned(), manifest_etag: blob.etag, files, commit: empty };
        let bytes = shard.read(&name).await?;
        shard.commit = SegmentInfos::parse(&name, &bytes).map_err(|e| shard.lucene(e))?;
        Ok(shard)
    }

    /// Length of a file.
    pub fn len(&self, file: &str) -> Result<u64, SourceError> {
        match self.files.get(file) {
            Some(info) => Ok(info.length),
            None => Err(self.inconsistent(file, "the snapshot's list of files lacks it")),
        }
    }

    /// Whether the snapshot lists the file.
    pub fn has(&self, file: &str) -> bool {
        self.files.get(file).is_some()
    }

    /// A range of a file.
    pub async fn read_range(&self, file: &str, range: Range<u64>) -> Result<Bytes, SourceError> {
        if let Some(inline) = self.files.inline(file) {
            let part = usize::try_from(range.start)
                .ok()
                .zip(usize::try_from(range.end).ok())
                .and_then(|(start, end)| inline.get(start..end));
            return part
                .map(Bytes::copy_from_slice)
                .ok_or_else(|| self.inconsistent(file, &format!("it does not have the bytes {range:?}")));
        }
        let parts = self
            .files
            .ranges(file, range.clone())
            .map_err(|error| SourceError::Snapshot { location: self.blobs.location(), error: Box::new(error) })?;
        // Nearly always one blob: then nothing is copied.
        if let [part] = parts.as_slice() {
            return Ok(self.blobs.get_range(&part.blob, part.range.clone(), None).await?.bytes);
        }
        let mut whole = BytesMut::new();
        for part in parts {
            whole.extend_from_slice(&self.blobs.get_range(&part.blob, part.range, None).await?.bytes);
        }
        Ok(whole.freeze())
    }

    /// A whole file; its checksum is compared with its own footer and with the snapshot's list of files.
    pub async fn read(&self, file: &str) -> Result<Bytes, SourceError> {
        let length = self.len(file)?;
        if length > MAX_WHOLE_FILE {
            return Err(self.inconsistent(file, &format!("{length} bytes are too many for a file of its kind")));
        }
        let bytes = self.read_range(file, 0..length).await?;
        let crc = lucene::codec::verify_checksum(file, &bytes).map_err(|e| self.lucene(e))?;
        self.compare_checksum(file, crc)?;
        Ok(bytes)
    }

    /// Compares the CRC-32 that a file's footer states with the snapshot's list of files.
    pub fn compare_checksum(&self, file: &str, crc: u32) -> Result<(), SourceError> {
        let listed = self.files.get(file).and_then(|info| info.checksum);
        match listed {
            Some(listed) if listed != crc => {
                let what = format!("its checksum is {crc:08x}, but the snapshot was taken with {listed:08x}");
                Err(self.inconsistent(file, &what))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn lucene(&self, error: lucene::Error) -> SourceError {
        SourceError::Lucene { location: self.location(), error: Box::new(error) }
    }

    pub(super) fn inconsistent(&self, file: &str, what: &str) -> SourceError {
        SourceError::Inconsistent { location: format!("{}/{file}", self.location()), what: what.to_owned() }
    }

    /// Where the shard is, for messages.
    pub fn location(&self) -> String {
        format!("{}/{}", self.blobs.location(), self.path)
    }
}
