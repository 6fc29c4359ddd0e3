//! The one message that a function was invoked with, as a queue.

use super::SqsQueue;
use async_trait::async_trait;
use backfill::model::{ChunkId, Millis, RunId};
use backfill::ports::{Message, Queue, StoreError};
use std::sync::{Arc, Mutex, PoisonError};

/// What is to become of the message when the function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Its chunk is done or given up: the function returns without naming it, so that it is deleted.
    Delete,
    /// It is to be delivered again: the function names it as failed.
    Keep,
}

/// A queue of one message, which Lambda has received already. It is never deleted from here: Lambda does that when the
/// function returns without naming it as failed.
#[derive(Clone, Debug)]
pub struct EventQueue {
    queue: SqsQueue,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    message: Option<Message>,
    delivery: Delivery,
}

impl EventQueue {
    /// The message about this chunk, with the receipt that Lambda was given for it.
    pub fn new(queue: SqsQueue, run: RunId, chunk: ChunkId, receipt: String) -> EventQueue {
        let message = Some(Message { run, chunk, receipt });
        EventQueue { queue, state: Arc::new(Mutex::new(State { message, delivery: Delivery::Keep })) }
    }

    /// What is to become of the message, by what was done so far.
    pub fn outcome(&self) -> Delivery {
        self.lock().delivery
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queue for EventQueue {
    async fn enqueue(&self, run: &RunId, chunks: &[ChunkId]) -> Result<(), StoreError> {
        self.queue.enqueue(run, chunks).await
    }

    async fn receive(&self, now: Millis, until: Millis) -> Result<Option<Message>, StoreError> {
        let _ = now;
        let Some(message) = self.lock().message.take() else { return Ok(None) };
        // Lambda has made it invisible for as long as a function may take: should this one die, others are to have
        // it when its lease ends.
        self.queue.extend(&message, until).await?;
        Ok(Some(message))
    }

    async fn extend(&self, message: &Message, until: Millis) -> Result<(), StoreError> {
        self.queue.extend(message, until).await
    }

    async fn hand_back(&self, message: &Message) -> Result<(), StoreError> {
        self.queue.hand_back(message).await
    }

    async fn delete(&self, message: &Message) -> Result<(), StoreError> {
        let _ = message;
        self.lock().delivery = Delivery::Delete;
        Ok(())
    }
}
