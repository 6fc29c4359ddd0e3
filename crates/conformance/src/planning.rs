//! Planning in pieces, again and by several at once.

use super::{DOCS, granted, plan, progress, store_plan};
use backfill::chunking::queue_order;
use backfill::model::{Chunk, ChunkId, Planning, Run, RunId, RunState, Shard};
use backfill::planning::send_messages;
use backfill::ports::{Checkpoints, Creation, Message, Queue, Sample, StoreError};
use backfill::reconcile::{is_lost, look, missing};
use std::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// All that the checkpoint store must do while a run is planned.
pub async fn planning(store: &dyn Checkpoints) {
    of_many_starts_one_creates_the_run(store).await;
    shards_are_stored_once(store).await;
    planning_only_goes_forward(store).await;
    messages_are_sent_once_and_in_order(store).await;
    lost_messages_are_sent_again(store).await;
}

async fn newest(store: &dyn Checkpoints) -> Option<RunId> {
    store.latest_run().await.unwrap().map(|run| run.id)
}

async fn of_many_starts_one_creates_the_run(store: &dyn Checkpoints) {
    let before = newest(store).await;
    let runs: Vec<Run> = ["start-1", "start-2", "start-3"].map(|name| plan(name, 1, 1).0).into();
    let starts = runs.iter().map(|run| store.create_run(run, before.as_ref()));
    let answers: Vec<Creation> =
        futures::future::join_all(starts).await.into_iter().map(|answer| answer.unwrap()).collect();
    let newest = newest(store).await.expect("one of them");
    for (run, answer) in runs.iter().zip(answers) {
        if run.id == newest {
            assert_eq!(answer, Creation::Created);
            // Again, as after an answer that was lost.
            assert_eq!(store.create_run(run, before.as_ref()).await.unwrap(), Creation::Created);
        } else {
            assert_eq!(answer, Creation::Superseded(newest.clone()));
            assert!(matches!(store.run(&run.id).await, Err(StoreError::NotFound(_))));
        }
    }
}

/// Enough chunks that no adapter puts them into one record.
async fn shards_are_stored_once(store: &dyn Checkpoints) {
    let (mut run, shards, chunks) = plan("shards", 1, 150);
    run.planning = Planning::Shards;
    store.create_run(&run, newest(store).await.as_ref()).await.unwrap();
    let of = |shard: &Shard| -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = chunks.iter().filter(|c| c.id.shard == shard.id).cloned().collect();
        chunks.sort_by_key(|chunk| chunk.id.number);
        chunks
    };
    assert!(store.shards(&run.id).await.unwrap().is_empty());
    let (first, second) = (of(&shards[0]), of(&shards[1]));
    let twice = [store.add_shard(&run.id, &shards[0], &first), store.add_shard(&run.id, &shards[0], &first)];
    futures::future::join_all(twice).await.into_iter().for_each(|added| added.unwrap());
    assert_eq!(store.shards(&run.id).await.unwrap(), shards[..1]);
    assert_eq!(store.chunks(&run.id, &shards[0].id).await.unwrap(), first);
    assert!(matches!(store.chunks(&run.id, &shards[1].id).await, Err(StoreError::NotFound(_))));
    // Again, when work was begun: nothing of it is lost.
    let claimed = granted(store, &run.id, &first[149].id, 0, 60).await;
    store.add_shard(&run.id, &shards[0], &first).await.unwrap();
    store.add_shard(&run.id, &shards[1], &second).await.unwrap();
    let stored = store.chunks(&run.id, &shards[0].id).await.unwrap();
    assert_eq!((&stored[..149], &stored[149]), (&first[..149], &claimed));
    let summary = store.summary(&run.id, 0).await.unwrap();
    assert_eq!((summary.chunks_total, summary.chunks_leased, summary.shards.in_progress), (300, 1, 1));
    // A chunk of another shard is a defect of the planner.
    let wrong =
        store.add_shard(&run.id, &Shard { id: shards[1].id.clone(), ..shards[0].clone() }, &first).await;
    assert!(matches!(wrong, Err(StoreError::Invalid { .. })));
    let nobody = store.add_shard(&RunId("nobody".to_owned()), &shards[0], &first).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
}

async fn planning_only_goes_forward(store: &dyn Checkpoints) {
    let (mut run, ..) = plan("forward-planning", 1, 1);
    run.planning = Planning::Shards;
    store.create_run(&run, newest(store).await.as_ref()).await.unwrap();
    let advance = |from, to| {
        let id = run.id.clone();
        async move { store.advance_planning(&id, from, to).await.unwrap() }
    };
    assert_eq!(advance(Planning::Shards, Planning::Messages(0)).await, Planning::Messages(0));
    assert_eq!(advance(Planning::Shards, Planning::Complete).await, Planning::Messages(0));
    assert_eq!(advance(Planning::Messages(0), Planning::Messages(7)).await, Planning::Messages(7));
    assert_eq!(advance(Planning::Messages(0), Planning::Messages(3)).await, Planning::Messages(7));
    assert_eq!(store.run(&run.id).await.unwrap().planning, Planning::Messages(7));
    assert_eq!(advance(Planning::Messages(7), Planning::Complete).await, Planning::Complete);
    let nobody = RunId("nobody".to_owned());
    let missing = store.advance_planning(&nobody, Planning::Shards, Planning::Complete).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
}

/// A queue that breaks after so many pages.
#[derive(Debug)]
struct Brittle {
    pages: Mutex<usize>,
    sent: Mutex<Vec<ChunkId>>,
}

#[async_trait::async_trait]
impl Queue for Brittle {
    async fn enqueue(&self, _run: &RunId, chunks: &[ChunkId]) -> Result<(), StoreError> {
        let mut pages = self.pages.lock().unwrap();
        if *pages == 0 {
            let (what, reason) = ("the queue".to_owned(), "broken".to_owned());
            return Err(StoreError::Unavailable { what, reason });
        }
        *pages -= 1;
        self.sent.lock().unwrap().extend_from_slice(chunks);
        Ok(())
    }

    async fn receive(&self, _now: u64, _until: u64) -> Result<Option<Message>, StoreError> {
        Ok(None)
    }

    async fn extend(&self, _message: &Message, _until: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hand_back(&self, _message: &Message) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, _message: &Message) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn messages_are_sent_once_and_in_order(store: &dyn Checkpoints) {
    let (mut run, shards, chunks) = plan("messages", 1, 1300);
    run.planning = Planning::Messages(0);
    store_plan(store, &run, &shards, &chunks).await;
    let queue = Brittle { pages: Mutex::new(1), sent: Mutex::default() };
    let go_on = CancellationToken::new();
    let planning = || async { store.run(&run.id).await.unwrap().planning };
    // The queue breaks after a page; a deadline comes before the next; the operator stops the run; it goes on.
    assert!(send_messages(store, &queue, &run.id, planning().await, &go_on).await.is_err());
    assert_eq!(planning().await, Planning::Messages(1000));
    *queue.pages.lock().unwrap() = 9;
    let over = CancellationToken::new();
    over.cancel();
    let at = send_messages(store, &queue, &run.id, planning().await, &over).await.unwrap();
    assert_eq!(at, Planning::Messages(1000));
    store.set_state(&run.id, RunState::Stopped, 1, &[]).await.unwrap();
    let at = send_messages(store, &queue, &run.id, at, &go_on).await.unwrap();
    assert_eq!(at, Planning::Messages(1000));
    store.set_state(&run.id, RunState::Running, 1, &[]).await.unwrap();
    let at = send_messages(store, &queue, &run.id, at, &go_on).await.unwrap();
    assert_eq!((at, planning().await), (Planning::Complete, Planning::Complete));
    let expected: Vec<ChunkId> = queue_order(&shards).collect();
    assert_eq!((queue.sent.lock().unwrap().clone(), expected.len()), (expected, 2600));
    // A planner that knows less finds out.
    let at = send_messages(store, &queue, &run.id, Planning::Messages(0), &go_on).await.unwrap();
    assert_eq!((at, queue.sent.lock().unwrap().len()), (Planning::Complete, 3600));
}

/// Four chunks, of which one is done and one is held until 60.
async fn lost_messages_are_sent_again(store: &dyn Checkpoints) {
    let (run, shards, chunks) = plan("lost", 1, 2);
    store_plan(store, &run, &shards, &chunks).await;
    let queue = Brittle { pages: Mutex::new(9), sent: Mutex::default() };
    let done = granted(store, &run.id, &chunks[1].id, 0, 60).await;
    store.complete(&run.id, &done.id, 1, &progress(&done, DOCS)).await.unwrap();
    granted(store, &run.id, &chunks[2].id, 0, 60).await;
    let id = &run.id;
    let summary = |now| async move { store.summary(id, now).await.unwrap() };
    let held = summary(59).await;
    assert_eq!([0, 1, 2, 3].map(|in_queue| missing(&held, in_queue)), [2, 1, 0, 0]);
    let ended = summary(60).await;
    assert_eq!([2, 3].map(|in_queue| missing(&ended, in_queue)), [1, 0]);
    assert!(!is_lost(&held, 0, 0, 59), "nobody has looked before");
    let sample = |at, missing| Sample { at, documents: 7, stored_bytes: 7, missing };
    for (at, missing) in [(10, 3), (20, 0), (30, 1), (40, 3)] {
        store.add_sample(id, &sample(at, missing)).await.unwrap();
    }
    // At 20 there were enough: what was seen before then is of no account.
    let watched = summary(79).await;
    assert!(!is_lost(&watched, 0, 50, 79) && is_lost(&watched, 0, 50, 80));
    assert!(is_lost(&watched, 2, 50, 80), "two of three");
    assert!(!is_lost(&watched, 3, 50, 80), "as many messages as chunks");
    assert_eq!(look(store, &queue, &watched, 2, 50, 79).await.unwrap(), 0);
    assert_eq!(look(store, &queue, &watched, 2, 50, 80).await.unwrap(), 3);
    let expected = [&chunks[0], &chunks[2], &chunks[3]].map(|chunk| chunk.id.clone());
    assert_eq!(*queue.sent.lock().unwrap(), expected);
    // What was sent is not yet counted, perhaps: it is looked at afresh, also if the queue broke half-way.
    let noted = summary(200).await.samples;
    let noted: Vec<(u64, u64)> = noted.iter().map(|sample| (sample.at, sample.missing)).collect();
    assert_eq!(noted, [(10, 3), (20, 0), (30, 1), (40, 3), (79, 1), (80, 0)]);
    assert!(!is_lost(&summary(200).await, 0, 50, 200));
    assert_eq!(look(store, &queue, &summary(100).await, 2, 50, 100).await.unwrap(), 0);
    *queue.pages.lock().unwrap() = 0;
    look(store, &queue, &summary(150).await, 2, 50, 150).await.unwrap_err();
    assert!(!is_lost(&summary(201).await, 0, 50, 201));
    store.add_sample(id, &sample(190, 1)).await.unwrap();
    assert!(is_lost(&summary(240).await, 0, 50, 240));
    store.set_state(id, RunState::Stopped, 240, &[]).await.unwrap();
    assert!(!is_lost(&summary(240).await, 0, 50, 240), "nobody is to work");
}
