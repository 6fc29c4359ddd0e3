//! The queue that hands chunks to workers: at least once, in roughly their order.

use super::StoreError;
use crate::model::{ChunkId, Millis, RunId};
use async_trait::async_trait;

/// A chunk to work on, as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The run.
    pub run: RunId,
    /// The chunk.
    pub chunk: ChunkId,
    /// Names this delivery towards the queue.
    pub receipt: String,
}

/// Delivers each message at least once. A message that is neither deleted nor extended is delivered again.
#[async_trait]
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// Adds a message for each chunk, in this order.
    async fn enqueue(&self, run: &RunId, chunks: &[ChunkId]) -> Result<(), StoreError>;

    /// The next visible message, if there is one, made invisible until `until`.
    async fn receive(&self, now: Millis, until: Millis) -> Result<Option<Message>, StoreError>;

    /// Keeps a received message invisible until `until`.
    async fn extend(&self, message: &Message, until: Millis) -> Result<(), StoreError>;

    /// Makes a received message visible at once.
    async fn hand_back(&self, message: &Message) -> Result<(), StoreError>;

    /// Removes a message whose chunk is done.
    async fn delete(&self, message: &Message) -> Result<(), StoreError>;
}
