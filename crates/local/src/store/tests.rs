use super::*;
use backfill::model::{ChunkState, RunId, Wait, WaitCause};
use backfill::ports::{Checkpoints, ClaimOutcome, Queue, Sample};
use proptest::prelude::*;
use std::time::Instant;
use tempfile::TempDir;

fn store() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = create(&dir.path().join("state.db")).unwrap();
    (dir, store)
}

fn create(path: &Path) -> Result<SqliteStore, StoreError> {
    let lock = loop {
        if let Some(lock) = RunnerLock::acquire(path)? {
            break lock;
        }
    };
    SqliteStore::open_or_create(path, &lock)
}

fn open_error(path: &Path, mode: Mode) -> String {
    SqliteStore::open(path, mode).unwrap_err().to_string()
}

fn create_error(path: &Path) -> String {
    create(path).unwrap_err().to_string()
}

#[tokio::test]
async fn it_is_a_checkpoint_store() {
    let (_dir, store) = store();
    conformance::checkpoints(&store).await;
    conformance::planning(&store).await;
    conformance::ending(&store).await;
}

/// As the version wrote it that had neither notes nor documents without sources.
#[tokio::test]
async fn a_file_of_an_older_version_is_migrated_whoever_opens_it_first() {
    for mode in [Mode::ReadOnlyExisting, Mode::ReadWriteExisting] {
        let (dir, store) = store();
        let (run, shards, chunks) = conformance::plan("old", 1, 1);
        conformance::store_plan(&store, &run, &shards, &chunks).await;
        drop(store);
        let path = dir.path().join("state.db");
        let older = Connection::open(&path).unwrap();
        older.execute_batch("ALTER TABLE runs DROP COLUMN notes; ALTER TABLE shards DROP COLUMN sum_unsourced; PRAGMA user_version = 3").unwrap();
        drop(older);
        for _ in 0..2 {
            let store = SqliteStore::open(&path, mode).unwrap();
            assert_eq!(store.run(&run.id).await.unwrap(), run);
        }
    }
}

#[tokio::test]
async fn a_file_from_before_waits_were_recorded_is_read_and_gets_their_table() {
    let (_dir, store) = store();
    let (run, shards, chunks) = conformance::plan("old", 1, 1);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let path = store.path().to_owned();
    drop(store);
    Connection::open(&path).unwrap().execute_batch("DROP TABLE waits").unwrap();
    let reader = SqliteStore::open(&path, Mode::ReadOnlyExisting).unwrap();
    assert_eq!(reader.summary(&run.id, 0).await.unwrap().waits, []);
    let writer = SqliteStore::open(&path, Mode::ReadWriteExisting).unwrap();
    let wait = Wait { cause: WaitCause::TargetBlocked, reason: String::new(), since: 0, until: None };
    writer.note_wait(&run.id, "a", Some(&wait), 0, 60).await.unwrap();
    assert_eq!(reader.summary(&run.id, 0).await.unwrap().waits, [wait]);
}

#[tokio::test]
async fn it_is_a_queue() {
    let (_dir, store) = store();
    conformance::queue(&store, &store, &conformance::ToldTime::default()).await;
}

#[tokio::test]
async fn the_messages_of_a_deleted_run_go_with_it() {
    let (_dir, store) = store();
    let (run, shards, chunks) = conformance::plan("one", 1, 2);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    store.enqueue(&run.id, &ids).await.unwrap();
    let held = store.receive(0, 60).await.unwrap().unwrap();
    store.delete_run(&run.id).await.unwrap();
    assert_eq!(store.receive(100, 160).await.unwrap(), None);
    // A worker that has one does no harm.
    store.extend(&held, 200).await.unwrap();
    store.delete(&held).await.unwrap();
}

#[test]
fn any_sequence_of_steps_gives_what_the_model_gives() {
    let (_dir, store) = store();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 128, ..Default::default() });
    let runs = std::cell::Cell::new(0);
    runner
        .run(&conformance::steps(), |steps| {
            let name = format!("run-{}", runs.replace(runs.get() + 1));
            runtime.block_on(conformance::agrees_with_the_model(&store, &name, &steps));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn messages_come_in_the_order_of_the_chunks_and_of_their_run() {
    let (_dir, store) = store();
    let (run, shards, chunks) = conformance::plan("one", 2, 3);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let mut ids: Vec<_> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    ids.reverse();
    store.enqueue(&run.id, &ids).await.unwrap();
    let (other, shards, others) = conformance::plan("two", 1, 1);
    conformance::store_plan(&store, &other, &shards, &others).await;
    let other_ids: Vec<_> = others.iter().map(|chunk| chunk.id.clone()).collect();
    store.enqueue(&other.id, &other_ids).await.unwrap();

    let theirs = store.queue_of(&other.id).receive(0, 60).await.unwrap().unwrap();
    assert_eq!((&theirs.run, &theirs.chunk), (&other.id, &others[0].id));
    for chunk in &chunks {
        let message = store.receive(0, 60).await.unwrap().unwrap();
        assert_eq!((&message.run, &message.chunk), (&run.id, &chunk.id));
    }
    // A run that is stopped has nothing to give.
    store.set_state(&other.id, backfill::model::RunState::Stopped, 0, &[]).await.unwrap();
    assert_eq!(store.queue_of(&other.id).receive(70, 90).await.unwrap(), None);
}

#[tokio::test]
async fn the_next_message_is_found_by_the_index() {
    let (_dir, store) = store();
    let plan: Vec<String> = store
        .read(|tx| {
            let mut statement = tx.prepare(&format!("EXPLAIN QUERY PLAN {}", queue::NEXT))?;
            let rows = statement.query_map([Some(0), None], |row| row.get(3))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("messages_in_order") && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn what_dead_runners_held_is_free_at_once() {
    let (_dir, store) = store();
    let (run, shards, chunks) = conformance::plan("run", 1, 2);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    // The start was killed before all messages were there.
    let ids: Vec<_> = chunks[..3].iter().map(|chunk| chunk.id.clone()).collect();
    store.enqueue(&run.id, &ids).await.unwrap();
    for id in &ids[..2] {
        store.receive(0, 1_000_000).await.unwrap().unwrap();
        store.claim(&run.id, id, "dead", 0, 1_000_000).await.unwrap();
    }
    let through = conformance::progress(&chunks[0], conformance::DOCS);
    store.complete(&run.id, &ids[0], 1, &through).await.unwrap();
    store.save(&run.id, &ids[1], 1, &conformance::progress(&chunks[1], 4), 1_000_000).await.unwrap();
    assert_eq!(store.work(&run.id, 1, 10).await.unwrap(), Work { any: true, visible: 1 });

    store.reclaim(&run.id).await.unwrap();
    assert_eq!(store.work(&run.id, 1, 10).await.unwrap(), Work { any: true, visible: 3 });
    assert_eq!(store.work(&run.id, 1, 2).await.unwrap(), Work { any: true, visible: 2 });
    let held = store.chunks(&run.id, &ids[1].shard).await.unwrap();
    assert_eq!((&held[0].state, held[0].epoch), (&ChunkState::Pending, 1));
    assert_eq!(held[0].progress, conformance::progress(&chunks[1], 4));
    // One who was thought dead and is not after all cannot write.
    let late = store.save(&run.id, &ids[1], 1, &conformance::progress(&chunks[1], 5), 2_000_000).await;
    assert!(matches!(late, Err(StoreError::Refused(_))));
    let received: Vec<_> =
        [store.receive(1, 60).await, store.receive(1, 60).await, store.receive(1, 60).await]
            .into_iter()
            .map(|message| message.unwrap().unwrap().chunk)
            .collect();
    assert_eq!(received, chunks[1..].iter().map(|chunk| chunk.id.clone()).collect::<Vec<_>>());
    let claim = store.claim(&run.id, &ids[1], "alive", 1, 60).await.unwrap();
    assert!(matches!(claim, ClaimOutcome::Granted(chunk) if chunk.epoch == 2));
}

#[tokio::test]
async fn enqueueing_again_leaves_what_is_there_and_what_is_done() {
    let (_dir, store) = store();
    let (run, shards, chunks) = conformance::plan("run", 1, 1);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    store.enqueue(&run.id, &ids).await.unwrap();
    let message = store.receive(0, 60).await.unwrap().unwrap();
    store.claim(&run.id, &ids[0], "owner", 0, 60).await.unwrap();
    let through = conformance::progress(&chunks[0], conformance::DOCS);
    store.complete(&run.id, &ids[0], 1, &through).await.unwrap();
    store.delete(&message).await.unwrap();
    store.enqueue(&run.id, &ids).await.unwrap();
    assert_eq!(store.work(&run.id, 0, 10).await.unwrap(), Work { any: true, visible: 1 });
    assert_eq!(store.totals(&run.id).await.unwrap(), through.counters);
}

#[tokio::test]
async fn the_last_samples_are_kept() {
    let (_dir, store) = store();
    let (run, shards, chunks) = conformance::plan("run", 1, 1);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    for at in 0..200 {
        store.add_sample(&run.id, &Sample { at, documents: at, stored_bytes: at, missing: 0 }).await.unwrap();
    }
    let samples = store.summary(&run.id, 0).await.unwrap().samples;
    assert_eq!(samples.iter().map(|s| s.at).collect::<Vec<_>>(), (80..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn others_read_while_a_run_writes() {
    let (dir, store) = store();
    let (run, shards, chunks) = conformance::plan("run", 1, 1);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let status = SqliteStore::open(&dir.path().join("state.db"), Mode::ReadOnlyExisting).unwrap();
    // In the midst of a write of another.
    let mut writer = Connection::open(store.path()).unwrap();
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    transaction.execute("UPDATE runs SET desired_workers = 9", []).unwrap();
    assert_eq!(status.control(&run.id).await.unwrap().desired_workers, 2);
    transaction.commit().unwrap();
    drop(writer);
    assert_eq!(status.control(&run.id).await.unwrap().desired_workers, 9);
    let refused = status.set_desired_workers(&run.id, 1).await.unwrap_err().to_string();
    assert!(refused.contains("must be writable"), "{refused}");
    // From another terminal, a run is controlled as well.
    let control = SqliteStore::open(&dir.path().join("state.db"), Mode::ReadWriteExisting).unwrap();
    control.set_desired_workers(&run.id, 5).await.unwrap();
    assert_eq!(store.control(&run.id).await.unwrap().desired_workers, 5);
    // And when nobody has it open any more.
    drop((control, status, store));
    let status = SqliteStore::open(&dir.path().join("state.db"), Mode::ReadOnlyExisting).unwrap();
    assert_eq!(status.run(&run.id).await.unwrap().desired_workers, 5);
}

#[test]
fn a_file_that_is_none_of_ours_is_told_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    for mode in [Mode::ReadOnlyExisting, Mode::ReadWriteExisting] {
        let missing =
            format!("there is no state file {}: nothing was started here, or give --state", path.display());
        assert_eq!(open_error(&path, mode), missing);
    }
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(open_error(&path, Mode::ReadOnlyExisting).contains("nothing was started here"));
    std::fs::write(
        &path,
        "no database at all, but long enough to have a header of a hundred bytes. ".repeat(9),
    )
    .unwrap();
    assert!(create_error(&path).contains("this is no state file (no SQLite database)"));
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    assert!(create_error(&path).contains("a database of another program"));
    assert!(create_error(&dir.path().join("x.db/y.db")).contains("x.db/y.db"));
    assert!(create_error(dir.path()).contains("this is a directory; give the name of a file as --state"));
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let (dir, store) = store();
    let path = dir.path().join("state.db");
    store.inner.connection.lock().unwrap().pragma_update(None, "user_version", 7).unwrap();
    drop(store);
    assert!(create_error(&path).contains("newer version of this program (format 7"));
    assert!(open_error(&path, Mode::ReadOnlyExisting).contains(path.to_str().unwrap()));
}

#[test]
fn a_state_file_is_made_by_one_of_many() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..50 {
        let path = dir.path().join(format!("{n}/state.db"));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| create(&path).unwrap());
            }
        });
    }
}

/// Files as a process leaves them that is killed while it writes the state file, in rollback mode.
fn killed_while_writing(path: &Path, before: &str, during: &str) {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("state.db");
    let mut connection = Connection::open(&original).unwrap();
    connection.execute_batch(before).unwrap();
    // Pages reach the file before the transaction ends.
    connection.pragma_update(None, "cache_size", 1).unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute_batch(during).unwrap();
    let fill =
        "CREATE TABLE fill AS WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 99)
         SELECT randomblob(4000) FROM n";
    transaction.execute_batch(fill).unwrap();
    for suffix in ["", "-journal"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        std::fs::copy(name(&original), name(path)).unwrap();
    }
}

#[tokio::test]
async fn what_a_kill_left_in_a_rollback_journal_does_not_keep_a_run_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    // Killed while it made the tables.
    let path = dir.path().join("blank.db");
    killed_while_writing(&path, "", "CREATE TABLE runs (seq INTEGER PRIMARY KEY)");
    assert!(open_error(&path, Mode::ReadOnlyExisting).contains("nothing was started here"));
    assert_eq!(create(&path).unwrap().latest_run().await.unwrap(), None);
    killed_while_writing(&path, "", "CREATE TABLE runs (seq INTEGER PRIMARY KEY)");
    assert_eq!(create(&path).unwrap().latest_run().await.unwrap(), None);
    // Killed later, in a mode that no version uses any more.
    let path = dir.path().join("state.db");
    let tables = format!(
        "{} PRAGMA application_id = {}; PRAGMA user_version = {};",
        schema::TABLES,
        schema::APPLICATION,
        schema::VERSION
    );
    killed_while_writing(
        &path,
        &tables,
        "INSERT INTO runs VALUES (1, 'x', '', 'running', '', 1, NULL, '', NULL, NULL, '')",
    );
    let status = SqliteStore::open(&path, Mode::ReadOnlyExisting).unwrap();
    assert_eq!(status.latest_run().await.unwrap(), None);
    assert_eq!(create(&path).unwrap().latest_run().await.unwrap(), None);
    assert!(!dir.path().join("state.db-journal").exists());
}

#[tokio::test]
async fn what_a_kill_left_while_it_made_the_file_is_tidied_up() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    for left in [".state.db.new", ".state.db.new-wal", "state.db-wal", "state.db-journal"] {
        std::fs::write(dir.path().join(left), "half of a file").unwrap();
    }
    let path = dir.path().join("state.db");
    let store = create(&path).unwrap();
    assert_eq!(store.latest_run().await.unwrap(), None);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(store);
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["state.db", "state.db.lock"]);
}

#[tokio::test]
async fn damage_is_found_before_a_run_begins() {
    let cases = [
        ("DELETE FROM chunks WHERE number = 1", "belongs to nothing"),
        ("UPDATE chunks SET state = 0 WHERE number = 1", "the sums of shard a/0"),
        ("PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'samples'", "never used"),
    ];
    for (damage, found) in cases {
        let (dir, store) = store();
        let (run, shards, chunks) = conformance::plan("run", 1, 2);
        conformance::store_plan(&store, &run, &shards, &chunks).await;
        let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
        store.enqueue(&run.id, &ids).await.unwrap();
        for chunk in &chunks {
            store.claim(&run.id, &chunk.id, "owner", 0, 60).await.unwrap();
            let through = conformance::progress(chunk, conformance::DOCS);
            store.complete(&run.id, &chunk.id, 1, &through).await.unwrap();
        }
        drop(store);
        let path = dir.path().join("state.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {damage}"))
            .unwrap();
        let error = create_error(&path);
        assert!(error.contains(found) && error.contains("give another --state"), "{damage}: {error}");
    }
}

/// Measures; run with `--release -- --ignored --nocapture a_million`.
#[tokio::test]
#[ignore = "takes a while and only measures"]
async fn measure_a_million_chunks() {
    let (dir, store) = store();
    let (run, shards, chunks) = conformance::plan("run", 5_000, 100);
    let lap = |what: &str, since: Instant| println!("{what}: {:?}", since.elapsed());
    let start = Instant::now();
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    lap(&format!("create a run of {} chunks in {} shards", chunks.len(), shards.len()), start);
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    let start = Instant::now();
    store.enqueue(&run.id, &ids).await.unwrap();
    lap("enqueue", start);
    let queue = store.queue_of(&run.id);
    let start = Instant::now();
    for chunk in &chunks[..1000] {
        let message = queue.receive(0, 60).await.unwrap().unwrap();
        assert_eq!(message.chunk, chunk.id);
        store.claim(&run.id, &chunk.id, "owner", 0, 60).await.unwrap();
        store.save(&run.id, &chunk.id, 1, &conformance::progress(chunk, 5), 60).await.unwrap();
        let through = conformance::progress(chunk, conformance::DOCS);
        store.complete(&run.id, &chunk.id, 1, &through).await.unwrap();
        queue.delete(&message).await.unwrap();
    }
    lap("1000 times receive, claim, save, complete, delete", start);
    let start = Instant::now();
    let summary = store.summary(&run.id, 0).await.unwrap();
    lap("summary", start);
    assert_eq!((summary.chunks_total, summary.chunks_done), (1_000_000, 1000));
    let start = Instant::now();
    store.reclaim(&RunId("run".to_owned())).await.unwrap();
    lap("reclaim", start);
    let start = Instant::now();
    store.check_integrity().unwrap();
    lap("check for damage", start);
    let size = std::fs::metadata(dir.path().join("state.db")).unwrap().len();
    println!("file: {} MB", size >> 20);
}
