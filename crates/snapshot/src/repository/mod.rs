//! The root of a repository: `index-<N>`, plain JSON without a checksum, and `index.latest`; before Elasticsearch 5.0
//! `index`, which only names the snapshots.

mod check;
mod select;

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

pub use check::{cross_check, cross_check_index};
pub use select::LATEST;

pub use crate::shard_paths::{ShardDir, ShardPathType};

use crate::container;
use crate::error::{Error, Result};
use crate::pairs::{Pairs, or_default};
use crate::paths::{self, Form};
use crate::shard_paths;
use crate::snapshot_info::{SnapshotInfo, SnapshotState};
use crate::version::{Version, VersionId};

/// A snapshot, as the root lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Its name.
    pub name: String,
    /// Its unique id, which is part of the names of its blobs. Before Elasticsearch 5.0 that is its name.
    pub uuid: String,
    /// How its blobs are named.
    pub form: Form,
    /// How it ended; `None` in repositories whose root does not say.
    pub state: Option<SnapshotState>,
    /// The version of the cluster that took it; of Elasticsearch since 8.12 only that of its indices, for the release
    /// that it writes down is 8.11.0 for ever.
    pub version: Option<Version>,
    /// When it began, in milliseconds since 1970; not in every root.
    pub start_millis: Option<i64>,
    /// When it ended, in milliseconds since 1970; not in every root.
    pub end_millis: Option<i64>,
    /// Which metadata goes with each index: index id to identifier.
    index_metadata: Option<HashMap<String, String>>,
}

/// An index, as the root lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its name.
    pub name: String,
    /// The name of its folder.
    pub id: String,
    /// The unique ids of the snapshots that hold it.
    pub snapshots: Vec<String>,
    /// How the folders of its shards are named.
    pub shard_path_type: ShardPathType,
    /// How many shards the root knows; 0 when it does not say.
    pub shards: usize,
}

impl IndexEntry {
    /// The folder of a shard; `base_path` is that of the repository in its store, empty when it is the whole store.
    ///
    /// With a hashed prefix and a base path, the folder lies outside of the repository: see [`ShardDir::InStore`].
    pub fn shard_dir(&self, shard: u32, base_path: &str) -> Result<ShardDir> {
        shard_paths::shard_dir(self.shard_path_type, &self.name, &self.id, shard, base_path)
    }

    /// Refuses shards in folders other than [`crate::paths::shard_dir`] names, for callers that know no others.
    pub fn ensure_fixed_paths(&self) -> Result<()> {
        if self.shard_path_type == ShardPathType::Fixed {
            return Ok(());
        }
        Err(Error::unsupported(
            &self.name,
            format!(
                "its shards lie under hashed paths (shard_path_type {}), which cannot be read here; take the snapshot \
                 into a repository with the setting shard_path_type=fixed",
                self.shard_path_type.name()
            ),
        ))
    }
}

/// The root of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryData {
    /// The blob that this was read from.
    pub file: String,
    /// Every snapshot, in the order of the file, which is not that of time.
    pub snapshots: Vec<SnapshotEntry>,
    /// Every index of every snapshot, in the order of the file.
    pub indices: Vec<IndexEntry>,
    /// The unique id of the repository.
    pub uuid: Option<String>,
    /// The lowest version that may read the repository.
    pub min_version: Option<Version>,
    /// Whether it lists the indices; else [`Self::indices_in`] finds them.
    lists_indices: bool,
    /// Metadata identifier to the id of the blob that holds it.
    metadata_blobs: HashMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    snapshots: Vec<SnapshotItem>,
    indices: Option<Pairs<RawIndex>>,
    #[serde(default, deserialize_with = "or_default")]
    index_metadata_identifiers: HashMap<String, String>,
    uuid: Option<String>,
    min_version: Option<Version>,
}

/// The first roots only name their snapshots.
#[derive(Deserialize)]
#[serde(untagged)]
enum SnapshotItem {
    Name(String),
    Entry(RawSnapshot),
}

#[derive(Deserialize)]
struct RawSnapshot {
    name: String,
    uuid: String,
    state: Option<SnapshotState>,
    version: Option<Version>,
    index_version: Option<VersionId>,
    start_time_millis: Option<i64>,
    end_time_millis: Option<i64>,
    index_metadata_lookup: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct RawIndex {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    snapshots: Vec<SnapshotReference>,
    #[serde(default, deserialize_with = "or_default")]
    shard_generations: Vec<serde::de::IgnoredAny>,
    shard_path_type: Option<u64>,
}

/// Early roots give a snapshot's name with its id.
#[derive(Deserialize)]
#[serde(untagged)]
enum SnapshotReference {
    Uuid(String),
    Named { uuid: String },
}

impl RepositoryData {
    /// Reads `index-<N>` or `index`; `file` is its path, for errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let raw: File =
            container::parse_body(file, bytes, container::DEFAULT_LIMIT).map_err(|e| match e {
                Error::Corrupt { detail, offset, .. } => Error::Corrupt {
                    file: file.to_owned(),
                    offset,
                    detail: format!("not the root of a snapshot repository: {detail}"),
                },
                other => other,
            })?;
        // The root whose name has no generation is the one that lists no indices; any other must.
        let lists_indices = raw.indices.is_some();
        let names_only = file.rsplit('/').next() == Some(paths::ROOT_OF_NAMES);
        if lists_indices == names_only {
            let detail =
                if names_only { "it lists indices, which its kind does not" } else { "it lists no indices" };
            return Err(Error::corrupt(file, format!("not the root of a snapshot repository: {detail}")));
        }
        let snapshots: Vec<_> = raw.snapshots.into_iter().map(SnapshotEntry::from).collect();
        let indices: Vec<_> = raw.indices.unwrap_or_default().0.into_iter().map(IndexEntry::from).collect();
        let data = Self {
            file: file.to_owned(),
            snapshots,
            indices,
            uuid: raw.uuid,
            min_version: raw.min_version,
            lists_indices,
            metadata_blobs: raw.index_metadata_identifiers,
        };
        data.validate()?;
        Ok(data)
    }

    /// Ids become parts of paths, so they must be single names; and every reference must lead somewhere.
    fn validate(&self) -> Result<()> {
        let mut uuids = HashSet::new();
        let mut names = HashSet::new();
        for s in &self.snapshots {
            self.path_part("snapshot uuid", &s.uuid)?;
            if !uuids.insert(s.uuid.as_str()) || !names.insert(s.name.as_str()) {
                return Err(Error::mismatch(&self.file, format!("snapshot {:?} is listed twice", s.name)));
            }
        }
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        for index in &self.indices {
            self.path_part("index id", &index.id)?;
            if !names.insert(index.name.as_str()) || !ids.insert(index.id.as_str()) {
                return Err(Error::mismatch(&self.file, format!("index {:?} is listed twice", index.name)));
            }
            if let Some(unknown) = index.snapshots.iter().find(|u| !uuids.contains(u.as_str())) {
                let detail =
                    format!("index {:?} is in snapshot {unknown:?}, which is not listed", index.name);
                return Err(Error::mismatch(&self.file, detail));
            }
        }
        self.metadata_blobs.values().try_for_each(|blob| self.path_part("metadata blob", blob))
    }

    fn path_part(&self, what: &str, text: &str) -> Result<()> {
        path_part(&self.file, what, text)
    }

    /// Learns from the names of a listing of the repository's root how the blobs of each snapshot are named.
    pub fn learn_forms<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let names: HashSet<&str> = names.into_iter().collect();
        for entry in &mut self.snapshots {
            let there = |form: Form| names.contains(form.snapshot_info(&entry.uuid).as_str());
            if there(Form::Plain) && !there(Form::Contained) {
                entry.form = Form::Plain;
            }
        }
    }

    /// The indices in a snapshot: as this lists them, or as the snapshot itself does where this lists none.
    pub fn indices_in(&self, snapshot: &SnapshotEntry, info: &SnapshotInfo) -> Result<Vec<IndexEntry>> {
        if self.lists_indices {
            return Ok(self.indices_of(snapshot).cloned().collect());
        }
        let mut names = HashSet::new();
        let index = |name: &String| {
            path_part(&info.file, "index", name)?;
            if !names.insert(name.clone()) {
                return Err(Error::mismatch(&info.file, format!("index {name:?} is listed twice")));
            }
            Ok(IndexEntry {
                name: name.clone(),
                id: name.clone(),
                snapshots: vec![snapshot.uuid.clone()],
                shard_path_type: ShardPathType::Fixed,
                shards: 0,
            })
        };
        info.indices.iter().map(index).collect()
    }

    /// The indices that this lists in `snapshot`, in the order of the file.
    pub fn indices_of<'a>(&'a self, snapshot: &'a SnapshotEntry) -> impl Iterator<Item = &'a IndexEntry> {
        self.indices.iter().filter(|i| i.snapshots.contains(&snapshot.uuid))
    }

    /// The index of this name in `snapshot`.
    pub fn index<'a>(&'a self, snapshot: &'a SnapshotEntry, name: &str) -> Result<&'a IndexEntry> {
        self.indices_of(snapshot).find(|i| i.name == name).ok_or_else(|| Error::UnknownIndex {
            name: name.to_owned(),
            near: Vec::new(),
            available: self.indices_of(snapshot).map(|i| i.name.clone()).collect(),
        })
    }

    /// The id of the blob with the metadata of `index` in `snapshot`, for [`crate::paths::index_metadata`].
    pub fn index_metadata_blob<'a>(
        &'a self,
        snapshot: &'a SnapshotEntry,
        index: &IndexEntry,
    ) -> Result<&'a str> {
        // Before 7.9, and for indices last changed before, the blob is named after the snapshot.
        let Some(identifier) = snapshot.index_metadata.as_ref().and_then(|lookup| lookup.get(&index.id))
        else {
            return Ok(&snapshot.uuid);
        };
        self.metadata_blobs.get(identifier).map(String::as_str).ok_or_else(|| {
            let detail =
                format!("no blob is listed for the metadata {identifier:?} of index {:?}", index.name);
            Error::mismatch(&self.file, detail)
        })
    }
}

fn path_part(file: &str, what: &str, text: &str) -> Result<()> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\\', '\0']) {
        return Err(Error::corrupt(file, format!("{what} {text:?} is no part of a path")));
    }
    Ok(())
}

impl From<SnapshotItem> for SnapshotEntry {
    fn from(item: SnapshotItem) -> Self {
        match item {
            SnapshotItem::Entry(raw) => raw.into(),
            SnapshotItem::Name(name) => Self {
                uuid: name.clone(),
                name,
                form: Form::default(),
                state: None,
                version: None,
                start_millis: None,
                end_millis: None,
                index_metadata: None,
            },
        }
    }
}

impl From<RawSnapshot> for SnapshotEntry {
    fn from(raw: RawSnapshot) -> Self {
        Self {
            name: raw.name,
            uuid: raw.uuid,
            form: Form::default(),
            state: raw.state,
            version: raw.index_version.map(Version::Id).or(raw.version),
            start_millis: raw.start_time_millis,
            end_millis: raw.end_time_millis,
            index_metadata: raw.index_metadata_lookup,
        }
    }
}

impl From<(String, RawIndex)> for IndexEntry {
    fn from((name, raw): (String, RawIndex)) -> Self {
        let uuid = |reference| match reference {
            SnapshotReference::Uuid(uuid) | SnapshotReference::Named { uuid } => uuid,
        };
        Self {
            name,
            id: raw.id,
            snapshots: raw.snapshots.into_iter().map(uuid).collect(),
            shard_path_type: ShardPathType::of(raw.shard_path_type.unwrap_or(0)),
            shards: raw.shard_generations.len(),
        }
    }
}

/// The generation that `index.latest` holds.
pub fn parse_latest(file: &str, bytes: &[u8]) -> Result<u64> {
    let detail = || format!("a generation in eight bytes was expected, not {} bytes", bytes.len());
    let array = <[u8; 8]>::try_from(bytes).map_err(|_| Error::corrupt(file, detail()))?;
    u64::try_from(i64::from_be_bytes(array)).map_err(|_| Error::corrupt(file, "a negative generation"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(super) fn root(value: &Value) -> Result<RepositoryData> {
        RepositoryData::parse("index-3", value.to_string().as_bytes())
    }

    pub(super) fn example() -> Value {
        json!({"min_version": "7.9.0", "uuid": "R", "cluster_id": "C", "snapshots": [
            {"name": "a", "uuid": "A", "state": 1, "version": "7.10.2", "index_metadata_lookup": {"I1": "m1"}},
            {"name": "b", "uuid": "B", "state": "PARTIAL", "version": "8.11.0", "index_version": 8512000, "start_time_millis": 7, "end_time_millis": 9, "slm_policy": ""}],
          "indices": {
            "one": {"id": "I1", "snapshots": ["A", {"uuid": "B", "name": "b"}], "shard_generations": ["x", null]},
            "two": {"id": "I2", "snapshots": ["A"], "shard_path_type": 1}},
          "index_metadata_identifiers": {"m1": "blob1"}})
    }

    #[test]
    fn everything_that_is_said_is_read() {
        let data = root(&example()).unwrap();
        let [a, b] = data.snapshots.as_slice() else { panic!("two snapshots") };
        assert_eq!(
            (a.state.clone(), b.state.clone()),
            (Some(SnapshotState::Success), Some(SnapshotState::Partial))
        );
        assert_eq!((b.start_millis, b.end_millis), (Some(7), Some(9)));
        assert_eq!(a.version, Some(Version::Text("7.10.2".into())));
        assert_eq!(b.version, Some(Version::Id(VersionId(8_512_000))));
        let names = |s| data.indices_of(s).map(|i| i.name.as_str()).collect::<Vec<_>>();
        assert_eq!((names(a), names(b)), (vec!["one", "two"], vec!["one"]));
        let [one, two] = data.indices.as_slice() else { panic!("two indices") };
        assert_eq!(data.index_metadata_blob(a, one), Ok("blob1"));
        assert_eq!(data.index_metadata_blob(a, two), Ok("A"));
        assert_eq!(data.index_metadata_blob(b, one), Ok("B"));
        assert_eq!((one.shards, two.shards), (2, 0));
        assert!(one.ensure_fixed_paths().is_ok());
        assert_eq!(one.shard_dir(1, "base"), Ok(ShardDir::InRepository("indices/I1/1".into())));
        assert!(matches!(two.shard_dir(1, "base"), Ok(ShardDir::InStore(_))));
        assert!(two.ensure_fixed_paths().unwrap_err().to_string().contains("hashed_prefix"));
        assert!(matches!(data.index(b, "two"), Err(Error::UnknownIndex { .. })));
    }

    #[test]
    fn contradictions_and_paths_are_errors() {
        let edits: [fn(&mut Value); 8] = [
            |v| v["snapshots"][1]["uuid"] = "A".into(),
            |v| v["snapshots"][1]["name"] = "a".into(),
            |v| v["snapshots"][0]["uuid"] = "../A".into(),
            |v| v["indices"]["two"]["id"] = "I1".into(),
            |v| v["indices"]["two"]["id"] = "..".into(),
            |v| v["indices"]["two"]["snapshots"] = json!(["Z"]),
            |v| v["index_metadata_identifiers"]["m1"] = "".into(),
            |v| v["snapshots"] = Value::Null,
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut value = example();
            edit(&mut value);
            assert!(root(&value).is_err(), "edit {i}");
        }
        let mut value = example();
        value["index_metadata_identifiers"] = json!({});
        let data = root(&value).unwrap();
        assert!(matches!(
            data.index_metadata_blob(&data.snapshots[0], &data.indices[0]),
            Err(Error::Mismatch { .. })
        ));
        for bytes in [
            b"".as_slice(),
            b"{}",
            b"[]",
            b"\xff",
            b"{\"snapshots\":[],\"indices\":{\"a\":{\"id\":\"1\"},\"a\":{\"id\":\"2\"}}}",
        ] {
            assert!(RepositoryData::parse("index-0", bytes).is_err());
        }
    }

    #[test]
    fn roots_of_names_leave_the_indices_to_the_snapshots() {
        let text = br#"{"snapshots":["first","second"]}"#;
        let mut data = RepositoryData::parse("index", &crate::lzf::build::compress(text)).unwrap();
        assert_eq!(RepositoryData::parse("index", text).unwrap(), data);
        data.learn_forms(["snapshot-first", "snap-second.dat", "snapshot-second", "index"]);
        let [first, second] = data.snapshots.as_slice() else { panic!("two snapshots") };
        assert_eq!((first.uuid.as_str(), first.form), ("first", Form::Plain));
        assert_eq!((second.uuid.as_str(), second.form), ("second", Form::Contained));
        let info = |indices: &[&str]| {
            let value = json!({"snapshot": {"name": "first", "state": "SUCCESS", "indices": indices}});
            SnapshotInfo::parse("snapshot-first", value.to_string().as_bytes()).unwrap()
        };
        assert_eq!(cross_check(&data, first, &info(&["a"])), Ok(()));
        let indices = data.indices_in(first, &info(&["b", "naïve"])).unwrap();
        assert_eq!(indices[1].shard_dir(2, ""), Ok(ShardDir::InRepository("indices/naïve/2".into())));
        assert_eq!(data.index_metadata_blob(first, &indices[0]), Ok("first"));
        assert!(data.indices_in(first, &info(&["a/b"])).is_err());
        assert!(data.indices_in(first, &info(&["a", "a"])).is_err());
        for (file, text) in
            [("index", r#"{"snapshots":[],"indices":{}}"#), ("index-3", r#"{"snapshots":["a"]}"#)]
        {
            assert!(RepositoryData::parse(file, text.as_bytes()).is_err());
        }
    }

    #[test]
    fn latest_is_eight_bytes() {
        assert_eq!(parse_latest("index.latest", &[0, 0, 0, 0, 0, 0, 1, 2]), Ok(258));
        for bytes in [[].as_slice(), &[0; 7], &[0; 9], &[0xff; 8]] {
            assert!(parse_latest("index.latest", bytes).is_err());
        }
    }
}
