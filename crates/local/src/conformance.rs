//! What any adapter of [`Checkpoints`] and [`Queue`] must do, as functions that panic where one does not.
//!
//! Each function makes runs of its own, so the store need not be empty; the queue, however, must be.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc)]

use backfill::model::chunk::{ClaimRefused, MAX_IDLE_CLAIMS, WriteRefused};
use backfill::model::{
    AttemptError, Cause, Chunk, ChunkId, ChunkState, Counters, HandedBack, IndexPlan, Millis, Position,
    Progress, RangeCrc, Reason, Run, RunId, RunSpec, RunState, SegmentRange, Selection, Shard, ShardId,
};
use backfill::ports::{Checkpoints, ClaimOutcome, Message, Queue, Sample, ShardCounts, StoreError};
use std::collections::{BTreeMap, BTreeSet};

/// Documents of each chunk of [`plan`].
pub const DOCS: u32 = 10;

/// Stored-field bytes of each chunk of [`plan`].
pub const BYTES: u64 = 1000;

/// A run of this name over the indices `a` and `b`, each with `shards` shards of `chunks` chunks.
pub fn plan(name: &str, shards: u32, chunks: u32) -> (Run, Vec<Shard>, Vec<Chunk>) {
    let spec = RunSpec {
        repository: "/repository".to_owned(),
        snapshot: "snapshot".to_owned(),
        snapshot_uuid: "uuid".to_owned(),
        selection: Selection { patterns: "*".to_owned(), include_hidden: false },
        target: "http://target".to_owned(),
        allow_partial: false,
        chunk_bytes: BYTES,
    };
    let index = |name: &str| IndexPlan {
        name: name.to_owned(),
        destination: name.to_owned(),
        data_stream: false,
        warnings: vec![format!("a warning of {name}")],
    };
    let run = Run {
        id: RunId(name.to_owned()),
        spec,
        state: RunState::Running,
        desired_workers: 2,
        created: 1_000,
        finished: None,
        indices: vec![index("b"), index("a")],
        missing_shards: Vec::new(),
        refused: vec![("broken".to_owned(), "its metadata is missing".to_owned())],
        damage: Vec::new(),
    };
    let ids: Vec<ShardId> = ["a", "b"]
        .iter()
        .flat_map(|index| (0..shards).map(|shard| ShardId { index: (*index).to_owned(), shard }))
        .collect();
    let all_shards = ids.iter().map(|id| Shard {
        id: id.clone(),
        path: format!("indices/{}/{}", id.index, id.shard),
        manifest_etag: "etag".to_owned(),
        live_docs: u64::from(DOCS * chunks),
        stored_bytes: BYTES * u64::from(chunks),
        chunks,
        damage: None,
    });
    // Interleaved, as planning does it.
    let all_chunks = (0..chunks).flat_map(|number| ids.iter().map(move |id| (id.clone(), number)));
    let all_chunks = all_chunks.enumerate().map(|(order, (shard, number))| {
        let range = SegmentRange {
            segment: "_0".to_owned(),
            first_doc: number * DOCS,
            end_doc: (number + 1) * DOCS,
            start: u64::from(number) * BYTES,
            end: u64::from(number + 1) * BYTES,
            file_len: u64::from(chunks) * BYTES,
            file_crc: 7,
        };
        Chunk { order: order as u64, ..Chunk::new(ChunkId { shard, number }, vec![range]) }
    });
    (run, all_shards.collect(), all_chunks.collect())
}

/// The progress of a chunk of [`plan`] after `docs` of its documents.
pub fn progress(chunk: &Chunk, docs: u32) -> Progress {
    let first = chunk.ranges.first().map_or(0, |range| range.first_doc);
    let cursor = if docs >= DOCS { chunk.end() } else { Position { range: 0, doc: first + docs } };
    let docs = u64::from(docs.min(DOCS));
    Progress {
        cursor,
        counters: Counters {
            indexed: docs,
            source_bytes: docs * 200,
            stored_bytes: docs * BYTES / u64::from(DOCS),
            requests: docs,
            busy_ms: docs * 3,
            ..Counters::default()
        },
        crcs: vec![RangeCrc { crc: docs as u32, len: docs }],
        damage: Vec::new(),
    }
}

async fn create(store: &dyn Checkpoints, name: &str) -> (RunId, Vec<Chunk>) {
    let (run, shards, chunks) = plan(name, 1, 2);
    store.create_run(&run, &shards, &chunks).await.unwrap();
    (run.id, chunks)
}

/// An attempt's end with an error.
fn error(message: &str) -> Reason {
    Reason::Error(AttemptError { cause: Cause::Snapshot, message: message.to_owned() })
}

async fn granted(store: &dyn Checkpoints, run: &RunId, id: &ChunkId, now: Millis, until: Millis) -> Chunk {
    match store.claim(run, id, "owner", now, until).await.unwrap() {
        ClaimOutcome::Granted(chunk) => *chunk,
        ClaimOutcome::Refused(refused) => panic!("the claim of {id} was refused: {refused:?}"),
    }
}

async fn refused(store: &dyn Checkpoints, run: &RunId, id: &ChunkId, now: Millis) -> ClaimRefused {
    match store.claim(run, id, "another", now, now + 60).await.unwrap() {
        ClaimOutcome::Granted(chunk) => panic!("{id} was granted: {chunk:?}"),
        ClaimOutcome::Refused(refused) => refused,
    }
}

async fn stored(store: &dyn Checkpoints, run: &RunId, id: &ChunkId) -> Chunk {
    let chunks = store.chunks(run, &id.shard).await.unwrap();
    chunks.into_iter().find(|chunk| chunk.id == *id).expect("the chunk is stored")
}

/// All that the checkpoint store must do.
pub async fn checkpoints(store: &dyn Checkpoints) {
    runs_are_stored_once(store).await;
    a_lease_keeps_others_away_until_it_ends(store).await;
    a_zombie_cannot_write(store).await;
    the_cursor_only_moves_forward(store).await;
    completion_is_final(store).await;
    what_brings_nothing_is_given_up_until_it_is_retried(store).await;
    writers_see_what_the_operator_wants(store).await;
    what_is_not_there_is_not_found(store).await;
    a_summary_adds_up(store).await;
    shards_with_damage_do_not_complete(store).await;
}

/// All that the queue must do. The order of messages is not part of it.
pub async fn queue(store: &dyn Checkpoints, queue: &dyn Queue) {
    messages_are_delivered_until_deleted(store, queue).await;
    a_stale_receipt_does_nothing(store, queue).await;
}

async fn runs_are_stored_once(store: &dyn Checkpoints) {
    let (run, shards, chunks) = plan("once", 2, 3);
    store.create_run(&run, &shards, &chunks).await.unwrap();
    assert_eq!(store.run(&run.id).await.unwrap(), run);
    assert_eq!(sorted(store.shards(&run.id).await.unwrap()), sorted(shards.clone()));
    for shard in &shards {
        assert_eq!(store.shard(&run.id, &shard.id).await.unwrap(), *shard);
        let expected: Vec<Chunk> = chunks.iter().filter(|c| c.id.shard == shard.id).cloned().collect();
        assert_eq!(store.chunks(&run.id, &shard.id).await.unwrap(), expected);
    }
    // Again, after work was begun: nothing of it is lost.
    let chunk = granted(store, &run.id, &chunks[0].id, 0, 60).await;
    let other = Run { desired_workers: 99, ..run.clone() };
    store.create_run(&other, &shards, &chunks).await.unwrap();
    assert_eq!(store.run(&run.id).await.unwrap(), run);
    assert_eq!(stored(store, &run.id, &chunk.id).await, chunk);

    let (later, shards, chunks) = plan("zz-newest", 1, 1);
    store.create_run(&later, &shards, &chunks).await.unwrap();
    assert_eq!(store.latest_run().await.unwrap().map(|run| run.id), Some(later.id));
}

fn sorted(mut shards: Vec<Shard>) -> Vec<Shard> {
    shards.sort_by(|a, b| a.id.cmp(&b.id));
    shards
}

async fn a_lease_keeps_others_away_until_it_ends(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "lease").await;
    let id = &chunks[0].id;
    let chunk = granted(store, &run, id, 0, 60).await;
    assert_eq!((chunk.epoch, chunk.idle_claims), (1, 1));
    assert_eq!(stored(store, &run, id).await, chunk);
    assert_eq!(refused(store, &run, id, 59).await, ClaimRefused::Held { until: 60 });
    // Renewed by a save.
    store.save(&run, id, 1, &progress(&chunk, 2), 100).await.unwrap();
    assert_eq!(refused(store, &run, id, 99).await, ClaimRefused::Held { until: 100 });
    let chunk = granted(store, &run, id, 100, 160).await;
    assert_eq!((chunk.epoch, chunk.idle_claims), (2, 1));
    assert_eq!(chunk.progress, progress(&chunk, 2));
    // Handed back: free at once, with its error.
    let left = store.hand_back(&run, id, 2, &progress(&chunk, 3), &error("why")).await.unwrap();
    assert_eq!(left, HandedBack::Pending { idle_claims: 0 });
    let chunk = stored(store, &run, id).await;
    assert_eq!(
        (&chunk.state, chunk.last_error.map(Reason::Error)),
        (&ChunkState::Pending, Some(error("why")))
    );
    assert_eq!(granted(store, &run, id, 101, 161).await.epoch, 3);
    // The other chunk was left alone.
    assert_eq!(stored(store, &run, &chunks[1].id).await, chunks[1]);
}

async fn a_zombie_cannot_write(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "zombie").await;
    let id = &chunks[0].id;
    let chunk = granted(store, &run, id, 0, 60).await;
    granted(store, &run, id, 60, 120).await;
    let before = stored(store, &run, id).await;
    let through = progress(&chunk, DOCS);
    let lost = |result: Result<(), StoreError>| {
        let expected = WriteRefused::LeaseLost { chunk: id.clone(), held: 1, current: 2 };
        assert!(matches!(result, Err(StoreError::Refused(refused)) if refused == expected));
    };
    lost(store.save(&run, id, 1, &through, 999).await.map(drop));
    lost(store.hand_back(&run, id, 1, &through, &error("late")).await.map(drop));
    lost(store.complete(&run, id, 1, &through).await);
    assert_eq!(stored(store, &run, id).await, before);
    // Nor can one whose lease was handed back, by itself or another.
    store.hand_back(&run, id, 2, &progress(&chunk, 1), &Reason::Stopped).await.unwrap();
    let late = store.save(&run, id, 2, &through, 999).await;
    assert!(matches!(late, Err(StoreError::Refused(WriteRefused::LeaseLost { .. }))));
}

async fn the_cursor_only_moves_forward(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "forward").await;
    let id = &chunks[0].id;
    let chunk = granted(store, &run, id, 0, 60).await;
    store.save(&run, id, 1, &progress(&chunk, 5), 100).await.unwrap();
    let before = stored(store, &run, id).await;
    let back = store.save(&run, id, 1, &progress(&chunk, 4), 200).await;
    assert!(matches!(back, Err(StoreError::Refused(WriteRefused::Backward { .. }))));
    let back = store.hand_back(&run, id, 1, &progress(&chunk, 4), &Reason::TimeUp).await;
    assert!(matches!(back, Err(StoreError::Refused(WriteRefused::Backward { .. }))));
    assert_eq!(stored(store, &run, id).await, before);
}

async fn completion_is_final(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "completion").await;
    let id = &chunks[0].id;
    let chunk = granted(store, &run, id, 0, 60).await;
    let early = store.complete(&run, id, 1, &progress(&chunk, DOCS - 1)).await;
    assert!(matches!(early, Err(StoreError::Refused(WriteRefused::Incomplete { .. }))));
    store.complete(&run, id, 1, &progress(&chunk, DOCS)).await.unwrap();
    let done = stored(store, &run, id).await;
    assert_eq!((&done.state, &done.progress), (&ChunkState::Done, &progress(&chunk, DOCS)));
    assert_eq!(refused(store, &run, id, 1000).await, ClaimRefused::Done);
    let again = store.complete(&run, id, 1, &progress(&chunk, DOCS)).await;
    assert!(matches!(again, Err(StoreError::Refused(WriteRefused::LeaseLost { .. }))));
}

async fn what_brings_nothing_is_given_up_until_it_is_retried(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "poison").await;
    let (poison, crash) = (&chunks[1].id, &chunks[0].id);
    assert_eq!(store.retry_failed(&run).await.unwrap(), []);
    let chunk = granted(store, &run, poison, 0, 60).await;
    store.save(&run, poison, 1, &progress(&chunk, 2), 60).await.unwrap();
    store.hand_back(&run, poison, 1, &progress(&chunk, 2), &Reason::Stopped).await.unwrap();
    for n in 1..=MAX_IDLE_CLAIMS {
        let chunk = granted(store, &run, poison, 0, 60).await;
        let left = store.hand_back(&run, poison, chunk.epoch, &chunk.progress, &error("no")).await.unwrap();
        let pending = HandedBack::Pending { idle_claims: n };
        assert_eq!(left, if n < MAX_IDLE_CLAIMS { pending } else { HandedBack::Failed });
        // Workers that die say nothing.
        let now = Millis::from(n) * 100;
        granted(store, &run, crash, now, now + 60).await;
    }
    assert_eq!(refused(store, &run, poison, 1000).await, ClaimRefused::Failed);
    assert_eq!(refused(store, &run, crash, 1000).await, ClaimRefused::Failed);
    let summary = store.summary(&run, 1000).await.unwrap();
    assert_eq!((summary.chunks_failed, summary.chunks_done, summary.chunks_leased), (2, 0, 0));
    assert_eq!(summary.shards.in_progress, 2, "each has a chunk that is pending");
    assert_eq!(summary.given_up.iter().map(|(id, _)| id).collect::<Vec<_>>(), [crash, poison]);
    assert_eq!(summary.given_up[1].1, AttemptError { cause: Cause::Snapshot, message: "no".to_owned() });
    assert_eq!(summary.given_up[0].1.cause, Cause::Worker);
    assert!(summary.last_errors.is_empty());
    assert_eq!(summary.counters.indexed, 2);

    assert_eq!(store.retry_failed(&run).await.unwrap(), [crash.clone(), poison.clone()]);
    let summary = store.summary(&run, 1000).await.unwrap();
    assert_eq!((summary.chunks_failed, summary.given_up.len(), summary.last_errors.len()), (0, 0, 2));
    let chunk = granted(store, &run, poison, 1000, 1060).await;
    assert_eq!((chunk.idle_claims, &chunk.progress), (1, &progress(&chunk, 2)));
    store.complete(&run, poison, chunk.epoch, &progress(&chunk, DOCS)).await.unwrap();
    assert_eq!(store.retry_failed(&run).await.unwrap(), []);
}

async fn writers_see_what_the_operator_wants(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "operator").await;
    let id = &chunks[0].id;
    let chunk = granted(store, &run, id, 0, 60).await;
    store.set_desired_workers(&run, 17).await.unwrap();
    let control = store.save(&run, id, 1, &progress(&chunk, 1), 60).await.unwrap();
    assert_eq!((control.state, control.desired_workers), (RunState::Running, 17));
    store.set_state(&run, RunState::Stopped, 5, &[]).await.unwrap();
    let control = store.save(&run, id, 1, &progress(&chunk, 2), 60).await.unwrap();
    assert_eq!((control.state, control.desired_workers), (RunState::Stopped, 17));
    assert_eq!(store.control(&run).await.unwrap(), control);
    assert_eq!(store.run(&run).await.unwrap().finished, None);

    let damage = ["one".to_owned(), "two".to_owned()];
    store.set_state(&run, RunState::Damaged, 6, &damage).await.unwrap();
    let ended = store.run(&run).await.unwrap();
    assert_eq!((ended.state, ended.finished, ended.desired_workers), (RunState::Damaged, Some(6), 17));
    assert_eq!(ended.damage, damage);
    // An end came first: whoever wanted to stop the run has come too late.
    store.set_state(&run, RunState::Stopped, 7, &[]).await.unwrap();
    assert_eq!(store.run(&run).await.unwrap(), ended);
    store.set_state(&run, RunState::Running, 7, &[]).await.unwrap();
    let again = store.run(&run).await.unwrap();
    assert_eq!((again.state, again.finished), (RunState::Running, None));
    assert!(again.damage.is_empty());
}

async fn what_is_not_there_is_not_found(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "missing").await;
    let nobody = RunId("nobody".to_owned());
    let shard = ShardId { index: "a".to_owned(), shard: 99 };
    let chunk = ChunkId { number: 99, ..chunks[0].id.clone() };
    let missing = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::NotFound(_))));
    missing(store.run(&nobody).await.map(drop));
    missing(store.control(&nobody).await.map(drop));
    missing(store.set_state(&nobody, RunState::Done, 1, &[]).await);
    missing(store.set_desired_workers(&nobody, 1).await);
    missing(store.summary(&nobody, 1).await.map(drop));
    missing(store.shard(&run, &shard).await.map(drop));
    missing(store.claim(&run, &chunk, "owner", 0, 60).await.map(drop));
    missing(store.claim(&nobody, &chunks[0].id, "owner", 0, 60).await.map(drop));
    missing(store.save(&run, &chunk, 1, &Progress::default(), 60).await.map(drop));
}

async fn a_summary_adds_up(store: &dyn Checkpoints) {
    let (mut run, shards, chunks) = plan("summary", 2, 2);
    run.desired_workers = 4;
    store.create_run(&run, &shards, &chunks).await.unwrap();
    // Of index a, shard 0 is through and shard 1 begun; index b was not touched.
    let of = |shard: u32, number: u32| {
        let shard = ShardId { index: "a".to_owned(), shard };
        chunks.iter().find(|c| c.id == ChunkId { shard: shard.clone(), number }).expect("planned")
    };
    for chunk in [of(0, 0), of(0, 1)] {
        granted(store, &run.id, &chunk.id, 0, 60).await;
        store.save(&run.id, &chunk.id, 1, &progress(chunk, 4), 60).await.unwrap();
        store.complete(&run.id, &chunk.id, 1, &progress(chunk, DOCS)).await.unwrap();
    }
    let (held, failed) = (of(1, 0), of(1, 1));
    granted(store, &run.id, &held.id, 0, 60).await;
    store.save(&run.id, &held.id, 1, &progress(held, 3), 60).await.unwrap();
    granted(store, &run.id, &failed.id, 0, 60).await;
    store.hand_back(&run.id, &failed.id, 1, &progress(failed, 1), &error("no answer")).await.unwrap();
    for n in 0..4 {
        let sample = Sample { at: n * 1000, documents: n, stored_bytes: n * 10 };
        store.add_sample(&run.id, &sample).await.unwrap();
    }

    let summary = store.summary(&run.id, 59).await.unwrap();
    assert_eq!(summary.run, run);
    assert_eq!(summary.shards, ShardCounts { total: 4, completed: 1, in_progress: 1, unclaimed: 2 });
    assert_eq!((summary.chunks_total, summary.chunks_done, summary.chunks_leased), (8, 2, 1));
    assert_eq!(summary.counters.indexed, u64::from(2 * DOCS + 3 + 1));
    assert_eq!(summary.counters.busy_ms, u64::from(2 * DOCS + 3 + 1) * 3);
    assert_eq!((summary.live_docs, summary.stored_bytes), (u64::from(8 * DOCS), 8 * BYTES));
    let names: Vec<&str> = summary.indices.iter().map(|index| index.index.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(summary.indices[0].shards, ShardCounts { total: 2, unclaimed: 2, ..ShardCounts::default() });
    assert_eq!(summary.indices[0].counters, Counters::default());
    assert_eq!(summary.indices[1].counters, summary.counters);
    assert_eq!(summary.indices[1].live_docs, u64::from(4 * DOCS));
    let last_errors: Vec<_> =
        summary.last_errors.into_iter().map(|(id, why)| (id, Reason::Error(why))).collect();
    assert_eq!(last_errors, [(failed.id.clone(), error("no answer"))]);
    assert!(summary.damaged_shards.is_empty());
    assert_eq!(summary.samples.iter().map(|s| s.documents).collect::<Vec<_>>(), [0, 1, 2, 3]);
    // The lease has ended, and nobody has taken it.
    assert_eq!(store.summary(&run.id, 60).await.unwrap().chunks_leased, 0);
}

async fn shards_with_damage_do_not_complete(store: &dyn Checkpoints) {
    let (run, mut shards, chunks) = plan("damage", 1, 1);
    shards[0].damage = Some("_0.fdt is cut off".to_owned());
    store.create_run(&run, &shards, &chunks).await.unwrap();
    for chunk in &chunks {
        granted(store, &run.id, &chunk.id, 0, 60).await;
        let mut through = progress(chunk, DOCS);
        if chunk.id.shard.index == "b" {
            through.damage.push("_0.fdt: block at 17".to_owned());
        }
        store.complete(&run.id, &chunk.id, 1, &through).await.unwrap();
    }
    let summary = store.summary(&run.id, 100).await.unwrap();
    assert_eq!(summary.shards, ShardCounts { total: 2, ..ShardCounts::default() });
    assert_eq!(summary.damaged_shards, [(shards[0].id.clone(), "_0.fdt is cut off".to_owned())]);
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

/// What a worker may do to a chunk, well-behaved or not.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Claims it for this many milliseconds.
    Claim(u32),
    /// Saves after this many documents and renews for 50 ms.
    Save(u32),
    /// Hands it back after this many documents, with an error or without.
    HandBack(u32, bool),
    /// Retries what was given up.
    Retry,
    /// Completes it after this many documents.
    Complete(u32),
}

/// A step of several workers on several chunks.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Milliseconds that pass before.
    pub pass: u32,
    /// Who acts; each acts under the last epoch that it was granted.
    pub owner: u32,
    /// On which chunk of the plan.
    pub chunk: usize,
    /// What it does.
    pub action: Action,
}

/// Takes the steps on the store and on plain records with the pure transitions: all answers and all records must
/// be the same, and the summary must be the sum over the records.
pub async fn agrees_with_the_model(store: &dyn Checkpoints, name: &str, steps: &[Step]) {
    let (run, shards, chunks) = plan(name, 1, 2);
    store.create_run(&run, &shards, &chunks).await.unwrap();
    let mut model = chunks.clone();
    let mut epochs: BTreeMap<(u32, usize), u64> = BTreeMap::new();
    let mut now = 0;
    for step in steps {
        now += Millis::from(step.pass);
        let at = step.chunk % model.len();
        let (record, key) = (&mut model[at], (step.owner, at));
        let id = record.id.clone();
        let epoch = epochs.get(&key).copied().unwrap_or(0);
        let owner = format!("owner-{}", step.owner);
        match step.action {
            Action::Claim(length) => {
                let until = now + Millis::from(length);
                let expected = record.claim(&owner, now, until);
                match store.claim(&run.id, &id, &owner, now, until).await.unwrap() {
                    ClaimOutcome::Granted(chunk) => {
                        assert_eq!(expected, Ok(()));
                        assert_eq!(*chunk, *record);
                        epochs.insert(key, chunk.epoch);
                    }
                    ClaimOutcome::Refused(refused) => assert_eq!(expected, Err(refused)),
                }
            }
            Action::Save(docs) => {
                let progress = progress(record, docs);
                let expected = record.save(epoch, progress.clone(), now + 50);
                let answer = store.save(&run.id, &id, epoch, &progress, now + 50).await;
                same(expected, answer.map(drop));
            }
            Action::HandBack(docs, failed) => {
                let progress = progress(record, docs);
                let reason = if failed { error(&format!("at {now}")) } else { Reason::Stopped };
                let expected = record.hand_back(epoch, progress.clone(), reason.clone());
                same(expected, store.hand_back(&run.id, &id, epoch, &progress, &reason).await);
            }
            Action::Retry => {
                let expected: Vec<ChunkId> = model
                    .iter_mut()
                    .filter(|chunk| chunk.state == ChunkState::Failed)
                    .map(|chunk| {
                        chunk.retry();
                        chunk.id.clone()
                    })
                    .collect();
                assert_eq!(store.retry_failed(&run.id).await.unwrap(), expected);
            }
            Action::Complete(docs) => {
                let progress = progress(record, docs);
                let expected = record.complete(epoch, progress.clone());
                same(expected, store.complete(&run.id, &id, epoch, &progress).await);
            }
        }
    }
    let mut counters = Counters::default();
    for record in &model {
        assert_eq!(stored(store, &run.id, &record.id).await, *record);
        counters += &record.progress.counters;
    }
    let count = |test: &dyn Fn(&Chunk) -> bool| model.iter().filter(|chunk| test(chunk)).count() as u64;
    let summary = store.summary(&run.id, now).await.unwrap();
    assert_eq!(summary.counters, counters);
    assert_eq!(summary.chunks_done, count(&|chunk| chunk.state == ChunkState::Done));
    let leased = |chunk: &Chunk| matches!(&chunk.state, ChunkState::Leased(lease) if lease.until > now);
    assert_eq!(summary.chunks_leased, count(&leased));
    let failed = |chunk: &Chunk| chunk.state == ChunkState::Failed;
    assert_eq!(summary.chunks_failed, count(&failed));
    assert_eq!(summary.given_up.len() as u64, count(&failed));
    assert_eq!(summary.last_errors.len() as u64, count(&|c| !failed(c) && c.last_error.is_some()));
}

fn same<T: PartialEq + std::fmt::Debug>(expected: Result<T, WriteRefused>, answer: Result<T, StoreError>) {
    match (expected, answer) {
        (Ok(expected), Ok(answer)) => assert_eq!(expected, answer),
        (Err(expected), Err(StoreError::Refused(refused))) => assert_eq!(expected, refused),
        (expected, answer) => panic!("the model says {expected:?}, the store {answer:?}"),
    }
}
