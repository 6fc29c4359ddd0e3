//! The queue.

use super::create;
use backfill::model::{ChunkId, Millis};
use backfill::ports::{Checkpoints, Message, Queue};
use std::collections::BTreeSet;

/// All that the queue must do. The order of messages is not part of it.
pub async fn queue(store: &dyn Checkpoints, queue: &dyn Queue) {
    messages_are_delivered_until_deleted(store, queue).await;
    a_stale_receipt_does_nothing(store, queue).await;
}

async fn receive_all(queue: &dyn Queue, now: Millis, until: Millis) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = queue.receive(now, until).await.unwrap() {
        messages.push(message);
    }
    messages
}

fn chunks_of(messages: &[Message]) -> BTreeSet<ChunkId> {
    messages.iter().map(|message| message.chunk.clone()).collect()
}

async fn messages_are_delivered_until_deleted(store: &dyn Checkpoints, queue: &dyn Queue) {
    let (run, chunks) = create(store, "queue").await;
    let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    assert_eq!(queue.receive(0, 60).await.unwrap(), None);
    queue.enqueue(&run, &ids[..2]).await.unwrap();
    let all: BTreeSet<ChunkId> = ids.iter().cloned().collect();
    // Again, as after a start that was killed half-way.
    queue.enqueue(&run, &ids).await.unwrap();
    let first = receive_all(queue, 0, 60).await;
    assert_eq!(chunks_of(&first), all);
    assert!(first.iter().all(|message| message.run == run));
    assert_eq!(queue.receive(59, 119).await.unwrap(), None);
    queue.extend(&first[0], 100).await.unwrap();
    queue.delete(&first[1]).await.unwrap();
    // Nobody deleted the rest: delivered again, with receipts of their own.
    let second = receive_all(queue, 60, 120).await;
    assert_eq!(chunks_of(&second), chunks_of(&first[2..]));
    let third = receive_all(queue, 100, 200).await;
    assert_eq!(chunks_of(&third), chunks_of(&first[..1]));
    assert_ne!(third[0].receipt, first[0].receipt);
    // Handed back: there again at once.
    queue.hand_back(&third[0]).await.unwrap();
    let fourth = receive_all(queue, 101, 200).await;
    assert_eq!(chunks_of(&fourth), chunks_of(&third));
    for message in second.iter().chain(&fourth) {
        queue.delete(message).await.unwrap();
    }
    assert_eq!(queue.receive(Millis::from(u32::MAX), Millis::from(u32::MAX)).await.unwrap(), None);
}

async fn a_stale_receipt_does_nothing(store: &dyn Checkpoints, queue: &dyn Queue) {
    let (run, chunks) = create(store, "receipts").await;
    queue.enqueue(&run, &[chunks[0].id.clone()]).await.unwrap();
    let old = queue.receive(0, 60).await.unwrap().expect("a message");
    let new = queue.receive(60, 120).await.unwrap().expect("the message again");
    queue.delete(&old).await.unwrap();
    queue.hand_back(&old).await.unwrap();
    queue.extend(&old, 999).await.unwrap();
    assert_eq!(queue.receive(119, 200).await.unwrap(), None);
    let again = queue.receive(120, 200).await.unwrap().expect("neither deleted nor extended");
    assert_eq!(again.chunk, new.chunk);
    queue.delete(&again).await.unwrap();
    queue.delete(&again).await.unwrap();
}
