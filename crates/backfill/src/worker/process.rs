//! Processes one claimed chunk: reads, delivers, checkpoints, until its end or until told to stop.

use super::acks::{AckTracker, Delivered};
use super::deliver::Delivery;
use super::feed::AbortOnDrop;
use super::flow::{self, MIN_DELIVERIES};
use super::reader::{ChunkReader, ReadError, Work};
use super::{Worker, WorkerError, vouch};
use crate::finish::stop_if_too_many_failed;
use crate::limit::Watch;
use crate::model::chunk::WriteRefused;
use crate::model::{AttemptError, Chunk, IndexPlan, Progress, Reason, RunState};
use crate::ports::{Acknowledge, FailedPart, Message, StoreError, TargetError};
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;

/// Batches that the reader may have ready ahead of the deliveries; it gathers another one only when fewer are.
pub(super) const READ_AHEAD: usize = 1;

/// Failed documents kept in memory before they are recorded ahead of the next checkpoint, and their bytes.
const MAX_UNRECORDED: (usize, usize) = (2000, 16 << 20);
/// Bytes of failed documents that may wait for an earlier batch, which the target may not take for long, and batches that
/// may: beyond that no more is sent until it has ended.
const MAX_WAITING: (usize, usize) = (64 << 20, 10_000);

/// How the work on a chunk ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEnd {
    /// Every document was acknowledged or is kept as failed.
    Done,
    /// Stopped before the end: the chunk is pending again, its cursor where it got to.
    HandedBack,
    /// Given up at once: its target index was replaced, and with it documents that were written before are gone.
    GivenUp,
    /// Another worker has taken the chunk over.
    LeaseLost,
}

/// Why the loop over a chunk was left.
enum Left {
    Finished,
    /// The run is stopped, or the worker's own token was cancelled.
    Stopped(Reason),
    /// What was written is gone.
    Lost(AttemptError),
    Failed(WorkerError),
}

/// Number of a batch, its bytes, and what became of it.
type DeliveryResult = (u64, usize, Result<Delivered, TargetError>);

/// The state of the work on one chunk.
pub(super) struct ChunkTask<'a> {
    worker: &'a Worker,
    message: &'a Message,
    chunk: Arc<Chunk>,
    tracker: AckTracker,
    delivery: Delivery,
    deliveries: JoinSet<DeliveryResult>,
    /// Bytes of the batches under delivery, and of the last one.
    in_flight: usize,
    last: usize,
    begun: Instant,
    /// Until where failed documents are recorded.
    recorded: crate::model::Position,
    acknowledge: Acknowledge,
    index: Arc<IndexPlan>,
    watch: Watch,
    /// Workers that are wanted, as the latest checkpoint answered.
    workers: u32,
}

impl<'a> ChunkTask<'a> {
    /// Prepares the target for a claimed chunk.
    pub(super) async fn begin(
        worker: &'a Worker,
        message: &'a Message,
        chunk: Chunk,
    ) -> Result<ChunkTask<'a>, WorkerError> {
        let index = worker.run.index(&chunk.id.shard.index).ok_or_else(|| {
            StoreError::NotFound(format!("run {} has no index {}", worker.run.id, chunk.id.shard.index))
        })?;
        let mode = worker.run.write_mode(index);
        if chunk.epoch > 1 {
            // Whatever an earlier claim recorded of documents that are gone through again now is void, even if none of
            // them fails this time: that worker may have died, or be late, between its records and its checkpoint.
            let part = FailedPart {
                run: worker.run.id.clone(),
                chunk: chunk.id.clone(),
                epoch: chunk.epoch,
                from: chunk.progress.cursor,
                settled: None,
            };
            worker.failed.write(&part, &[]).await?;
        }
        let writer = worker.target.begin(&worker.run.id, &chunk.id, &index.destination, mode).await?;
        let acknowledge = worker.target.acknowledge();
        let chunk = Arc::new(chunk);
        let delivery = Delivery {
            writer: Arc::from(writer),
            encoding: worker.target.encoding(),
            chunk: chunk.clone(),
            destination: index.destination.as_str().into(),
            flow: worker.flow.clone(),
            patience: worker.options.patience,
            clock: worker.clock.clone(),
            target: worker.target.clone(),
            waits: worker.waits.clone(),
            stopping: CancellationToken::new(),
        };
        Ok(ChunkTask {
            worker,
            message,
            tracker: AckTracker::new(chunk.progress.clone()),
            watch: Watch::new(&chunk.progress.counters),
            workers: worker.run.desired_workers,
            recorded: chunk.progress.cursor,
            chunk,
            delivery,
            deliveries: JoinSet::new(),
            in_flight: 0,
            last: 0,
            begun: Instant::now(),
            acknowledge,
            index: Arc::new(index.clone()),
        })
    }

    /// Works until the end, a stop or an error, and leaves the checkpoint accordingly.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<ChunkEnd, WorkerError> {
        let left = match self.work(stop).await {
            Left::Finished => self.vouch(stop).await,
            left => left,
        };
        let outcome = match left {
            Left::Finished => self.complete().await.map(|()| ChunkEnd::Done),
            Left::Stopped(reason) => {
                self.drain().await;
                self.hand_back(&reason).await.map(|()| ChunkEnd::HandedBack)
            }
            Left::Lost(error) => self.hand_back(&Reason::Hopeless(error)).await.map(|()| ChunkEnd::GivenUp),
            Left::Failed(error) => {
                self.drain().await;
                match self.hand_back(&Reason::Error(error.as_attempt())).await {
                    Err(lost) if lost.is_lease_lost() => Err(lost),
                    // The first error is the one to tell.
                    _ => Err(error),
                }
            }
        };
        match outcome {
            Err(error) if error.is_lease_lost() => Ok(ChunkEnd::LeaseLost),
            outcome => outcome,
        }
    }

    async fn work(&mut self, stop: &CancellationToken) -> Left {
        let (sender, mut receiver) = mpsc::channel::<Result<Work, ReadError>>(READ_AHEAD);
        let reader =
            ChunkReader::new(self.worker, self.chunk.clone(), self.index.clone(), self.worker.flow.clone());
        // Ends with this function, also if it waits for the snapshot just then.
        let _reader = AbortOnDrop(tokio::spawn(reader.run(sender)));
        let mut reading = true;
        let mut checkpoint = tokio::time::interval(self.worker.options.checkpoint_every);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checkpoint.reset();
        while reading || !self.deliveries.is_empty() {
            let room = reading && self.has_room();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Left::Stopped(self.stopped()),
                Some(ended) = self.deliveries.join_next() => {
                    let settled = match self.delivered(ended) {
                        Ok(()) => self.record_many().await,
                        failed => failed,
                    };
                    if let Err(error) = settled {
                        return Left::Failed(error);
                    }
                }
                _ = checkpoint.tick() => match self.checkpoint().await {
                    Ok(RunState::Running) => {}
                    Ok(_) => return Left::Stopped(Reason::Stopped),
                    Err(error) => return Left::Failed(error),
                },
                work = receiver.recv(), if room => match work {
                    Some(Ok(work)) => {
                        self.deliver(work);
                        if let Err(error) = self.record_many().await {
                            return Left::Failed(error);
                        }
                    }
                    Some(Err(error)) => return Left::Failed(error.into()),
                    None => reading = false,
                },
            }
        }
        // The reader ends without its last piece only if it panicked.
        if self.tracker.progress().cursor != self.chunk.end() {
            let at = self.tracker.progress().cursor;
            return Left::Failed(WorkerError::Reader(format!(
                "chunk {}: reading ended at {at}",
                self.chunk.id
            )));
        }
        Left::Finished
    }

    /// Why work ends when the worker is told to stop.
    fn stopped(&self) -> Reason {
        if self.worker.options.time_limited { Reason::TimeUp } else { Reason::Stopped }
    }

    /// Makes sure that the target index is still the one that the run began to write to: otherwise documents of this chunk,
    /// too, may be gone. Waits for a target that does not answer as its deliveries do.
    async fn vouch(&mut self, stop: &CancellationToken) -> Left {
        let begun = Instant::now();
        let mut attempt = 0;
        loop {
            let error = match vouch::replaced(self.worker, &self.index).await {
                Ok(None) => {
                    self.worker.waits.target_took();
                    return Left::Finished;
                }
                Ok(Some(lost)) => return Left::Lost(lost),
                Err(error) => error,
            };
            let passes =
                matches!(&error, WorkerError::Target(error) if !matches!(error, TargetError::Denied { .. }));
            if !passes || begun.elapsed() >= self.worker.options.patience {
                return Left::Failed(error);
            }
            if let WorkerError::Target(error) = &error {
                self.worker.waits.note_target(error, begun.elapsed(), self.worker.options.patience);
            }
            let pause =
                flow::backoff(attempt, None, fastrand::f64()).min(self.worker.options.checkpoint_every);
            attempt += 1;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Left::Stopped(self.stopped()),
                () = tokio::time::sleep(pause) => {}
            }
            match self.checkpoint().await {
                Ok(RunState::Running) => {}
                Ok(_) => return Left::Stopped(Reason::Stopped),
                Err(error) => return Left::Failed(error),
            }
        }
    }

    /// Whether one more batch may be under way.
    fn has_room(&self) -> bool {
        let (bytes, batches) = MAX_WAITING;
        self.deliveries.len() < self.allowed_deliveries()
            && (self.deliveries.len() < MIN_DELIVERIES || self.in_flight + self.last <= self.allowed_bytes())
            && self.tracker.waiting_bytes() < bytes
            && self.tracker.len() < batches
    }

    /// As many as full batches have, which are a little larger than is said: documents that are larger than a batch must not
    /// take more memory than those. The next one is taken to be as large as the last.
    fn allowed_bytes(&self) -> usize {
        let limits = self.worker.options.flow;
        limits.max_batch_bytes.saturating_mul(limits.max_in_flight.saturating_add(1))
    }

    fn allowed_deliveries(&self) -> usize {
        let flow = self.worker.flow.lock().unwrap_or_else(PoisonError::into_inner);
        flow.deliveries().min(self.worker.target.max_in_flight())
    }

    fn deliver(&mut self, work: Work) {
        let number = self.tracker.begin(work.stretch);
        if work.batch.entries.is_empty() {
            self.tracker.end(number, Delivered::default());
            return;
        }
        let delivery = self.delivery.clone();
        let bytes = work.batch.body.len();
        (self.in_flight, self.last) = (self.in_flight + bytes, bytes);
        self.deliveries.spawn(async move { (number, bytes, delivery.deliver(work.batch).await) });
    }

    fn delivered(
        &mut self,
        ended: Result<DeliveryResult, tokio::task::JoinError>,
    ) -> Result<(), WorkerError> {
        let (number, bytes, result) =
            ended.map_err(|e| WorkerError::Reader(format!("a delivery broke off: {e}")))?;
        self.in_flight -= bytes;
        self.tracker.end(number, result?);
        Ok(())
    }

    /// Waits for what is in flight, as long as the drain limit allows; what is not acknowledged then is sent again
    /// by whoever goes on.
    async fn drain(&mut self) {
        let limit = Instant::now() + self.worker.options.drain;
        self.delivery.stopping.cancel();
        while let Ok(Some(ended)) = timeout_at(limit, self.deliveries.join_next()).await {
            // Errors here change nothing: the cursor stays before what was not acknowledged.
            let _ = self.delivered(ended);
        }
        self.deliveries.abort_all();
    }

    /// The progress to record: nothing before the end, for a target that keeps nothing before the end.
    fn progress(&self) -> Progress {
        let mut progress = match self.acknowledge {
            Acknowledge::OnReply => self.tracker.progress().clone(),
            Acknowledge::OnFinish => self.chunk.progress.clone(),
        };
        progress.counters.busy_ms = self.busy_ms();
        progress
    }

    fn busy_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.chunk.progress.counters.busy_ms.saturating_add(elapsed)
    }

    /// Makes the failed documents before the cursor durable: always before the cursor itself.
    async fn record_failed(&mut self) -> Result<(), WorkerError> {
        if !self.tracker.failed().is_empty() {
            let part = FailedPart {
                run: self.worker.run.id.clone(),
                chunk: self.chunk.id.clone(),
                epoch: self.chunk.epoch,
                from: self.recorded,
                settled: None,
            };
            self.worker.failed.write(&part, self.tracker.failed()).await?;
            self.tracker.failed_recorded();
        }
        self.recorded = self.tracker.progress().cursor;
        Ok(())
    }

    /// Makes failed documents durable when there are many.
    async fn record_many(&mut self) -> Result<(), WorkerError> {
        let (documents, bytes) = MAX_UNRECORDED;
        if self.tracker.failed().len() > documents || self.tracker.failed_bytes() > bytes {
            self.record_failed().await?;
        }
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<RunState, WorkerError> {
        self.worker.record_waits().await;
        if self.acknowledge == Acknowledge::OnReply {
            self.record_failed().await?;
        }
        let until = self.worker.lease_end();
        let worker = self.worker;
        let control = worker
            .checkpoints
            .save(&worker.run.id, &self.chunk.id, self.chunk.epoch, &self.progress(), until)
            .await?;
        worker.queue.extend(self.message, until).await?;
        self.workers = control.desired_workers;
        match control.state == RunState::Running && self.stops_the_run().await? {
            true => Ok(RunState::Stopped),
            false => Ok(control.state),
        }
    }

    /// Stops the run if too many of its documents fail; returns whether it is stopped. To be called when the latest
    /// progress is recorded.
    async fn stops_the_run(&mut self) -> Result<bool, StoreError> {
        let max = self.worker.run.notes.limit.unwrap_or_default().max;
        let counters = &self.tracker.progress().counters;
        if !self.watch.is_due(max, counters, self.workers, fastrand::f64()) {
            return Ok(false);
        }
        let (checkpoints, now) = (&self.worker.checkpoints, self.worker.clock.now());
        // The worker may have known the run before a start gave it another limit: the summary has the present one.
        let summary = checkpoints.summary(&self.worker.run.id, now).await?;
        let error = self.tracker.most_frequent_error(&self.chunk.id);
        stop_if_too_many_failed(checkpoints.as_ref(), &summary, now, error).await
    }

    async fn complete(&mut self) -> Result<(), WorkerError> {
        let writer = self.delivery.writer.clone();
        let mut finish = writer.finish();
        loop {
            // A large file may take longer to become durable than a lease lasts.
            tokio::select! {
                biased;
                finished = &mut finish => {
                    finished?;
                    break;
                }
                () = tokio::time::sleep(self.worker.options.checkpoint_every) => drop(self.checkpoint().await?),
            }
        }
        self.record_failed().await?;
        let mut progress = self.tracker.progress().clone();
        progress.counters.busy_ms = self.busy_ms();
        let worker = self.worker;
        worker.checkpoints.complete(&worker.run.id, &self.chunk.id, self.chunk.epoch, &progress).await?;
        worker.queue.delete(self.message).await?;
        self.stops_the_run().await?;
        Ok(())
    }

    async fn hand_back(&mut self, reason: &Reason) -> Result<(), WorkerError> {
        if self.acknowledge == Acknowledge::OnReply {
            self.record_failed().await?;
        }
        Ok(self.worker.hand_back(self.message, &self.chunk, &self.progress(), reason).await?)
    }
}

impl WorkerError {
    fn is_lease_lost(&self) -> bool {
        matches!(self, WorkerError::Store(StoreError::Refused(WriteRefused::LeaseLost { .. })))
    }
}
