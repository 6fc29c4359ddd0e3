//! What names on a cluster stand for.
//!
//! The settings of an index hold its UUID, and one request for them under any name (index, alias, data stream) answers
//! for each index behind it. Every version of Elasticsearch and OpenSearch answers it alike, and a user who may write to an
//! index can usually read them. `_cat/indices` shows UUIDs, too, but leaves out hidden indices and needs more rights.

use super::Cluster;
use super::answers::{IndexAliases, IndexSettings, UUID};
use crate::classify;
use crate::transport::Answer;
use crate::words::Words;
use backfill::model::Identity;
use backfill::ports::{Place, PlaceKind, TargetError};
use bytes::Bytes;
use reqwest::Method;

impl Cluster {
    /// Returns the indices behind a name; `None` if there are none.
    pub async fn identity(&self, name: &str) -> Result<Option<Identity>, TargetError> {
        let path = format!("{}/_settings/{UUID}?flat_settings=true", self.segment(name)?);
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        match answer.status {
            200 => {}
            404 if is_not_found(&answer) => {
                self.check_recovered().await?;
                return Ok(None);
            }
            // To let nobody read the settings of an index is no reason not to write to it.
            403 => {
                let reason = Words::of_body(&answer.body, &answer.redactor).sentence();
                return Ok(self.exists(name).await?.then_some(Identity::Unknown(reason)));
            }
            400 | 404 | 405 if self.is_serverless() => {
                let reason = "the collection does not answer for the settings of an index".to_owned();
                return Ok(self.exists(name).await?.then_some(Identity::Unknown(reason)));
            }
            _ => return Err(classify::refusal(self.location(), answer.meaning(), 0)),
        }
        Ok(self.parse::<IndexSettings>(&answer)?.identity())
    }

    /// Returns what a name is; `None` if there is nothing of this name.
    pub async fn place(&self, name: &str) -> Result<Option<Place>, TargetError> {
        let Some(identity) = self.identity(name).await? else { return Ok(None) };
        let kind = match &identity {
            Identity::Indices(indices) if !indices.contains_key(name) => self.kind(name).await?,
            Identity::Unknown(_) if self.is_data_stream(name).await? => PlaceKind::DataStream,
            _ => PlaceKind::Index,
        };
        Ok(Some(Place { identity, kind }))
    }

    /// Makes sure that the cluster knows its indices. One that is starting knows none of them for a moment, and says of each
    /// that it does not exist. A question about all indices tells these states apart, since it is blocked until then.
    async fn check_recovered(&self) -> Result<(), TargetError> {
        if self.is_serverless() {
            return Ok(());
        }
        let path = format!("_settings/{UUID}?filter_path=none");
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        match answer.status {
            // To let nobody read the settings of all indices says nothing about this one.
            200 | 403 => Ok(()),
            _ => Err(classify::refusal(self.location(), answer.meaning(), 0)),
        }
    }

    /// Returns whether a name is certainly that of a data stream. Versions that have none do not answer this.
    async fn is_data_stream(&self, name: &str) -> Result<bool, TargetError> {
        if self.is_serverless() {
            return Ok(false);
        }
        let path = format!("_data_stream/{}", self.segment(name)?);
        Ok(self.ask(Method::GET, path, Bytes::new()).await?.status == 200)
    }

    /// Tells aliases and data streams apart.
    async fn kind(&self, name: &str) -> Result<PlaceKind, TargetError> {
        let path = format!("_alias/{}", self.segment(name)?);
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        match answer.status {
            // A data stream is no alias.
            404 => return Ok(PlaceKind::DataStream),
            403 => return Ok(PlaceKind::Alias { routing: None }),
            _ => {}
        }
        Ok(self.parse::<IndexAliases>(&answer)?.kind(name))
    }

    /// Creates an index or a data stream; see [`backfill::ports::Target::create`].
    pub async fn create(&self, name: &str, data_stream: bool) -> Result<bool, TargetError> {
        let answer = self.put(name, data_stream).await?;
        let words = Words::of_body(&answer.body, &answer.redactor);
        let says = |text: &str| answer.status == 400 && words.reason.contains(text);
        // A name for which a template makes data streams can be nothing else, and one without such a template no data stream.
        let other = if data_stream {
            says("no matching index template found for data stream")
        } else {
            says("creates data streams only")
        };
        let answer = if other { self.put(name, !data_stream).await? } else { answer };
        let words = Words::of_body(&answer.body, &answer.redactor);
        match (answer.status, words.kind.as_str()) {
            (200 | 201, _) | (_, "resource_already_exists_exception") => Ok(true),
            (403, _) => Ok(false),
            (400, _) => Err(self.unexpected(format!(
                "it cannot create the index {name} ({}); leave it out with --index '…,-{name}'",
                words.sentence()
            ))),
            _ => Err(classify::refusal(self.location(), answer.meaning(), 0)),
        }
    }

    async fn put(&self, name: &str, data_stream: bool) -> Result<Answer, TargetError> {
        let name = self.segment(name)?;
        let path = if data_stream { format!("_data_stream/{name}") } else { name };
        self.ask(Method::PUT, path, Bytes::new()).await
    }
}

fn is_not_found(answer: &Answer) -> bool {
    Words::of_body(&answer.body, &answer.redactor).kind == "index_not_found_exception"
}
