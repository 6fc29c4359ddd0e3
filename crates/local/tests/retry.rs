//! Failed documents tried again, with the state of one machine: every count and every record is right, whenever a retry
//! is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use async_trait::async_trait;
use backfill::encode::{Encoding, names};
use backfill::failed::{Reader, Retry, RetryError, RetryReport, Wanted};
use backfill::model::{
    Chunk, ChunkId, Counters, Identity, Position, Progress, Run, RunId, Settled, WriteMode,
};
use backfill::ports::{
    Acknowledge, Batch, Checkpoints, ChunkWriter, ClaimOutcome, Clock, FailedDocument, FailedDocuments,
    FailedPart, ItemOutcome, Place, Reply, RetryLease, StoreError, StoredPart, SystemClock, Target,
    TargetError,
};
use backfill::worker::flow::{Flow, FlowLimits};
use conformance::DOCS;
use local::{FsFailedDocuments, RunnerLock, SqliteStore};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A target that keeps documents in memory, refuses some for good, and may be down after some requests.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    documents: BTreeMap<(String, String), Vec<u8>>,
    refused: BTreeSet<String>,
    answers: Option<u32>,
    whole_chunks: bool,
}

#[async_trait]
impl Target for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn encoding(&self) -> Encoding {
        Encoding::Bulk
    }

    fn acknowledge(&self) -> Acknowledge {
        if self.0.lock().unwrap().whole_chunks { Acknowledge::OnFinish } else { Acknowledge::OnReply }
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
        destination: &str,
        _mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        Ok(Box::new(Writer { target: self.clone(), destination: destination.to_owned() }))
    }
}

#[derive(Debug)]
struct Writer {
    target: Memory,
    destination: String,
}

#[async_trait]
impl ChunkWriter for Writer {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        tokio::task::yield_now().await;
        let mut state = self.target.0.lock().unwrap();
        if let Some(left) = &mut state.answers {
            if *left == 0 {
                let (target, reason) = ("memory".to_owned(), "it is down".to_owned());
                return Err(TargetError::Unreachable { target, reason });
            }
            *left -= 1;
        }
        let items = batch.entries.iter().map(|entry| {
            let names = names(Encoding::Bulk, batch, entry);
            let (index, id) = (names.index.unwrap_or_else(|| self.destination.clone()), names.id.unwrap());
            if state.refused.contains(&id) {
                let error_type = "mapper_parsing_exception".to_owned();
                return ItemOutcome::Failed { error_type, reason: "refused again".to_owned() };
            }
            let there = state.documents.insert((index, id), batch.body[entry.source.clone()].to_vec());
            assert_eq!(names.routing.as_deref(), Some("r\u{e9}"));
            drop(there);
            ItemOutcome::Indexed
        });
        Ok(items.collect::<Vec<_>>().into())
    }

    async fn finish(&self) -> Result<(), TargetError> {
        Ok(())
    }
}

/// A run whose chunks are done, with four failed documents each in two parts.
struct Bench {
    dir: TempDir,
    run: Run,
    chunks: Vec<Chunk>,
}

/// Failed documents of each chunk, counted from its first document: those of two parts.
const FAILED: [&[u32]; 2] = [&[1, 2, 4], &[7]];

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let (run, shards, chunks) = conformance::plan("run", 1, 1);
        let bench = Bench { dir, run, chunks };
        let (store, failed) = (bench.store(), bench.failed());
        conformance::store_plan(&store, &bench.run, &shards, &bench.chunks).await;
        for chunk in &bench.chunks {
            let claim = store.claim(&bench.run.id, &chunk.id, "worker", 0, 60).await.unwrap();
            assert!(matches!(claim, ClaimOutcome::Granted(_)));
            for (docs, from) in FAILED.iter().zip([0, 5]) {
                let records: Vec<FailedDocument> = docs.iter().map(|doc| record(chunk, *doc)).collect();
                failed.write(&part(&bench.run.id, chunk, from), &records).await.unwrap();
            }
            let progress = Progress {
                cursor: chunk.end(),
                counters: Counters { indexed: u64::from(DOCS) - 4, failed: 4, ..Counters::default() },
                ..Progress::default()
            };
            store.complete(&bench.run.id, &chunk.id, 1, &progress).await.unwrap();
        }
        bench
    }

    fn store(&self) -> SqliteStore {
        let path = self.dir.path().join("state.db");
        match RunnerLock::acquire(&path).unwrap() {
            Some(lock) => SqliteStore::open_or_create(&path, &lock).unwrap(),
            None => panic!("another test uses {}", path.display()),
        }
    }

    fn failed(&self) -> FsFailedDocuments {
        FsFailedDocuments::new(self.dir.path().join("failed"))
    }

    async fn retry(&self, target: &Memory, wanted: &Wanted) -> (RetryReport, Result<(), RetryError>) {
        self.retry_with(&self.failed(), target, wanted).await
    }

    async fn retry_with(
        &self,
        failed: &dyn FailedDocuments,
        target: &Memory,
        wanted: &Wanted,
    ) -> (RetryReport, Result<(), RetryError>) {
        let (store, clock) = (self.store(), Arc::new(SystemClock));
        // Two documents a request.
        let limits = FlowLimits { max_in_flight: 2, max_batch_bytes: 160, min_batch_bytes: 80 };
        let retry = Retry {
            owner: "retry".to_owned(),
            run: &self.run,
            checkpoints: &store,
            failed,
            target: Arc::new(target.clone()),
            clock: clock.clone(),
            flow: Arc::new(Mutex::new(Flow::new(limits, clock.monotonic()))),
            patience: Duration::ZERO,
            drain: Duration::ZERO,
            waits: backfill::waits::Waits::default(),
        };
        let mut report = RetryReport::default();
        let ended = retry.run(wanted, &CancellationToken::new(), &mut report).await;
        (report, ended)
    }

    /// The ids that the stream keeps, each with its reason.
    async fn kept(&self) -> BTreeMap<String, String> {
        let (store, failed) = (self.store(), self.failed());
        let mut reader = Reader::open(&store, &failed, &self.run.id, |_| true).await.unwrap();
        let mut kept = BTreeMap::new();
        while let Some(record) = reader.next().await.unwrap() {
            let id = record.id.unwrap_or_default();
            assert!(kept.insert(id.clone(), record.reason).is_none(), "{id} is kept twice");
        }
        kept
    }

    /// Indexed, already there and failed, of the run; the chunks must add up to it.
    async fn counts(&self) -> (u64, u64, u64) {
        let store = self.store();
        let mut sum = Counters::default();
        for chunk in &self.chunks {
            let stored = store.chunks(&self.run.id, &chunk.id.shard).await.unwrap();
            stored.iter().for_each(|chunk| sum += &chunk.progress.counters);
        }
        let total = store.summary(&self.run.id, 0).await.unwrap().counters;
        assert_eq!(sum, total);
        (total.indexed, total.already_there, total.failed)
    }
}

fn id(chunk: &Chunk, doc: u32) -> String {
    format!("{}-{doc}", chunk.id.shard.index)
}

fn record(chunk: &Chunk, doc: u32) -> FailedDocument {
    let first = chunk.ranges[0].first_doc;
    FailedDocument {
        index: format!("{}-t", chunk.id.shard.index),
        id: Some(id(chunk, doc)),
        position: Position { range: 0, doc: first + doc },
        ..conformance::failed_document(doc, "no")
    }
}

fn part(run: &RunId, chunk: &Chunk, from: u32) -> FailedPart {
    let from = Position { range: 0, doc: chunk.ranges[0].first_doc + from };
    FailedPart { run: run.clone(), chunk: chunk.id.clone(), epoch: 1, from, settled: None }
}

#[tokio::test]
async fn documents_that_arrive_leave_the_stream_and_the_others_stay() {
    let (bench, target) = (Bench::new().await, Memory::default());
    target.0.lock().unwrap().refused = ["a-2".to_owned(), "b-7".to_owned()].into();
    let (report, ended) = bench.retry(&target, &Wanted::default()).await;
    ended.unwrap();
    let total = report.total();
    assert_eq!((total.retried, total.indexed, total.already_there, total.recovered), (8, 6, 0, 0));
    assert_eq!((total.failed.documents(), total.kept.documents(), report.is_clean()), (2, 0, false));
    assert_eq!(total.failed.0["mapper_parsing_exception"].reason, "refused again");
    assert_eq!(bench.counts().await, (18, 0, 2));
    let expected = [("a-2", "refused again"), ("b-7", "refused again")];
    assert_eq!(bench.kept().await, expected.map(|(id, why)| (id.to_owned(), why.to_owned())).into());
    {
        let mut state = target.0.lock().unwrap();
        assert_eq!(state.documents.len(), 6);
        let source = conformance::failed_document(0, "").source.unwrap();
        assert_eq!(state.documents[&("a-t".to_owned(), "a-1".to_owned())], source.get().as_bytes());
        state.refused.clear();
    }
    let (report, ended) = bench.retry(&target, &Wanted::default()).await;
    ended.unwrap();
    assert_eq!((report.total().indexed, report.is_clean()), (2, true));
    assert_eq!((bench.counts().await, bench.kept().await.len()), ((20, 0, 0), 0));
    let (report, ended) = bench.retry(&target, &Wanted::default()).await;
    ended.unwrap();
    assert_eq!(report, RetryReport::default());
}

#[tokio::test]
async fn a_second_retry_is_locked_out_before_it_does_anything() {
    let (bench, target) = (Bench::new().await, Memory::default());
    let (store, now) = (bench.store(), SystemClock.now());
    let held = store.hold_retry(&bench.run.id, "another", now, now + 90_000).await.unwrap();
    assert_eq!(held, RetryLease::Granted);
    let (report, ended) = bench.retry(&target, &Wanted::default()).await;
    let told = ended.unwrap_err().to_string();
    assert!(told.starts_with("another retry of run run is at work") && told.contains(" seconds"), "{told}");
    assert_eq!((report, target.0.lock().unwrap().documents.len()), (RetryReport::default(), 0));
    assert_eq!(bench.counts().await, (12, 0, 8));
    store.release_retry(&bench.run.id, "another").await.unwrap();
    bench.retry(&target, &Wanted::default()).await.1.unwrap();
    assert_eq!(bench.counts().await, (20, 0, 0));
    // It has given the lease back, also when it ended with an error.
    assert_eq!(store.hold_retry(&bench.run.id, "another", 0, 60).await.unwrap(), RetryLease::Granted);
    store.release_retry(&bench.run.id, "another").await.unwrap();
    target.0.lock().unwrap().whole_chunks = true;
    bench.retry(&target, &Wanted::default()).await.1.unwrap_err();
    assert_eq!(store.hold_retry(&bench.run.id, "another", 0, 60).await.unwrap(), RetryLease::Granted);
}

/// Polls a future so many times, and then drops it: as if the process were killed where it stands.
struct Killed<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.future.as_mut().poll(context).map(Some)
    }
}

/// Runs a future in a runtime of its own. That ends when file operations under way have: those of a killed process are
/// over, too.
fn alone<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn killed_at_any_moment_and_repeated_it_counts_and_keeps_each_document_once() {
    for polls in 1.. {
        let bench = alone(Bench::new());
        let target = Memory::default();
        target.0.lock().unwrap().refused = ["a-2".to_owned(), "b-7".to_owned()].into();
        let wanted = Wanted::default();
        let killed = |polls| alone(Killed { future: Box::pin(bench.retry(&target, &wanted)), polls });
        if killed(polls).is_some() {
            assert!(polls > 10, "the retry was over after {polls} polls");
            break;
        }
        // What is not in the stream any more has arrived.
        let (kept, (indexed, already_there, failed)) =
            alone(async { (bench.kept().await, bench.counts().await) });
        for chunk in &bench.chunks {
            for doc in FAILED.concat() {
                let (index, id) = (format!("{}-t", chunk.id.shard.index), id(chunk, doc));
                let arrived = target.0.lock().unwrap().documents.contains_key(&(index, id.clone()));
                assert!(arrived || kept.contains_key(&id), "{id} is lost after {polls} polls");
            }
        }
        assert_eq!((indexed + failed, already_there), (20, 0), "after {polls} polls");
        assert!(kept.len() as u64 <= failed);
        // Once more, and to its end.
        let _ = killed(polls / 2 + 1);
        let (_, ended) = alone(bench.retry(&target, &wanted));
        ended.unwrap();
        assert_eq!(alone(bench.counts()), (18, 0, 2), "after {polls} polls");
        assert_eq!(alone(bench.kept()).into_keys().collect::<Vec<_>>(), ["a-2", "b-7"]);
    }
}

/// A stream whose process ends whenever a part was replaced.
#[derive(Debug)]
struct EndsWhenReplaced(FsFailedDocuments);

#[async_trait]
impl FailedDocuments for EndsWhenReplaced {
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError> {
        self.0.write(part, records).await
    }

    async fn parts(&self, run: &RunId, chunk: &ChunkId) -> Result<Vec<StoredPart>, StoreError> {
        self.0.parts(run, chunk).await
    }

    async fn read(&self, part: &StoredPart) -> Result<Vec<FailedDocument>, StoreError> {
        self.0.read(part).await
    }

    async fn replace(
        &self,
        part: &FailedPart,
        settled: &Settled,
        records: &[FailedDocument],
    ) -> Result<(), StoreError> {
        self.0.replace(part, settled, records).await?;
        Err(StoreError::Unavailable { what: "the stream".to_owned(), reason: "killed".to_owned() })
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.0.delete(run).await
    }

    fn location(&self, run: &RunId) -> String {
        self.0.location(run)
    }
}

#[tokio::test]
async fn killed_between_the_stream_and_the_counts_it_counts_what_the_stream_says() {
    let (bench, target) = (Bench::new().await, Memory::default());
    let wanted = Wanted::default();
    let (_, ended) = bench.retry_with(&EndsWhenReplaced(bench.failed()), &target, &wanted).await;
    assert!(matches!(ended, Err(RetryError::Store(_))), "{ended:?}");
    // One part is replaced, its documents not yet counted.
    assert_eq!(bench.counts().await, (12, 0, 8));
    assert!(bench.kept().await.len() < 8);
    let (report, ended) = bench.retry(&target, &wanted).await;
    ended.unwrap();
    assert!(report.total().recovered > 0);
    assert_eq!((bench.counts().await, bench.kept().await.len()), ((20, 0, 0), 0));
}

#[tokio::test]
async fn what_arrived_before_the_target_went_away_is_settled() {
    let (bench, target) = (Bench::new().await, Memory::default());
    target.0.lock().unwrap().answers = Some(1);
    let (report, ended) = bench.retry(&target, &Wanted::default()).await;
    assert!(matches!(ended, Err(RetryError::Target(TargetError::Unreachable { .. }))), "{ended:?}");
    let arrived = target.0.lock().unwrap().documents.len() as u64;
    assert!((1..4).contains(&arrived), "{arrived}");
    assert_eq!((report.total().indexed, report.total().retried), (arrived, arrived));
    assert_eq!(bench.counts().await, (12 + arrived, 0, 8 - arrived));
    assert_eq!(bench.kept().await.len() as u64, 8 - arrived);
}

#[tokio::test]
async fn only_what_is_wanted_and_can_be_sent_is_sent() {
    let (bench, target) = (Bench::new().await, Memory::default());
    let (a, b) = match bench.chunks[0].id.shard.index.as_str() {
        "a" => (&bench.chunks[0], &bench.chunks[1]),
        _ => (&bench.chunks[1], &bench.chunks[0]),
    };
    let other =
        |doc, error_type: &str| FailedDocument { error_type: error_type.to_owned(), ..record(a, doc) };
    let records = [
        FailedDocument { source: None, ..other(1, "missing_source") },
        other(2, "partial_source"),
        other(4, "strict_dynamic_mapping_exception"),
    ];
    bench.failed().write(&part(&bench.run.id, a, 0), &records).await.unwrap();
    let nothing = FailedDocument { id: None, ..other(7, "missing_id") };
    bench.failed().write(&part(&bench.run.id, a, 5), &[nothing]).await.unwrap();

    let strict = Wanted { error_type: Some("strict_dynamic_mapping_exception".to_owned()), indices: None };
    let (report, ended) = bench.retry(&target, &strict).await;
    ended.unwrap();
    let total = report.total();
    assert_eq!((total.indexed, total.kept.documents(), report.is_clean()), (1, 0, true));
    let only_a = Wanted { error_type: None, indices: Some(["a".to_owned()].into()) };
    let (report, ended) = bench.retry(&target, &only_a).await;
    ended.unwrap();
    assert_eq!((report.total().retried, report.indices.len(), report.is_clean()), (0, 1, false));
    let kinds: Vec<&String> = report.indices[0].kept.0.keys().collect();
    assert_eq!(kinds, ["missing_id", "missing_source", "partial_source"]);
    assert_eq!((bench.counts().await, bench.kept().await.len()), ((13, 0, 7), 7));
    let arrived: Vec<String> = target.0.lock().unwrap().documents.keys().map(|(_, id)| id.clone()).collect();
    assert_eq!(arrived, [id(a, 4)]);
    assert!(bench.kept().await.contains_key(&id(b, 1)));

    target.0.lock().unwrap().whole_chunks = true;
    let (_, ended) = bench.retry(&target, &Wanted::default()).await;
    assert!(matches!(ended, Err(RetryError::WholeChunks(_))));
}

#[tokio::test]
async fn chunks_that_are_not_done_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (run, shards, chunks) = conformance::plan("run", 1, 1);
    let bench = Bench { dir, run, chunks };
    let (store, failed, chunk) = (bench.store(), bench.failed(), &bench.chunks[0]);
    conformance::store_plan(&store, &bench.run, &shards, &bench.chunks).await;
    store.claim(&bench.run.id, &chunk.id, "worker", 0, 60).await.unwrap();
    failed.write(&part(&bench.run.id, chunk, 0), &[record(chunk, 1), record(chunk, 6)]).await.unwrap();
    let progress = Progress {
        cursor: Position { range: 0, doc: chunk.ranges[0].first_doc + 5 },
        counters: Counters { indexed: 4, failed: 1, ..Counters::default() },
        ..Progress::default()
    };
    store.save(&bench.run.id, &chunk.id, 1, &progress, 60).await.unwrap();
    let (report, ended) = bench.retry(&Memory::default(), &Wanted::default()).await;
    ended.unwrap();
    assert_eq!((report.total().unfinished, report.total().retried, report.is_clean()), (1, 0, false));
    // Told is what is counted: the other one lies behind the cursor.
    assert_eq!(bench.kept().await.into_keys().collect::<Vec<_>>(), [id(chunk, 1)]);
}
