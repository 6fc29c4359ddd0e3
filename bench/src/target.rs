//! A target in memory that takes everything: it forgets the documents, or keeps them.

use async_trait::async_trait;
use backfill::encode::Encoding;
use backfill::model::{ChunkId, Identity, RunId, WriteMode};
use backfill::ports::{Acknowledge, Batch, ChunkWriter, ItemOutcome, Place, Reply, Target, TargetError};
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Takes everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    kept: Option<Arc<Mutex<Vec<Body>>>>,
}

/// The body of a bulk request.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) documents: u64,
    /// Bytes of `_source` in it.
    pub(crate) source: u64,
}

impl Memory {
    /// One that keeps what it is given.
    pub(crate) fn keeping() -> Memory {
        Memory { kept: Some(Arc::default()) }
    }

    /// What was kept.
    pub(crate) fn take(&self) -> Vec<Body> {
        let kept = self
            .kept
            .as_ref()
            .map(|k| std::mem::take(&mut *k.lock().unwrap_or_else(PoisonError::into_inner)));
        kept.unwrap_or_default()
    }
}

#[async_trait]
impl Target for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn encoding(&self) -> Encoding {
        Encoding::Bulk
    }

    fn acknowledge(&self) -> Acknowledge {
        Acknowledge::OnReply
    }

    fn max_in_flight(&self) -> usize {
        8
    }

    async fn check(&self) -> Result<(), TargetError> {
        Ok(())
    }

    async fn place(&self, _name: &str) -> Result<Option<Place>, TargetError> {
        Ok(Some(Place::index(Identity::none())))
    }

    async fn identity(&self, _name: &str) -> Result<Option<Identity>, TargetError> {
        Ok(Some(Identity::none()))
    }

    async fn create(&self, _name: &str, _data_stream: bool) -> Result<bool, TargetError> {
        Ok(true)
    }

    async fn begin(
        &self,
        _run: &RunId,
        _chunk: &ChunkId,
        _destination: &str,
        _mode: WriteMode,
    ) -> Result<Box<dyn ChunkWriter>, TargetError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl ChunkWriter for Memory {
    async fn send(&self, batch: &Batch) -> Result<Reply, TargetError> {
        if let Some(kept) = &self.kept {
            let body = Body {
                bytes: batch.body.clone(),
                documents: batch.entries.len() as u64,
                source: batch.entries.iter().map(|e| e.source.len() as u64).sum(),
            };
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        }
        Ok(vec![ItemOutcome::Indexed; batch.entries.len()].into())
    }

    async fn finish(&self) -> Result<(), TargetError> {
        Ok(())
    }
}
