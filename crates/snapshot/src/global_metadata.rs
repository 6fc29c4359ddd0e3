//! The cluster's metadata at the time of a snapshot: `meta-<uuid>.dat` at the root. Of it, only the data streams.

use serde::Deserialize;

use crate::container;
use crate::error::Result;
use crate::pairs::{Pairs, or_default};

/// A data stream, and the indices that hold its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataStream {
    /// Its name.
    pub name: String,
    /// The names of its backing indices, oldest first.
    pub indices: Vec<String>,
    /// The name of the field that holds the time.
    pub timestamp_field: Option<String>,
    /// Whether wildcards pass it over.
    pub hidden: bool,
}

/// What a cluster knew beyond its indices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GlobalMetadata {
    /// Data streams, in the order of the file.
    pub data_streams: Vec<DataStream>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "meta-data", alias = "metadata")]
    metadata: Body,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default, deserialize_with = "or_default")]
    data_stream: Outer,
}

#[derive(Deserialize, Default)]
struct Outer {
    #[serde(default, deserialize_with = "or_default")]
    data_stream: Pairs<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    indices: Vec<Backing>,
    timestamp_field: Option<Timestamp>,
    hidden: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Backing {
    Name(String),
    Index { index_name: String },
}

#[derive(Deserialize)]
struct Timestamp {
    name: Option<String>,
}

impl GlobalMetadata {
    /// Reads `meta-<uuid>.dat` of the root; `file` is its path, for errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        Self::parse_with_limit(file, bytes, container::DEFAULT_LIMIT)
    }

    /// Like [`Self::parse`]; what is compressed may become `limit` bytes.
    pub fn parse_with_limit(file: &str, bytes: &[u8], limit: usize) -> Result<Self> {
        let File { metadata } = container::parse_with_limit(file, bytes, container::GLOBAL_METADATA, limit)?;
        let streams = metadata.data_stream.data_stream.0.into_iter().map(|(key, stream)| DataStream {
            name: stream.name.unwrap_or(key),
            indices: stream
                .indices
                .into_iter()
                .map(|backing| match backing {
                    Backing::Name(name) | Backing::Index { index_name: name } => name,
                })
                .collect(),
            timestamp_field: stream.timestamp_field.and_then(|t| t.name),
            hidden: stream.hidden.unwrap_or(false),
        });
        Ok(Self { data_streams: streams.collect() })
    }

    /// The data stream that `index` is a backing index of.
    pub fn data_stream_of(&self, index: &str) -> Option<&DataStream> {
        self.data_streams.iter().find(|s| s.indices.iter().any(|i| i == index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::build;
    use serde_json::json;

    #[test]
    fn data_streams_name_their_indices() {
        let bytes = build::json(
            container::GLOBAL_METADATA,
            &json!({"meta-data": {"version": 1, "templates": {}, "data_stream": {"data_stream": {
                "logs": {"name": "logs", "timestamp_field": {"name": "@timestamp"}, "generation": 2,
                    "indices": [{"index_name": ".ds-logs-1", "index_uuid": "x"}, {"index_name": ".ds-logs-2", "index_uuid": "y"}]},
                "audit": {"indices": [".ds-audit-1"], "hidden": true}}, "data_stream_aliases": {}}}}),
        );
        let metadata = GlobalMetadata::parse("meta-u.dat", &bytes).unwrap();
        assert_eq!(metadata.data_stream_of(".ds-logs-2").unwrap().name, "logs");
        let audit = metadata.data_stream_of(".ds-audit-1").unwrap();
        assert!(audit.hidden && audit.timestamp_field.is_none() && audit.name == "audit");
        assert_eq!(metadata.data_stream_of("logs"), None);
    }

    #[test]
    fn clusters_without_data_streams_have_none() {
        for value in [json!({"meta-data": {}}), json!({"meta-data": {"data_stream": {"data_stream": {}}}})] {
            let bytes = build::json(container::GLOBAL_METADATA, &value);
            assert_eq!(GlobalMetadata::parse("x.dat", &bytes), Ok(GlobalMetadata::default()));
        }
        assert!(
            GlobalMetadata::parse("x.dat", &build::json(container::GLOBAL_METADATA, &json!({}))).is_err()
        );
    }
}
