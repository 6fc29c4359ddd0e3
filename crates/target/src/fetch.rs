//! Documents back from the cluster, their bytes as the cluster keeps them.

use crate::cluster::{Cluster, Shards};
use crate::transport::Answer;
use crate::words::{MAX_WORDS, clean};
use backfill::ports::TargetError;
use backfill::secrets::Redactor;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// So many documents are asked for at once.
pub(crate) const PAGE: usize = 500;
/// The longest answer with a single document that is read: clusters take requests of at most 100 MB, unless they are set up
/// otherwise.
const LONE: usize = 128 << 20;

/// What came of asking for a page of documents.
enum Page {
    /// The documents, in the order of the request.
    Whole(Vec<Option<FetchedDoc>>),
    /// They are too many bytes for one answer.
    TooLong,
}

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
    #[serde(rename = "_index")]
    index: String,
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
        let mut pages: Vec<&[(&str, Option<&str>)]> = wanted.chunks(PAGE).rev().collect();
        while let Some(page) = pages.pop() {
            let found = match self.get(index, page).await? {
                Some(found) => found,
                None => self.search(index, page).await?,
            };
            match found {
                Page::Whole(docs) => fetched.extend(docs),
                Page::TooLong if page.len() > 1 => {
                    let (left, right) = page.split_at(page.len() / 2);
                    pages.extend([right, left]);
                }
                Page::TooLong => {
                    let id = page.first().map_or("", |wanted| wanted.0);
                    return Err(self.unexpected(format!(
                        "the document {id:?} of the index {index} is longer than {LONE} bytes; it cannot be compared"
                    )));
                }
            }
        }
        Ok(fetched)
    }

    /// Asks for documents, as many as there is room for.
    async fn ask_page(
        &self,
        path: String,
        body: bytes::Bytes,
        documents: usize,
    ) -> Result<Option<Answer>, TargetError> {
        // Documents are copied out of the answer.
        let room = self.transport.room_bytes() / 2;
        let limit = if documents == 1 { room.max(LONE) } else { room };
        let answer = self.ask_for(Method::POST, path, body, limit).await?;
        Ok(Some(answer).filter(|answer| !(answer.cut && answer.status == 200)))
    }

    /// Makes sure that documents come from the index that was asked for, or from those that the name stands for.
    async fn check_indices<'a>(
        &self,
        asked: &str,
        got: impl Iterator<Item = &'a Got>,
        redactor: &Redactor,
    ) -> Result<(), TargetError> {
        let indices: BTreeSet<&str> = got.map(|g| g.index.as_str()).collect();
        for index in indices {
            if !self.stands_for(asked, index).await? {
                let index = clean(index, redactor, MAX_WORDS);
                return Err(self.garbled(format!(
                    "it answers with documents of the index {index} when {asked} was asked for; \
                     check what is between it and us"
                )));
            }
        }
        Ok(())
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
    async fn get(&self, index: &str, wanted: &[(&str, Option<&str>)]) -> Result<Option<Page>, TargetError> {
        let docs = wanted.iter().map(|(id, routing)| Wanted { id, routing: *routing }).collect();
        let body = self.encode(&MultiGet { docs })?;
        let path = format!("{}/_mget", self.segment(index)?);
        let Some(answer) = self.ask_page(path, body, wanted.len()).await? else {
            return Ok(Some(Page::TooLong));
        };
        let got: MultiGot = self.parse(&answer)?;
        if got.docs.len() != wanted.len() || !got.docs.iter().zip(wanted).all(|(g, w)| g.id == w.0) {
            let reason = "it answers with other documents than those that were asked for; \
                          check what is between it and us";
            return Err(self.garbled(reason.to_owned()));
        }
        self.check_indices(index, got.docs.iter(), &answer.redactor).await?;
        if got.docs.iter().any(|g| g.error.is_some()) {
            return Ok(None);
        }
        let docs = got.docs.into_iter();
        let docs = docs.map(|g| if g.found { self.document(index, g).map(Some) } else { Ok(None) });
        docs.collect::<Result<_, _>>().map(Page::Whole).map(Some)
    }

    /// By search, which looks into all indices behind a name.
    async fn search(&self, index: &str, wanted: &[(&str, Option<&str>)]) -> Result<Page, TargetError> {
        self.refresh(index).await?;
        let ids: Vec<&str> = wanted.iter().map(|w| w.0).collect();
        // The same id may be there once for each routing and for each index behind the name.
        let size = 10_000;
        let body = self.encode(&serde_json::json!({
            "size": size, "version": false, "sort": ["_doc"], "query": {"ids": {"values": ids}}
        }))?;
        let path = format!("{}/_search?allow_partial_search_results=false", self.segment(index)?);
        let Some(answer) = self.ask_page(path, body, wanted.len()).await? else {
            return Ok(Page::TooLong);
        };
        let found: Found = self.parse(&answer)?;
        self.complete(&found.shards, index)?;
        if found.timed_out {
            return Err(
                self.unexpected(format!("a search of the index {index} took too long; try again later"))
            );
        }
        self.check_indices(index, found.hits.hits.iter(), &answer.redactor).await?;
        let mut hits: Vec<Option<Got>> = found.hits.hits.into_iter().map(Some).collect();
        let take = |(id, routing): &(&str, Option<&str>)| {
            let same = |g: &Got| g.id == *id && g.routing.as_deref() == *routing;
            let hit = hits.iter_mut().find(|h| h.as_ref().is_some_and(same));
            hit.and_then(Option::take).map(|g| self.document(index, g)).transpose()
        };
        wanted.iter().map(take).collect::<Result<_, _>>().map(Page::Whole)
    }
}
