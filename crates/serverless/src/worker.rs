//! The worker function: one message, one chunk, for as long as the function may run.
//!
//! The event source invokes it with one message and deletes that message unless it is reported as failed. So a message
//! is reported as failed whenever its chunk is not through: a failure costs nothing but a receive. No new message is ever
//! sent for a chunk from here: chains of functions that feed themselves are cut off after sixteen links.

use crate::blobs::KeptBlobs;
use crate::metrics::{CountedFailures, CountedTarget, Tally};
use crate::runtime::Invocation;
use crate::{Environment, Error};
use aws::{Delivery, EventQueue, message};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use backfill::buffers::Buffers;
use backfill::model::{ChunkId, Millis, Run, RunId, RunState, clipped};
use backfill::patient::PatientBlobs;
use backfill::ports::{
    Blobs, Checkpoints, Clock, Message, Queue, StoreError, SystemClock, Target, TargetError,
};
use backfill::waits::Waits;
use backfill::worker::flow::{Flow, FlowLimits};
use backfill::worker::{ChunkEnd, Step, StepError, Worker, WorkerError, WorkerOptions};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a message is invisible before the first checkpoint, and a lease lasts between two. A worker that was killed
/// is missed after this time.
const LEASE: Duration = Duration::from_secs(60);
/// Time between checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(5);
/// The least of it, however short the worker's time is made.
const SHORTEST: Duration = Duration::from_millis(1);
/// How long before the function's deadline the work is handed back: the requests in flight are waited for, then the
/// checkpoint and the message are written.
const MARGIN: Duration = Duration::from_secs(30);
/// How long of that requests in flight are waited for.
const DRAIN: Duration = Duration::from_secs(20);
/// How long a target that takes nothing is waited for: less than a worker's time, so that it shows within that where it is one
/// document that is not taken.
const PATIENCE: Duration = Duration::from_secs(240);
/// How long a message waits whose run is stopped, or whose records cannot be read.
const WAIT: Duration = Duration::from_secs(60);
/// What is known of the target's pace is forgotten after this time without work.
const FRESH: Duration = Duration::from_secs(120);

/// The function that moves documents.
#[derive(Debug)]
pub struct WorkerFunction {
    environment: Environment,
    options: WorkerOptions,
    tally: Arc<Tally>,
    warm: tokio::sync::Mutex<Warm>,
}

/// What is kept between invocations: of the last run, and replaced by the next one's; and memory.
#[derive(Debug, Default)]
struct Warm {
    run: Option<Run>,
    blobs: Option<(String, Arc<dyn Blobs>)>,
    target: Option<Arc<dyn Target>>,
    flow: Option<(Instant, Arc<Mutex<Flow>>)>,
    buffers: Buffers,
    waits: Waits,
}

impl WorkerFunction {
    /// The function in this environment.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn new(environment: Environment) -> Result<WorkerFunction, Error> {
        let settings = &environment.settings;
        let flow = FlowLimits::default();
        let max_batch_bytes = settings.bulk_bytes.unwrap_or(flow.max_batch_bytes);
        let options = WorkerOptions {
            lease: LEASE,
            checkpoint_every: settings.slice.unwrap_or(CHECKPOINT).clamp(SHORTEST, CHECKPOINT),
            drain: DRAIN,
            time_limited: true,
            budget: settings.budget,
            patience: PATIENCE,
            flow: FlowLimits {
                max_in_flight: settings.max_in_flight.unwrap_or(flow.max_in_flight),
                max_batch_bytes,
                min_batch_bytes: flow.min_batch_bytes.min(max_batch_bytes),
            },
            ..WorkerOptions::default()
        };
        Ok(WorkerFunction {
            environment,
            options,
            tally: Arc::default(),
            warm: tokio::sync::Mutex::default(),
        })
    }

    /// Works on the messages of an event, which are those that it reports as failed unless they are through with.
    ///
    /// # Errors
    /// Never: what goes wrong is logged, and the message comes again.
    pub async fn handle(&self, event: SqsEvent, invocation: Invocation) -> Result<SqsBatchResponse, Error> {
        let mut answer = SqsBatchResponse::default();
        for message in event.records {
            let begun = Instant::now();
            let (delivery, ended) = self.message(&message, &invocation).await;
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let line = self.tally.line(&self.environment.settings.stack, SystemClock.now(), ended, took);
            println!("{line}");
            if delivery == Delivery::Keep {
                answer.add_failure(message.message_id.unwrap_or_default());
            }
        }
        Ok(answer)
    }

    /// What becomes of a message, and how its processing ended.
    async fn message(&self, message: &SqsMessage, invocation: &Invocation) -> (Delivery, &'static str) {
        let body = message.body.as_deref().unwrap_or_default();
        let receipt = message.receipt_handle.clone().unwrap_or_default();
        let (run, chunk) = match message::parse(body) {
            Ok(parsed) => parsed,
            Err(why) => {
                let id = message.message_id.as_deref().unwrap_or_default();
                return (self.not_understood(id, body, &clipped(&why.to_string())).await, "not_understood");
            }
        };
        let queue =
            EventQueue::new(self.environment.queue.clone(), run.clone(), chunk.clone(), receipt.clone());
        let ended = self.chunk(&queue, &run, &chunk, receipt, invocation).await;
        match ended {
            Ok(ended) => (queue.outcome(), ended),
            Err(error) => {
                tracing::error!(%run, %chunk, %error, "the chunk is handed back");
                (queue.outcome(), "error")
            }
        }
    }

    async fn chunk(
        &self,
        queue: &EventQueue,
        run: &RunId,
        chunk: &ChunkId,
        receipt: String,
        invocation: &Invocation,
    ) -> Result<&'static str, Error> {
        let message = Message { run: run.clone(), chunk: chunk.clone(), receipt };
        // Before anything else: the queue's own timeout is that of the longest slice, and would hold the chunk of a
        // worker that is killed as long.
        queue.extend(&message, in_future(LEASE)).await?;
        // Also where the run is known already: a start that plans more shards may learn what decides how documents are written.
        let record = match self.environment.checkpoints.run(run).await {
            Ok(record) => record,
            Err(StoreError::NotFound(_)) => {
                tracing::warn!(%run, %chunk, "the message is of a run that is gone; it is dropped");
                queue.delete(&message).await?;
                return Ok("run_gone");
            }
            Err(error) => return Err(error.into()),
        };
        match record.state {
            RunState::Running | RunState::Failed => {}
            RunState::Stopped => return self.of_stopped_run(queue, &message).await,
            RunState::Done | RunState::Damaged => {
                queue.delete(&message).await?;
                return Ok("run_ended");
            }
        }
        let mut warm = self.warm.lock().await;
        if warm.run.replace(record).is_none_or(|known| known.id != *run) {
            warm.blobs = None;
            warm.waits = Waits::default();
        }
        let worker = self.worker(&mut warm, queue, invocation).await?;
        let stop = CancellationToken::new();
        let time = invocation.time_left(MARGIN).min(self.environment.settings.slice.unwrap_or(Duration::MAX));
        let timer = tokio::spawn({
            let stop = stop.clone();
            async move {
                tokio::time::sleep(time).await;
                stop.cancel();
            }
        });
        let step = worker.step(&stop).await;
        timer.abort();
        warm.flow = Some((Instant::now(), worker.flow.clone()));
        match step {
            Ok(Step::Idle | Step::Skipped) => Ok("skipped"),
            Ok(Step::Worked(ChunkEnd::Done)) => Ok("done"),
            Ok(Step::Worked(ChunkEnd::HandedBack)) => Ok("handed_back"),
            Ok(Step::Worked(ChunkEnd::GivenUp)) => Ok("given_up"),
            Ok(Step::Worked(ChunkEnd::LeaseLost)) => Ok("lease_lost"),
            Err(StepError { error, .. }) => {
                if matches!(error, WorkerError::Target(TargetError::Denied { .. })) {
                    // Its secret has been changed, perhaps.
                    warm.target = None;
                }
                Err(error.into())
            }
        }
    }

    /// A message of a stopped run waits for it to be started again, unless another run has taken its place.
    async fn of_stopped_run(&self, queue: &EventQueue, message: &Message) -> Result<&'static str, Error> {
        let latest = self.environment.checkpoints.latest_run().await?;
        if latest.is_some_and(|latest| latest.id != message.run) {
            tracing::info!(run = %message.run, chunk = %message.chunk, "the run was given up; its message is dropped");
            queue.delete(message).await?;
            return Ok("run_given_up");
        }
        queue.extend(message, in_future(WAIT)).await?;
        Ok("run_stopped")
    }

    async fn worker(
        &self,
        warm: &mut Warm,
        queue: &EventQueue,
        invocation: &Invocation,
    ) -> Result<Worker, Error> {
        let run = warm.run.clone().ok_or("the run was not read")?;
        let blobs = match &warm.blobs {
            Some((location, blobs)) if *location == run.spec.repository => blobs.clone(),
            _ => {
                let opened = self.environment.blobs(&run.spec.repository, None).await?;
                let patient = Arc::new(PatientBlobs::new(opened, PATIENCE, warm.waits.clone()));
                let blobs: Arc<dyn Blobs> = Arc::new(KeptBlobs::new(patient, self.tally.clone()));
                warm.blobs = Some((run.spec.repository.clone(), blobs.clone()));
                blobs
            }
        };
        let target = match &warm.target {
            Some(target) => target.clone(),
            None => {
                let inner = Arc::new(self.environment.target().await?);
                let target: Arc<dyn Target> = Arc::new(CountedTarget { inner, tally: self.tally.clone() });
                warm.target = Some(target.clone());
                target
            }
        };
        if target.location() != run.spec.target {
            let (now, then) = (target.location(), &run.spec.target);
            return Err(format!(
                "run {} was started for the target {then}, but the stack's target is now {now}; deploy the stack with \
                 the former, or start another run with --new",
                run.id
            )
            .into());
        }
        let clock = Arc::new(SystemClock);
        let flow = match &warm.flow {
            Some((used, flow)) if used.elapsed() < FRESH => flow.clone(),
            _ => Arc::new(Mutex::new(Flow::new(self.options.flow, clock.monotonic()))),
        };
        Ok(Worker {
            owner: format!("{}/{}", invocation.request, std::process::id()),
            run,
            blobs,
            checkpoints: Arc::new(self.environment.checkpoints.clone()),
            queue: Arc::new(queue.clone()),
            target,
            failed: Arc::new(CountedFailures {
                inner: Arc::new(self.environment.failed.clone()),
                tally: self.tally.clone(),
            }),
            clock,
            options: self.options.clone(),
            flow,
            buffers: warm.buffers.clone(),
            waits: warm.waits.clone(),
        })
    }

    /// Moves a message that cannot be understood to the dead-letter queue, where people find it. If that fails, the
    /// message stays where it is and is delivered again.
    ///
    /// The body is not logged: nobody knows what it holds or how long it is.
    async fn not_understood(&self, id: &str, body: &str, why: &str) -> Delivery {
        let bytes = body.len();
        tracing::error!(why, id, bytes, "cannot understand a message; moving it to the dead-letter queue");
        let Some(url) = &self.environment.settings.dead_letter_queue_url else { return Delivery::Keep };
        let sent = self.environment.sdk.sqs().send_message().queue_url(url).message_body(body).send().await;
        match sent {
            Ok(_) => Delivery::Delete,
            Err(error) => {
                let error = aws::explain("sending to the dead-letter queue", &error);
                tracing::error!(%error, "the message stays in the queue");
                Delivery::Keep
            }
        }
    }
}

fn in_future(time: Duration) -> Millis {
    SystemClock.now().saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
