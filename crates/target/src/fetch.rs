//! Documents back from the cluster, their bytes as the cluster keeps them.
//!
//! A cluster copies each `_source` into its answer as it was stored. Most are JSON, but a comment is stored as well, and so is
//! UTF-16, and then the whole answer is not JSON. It is asked again for fewer documents at a time, so that such a document
//! spoils no answer but its own, from which its source is cut out.

mod answers;

use crate::cluster::Cluster;
use crate::transport::Answer;
use crate::words::{MAX_WORDS, clean};
use answers::{Found, Got, Hit, are_those, documents};
use backfill::ports::TargetError;
use backfill::secrets::Redactor;
use reqwest::Method;
use serde::Serialize;
use std::collections::BTreeSet;

/// So many documents are asked for at once.
pub(crate) const PAGE: usize = 500;
/// A document of the cluster.
#[derive(Clone, Debug)]
pub struct FetchedDoc {
    /// `_id`.
    pub id: String,
    /// Custom routing.
    pub routing: Option<String>,
    /// `_source`, byte for byte: mostly JSON. `None` where the index keeps none, or it is too long to be fetched.
    pub source: Option<Vec<u8>>,
}

/// A document that is asked for.
#[derive(Clone, Serialize)]
struct Wanted<'a> {
    /// Its index, where the name that is asked stands for several.
    #[serde(rename = "_index", skip_serializing_if = "Option::is_none")]
    index: Option<&'a str>,
    #[serde(rename = "_id")]
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<&'a str>,
}

#[derive(Serialize)]
struct MultiGet<'a> {
    docs: &'a [Wanted<'a>],
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
            let direct: Vec<_> =
                page.iter().map(|(id, routing)| Wanted { index: None, id, routing: *routing }).collect();
            match self.get(index, &direct).await? {
                Some(docs) => fetched.extend(docs),
                None => fetched.extend(self.get_located(index, page).await?),
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
        let limit = if documents == 1 { room.max(self.transport.document_bytes) } else { room };
        let answer = self.ask_for(Method::POST, path, body, limit).await?;
        Ok(Some(answer).filter(|answer| !(answer.cut && answer.status == 200)))
    }

    /// Makes sure that documents come from the index that was asked for, or from those that the name stands for.
    async fn check_indices<'a>(
        &self,
        asked: &str,
        indices: impl Iterator<Item = &'a str>,
        redactor: &Redactor,
    ) -> Result<(), TargetError> {
        for index in indices.collect::<BTreeSet<&str>>() {
            // Where the target does not tell, the ids have to do.
            if self.stands_for(asked, index).await? == Some(false) {
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

    /// By id; `None` when a name stands for more than one index.
    async fn get(
        &self,
        index: &str,
        wanted: &[Wanted<'_>],
    ) -> Result<Option<Vec<Option<FetchedDoc>>>, TargetError> {
        let path = format!("{}/_mget", self.segment(index)?);
        let mut fetched = Vec::with_capacity(wanted.len());
        let mut parts = vec![wanted];
        while let Some(part) = parts.pop() {
            let (Some(first), (left, right)) = (part.first(), part.split_at(part.len() / 2)) else {
                continue;
            };
            let body = self.encode(&MultiGet { docs: part })?;
            let Some(answer) = self.ask_page(path.clone(), body, part.len()).await? else {
                if part.len() > 1 {
                    parts.extend([right, left]);
                } else {
                    let (id, routing) = (first.id.to_owned(), first.routing.map(str::to_owned));
                    fetched.push(Some(FetchedDoc { id, routing, source: None }));
                }
                continue;
            };
            let got = match documents(self.body(&answer)?, part.len()) {
                Ok(got) => got,
                Err(_) if part.len() > 1 => {
                    parts.extend([right, left]);
                    continue;
                }
                Err(error) => return Err(self.misunderstood(&error)),
            };
            if !are_those(&got, part.iter().map(|wanted| wanted.id)) {
                let reason = "it answers with other documents than those that were asked for; \
                              check what is between it and us";
                return Err(self.garbled(reason.to_owned()));
            }
            let indices = got.iter().map(|got| got.index.as_str());
            self.check_indices(index, indices, &answer.redactor).await?;
            if got.iter().any(|got| got.failed) {
                return Ok(None);
            }
            fetched.extend(got.into_iter().map(|got| {
                let Got { id, routing, source, .. } = got;
                got.found.then_some(FetchedDoc { id, routing, source })
            }));
        }
        Ok(Some(fetched))
    }

    /// By id, after a search for the index of each document among all those behind a name.
    async fn get_located(
        &self,
        index: &str,
        wanted: &[(&str, Option<&str>)],
    ) -> Result<Vec<Option<FetchedDoc>>, TargetError> {
        let mut hits: Vec<Option<Hit>> = self.locate(index, wanted).await?.into_iter().map(Some).collect();
        let mut take = |(id, routing): &(&str, Option<&str>)| {
            let same = |hit: &Hit| hit.id == *id && hit.routing.as_deref() == *routing;
            hits.iter_mut().find(|hit| hit.as_ref().is_some_and(same)).and_then(Option::take)
        };
        let located: Vec<Option<Hit>> = wanted.iter().map(&mut take).collect();
        let there: Vec<_> = located
            .iter()
            .flatten()
            .map(|hit| Wanted { index: Some(&hit.index), id: &hit.id, routing: hit.routing.as_deref() })
            .collect();
        let Some(documents) = self.get(index, &there).await? else {
            return Err(self.unexpected(format!("documents of the index {index} are found but not returned")));
        };
        let mut documents = documents.into_iter();
        Ok(located.iter().map(|hit| hit.as_ref().and_then(|_| documents.next().flatten())).collect())
    }

    /// The routings of the documents with these ids (and routings), in the same order; `None` for those that are not there.
    /// By id alone a document is found in the shard that the routing leads to, whatever its own routing is.
    pub(crate) async fn routings(
        &self,
        index: &str,
        wanted: &[(&str, Option<&str>)],
    ) -> Result<Vec<Option<Option<String>>>, TargetError> {
        let mut routings = Vec::with_capacity(wanted.len());
        for page in wanted.chunks(PAGE) {
            let docs: Vec<_> =
                page.iter().map(|(id, routing)| Wanted { index: None, id, routing: *routing }).collect();
            let body = self.encode(&MultiGet { docs: &docs })?;
            // Without sources a server leaves routings out as well, unless it is asked for them.
            let path = format!("{}/_mget?_source=false&stored_fields=_routing", self.segment(index)?);
            let answer = self.ask(Method::POST, path, body).await?;
            // No source is in it, so it has to be JSON.
            let got = documents(self.body(&answer)?, 0).map_err(|e| self.misunderstood(&e))?;
            if !are_those(&got, page.iter().map(|(id, _)| *id)) {
                let reason = "it answers with other documents than those that were asked for; \
                              check what is between it and us";
                return Err(self.garbled(reason.to_owned()));
            }
            self.check_indices(index, got.iter().map(|got| got.index.as_str()), &answer.redactor).await?;
            if !got.iter().any(|got| got.failed) {
                routings.extend(got.into_iter().map(|got| got.found.then_some(got.routing)));
                continue;
            }
            // The name stands for several indices.
            let hits = self.locate(index, page).await?;
            routings.extend(page.iter().map(|(id, routing)| {
                let same = |hit: &&Hit| hit.id == *id && hit.routing.as_deref() == *routing;
                let other = || hits.iter().find(|hit| hit.id == *id);
                hits.iter().find(same).or_else(other).map(|hit| hit.routing.clone())
            }));
        }
        Ok(routings)
    }

    /// Where documents with these ids are, by a search, which looks into all indices behind a name.
    async fn locate(&self, index: &str, wanted: &[(&str, Option<&str>)]) -> Result<Vec<Hit>, TargetError> {
        self.refresh(index).await?;
        let ids: Vec<&str> = wanted.iter().map(|w| w.0).collect();
        // The same id may be there once for each routing and for each index behind the name.
        let size = 10_000;
        let body = self.encode(&serde_json::json!({
            "size": size, "version": false, "_source": false, "sort": ["_doc"], "query": {"ids": {"values": ids}}
        }))?;
        let path = format!("{}/_search?allow_partial_search_results=false", self.segment(index)?);
        let Some(answer) = self.ask_page(path, body, wanted.len()).await? else {
            return Err(self.unexpected(format!("its answer to a search of the index {index} is too long")));
        };
        let found: Found = self.parse(&answer)?;
        self.complete(&found.shards, index)?;
        if found.timed_out {
            return Err(
                self.unexpected(format!("a search of the index {index} took too long; try again later"))
            );
        }
        let indices = found.hits.hits.iter().map(|hit| hit.index.as_str());
        self.check_indices(index, indices, &answer.redactor).await?;
        Ok(found.hits.hits)
    }
}
