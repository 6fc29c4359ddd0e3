//! Writing documents to a cluster.

mod distinct;
mod routed;
#[cfg(test)]
mod tests;

use crate::classify;
use crate::classify::items::Sent;
use crate::classify::items::{Answer, Judged, Renamed};
use crate::cluster::Cluster;
use crate::compress::Compressor;
use crate::config::{ConfigError, TargetConfig};
use crate::transport::Request;
use crate::words::{MAX_WORDS, clean};
use async_trait::async_trait;
use backfill::encode::Encoding;
use backfill::model::{ChunkId, Identity, RunId, WriteMode};
use backfill::ports::{Acknowledge, Batch, ChunkWriter, ItemOutcome, Place, Reply, Target, TargetError};
use backfill::secrets::Redactor;
use bytes::Bytes;
use reqwest::Method;
use std::sync::Arc;

/// The parts of an answer that mean something. The names tie each item to its document. They take 21 bytes and their own
/// length for each; what they cost a cluster is lost in the noise of single runs.
const FILTER: &str = "took,errors,error,items.*._index,items.*._id,items.*.status,items.*.result,items.*.error.type,\
    items.*.error.reason,items.*.error.caused_by.reason,items.*.error.caused_by.caused_by.reason";
/// An answer has at most so many bytes, and so many for each document. It is not kept: this bounds the time.
const LIMIT: (usize, usize) = (1 << 20, 64 << 10);

/// A cluster as a target.
#[derive(Debug)]
pub struct OpenSearchTarget {
    inner: Arc<Inner>,
    max_in_flight: usize,
}

#[derive(Debug)]
struct Inner {
    cluster: Cluster,
    compressor: Compressor,
    /// Bytes that the outcomes of one request may need for reasons.
    reasons: usize,
    /// The query of bulk requests.
    query: String,
}

impl OpenSearchTarget {
    /// A target. Nothing is sent yet.
    pub fn new(config: TargetConfig) -> Result<OpenSearchTarget, ConfigError> {
        let cluster = Cluster::new(&config)?;
        let compressor = Compressor::new(config.compression, cluster.transport.is_loopback());
        let max_in_flight = config.max_in_flight.max(1);
        // The other half is for what is fetched.
        let reasons = config.answer_bytes / 2 / max_in_flight;
        let mut query = format!("filter_path={FILTER}");
        if !cluster.is_serverless() {
            // Longer than that the target does not wait for a shard that is not there: it gives its reason while it is still
            // waited for. Its own limit, a minute, is as long as ours.
            let timeout = config.request_timeout.as_millis() / 2;
            query.push_str(&format!("&timeout={timeout}ms"));
        }
        let inner = Inner { cluster, compressor, reasons, query };
        Ok(OpenSearchTarget { inner: Arc::new(inner), max_in_flight })
    }

    /// The client behind it.
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
    }
}

#[async_trait]
impl Target for OpenSearchTarget {
    fn location(&self) -> String {
        self.cluster().location().to_owned()
    }

    fn encoding(&self) -> Encoding {
        Encoding::Bulk
    }

    fn acknowledge(&self) -> Acknowledge {
        Acknowledge::OnReply
    }

    fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    async fn check(&self) -> Result<(), TargetError> {
        self.cluster().check().await
    }

    async fn place(&self, name: &str) -> Result<Option<Place>, TargetError> {
        self.cluster().place(name).await
    }

    async fn identity(&self, name: &str) -> Result<Option<Identity>, TargetError> {
        self.cluster().identity(name).await
    }

    async fn create(&self, name: &str, data_stream: bool) -> Result<bool, TargetError> {
        self.cluster().create(name, data_stream).await
    }

    async fn begin(
        &self,
        _run: &RunId,
        _chunk: &ChunkId,
        destination: &str,
        mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        let path = format!("{}/_bulk?{}", self.cluster().segment(destination)?, self.inner.query);
        Ok(Box::new(Writer { inner: self.inner.clone(), destination: destination.to_owned(), path, mode }))
    }
}

/// Writes to one index.
#[derive(Debug)]
struct Writer {
    inner: Arc<Inner>,
    destination: String,
    path: String,
    mode: WriteMode,
}

impl Writer {
    /// Sends a batch; returns what the answer means, and its status.
    async fn post(
        &self,
        batch: &Batch,
        mode: WriteMode,
        compressed: bool,
    ) -> Result<(u16, Result<Reply, TargetError>), TargetError> {
        let Inner { cluster, compressor, reasons, .. } = &*self.inner;
        let body: Bytes = if compressed {
            let failed = |e| cluster.unexpected(format!("a request for it cannot be compressed: {e}"));
            compressor.gzip(batch.body.clone()).await.map_err(failed)?
        } else {
            batch.body.clone()
        };
        let request = Request {
            method: Method::POST,
            path: self.path.clone(),
            body,
            content_type: "application/x-ndjson",
            gzip: compressed,
        };
        let mut incoming = cluster.transport.open(request).await?;
        let (status, echoed) = (incoming.status, incoming.echoed);
        let redactor = incoming.redactor.clone();
        if status != 200 {
            let answer = incoming.read(0).await?;
            let refusal = classify::bulk_refusal(cluster.location(), answer.meaning(), batch.body.len());
            return Ok((status, Err(refusal)));
        }
        let halted = |halt: classify::items::Halt| halt.into_error(cluster.location());
        let sent = Sent { batch, destination: &self.destination, mode, redactor: &redactor };
        let mut answer = Answer::new(sent, *reasons);
        let mut left = LIMIT.0 + LIMIT.1 * batch.entries.len();
        while let Some(part) = incoming.part().await? {
            left = left.checked_sub(part.len()).ok_or_else(|| {
                cluster.garbled("its answer does not end; check what is between it and us".to_owned())
            })?;
            answer.push(&part).map_err(halted)?;
        }
        let judged = answer.finish().map_err(halted)?;
        let took = Some(incoming.begun.elapsed());
        let items = self.confirm(judged, echoed, &redactor).await.map_err(said_of_others);
        Ok((status, items.map(|items| Reply { items, took })))
    }

    /// Makes sure that the answer is about these documents: each item must name its own. An index may answer under another
    /// name where the one that was asked for is an alias or a data stream. A pipeline of the target may rename documents;
    /// then it has to be plain from the request's own mark that the answer belongs to it.
    async fn confirm(
        &self,
        judged: Judged,
        echoed: bool,
        redactor: &Redactor,
    ) -> Result<Vec<ItemOutcome>, TargetError> {
        let cluster = &self.inner.cluster;
        let other = |what: String| {
            cluster.garbled(format!("{what}; check what is between it and us, and its ingest pipelines"))
        };
        if let Some(Renamed { index, sent, answered }) = judged.renamed
            && !(echoed && cluster.has_pipeline(&index).await?)
        {
            return Err(other(format!("it answers for the document {answered:?} at the place of {sent:?}")));
        }
        for (asked, answered) in judged.elsewhere {
            // Where the target does not tell, the mark has to.
            let right = cluster.stands_for(&asked, &answered).await?.unwrap_or(echoed)
                || (echoed && cluster.has_pipeline(&asked).await?);
            if !right {
                let answered = clean(&answered, redactor, MAX_WORDS);
                return Err(other(format!(
                    "it answers for the index {answered} when {asked} was written to"
                )));
            }
        }
        Ok(judged.items)
    }

    async fn write(&self, batch: &Batch, mode: WriteMode) -> Result<Reply, TargetError> {
        let Inner { cluster, compressor, .. } = &*self.inner;
        let compressed = compressor.applies(batch.body.len());
        let (status, reply) = self.post(batch, mode, compressed).await?;
        if compressed && reply.is_ok() {
            compressor.proven();
        }
        if !compressed || !compressor.suspects(status) {
            return reply;
        }
        // Nothing of the batch was written: it was refused as a whole.
        let plain = self.post(batch, mode, false).await?.1?;
        if compressor.refused() {
            let location = cluster.location();
            tracing::warn!(
                location,
                "the target refuses compressed requests; they go uncompressed from here on"
            );
        }
        Ok(plain)
    }
}

/// What makes no sense as an answer to a question *about* documents says nothing about whether the documents can be written,
/// so the batch must not be refused for it.
fn said_of_others(error: TargetError) -> TargetError {
    match error {
        TargetError::Unexpected { target, reason } => TargetError::Garbled { target, reason },
        other => other,
    }
}

#[async_trait]
impl ChunkWriter for Writer {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        if batch.entries.is_empty() {
            return Ok(Vec::new().into());
        }
        let reply = self.write(batch, self.mode).await?;
        let compared = match self.mode {
            WriteMode::Distinct => self.tell_apart(batch, reply).await,
            WriteMode::PerRouting => self.replace_own(batch, reply).await,
            WriteMode::Index => Ok(reply),
        };
        compared.map_err(said_of_others)
    }

    async fn finish(&self) -> Result<(), TargetError> {
        Ok(())
    }
}
