//! A repository whose reads are counted, and slowed down if that is wanted.

use crate::Result;
use async_trait::async_trait;
use aws::{S3Blobs, S3Options};
use backfill::ports::{Blob, BlobError, Blobs};
use clap::Args;
use local::FsBlobs;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Reads blobs, and counts how often and how much.
#[derive(Debug)]
pub(crate) struct Counting {
    inner: Arc<dyn Blobs>,
    counts: Arc<Counts>,
}

/// How slow reads are made: a server on loopback answers sooner and faster than a store that is far away.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// Milliseconds that each request takes longer
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// MB a second that one request brings at most
    #[arg(long)]
    request_rate: Option<f64>,
}

impl Pace {
    /// How much longer a request for so many bytes takes.
    pub(crate) fn longer(&self, bytes: u64) -> Duration {
        let transfer = self.request_rate.map_or(0.0, |rate| bytes as f64 / 1e6 / rate);
        Duration::from_millis(self.delay_ms) + Duration::from_secs_f64(transfer)
    }

    async fn wait(&self, bytes: usize) {
        let wait = self.longer(bytes as u64);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// A range that was read: of which blob, and which.
pub(crate) type Noted = (String, Range<u64>);

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    ranges: Option<Mutex<Vec<Noted>>>,
    pace: Pace,
}

impl Counts {
    /// Counts that also note every range.
    pub(crate) fn noting() -> Counts {
        Counts { ranges: Some(Mutex::default()), ..Counts::default() }
    }

    /// Counts of reads that are made slow.
    pub(crate) fn slowed(pace: Pace) -> Counts {
        Counts { pace, ..Counts::default() }
    }

    /// The ranges that were noted.
    pub(crate) fn ranges(&self) -> Vec<Noted> {
        let noted = self.ranges.as_ref().map(|r| r.lock().unwrap_or_else(PoisonError::into_inner).clone());
        noted.unwrap_or_default()
    }

    /// Requests and bytes so far.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.requests.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// The repository in this directory or at this S3 address; where S3 is, the variables of AWS tell.
pub(crate) async fn open(location: &str, counts: Arc<Counts>) -> Result<Arc<dyn Blobs>> {
    let inner: Arc<dyn Blobs> = if location.starts_with("s3://") {
        Arc::new(S3Blobs::open(location, S3Options::default()).await?)
    } else {
        Arc::new(FsBlobs::new(location))
    };
    Ok(Arc::new(Counting { inner, counts }))
}

impl Counting {
    async fn count(
        &self,
        result: std::result::Result<Blob, BlobError>,
    ) -> std::result::Result<Blob, BlobError> {
        self.counts.requests.fetch_add(1, Relaxed);
        let bytes = result.as_ref().map_or(0, |blob| blob.bytes.len());
        self.counts.bytes.fetch_add(bytes as u64, Relaxed);
        self.counts.pace.wait(bytes).await;
        result
    }
}

#[async_trait]
impl Blobs for Counting {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn list(&self, dir: &str, limit: usize) -> std::result::Result<Vec<String>, BlobError> {
        self.counts.requests.fetch_add(1, Relaxed);
        self.counts.pace.wait(0).await;
        self.inner.list(dir, limit).await
    }

    async fn size(&self, path: &str) -> std::result::Result<(u64, String), BlobError> {
        self.counts.requests.fetch_add(1, Relaxed);
        self.counts.pace.wait(0).await;
        self.inner.size(path).await
    }

    async fn get(&self, path: &str, limit: usize) -> std::result::Result<Blob, BlobError> {
        self.count(self.inner.get(path, limit).await).await
    }

    async fn get_range(
        &self,
        path: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> std::result::Result<Blob, BlobError> {
        if let Some(ranges) = &self.counts.ranges {
            ranges.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_owned(), range.clone()));
        }
        self.count(self.inner.get_range(path, range, etag).await).await
    }
}
