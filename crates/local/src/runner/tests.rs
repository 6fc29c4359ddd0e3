use super::*;
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
    let store = Arc::new(SqliteStore::open_or_create(&path, &lock).unwrap());
    let (mut run, shards, chunks) = conformance::plan("run", 1, chunks);
    run.desired_workers = workers;
    conformance::store_plan(store.as_ref(), &run, &shards, &chunks).await;
    // Nothing is enqueued: the runner finds that out by itself.
    Bench { _dir: dir, store, lock, run }
}

/// Works chunks off until there are none, or until told to stop.
async fn work_off(store: Arc<SqliteStore>, context: WorkerContext) -> WorkerEnd<String> {
    let clock = SteadyClock;
    let mut received = false;
    loop {
        if context.stop.is_cancelled() {
            return WorkerEnd::Stopped;
        }
        let now = clock.now();
        let Some(message) = store.receive(now, now + 60_000).await.unwrap() else {
            return WorkerEnd::Idle { received };
        };
        received = true;
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
                let now = SteadyClock.now();
                let message = store.receive(now, now + 60_000).await.unwrap().unwrap();
                Queue::hand_back(store.as_ref(), &message).await.unwrap();
                return WorkerEnd::Idle { received: true };
            }
            work_off(store, context).await
        })
    };
    let runner = Runner::new(bench.store.clone(), bench.lock, worker);
    let end = runner.run(&bench.run.id, CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!(end, RunnerEnd::Finished);
}

#[tokio::test]
async fn work_that_no_worker_finds_ends_the_run() {
    let bench = bench(2, 1).await;
    let worker = move |_: WorkerContext| -> WorkerFuture<String> {
        Box::pin(async { WorkerEnd::Idle { received: false } })
    };
    let runner =
        Runner::new(bench.store.clone(), bench.lock, worker).with_stalled(Duration::from_millis(300));
    let error = runner.run(&bench.run.id, CancellationToken::new(), |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("no worker receives it: it is damaged"), "{error}");
}

/// A run of which some chunks are done, one is in a dead worker's hands, and one was given up.
async fn begun(path: &std::path::Path) -> RunId {
    let lock = RunnerLock::acquire(path).unwrap().unwrap();
    let store = SqliteStore::open_or_create(path, &lock).unwrap();
    let (run, shards, chunks) = conformance::plan("run", 4, 6);
    conformance::store_plan(&store, &run, &shards, &chunks).await;
    let ids: Vec<_> = chunks.iter().map(|chunk| chunk.id.clone()).collect();
    store.enqueue(&run.id, &ids).await.unwrap();
    for chunk in &chunks[..20] {
        let message = store.receive(0, 60).await.unwrap().unwrap();
        store.claim(&run.id, &chunk.id, "owner", 0, 60).await.unwrap();
        store.complete(&run.id, &chunk.id, 1, &conformance::progress(chunk, DOCS)).await.unwrap();
        store.delete(&message).await.unwrap();
    }
    store.claim(&run.id, &ids[20], "dead", 0, u64::MAX).await.unwrap();
    store.add_sample(&run.id, &Sample { at: 1, documents: 2, stored_bytes: 3, missing: 0 }).await.unwrap();
    run.id
}

/// Works on the run of a state file until it ends; how it ended and which chunks are through, or nothing where it was
/// refused or broke off.
async fn ending(path: &std::path::Path, id: &RunId) -> Option<(RunState, Vec<String>, BTreeSet<String>)> {
    let lock = RunnerLock::acquire(path).unwrap().unwrap();
    let store = Arc::new(SqliteStore::open_or_create(path, &lock).ok()?);
    let through = Arc::new(Mutex::new(BTreeSet::new()));
    let (seen, given) = (through.clone(), store.clone());
    let worker = move |context: WorkerContext| -> WorkerFuture<String> {
        let (store, seen) = (given.clone(), seen.clone());
        Box::pin(async move {
            let mut received = false;
            while !context.stop.is_cancelled() {
                match work_once(&store).await {
                    Ok(Some(chunk)) => seen.lock().unwrap().insert(chunk),
                    Ok(None) => return WorkerEnd::Idle { received },
                    Err(error) => return WorkerEnd::Fatal(error.to_string()),
                };
                received = true;
            }
            WorkerEnd::Stopped
        })
    };
    let runner = Runner::new(store.clone(), lock, worker).with_stalled(Duration::from_millis(300));
    if runner.run(id, CancellationToken::new(), |_| ()).await.ok()? != RunnerEnd::Finished {
        return None;
    }
    let run = store.run(id).await.ok()?;
    let state = backfill::finish::finish(store.as_ref(), &SteadyClock, &run, &[]).await.ok()??;
    let through = through.lock().unwrap().clone();
    Some((state, store.run(id).await.ok()?.damage, through))
}

#[tokio::test]
async fn no_sector_of_zeros_in_the_state_file_makes_a_run_hang_or_end_too_early() {
    const SECTOR: usize = 512;
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("original.db");
    let run = begun(&original).await;
    let bytes = std::fs::read(&original).unwrap();
    let expected = ending(&original, &run).await.unwrap();
    assert_eq!(expected.2.len(), 28);
    let mut offsets = (0..bytes.len()).step_by(SECTOR);
    let mut endings = tokio::task::JoinSet::new();
    let mut same = 0;
    loop {
        while endings.len() < 16
            && let Some(at) = offsets.next()
        {
            let mut damaged = bytes.clone();
            damaged[at..at + SECTOR].fill(0);
            let path = dir.path().join(format!("{at}.db"));
            std::fs::write(&path, &damaged).unwrap();
            let run = run.clone();
            endings.spawn(async move {
                let ended = tokio::time::timeout(Duration::from_secs(60), ending(&path, &run)).await;
                (at, ended.unwrap_or_else(|_| panic!("hangs with zeros at {at}")))
            });
        }
        let Some(ended) = endings.join_next().await else { break };
        if let (at, Some((state, damage, through))) = ended.unwrap()
            && (state, &damage) == (expected.0, &expected.1)
        {
            same += 1;
            assert!(through.is_superset(&expected.2), "ended too early with zeros at {at}");
        }
    }
    assert!(same > 0, "zeros where nothing is do no harm");
}

/// Works one chunk off; returns its name, or `None` if there is no work.
async fn work_once(store: &SqliteStore) -> Result<Option<String>, StoreError> {
    let now = SteadyClock.now();
    let Some(message) = store.receive(now, now + 60_000).await? else { return Ok(None) };
    let claim = store.claim(&message.run, &message.chunk, "worker", now, now + 60_000).await?;
    let ClaimOutcome::Granted(chunk) = claim else {
        store.delete(&message).await?;
        return Ok(Some(message.chunk.to_string()));
    };
    let through = conformance::progress(&chunk, DOCS);
    store.complete(&message.run, &chunk.id, chunk.epoch, &through).await?;
    store.delete(&message).await?;
    Ok(Some(chunk.id.to_string()))
}
