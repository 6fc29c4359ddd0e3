//! The queue.

use super::create;
use async_trait::async_trait;
use backfill::model::{ChunkId, Millis};
use backfill::ports::{Checkpoints, Clock, Message, Queue, SystemClock};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time as the queue under test has it.
#[async_trait]
pub trait Time: Sync {
    /// Milliseconds that count as a moment: leases are told apart by it.
    fn moment(&self) -> Millis;

    /// What time it is.
    fn now(&self) -> Millis;

    /// Lets time pass until then.
    async fn pass_until(&self, then: Millis);
}

/// Time that passes when it is told to, for adapters that are given the time.
#[derive(Debug, Default)]
pub struct ToldTime(AtomicU64);

#[async_trait]
impl Time for ToldTime {
    fn moment(&self) -> Millis {
        1
    }

    fn now(&self) -> Millis {
        self.0.load(Ordering::SeqCst)
    }

    async fn pass_until(&self, then: Millis) {
        self.0.fetch_max(then, Ordering::SeqCst);
    }
}

/// Time as it is, for adapters of services that have clocks of their own, which count in seconds.
#[derive(Debug, Default)]
pub struct RealTime;

#[async_trait]
impl Time for RealTime {
    fn moment(&self) -> Millis {
        1500
    }

    fn now(&self) -> Millis {
        SystemClock.now()
    }

    async fn pass_until(&self, then: Millis) {
        tokio::time::sleep(Duration::from_millis(then.saturating_sub(self.now()))).await;
    }
}

/// All that the queue must do. The order of messages is not part of it.
pub async fn queue(store: &dyn Checkpoints, queue: &dyn Queue, time: &dyn Time) {
    messages_are_delivered_until_deleted(store, queue, time).await;
    a_stale_receipt_does_nothing(store, queue, time).await;
}

/// The next message. A queue that is spread over many machines may see none although there is one: it is asked again.
async fn receive(queue: &dyn Queue, now: Millis, until: Millis) -> Option<Message> {
    for _ in 0..3 {
        if let Some(message) = queue.receive(now, until).await.unwrap() {
            return Some(message);
        }
    }
    None
}

async fn receive_all(queue: &dyn Queue, now: Millis, until: Millis) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = receive(queue, now, until).await {
        messages.push(message);
    }
    messages
}

fn chunks_of(messages: &[Message]) -> BTreeSet<ChunkId> {
    messages.iter().map(|message| message.chunk.clone()).collect()
}

async fn messages_are_delivered_until_deleted(store: &dyn Checkpoints, queue: &dyn Queue, time: &dyn Time) {
    let (run, chunks) = create(store, "queue").await;
    let (long, moment) = (20 * time.moment(), time.moment());
    let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    assert_eq!(receive(queue, time.now(), time.now() + long).await, None);
    queue.enqueue(&run, &ids).await.unwrap();
    let all: BTreeSet<ChunkId> = ids.iter().cloned().collect();
    let begun = time.now();
    let end = begun + 3 * moment;
    let first = receive_all(queue, begun, end).await;
    assert_eq!(chunks_of(&first), all);
    assert!(first.iter().all(|message| message.run == run));
    assert_eq!(receive(queue, time.now(), time.now() + long).await, None);
    queue.extend(&first[0], begun + 7 * moment).await.unwrap();
    queue.delete(&first[1]).await.unwrap();
    // Nobody deleted the rest: delivered again, with receipts of their own.
    time.pass_until(end + moment).await;
    let second = receive_all(queue, time.now(), time.now() + long).await;
    assert_eq!(chunks_of(&second), chunks_of(&first[2..]));
    time.pass_until(begun + 8 * moment).await;
    let third = receive_all(queue, time.now(), time.now() + long).await;
    assert_eq!(chunks_of(&third), chunks_of(&first[..1]));
    assert_ne!(third[0].receipt, first[0].receipt);
    // Handed back: there again at once.
    queue.hand_back(&third[0]).await.unwrap();
    time.pass_until(time.now() + 1).await;
    let fourth = receive_all(queue, time.now(), time.now() + long).await;
    assert_eq!(chunks_of(&fourth), chunks_of(&third));
    for message in second.iter().chain(&fourth) {
        queue.delete(message).await.unwrap();
    }
    assert_eq!(receive(queue, time.now(), time.now() + moment).await, None);
}

async fn a_stale_receipt_does_nothing(store: &dyn Checkpoints, queue: &dyn Queue, time: &dyn Time) {
    let (run, chunks) = create(store, "receipts").await;
    let moment = time.moment();
    queue.enqueue(&run, &[chunks[0].id.clone()]).await.unwrap();
    let old = receive(queue, time.now(), time.now() + moment).await.expect("a message");
    time.pass_until(time.now() + 2 * moment).await;
    let until = time.now() + 3 * moment;
    let new = receive(queue, time.now(), until).await.expect("the message again");
    queue.delete(&old).await.unwrap();
    queue.hand_back(&old).await.unwrap();
    queue.extend(&old, until + 900 * moment).await.unwrap();
    assert_eq!(receive(queue, time.now(), until).await, None);
    time.pass_until(until + moment).await;
    let again = receive(queue, time.now(), time.now() + 20 * moment).await;
    let again = again.expect("neither deleted nor extended");
    assert_eq!(again.chunk, new.chunk);
    queue.delete(&again).await.unwrap();
    queue.delete(&again).await.unwrap();
}
