//! Tries failed documents again. The protocol is that of the [module above](crate::failed).

use super::report::{IndexRetry, Kinds, RetryReport};
use crate::encode::{Document, Encoder};
use crate::model::chunk::WriteRefused;
use crate::model::{Chunk, ChunkState, IndexPlan, Millis, Position, Run, Settled};
use crate::ports::{
    Acknowledge, Batch, Checkpoints, ChunkWriter, Clock, FailedDocument, FailedDocuments, RetryLease,
    StoreError, StoredPart, Target, TargetError,
};
use crate::waits::Waits;
use crate::worker::acks::Delivered;
use crate::worker::deliver::Delivery;
use crate::worker::flow::Flow;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// For how long a retry has the run to itself after its last sign of life, in milliseconds.
const LEASE: Millis = 60_000;
/// How often it gives one.
const RENEW: Duration = Duration::from_secs(10);

/// Why failed documents cannot be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// The target takes whole chunks only.
    #[error(
        "the target {0} cannot take single documents: what failed in an export could not be read from the snapshot, or \
         has no whole source, and would fail again"
    )]
    WholeChunks(String),
    /// The target cannot be written to.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The stream or the checkpoints do not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another retry of the run is at work, or was killed a moment ago.
    #[error(
        "another retry of run {run} is at work; wait for its end (if it was killed, that is {seconds} seconds from now)"
    )]
    Held {
        /// The run.
        run: String,
        /// For how long at least, unless it ends before then.
        seconds: u64,
    },
    /// Somebody else changes the same counters.
    #[error("another retry of run {run} is at work ({refused}); wait for its end")]
    Contended {
        /// The run.
        run: String,
        /// What was refused.
        refused: WriteRefused,
    },
}

/// Which failed documents are meant.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of these indices, by their names in the snapshot; `None`: of all.
    pub indices: Option<HashSet<String>>,
    /// Those that failed with this type of error; `None`: with any.
    pub error_type: Option<String>,
}

impl Wanted {
    /// Whether those of this index are meant.
    pub fn index(&self, name: &str) -> bool {
        self.indices.as_ref().is_none_or(|indices| indices.contains(name))
    }

    /// Whether those that failed like this are meant.
    pub fn error_type(&self, error_type: &str) -> bool {
        self.error_type.as_ref().is_none_or(|wanted| wanted == error_type)
    }
}

/// A retry, with all it needs. The caller sees to it that no worker is at the run.
#[derive(Debug)]
pub struct Retry<'a> {
    /// Its name, by which it has the run to itself: unique among those that may try at once.
    pub owner: String,
    /// The run.
    pub run: &'a Run,
    /// Its checkpoints.
    pub checkpoints: &'a dyn Checkpoints,
    /// Its failed documents.
    pub failed: &'a dyn FailedDocuments,
    /// Where they go.
    pub target: Arc<dyn Target>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How much is sent at once.
    pub flow: Arc<Mutex<Flow>>,
    /// How long a target that takes nothing is waited for.
    pub patience: Duration,
    /// How long what is in flight is waited for after a stop.
    pub drain: Duration,
    /// Where it is noted that the target is waited for.
    pub waits: Waits,
}

/// Why a document cannot be sent again as it is kept: errors of ours that no target can mend.
fn unsendable(record: &FailedDocument) -> bool {
    record.id.is_none()
        || record.source.is_none()
        || matches!(
            record.error_type.as_str(),
            "partial_source" | "masked_source" | "unknown_type" | "unreadable_source" | "unknown_routing"
        )
}

impl Retry<'_> {
    /// Sends the wanted documents again, chunk by chunk and part by part; in memory is one part at a time. What is told
    /// has been settled, also if this ends with an error or before the end: then it goes on where it was when repeated.
    /// Other retries of the run are kept away as long as this one works; if one is at work, this one does nothing.
    ///
    /// # Errors
    /// When the target cannot be written to, or stream or checkpoints do not work.
    pub async fn run(
        &self,
        wanted: &Wanted,
        stop: &CancellationToken,
        report: &mut RetryReport,
    ) -> Result<(), RetryError> {
        if self.target.acknowledge() == Acknowledge::OnFinish {
            return Err(RetryError::WholeChunks(self.target.location()));
        }
        self.hold().await?;
        let ended = tokio::select! {
            taken = self.keep() => Err(taken),
            ended = self.shards(wanted, stop, report) => ended,
        };
        if let Err(error) = self.checkpoints.release_retry(&self.run.id, &self.owner).await {
            // It ends by itself.
            tracing::info!(run = %self.run.id, %error, "the lease of the retry is not given back");
        }
        ended
    }

    async fn hold(&self) -> Result<(), RetryError> {
        let (run, now) = (&self.run.id, self.clock.now());
        match self.checkpoints.hold_retry(run, &self.owner, now, now.saturating_add(LEASE)).await? {
            RetryLease::Granted => Ok(()),
            RetryLease::Held { until } => Err(RetryError::Held {
                run: run.to_string(),
                seconds: until.saturating_sub(now).div_ceil(1000),
            }),
        }
    }

    /// Renews the lease until another retry has it. One that cannot be renewed for a while may be lost, but no more: what
    /// two change at once is refused when it is settled.
    async fn keep(&self) -> RetryError {
        loop {
            tokio::time::sleep(RENEW).await;
            match self.hold().await {
                Ok(()) => {}
                Err(taken @ RetryError::Held { .. }) => return taken,
                Err(error) => tracing::warn!(run = %self.run.id, %error, "the lease is not renewed"),
            }
        }
    }

    async fn shards(
        &self,
        wanted: &Wanted,
        stop: &CancellationToken,
        report: &mut RetryReport,
    ) -> Result<(), RetryError> {
        for shard in self.checkpoints.shards(&self.run.id).await? {
            let Some(plan) = self.run.index(&shard.id.index).filter(|plan| wanted.index(&plan.name)) else {
                continue;
            };
            for chunk in self.checkpoints.chunks(&self.run.id, &shard.id).await? {
                let failed = chunk.progress.counters.failed;
                if failed == 0 {
                    continue;
                }
                if stop.is_cancelled() {
                    report.interrupted = true;
                    return Ok(());
                }
                let told = report.index(&plan.name);
                if chunk.state == ChunkState::Done {
                    self.chunk(Arc::new(chunk), plan, wanted, stop, told).await?;
                } else {
                    // Its worker may write to the same part of the stream when it goes on.
                    told.unfinished += failed;
                }
            }
        }
        report.interrupted = stop.is_cancelled();
        Ok(())
    }

    async fn chunk(
        &self,
        chunk: Arc<Chunk>,
        plan: &IndexPlan,
        wanted: &Wanted,
        stop: &CancellationToken,
        told: &mut IndexRetry,
    ) -> Result<(), RetryError> {
        let mut seen = chunk.progress.counters.failed;
        let parts = self.failed.parts(&self.run.id, &chunk.id).await?;
        for settled in parts.iter().filter_map(|stored| stored.part.settled) {
            // A retry was killed after it had replaced a part, and before it moved the counts.
            if settled.seen == seen && settled.moved() > 0 {
                seen = self.settle(&chunk, &settled).await?;
                told.recovered += settled.moved();
            }
        }
        let mode = self.run.write_mode(plan);
        let writer = self.target.begin(&self.run.id, &chunk.id, &plan.destination, mode).await?;
        let writer: Arc<dyn ChunkWriter> = Arc::from(writer);
        for stored in parts {
            if stop.is_cancelled() {
                return Ok(());
            }
            let sender = Sender { retry: self, chunk: &chunk, plan, writer: &writer };
            seen = sender.part(&stored, seen, wanted, stop, told).await?;
        }
        writer.finish().await?;
        Ok(())
    }

    /// Moves counts; returns what the chunk counts as failed afterwards.
    async fn settle(&self, chunk: &Chunk, settled: &Settled) -> Result<u64, RetryError> {
        match self.checkpoints.settle(&self.run.id, &chunk.id, settled).await {
            Ok(()) => Ok(settled.seen.saturating_sub(settled.moved())),
            Err(StoreError::Refused(refused @ WriteRefused::Unsettled { .. })) => {
                Err(RetryError::Contended { run: self.run.id.to_string(), refused })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends the documents of one chunk.
struct Sender<'a> {
    retry: &'a Retry<'a>,
    chunk: &'a Arc<Chunk>,
    plan: &'a IndexPlan,
    writer: &'a Arc<dyn ChunkWriter>,
}

/// What came of the documents of a part.
#[derive(Default)]
struct Sent {
    indexed: u64,
    already_there: u64,
    /// Documents that have an outcome, and the records of those among them that failed again.
    ended: HashSet<Position>,
    failed: Vec<FailedDocument>,
    error: Option<TargetError>,
}

impl Sender<'_> {
    /// Tries the documents of a part again; returns what the chunk counts as failed afterwards.
    async fn part(
        &self,
        stored: &StoredPart,
        seen: u64,
        wanted: &Wanted,
        stop: &CancellationToken,
        told: &mut IndexRetry,
    ) -> Result<u64, RetryError> {
        let retry = self.retry;
        let records = retry.failed.read(stored).await?;
        let chosen = |record: &&FailedDocument| wanted.error_type(&record.error_type);
        let (mut kept, mut failed) = (Kinds::default(), Kinds::default());
        for record in records.iter().filter(chosen).filter(|record| unsendable(record)) {
            kept.add(&record.error_type, &record.reason);
        }
        let again = records.iter().filter(chosen).filter(|record| !unsendable(record));
        let sent = self.send(again, stop).await;
        for record in &sent.failed {
            failed.add(&record.error_type, &record.reason);
        }
        let mut settled = Settled { seen, indexed: sent.indexed, already_there: sent.already_there };
        if settled.moved() > seen {
            // Two retries at once, or files put there by hand: what is counted already is not counted again.
            tracing::warn!(chunk = %self.chunk.id, counted = seen, "more failed documents are kept than are counted");
            settled.indexed = settled.indexed.min(seen);
            settled.already_there = seen - settled.indexed;
        }
        let mut left = records;
        left.retain(|record| !sent.ended.contains(&record.position));
        left.extend(sent.failed);
        left.sort_unstable_by_key(|record| record.position);
        let seen = if sent.indexed + sent.already_there > 0 {
            retry.failed.replace(&stored.part, &settled, &left).await?;
            retry.settle(self.chunk, &settled).await?
        } else {
            if !sent.ended.is_empty() {
                // Nothing is to be moved, but the reasons may have changed.
                retry.failed.write(&stored.part, &left).await?;
            }
            seen
        };
        told.retried += sent.ended.len() as u64;
        told.indexed += sent.indexed;
        told.already_there += sent.already_there;
        told.failed.merge(&failed);
        told.kept.merge(&kept);
        match sent.error {
            Some(error) => Err(error.into()),
            None => Ok(seen),
        }
    }

    /// Sends documents in as many requests at once as the target can take. After an error or a stop no more are sent, but
    /// those in flight are waited for: documents without an outcome stay as they were.
    async fn send<'r>(
        &self,
        records: impl Iterator<Item = &'r FailedDocument>,
        stop: &CancellationToken,
    ) -> Sent {
        let retry = self.retry;
        let mut encoder =
            Encoder::new(retry.target.encoding(), retry.run.write_mode(self.plan), &self.plan.destination);
        let delivery = Delivery {
            writer: self.writer.clone(),
            encoding: retry.target.encoding(),
            chunk: self.chunk.clone(),
            destination: self.plan.destination.as_str().into(),
            flow: retry.flow.clone(),
            patience: retry.patience,
            clock: retry.clock.clone(),
            target: retry.target.clone(),
            waits: retry.waits.clone(),
            stopping: CancellationToken::new(),
        };
        let mut sent = Sent::default();
        let mut in_flight = InFlight {
            tasks: JoinSet::new(),
            batches: BTreeMap::new(),
            next: 0,
            target: retry.target.location(),
        };
        for record in records {
            let (Some(id), Some(source)) = (&record.id, &record.source) else { continue };
            let document = Document {
                index: (record.index != self.plan.destination).then_some(record.index.as_str()),
                id,
                routing: record.routing.as_deref(),
                doc_type: None,
                parent: None,
                timestamp: None,
                expires: None,
                source: source.get().as_bytes(),
            };
            encoder.push(record.position, &document);
            let limit = retry.flow.lock().unwrap_or_else(PoisonError::into_inner).batch_bytes();
            if encoder.len() < limit {
                continue;
            }
            if !self.room(&mut in_flight, stop, &mut sent).await {
                break;
            }
            in_flight.start(&delivery, encoder.take());
        }
        if !encoder.is_empty() && self.room(&mut in_flight, stop, &mut sent).await {
            in_flight.start(&delivery, encoder.take());
        }
        while !in_flight.tasks.is_empty() {
            if !in_flight.wait(stop, retry.drain, &mut sent).await {
                break;
            }
        }
        sent
    }

    /// Waits until one more request may be sent; returns whether it should be.
    async fn room(&self, in_flight: &mut InFlight, stop: &CancellationToken, sent: &mut Sent) -> bool {
        loop {
            let allowed = self.retry.flow.lock().unwrap_or_else(PoisonError::into_inner).deliveries();
            if sent.error.is_some() || stop.is_cancelled() {
                return false;
            }
            if in_flight.tasks.len() < allowed.min(self.retry.target.max_in_flight()).max(1) {
                return true;
            }
            if !in_flight.wait(stop, self.retry.drain, sent).await {
                return false;
            }
        }
    }
}

type Ended = (u64, Result<Delivered, TargetError>);

/// Requests under way, and which documents each has.
struct InFlight {
    tasks: JoinSet<Ended>,
    batches: BTreeMap<u64, Vec<Position>>,
    next: u64,
    /// The target's name, for messages.
    target: String,
}

impl InFlight {
    fn start(&mut self, delivery: &Delivery, batch: Batch) {
        let number = self.next;
        self.next += 1;
        self.batches.insert(number, batch.entries.iter().map(|entry| entry.position).collect());
        let delivery = delivery.clone();
        self.tasks.spawn(async move { (number, delivery.deliver(batch).await) });
    }

    /// Waits for the end of a request; after a stop no longer than `drain`. Returns whether one has ended.
    async fn wait(&mut self, stop: &CancellationToken, drain: Duration, sent: &mut Sent) -> bool {
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        let ended = tokio::select! {
            biased;
            ended = self.tasks.join_next() => ended,
            () = stopped => None,
        };
        match ended {
            None => return false,
            // One that broke off has no outcome: its documents stay as they were.
            Some(Err(error)) => {
                let reason = format!("a delivery broke off: {error}");
                let target = self.target.clone();
                sent.error.get_or_insert(TargetError::Unexpected { target, reason });
            }
            Some(Ok((number, result))) => match (self.batches.remove(&number), result) {
                (Some(positions), Ok(delivered)) => {
                    sent.indexed += delivered.counters.indexed;
                    sent.already_there += delivered.counters.already_there;
                    sent.ended.extend(positions);
                    sent.failed.extend(delivered.failed);
                }
                (_, Err(error)) => {
                    sent.error.get_or_insert(error);
                }
                (None, Ok(_)) => {}
            },
        }
        true
    }
}
