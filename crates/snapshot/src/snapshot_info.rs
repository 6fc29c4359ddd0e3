//! What a snapshot says about itself: `snap-<uuid>.dat` at the root, or what stands in its place in old repositories.

use serde::Deserialize;

use crate::container;
use crate::error::{Error, Result};
use crate::pairs::{at_most, or_default};
use crate::version::Version;

/// Indices of a snapshot, at most: far more than a cluster can hold.
const MOST_INDICES: usize = 500_000;
/// Shards that a snapshot lacks, at most.
const MOST_FAILURES: usize = 500_000;

/// How a snapshot ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SnapshotState {
    /// Every shard is in it.
    Success,
    /// Some shards are missing.
    Partial,
    /// It failed as a whole.
    Failed,
    /// It had not ended when this was written.
    InProgress,
    /// It was written by a version that its cluster cannot read.
    Incompatible,
    /// Something that this program does not know.
    Other(String),
}

impl SnapshotState {
    /// The state of this name or number, as text.
    fn of(text: &str) -> Self {
        match text {
            "SUCCESS" | "1" => Self::Success,
            "PARTIAL" | "3" => Self::Partial,
            "FAILED" | "2" => Self::Failed,
            "IN_PROGRESS" | "0" => Self::InProgress,
            "INCOMPATIBLE" | "4" => Self::Incompatible,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl std::fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Success => "SUCCESS",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
            Self::InProgress => "IN_PROGRESS",
            Self::Incompatible => "INCOMPATIBLE",
            Self::Other(text) => text,
        })
    }
}

impl<'de> Deserialize<'de> for SnapshotState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        Ok(match Raw::deserialize(deserializer)? {
            Raw::Number(n) => Self::of(&n.to_string()),
            Raw::Text(text) => Self::of(&text),
        })
    }
}

/// A shard that is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ShardFailure {
    /// The index.
    pub index: String,
    /// The number of the shard.
    #[serde(alias = "shard_id")]
    pub shard: u32,
    /// What the cluster said about it.
    #[serde(default, deserialize_with = "or_default")]
    pub reason: String,
}

/// What a snapshot says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The blob that this was read from.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Its unique id; its name, before Elasticsearch 5.0.
    pub uuid: String,
    /// How it ended.
    pub state: SnapshotState,
    /// The indices in it.
    pub indices: Vec<String>,
    /// The data streams in it.
    pub data_streams: Vec<String>,
    /// The version of the cluster that took it.
    pub version: Option<Version>,
    /// When it began, in milliseconds since 1970.
    pub start_millis: Option<i64>,
    /// When it ended, in milliseconds since 1970.
    pub end_millis: Option<i64>,
    /// How many shards it should hold.
    pub total_shards: u64,
    /// How many shards it holds.
    pub successful_shards: u64,
    /// The shards that are missing, and why.
    pub failures: Vec<ShardFailure>,
    /// Whether it holds the cluster's state; data streams are described in any case.
    pub include_global_state: Option<bool>,
    /// Whether the shards' data stayed in a remote store.
    pub remote_store_shallow_copy: bool,
}

#[derive(Deserialize)]
struct File {
    snapshot: Body,
}

#[derive(Deserialize)]
struct Body {
    name: String,
    uuid: Option<String>,
    state: SnapshotState,
    #[serde(default, deserialize_with = "at_most::<MOST_INDICES, _, _>")]
    indices: Vec<String>,
    #[serde(default, deserialize_with = "at_most::<MOST_INDICES, _, _>")]
    data_streams: Vec<String>,
    version_id: Option<Version>,
    version: Option<Version>,
    start_time: Option<i64>,
    end_time: Option<i64>,
    #[serde(default)]
    total_shards: u64,
    #[serde(default)]
    successful_shards: u64,
    #[serde(default, deserialize_with = "at_most::<MOST_FAILURES, _, _>")]
    failures: Vec<ShardFailure>,
    include_global_state: Option<bool>,
    remote_store_index_shallow_copy: Option<bool>,
}

impl SnapshotInfo {
    /// Reads `snap-<uuid>.dat` or `snapshot-<name>`; `file` is its path, for errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        Self::parse_with_limit(file, bytes, container::DEFAULT_LIMIT)
    }

    /// Like [`Self::parse`]; what is compressed may become `limit` bytes.
    pub fn parse_with_limit(file: &str, bytes: &[u8], limit: usize) -> Result<Self> {
        let File { snapshot: b } = container::parse_with_limit(file, bytes, container::SNAPSHOT, limit)?;
        if b.successful_shards > b.total_shards {
            let detail = format!("{} of {} shards successful", b.successful_shards, b.total_shards);
            return Err(Error::mismatch(file, detail));
        }
        Ok(Self {
            file: file.to_owned(),
            uuid: b.uuid.unwrap_or_else(|| b.name.clone()),
            name: b.name,
            state: b.state,
            indices: b.indices,
            data_streams: b.data_streams,
            version: b.version_id.or(b.version),
            start_millis: b.start_time,
            end_millis: b.end_time,
            total_shards: b.total_shards,
            successful_shards: b.successful_shards,
            failures: b.failures,
            include_global_state: b.include_global_state,
            remote_store_shallow_copy: b.remote_store_index_shallow_copy.unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::build;
    use serde_json::json;

    #[test]
    fn everything_that_is_said_is_read() {
        let bytes = build::json(
            container::SNAPSHOT,
            &json!({"snapshot": {"name": "s", "uuid": "u", "version_id": 7100299, "indices": ["a", "b"],
                "data_streams": ["d"], "state": "PARTIAL", "start_time": 5, "end_time": 9, "total_shards": 3,
                "successful_shards": 2, "include_global_state": false, "feature_states": [], "metadata": null,
                "failures": [{"index": "a", "index_uuid": "a", "shard_id": 1, "reason": "lost", "status": "X"}]}}),
        );
        let info = SnapshotInfo::parse("snap-u.dat", &bytes).unwrap();
        assert_eq!(
            (info.name.as_str(), info.uuid.as_str(), &info.state),
            ("s", "u", &SnapshotState::Partial)
        );
        assert_eq!((info.indices.len(), info.data_streams.len()), (2, 1));
        assert_eq!(info.failures, [ShardFailure { index: "a".into(), shard: 1, reason: "lost".into() }]);
        assert_eq!(info.version.unwrap().to_string(), "Elasticsearch 7.10.2");
        assert_eq!((info.start_millis, info.end_millis), (Some(5), Some(9)));
        assert_eq!(info.include_global_state, Some(false));
    }

    #[test]
    fn states_come_as_numbers_and_as_names() {
        for (text, state) in [
            ("0", SnapshotState::InProgress),
            ("1", SnapshotState::Success),
            ("2", SnapshotState::Failed),
            ("3", SnapshotState::Partial),
            ("4", SnapshotState::Incompatible),
            ("\"SUCCESS\"", SnapshotState::Success),
            ("\"new\"", SnapshotState::Other("new".into())),
        ] {
            assert_eq!(serde_json::from_str::<SnapshotState>(text).unwrap(), state);
        }
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for value in [
            json!({}),
            json!({"snapshot": {"uuid": "u", "state": "SUCCESS"}}),
            json!({"snapshot": {"name": "s", "uuid": "u", "state": "SUCCESS", "total_shards": 1, "successful_shards": 2}}),
        ] {
            assert!(
                SnapshotInfo::parse("x.dat", &build::json(container::SNAPSHOT, &value)).is_err(),
                "{value}"
            );
        }
    }
}
