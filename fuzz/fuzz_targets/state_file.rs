//! A state file with a run in the midst of its work, of which pages are damaged or records replaced: it is refused, or
//! everything in it is read, and the same again when it is opened once more.
#![no_main]

use backfill::model::{ChunkId, Run};
use backfill::ports::{Checkpoints, Queue, StoreError};
use fuzz::Choices;
use libfuzzer_sys::fuzz_target;
use local::{Mode, RunnerLock, SqliteStore};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
});

/// A directory of this process, and a good state file.
static GOOD: LazyLock<(PathBuf, Vec<u8>)> = LazyLock::new(|| {
    // Where there is memory behind it, hundreds of files a second cost nothing.
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let dir = parent.join(format!("backfill-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    let path = dir.join("good.sqlite");
    let lock = RunnerLock::acquire(&path).expect("the file can be locked").expect("nobody has it");
    let store = SqliteStore::open_or_create(&path, &lock).expect("the file can be made");
    RUNTIME.block_on(async {
        let (run, shards, chunks) = conformance::plan("run", 2, 3);
        conformance::store_plan(&store, &run, &shards, &chunks).await;
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
        store.enqueue(&run.id, &ids).await.expect("the file can be written");
        for chunk in &chunks[..4] {
            store.claim(&run.id, &chunk.id, "owner", 0, 60).await.expect("the file can be written");
            let progress = conformance::progress(chunk, 5);
            store.save(&run.id, &chunk.id, 1, &progress, 60).await.expect("the file can be written");
        }
    });
    drop(store);
    let bytes = std::fs::read(&path).expect("the file is there");
    (dir, bytes)
});

/// Columns with records, and the kinds of text that they hold.
const RECORDS: &[(&str, &str)] = &[
    ("runs", "record"),
    ("runs", "state"),
    ("runs", "planning"),
    ("runs", "damage"),
    ("shards", "record"),
    ("shards", "sum_failed"),
    ("chunks", "ranges"),
    ("chunks", "progress"),
    ("chunks", "last_error"),
    ("chunks", "state"),
    ("chunks", "epoch"),
];

/// Everything that is recorded of the newest run.
async fn record(store: &SqliteStore) -> Result<Option<(Run, String)>, StoreError> {
    let Some(run) = store.latest_run().await? else { return Ok(None) };
    let mut text = format!("{run:?}");
    for shard in store.shards(&run.id).await? {
        let chunks = store.chunks(&run.id, &shard.id).await?;
        assert!(chunks.iter().all(|chunk| chunk.id.shard == shard.id));
        text.push_str(&format!("{shard:?} {chunks:?}"));
    }
    Ok(Some((run, text)))
}

/// Goes on with a run as a worker does.
async fn go_on(store: &SqliteStore, run: &Run) -> Result<(), StoreError> {
    store.summary(&run.id, 5).await?;
    store.reclaim(&run.id).await?;
    while let Some(message) = store.receive(5, 60).await? {
        store.claim(&message.run, &message.chunk, "another", 5, 60).await?;
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let (dir, good) = &*GOOD;
    let mut choices = Choices(data);
    let path = dir.join("state.sqlite");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let mut bytes = good.clone();
    let replaced = choices.byte() % 2 > 0;
    if !replaced {
        let at = choices.u32() as usize % bytes.len();
        let part = choices.0.len().min(bytes.len() - at);
        bytes[at..at + part].copy_from_slice(&choices.0[..part]);
    }
    std::fs::write(&path, &bytes).expect("the file can be written");
    if replaced {
        let (table, column) = *choices.one(RECORDS);
        let number = choices.byte() % 8;
        let text = String::from_utf8_lossy(choices.0);
        let connection = Connection::open(&path).expect("the file is good");
        let sql = format!("UPDATE {table} SET {column} = ?1 WHERE seq % 8 = ?2 OR ?2 = 0");
        let _ = connection.execute(&sql, rusqlite::params![text, number]);
    }
    let lock = RunnerLock::acquire(&path).expect("the file can be locked").expect("nobody has it");
    let _ = SqliteStore::open(&path, Mode::ReadOnlyExisting);
    let mut before: Option<String> = None;
    for _ in 0..2 {
        let Ok(store) = SqliteStore::open_or_create(&path, &lock) else { return };
        let Ok(Some((run, text))) = RUNTIME.block_on(record(&store)) else { return };
        if let Some(before) = before {
            assert_eq!(before, text, "nothing was changed in between");
            let _ = RUNTIME.block_on(go_on(&store, &run));
            return;
        }
        before = Some(text);
    }
});
