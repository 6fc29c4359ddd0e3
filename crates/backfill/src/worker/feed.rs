//! A contiguous stretch of a file as a feed of bytes, fetched ahead in large ranges.

use crate::source::SourceError;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::ops::Range;

/// Fetches a range of bytes.
type Fetch = dyn Fn(Range<u64>) -> BoxFuture<'static, Result<Bytes, SourceError>> + Send;

/// Bytes of a stored-fields data file, in order, from one offset to another.
pub(super) struct Feed {
    fetch: Box<Fetch>,
    /// What is to be fetched yet.
    rest: Range<u64>,
    piece: u64,
    /// Pieces under way or there, in order.
    fetched: VecDeque<AbortOnDrop<Result<Bytes, SourceError>>>,
    current: Bytes,
}

impl Feed {
    /// Begins to fetch `range` in pieces of `piece` bytes, `ahead` of them at once (at least one). As many are under way,
    /// or there, while another one is being decoded.
    pub(super) fn new(
        range: Range<u64>,
        piece: u64,
        ahead: usize,
        fetch: impl Fn(Range<u64>) -> BoxFuture<'static, Result<Bytes, SourceError>> + Send + 'static,
    ) -> Feed {
        let mut feed = Feed {
            fetch: Box::new(fetch),
            rest: range,
            piece: piece.max(1),
            fetched: VecDeque::new(),
            current: Bytes::new(),
        };
        for _ in 0..ahead.max(1) {
            feed.begin();
        }
        feed
    }

    /// Begins to fetch the next piece, if there is one.
    fn begin(&mut self) {
        let Range { start, end } = self.rest;
        if start < end {
            let next = end.min(start.saturating_add(self.piece));
            self.rest = next..end;
            // A task of its own, so that it proceeds while the worker decodes.
            self.fetched.push_back(AbortOnDrop(tokio::spawn((self.fetch)(start..next))));
        }
    }

    /// The next `length` bytes; fewer where the range ends. Nothing is copied unless they span pieces.
    pub(super) async fn take(&mut self, length: u64) -> Result<Bytes, SourceError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if self.current.len() >= length {
            return Ok(self.current.split_to(length));
        }
        // Grows as bytes arrive: the length is only what an index said. A copy, since the few bytes that are left of a
        // piece would keep all of it in memory.
        let mut gathered = BytesMut::from(std::mem::take(&mut self.current).as_ref());
        while gathered.len() < length {
            let Some(next) = self.fetched.pop_front() else { break };
            let mut next = next.join().await?;
            // Only now, so that no more than the current piece and those ahead of it are in memory.
            self.begin();
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::{Arc, Mutex};

    const PIECE: u64 = 10;
    const AHEAD: usize = 3;

    /// A feed of the numbers from 3 on, which notes what is being fetched.
    fn feed(end: u64) -> (Feed, Arc<Mutex<Vec<u64>>>) {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let noted = begun.clone();
        let fetch = move |range: Range<u64>| {
            let noted = noted.clone();
            async move {
                noted.lock().unwrap().push(range.start);
                Ok(range.map(|n| n as u8).collect::<Bytes>())
            }
            .boxed()
        };
        (Feed::new(3..end, PIECE, AHEAD, fetch), begun)
    }

    #[tokio::test]
    async fn as_many_pieces_as_asked_for_are_under_way_while_one_is_decoded() {
        let (mut feed, begun) = feed(60);
        // The feed is not asked while the worker decodes: what proceeds then, does so by itself.
        let begun = async || {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            begun.lock().unwrap().clone()
        };
        assert_eq!(begun().await, [3, 13, 23], "three, before anything is taken");
        feed.take(1).await.unwrap();
        assert_eq!(begun().await, [3, 13, 23, 33], "three ahead of the first");
        feed.take(PIECE - 1).await.unwrap();
        assert_eq!(begun().await, [3, 13, 23, 33], "no more than three");
        feed.take(1).await.unwrap();
        assert_eq!(begun().await, [3, 13, 23, 33, 43]);
        feed.take(3 * PIECE).await.unwrap();
        assert_eq!(begun().await, [3, 13, 23, 33, 43, 53]);
    }

    #[tokio::test]
    async fn bytes_come_in_order_wherever_pieces_end() {
        for length in [1, 7, 10, 23, 200] {
            let (mut feed, _) = feed(60);
            let mut all = Vec::new();
            loop {
                let taken = feed.take(length).await.unwrap();
                all.extend_from_slice(&taken);
                if (taken.len() as u64) < length {
                    break;
                }
            }
            assert_eq!(all, (3..60).collect::<Vec<u8>>(), "{length} at once");
        }
    }

    #[tokio::test]
    async fn an_error_waits_for_its_turn() {
        let fetch = |range: Range<u64>| {
            let error = SourceError::Inconsistent { location: "here".to_owned(), what: "no".to_owned() };
            std::future::ready(if range.start == 0 { Ok(Bytes::from_static(b"0123")) } else { Err(error) })
                .boxed()
        };
        let mut feed = Feed::new(0..12, 4, AHEAD, fetch);
        assert_eq!(feed.take(4).await.unwrap(), "0123");
        assert!(feed.take(1).await.is_err());
    }
}
