//! Delivers one batch: sends, sorts the outcomes, and repeats only what was refused, with the very same bytes.

use super::acks::Delivered;
use super::flow::{Flow, backoff};
use crate::encode::{Encoding, names};
use crate::model::{Chunk, Position};
use crate::ports::{
    Batch, BatchEntry, ChunkWriter, Clock, FailedDocument, ItemOutcome, Refusal, TargetError,
};
use base64::Engine;
use serde_json::value::RawValue;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Faults of one document in a row after which it counts as failed.
const MAX_FAULTS: u32 = 8;

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
    /// The target's name, for messages.
    pub target: Arc<str>,
}

impl Delivery {
    /// Delivers a batch. Returns when each document is acknowledged or failed for good.
    ///
    /// # Errors
    /// When the target denies access, makes no sense, or took nothing for as long as patience lasts.
    pub async fn deliver(&self, batch: Batch) -> Result<Delivered, TargetError> {
        let mut done = Delivered::default();
        let mut work = vec![batch];
        // Parts of a batch that was split are delivered one after the other: the target had enough of it at once.
        while let Some(batch) = work.pop() {
            work.extend(self.deliver_part(batch, &mut done).await?);
        }
        Ok(done)
    }

    /// Delivers a batch, or returns the parts into which it must be split first.
    async fn deliver_part(&self, mut batch: Batch, done: &mut Delivered) -> Result<Vec<Batch>, TargetError> {
        let mut attempt = 0;
        let mut faults = 0;
        while !batch.entries.is_empty() {
            let pause = self.flow().pause(self.clock.now());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let sent = tokio::time::Instant::now();
            done.counters.requests += 1;
            let error = match self.writer.send(&batch).await {
                Ok(reply) => {
                    let refused = self.sort(&batch, reply.items, &mut faults, done)?;
                    let now = self.clock.now();
                    let Some((indices, error)) = refused else {
                        self.flow().succeeded(now, batch.body.len(), sent.elapsed());
                        return Ok(Vec::new());
                    };
                    if indices.len() < batch.entries.len() {
                        attempt = 0;
                        self.flow().partly_refused(now, Duration::ZERO);
                    }
                    done.counters.retries += indices.len() as u64;
                    batch = batch.subset(&indices);
                    error
                }
                Err(TargetError::TooLarge { target, bytes }) => {
                    self.flow().too_large(bytes);
                    return self.split(batch, TargetError::TooLarge { target, bytes }, done);
                }
                Err(error @ TargetError::Unexpected { .. }) => return self.split(batch, error, done),
                Err(error @ TargetError::Denied { .. }) => return Err(error),
                Err(error) => {
                    done.counters.retries += batch.entries.len() as u64;
                    error
                }
            };
            self.wait_after(error, attempt)?;
            attempt += 1;
        }
        Ok(Vec::new())
    }

    /// Sets the shared pause after a refusal, or gives up when patience is at its end.
    fn wait_after(&self, error: TargetError, attempt: u32) -> Result<(), TargetError> {
        let now = self.clock.now();
        let mut flow = self.flow();
        let idle = Duration::from_millis(now.saturating_sub(flow.last_success()));
        if idle >= self.patience {
            return Err(error);
        }
        let retry_after = match &error {
            TargetError::Overloaded { retry_after, .. } => *retry_after,
            _ => None,
        };
        let delay = backoff(attempt, retry_after, fastrand::f64());
        flow.overloaded(now, delay.min(self.patience));
        Ok(())
    }

    /// Counts the outcomes; returns the documents to send again, and why.
    fn sort(
        &self,
        batch: &Batch,
        items: Vec<ItemOutcome>,
        faults: &mut u32,
        done: &mut Delivered,
    ) -> Result<Option<(Vec<usize>, TargetError)>, TargetError> {
        if items.len() != batch.entries.len() {
            return Err(TargetError::Unexpected {
                target: self.target.to_string(),
                reason: format!("{} outcomes for {} documents", items.len(), batch.entries.len()),
            });
        }
        let target = || self.target.to_string();
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
        if !faulty.is_empty() {
            *faults += 1;
            // A fault of the whole target is waited for; one of a few documents among others is theirs.
            let theirs = *faults >= MAX_FAULTS && faulty.len() < batch.entries.len().max(2);
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

    /// Splits a batch that is refused as a whole; a single document that is refused so has failed.
    fn split(
        &self,
        batch: Batch,
        error: TargetError,
        done: &mut Delivered,
    ) -> Result<Vec<Batch>, TargetError> {
        let count = batch.entries.len();
        if count > 1 {
            let indices: Vec<usize> = (0..count).collect();
            let (left, right) = indices.split_at(count / 2);
            return Ok(vec![batch.subset(right), batch.subset(left)]);
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
