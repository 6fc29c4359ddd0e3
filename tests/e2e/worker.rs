//! A worker in this process, on a real snapshot, among parts that break off, hang, or look over its shoulder.

use crate::support::fixture;
use async_trait::async_trait;
use backfill::buffers::Buffers;
use backfill::encode::{Encoding, names};
use backfill::failed::Reader;
use backfill::finish::finish;
use backfill::indices::Handling;
use backfill::limit::{FailureLimit, MaxFailed};
use backfill::model::{
    Amendment, ChunkId, ChunkState, Counters, Identity, Planning, Run, RunId, RunSpec, RunState, Selection,
    Settled, WriteMode,
};
use backfill::plan::outline;
use backfill::planning::Planner;
use backfill::ports::{
    Acknowledge, Batch, Blob, BlobError, Blobs, Checkpoints, ChunkWriter, FailedDocument, FailedDocuments,
    FailedPart, ItemOutcome, Message, Place, Queue, Reply, StoreError, StoredPart, SystemClock, Target,
    TargetError,
};
use backfill::source::Repository;
use backfill::worker::flow::{Flow, FlowLimits};
use backfill::worker::{ChunkEnd, Step, Worker, WorkerOptions};
use local::{FsBlobs, FsFailedDocuments, RunnerLock, SqliteStore};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Plans a run of everything in a repository into a state file in `dir`.
pub(crate) async fn planned(
    blobs: Arc<dyn Blobs>,
    dir: &Path,
    chunk_bytes: u64,
) -> Result<(SqliteStore, Run), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let repository = Repository::open(blobs).await.map_err(|e| text(&e))?;
    let opened = repository.snapshot("latest", false).await.map_err(|e| text(&e))?;
    let selection = Selection { patterns: "*".to_owned(), include_hidden: false };
    let outline =
        outline(&repository, &opened, &selection, &Handling::default()).await.map_err(|e| text(&e))?;
    let spec = RunSpec {
        repository: String::new(),
        snapshot: outline.snapshot.clone(),
        snapshot_uuid: outline.snapshot_uuid.clone(),
        selection,
        target: String::new(),
        allow_partial: false,
        types: None,
        allow_partial_source: false,
        time_fields: Default::default(),
        chunk_bytes,
    };
    let run = outline.run(RunId("run".to_owned()), spec, 1, 0);
    let state = dir.join("state");
    let lock = RunnerLock::acquire(&state).map_err(|e| text(&e))?.ok_or("the state file is in use")?;
    let store = SqliteStore::open_or_create(&state, &lock).map_err(|e| text(&e))?;
    store.create_run(&run, None).await.map_err(|e| text(&e))?;
    let (checkpoints, queue) = (&store, &store);
    let planner = Planner {
        repository: &repository,
        opened: &opened,
        outline: &outline,
        checkpoints,
        queue,
        resend: true,
    };
    planner.run(&run, &CancellationToken::new()).await.map_err(|e| text(&e))?;
    Ok((store, run))
}

#[tokio::test]
async fn planning_does_not_go_on_without_an_index_that_was_there() {
    let (dir, blobs) = (tempfile::tempdir().unwrap(), Arc::new(FsBlobs::new(fixture("os-2.19.5").repo)));
    let (store, run) = planned(blobs.clone(), dir.path(), 1 << 20).await.unwrap();
    let repository = Repository::open(blobs as Arc<dyn Blobs>).await.unwrap();
    let opened = repository.snapshot("latest", false).await.unwrap();
    // As a later look at the snapshot has it, when the metadata of one is gone.
    let selection = Selection { patterns: "*,-basic".to_owned(), include_hidden: false };
    let outline = outline(&repository, &opened, &selection, &Handling::default()).await.unwrap();
    let again = Run { id: RunId("again".to_owned()), planning: Planning::Shards, ..run.clone() };
    store.create_run(&again, Some(&run.id)).await.unwrap();
    let (checkpoints, queue) = (&store, &store);
    let planner = Planner {
        repository: &repository,
        opened: &opened,
        outline: &outline,
        checkpoints,
        queue,
        resend: true,
    };
    let error = planner.run(&again, &CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.contains("basic"), "{error}");
    assert_eq!(store.run(&again.id).await.unwrap().planning, Planning::Shards);
}

/// A repository that is out of reach after so many requests, until it is back: nothing of it is found.
#[derive(Debug)]
struct Vanishing {
    inner: FsBlobs,
    left: Mutex<u32>,
}

impl Vanishing {
    fn new(repo: &Path, requests: u32) -> Vanishing {
        Vanishing { inner: FsBlobs::new(repo), left: Mutex::new(requests) }
    }

    fn request(&self, path: &str) -> Result<(), BlobError> {
        let mut left = self.left.lock().unwrap();
        *left = left.checked_sub(1).ok_or_else(|| BlobError::NotFound { path: path.to_owned() })?;
        Ok(())
    }
}

#[async_trait]
impl Blobs for Vanishing {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn list(&self, dir: &str, limit: usize) -> Result<Vec<String>, BlobError> {
        self.request(dir)?;
        self.inner.list(dir, limit).await
    }

    async fn size(&self, path: &str) -> Result<(u64, String), BlobError> {
        self.request(path)?;
        self.inner.size(path).await
    }

    async fn get(&self, path: &str, limit: usize) -> Result<Blob, BlobError> {
        self.request(path)?;
        self.inner.get(path, limit).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>, etag: Option<&str>) -> Result<Blob, BlobError> {
        self.request(path)?;
        self.inner.get_range(path, range, etag).await
    }
}

/// How a target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Takes,
    /// Refuses each document for good.
    Refuses,
    /// Refuses some for good, and is slower with every other request.
    RefusesSome,
    /// Never answers.
    Hangs,
}

#[derive(Clone, Copy, Debug)]
struct Mannered(Manner);

#[async_trait]
impl Target for Mannered {
    fn location(&self) -> String {
        "test".to_owned()
    }

    fn encoding(&self) -> Encoding {
        Encoding::Bulk
    }

    fn acknowledge(&self) -> Acknowledge {
        Acknowledge::OnReply
    }

    fn max_in_flight(&self) -> usize {
        4
    }

    async fn check(&self) -> Result<(), TargetError> {
        Ok(())
    }

    async fn place(&self, _name: &str) -> Result<Option<Place>, TargetError> {
        Ok(Some(Place::index(Identity::none())))
    }

    async fn identity(&self, _name: &str) -> Result<Option<Identity>, TargetError> {
        Ok(Some(Identity::none()))
    }

    async fn create(&self, _name: &str, _data_stream: bool) -> Result<bool, TargetError> {
        Ok(true)
    }

    async fn begin(
        &self,
        _run: &RunId,
        _chunk: &ChunkId,
        _destination: &str,
        _mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        Ok(Box::new(*self))
    }
}

#[async_trait]
impl ChunkWriter for Mannered {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        if self.0 == Manner::Hangs {
            std::future::pending::<()>().await;
        }
        let refuses = |id: &str| match self.0 {
            Manner::Takes | Manner::Hangs => false,
            Manner::Refuses => true,
            Manner::RefusesSome => id.bytes().map(u32::from).sum::<u32>().is_multiple_of(2),
        };
        let ids: Vec<String> =
            batch.entries.iter().map(|entry| names(Encoding::Bulk, batch, entry).id.unwrap()).collect();
        if self.0 == Manner::RefusesSome && refuses(&ids[0]) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let failed = || ItemOutcome::Failed {
            error_type: "refused".to_owned(),
            reason: "as it is told to".to_owned(),
        };
        let items = ids.iter().map(|id| if refuses(id) { failed() } else { ItemOutcome::Indexed });
        Ok(items.collect::<Vec<_>>().into())
    }

    async fn finish(&self) -> Result<(), TargetError> {
        Ok(())
    }
}

/// A failed-document stream that is watched: each write must come before the cursor passes what it keeps.
#[derive(Clone, Debug)]
struct Watched {
    inner: FsFailedDocuments,
    store: SqliteStore,
    /// Told of a write, which does not return then: as if the process ended here.
    halt: Option<Arc<Notify>>,
}

#[async_trait]
impl FailedDocuments for Watched {
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError> {
        let chunks = self.store.chunks(&part.run, &part.chunk.shard).await?;
        let cursor = chunks.iter().find(|chunk| chunk.id == part.chunk).unwrap().progress.cursor;
        assert!(records.iter().all(|record| record.position >= cursor), "the cursor was first: {cursor}");
        self.inner.write(part, records).await?;
        if let Some(halt) = &self.halt {
            halt.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn parts(&self, run: &RunId, chunk: &ChunkId) -> Result<Vec<StoredPart>, StoreError> {
        self.inner.parts(run, chunk).await
    }

    async fn read(&self, part: &StoredPart) -> Result<Vec<FailedDocument>, StoreError> {
        self.inner.read(part).await
    }

    async fn replace(
        &self,
        part: &FailedPart,
        settled: &Settled,
        records: &[FailedDocument],
    ) -> Result<(), StoreError> {
        self.inner.replace(part, settled, records).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.inner.delete(run).await
    }

    fn location(&self, run: &RunId) -> String {
        self.inner.location(run)
    }
}

/// A planned run of a fixture.
struct Bench {
    dir: TempDir,
    blobs: Arc<dyn Blobs>,
    store: SqliteStore,
    run: Run,
    documents: u64,
}

impl Bench {
    /// That of the smallest fixture.
    async fn new() -> Bench {
        Bench::of("tiny").await
    }

    async fn of(name: &str) -> Bench {
        let (dir, fixture) = (tempfile::tempdir().unwrap(), fixture(name));
        let blobs: Arc<dyn Blobs> = Arc::new(FsBlobs::new(&fixture.repo));
        let (store, run) = planned(blobs.clone(), dir.path(), 1 << 30).await.unwrap();
        Bench { dir, blobs, store, run, documents: fixture.expected.len() as u64 }
    }

    fn failed(&self) -> FsFailedDocuments {
        FsFailedDocuments::new(self.dir.path().join("failed"))
    }

    fn worker(&self, manner: Manner, halt: Option<Arc<Notify>>) -> Worker {
        // A document a request.
        let limits = FlowLimits { max_in_flight: 4, max_batch_bytes: 20, min_batch_bytes: 10 };
        Worker {
            owner: "worker".to_owned(),
            run: self.run.clone(),
            blobs: self.blobs.clone(),
            checkpoints: Arc::new(self.store.clone()),
            queue: Arc::new(self.store.queue_of(&self.run.id)),
            target: Arc::new(Mannered(manner)),
            failed: Arc::new(Watched { inner: self.failed(), store: self.store.clone(), halt }),
            clock: Arc::new(SystemClock),
            options: WorkerOptions {
                checkpoint_every: Duration::from_millis(5),
                drain: Duration::from_millis(50),
                ..WorkerOptions::default()
            },
            flow: Arc::new(Mutex::new(Flow::new(limits, 0))),
            buffers: Buffers::default(),
            waits: backfill::waits::Waits::default(),
        }
    }

    async fn work_off(&self, worker: &Worker) {
        while worker.step(&CancellationToken::new()).await.unwrap() != Step::Idle {}
        assert_eq!(finish(&self.store, &SystemClock, &self.run, &[]).await.unwrap(), Some(RunState::Done));
    }

    async fn counters(&self) -> Counters {
        self.store.summary(&self.run.id, 0).await.unwrap().counters
    }

    /// The ids in the stream, of whatever is in force there.
    async fn kept(&self) -> Vec<String> {
        self.records().await.into_iter().map(|record| record.id.unwrap()).collect()
    }

    /// What is in the stream, of whatever is in force there.
    async fn records(&self) -> Vec<FailedDocument> {
        let mut all = Vec::new();
        for shard in self.store.shards(&self.run.id).await.unwrap() {
            for chunk in self.store.chunks(&self.run.id, &shard.id).await.unwrap() {
                for part in self.failed().parts(&self.run.id, &chunk.id).await.unwrap() {
                    all.extend(self.failed().read(&part).await.unwrap());
                }
            }
        }
        all
    }
}

#[tokio::test]
async fn failed_documents_are_durable_before_the_cursor_passes_them() {
    let bench = Bench::new().await;
    bench.work_off(&bench.worker(Manner::RefusesSome, None)).await;
    let (counters, kept) = (bench.counters().await, bench.kept().await);
    assert_eq!(counters.indexed + counters.failed, bench.documents);
    assert!(counters.failed > 0 && counters.indexed > 0, "{counters:?}");
    assert_eq!(kept.len() as u64, counters.failed);
    let failed = bench.failed();
    let mut reader = Reader::open(&bench.store, &failed, &bench.run.id, |_| true).await.unwrap();
    let mut told = Vec::new();
    while let Some(record) = reader.next().await.unwrap() {
        told.push(record.id.unwrap());
    }
    assert_eq!(told, kept);
}

#[tokio::test]
async fn a_worker_stops_the_run_when_too_many_documents_fail() {
    let limit = FailureLimit::new(MaxFailed::Documents(0));
    let mut bench = Bench::new().await;
    bench.run.notes.limit = Some(limit);
    bench.store.amend(&bench.run.id, &Amendment::Limit(limit)).await.unwrap();
    // Documents that fail take so long that there is a checkpoint before the last of them.
    let worker = bench.worker(Manner::RefusesSome, None);
    let step = worker.step(&CancellationToken::new()).await.unwrap();
    let stopped = bench.store.run(&bench.run.id).await.unwrap();
    assert_eq!((step, stopped.state), (Step::Worked(ChunkEnd::HandedBack), RunState::Stopped));
    let why = stopped.notes.limit_exceeded.unwrap();
    assert!(why.judged.failed > 0 && why.judged.documents < bench.documents, "{why:?}");
    let error = why.error.unwrap();
    assert_eq!((error.error_type.as_str(), error.documents), ("refused", why.judged.failed));
    assert!(error.example.ends_with("of tiny: as it is told to"), "{}", error.example);

    // Where nothing is left that could be saved, the run ends.
    let resumed = FailureLimit::resumed(Some(limit), limit.max, &bench.counters().await, false);
    bench.store.amend(&bench.run.id, &Amendment::Limit(resumed)).await.unwrap();
    bench.store.set_state(&bench.run.id, RunState::Running, 0, &[]).await.unwrap();
    let mut worker = bench.worker(Manner::Refuses, None);
    worker.options.checkpoint_every = Duration::from_secs(3600);
    bench.work_off(&worker).await;
    assert_eq!(bench.counters().await.documents(), bench.documents);
}

#[tokio::test]
async fn documents_that_would_take_too_much_memory_fail_and_no_others() {
    let bench = Bench::of("es-1.7.6").await;
    bench.work_off(&bench.worker(Manner::Takes, None)).await;
    let all = bench.counters().await;

    let bench = Bench::of("es-1.7.6").await;
    let mut worker = bench.worker(Manner::Takes, None);
    worker.options.budget.document = 100_000;
    bench.work_off(&worker).await;
    let counters = bench.counters().await;
    let records = bench.records().await.into_iter();
    let mut failed: Vec<_> = records.map(|r| (r.error_type, r.index, r.id)).collect();
    failed.retain(|(error_type, ..)| !["missing_source", "partial_source"].contains(&error_type.as_str()));
    failed.sort();
    let expected = [
        ("document_too_large", "large", "L0"),
        // It is stored in few bytes, by LZF.
        ("unreadable_source", "lzf", "long"),
    ];
    let expected = expected.map(|(kind, index, id)| (kind.to_owned(), index.to_owned(), Some(id.to_owned())));
    assert_eq!(failed, expected);
    assert_eq!((counters.indexed, counters.failed, counters.damaged), (all.indexed - 2, all.failed + 2, 0));
}

#[tokio::test]
async fn what_a_killed_worker_recorded_ahead_of_its_checkpoint_does_not_stay() {
    let bench = Bench::new().await;
    let halt = Arc::new(Notify::new());
    let worker = bench.worker(Manner::Refuses, Some(halt.clone()));
    // All have failed and are recorded, and the checkpoint knows of none.
    let never = CancellationToken::new();
    tokio::select! {
        ended = worker.step(&never) => panic!("{ended:?}"),
        () = halt.notified() => {}
    }
    assert!(!bench.kept().await.is_empty());
    assert_eq!(bench.counters().await.failed, 0);
    // The mappings were mended, and the next one finds nothing wrong.
    bench.store.reclaim(&bench.run.id).await.unwrap();
    bench.work_off(&bench.worker(Manner::Takes, None)).await;
    let counters = bench.counters().await;
    assert_eq!((counters.indexed, counters.failed), (bench.documents, 0));
    assert_eq!(bench.kept().await, [""; 0]);
}

#[tokio::test]
async fn a_target_that_never_answers_holds_neither_the_lease_nor_the_stop_up() {
    let bench = Bench::new().await;
    let worker = bench.worker(Manner::Hangs, None);
    let shard = bench.store.shards(&bench.run.id).await.unwrap().remove(0);
    let chunk = || async { bench.store.chunks(&bench.run.id, &shard.id).await.unwrap().remove(0) };
    let until = || async {
        match chunk().await.state {
            ChunkState::Leased(lease) => lease.until,
            _ => 0,
        }
    };
    let stop = CancellationToken::new();
    let operator = async {
        while until().await == 0 {
            tokio::task::yield_now().await;
        }
        let first = until().await;
        while until().await <= first {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(worker.step(&stop), operator).0 };
    let ended = tokio::time::timeout(Duration::from_secs(30), both).await.expect("it ends");
    assert_eq!(ended.unwrap(), Step::Worked(ChunkEnd::HandedBack));
    let left = chunk().await;
    assert_eq!((left.state, left.progress.counters.documents()), (ChunkState::Pending, 0));
    // And the flow is not left with turns that nobody ends.
    let taking = Worker { target: Arc::new(Mannered(Manner::Takes)), ..worker };
    bench.work_off(&taking).await;
    assert_eq!(bench.counters().await.indexed, bench.documents);
}

/// A queue with one message left, about a run that was deleted.
#[derive(Debug)]
struct Stale(Mutex<Option<Message>>, Mutex<u32>);

#[async_trait]
impl Queue for Stale {
    async fn enqueue(&self, _run: &RunId, _chunks: &[ChunkId]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn receive(&self, _now: u64, _until: u64) -> Result<Option<Message>, StoreError> {
        Ok(self.0.lock().unwrap().take())
    }

    async fn extend(&self, _message: &Message, _until: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn hand_back(&self, _message: &Message) -> Result<(), StoreError> {
        Ok(())
    }

    async fn delete(&self, _message: &Message) -> Result<(), StoreError> {
        *self.1.lock().unwrap() += 1;
        Ok(())
    }
}

#[tokio::test]
async fn a_message_of_a_run_that_was_deleted_is_passed_over() {
    let bench = Bench::new().await;
    let message = bench.store.queue_of(&bench.run.id).receive(0, 60).await.unwrap();
    let queue = Arc::new(Stale(Mutex::new(message), Mutex::new(0)));
    bench.store.delete_run(&bench.run.id).await.unwrap();
    let worker = Worker { queue: queue.clone(), ..bench.worker(Manner::Takes, None) };
    let stop = CancellationToken::new();
    assert_eq!(worker.step(&stop).await.unwrap(), Step::Skipped);
    assert_eq!((worker.step(&stop).await.unwrap(), *queue.1.lock().unwrap()), (Step::Idle, 1));
}

#[tokio::test]
async fn a_repository_that_is_out_of_reach_is_no_damage() {
    let repo = fixture("tiny").repo;
    // While it is planned: an error, after which it is planned again.
    let mut planned_after = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Vanishing::new(&repo, planned_after));
        if let Ok((store, run)) = planned(blobs, dir.path(), 1 << 30).await {
            let shards = store.shards(&run.id).await.unwrap();
            assert!(shards.iter().all(|shard| shard.findings.is_empty()), "{shards:?}");
            assert!(run.refused.is_empty(), "{:?}", run.refused);
            break;
        }
        planned_after += 1;
    }
    assert!(planned_after > 5, "{planned_after}");
    // While it is worked on: the chunk is put off, and nothing of it counts as read.
    let mut put_off = 0;
    for requests in 0.. {
        let bench = Bench::new().await;
        let blobs = Arc::new(Vanishing::new(&repo, requests));
        let worker = Worker { blobs: blobs.clone(), ..bench.worker(Manner::Takes, None) };
        let ended = worker.step(&CancellationToken::new()).await;
        assert_eq!(bench.counters().await.damaged, 0, "after {requests} requests");
        *blobs.left.lock().unwrap() = u32::MAX;
        let state = loop {
            if let Some(state) = finish(&bench.store, &SystemClock, &bench.run, &[]).await.unwrap() {
                break state;
            }
            worker.step(&CancellationToken::new()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!((state, bench.counters().await.indexed), (RunState::Done, bench.documents));
        if ended.is_ok() {
            break;
        }
        put_off += 1;
    }
    assert!(put_off > 2, "{put_off}");
}
