//! The checkpoint store, but for planning.

use super::{BYTES, DOCS, create, error, granted, plan, progress, refused, store_plan, stored};
use backfill::model::chunk::{ClaimRefused, LONGEST_LEASE, MAX_IDLE_CLAIMS, WriteRefused};
use backfill::model::{
    Amendment, AttemptError, Cause, Chunk, ChunkId, ChunkState, Counters, Finding, HandedBack, Identity,
    Millis, Progress, Reason, Run, RunId, RunState, Settled, Shard, ShardId, Wait, WaitCause,
};
use backfill::ports::{Checkpoints, RetryLease, Sample, ShardCounts, StoreError};

/// All that the checkpoint store must do.
pub async fn checkpoints(store: &dyn Checkpoints) {
    runs_are_stored_once(store).await;
    a_lease_keeps_others_away_until_it_ends(store).await;
    a_lease_of_a_wrong_clock_keeps_nobody_away(store).await;
    a_zombie_cannot_write(store).await;
    the_cursor_only_moves_forward(store).await;
    completion_is_final(store).await;
    what_brings_nothing_is_given_up_until_it_is_retried(store).await;
    writers_see_what_the_operator_wants(store).await;
    what_is_not_there_is_not_found(store).await;
    a_summary_adds_up(store).await;
    shards_with_damage_do_not_complete(store).await;
    failed_documents_are_settled_once(store).await;
    notes_are_kept(store).await;
    what_is_redone_begins_anew(store).await;
    one_retries_at_a_time(store).await;
    what_is_waited_for_is_seen_until_it_is_over(store).await;
    a_deleted_run_is_gone(store).await;
}

async fn what_is_waited_for_is_seen_until_it_is_over(store: &dyn Checkpoints) {
    let ((run, _), (other, _)) = (create(store, "waiting").await, create(store, "not-waiting").await);
    let before = store.run(&run).await.unwrap();
    let wait = |reason: &str| Wait {
        cause: WaitCause::TargetUnreachable,
        reason: reason.to_owned(),
        since: 10,
        until: Some(600),
    };
    let seen = async |run: &RunId, now| {
        let mut waits = store.summary(run, now).await.unwrap().waits;
        waits.sort_by(|a, b| a.reason.cmp(&b.reason));
        waits
    };
    store.note_wait(&run, "a", Some(&wait("x")), 0, 100).await.unwrap();
    store.note_wait(&run, "b", Some(&wait("y")), 0, 60).await.unwrap();
    assert_eq!(seen(&run, 59).await, [wait("x"), wait("y")]);
    assert_eq!(seen(&run, 60).await, [wait("x")], "the other one has died");
    assert_eq!(seen(&other, 0).await, []);
    store.note_wait(&run, "a", Some(&wait("z")), 90, 160).await.unwrap();
    assert_eq!(seen(&run, 120).await, [wait("z")], "it is renewed");
    for _ in 0..2 {
        store.note_wait(&run, "a", None, 120, 180).await.unwrap();
        assert_eq!(seen(&run, 120).await, []);
    }
    assert_eq!(store.run(&run).await.unwrap(), before);
}

async fn notes_are_kept(store: &dyn Checkpoints) {
    let identity = |uuid: &str| Some(Identity::Indices([("a".to_owned(), uuid.to_owned())].into()));
    let (mut run, shards, chunks) = plan("notes", 1, 1);
    run.notes.targets = [("a".to_owned(), identity("1")), ("b".to_owned(), identity("2"))].into();
    store_plan(store, &run, &shards, &chunks).await;
    assert_eq!(store.run(&run.id).await.unwrap(), run);
    let amend = |amendment| async move { store.amend(&RunId("notes".to_owned()), &amendment).await.unwrap() };
    amend(Amendment::Targets([("a".to_owned(), None)].into())).await;
    // At the same time, as by commands in two terminals: none is lost.
    futures::future::join_all(
        (0..8).map(|n| amend(Amendment::Targets([(format!("c{n}"), identity("3"))].into()))),
    )
    .await;
    amend(Amendment::Replaced(vec!["b is gone".to_owned()])).await;
    let notes = store.run(&run.id).await.unwrap().notes;
    assert_eq!((notes.target("a"), notes.target("b")), (None, identity("2").as_ref()));
    assert!((0..8).all(|n| notes.target(&format!("c{n}")) == identity("3").as_ref()));
    assert_eq!(notes.replaced, ["b is gone"]);
    store.set_state(&run.id, RunState::Stopped, 5, &[]).await.unwrap();
    assert_eq!(store.summary(&run.id, 6).await.unwrap().run.notes, notes);
    let nobody = store.amend(&RunId("nobody".to_owned()), &Amendment::Replaced(Vec::new())).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
}

async fn what_is_redone_begins_anew(store: &dyn Checkpoints) {
    let (run, shards, chunks) = plan("redo", 1, 2);
    store_plan(store, &run, &shards, &chunks).await;
    let of = |index: &str| chunks.iter().filter(|c| c.id.shard.index == index).collect::<Vec<_>>();
    // Of index a, one chunk is done and one under way; index b is done.
    for chunk in [of("a")[0], of("b")[0], of("b")[1]] {
        granted(store, &run.id, &chunk.id, 0, 60).await;
        store.complete(&run.id, &chunk.id, 1, &progress(chunk, DOCS)).await.unwrap();
    }
    let under_way = of("a")[1];
    granted(store, &run.id, &under_way.id, 0, 60).await;
    store.save(&run.id, &under_way.id, 1, &progress(under_way, 3), 60).await.unwrap();
    for _ in 0..2 {
        store.redo(&run.id, &under_way.id.shard).await.unwrap();
    }
    let summary = store.summary(&run.id, 1).await.unwrap();
    assert_eq!((summary.chunks_done, summary.chunks_failed, summary.chunks_leased), (2, 2, 0));
    let counted = |index: &str| {
        let index = summary.indices.iter().find(|i| i.index == index).expect("planned");
        (index.counters.documents(), index.counters.stored_bytes)
    };
    assert_eq!((counted("a"), counted("b")), ((0, 0), (u64::from(2 * DOCS), 2 * BYTES)));
    let late = store.save(&run.id, &under_way.id, 1, &progress(under_way, 4), 60).await;
    assert!(matches!(late, Err(StoreError::Refused(WriteRefused::LeaseLost { .. }))));
    let again = store.retry_failed(&run.id).await.unwrap();
    assert_eq!(again.len(), 2);
    for id in &again {
        let chunk = granted(store, &run.id, id, 1, 61).await;
        assert_eq!((chunk.epoch, chunk.progress.cursor), (2, planned(&chunks, id).progress.cursor));
        store.complete(&run.id, id, 2, &progress(&chunk, DOCS)).await.unwrap();
    }
    assert_eq!(store.summary(&run.id, 2).await.unwrap().counters.documents(), u64::from(4 * DOCS));
}

fn planned<'a>(chunks: &'a [Chunk], id: &ChunkId) -> &'a Chunk {
    chunks.iter().find(|chunk| chunk.id == *id).expect("planned")
}

async fn one_retries_at_a_time(store: &dyn Checkpoints) {
    let ((run, _), (other, _)) = (create(store, "one-retry").await, create(store, "another-retry").await);
    let before = store.run(&run).await.unwrap();
    let hold = |owner: &'static str, now, until| {
        let run = run.clone();
        async move { store.hold_retry(&run, owner, now, until).await.unwrap() }
    };
    assert_eq!(hold("a", 0, 60).await, RetryLease::Granted);
    assert_eq!(hold("b", 59, 119).await, RetryLease::Held { until: 60 });
    assert_eq!(hold("a", 30, 90).await, RetryLease::Granted, "it is renewed");
    assert_eq!(hold("b", 60, 120).await, RetryLease::Held { until: 90 });
    assert_eq!(store.hold_retry(&other, "b", 60, 120).await.unwrap(), RetryLease::Granted, "another run");
    assert_eq!(hold("b", 90, 150).await, RetryLease::Granted, "that of one that was killed has ended");
    store.release_retry(&run, "a").await.unwrap();
    assert_eq!(hold("a", 100, 160).await, RetryLease::Held { until: 150 });
    for _ in 0..2 {
        store.release_retry(&run, "b").await.unwrap();
    }
    let owners = ["1", "2", "3", "4", "5", "6"];
    let answers = futures::future::join_all(owners.map(|owner| hold(owner, 100, 160))).await;
    let granted = answers.iter().filter(|answer| **answer == RetryLease::Granted).count();
    assert_eq!((granted, answers.len()), (1, owners.len()), "{answers:?}");
    assert_eq!(store.run(&run).await.unwrap(), before);
    hold("far ahead", 200, 200 + 2 * LONGEST_LEASE).await;
    assert_eq!(hold("c", 201, 261).await, RetryLease::Granted, "the clock of the former was wrong");
    let nobody = RunId("nobody".to_owned());
    assert!(matches!(store.hold_retry(&nobody, "a", 0, 60).await, Err(StoreError::NotFound(_))));
    store.release_retry(&nobody, "a").await.unwrap();
}

async fn runs_are_stored_once(store: &dyn Checkpoints) {
    let (run, shards, chunks) = plan("once", 2, 3);
    store_plan(store, &run, &shards, &chunks).await;
    assert_eq!(store.run(&run.id).await.unwrap(), run);
    assert_eq!(sorted(store.shards(&run.id).await.unwrap()), sorted(shards.clone()));
    for shard in &shards {
        assert_eq!(store.shard(&run.id, &shard.id).await.unwrap(), *shard);
        let mut expected: Vec<Chunk> = chunks.iter().filter(|c| c.id.shard == shard.id).cloned().collect();
        expected.sort_by_key(|chunk| chunk.id.number);
        assert_eq!(store.chunks(&run.id, &shard.id).await.unwrap(), expected);
    }
    // Again, after work was begun: nothing of it is lost.
    let chunk = granted(store, &run.id, &chunks[0].id, 0, 60).await;
    let other = Run { desired_workers: 99, ..run.clone() };
    store_plan(store, &other, &shards, &chunks).await;
    assert_eq!(store.run(&run.id).await.unwrap(), run);
    assert_eq!(stored(store, &run.id, &chunk.id).await, chunk);

    let (later, shards, chunks) = plan("zz-newest", 1, 1);
    store_plan(store, &later, &shards, &chunks).await;
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

async fn a_lease_of_a_wrong_clock_keeps_nobody_away(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "wrong-clock").await;
    let (chunk, hours) = (&chunks[0], 2 * 3_600_000);
    // Taken by a machine whose clock is ahead, or the clock has been set back since.
    granted(store, &run, &chunk.id, 1000 + hours, 1060 + hours).await;
    assert_eq!(store.summary(&run, 1000).await.unwrap().chunks_leased, 0);
    assert_eq!(granted(store, &run, &chunk.id, 1000, 1060).await.epoch, 2);
    let late = store.save(&run, &chunk.id, 1, &progress(chunk, 1), 1120 + hours).await;
    assert!(matches!(late, Err(StoreError::Refused(_))), "{late:?}");
    // Taken by one whose clock is behind: others look only when the queue lets them.
    assert_eq!(granted(store, &run, &chunk.id, 1000 + hours, 1060 + hours).await.epoch, 3);
    store.save(&run, &chunk.id, 3, &progress(chunk, 1), 1120 + hours).await.unwrap();
    refused(store, &run, &chunk.id, 1100 + hours).await;
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
    assert_eq!(summary.counters.documents(), 2);

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
    store_plan(store, &run, &shards, &chunks).await;
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
        let sample = Sample { at: n * 1000, documents: n, stored_bytes: n * 10, missing: n * 100 };
        store.add_sample(&run.id, &sample).await.unwrap();
    }

    let summary = store.summary(&run.id, 59).await.unwrap();
    assert_eq!(summary.run, run);
    assert_eq!(summary.shards, ShardCounts { total: 4, completed: 1, in_progress: 1, unclaimed: 2 });
    assert_eq!((summary.chunks_total, summary.chunks_done, summary.chunks_leased), (8, 2, 1));
    assert_eq!(summary.counters.documents(), u64::from(2 * DOCS + 3 + 1));
    assert_eq!(summary.counters.failed, u64::from(2 * DOCS / 5));
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
    shards[0].live_docs = 0;
    shards[0].lose_segment("_0", Some(17), &Finding::damaged("_0.fdt is cut off"));
    shards[0].lose_segment("_1", None, &Finding::damaged("_1.si is cut off"));
    shards[0].lose_segment("_2", Some(0), &Finding::unreadable("_2.si has version 99"));
    store_plan(store, &run, &shards, &chunks).await;
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
    let damaged = "segment _0 (17 documents): _0.fdt is cut off; segment _1 (an unknown number of documents): \
                   _1.si is cut off";
    let unreadable = "segment _2 (0 documents): _2.si has version 99";
    let findings = [Finding::damaged(damaged), Finding::unreadable(unreadable)];
    assert_eq!(summary.damaged_shards, findings.map(|finding| (shards[0].id.clone(), finding)));
    let lost = summary.indices.iter().find(|index| index.index == shards[0].id.index).unwrap();
    assert_eq!((lost.counters.damaged, lost.live_docs), (17, 17));
    assert_eq!((summary.counters.damaged, summary.uncounted_segments), (17, 1));
}

async fn failed_documents_are_settled_once(store: &dyn Checkpoints) {
    let (run, chunks) = create(store, "settled").await;
    let (id, other) = (&chunks[0].id, &chunks[1].id);
    let chunk = granted(store, &run, id, 0, 60).await;
    granted(store, &run, other, 0, 60).await;
    let failed = u64::from(DOCS / 5);
    let settled = Settled { seen: failed, indexed: 1, already_there: 0 };
    let refused = |result: Result<(), StoreError>| match result {
        Err(StoreError::Refused(WriteRefused::Unsettled { failed, .. })) => failed,
        other => panic!("{other:?}"),
    };
    store.save(&run, id, 1, &progress(&chunk, DOCS), 60).await.unwrap();
    assert_eq!(refused(store.settle(&run, id, &settled).await), failed, "not done");
    store.complete(&run, id, 1, &progress(&chunk, DOCS)).await.unwrap();
    store.complete(&run, other, 1, &progress(&chunks[1], DOCS)).await.unwrap();
    let before = store.summary(&run, 100).await.unwrap();
    for wrong in [
        Settled { seen: failed + 1, ..settled },
        Settled { seen: failed - 1, ..settled },
        Settled { indexed: failed, already_there: 1, ..settled },
    ] {
        assert_eq!(refused(store.settle(&run, id, &wrong).await), failed, "{wrong:?}");
    }
    store.settle(&run, id, &settled).await.unwrap();
    // Again, as after it was killed: nothing is moved twice.
    assert_eq!(refused(store.settle(&run, id, &settled).await), failed - 1);
    store.settle(&run, id, &Settled { seen: failed - 1, indexed: 0, already_there: 1 }).await.unwrap();

    let counters = stored(store, &run, id).await.progress.counters;
    let expected = Counters {
        indexed: u64::from(DOCS) - failed + 1,
        already_there: 1,
        failed: failed - 2,
        ..progress(&chunk, DOCS).counters
    };
    assert_eq!(counters, expected);
    assert_eq!(stored(store, &run, other).await.progress, progress(&chunks[1], DOCS));
    let after = store.summary(&run, 100).await.unwrap();
    let expected = Counters {
        indexed: before.counters.indexed + 1,
        already_there: 1,
        failed: before.counters.failed - 2,
        ..before.counters
    };
    assert_eq!((after.counters, after.shards), (expected, before.shards));
    let index = |summary: &backfill::ports::Summary, name: &str| {
        summary.indices.iter().find(|index| index.index == name).expect("an index").counters
    };
    let (mine, theirs) = (id.shard.index.as_str(), if id.shard.index == "a" { "b" } else { "a" });
    assert_eq!(index(&after, mine).failed, index(&before, mine).failed - 2);
    assert_eq!(index(&after, theirs), index(&before, theirs));

    let nowhere = ChunkId { number: 99, ..id.clone() };
    let missing = store.settle(&run, &nowhere, &settled).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
    let missing = store.settle(&RunId("nobody".to_owned()), id, &settled).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
}

async fn a_deleted_run_is_gone(store: &dyn Checkpoints) {
    let (kept, kept_chunks) = create(store, "zzz-kept").await;
    let held = granted(store, &kept, &kept_chunks[0].id, 0, 60).await;
    let (run, shards, chunks) = plan("zzz-deleted", 2, 3);
    store_plan(store, &run, &shards, &chunks).await;
    let id = &chunks[0].id;
    let chunk = granted(store, &run.id, id, 0, 60).await;
    store.save(&run.id, id, 1, &progress(&chunk, 5), 60).await.unwrap();
    store.add_sample(&run.id, &Sample { at: 1, documents: 5, stored_bytes: 5, missing: 0 }).await.unwrap();

    store.delete_run(&run.id).await.unwrap();
    store.delete_run(&run.id).await.unwrap();
    store.delete_run(&RunId("nobody".to_owned())).await.unwrap();
    let missing = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::NotFound(_))));
    missing(store.run(&run.id).await.map(drop));
    missing(store.control(&run.id).await.map(drop));
    missing(store.summary(&run.id, 1).await.map(drop));
    missing(store.shard(&run.id, &id.shard).await.map(drop));
    missing(store.chunks(&run.id, &id.shard).await.map(drop));
    missing(store.set_state(&run.id, RunState::Running, 1, &[]).await);
    // A worker that still has a chunk of it.
    missing(store.save(&run.id, id, 1, &progress(&chunk, 6), 120).await.map(drop));
    missing(store.hand_back(&run.id, id, 1, &progress(&chunk, 6), &Reason::Stopped).await.map(drop));
    missing(store.complete(&run.id, id, 1, &progress(&chunk, DOCS)).await);
    missing(store.claim(&run.id, id, "owner", 100, 160).await.map(drop));

    assert_eq!(store.latest_run().await.unwrap().map(|run| run.id), Some(kept.clone()));
    assert_eq!(stored(store, &kept, &held.id).await, held);
    // A run of the same name begins anew.
    store_plan(store, &run, &shards, &chunks).await;
    assert_eq!(store.latest_run().await.unwrap().map(|run| run.id), Some(run.id.clone()));
    assert_eq!(stored(store, &run.id, id).await, chunks[0]);
    let summary = store.summary(&run.id, 1).await.unwrap();
    assert_eq!((summary.counters, summary.chunks_leased), (Counters::default(), 0));
    assert!(summary.samples.is_empty());
}
