//! Blobs as a worker reads them: small ones are kept between invocations, and all requests are counted.

use crate::metrics::Tally;
use async_trait::async_trait;
use backfill::ports::{Blob, BlobError, Blobs};
use backfill::source::blob_is_damage;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes kept, at most.
const CAPACITY: usize = 48 << 20;
/// Bytes of one blob or range that is kept, at most: metadata, and not documents.
const SMALL: u64 = 2 << 20;

type Key = (String, Option<Range<u64>>);

/// Keeps what describes shards and segments: workers read it again for each chunk of a shard. Blobs of a snapshot never
/// change (one that does is another snapshot, and its data is pinned by ETag), so what is kept cannot grow old.
#[derive(Debug)]
pub(crate) struct KeptBlobs {
    inner: Arc<dyn Blobs>,
    kept: Mutex<Kept>,
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Kept {
    blobs: HashMap<Key, Blob>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Kept {
    fn add(&mut self, key: Key, blob: Blob) {
        let size = blob.bytes.len();
        if self.blobs.contains_key(&key) {
            return;
        }
        self.bytes += size;
        self.order.push_back(key.clone());
        // What came is a view into a larger buffer, perhaps.
        let bytes = backfill::Bytes::copy_from_slice(&blob.bytes);
        self.blobs.insert(key, Blob { bytes, etag: blob.etag });
        while self.bytes > CAPACITY {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.blobs.remove(&oldest).map_or(0, |blob| blob.bytes.len());
        }
    }
}

impl KeptBlobs {
    pub(crate) fn new(inner: Arc<dyn Blobs>, tally: Arc<Tally>) -> KeptBlobs {
        KeptBlobs { inner, kept: Mutex::default(), tally }
    }

    fn kept(&self, key: &Key) -> Option<Blob> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).blobs.get(key).cloned()
    }

    /// Counts a request. Where one finds nothing, or something else than before, what is kept says nothing about now.
    fn answered(&self, answer: Result<Blob, BlobError>) -> Result<Blob, BlobError> {
        self.tally.read(answer.as_ref().map_or(0, |b| b.bytes.len()));
        if answer.as_ref().is_err_and(blob_is_damage) {
            self.forget();
        }
        answer
    }

    fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    fn keep(&self, key: Key, blob: &Blob) {
        if blob.bytes.len() as u64 <= SMALL {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).add(key, blob.clone());
        }
    }
}

#[async_trait]
impl Blobs for KeptBlobs {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn list(&self, dir: &str, limit: usize) -> Result<Vec<String>, BlobError> {
        self.tally.read(0);
        self.inner.list(dir, limit).await
    }

    async fn size(&self, path: &str) -> Result<(u64, String), BlobError> {
        self.tally.read(0);
        self.inner.size(path).await
    }

    async fn get(&self, path: &str, limit: usize) -> Result<Blob, BlobError> {
        let key = (path.to_owned(), None);
        if let Some(blob) = self.kept(&key).filter(|blob| blob.bytes.len() <= limit) {
            return Ok(blob);
        }
        let blob = self.answered(self.inner.get(path, limit).await)?;
        self.keep(key, &blob);
        Ok(blob)
    }

    async fn get_range(&self, path: &str, range: Range<u64>, etag: Option<&str>) -> Result<Blob, BlobError> {
        let small = range.end.saturating_sub(range.start) <= SMALL;
        let key = (path.to_owned(), Some(range.clone()));
        if small && let Some(blob) = self.kept(&key) {
            return match etag {
                Some(etag) if etag != blob.etag => {
                    self.forget();
                    Err(BlobError::Changed { path: path.to_owned() })
                }
                _ => Ok(blob),
            };
        }
        let blob = self.answered(self.inner.get_range(path, range, etag).await)?;
        if small {
            self.keep(key, &blob);
        }
        Ok(blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: usize = usize::MAX;

    #[derive(Debug)]
    struct Store;

    #[async_trait]
    impl Blobs for Store {
        fn location(&self) -> String {
            "store".to_owned()
        }
        async fn list(&self, _: &str, _: usize) -> Result<Vec<String>, BlobError> {
            Ok(Vec::new())
        }
        async fn size(&self, _: &str) -> Result<(u64, String), BlobError> {
            Ok((1 << 20, "1".to_owned()))
        }
        async fn get(&self, path: &str, _: usize) -> Result<Blob, BlobError> {
            if path == "missing" {
                return Err(BlobError::NotFound { path: path.to_owned() });
            }
            Ok(Blob { bytes: vec![0; 1 << 20].into(), etag: "1".to_owned() })
        }
        async fn get_range(&self, _: &str, range: Range<u64>, _: Option<&str>) -> Result<Blob, BlobError> {
            Ok(Blob { bytes: vec![0; (range.end - range.start) as usize].into(), etag: "1".to_owned() })
        }
    }

    #[tokio::test]
    async fn small_blobs_are_read_once_and_memory_stays_bounded() {
        let tally = Arc::new(Tally::default());
        let blobs = KeptBlobs::new(Arc::new(Store), tally.clone());
        for _ in 0..3 {
            blobs.get("a", ANY).await.unwrap();
            blobs.get_range("a", 5..10, Some("1")).await.unwrap();
            blobs.get_range("a", 0..SMALL + 1, None).await.unwrap();
        }
        assert_eq!(tally.reads(), 5);
        assert!(matches!(blobs.get_range("a", 5..10, Some("2")).await, Err(BlobError::Changed { .. })));
        // Once something is missing or has changed, everything is asked for again.
        let before = tally.reads();
        for (path, reads) in [("a", 1), ("a", 1), ("missing", 2), ("a", 3), ("a", 3)] {
            assert_eq!(blobs.get(path, ANY).await.is_ok(), path == "a");
            assert_eq!(tally.reads() - before, reads, "{path}");
        }
        for n in 0..100 {
            blobs.get(&n.to_string(), ANY).await.unwrap();
        }
        let kept = blobs.kept.lock().unwrap();
        assert!(kept.bytes <= CAPACITY && kept.blobs.len() == kept.order.len());
    }
}
