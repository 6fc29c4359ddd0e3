//! The start function: makes a run of what it is asked for, or finds the one that is under way, and plans it.
//!
//! Planning may need longer than a function has. Then the answer says how far it has come, and whoever asks again with
//! the same request goes on with it; a schedule of the template's own asks every five minutes, with a trace of its own,
//! so that no chain of invocations grows. All of it may be killed anywhere and run twice at once: see
//! [`backfill::planning`].

mod event;

pub use event::StartEvent;

use crate::refusal::Refusal;
use crate::runtime::Invocation;
use crate::status::note_starting;
use crate::{Environment, Error};
use aws::api::{FunctionError, StartAnswer, StartRequest};
use backfill::destinations::{self, Destinations};
use backfill::encode::Encoding;
use backfill::indices::Handling;
use backfill::limit::FailureLimit;
use backfill::model::differences::{differences, refusal_of_another_job};
use backfill::model::{Amendment, Finding, Planning, Run, RunId, RunSpec, RunState, Selection};
use backfill::patient::{PatientBlobs, PatientTarget, ask_target};
use backfill::plan::{Outline, outline};
use backfill::planning::{Planner, PlanningEnd, note_unreadable, send_messages};
use backfill::ports::{Checkpoints, Clock, Creation, Fleet, Queue, SystemClock, Target};
use backfill::source::{BoundedBlobs, OpenedSnapshot, Repository};
use backfill::waits::Waits;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use target::OpenSearchTarget;
use tokio_util::sync::CancellationToken;

/// How long before the deadline planning breaks off: what was begun is waited for, and the answer sent.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a target or a snapshot that is out of reach is waited for: as long as a worker waits.
const PATIENCE: Duration = Duration::from_secs(240);
/// Snapshot and indices that are meant unless a request says otherwise.
const LATEST: &str = "latest";
const ALL: &str = "*";

/// The function that starts runs.
#[derive(Debug)]
pub struct StartFunction {
    environment: Environment,
}

impl StartFunction {
    /// The function in this environment.
    pub fn new(environment: Environment) -> StartFunction {
        StartFunction { environment }
    }

    /// Answers with a [`StartAnswer`], or with the reason why nothing was started.
    ///
    /// # Errors
    /// When a schedule asked in vain, so that it shows among the function's errors.
    pub async fn handle(&self, event: Value, invocation: Invocation) -> Result<Value, Error> {
        let event = StartEvent::parse(event).map_err(Refusal::usage);
        let alone = event.as_ref().is_ok_and(|event| event.scheduled || event.resume_planning);
        let answer = match event {
            Ok(event) => self.start(event, &invocation).await,
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok(answer) => {
                tracing::info!(run = answer.run, message = answer.message, "answered");
                Ok(serde_json::to_value(answer)?)
            }
            Err(refusal) if alone => Err(refusal.into()),
            Err(refusal) => {
                tracing::warn!(%refusal, "nothing was started");
                Ok(serde_json::to_value(FunctionError { error: refusal.message, exit: refusal.exit })?)
            }
        }
    }

    async fn start(&self, event: StartEvent, invocation: &Invocation) -> Result<StartAnswer, Refusal> {
        let newest = self.environment.checkpoints.latest_run().await?;
        if event.resume_planning {
            return match newest
                .filter(|run| run.state == RunState::Running && run.planning != Planning::Complete)
            {
                Some(run) => self.go_on(run, &event.request, invocation).await,
                None => Ok(nothing("there is nothing to plan")),
            };
        }
        if event.scheduled
            && let Some(run) = newest.as_ref().filter(|run| !run.state.is_finished())
        {
            let state = match run.state {
                RunState::Stopped => "is stopped",
                RunState::Failed => "has failed chunks that were given up",
                _ => "is under way",
            };
            let message = format!("run {} {state}; nothing was started by the schedule", run.id);
            return Ok(answer(run, false, message));
        }
        self.start_or_resume(&event.request, newest, invocation).await
    }

    /// What a person who says `start` means: the run under way, or a new one.
    async fn start_or_resume(
        &self,
        request: &StartRequest,
        newest: Option<Run>,
        invocation: &Invocation,
    ) -> Result<StartAnswer, Refusal> {
        let under_way = newest.as_ref().filter(|run| !request.new && !run.state.is_finished());
        let request = &under_way.map_or_else(|| request.clone(), |run| request.as_in_run(&run.spec));
        let target = self.environment.target().await?;
        if let Some(run) = under_way {
            // Before anything is opened: another repository may lack the snapshot, which is not what is wrong then.
            let named = request.snapshot.as_deref().filter(|name| *name != LATEST);
            let repository = request.repository.clone().unwrap_or_else(|| run.spec.repository.clone());
            let asked = self.spec(
                request,
                repository,
                named.unwrap_or(&run.spec.snapshot),
                &run.spec.snapshot_uuid,
                &target,
            );
            refusal_of_another_job(run, &asked).map_or(Ok(()), |refusal| Err(Refusal::usage(refusal)))?;
        }
        let (repository, opened) = self.open(request, None, invocation).await?;
        let (name, uuid) = (&opened.info.name, &opened.info.uuid);
        let spec = self.spec(request, repository.blobs.location(), name, uuid, &target);
        let new = request.new && !newest.as_ref().is_some_and(|run| under_planning(run, &spec));
        if let Some(run) = newest.as_ref().filter(|_| !new) {
            let same = differences(&run.spec, &spec).is_empty();
            if same && run.state.is_finished() {
                let message = format!("run {} has ended already; --new starts another one", run.id);
                return Ok(answer(run, false, message));
            }
            if let Some(refusal) = refusal_of_another_job(run, &spec).filter(|_| !run.state.is_finished()) {
                return Err(Refusal::usage(refusal));
            }
            if same {
                ask_target(&Waits::default(), patience(invocation), || target.check()).await?;
                return self.resume(run.clone(), request, &target, (&repository, &opened), invocation).await;
            }
        }
        ask_target(&Waits::default(), patience(invocation), || target.check()).await?;
        let mut outline = outline(&repository, &opened, &spec.selection, &handling(&spec)).await?;
        let create = request.create_missing_indices;
        let (destinations, warnings) = check(&mut outline, &target, create, patience(invocation)).await?;
        // Before anything is stored: what is stored is planned, and so begun, whatever is answered here.
        let wanted = request.workers.unwrap_or(self.environment.settings.workers);
        self.environment.fleet()?.check(wanted).await?;
        let run = self.create(request, spec, (&outline, destinations), newest.as_ref()).await?;
        self.environment.fleet()?.scale(run.desired_workers).await?;
        let ended = self.plan(&run, &repository, &opened, &outline, invocation, true).await?;
        let run = self.unless_stopped(Run { planning: ended.planning, ..run }).await?;
        let message = format!("run {} was started with {}", run.id, workers(run.desired_workers));
        Ok(StartAnswer { warnings, unreadable: named(ended), ..answer(&run, true, message) })
    }

    /// Makes the run go on: chunks that were given up are tried again, workers come back, planning is completed.
    async fn resume(
        &self,
        run: Run,
        request: &StartRequest,
        target: &OpenSearchTarget,
        (repository, opened): (&Repository, &OpenedSnapshot),
        invocation: &Invocation,
    ) -> Result<StartAnswer, Refusal> {
        let Environment { checkpoints, queue, .. } = &self.environment;
        let (before, mut unreadable) = (run.state, Vec::new());
        let workers_wanted = request.workers.unwrap_or(run.desired_workers);
        self.environment.fleet()?.check(workers_wanted).await?;
        let waits = Waits::default();
        let asked = PatientTarget { target, waits: &waits, patience: patience(invocation) };
        let resumed =
            destinations::resume(checkpoints, &asked, &run.id, request.create_missing_indices).await?;
        let lost = destinations::replaced(&asked, &resumed).await?;
        let again = checkpoints.retry_failed(&run.id).await?;
        queue.enqueue(&run.id, &again).await?;
        checkpoints.set_desired_workers(&run.id, workers_wanted).await?;
        let counters = checkpoints.summary(&run.id, SystemClock.now()).await?.counters;
        let known = run.notes.limit;
        let max = request.max_failed.or(known.map(|limit| limit.max));
        let max = max.unwrap_or(self.environment.settings.max_failed);
        let limit = FailureLimit::resumed(known, max, &counters, before == RunState::Running);
        checkpoints.amend(&run.id, &Amendment::Limit(limit)).await?;
        // Should this be killed before the workers are let loose, the status function does that.
        note_starting(checkpoints, &run.id, true).await?;
        checkpoints.set_state(&run.id, RunState::Running, SystemClock.now(), &[]).await?;
        self.environment.fleet()?.scale(workers_wanted).await?;
        note_starting(checkpoints, &run.id, false).await?;
        let mut run = checkpoints.run(&run.id).await?;
        if run.planning != Planning::Complete {
            let outline = outline(repository, opened, &run.spec.selection, &handling(&run.spec)).await?;
            let ended = self.plan(&run, repository, opened, &outline, invocation, true).await?;
            run.planning = ended.planning;
            unreadable = named(ended);
        }
        let run = self.unless_stopped(run).await?;
        let how = match before {
            RunState::Running => "goes on",
            _ => "was resumed",
        };
        let message = format!("run {} {how} with {}", run.id, workers(workers_wanted));
        let advice = "`backfill redo INDEX` puts an index back to its beginning";
        let warnings = lost.into_iter().map(|lost| format!("{lost}; {advice}")).collect();
        Ok(StartAnswer { warnings, unreadable, ..answer(&run, false, message) })
    }

    /// Goes on with the planning of a run, and with nothing else.
    async fn go_on(
        &self,
        mut run: Run,
        request: &StartRequest,
        invocation: &Invocation,
    ) -> Result<StartAnswer, Refusal> {
        let Environment { checkpoints, queue, .. } = &self.environment;
        // The start that made the run may have broken off before its workers were let loose.
        let fleet = self.environment.fleet()?;
        if run.desired_workers > 0 && fleet.state().await?.stopped {
            fleet.scale(run.desired_workers).await?;
        }
        run.planning = match run.planning {
            Planning::Shards => {
                let (repository, opened) = self.open(request, Some(&run), invocation).await?;
                let outline =
                    outline(&repository, &opened, &run.spec.selection, &handling(&run.spec)).await?;
                self.plan(&run, &repository, &opened, &outline, invocation, false).await?.planning
            }
            planning => {
                let stop = deadline(invocation);
                send_messages(checkpoints, queue, &run.id, planning, &stop).await?
            }
        };
        let run = self.unless_stopped(run).await?;
        let message = format!("the planning of run {} has gone on", run.id);
        Ok(answer(&run, false, message))
    }

    /// The run as it is after its planning. Whoever stopped it meanwhile meant its workers as well, which may have been let
    /// loose after that.
    async fn unless_stopped(&self, run: Run) -> Result<Run, Refusal> {
        let checkpoints = &self.environment.checkpoints;
        let state = checkpoints.control(&run.id).await?.state;
        if state == RunState::Stopped
            && checkpoints.latest_run().await?.is_some_and(|newest| newest.id == run.id)
        {
            self.environment.fleet()?.stop().await?;
        }
        Ok(Run { state, ..run })
    }

    async fn open(
        &self,
        request: &StartRequest,
        run: Option<&Run>,
        invocation: &Invocation,
    ) -> Result<(Repository, OpenedSnapshot), Refusal> {
        let named = run.map(|run| run.spec.repository.as_str()).or(request.repository.as_deref());
        let location = named.or(self.environment.settings.repository.as_deref()).ok_or_else(|| {
            Refusal::usage("the stack names no repository; deploy it with the parameter SnapshotBucket")
        })?;
        // Workers know one region only.
        let environment = &self.environment;
        let read_in = environment.settings.repository_region.as_deref().unwrap_or(environment.sdk.region());
        if let Some(region) = request.s3_region.as_deref().filter(|region| *region != read_in) {
            return Err(Refusal::usage(format!(
                "the workers read from S3 in {read_in}, not in {region}: deploy the stack with the parameter \
                 SnapshotRegion={region}"
            )));
        }
        let blobs = self.environment.blobs(location, request.s3_region.as_deref()).await?;
        let blobs = Arc::new(PatientBlobs::new(blobs, patience(invocation), Waits::default()));
        let blobs = BoundedBlobs::new(blobs, environment.settings.budget);
        let repository = Repository::open(blobs).await?;
        let name =
            run.map(|run| run.spec.snapshot.as_str()).or(request.snapshot.as_deref()).unwrap_or(LATEST);
        let partial = run.map_or(request.allow_partial, |run| run.spec.allow_partial);
        let opened = repository.snapshot(name, partial).await?;
        if let Some(run) = run.filter(|run| run.spec.snapshot_uuid != opened.info.uuid) {
            return Err(Refusal::other(format!(
                "snapshot {} was deleted and taken again since run {} was started; start another run with --new",
                run.spec.snapshot, run.id
            )));
        }
        Ok((repository, opened))
    }

    /// What is asked for, of this snapshot.
    fn spec(
        &self,
        request: &StartRequest,
        repository: String,
        snapshot: &str,
        uuid: &str,
        target: &OpenSearchTarget,
    ) -> RunSpec {
        RunSpec {
            repository,
            snapshot: snapshot.to_owned(),
            snapshot_uuid: uuid.to_owned(),
            selection: Selection {
                patterns: request.index.clone().unwrap_or_else(|| ALL.to_owned()),
                include_hidden: request.include_hidden,
            },
            target: target.location(),
            allow_partial: request.allow_partial,
            types: request.types.clone(),
            allow_partial_source: request.allow_partial_source,
            time_fields: request.time_fields(),
            chunk_bytes: request.chunk_bytes.unwrap_or(self.environment.settings.chunk_bytes),
        }
    }

    async fn create(
        &self,
        request: &StartRequest,
        spec: RunSpec,
        (outline, destinations): (&Outline, Destinations),
        newest: Option<&Run>,
    ) -> Result<Run, Refusal> {
        let checkpoints = &self.environment.checkpoints;
        let now = SystemClock.now();
        if let Some(run) = newest.filter(|run| !run.state.is_finished()) {
            // Its workers hand back, and its messages are dropped as they come.
            checkpoints.set_state(&run.id, RunState::Stopped, now, &[]).await?;
        }
        let wanted = request.workers.unwrap_or(self.environment.settings.workers);
        let mut run = outline.run(RunId::at(now), spec, wanted, now);
        run.notes.targets = destinations.identities;
        let max = request.max_failed.unwrap_or(self.environment.settings.max_failed);
        run.notes.limit = Some(FailureLimit::new(max));
        match checkpoints.create_run(&run, newest.map(|run| &run.id)).await? {
            Creation::Created => Ok(run),
            Creation::Superseded(other) => {
                Err(Refusal::other(format!("run {other} was started meanwhile; see `backfill status`")))
            }
        }
    }

    async fn plan(
        &self,
        run: &Run,
        repository: &Repository,
        opened: &OpenedSnapshot,
        outline: &Outline,
        invocation: &Invocation,
        resend: bool,
    ) -> Result<PlanningEnd, Refusal> {
        let Environment { checkpoints, queue, .. } = &self.environment;
        let planner = Planner { repository, opened, outline, checkpoints, queue, resend };
        let ended = planner.run(run, &deadline(invocation)).await?;
        if !ended.unreadable.is_empty() {
            note_unreadable(checkpoints, &run.id, &ended.unreadable, SystemClock.now()).await?;
        }
        Ok(ended)
    }
}

/// A token that is cancelled when the function's time is nearly up.
fn deadline(invocation: &Invocation) -> CancellationToken {
    let stop = CancellationToken::new();
    let (token, time) = (stop.clone(), invocation.time_left(MARGIN));
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        token.cancel();
    });
    stop
}

/// How long something is waited for: no longer than half of what is left of the function's time.
fn patience(invocation: &Invocation) -> Duration {
    PATIENCE.min(invocation.time_left(MARGIN) / 2)
}

/// Whether the run is the one that the same request began to plan a moment ago.
fn under_planning(run: &Run, spec: &RunSpec) -> bool {
    run.state == RunState::Running
        && run.planning != Planning::Complete
        && differences(&run.spec, spec).is_empty()
}

fn handling(spec: &RunSpec) -> Handling {
    Handling {
        types: spec.types.clone(),
        allow_partial_source: spec.allow_partial_source,
        time_fields: spec.time_fields.clone(),
        encoding: Some(Encoding::Bulk),
    }
}

/// What should be known before anything is written, or why nothing should be.
async fn check(
    outline: &mut Outline,
    target: &dyn Target,
    create_missing: bool,
    patience: Duration,
) -> Result<(Destinations, Vec<String>), Refusal> {
    if outline.indices.is_empty() && outline.refused.is_empty() {
        return Err(Refusal::usage(format!(
            "no index of snapshot {} is selected; see `console snapshot describe`, --index and --include-hidden",
            outline.snapshot
        )));
    }
    let waits = Waits::default();
    let asked = PatientTarget { target, waits: &waits, patience };
    let destinations = Destinations::look(&mut outline.indices, &asked, create_missing).await?;
    let warnings = outline.indices.iter().flat_map(|i| i.warnings.iter().map(|w| format!("{}: {w}", i.name)));
    let missing =
        outline.missing_shards.iter().map(|m| format!("missing: [{}][{}]: {}", m.index, m.shard, m.reason));
    let refused = outline.refused.iter().map(|(index, why)| Finding::of_index(index, why).to_string());
    let told = warnings.chain(missing).chain(refused).chain(destinations.unvouched()).collect();
    Ok((destinations, told))
}

fn answer(run: &Run, created: bool, message: String) -> StartAnswer {
    StartAnswer {
        run: run.id.to_string(),
        planning: run.planning,
        state: run.state,
        created,
        message,
        warnings: Vec::new(),
        unreadable: Vec::new(),
    }
}

/// The shards that cannot be read, each with the reason.
fn named(ended: PlanningEnd) -> Vec<String> {
    ended.unreadable.into_iter().map(|(shard, why)| format!("{shard}: {why}")).collect()
}

fn nothing(message: &str) -> StartAnswer {
    StartAnswer {
        run: String::new(),
        planning: Planning::Complete,
        state: RunState::Done,
        created: false,
        message: message.to_owned(),
        warnings: Vec::new(),
        unreadable: Vec::new(),
    }
}

fn workers(number: u32) -> String {
    match number {
        1 => "1 worker".to_owned(),
        n => format!("{n} workers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_a_request_and_says_who_asks() {
        let event = StartEvent::parse(json!({"scheduled": true, "index": "a*", "workers": 3})).unwrap();
        assert!(event.scheduled && !event.resume_planning);
        assert_eq!((event.request.index.as_deref(), event.request.workers), (Some("a*"), Some(3)));
        let unknown = StartEvent::parse(json!({"indices": "a*"})).unwrap_err();
        assert!(unknown.contains("indices"), "{unknown}");
        assert!(StartEvent::parse(json!({"scheduled": "yes"})).unwrap_err().contains("scheduled"));
        assert!(StartEvent::parse(json!([1])).is_err());
    }
}
