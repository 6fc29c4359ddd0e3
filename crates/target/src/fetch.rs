//! Documents back from the cluster, their bytes as the cluster keeps them.

use crate::cluster::{Cluster, Shards};
use backfill::ports::TargetError;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// So many documents are asked for at once.
const PAGE: usize = 500;
/// The longest answer with documents that is read.
const LIMIT: usize = 512 << 20;

/// A document of the cluster.
#[derive(Clone, Debug)]
pub struct FetchedDoc {
    /// `_id`.
    pub id: String,
    /// Custom routing.
    pub routing: Option<String>,
    /// `_source`, byte for byte.
    pub source: Box<RawValue>,
}

#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(rename = "_id")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<&'a str>,
}

#[derive(Serialize)]
struct MultiGet<'a> {
    docs: Vec<Wanted<'a>>,
}

#[derive(Deserialize)]
struct MultiGot {
    docs: Vec<Got>,
}

/// A document of either answer.
#[derive(Deserialize)]
struct Got {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_routing", default)]
    routing: Option<String>,
    #[serde(default)]
    found: bool,
    #[serde(rename = "_source", default)]
    source: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Found {
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Got>,
}

impl Cluster {
    /// The documents with these ids (and routings) of an index, alias or data stream, in the same order; `None` for
    /// those that are not there.
    pub async fn fetch(
        &self,
        index: &str,
        wanted: &[(&str, Option<&str>)],
    ) -> Result<Vec<Option<FetchedDoc>>, TargetError> {
        let mut fetched = Vec::with_capacity(wanted.len());
        for page in wanted.chunks(PAGE) {
            match self.get(index, page).await? {
                Some(docs) => fetched.extend(docs),
                None => fetched.extend(self.search(index, page).await?),
            }
        }
        Ok(fetched)
    }

    fn encode(&self, request: &impl Serialize) -> Result<bytes::Bytes, TargetError> {
        let body = serde_json::to_vec(request);
        body.map(Into::into).map_err(|e| self.unexpected(format!("a request for it cannot be written: {e}")))
    }

    fn document(&self, index: &str, got: Got) -> Result<FetchedDoc, TargetError> {
        let none = || self.unexpected(format!("the index {index} keeps no _source; it cannot be compared"));
        Ok(FetchedDoc { id: got.id, routing: got.routing, source: got.source.ok_or_else(none)? })
    }

    /// By id; nothing when the name stands for more than one index.
    async fn get(
        &self,
        index: &str,
        wanted: &[(&str, Option<&str>)],
    ) -> Result<Option<Vec<Option<FetchedDoc>>>, TargetError> {
        let docs = wanted.iter().map(|(id, routing)| Wanted { id, routing: *routing }).collect();
        let body = self.encode(&MultiGet { docs })?;
        let path = format!("{}/_mget", self.segment(index)?);
        let answer = self.ask(Method::POST, path, body, LIMIT).await?;
        let got: MultiGot = self.parse(&answer)?;
        if got.docs.len() != wanted.len() || !got.docs.iter().zip(wanted).all(|(g, w)| g.id == w.0) {
            return Err(self.unexpected("it answered for other documents than those that were asked for"));
        }
        if got.docs.iter().any(|g| g.error.is_some()) {
            return Ok(None);
        }
        let docs = got.docs.into_iter();
        let docs = docs.map(|g| if g.found { self.document(index, g).map(Some) } else { Ok(None) });
        docs.collect::<Result<_, _>>().map(Some)
    }

    /// By search, which looks into all indices behind a name.
    async fn search(
        &self,
        index: &str,
        wanted: &[(&str, Option<&str>)],
    ) -> Result<Vec<Option<FetchedDoc>>, TargetError> {
        self.refresh(index).await?;
        let ids: Vec<&str> = wanted.iter().map(|w| w.0).collect();
        // The same id may be there once for each routing and for each index behind the name.
        let size = 10_000;
        let body = self.encode(&serde_json::json!({
            "size": size, "version": false, "sort": ["_doc"], "query": {"ids": {"values": ids}}
        }))?;
        let path = format!("{}/_search?allow_partial_search_results=false", self.segment(index)?);
        let answer = self.ask(Method::POST, path, body, LIMIT).await?;
        let found: Found = self.parse(&answer)?;
        self.complete(&found.shards, index)?;
        if found.timed_out {
            return Err(
                self.unexpected(format!("a search of the index {index} took too long; try again later"))
            );
        }
        let mut hits: Vec<Option<Got>> = found.hits.hits.into_iter().map(Some).collect();
        let take = |(id, routing): &(&str, Option<&str>)| {
            let same = |g: &Got| g.id == *id && g.routing.as_deref() == *routing;
            let hit = hits.iter_mut().find(|h| h.as_ref().is_some_and(same));
            hit.and_then(Option::take).map(|g| self.document(index, g)).transpose()
        };
        wanted.iter().map(take).collect()
    }
}
