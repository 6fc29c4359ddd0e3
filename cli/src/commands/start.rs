//! `backfill start --local`: the whole job in the foreground.

use super::control::{check_workers, lock};
use super::stack;
use super::state::LocalState;
use super::status::{exit_of, print_conclusion};
use super::{Context, nothing_selected, open_snapshot, print_json, print_line};
use crate::args::{SendArgs, StartArgs};
use crate::exit::{CommandError, Exit, Result};
use crate::memory;
use crate::progress::Progress;
use crate::render::{Align, bytes, count, table, worked};
use crate::settings::{self, LATEST, RepositorySetting, TargetSetting, handling, selection, snapshot_name};
use crate::terminal;
use crate::waiting::Announcer;
use backfill::buffers::Buffers;
use backfill::destinations::{self, Destinations};
use backfill::finish::finish;
use backfill::limit::FailureLimit;
use backfill::model::differences::{differences, refusal_of_another_job};
use backfill::model::{Amendment, Finding, Planning, Run, RunId, RunSpec, RunState};
use backfill::patient::{PatientBlobs, PatientTarget, ask_target};
use backfill::plan::{Outline, outline};
use backfill::planning::{Planner, note_unreadable};
use backfill::ports::{
    Blobs, Checkpoints, Clock, Creation, Queue, SteadyClock, StoreError, Summary, SystemClock, Target,
};
use backfill::status::StatusReport;
use backfill::waits::Waits;
use backfill::worker::flow::{Flow, FlowLimits};
use backfill::worker::{Step, StepError, Worker, WorkerOptions};
use local::runner::{Runner, RunnerEnd, RunnerEvent, WorkerContext, WorkerEnd, WorkerFailure, WorkerFuture};
use local::{FsFailedDocuments, Mode, RunnerLock, SqliteStore};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Chunks in a row that must fail before that counts as the worker's failure.
const MAX_FAILURES: u32 = 10;
/// Indices that such chunks must be of, unless the run has fewer: what is wrong with a few indices must not keep the
/// others from being migrated.
const MAX_FAILING_INDICES: usize = 10;

/// The chunks that failed in a row, for reasons that may be their own.
struct Failures {
    /// Indices of the run.
    indices: usize,
    in_a_row: u32,
    of: BTreeSet<String>,
}

impl Failures {
    fn new(indices: usize) -> Failures {
        Failures { indices, in_a_row: 0, of: BTreeSet::new() }
    }

    fn none(&mut self) {
        self.in_a_row = 0;
        self.of.clear();
    }

    /// One more chunk of this index has failed. Whether it is still worth while to try others.
    fn go_on_after(&mut self, index: &str) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if !self.of.contains(index) {
            self.of.insert(index.to_owned());
        }
        self.in_a_row <= MAX_FAILURES || self.of.len() < self.indices.min(MAX_FAILING_INDICES)
    }
}

pub(super) async fn start(context: &Context<'_>, args: &StartArgs) -> Result<Exit> {
    if let Some(setting) = settings::stack(&args.state, context.config) {
        return stack::start(context, args, &setting).await;
    }
    let configured = context.config.backfill.as_ref().is_some_and(|b| b.local.is_some());
    if !args.state.local && !configured {
        return Err(CommandError::usage(
            "say where it is to run: --stack NAME on AWS, or --local on this machine",
        ));
    }
    let path = settings::state_file(&args.state, context.config)?;
    let mut args = args.clone();
    if !args.new && path.exists() {
        let newest = match SqliteStore::open(&path, Mode::ReadOnlyExisting) {
            Ok(store) => store.latest_run().await?,
            // Whoever made the file was killed at once.
            Err(StoreError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(run) = newest.filter(|run| !run.state.is_finished()) {
            settings::as_in_run(&mut args, context.config, &run.spec);
        }
    }
    let args = &args;
    let repository = RepositorySetting::new(&args.repository, context.config)?;
    let target = TargetSetting::new(&args.target, Some(&args.send), context.config)?;
    if let Some(workers) = args.workers {
        check_workers(workers)?;
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .map_err(|error| CommandError::usage(no_directory(&path, dir, &error)))?;
    }
    let lock = lock(&path, "see `backfill status`, or choose another --state")?;
    let state = LocalState::open_or_create(path, &lock)?;
    let job = Job { context, args, repository, target, state };
    let run = job.prepare().await?;
    if run.state.is_finished() {
        job.say(&format!("Run {} has ended already; --new starts another one.", run.id));
        return job.conclude(&run.id).await;
    }
    job.work(&run, lock).await
}

/// Why the directory of a state file cannot be made.
fn no_directory(path: &Path, dir: &Path, error: &std::io::Error) -> String {
    format!(
        "there is no directory {} for the state file {}, and it cannot be made: {error}",
        dir.display(),
        path.display()
    )
}

/// A start, with all that it was given.
struct Job<'a> {
    context: &'a Context<'a>,
    args: &'a StartArgs,
    repository: RepositorySetting,
    target: TargetSetting,
    state: LocalState,
}

impl Job<'_> {
    /// Tells people what happens; scripts read standard output.
    fn say(&self, text: &str) {
        self.context.say(text);
    }

    /// The run to work on: the one under way, or a new one, planned and stored.
    async fn prepare(&self) -> Result<Run> {
        let name = snapshot_name(&self.args.snapshot, self.context.config);
        let newest = self.state.store.latest_run().await?;
        if let Some(run) = newest.as_ref().filter(|run| !self.args.new && !run.state.is_finished()) {
            // Before anything is opened: another repository may lack the snapshot, which is not what is wrong then.
            let name = if name == LATEST { &run.spec.snapshot } else { &name };
            self.refuse_another_job(run, &self.spec(name, &run.spec.snapshot_uuid)?)?;
        }
        let waits = Waits::default();
        let known = newest.as_ref().filter(|run| !self.args.new && !run.state.is_finished());
        let known = known.map(|run| (self.state.store.clone(), run.id.clone()));
        let announcer = Announcer::start(waits.clone(), self.context.json, known);
        let prepared = self.prepare_with(&name, newest, waits).await;
        announcer.end().await;
        prepared
    }

    async fn prepare_with(&self, name: &str, newest: Option<Run>, waits: Waits) -> Result<Run> {
        let blobs = self.repository.open().await?;
        let blobs: Arc<dyn Blobs> =
            Arc::new(PatientBlobs::new(blobs, self.args.send.target_wait, waits.clone()));
        let (repository, opened) = open_snapshot(blobs, name, self.args.snapshot.allow_partial).await?;
        let handling = handling(&self.args.documents, self.context.config, Some(&self.target))?;
        let spec = self.spec(&opened.info.name, &opened.info.uuid)?;
        let (run, outlined) = match self.run_under_way(&spec, newest.as_ref(), &waits).await? {
            Some(run) => (run, None),
            None => {
                let target = self.target.open()?;
                self.wait_for(target.as_ref(), &waits).await?;
                let mut outline = outline(&repository, &opened, &spec.selection, &handling).await?;
                let destinations = self.check_outline(&mut outline, target.as_ref(), &waits).await?;
                (self.create(spec, &outline, destinations, newest.as_ref()).await?, Some(outline))
            }
        };
        if run.state.is_finished() || run.planning == Planning::Complete {
            return Ok(run);
        }
        // What a planner that was killed has left is gone on with.
        let outline = match outlined {
            Some(outline) => outline,
            None => outline(&repository, &opened, &run.spec.selection, &handling).await?,
        };
        let (checkpoints, queue) = (&self.state.store, &self.state.store);
        let planner = Planner {
            repository: &repository,
            opened: &opened,
            outline: &outline,
            checkpoints,
            queue,
            resend: true,
        };
        let ended = planner.run(&run, &CancellationToken::new()).await?;
        note_unreadable(checkpoints, &run.id, &ended.unreadable, SystemClock.now()).await?;
        if !ended.unreadable.is_empty() {
            self.say(&format!(
                "{} shards cannot be read for now; the others are migrated.",
                ended.unreadable.len()
            ));
        }
        Ok(self.state.store.run(&run.id).await?)
    }

    /// What is asked for, of this snapshot.
    fn spec(&self, snapshot: &str, uuid: &str) -> Result<RunSpec> {
        let handling = handling(&self.args.documents, self.context.config, Some(&self.target))?;
        Ok(RunSpec {
            repository: self.repository.location.clone(),
            snapshot: snapshot.to_owned(),
            snapshot_uuid: uuid.to_owned(),
            selection: selection(&self.args.snapshot, self.context.config),
            target: self.target.location(),
            allow_partial: self.args.snapshot.allow_partial,
            types: handling.types,
            allow_partial_source: handling.allow_partial_source,
            time_fields: handling.time_fields.clone(),
            chunk_bytes: self.args.chunk.bytes(),
        })
    }

    /// Refuses to continue an unfinished run with arguments that ask for something else.
    fn refuse_another_job(&self, run: &Run, asked: &RunSpec) -> Result<()> {
        match refusal_of_another_job(run, asked) {
            None => Ok(()),
            Some(refusal) => Err(CommandError::usage(format!(
                "{refusal}, or choose another state file than {} with --state",
                self.state.path.display()
            ))),
        }
    }

    /// The latest run, if it is the one that is meant.
    async fn run_under_way(
        &self,
        spec: &RunSpec,
        newest: Option<&Run>,
        waits: &Waits,
    ) -> Result<Option<Run>> {
        let Some(run) = newest.filter(|_| !self.args.new).cloned() else { return Ok(None) };
        if run.state.is_finished() {
            return Ok(differences(&run.spec, spec).is_empty().then_some(run));
        }
        self.refuse_another_job(&run, spec)?;
        if self.args.chunk.chunk_size.is_some_and(|asked| asked != run.spec.chunk_bytes) {
            self.say(&format!(
                "Run {} keeps its chunk size of {}; --chunk-size applies to new runs only.",
                run.id,
                bytes(run.spec.chunk_bytes)
            ));
        }
        let target = self.target.open()?;
        self.wait_for(target.as_ref(), waits).await?;
        self.say(&format!("Continuing run {}.", run.id));
        let create = self.args.send.create_missing_indices;
        let asked = self.patient(target.as_ref(), waits);
        let run = destinations::resume(&self.state.store, &asked, &run.id, create).await?;
        for lost in destinations::replaced(&asked, &run).await? {
            self.say(&format!("warning: {lost}; `backfill redo INDEX` puts an index back to its beginning"));
        }
        self.state.store.reclaim(&run.id).await?;
        let again = self.state.store.retry_failed(&run.id).await?;
        self.state.store.enqueue(&run.id, &again).await?;
        if let Some(workers) = self.args.workers {
            self.state.store.set_desired_workers(&run.id, workers).await?;
        }
        let counters = self.state.store.totals(&run.id).await?;
        let known = run.notes.limit;
        let max = self.args.max_failed.or(known.map(|limit| limit.max)).unwrap_or_default();
        let limit = FailureLimit::resumed(known, max, &counters, run.state == RunState::Running);
        self.state.store.amend(&run.id, &Amendment::Limit(limit)).await?;
        self.state.store.set_state(&run.id, RunState::Running, SystemClock.now(), &[]).await?;
        Ok(Some(self.state.store.run(&run.id).await?))
    }

    async fn wait_for(&self, target: &dyn Target, waits: &Waits) -> Result<()> {
        Ok(ask_target(waits, self.args.send.target_wait, || target.check()).await?)
    }

    fn patient<'t>(&self, target: &'t dyn Target, waits: &'t Waits) -> PatientTarget<'t> {
        PatientTarget { target, waits, patience: self.args.send.target_wait }
    }

    /// Warns, and refuses what could not end well.
    async fn check_outline(
        &self,
        plan: &mut Outline,
        target: &dyn Target,
        waits: &Waits,
    ) -> Result<Destinations> {
        if plan.indices.is_empty() && plan.refused.is_empty() {
            return Err(CommandError::usage(nothing_selected(&plan.snapshot)));
        }
        let create = self.args.send.create_missing_indices;
        let asked = self.patient(target, waits);
        let destinations = Destinations::look(&mut plan.indices, &asked, create).await?;
        for index in &plan.indices {
            for warning in &index.warnings {
                self.say(&format!("warning: {}: {warning}", index.name));
            }
        }
        for missing in &plan.missing_shards {
            self.say(&format!("missing: [{}][{}]: {}", missing.index, missing.shard, missing.reason));
        }
        for (index, why) in &plan.refused {
            self.say(&Finding::of_index(index, why).to_string());
        }
        let names = plan.indices.iter().flat_map(backfill::model::IndexPlan::destinations);
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.dedup();
        if let Some(export) = self.target.export()
            && let Some(file) = export.earlier_file(&names).await?
        {
            return Err(CommandError::usage(format!(
                "there is an export already: {}; a new run beside its files would leave documents there twice. \
                 Export into an empty directory, or remove the files first",
                file.display()
            )));
        }
        if let Some(unvouched) = destinations.unvouched() {
            self.say(&format!("warning: {unvouched}"));
        }
        Ok(destinations)
    }

    async fn create(
        &self,
        spec: RunSpec,
        outline: &Outline,
        destinations: Destinations,
        newest: Option<&Run>,
    ) -> Result<Run> {
        let now = SystemClock.now();
        let id = RunId(format!("{}-{}", crate::render::utc(now as i64).replace([' ', ':'], "-"), now % 1000));
        let mut run = outline.run(id, spec, self.workers(), now);
        run.notes.targets = destinations.identities;
        run.notes.limit = Some(FailureLimit::new(self.args.max_failed.unwrap_or_default()));
        match self.state.store.create_run(&run, newest.map(|run| &run.id)).await? {
            Creation::Created => Ok(run),
            Creation::Superseded(other) => {
                Err(CommandError::other(format!("run {other} was started meanwhile; see `backfill status`")))
            }
        }
    }

    fn workers(&self) -> u32 {
        let configured =
            self.context.config.backfill.as_ref().and_then(|b| b.local.as_ref()).and_then(|l| l.workers);
        self.args.workers.or(configured).unwrap_or(1)
    }

    /// Runs the workers until nothing is left, a stop, or an error.
    async fn work(&self, run: &Run, lock: RunnerLock) -> Result<Exit> {
        let budget = memory::budget(run.desired_workers);
        let recipe = Arc::new(Recipe {
            run: run.clone(),
            repository: self.repository.clone(),
            target: self.target.clone().within(&budget),
            store: self.state.store.clone(),
            failed: self.state.failed(),
            flows: Flows::default(),
            options: WorkerOptions {
                patience: self.args.send.target_wait,
                flow: flow_limits(&self.args.send),
                budget,
                ..WorkerOptions::default()
            },
        });
        let flows = recipe.flows.clone();
        let make = move |worker: WorkerContext| -> WorkerFuture<CommandError> {
            let recipe = recipe.clone();
            Box::pin(async move { recipe.work(worker).await })
        };
        // Holds the lock until the run is concluded.
        let runner = Runner::new(Arc::new(self.state.store.clone()), lock, make);
        let interrupt = CancellationToken::new();
        let signals = tokio::spawn(cancel_on_signal(interrupt.clone(), || {}));
        let progress = Progress::start(self.context.json, self.state.store.clone(), run.id.clone());
        let again = interrupt.clone();
        let ended = runner
            .run(&run.id, interrupt, |event| {
                if let RunnerEvent::Stopping { workers } = event {
                    progress.say(&stopping(workers, flows.in_flight(), again.is_cancelled()));
                    // From now on a signal ends the process, also where it was stopped from another terminal.
                    again.cancel();
                }
                log_event(event);
            })
            .await;
        progress.end().await;
        signals.abort();
        match ended? {
            RunnerEnd::Finished => {
                let run = self.state.store.run(&run.id).await?;
                if run.planning == Planning::Complete {
                    let replaced = self.replaced(&run).await?;
                    finish(&self.state.store, &SystemClock, &run, &replaced).await?;
                } else {
                    // Some shards could not be read; another start tries them again.
                    self.state.store.set_state(&run.id, RunState::Failed, SystemClock.now(), &[]).await?;
                }
            }
            RunnerEnd::Stopped(_) => {}
            RunnerEnd::Interrupted => {
                self.state.store.set_state(&run.id, RunState::Stopped, SystemClock.now(), &[]).await?;
            }
            RunnerEnd::Failed(failures) => {
                self.state.store.set_state(&run.id, RunState::Stopped, SystemClock.now(), &[]).await?;
                return Err(first_of(failures));
            }
        }
        self.conclude(&run.id).await
    }

    /// Compares the destinations with what they were when the run began; waits for a target that does not answer, as
    /// long as was allowed.
    async fn replaced(&self, run: &Run) -> Result<Vec<String>> {
        let target = self.target.open()?;
        let waits = Waits::default();
        Ok(destinations::replaced(&self.patient(target.as_ref(), &waits), run).await?)
    }

    /// Prints what became of the run.
    async fn conclude(&self, id: &RunId) -> Result<Exit> {
        let summary = self.state.store.summary(id, SystemClock.now()).await?;
        let report = self.state.report(id).await?;
        if self.context.json {
            let indices: Vec<_> = summary.indices.iter().collect();
            print_json(&serde_json::json!({ "summary": report, "indices": indices }))?;
        } else {
            print_summary(&summary, &report);
        }
        Ok(exit_of(&report))
    }
}

fn print_summary(summary: &Summary, report: &StatusReport) {
    let damaged = summary.counters.damaged > 0;
    let mut columns = vec![
        ("index", Align::Left),
        ("read", Align::Right),
        ("indexed", Align::Right),
        ("failed", Align::Right),
    ];
    columns.extend(damaged.then_some(("unreadable", Align::Right)));
    columns.extend([("source", Align::Right), ("time", Align::Right)]);
    let row = |name: &str, counters: &backfill::model::Counters| {
        let mut row = vec![
            name.to_owned(),
            count(counters.documents()),
            count(counters.indexed + counters.already_there),
            count(counters.failed),
        ];
        row.extend(damaged.then(|| count(counters.damaged)));
        row.extend([bytes(counters.source_bytes), worked(counters.busy_ms)]);
        row
    };
    let mut rows: Vec<Vec<String>> = summary.indices.iter().map(|i| row(&i.index, &i.counters)).collect();
    rows.push(row("total", &summary.counters));
    table(&columns, &rows).print();
    for text in &report.damage {
        terminal::notice(&Finding::parse(text).to_string());
    }
    for waiting in &report.waiting {
        print_line(&waiting.text);
    }
    for lost in &report.replaced {
        terminal::notice(&format!("replaced: {lost}"));
    }
    for error in &report.given_up {
        terminal::notice(&format!("given up: {error}"));
    }
    for error in &report.last_errors {
        terminal::notice(&format!("last error: {error}"));
    }
    print_conclusion(report);
}

/// What makes a worker: each has clients of its own, because connections belong to a worker's runtime.
struct Recipe {
    run: Run,
    repository: RepositorySetting,
    target: TargetSetting,
    store: SqliteStore,
    failed: FsFailedDocuments,
    options: WorkerOptions,
    flows: Flows,
}

/// What the workers send at once, to be summed up.
#[derive(Clone, Debug, Default)]
struct Flows(Arc<Mutex<Vec<Weak<Mutex<Flow>>>>>);

impl Flows {
    fn add(&self, flow: &Arc<Mutex<Flow>>) {
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.retain(|flow| flow.strong_count() > 0);
        flows.push(Arc::downgrade(flow));
    }

    /// Requests under way.
    fn in_flight(&self) -> usize {
        let flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = flows.iter().filter_map(Weak::upgrade);
        alive.map(|flow| flow.lock().unwrap_or_else(PoisonError::into_inner).in_flight()).sum()
    }
}

/// What is said while workers finish; `again` tells whether a signal was what stopped them.
fn stopping(workers: usize, requests: usize, again: bool) -> String {
    let workers =
        if workers == 1 { "1 worker finishes".to_owned() } else { format!("{workers} workers finish") };
    let requests = if requests == 1 { "1 request".to_owned() } else { format!("{requests} requests") };
    let end = if again { "Ctrl-C again ends at once" } else { "Ctrl-C ends at once" };
    format!("Stopping: {workers} {requests}; {end}.")
}

impl Recipe {
    async fn work(&self, context: WorkerContext) -> WorkerEnd<CommandError> {
        match self.try_work(&context).await {
            Ok(_) if context.stop.is_cancelled() => WorkerEnd::Stopped,
            Ok(received) => WorkerEnd::Idle { received },
            Err(error) => WorkerEnd::Fatal(error),
        }
    }

    /// Whether nobody has stopped the run, as a worker does when too many documents fail.
    async fn is_running(&self) -> Result<bool> {
        Ok(self.store.control(&self.run.id).await?.state == RunState::Running)
    }

    /// Works until there is no work or it is told to stop; returns whether there was any.
    async fn try_work(&self, context: &WorkerContext) -> Result<bool> {
        let clock = Arc::new(SteadyClock);
        let waits = Waits::default();
        let blobs = self.repository.open().await?;
        let flow = Arc::new(Mutex::new(Flow::new(self.options.flow, clock.monotonic())));
        self.flows.add(&flow);
        let worker = Worker {
            owner: format!("{}-{}", std::process::id(), context.number),
            run: self.run.clone(),
            blobs: Arc::new(PatientBlobs::new(blobs, self.options.patience, waits.clone())),
            checkpoints: Arc::new(self.store.clone()),
            queue: Arc::new(self.store.queue_of(&self.run.id)),
            target: self.target.open()?,
            failed: Arc::new(self.failed.clone()),
            clock: clock.clone(),
            options: self.options.clone(),
            flow,
            buffers: Buffers::default(),
            waits,
        };
        let mut failures = Failures::new(self.run.indices.len());
        let mut received = false;
        while !context.stop.is_cancelled() && self.is_running().await? {
            let step = worker.step(&context.stop).await;
            received |= !matches!(step, Ok(Step::Idle));
            match step {
                Ok(Step::Worked(_)) => failures.none(),
                Ok(Step::Skipped) => {}
                Ok(Step::Idle) => break,
                // One chunk must not keep the others from being done: it is tried again later.
                Err(StepError { chunk: Some(chunk), error })
                    if error.is_of_the_chunk() && failures.go_on_after(&chunk.shard.index) =>
                {
                    tracing::warn!(%chunk, %error, "a chunk is put off");
                }
                Err(error) => return Err(error.error.into()),
            }
        }
        Ok(received)
    }
}

fn log_event(event: RunnerEvent<'_, CommandError>) {
    match event {
        RunnerEvent::Scaled { workers } => tracing::info!(workers, "scaled"),
        RunnerEvent::Started { worker } => tracing::info!(worker, "worker started"),
        RunnerEvent::Ended { worker } => tracing::info!(worker, "worker ended"),
        // If no worker is left, the failure ends the run and is told then.
        RunnerEvent::Failed { worker, failure } => tracing::info!(worker, %failure, "worker failed"),
        RunnerEvent::Stopping { workers } => tracing::info!(workers, "stopping"),
        RunnerEvent::Sampled(_) => {}
    }
}

fn first_of(failures: Vec<WorkerFailure<CommandError>>) -> CommandError {
    match failures.into_iter().next() {
        Some(WorkerFailure::Error(error)) => error,
        Some(WorkerFailure::Broken(reason)) => CommandError::other(format!("a worker broke off: {reason}")),
        None => CommandError::other("no worker could be started"),
    }
}

/// What may be sent at once.
pub(super) fn flow_limits(send: &SendArgs) -> FlowLimits {
    FlowLimits {
        max_in_flight: usize::from(send.max_in_flight),
        max_batch_bytes: usize::try_from(send.bulk_size).unwrap_or(usize::MAX),
        ..FlowLimits::default()
    }
}

/// The first signal stops in order, and `told` says so. One that comes when `interrupt` is cancelled ends the process at
/// once.
pub(super) async fn cancel_on_signal(interrupt: CancellationToken, told: impl Fn()) {
    let mut signals = Signals::new();
    loop {
        signals.next().await;
        if interrupt.is_cancelled() {
            std::process::exit(Exit::Interrupted as i32);
        }
        interrupt.cancel();
        told();
    }
}

/// The signals that ask a process to end. That of a terminal which is closed is one of them, unless whoever started the
/// process had it ignored, as nohup does.
struct Signals(Vec<Signal>);

impl Signals {
    fn new() -> Signals {
        let hangup = (!is_hangup_ignored()).then(SignalKind::hangup);
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()].into_iter().chain(hangup);
        Signals(kinds.filter_map(|kind| signal(kind).ok()).collect())
    }

    async fn next(&mut self) {
        std::future::poll_fn(|context| {
            let come = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if come { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Whether SIGHUP was ignored when the process was started, where the system tells.
fn is_hangup_ignored() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_ends_only_when_whatever_it_tries_fails() {
        let after = |indices, failing: &[&str]| {
            let mut failures = Failures::new(indices);
            (0..100).take_while(|n| failures.go_on_after(failing[n % failing.len()])).count()
        };
        assert_eq!(after(1, &["a"]), 10, "there is no other index");
        assert_eq!(after(2, &["a"]), 100, "the other one may go well");
        assert_eq!(after(2, &["a", "b"]), 10);
        assert_eq!(after(1000, &["a", "b", "c"]), 100);
        let many: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(after(1000, &many), 10);
        let mut failures = Failures::new(1);
        for n in 0..100 {
            assert!(failures.go_on_after("a"));
            if n % 7 == 0 {
                failures.none();
            }
        }
    }
}
