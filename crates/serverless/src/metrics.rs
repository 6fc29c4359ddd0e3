//! What a worker does, counted, and told as a line in CloudWatch's embedded metric format.

use async_trait::async_trait;
use backfill::encode::Encoding;
use backfill::model::{ChunkId, Identity, RunId, Settled, WriteMode};
use backfill::ports::{
    Acknowledge, Batch, ChunkWriter, FailedDocument, FailedDocuments, FailedPart, ItemOutcome, Place, Reply,
    StoreError, StoredPart, Target, TargetError,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Values of one metric in one line, at most, by the format's own limit.
const MAX_VALUES: usize = 100;

/// What was counted since the last line.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    documents: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    requests: AtomicU64,
    throttled: AtomicU64,
    retries: AtomicU64,
    reads: AtomicU64,
    read_bytes: AtomicU64,
    latencies: Mutex<Vec<u64>>,
}

impl Tally {
    /// A read from the repository.
    pub(crate) fn read(&self, bytes: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn sent(&self, batch: &Batch, took: u64, reply: &Result<Reply, TargetError>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        {
            let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            // Of many requests some are as good as all; which ones does not depend on how long they took.
            if latencies.len() < MAX_VALUES {
                latencies.push(took);
            }
        }
        match reply {
            Ok(reply) => {
                let (mut done, mut refused, mut bytes) = (0, 0, 0);
                for (item, entry) in reply.items.iter().zip(&batch.entries) {
                    match item {
                        ItemOutcome::Indexed | ItemOutcome::AlreadyThere => {
                            done += 1;
                            bytes += entry.source.len() as u64;
                        }
                        ItemOutcome::Refused(_) => refused += 1,
                        ItemOutcome::Failed { .. } => {}
                    }
                }
                self.documents.fetch_add(done, Ordering::Relaxed);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.retries.fetch_add(refused, Ordering::Relaxed);
                self.throttled.fetch_add(u64::from(refused > 0), Ordering::Relaxed);
            }
            Err(error) => {
                let overloaded = matches!(error, TargetError::Overloaded { .. });
                self.throttled.fetch_add(u64::from(overloaded), Ordering::Relaxed);
                self.retries.fetch_add(batch.entries.len() as u64, Ordering::Relaxed);
            }
        }
    }

    /// The line for what was counted, and a new beginning. `ended` tells how the message ended.
    pub(crate) fn line(&self, stack: &str, at: u64, ended: &str, took_ms: u64) -> Value {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let latencies = std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        let metric = |name: &str, unit: &str| json!({"Name": name, "Unit": unit});
        let mut metrics = vec![
            metric("Documents", "Count"),
            metric("Bytes", "Bytes"),
            metric("FailedDocuments", "Count"),
            metric("WorkerErrors", "Count"),
            metric("BulkRequests", "Count"),
            metric("Throttled", "Count"),
            metric("Retries", "Count"),
            metric("S3Requests", "Count"),
            metric("S3Bytes", "Bytes"),
            metric("Slice", "Milliseconds"),
        ];
        let mut line = json!({
            "Stack": stack,
            "Ended": ended,
            "Documents": take(&self.documents),
            "Bytes": take(&self.bytes),
            "FailedDocuments": take(&self.failed),
            "WorkerErrors": u8::from(ended == "error"),
            "BulkRequests": take(&self.requests),
            "Throttled": take(&self.throttled),
            "Retries": take(&self.retries),
            "S3Requests": take(&self.reads),
            "S3Bytes": take(&self.read_bytes),
            "Slice": took_ms,
        });
        // An empty list of values is refused.
        if !latencies.is_empty() {
            metrics.push(metric("BulkLatency", "Milliseconds"));
            line["BulkLatency"] = json!(latencies);
        }
        line["_aws"] = json!({
            "Timestamp": at,
            "CloudWatchMetrics": [{"Namespace": "Backfill", "Dimensions": [["Stack"]], "Metrics": metrics}],
        });
        line
    }
}

/// A target whose requests are counted.
#[derive(Debug)]
pub(crate) struct CountedTarget {
    pub(crate) inner: Arc<dyn Target>,
    pub(crate) tally: Arc<Tally>,
}

#[async_trait]
impl Target for CountedTarget {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn encoding(&self) -> Encoding {
        self.inner.encoding()
    }

    fn acknowledge(&self) -> Acknowledge {
        self.inner.acknowledge()
    }

    fn max_in_flight(&self) -> usize {
        self.inner.max_in_flight()
    }

    async fn check(&self) -> Result<(), TargetError> {
        self.inner.check().await
    }

    async fn place(&self, name: &str) -> Result<Option<Place>, TargetError> {
        self.inner.place(name).await
    }

    async fn identity(&self, name: &str) -> Result<Option<Identity>, TargetError> {
        self.inner.identity(name).await
    }

    async fn create(&self, name: &str, data_stream: bool) -> Result<bool, TargetError> {
        self.inner.create(name, data_stream).await
    }

    async fn begin(
        &self,
        run: &RunId,
        chunk: &ChunkId,
        destination: &str,
        mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        let inner = self.inner.begin(run, chunk, destination, mode).await?;
        Ok(Box::new(CountedWriter { inner, tally: self.tally.clone() }))
    }
}

#[derive(Debug)]
struct CountedWriter {
    inner: Box<dyn ChunkWriter>,
    tally: Arc<Tally>,
}

#[async_trait]
impl ChunkWriter for CountedWriter {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        let begun = Instant::now();
        let reply = self.inner.send(batch).await;
        let took = reply.as_ref().ok().and_then(|reply| reply.took).unwrap_or_else(|| begun.elapsed());
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.tally.sent(batch, took, &reply);
        reply
    }

    async fn finish(&self) -> Result<(), TargetError> {
        self.inner.finish().await
    }
}

/// A stream of failed documents that is counted.
#[derive(Debug)]
pub(crate) struct CountedFailures {
    pub(crate) inner: Arc<dyn FailedDocuments>,
    pub(crate) tally: Arc<Tally>,
}

#[async_trait]
impl FailedDocuments for CountedFailures {
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError> {
        self.inner.write(part, records).await?;
        self.tally.failed.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    async fn parts(&self, run: &RunId, chunk: &ChunkId) -> Result<Vec<StoredPart>, StoreError> {
        self.inner.parts(run, chunk).await
    }

    async fn read(&self, part: &StoredPart) -> Result<Vec<FailedDocument>, StoreError> {
        self.inner.read(part).await
    }

    async fn replace(
        &self,
        part: &FailedPart,
        settled: &Settled,
        records: &[FailedDocument],
    ) -> Result<(), StoreError> {
        self.inner.replace(part, settled, records).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.inner.delete(run).await
    }

    fn location(&self, run: &RunId) -> String {
        self.inner.location(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backfill::model::Position;
    use backfill::ports::{BatchEntry, Refusal};

    fn batch(documents: usize) -> Batch {
        let entry = |n: usize| BatchEntry {
            bytes: n * 10..n * 10 + 10,
            source: n * 10 + 3..n * 10 + 10,
            position: Position::default(),
        };
        Batch { body: vec![0; documents * 10].into(), entries: (0..documents).map(entry).collect() }
    }

    #[test]
    fn each_metric_of_the_line_has_its_value_and_the_next_line_begins_anew() {
        let tally = Tally::default();
        let refused = ItemOutcome::Refused(Refusal::Overloaded);
        tally.sent(&batch(3), 7, &Ok(vec![ItemOutcome::Indexed, refused, ItemOutcome::AlreadyThere].into()));
        let overloaded = TargetError::Overloaded { target: String::new(), retry_after: None };
        tally.sent(&batch(2), 9, &Err(overloaded));
        tally.read(100);
        let line = tally.line("s", 1, "done", 20);
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
            let value = &line[metric["Name"].as_str().unwrap()];
            assert!(value.is_u64() || value.is_array(), "{metric}: {value}");
        }
        let counts = ["Documents", "Bytes", "Throttled", "Retries", "BulkRequests", "S3Bytes"]
            .map(|n| line[n].as_u64().unwrap());
        assert_eq!(counts, [2, 14, 2, 3, 2, 100]);
        assert_eq!(line["BulkLatency"], json!([7, 9]));
        let next = tally.line("s", 1, "done", 20);
        assert!(next["Documents"] == 0 && next.get("BulkLatency").is_none());
    }
}
