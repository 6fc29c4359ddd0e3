use super::*;
use crate::store::Mode;
use backfill::model::Run;
use backfill::ports::{ClaimOutcome, Queue};
use conformance::DOCS;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

struct Bench {
    _dir: TempDir,
    store: Arc<SqliteStore>,
    lock: RunnerLock,
    run: Run,
}

async fn bench(workers: u32, chunks: u32) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let lock = RunnerLock::acquire(&path).unwrap().unwrap();
    let store = Arc::new(SqliteStore::open(&path, Mode::ReadWriteCreate).unwrap());
    let (mut run, shards, chunks) = conformance::plan("run", 1, chunks);
    run.desired_workers = workers;
    conformance::store_plan(store.as_ref(), &run, &shards, &chunks).await;
    // Nothing is enqueued: the runner finds that out by itself.
    Bench { _dir: dir, store, lock, run }
}

/// Works chunks off until there are none, or until told to stop.
async fn work_off(store: Arc<SqliteStore>, context: WorkerContext) -> WorkerEnd<String> {
    let clock = SystemClock;
    loop {
        if context.stop.is_cancelled() {
            return WorkerEnd::Stopped;
        }
        let now = clock.now();
        let Some(message) = store.receive(now, now + 60_000).await.unwrap() else { return WorkerEnd::Idle };
        let claim = store.claim(&message.run, &message.chunk, "worker", now, now + 60_000).await.unwrap();
        let ClaimOutcome::Granted(chunk) = claim else { panic!("nobody else has it") };
        let through = conformance::progress(&chunk, DOCS);
        store.complete(&message.run, &chunk.id, chunk.epoch, &through).await.unwrap();
        store.delete(&message).await.unwrap();
    }
}

/// Waits until the workers that run are these.
async fn running(numbers: &watch::Sender<BTreeSet<u32>>, expected: std::ops::Range<u32>) {
    let expected: BTreeSet<u32> = expected.collect();
    numbers.subscribe().wait_for(|running| *running == expected).await.unwrap();
}

/// A worker that is known to run until it is told to stop.
async fn stay(numbers: Arc<watch::Sender<BTreeSet<u32>>>, context: WorkerContext) -> WorkerEnd<String> {
    numbers.send_modify(|running| {
        running.insert(context.number);
    });
    context.stop.cancelled().await;
    numbers.send_modify(|running| {
        running.remove(&context.number);
    });
    WorkerEnd::Stopped
}

#[tokio::test]
async fn it_ends_when_all_work_is_done() {
    let bench = bench(3, 20).await;
    let store = bench.store.clone();
    let threads = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = threads.clone();
    let worker = move |context: WorkerContext| -> WorkerFuture<String> {
        seen.lock().unwrap().insert(std::thread::current().name().unwrap_or_default().to_owned());
        Box::pin(work_off(store.clone(), context))
    };
    let mut samples = Vec::new();
    let runner = Runner::new(bench.store.clone(), bench.lock, worker);
    let end = runner.run(&bench.run.id, CancellationToken::new(), |event| {
        if let RunnerEvent::Sampled(sample) = event {
            samples.push(sample.documents);
        }
    });
    assert_eq!(end.await.unwrap(), RunnerEnd::Finished);
    let summary = bench.store.summary(&bench.run.id, 0).await.unwrap();
    assert_eq!((summary.chunks_done, summary.chunks_total), (40, 40));
    assert_eq!(samples.last(), Some(&summary.counters.documents()));
    let names: Vec<String> = threads.lock().unwrap().iter().cloned().collect();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2"]);
    // The caller concludes the run under the lock, which goes with the runner.
    assert!(RunnerLock::is_held(bench.store.path()));
    drop(runner);
    assert!(!RunnerLock::is_held(bench.store.path()));
}

#[tokio::test]
async fn it_follows_the_number_that_is_wanted_and_the_stop() {
    let bench = bench(2, 20).await;
    let (id, store) = (bench.run.id.clone(), bench.store.clone());
    let numbers = Arc::new(watch::Sender::new(BTreeSet::new()));
    let seen = numbers.clone();
    let worker =
        move |context: WorkerContext| -> WorkerFuture<String> { Box::pin(stay(seen.clone(), context)) };
    let runner = Runner::new(bench.store.clone(), bench.lock, worker);
    let operator = async {
        running(&numbers, 0..2).await;
        for wanted in [5, 3, 0, 4] {
            store.set_desired_workers(&id, wanted).await.unwrap();
            running(&numbers, 0..wanted).await;
        }
        store.set_state(&id, RunState::Stopped, 1, &[]).await.unwrap();
    };
    let (end, ()) = tokio::join!(runner.run(&id, CancellationToken::new(), |_| ()), operator);
    assert_eq!(end.unwrap(), RunnerEnd::Stopped(RunState::Stopped));
    assert!(numbers.borrow().is_empty());
}

#[tokio::test]
async fn an_interrupt_waits_for_the_workers() {
    let bench = bench(3, 20).await;
    let numbers = Arc::new(watch::Sender::new(BTreeSet::new()));
    let seen = numbers.clone();
    let worker =
        move |context: WorkerContext| -> WorkerFuture<String> { Box::pin(stay(seen.clone(), context)) };
    let interrupt = CancellationToken::new();
    let runner = Runner::new(bench.store.clone(), bench.lock, worker);
    let operator = async {
        running(&numbers, 0..3).await;
        interrupt.cancel();
    };
    let (end, ()) = tokio::join!(runner.run(&bench.run.id, interrupt.clone(), |_| ()), operator);
    assert_eq!(end.unwrap(), RunnerEnd::Interrupted);
    assert!(numbers.borrow().is_empty());
}

#[tokio::test]
async fn one_failed_worker_does_not_end_the_run() {
    let bench = bench(2, 5).await;
    let store = bench.store.clone();
    let failed = Arc::new(Notify::new());
    let told = failed.clone();
    let worker = move |context: WorkerContext| -> WorkerFuture<String> {
        let (store, failed) = (store.clone(), failed.clone());
        Box::pin(async move {
            if context.number == 0 {
                return WorkerEnd::Fatal("no more".to_owned());
            }
            failed.notified().await;
            work_off(store, context).await
        })
    };
    let mut failures = Vec::new();
    let runner = Runner::new(bench.store.clone(), bench.lock, worker);
    let end = runner.run(&bench.run.id, CancellationToken::new(), |event| {
        if let RunnerEvent::Failed { worker, failure } = event {
            failures.push((worker, failure.to_string()));
            told.notify_one();
        }
    });
    assert_eq!(end.await.unwrap(), RunnerEnd::Finished);
    assert_eq!(failures, [(0, "no more".to_owned())]);
}

#[tokio::test]
async fn when_all_workers_fail_the_run_ends_with_their_error() {
    let bench = bench(3, 5).await;
    let started = Arc::new(AtomicU32::new(0));
    let count = started.clone();
    let worker = move |context: WorkerContext| -> WorkerFuture<String> {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            assert_ne!(context.number, 2, "a defect");
            WorkerEnd::Fatal("the target denies access".to_owned())
        })
    };
    let runner = Runner::new(bench.store.clone(), bench.lock, worker);
    let end = runner.run(&bench.run.id, CancellationToken::new(), |_| ()).await.unwrap();
    let RunnerEnd::Failed(failures) = end else { panic!("{end:?}") };
    assert_eq!(failures.len(), 2);
    assert_eq!(failures[0], WorkerFailure::Error("the target denies access".to_owned()));
    assert!(matches!(&failures[1], WorkerFailure::Broken(reason) if reason.contains("a defect")));
    assert_eq!(started.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn idle_workers_come_back_when_there_is_work_again() {
    // The first attempt at each chunk is handed back after everyone else went idle.
    let bench = bench(2, 1).await;
    let store = bench.store.clone();
    let given_up = Arc::new(AtomicU32::new(0));
    let worker = move |context: WorkerContext| -> WorkerFuture<String> {
        let (store, given_up) = (store.clone(), given_up.clone());
        Box::pin(async move {
            if given_up.fetch_add(1, Ordering::SeqCst) < 2 {
                let now = SystemClock.now();
                let message = store.receive(now, now + 60_000).await.unwrap().unwrap();
                Queue::hand_back(store.as_ref(), &message).await.unwrap();
                return WorkerEnd::Idle;
            }
            work_off(store, context).await
        })
    };
    let runner = Runner::new(bench.store.clone(), bench.lock, worker);
    let end = runner.run(&bench.run.id, CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!(end, RunnerEnd::Finished);
}
