//! The failed-document stream in S3.
//!
//! ```text
//! s3://<bucket>/<prefix>/<run>/<index>/<shard>-<chunk>/<part>.ndjson.gz
//! ```
//! Each object holds one part, named and encoded as [`backfill::failed`] has it. An object is there whole or not at all,
//! and the name has the claim's epoch in it: a repeated write replaces its own object, and a late writer no other.

use crate::error::explain;
use crate::s3::{Address, OpenError};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use backfill::failed::{decode, encode, in_force};
use backfill::model::{ChunkId, RunId, Settled};
use backfill::ports::{FailedDocument, FailedDocuments, FailedPart, StoreError, StoredPart};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is of a name in a key.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Keeps failed documents as objects below a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct S3FailedDocuments {
    client: Client,
    address: Address,
}

impl S3FailedDocuments {
    /// The stream below `s3://bucket/prefix`. Nothing is read or written yet.
    ///
    /// # Errors
    /// When that is no such address.
    pub fn open(client: Client, url: &str) -> Result<S3FailedDocuments, OpenError> {
        Ok(S3FailedDocuments { client, address: Address::parse(url)? })
    }

    fn run_dir(run: &RunId) -> String {
        format!("{}/", utf8_percent_encode(&run.0, PLAIN))
    }

    fn chunk_dir(run: &RunId, chunk: &ChunkId) -> String {
        let index = utf8_percent_encode(&chunk.shard.index, PLAIN);
        format!("{}{index}/{}-{}/", Self::run_dir(run), chunk.shard.shard, chunk.number)
    }

    fn path(part: &FailedPart) -> String {
        Self::chunk_dir(&part.run, &part.chunk) + &part.name()
    }

    async fn put(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError> {
        let path = Self::path(part);
        let what = || format!("cannot keep the failed documents in {}", self.address.name(&path));
        let content =
            encode(records).map_err(|e| StoreError::Unavailable { what: what(), reason: e.to_string() })?;
        let request = self.client.put_object().bucket(&self.address.bucket).key(self.address.key(&path));
        let request = request.content_type("application/x-ndjson").content_encoding("gzip");
        request.body(content.into()).send().await.map_err(|e| explain(what(), &e))?;
        Ok(())
    }

    /// The keys that begin like this.
    async fn list(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        let what = || format!("cannot list the failed documents in {}", self.address.name(dir));
        let request = self.client.list_objects_v2().bucket(&self.address.bucket);
        let mut pages = request.prefix(self.address.key(dir)).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| explain(what(), &e))?;
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        Ok(keys)
    }

    async fn remove(&self, keys: &[String]) -> Result<(), StoreError> {
        let what = || format!("cannot remove the failed documents in {}", self.address.name(""));
        let defect = |e: aws_sdk_s3::error::BuildError| StoreError::Unavailable {
            what: what(),
            reason: e.to_string(),
        };
        for page in keys.chunks(1000) {
            let objects = page.iter().map(|key| ObjectIdentifier::builder().key(key).build().map_err(defect));
            let objects: Vec<ObjectIdentifier> = objects.collect::<Result<_, _>>()?;
            let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(defect)?;
            let request = self.client.delete_objects().bucket(&self.address.bucket).delete(delete);
            let answer = request.send().await.map_err(|e| explain(what(), &e))?;
            if let Some(error) = answer.errors().first() {
                let reason = format!(
                    "{}: {}; allow s3:DeleteObject",
                    error.code().unwrap_or("an error"),
                    error.message().unwrap_or("no reason was given")
                );
                return Err(StoreError::Unavailable { what: what(), reason });
            }
        }
        Ok(())
    }
}

#[async_trait]
impl FailedDocuments for S3FailedDocuments {
    async fn write(&self, part: &FailedPart, records: &[FailedDocument]) -> Result<(), StoreError> {
        self.put(part, records).await
    }

    async fn parts(&self, run: &RunId, chunk: &ChunkId) -> Result<Vec<StoredPart>, StoreError> {
        let keys = self.list(&Self::chunk_dir(run, chunk)).await?;
        let names = keys.iter().filter_map(|key| key.rsplit('/').next());
        Ok(in_force(names.filter_map(|name| FailedPart::parse(run, chunk, name))))
    }

    async fn read(&self, part: &StoredPart) -> Result<Vec<FailedDocument>, StoreError> {
        let path = Self::path(&part.part);
        let name = self.address.name(&path);
        let what = || format!("cannot read the failed documents in {name}");
        let request = self.client.get_object().bucket(&self.address.bucket).key(self.address.key(&path));
        let answer = request.send().await.map_err(|e| explain(what(), &e))?;
        let content = answer.body.collect().await;
        let content = content.map_err(|e| StoreError::Unavailable { what: what(), reason: e.to_string() })?;
        decode(part, content.into_bytes().as_ref())
            .map_err(|reason| StoreError::Invalid { what: name.clone(), reason })
    }

    async fn replace(
        &self,
        part: &FailedPart,
        settled: &Settled,
        records: &[FailedDocument],
    ) -> Result<(), StoreError> {
        let new = FailedPart { settled: Some(*settled), ..part.clone() };
        self.put(&new, records).await?;
        if new == *part {
            return Ok(());
        }
        self.remove(&[self.address.key(&Self::path(part))]).await
    }

    async fn delete(&self, run: &RunId) -> Result<(), StoreError> {
        self.remove(&self.list(&Self::run_dir(run)).await?).await
    }

    fn location(&self, run: &RunId) -> String {
        self.address.name(&Self::run_dir(run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backfill::model::{Position, ShardId};

    #[test]
    fn records_of_an_earlier_version_are_read() {
        let part = FailedPart {
            run: RunId("2026-12-01-12-11-34-735".to_owned()),
            chunk: ChunkId { shard: ShardId { index: "verbatim".to_owned(), shard: 0 }, number: 0 },
            epoch: 1,
            from: Position::default(),
            settled: None,
        };
        let key = S3FailedDocuments::path(&part);
        assert_eq!(key, "2026-12-01-12-11-34-735/verbatim/0-0/0.0-e1.ndjson.gz");
        let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/earlier/ad2b943/failed/");
        let content = std::fs::read(format!("{stored}{key}")).unwrap();
        let records = decode(&StoredPart { part, end: None }, content.as_slice()).unwrap();
        assert_eq!((records.len(), records[0].id.as_deref()), (8, Some("v1")));
        assert_eq!(records[0].error_type, "mapper_parsing_exception");
    }
}
