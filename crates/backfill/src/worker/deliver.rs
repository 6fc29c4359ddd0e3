//! Delivers one batch: sends, sorts the outcomes, and repeats only what was refused, with the very same bytes.

use super::acks::Delivered;
use super::flow::{Flow, Tally, backoff};
use crate::encode::{Encoding, names};
use crate::model::{Chunk, Millis, Position, WaitCause};
use crate::ports::{
    Batch, BatchEntry, ChunkWriter, Clock, FailedDocument, ItemOutcome, Refusal, Reply, Target, TargetError,
};
use crate::waits::Waits;
use base64::Engine;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Faults of one document in a row after which it may count as failed.
const MAX_FAULTS: u32 = 8;
/// The share of the target's patience that they must have lasted, too: a shard may be on its way to another node.
const FAULT_SHARE: u32 = 5;
/// Refusals of a single document's request, in the target's own words or as too large, after which it counts as failed.
/// Such an answer is definite, but something between the worker and the target may have given it once.
const MAX_REFUSALS: u32 = 4;
/// Others are hardly refused if one of so many is, at most.
const FEW: u64 = 10;
/// How much longer than a pause one waits for each time it was refused, so that others come first.
const AFTER_OTHERS: Duration = Duration::from_millis(20);
/// How long a target may be silent before that is noted as a wait.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a delivery that waits for its turn sleeps at most before it looks again.
const TURN: Duration = Duration::from_secs(1);

/// What a delivery needs to know. Cheap to clone; shared by the deliveries of a chunk.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where documents go.
    pub writer: Arc<dyn ChunkWriter>,
    /// How batches are encoded.
    pub encoding: Encoding,
    /// The chunk, for messages.
    pub chunk: Arc<Chunk>,
    /// Index or data stream written to.
    pub destination: Arc<str>,
    /// How much is sent at once.
    pub flow: Arc<Mutex<Flow>>,
    /// How long a target that takes nothing is waited for.
    pub patience: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The target itself, to see whether it is there when an answer makes no sense.
    pub target: Arc<dyn Target>,
    /// Where it is noted that the target is waited for.
    pub waits: Waits,
    /// Cancelled when no more requests are to be sent: those in flight end as they do, and nothing is repeated.
    pub stopping: CancellationToken,
}

/// A part of a batch that is delivered by itself.
#[derive(Debug)]
struct Part {
    batch: Batch,
    /// Attempts in a row that brought nothing.
    attempt: u32,
    /// Faults of its documents.
    faults: Faults,
    /// Refusals of the whole of it that may pass.
    refusals: Refusals,
    /// Definite refusals of the whole of it.
    definite: u32,
}

impl Part {
    fn new(batch: Batch, attempt: u32) -> Part {
        Part { batch, attempt, faults: Faults::default(), refusals: Refusals::default(), definite: 0 }
    }
}

/// Faults of the target that documents of one part met, one after the other.
#[derive(Debug, Default)]
struct Faults {
    count: u32,
    since: Millis,
}

/// Refusals of one part as a whole, one after the other.
#[derive(Debug, Default)]
struct Refusals {
    /// How many there were before which something else had been taken since the one before; the first one is among them.
    among_others: u32,
    /// What had become of requests when the first one came, and the last one.
    first: Tally,
    last: Tally,
    /// When the first one came.
    since: Millis,
}

impl Refusals {
    /// One more came; `tally` is what became of requests before it. Whether it is the part that is refused, and not whatever
    /// is sent: something in it that the target has not the memory or the time for.
    fn are_of_the_part(&mut self, tally: Tally, now: Millis) -> bool {
        let first = self.among_others == 0;
        if first {
            (self.first, self.since) = (tally, now);
        }
        if first || tally.taken > self.last.taken {
            self.among_others += 1;
        }
        let taken = tally.taken - self.first.taken;
        let others_refused = (tally.refused - self.first.refused).saturating_sub(u64::from(!first));
        self.last = tally;
        self.among_others >= MAX_FAULTS && others_refused * FEW <= taken
    }

    fn lasted(&self, now: Millis) -> Duration {
        Duration::from_millis(now.saturating_sub(self.since))
    }
}

/// The right to send one request; ends when it is dropped.
struct Turn<'a>(&'a Mutex<Flow>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end();
    }
}

impl Delivery {
    /// Delivers a batch. Returns when each document is acknowledged or failed for good.
    ///
    /// # Errors
    /// When the target denies access, makes no sense, or took nothing for as long as patience lasts.
    pub async fn deliver(&self, batch: Batch) -> Result<Delivered, TargetError> {
        let mut done = Delivered::default();
        // However long ago the target last took something: it may not have been asked since.
        let begun = self.clock.monotonic();
        let mut work = VecDeque::from([Part::new(batch, 0)]);
        // Parts of a batch that was split are delivered one after the other: the target had enough of it at once. One that is
        // refused lets the others go first.
        while let Some(part) = work.pop_front() {
            work.extend(self.send(part, begun, &mut done).await?);
        }
        Ok(done)
    }

    /// Sends a part once; returns what of it is to be sent again, split if it must be.
    async fn send(&self, part: Part, begun: Millis, done: &mut Delivered) -> Result<Vec<Part>, TargetError> {
        let Part { mut batch, mut attempt, mut faults, mut refusals, definite } = part;
        let turn = tokio::select! {
            biased;
            () = self.stopping.cancelled() => {
                let reason = "the work was stopped".to_owned();
                return Err(TargetError::Unreachable { target: self.target.location(), reason });
            }
            turn = self.turn(attempt) => turn,
        };
        let sent = tokio::time::Instant::now();
        done.counters.requests += 1;
        let answer = self.answer(&batch, begun).await;
        drop(turn);
        let mut whole = true;
        let error = match answer {
            Ok(reply) => {
                // To give a document up is not to take it.
                let took = reply.took.unwrap_or_else(|| sent.elapsed());
                // What is there already costs the target next to nothing, and would pass for its speed.
                let written = batch.entries.iter().zip(&reply.items);
                let written = written.filter(|(_, item)| **item == ItemOutcome::Indexed);
                let written: usize = written.map(|(entry, _)| entry.bytes.len()).sum();
                let taken = reply.items.iter().any(|item| !matches!(item, ItemOutcome::Refused(_)));
                let refused = self.sort(&batch, reply.items, &mut faults, done)?;
                let now = self.clock.monotonic();
                if taken {
                    self.waits.target_took();
                }
                let Some((indices, error)) = refused else {
                    if taken {
                        self.flow().succeeded(now, written, took);
                    }
                    return Ok(Vec::new());
                };
                if taken {
                    attempt = 0;
                    self.flow().partly_refused(now, Duration::ZERO);
                }
                // Faults of documents are counted by themselves.
                whole = indices.len() == batch.entries.len() && faults.count == 0;
                if !whole {
                    refusals = Refusals::default();
                }
                done.counters.retries += indices.len() as u64;
                batch = batch.subset(&indices);
                error
            }
            Err(TargetError::TooLarge { target, bytes }) => {
                self.flow().too_large(bytes);
                return self.split(batch, TargetError::TooLarge { target, bytes }, definite, done).await;
            }
            Err(error @ TargetError::Unexpected { .. }) => match self.target.check().await {
                Ok(()) => return self.split(batch, error, definite, done).await,
                Err(denied @ TargetError::Denied { .. }) => return Err(denied),
                // Whatever answers in the target's place now, such as a page about maintenance, says nothing about
                // documents.
                Err(absent) => {
                    done.counters.retries += batch.entries.len() as u64;
                    absent
                }
            },
            Err(error @ (TargetError::Denied { .. } | TargetError::Unwritable { .. })) => return Err(error),
            Err(error) => {
                done.counters.retries += batch.entries.len() as u64;
                error
            }
        };
        let overtaxed = matches!(
            error,
            TargetError::Overloaded { .. } | TargetError::Unreachable { .. } | TargetError::Garbled { .. }
        );
        let lone = batch.entries.len() == 1;
        let theirs =
            whole && overtaxed && refusals.are_of_the_part(self.flow().tally(), self.clock.monotonic());
        if theirs && lone && refusals.lasted(self.clock.monotonic()) >= self.patience / FAULT_SHARE {
            let entry = &batch.entries[0];
            done.failed.push(self.failed(&batch, entry, "request_refused".to_owned(), error.to_string()));
            return Ok(Vec::new());
        }
        self.wait_after(error, attempt, begun)?;
        attempt += 1;
        // It was gathered when the target seemed to be able to take more.
        let large = batch.body.len() / 2 > self.flow().batch_bytes();
        if overtaxed && !lone && (large || theirs) {
            return Ok(halves(&batch, if theirs { 0 } else { attempt }));
        }
        Ok(vec![Part { batch, attempt, faults, refusals, definite }])
    }

    /// Sends a batch and waits for the answer. A target that is silent for long is noted before the request times out.
    async fn answer(&self, batch: &Batch, begun: Millis) -> Result<Reply, TargetError> {
        let mut answer = self.writer.send(batch);
        loop {
            if let Ok(answer) = tokio::time::timeout(SILENCE, &mut answer).await {
                return answer;
            }
            let idle = self.idle(begun);
            if idle >= SILENCE {
                let reason = "it has not answered a request yet";
                self.waits.note(WaitCause::TargetUnreachable, reason, idle, self.patience);
            }
        }
    }

    /// How long the target has taken nothing, counted from `begun` at most.
    fn idle(&self, begun: Millis) -> Duration {
        let last = self.flow().last_success().max(begun);
        Duration::from_millis(self.clock.monotonic().saturating_sub(last))
    }

    /// Waits until a request may be sent: no pause lasts, and no more are under way than the target can take now.
    async fn turn(&self, attempt: u32) -> Turn<'_> {
        loop {
            let (pause, ended) = {
                let mut flow = self.flow();
                let pause = flow.pause(self.clock.monotonic());
                if pause.is_zero() && flow.begin() {
                    return Turn(&self.flow);
                }
                (pause, flow.ended())
            };
            if pause.is_zero() {
                // Looks again by itself now and then: whoever was called may not have come.
                let _ = tokio::time::timeout(TURN, ended.notified()).await;
            } else {
                tokio::time::sleep(pause + AFTER_OTHERS * attempt.min(10)).await;
            }
        }
    }

    /// Sets the shared pause after a refusal, or gives up when patience is at its end.
    fn wait_after(&self, error: TargetError, attempt: u32, begun: Millis) -> Result<(), TargetError> {
        let now = self.clock.monotonic();
        let idle = self.idle(begun);
        if idle >= self.patience {
            return Err(error);
        }
        let retry_after = match &error {
            TargetError::Overloaded { retry_after, .. } => *retry_after,
            _ => None,
        };
        self.waits.note_target(&error, idle, self.patience);
        let delay = backoff(attempt, retry_after, fastrand::f64());
        self.flow().overloaded(now, delay.min(self.patience), attempt == 0);
        Ok(())
    }

    /// Counts the outcomes; returns the documents to send again, and why.
    fn sort(
        &self,
        batch: &Batch,
        items: Vec<ItemOutcome>,
        faults: &mut Faults,
        done: &mut Delivered,
    ) -> Result<Option<(Vec<usize>, TargetError)>, TargetError> {
        if items.len() != batch.entries.len() {
            return Err(TargetError::Unexpected {
                target: self.target.location(),
                reason: format!("{} outcomes for {} documents", items.len(), batch.entries.len()),
            });
        }
        let target = || self.target.location();
        let mut again = Vec::new();
        let mut why = None;
        let mut faulty = Vec::new();
        for (at, (item, entry)) in items.into_iter().zip(&batch.entries).enumerate() {
            match item {
                ItemOutcome::Indexed => done.counters.indexed += 1,
                ItemOutcome::AlreadyThere => done.counters.already_there += 1,
                ItemOutcome::Failed { error_type, reason } => {
                    done.failed.push(self.failed(batch, entry, error_type, reason));
                }
                ItemOutcome::Refused(Refusal::Fault(reason)) => faulty.push((at, reason)),
                ItemOutcome::Refused(refusal) => {
                    again.push(at);
                    why = Some(match refusal {
                        Refusal::Blocked(reason) => TargetError::Blocked { target: target(), reason },
                        _ => TargetError::Overloaded { target: target(), retry_after: None },
                    });
                }
            }
        }
        if faulty.is_empty() {
            *faults = Faults::default();
        } else {
            let theirs = self.are_of_the_documents(faults);
            for (at, reason) in faulty {
                if theirs {
                    let entry = &batch.entries[at];
                    done.failed.push(self.failed(batch, entry, "target_fault".to_owned(), reason));
                } else {
                    again.push(at);
                    why.get_or_insert(TargetError::Unreachable { target: target(), reason });
                }
            }
            again.sort_unstable();
        }
        Ok(why.map(|why| (again, why)))
    }

    /// Whether faults are those of the documents that met them: a fault of the whole target is waited for, but if it takes
    /// others meanwhile, these would be sent again for ever.
    fn are_of_the_documents(&self, faults: &mut Faults) -> bool {
        let now = self.clock.monotonic();
        if faults.count == 0 {
            faults.since = now;
        }
        faults.count += 1;
        let lasted = Duration::from_millis(now.saturating_sub(faults.since));
        let flow = self.flow();
        // What it took a while ago says nothing about now.
        let idle = Duration::from_millis(now.saturating_sub(flow.last_success()));
        faults.count >= MAX_FAULTS
            && lasted >= self.patience / FAULT_SHARE
            && flow.any_success()
            && flow.last_success() >= faults.since
            && idle < self.patience / FAULT_SHARE
    }

    /// Splits a batch that is definitely refused as a whole. A single document that is refused so several times has failed.
    async fn split(
        &self,
        batch: Batch,
        error: TargetError,
        definite: u32,
        done: &mut Delivered,
    ) -> Result<Vec<Part>, TargetError> {
        if batch.entries.len() > 1 {
            return Ok(halves(&batch, 0));
        }
        if definite + 1 < MAX_REFUSALS {
            done.counters.retries += 1;
            // Only this document waits: the target has time for others.
            tokio::time::sleep(backoff(definite, None, fastrand::f64())).await;
            return Ok(vec![Part { definite: definite + 1, ..Part::new(batch, 0) }]);
        }
        let error_type = match &error {
            TargetError::TooLarge { .. } => "request_too_large",
            // A target that has taken nothing yet refuses everything: that is no fault of the document.
            _ if done.counters.indexed + done.counters.already_there == 0 && !self.had_success() => {
                return Err(error);
            }
            _ => "request_refused",
        };
        for entry in &batch.entries {
            done.failed.push(self.failed(&batch, entry, error_type.to_owned(), error.to_string()));
        }
        Ok(Vec::new())
    }

    fn had_success(&self) -> bool {
        self.flow().any_success()
    }

    fn failed(
        &self,
        batch: &Batch,
        entry: &BatchEntry,
        error_type: String,
        reason: String,
    ) -> FailedDocument {
        let names = names(self.encoding, batch, entry);
        let source = &batch.body[entry.source.clone()];
        failed_document(
            &self.chunk,
            names.index.as_deref().unwrap_or(&self.destination),
            entry.position,
            names.id,
            names.routing,
            Some(source),
            error_type,
            reason,
        )
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The halves of a batch.
fn halves(batch: &Batch, attempt: u32) -> Vec<Part> {
    let indices: Vec<usize> = (0..batch.entries.len()).collect();
    let (left, right) = indices.split_at(indices.len() / 2);
    [left, right].map(|half| Part::new(batch.subset(half), attempt)).into()
}

/// Makes the record of a failed document, with its origin in the snapshot.
#[expect(clippy::too_many_arguments, reason = "each is a field of the record")]
pub fn failed_document(
    chunk: &Chunk,
    destination: &str,
    position: Position,
    id: Option<String>,
    routing: Option<String>,
    source: Option<&[u8]>,
    error_type: String,
    reason: String,
) -> FailedDocument {
    let segment = chunk.ranges.get(position.range as usize).map_or("?", |r| r.segment.as_str());
    let json = source
        .and_then(|s| std::str::from_utf8(s).ok())
        .and_then(|text| RawValue::from_string(text.trim_end().to_owned()).ok());
    let source_base64 = match (&json, source) {
        (None, Some(bytes)) => Some(base64::engine::general_purpose::STANDARD.encode(bytes)),
        _ => None,
    };
    FailedDocument {
        index: destination.to_owned(),
        id,
        routing,
        reason,
        error_type,
        origin: format!("{} segment {segment} document {}", chunk.id.shard, position.doc),
        position,
        source: json,
        source_base64,
    }
}

#[cfg(test)]
mod tests;
