//! Writing documents to a cluster.

mod distinct;
#[cfg(test)]
mod tests;

use crate::classify::{self, Sent};
use crate::cluster::Cluster;
use crate::compress::Compressor;
use crate::config::{ConfigError, TargetConfig};
use crate::transport::{Answer, Request};
use async_trait::async_trait;
use backfill::encode::Encoding;
use backfill::model::{ChunkId, RunId, WriteMode};
use backfill::ports::{Acknowledge, Batch, ChunkWriter, Reply, Target, TargetError};
use bytes::Bytes;
use reqwest::Method;
use std::sync::Arc;

/// The parts of an answer that mean something.
const FILTER: &str = "took,errors,error,items.*.status,items.*.result,items.*.error.type,items.*.error.reason,\
    items.*.error.caused_by.reason,items.*.error.caused_by.caused_by.reason";
/// An answer has at most so many bytes, and so many for each document.
const LIMIT: (usize, usize) = (1 << 20, 16 << 10);

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
}

impl OpenSearchTarget {
    /// A target. Nothing is sent yet.
    pub fn new(config: TargetConfig) -> Result<OpenSearchTarget, ConfigError> {
        let cluster = Cluster::new(&config)?;
        let compressor = Compressor::new(config.compression, cluster.transport.is_loopback());
        let max_in_flight = config.max_in_flight.max(1);
        Ok(OpenSearchTarget { inner: Arc::new(Inner { cluster, compressor }), max_in_flight })
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

    async fn missing(&self, names: &[String]) -> Result<Vec<String>, TargetError> {
        self.cluster().missing(names).await
    }

    async fn begin(
        &self,
        _run: &RunId,
        _chunk: &ChunkId,
        destination: &str,
        mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        let path = format!("{}/_bulk?filter_path={FILTER}", self.cluster().segment(destination)?);
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
    async fn post(&self, batch: &Batch, compressed: bool) -> Result<Answer, TargetError> {
        let cluster = &self.inner.cluster;
        let body: Bytes = if compressed {
            let failed = |e| cluster.unexpected(format!("a request for it cannot be compressed: {e}"));
            self.inner.compressor.gzip(batch.body.clone()).await.map_err(failed)?
        } else {
            batch.body.clone()
        };
        let request = Request {
            method: Method::POST,
            path: self.path.clone(),
            body,
            content_type: "application/x-ndjson",
            gzip: compressed,
            limit: LIMIT.0 + LIMIT.1 * batch.entries.len(),
        };
        cluster.transport.send(request).await
    }

    fn meaning(&self, answer: &Answer, batch: &Batch) -> Result<Reply, TargetError> {
        let sent = Sent { entries: batch.entries.len(), bytes: batch.body.len(), mode: self.mode };
        let items = classify::bulk(self.inner.cluster.location(), answer.meaning(), sent)?;
        Ok(Reply { items, took: Some(answer.took) })
    }
}

impl Writer {
    async fn write(&self, batch: &Batch) -> Result<Reply, TargetError> {
        let Inner { cluster, compressor } = &*self.inner;
        let compressed = compressor.applies(batch.body.len());
        let answer = self.post(batch, compressed).await?;
        let reply = self.meaning(&answer, batch);
        if compressed && reply.is_ok() {
            compressor.proven();
        }
        if !compressed || !compressor.suspects(answer.status) {
            return reply;
        }
        // Nothing of the batch was written: it was refused as a whole.
        let plain = self.meaning(&self.post(batch, false).await?, batch)?;
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

#[async_trait]
impl ChunkWriter for Writer {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        if batch.entries.is_empty() {
            return Ok(Vec::new().into());
        }
        let reply = self.write(batch).await?;
        match self.mode {
            WriteMode::Distinct => self.tell_apart(batch, reply).await,
            WriteMode::Index => Ok(reply),
        }
    }

    async fn finish(&self) -> Result<(), TargetError> {
        Ok(())
    }
}
