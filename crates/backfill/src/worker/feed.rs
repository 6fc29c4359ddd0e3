//! A contiguous stretch of a file as a feed of bytes, fetched ahead in large ranges.

use crate::source::{Segment, SourceError};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a stored-fields data file, in order, from one offset to another.
pub(super) struct Feed {
    fetched: BoxStream<'static, Result<Bytes, SourceError>>,
    current: Bytes,
}

impl Feed {
    /// Begins to fetch `range` in pieces of `piece` bytes, `ahead` of them at once.
    pub(super) fn new(segment: Arc<Segment>, range: Range<u64>, piece: u64, ahead: usize) -> Feed {
        let piece = piece.max(1);
        let count = range.end.saturating_sub(range.start).div_ceil(piece);
        let pieces = (0..count).map(move |n| {
            let start = range.start + n * piece;
            start..range.end.min(start + piece)
        });
        let fetched = futures::stream::iter(pieces)
            .map(move |piece| {
                let segment = segment.clone();
                // A task of its own, so that it proceeds while the worker decodes.
                let fetch = AbortOnDrop(tokio::spawn(async move { segment.read_data(piece).await }));
                async move { fetch.join().await }
            })
            .buffered(ahead.max(1))
            .boxed();
        Feed { fetched, current: Bytes::new() }
    }

    /// The next `length` bytes. Nothing is copied unless they span pieces.
    pub(super) async fn take(&mut self, length: u64) -> Result<Bytes, SourceError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if self.current.len() >= length {
            return Ok(self.current.split_to(length));
        }
        // Grows as bytes arrive: the length is only what an index said.
        let mut gathered = BytesMut::from(self.current.split_to(self.current.len()));
        while gathered.len() < length {
            let Some(next) = self.fetched.next().await else { break };
            let mut next = next?;
            let part = next.split_to(next.len().min(length - gathered.len()));
            gathered.extend_from_slice(&part);
            self.current = next;
        }
        Ok(gathered.freeze())
    }
}

/// A task that ends with its owner.
pub(super) struct AbortOnDrop<T>(pub(super) tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AbortOnDrop<Result<Bytes, SourceError>> {
    async fn join(mut self) -> Result<Bytes, SourceError> {
        (&mut self.0).await.unwrap_or_else(|error| {
            Err(SourceError::Inconsistent { location: "fetch".to_owned(), what: error.to_string() })
        })
    }
}
