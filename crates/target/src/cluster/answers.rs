//! The forms of a cluster's answers, and what they mean. Pure: nothing here asks.

use backfill::model::Identity;
use backfill::ports::PlaceKind;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The setting that holds the UUID of an index.
pub(crate) const UUID: &str = "index.uuid";
/// Indices behind which a name may stand that are remembered for each name.
pub(crate) const MAX_NAMES: usize = 1000;

/// What a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterVersion {
    /// Which product.
    pub distribution: Distribution,
    /// Its version as it gives it; empty for serverless collections.
    pub number: String,
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.distribution {
            Distribution::OpenSearch => "OpenSearch",
            Distribution::Elasticsearch => "Elasticsearch",
            Distribution::Serverless => return f.write_str("OpenSearch Serverless"),
        };
        write!(f, "{name} {}", self.number)
    }
}

/// Which product a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// OpenSearch.
    OpenSearch,
    /// Elasticsearch.
    Elasticsearch,
    /// A collection of Amazon OpenSearch Serverless.
    Serverless,
}

/// The answer to `GET /`.
#[derive(Deserialize)]
pub(crate) struct Main {
    version: MainVersion,
}

#[derive(Deserialize)]
struct MainVersion {
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

impl From<Main> for ClusterVersion {
    fn from(main: Main) -> ClusterVersion {
        let distribution = match main.version.distribution.as_deref() {
            Some("opensearch") => Distribution::OpenSearch,
            _ => Distribution::Elasticsearch,
        };
        ClusterVersion { distribution, number: main.version.number }
    }
}

#[derive(Deserialize)]
pub(crate) struct Count {
    pub(crate) count: u64,
    #[serde(rename = "_shards")]
    pub(crate) shards: Shards,
}

#[derive(Deserialize)]
pub(crate) struct Shards {
    pub(crate) failed: u64,
}

/// The answer to `GET NAMES/_settings` with flat names: settings by the name of their index.
#[derive(Default, Deserialize)]
pub(crate) struct IndexSettings(BTreeMap<String, Settings>);

#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    settings: BTreeMap<String, Value>,
}

impl IndexSettings {
    /// Returns the UUIDs of the indices; `None` if there are no indices.
    pub(crate) fn identity(self) -> Option<Identity> {
        if self.0.is_empty() {
            return None;
        }
        let uuids = self.0.into_iter().map(|(index, mut settings)| match settings.settings.remove(UUID) {
            Some(Value::String(uuid)) => Some((index, uuid)),
            _ => None,
        });
        let without = || Identity::Unknown("the answer about its settings has no UUID".to_owned());
        Some(uuids.collect::<Option<_>>().map_or_else(without, Identity::Indices))
    }
}

/// The indices that a name stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behind {
    pub(crate) indices: BTreeSet<String>,
    /// Whether one of them has a pipeline that may rename what is written.
    pub(crate) pipeline: bool,
}

impl From<IndexSettings> for Behind {
    fn from(found: IndexSettings) -> Behind {
        let pipeline = |index: &Settings| index.settings.keys().any(|name| name.ends_with("_pipeline"));
        Behind { pipeline: found.0.values().any(pipeline), indices: found.0.into_keys().collect() }
    }
}

impl Behind {
    /// What is remembered of it: a data stream may have very many indices, of which only the last ones answer.
    pub(crate) fn remembered(&self, answered: Option<&str>) -> Behind {
        let last = self.indices.iter().rev().take(MAX_NAMES);
        let answered = answered.and_then(|name| self.indices.get(name));
        Behind { pipeline: self.pipeline, indices: last.chain(answered).cloned().collect() }
    }
}

/// The answer to `GET _alias/NAME`: aliases by the name of their index.
#[derive(Deserialize)]
pub(crate) struct IndexAliases(BTreeMap<String, Aliases>);

#[derive(Deserialize)]
struct Aliases {
    #[serde(default)]
    aliases: BTreeMap<String, Alias>,
}

#[derive(Deserialize)]
struct Alias {
    #[serde(default)]
    index_routing: Option<String>,
}

impl IndexAliases {
    /// Returns what a name is that is not the name of an index: an alias, or a data stream, which is listed without aliases.
    pub(crate) fn kind(mut self, name: &str) -> PlaceKind {
        match self.0.values_mut().find_map(|index| index.aliases.remove(name)) {
            Some(alias) => PlaceKind::Alias { routing: alias.index_routing },
            None => PlaceKind::DataStream,
        }
    }
}

/// An index as `_cat/indices?v` shows it; columns that do not apply are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CatIndex {
    /// `green`, `yellow` or `red`.
    #[serde(deserialize_with = "text")]
    pub health: String,
    /// `open` or `close`.
    #[serde(deserialize_with = "text")]
    pub status: String,
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub index: String,
    /// Its UUID.
    #[serde(deserialize_with = "text")]
    pub uuid: String,
    /// Number of primary shards.
    #[serde(deserialize_with = "text")]
    pub pri: String,
    /// Number of replicas of each.
    #[serde(deserialize_with = "text")]
    pub rep: String,
    /// Lucene documents that are live.
    #[serde(rename = "docs.count", deserialize_with = "text")]
    pub docs_count: String,
    /// Lucene documents that are deleted.
    #[serde(rename = "docs.deleted", deserialize_with = "text")]
    pub docs_deleted: String,
    /// Size of all copies, with its unit.
    #[serde(rename = "store.size", deserialize_with = "text")]
    pub store_size: String,
    /// Size of the primary shards, with its unit.
    #[serde(rename = "pri.store.size", deserialize_with = "text")]
    pub pri_store_size: String,
}

impl CatIndex {
    /// The columns, as they are asked for and shown.
    pub const COLUMNS: &str =
        "health,status,index,uuid,pri,rep,docs.count,docs.deleted,store.size,pri.store.size";

    /// The values, in the order of [`CatIndex::COLUMNS`].
    pub fn values(&self) -> [&str; 10] {
        [
            &self.health,
            &self.status,
            &self.index,
            &self.uuid,
            &self.pri,
            &self.rep,
            &self.docs_count,
            &self.docs_deleted,
            &self.store_size,
            &self.pri_store_size,
        ]
    }
}

/// A string, or nothing when it is null.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_without_numbers_are_shown_without_them() {
        let row: CatIndex =
            serde_json::from_str(r#"{"health":null,"status":"close","index":"i","docs.count":null}"#)
                .unwrap();
        assert_eq!(row.values(), ["", "close", "i", "", "", "", "", "", "", ""]);
    }

    #[test]
    fn versions_name_their_product() {
        let shown = |json| ClusterVersion::from(serde_json::from_str::<Main>(json).unwrap()).to_string();
        assert_eq!(shown(r#"{"version":{"number":"7.10.2"}}"#), "Elasticsearch 7.10.2");
        assert_eq!(
            shown(r#"{"version":{"distribution":"opensearch","number":"2.19.5"}}"#),
            "OpenSearch 2.19.5"
        );
    }
}
