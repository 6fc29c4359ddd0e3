//! The pipeline as a worker runs it: from a repository into a target, with checkpoints in SQLite.

use crate::Result;
use crate::blobs::{self, Counts, Pace};
use crate::measure::{Measured, Stopwatch, peak};
use crate::target::Memory;
use ::target::{Compression, OpenSearchTarget, TargetConfig};
use backfill::buffers::Buffers;
use backfill::indices::Handling;
use backfill::model::{Counters, Run, RunId, RunSpec, Selection};
use backfill::plan::outline;
use backfill::planning::Planner;
use backfill::ports::{Checkpoints, Clock, SystemClock, Target};
use backfill::source::Repository;
use backfill::worker::flow::Flow;
use backfill::worker::{Step, Worker, WorkerOptions};
use clap::Args;
use local::{FsFailedDocuments, RunnerLock, SqliteStore};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Where to and how.
#[derive(Args, Clone)]
pub(crate) struct Arguments {
    /// Directory or S3 address
    #[arg(long)]
    repo: String,
    #[arg(long)]
    index: String,
    /// Address of a cluster; without one, everything is taken and forgotten
    #[arg(long)]
    target: Option<String>,
    #[arg(long)]
    gzip: bool,
    /// Full batches from the first on instead of larger ones by and by, so that all runs send the same requests
    #[arg(long)]
    steady: bool,
    /// Threads of a worker's runtime; with one, it is the worker's own thread
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// How often everything is moved, one run after the other
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// As the command's own default
    #[arg(long, default_value_t = 256 << 20)]
    chunk_size: u64,
    #[command(flatten)]
    pace: Pace,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let (repo, index, size) = (&arguments.repo, &arguments.index, arguments.chunk_size);
    let manner = if arguments.steady { Manner::steady() } else { Manner::default() };
    let manner = Manner { threads: arguments.threads, ..manner };
    let jobs = (0..arguments.times).map(|number| {
        let dir = dir.path().join(number.to_string());
        std::fs::create_dir(&dir)?;
        Job::prepare(repo, index, size, &dir, Arc::default())
    });
    let jobs = jobs.collect::<Result<Vec<_>>>()?;
    let target: Option<TargetConfig> = arguments.target.as_ref().map(|url| {
        let mut config = TargetConfig::new(url);
        config.compression = if arguments.gzip { Compression::On } else { Compression::Off };
        config
    });
    work(
        &jobs,
        &manner,
        arguments.workers,
        Arc::new(Counts::slowed(arguments.pace)),
        move || -> Result<Arc<dyn Target>> {
            Ok(match &target {
                Some(config) => Arc::new(OpenSearchTarget::new(config.clone())?),
                None => Arc::new(Memory::default()),
            })
        },
    )
}

/// How a worker works.
pub(crate) struct Manner {
    options: WorkerOptions,
    threads: usize,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner { options: WorkerOptions::default(), threads: 1 }
    }
}

impl Manner {
    /// With full batches from the first on.
    pub(crate) fn steady() -> Manner {
        let mut manner = Manner::default();
        manner.options.flow.min_batch_bytes = manner.options.flow.max_batch_bytes;
        manner
    }
}

/// A planned run.
pub(crate) struct Job {
    repo: String,
    run: Run,
    store: SqliteStore,
    failed: FsFailedDocuments,
    needed: u64,
    /// Documents that must arrive.
    live: u64,
}

impl Job {
    /// Plans the run of these indices of the only snapshot; `counts` are those of planning alone.
    pub(crate) fn prepare(
        repo: &str,
        index: &str,
        chunk_bytes: u64,
        dir: &Path,
        counts: Arc<Counts>,
    ) -> Result<Job> {
        let state = dir.join("state.sqlite");
        let lock = RunnerLock::acquire(&state)?.ok_or("the state file is in use")?;
        let store = SqliteStore::open_or_create(&state, &lock)?;
        let failed = FsFailedDocuments::beside(&state);
        let selection = Selection { patterns: index.to_owned(), include_hidden: false };
        let (run, shards) = runtime()?.block_on(async {
            let repository = Repository::open(blobs::open(repo, counts).await?).await?;
            let opened = repository.snapshot("latest", false).await?;
            let outline = outline(&repository, &opened, &selection, &Handling::default()).await?;
            let spec = RunSpec {
                repository: repo.to_owned(),
                snapshot: outline.snapshot.clone(),
                snapshot_uuid: outline.snapshot_uuid.clone(),
                selection,
                target: "bench".to_owned(),
                allow_partial: false,
                types: None,
                allow_partial_source: false,
                time_fields: Default::default(),
                chunk_bytes,
            };
            let run = outline.run(RunId("bench".to_owned()), spec, 1, SystemClock.now());
            store.create_run(&run, None).await?;
            let planner = Planner {
                repository: &repository,
                opened: &opened,
                outline: &outline,
                checkpoints: &store,
                queue: &store,
                resend: true,
            };
            planner.run(&run, &CancellationToken::new()).await?;
            let shards = store.shards(&run.id).await?;
            Ok::<_, crate::measure::Fault>((run, shards))
        })?;
        if let Some(finding) = shards.iter().find_map(|shard| shard.findings.first()) {
            return Err(format!("a shard cannot be planned: {finding}").into());
        }
        let (needed, live) =
            shards.iter().fold((0, 0), |(n, live), s| (n + s.stored_bytes, live + s.live_docs));
        Ok(Job { repo: repo.to_owned(), run, store, failed, needed, live })
    }

    /// One worker does all of it.
    pub(crate) fn work(
        &self,
        manner: &Manner,
        counts: Arc<Counts>,
        target: &Arc<dyn Target>,
    ) -> Result<Measured> {
        work(std::slice::from_ref(self), manner, 1, counts, || Ok(target.clone()))
    }

    /// What is planned: shards, and segments that have something in them.
    pub(crate) fn planned(&self) -> Result<(u64, u64)> {
        runtime()?.block_on(async {
            let (mut shards, mut segments) = (0, 0);
            for shard in self.store.shards(&self.run.id).await? {
                let chunks = self.store.chunks(&self.run.id, &shard.id).await?;
                let ranges = chunks.iter().flat_map(|chunk| &chunk.ranges);
                segments += ranges.map(|range| &range.segment).collect::<HashSet<_>>().len() as u64;
                shards += 1;
            }
            Ok((shards, segments))
        })
    }

    /// What became of its documents.
    fn counters(&self) -> Result<Counters> {
        Ok(runtime()?.block_on(self.store.summary(&self.run.id, SystemClock.now()))?.counters)
    }

    fn worker(
        &self,
        number: u32,
        manner: &Manner,
        counts: Arc<Counts>,
        target: Arc<dyn Target>,
    ) -> Result<()> {
        let runtime = match manner.threads {
            1 => runtime()?,
            threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
        };
        let options = manner.options.clone();
        runtime.block_on(async {
            let clock = Arc::new(SystemClock);
            let worker = Worker {
                owner: format!("bench-{number}"),
                run: self.run.clone(),
                blobs: blobs::open(&self.repo, counts).await?,
                checkpoints: Arc::new(self.store.clone()),
                queue: Arc::new(self.store.queue_of(&self.run.id)),
                target,
                failed: Arc::new(self.failed.clone()),
                clock: clock.clone(),
                flow: Arc::new(Mutex::new(Flow::new(options.flow, clock.now()))),
                buffers: Buffers::default(),
                waits: backfill::waits::Waits::default(),
                options,
            };
            let stop = CancellationToken::new();
            while worker.step(&stop).await? != Step::Idle {}
            Ok(())
        })
    }
}

/// As many workers at once, each a thread with a runtime and clients of its own, go through these jobs.
fn work(
    jobs: &[Job],
    manner: &Manner,
    workers: u32,
    counts: Arc<Counts>,
    target: impl Fn() -> Result<Arc<dyn Target>> + Sync,
) -> Result<Measured> {
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|number| {
                let (counts, target) = (&counts, &target);
                scope.spawn(move || {
                    let target = target()?;
                    jobs.iter().try_for_each(|job| job.worker(number, manner, counts.clone(), target.clone()))
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a worker broke off")?)
    })?;
    let (wall, cpu) = watch.read();
    let (requests, fetched) = counts.read();
    let mut measured = Measured { wall, cpu, peak: peak()?, requests, fetched, ..Measured::default() };
    for job in jobs {
        let counters = job.counters()?;
        if counters.failed + counters.damaged > 0 || job.live == 0 || counters.documents() != job.live {
            return Err(format!("of {} documents: {counters:?}", job.live).into());
        }
        measured.again += counters.retries;
        measured.documents += counters.documents();
        measured.bytes += counters.source_bytes;
        measured.needed += job.needed;
    }
    Ok(measured)
}

/// A runtime like that of a worker's thread.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
