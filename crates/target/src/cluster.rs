//! The client of one cluster.

mod answers;
mod places;

use crate::classify;
use crate::config::{ConfigError, Service, TargetConfig};
use crate::names;
use crate::transport::{Answer, Request, Transport};
use crate::words::{MAX_WORDS, clean, malformed};
use answers::{Behind, Count, IndexSettings, Main};
use backfill::ports::TargetError;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use reqwest::Method;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

pub(crate) use answers::Shards;
pub use answers::{CatIndex, ClusterVersion, Distribution};

/// So many names are looked up at once.
const LOOKUPS: usize = 8;
/// The media type of requests.
const JSON: &str = "application/json";

/// The client of one cluster of OpenSearch or Elasticsearch.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) transport: Transport,
    /// What is behind names that other indices have answered for.
    behind: Mutex<HashMap<String, Behind>>,
}

impl Cluster {
    /// A client. Nothing is sent yet.
    pub fn new(config: &TargetConfig) -> Result<Cluster, ConfigError> {
        Ok(Cluster { transport: Transport::new(config)?, behind: Mutex::default() })
    }

    /// The cluster as the user named it, without credentials.
    pub fn location(&self) -> &str {
        self.transport.location()
    }

    pub(crate) fn is_serverless(&self) -> bool {
        self.transport.signer().is_some_and(|s| s.service() == Service::Aoss)
    }

    pub(crate) fn unexpected(&self, reason: impl Into<String>) -> TargetError {
        TargetError::Unexpected { target: self.location().to_owned(), reason: reason.into() }
    }

    pub(crate) fn garbled(&self, reason: String) -> TargetError {
        TargetError::Garbled { target: self.location().to_owned(), reason }
    }

    pub(crate) fn segment(&self, name: &str) -> Result<String, TargetError> {
        names::segment(name).map_err(|reason| self.unexpected(reason))
    }

    pub(crate) async fn ask(&self, method: Method, path: String, body: Bytes) -> Result<Answer, TargetError> {
        self.ask_for(method, path, body, self.transport.room_bytes()).await
    }

    /// The same for an answer of which at most so many bytes are read.
    pub(crate) async fn ask_for(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        limit: usize,
    ) -> Result<Answer, TargetError> {
        let request = Request { method, path, body, content_type: JSON, gzip: false };
        self.transport.open(request).await?.read(limit).await
    }

    /// Returns the body of an answer that is a success and complete.
    pub(crate) fn body<'a>(&self, answer: &'a Answer) -> Result<&'a [u8], TargetError> {
        if answer.status != 200 {
            return Err(classify::refusal(self.location(), answer.meaning(), 0));
        }
        if answer.cut {
            let limit = answer.body.len();
            return Err(self.unexpected(format!(
                "its answer is longer than {limit} bytes; check that the address is right"
            )));
        }
        Ok(&answer.body)
    }

    /// The body of an answer that is a success, as JSON.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&self, answer: &'a Answer) -> Result<T, TargetError> {
        serde_json::from_slice(self.body(answer)?).map_err(|error| self.misunderstood(&error))
    }

    /// The error for a body that is not of the expected form.
    pub(crate) fn misunderstood(&self, error: &serde_json::Error) -> TargetError {
        let what = malformed(error);
        self.unexpected(format!(
            "it does not answer as a cluster does ({what}); check that the address is right"
        ))
    }

    /// Whether it can be reached and lets us in.
    pub async fn check(&self) -> Result<(), TargetError> {
        self.version().await.map(drop)
    }

    /// What it is.
    pub async fn version(&self) -> Result<ClusterVersion, TargetError> {
        if self.is_serverless() {
            // Collections do not answer for themselves.
            let path = "_cat/indices?format=json&h=index".to_owned();
            let answer = self.ask(Method::GET, path, Bytes::new()).await?;
            self.parse::<Vec<CatIndex>>(&answer)?;
            return Ok(ClusterVersion { distribution: Distribution::Serverless, number: String::new() });
        }
        let answer = self.ask(Method::GET, String::new(), Bytes::new()).await?;
        let version = ClusterVersion::from(self.parse::<Main>(&answer)?);
        Ok(ClusterVersion { number: clean(&version.number, &answer.redactor, MAX_WORDS), ..version })
    }

    /// Which of these indices, aliases and data streams do not exist.
    pub async fn missing(&self, names: &[String]) -> Result<Vec<String>, TargetError> {
        // One request a name is what every version, serverless included, understands alike.
        let mut lookups = Vec::with_capacity(names.len());
        for name in names {
            lookups.push(self.exists(name));
        }
        let exist: Vec<bool> = stream::iter(lookups).buffered(LOOKUPS).try_collect().await?;
        Ok(names.iter().zip(exist).filter(|(_, exists)| !exists).map(|(name, _)| name.clone()).collect())
    }

    async fn exists(&self, name: &str) -> Result<bool, TargetError> {
        let path = self.segment(name)?;
        let answer = self.ask(Method::HEAD, path, Bytes::new()).await?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(classify::refusal(self.location(), answer.meaning(), 0)),
        }
    }

    /// The indices that match a pattern (all, if it is empty), by name.
    pub async fn cat_indices(&self, pattern: &str) -> Result<Vec<CatIndex>, TargetError> {
        let slash = if pattern.is_empty() { "" } else { "/" };
        let pattern = names::pattern(pattern);
        let path = format!("_cat/indices{slash}{pattern}?format=json&h={}", CatIndex::COLUMNS);
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        let mut indices: Vec<CatIndex> = self.parse(&answer)?;
        indices.sort_by(|a, b| a.index.cmp(&b.index));
        Ok(indices)
    }

    /// How many documents an index, alias or data stream has; with `refresh`, those just written included.
    pub async fn count(&self, index: &str, refresh: bool) -> Result<u64, TargetError> {
        if refresh {
            self.refresh(index).await?;
        }
        let path = format!("{}/_count", self.segment(index)?);
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        let count: Count = self.parse(&answer)?;
        self.complete(&count.shards, index)?;
        Ok(count.count)
    }

    /// Makes what was written visible to searches. Serverless collections do so by themselves.
    pub(crate) async fn refresh(&self, index: &str) -> Result<(), TargetError> {
        if self.is_serverless() {
            return Ok(());
        }
        #[derive(Deserialize)]
        struct Refreshed {
            #[serde(rename = "_shards")]
            shards: Shards,
        }
        let path = format!("{}/_refresh", self.segment(index)?);
        let answer = self.ask(Method::POST, path, Bytes::new()).await?;
        let refreshed: Refreshed = self.parse(&answer)?;
        self.complete(&refreshed.shards, index)
    }

    /// Returns whether an index that answered is the one that was asked for, or one of those that the name stands for; `None`
    /// if the target does not let us know.
    pub(crate) async fn stands_for(&self, asked: &str, answered: &str) -> Result<Option<bool>, TargetError> {
        // Collections cannot be asked.
        if asked == answered || self.is_serverless() {
            return Ok(Some(true));
        }
        let known = |behind: &HashMap<String, Behind>| {
            behind.get(asked).is_some_and(|behind| behind.indices.contains(answered))
        };
        if known(&self.behind.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(true));
        }
        // A data stream may have rolled over.
        Ok(self.behind(asked, Some(answered)).await?.map(|behind| behind.indices.contains(answered)))
    }

    /// Whether documents that are written under this name go through an ingest pipeline.
    pub(crate) async fn has_pipeline(&self, name: &str) -> Result<bool, TargetError> {
        Ok(self.behind(name, None).await?.is_some_and(|behind| behind.pipeline))
    }

    /// Asks what a name stands for, and remembers it, with no more than a few of the indices but the one that has answered.
    /// `None` if the target refuses to tell.
    async fn behind(&self, name: &str, answered: Option<&str>) -> Result<Option<Behind>, TargetError> {
        let settings = "index.uuid,index.default_pipeline,index.final_pipeline";
        let path = format!("{}/_settings/{settings}?flat_settings=true", self.segment(name)?);
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        let found: IndexSettings = match answer.status {
            403 => return Ok(None),
            404 => IndexSettings::default(),
            _ => self.parse(&answer)?,
        };
        let behind = Behind::from(found);
        let mut known = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), behind.remembered(answered));
        Ok(Some(behind))
    }

    pub(crate) fn complete(&self, shards: &Shards, index: &str) -> Result<(), TargetError> {
        match shards.failed {
            0 => Ok(()),
            failed => Err(TargetError::Unreachable {
                target: self.location().to_owned(),
                reason: format!("{failed} shards of the index {index} do not answer; check its health"),
            }),
        }
    }
}
