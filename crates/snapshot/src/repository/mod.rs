//! The root of a repository: `index-<N>`, plain JSON without a checksum, and `index.latest`; before Elasticsearch 5.0
//! `index`, which only names the snapshots.
//!
//! A root may have hundreds of megabytes, because it lists each index once more for each snapshot that holds it. So it
//! is read as a stream, and twice: [`RootReader`] takes the list of snapshots, which comes first, and
//! [`ContentsReader`] takes what concerns one of them. What is kept depends on the number of snapshots and on what the
//! chosen one holds.

mod check;
mod contents;
mod members;
mod root;
mod select;

use std::collections::HashSet;
use std::ops::Range;

pub use check::{cross_check, cross_check_index};
pub use contents::{Contents, ContentsReader};
pub use root::RootReader;
pub use select::LATEST;

pub use crate::shard_paths::{ShardDir, ShardPathType};

use crate::error::{Error, Result};
use crate::paths::Form;
use crate::shard_paths;
use crate::snapshot_info::SnapshotState;
use crate::version::Version;

/// What a reader of a root may keep in memory unless the caller says otherwise, in bytes.
pub const DEFAULT_LIMIT: usize = 64 << 20;

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
    /// Where in the root this entry stands; empty in a root that only names snapshots.
    pub place: Range<u64>,
}

/// An index, as the root lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its name.
    pub name: String,
    /// The name of its folder.
    pub id: String,
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

/// The list of snapshots in the root of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryData {
    /// The blob that this was read from.
    pub file: String,
    /// Every snapshot, in the order of the file, which is not that of time.
    pub snapshots: Vec<SnapshotEntry>,
    /// Where in the file the rest begins, which [`ContentsReader`] reads; `None` in a root that lists no indices.
    pub rest: Option<u64>,
}

impl RepositoryData {
    /// Reads the list of snapshots in `index-<N>` or `index` of which all bytes are in memory; `file` is its path, for
    /// errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let mut reader = RootReader::new(file, DEFAULT_LIMIT);
        reader.feed(bytes)?;
        reader.finish()
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
}

/// Refuses what cannot be one name in a path: ids become parts of paths.
fn path_part(file: &str, what: &str, text: &str) -> Result<()> {
    if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\\', '\0']) {
        return Err(Error::corrupt(file, format!("{what} {text:?} is no part of a path")));
    }
    Ok(())
}

/// An error in the root says what file was expected.
fn of_root(error: Error) -> Error {
    match error {
        Error::Corrupt { file, offset, detail } => Error::Corrupt {
            file,
            offset,
            detail: format!("not the root of a snapshot repository: {detail}"),
        },
        other => other,
    }
}

/// Bytes that readers of a root have kept.
#[derive(Debug)]
struct Kept {
    file: String,
    bytes: usize,
    limit: usize,
}

impl Kept {
    fn new(file: &str, limit: usize) -> Self {
        Self { file: file.to_owned(), bytes: 0, limit }
    }

    /// Counts an entry with these texts.
    fn add(&mut self, texts: &[&str]) -> Result<()> {
        /// What an entry takes beside its texts: about the size of its structure.
        const ENTRY: usize = 256;
        self.bytes = self.bytes.saturating_add(ENTRY + texts.iter().map(|t| t.len()).sum::<usize>());
        if self.bytes > self.limit {
            return Err(Error::TooLarge { file: self.file.clone(), limit: self.limit as u64 });
        }
        Ok(())
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
    use crate::snapshot_info::SnapshotInfo;
    use crate::version::VersionId;
    use serde_json::{Value, json};

    pub(super) fn root(value: &Value) -> Result<RepositoryData> {
        RepositoryData::parse("index-3", value.to_string().as_bytes())
    }

    /// What the snapshot at this place of the list holds.
    pub(super) fn contents(value: &Value, snapshot: usize) -> Result<Contents> {
        let data = root(value)?;
        let info = json!({"snapshot": {"name": "", "state": "SUCCESS"}}).to_string();
        let info = SnapshotInfo::parse("snapshot-x", info.as_bytes())?;
        Contents::parse(&data, &data.snapshots[snapshot], value.to_string().as_bytes(), &info)
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
        let [of_a, of_b] = [0, 1].map(|snapshot| contents(&example(), snapshot).unwrap());
        let names = |c: &Contents| c.indices.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(&of_a), names(&of_b)), (vec!["one".into(), "two".into()], vec!["one".to_owned()]));
        let [one, two] = of_a.indices.as_slice() else { panic!("two indices") };
        assert_eq!(of_a.metadata_blob(one), Ok("blob1"));
        assert_eq!(of_a.metadata_blob(two), Ok("A"));
        assert_eq!(of_b.metadata_blob(one), Ok("B"));
        assert_eq!((one.shards, two.shards), (2, 0));
        assert!(one.ensure_fixed_paths().is_ok());
        assert_eq!(one.shard_dir(1, "base"), Ok(ShardDir::InRepository("indices/I1/1".into())));
        assert!(matches!(two.shard_dir(1, "base"), Ok(ShardDir::InStore(_))));
        assert!(two.ensure_fixed_paths().unwrap_err().to_string().contains("hashed_prefix"));
        assert!(matches!(of_b.index("two"), Err(Error::UnknownIndex { .. })));
        // What comes after the snapshots says nothing about them, and is not read for them.
        let text = example().to_string();
        let end = text.find(",\"indices\"").unwrap();
        for piece in [1, 10, text.len()] {
            let mut reader = RootReader::new("index-3", DEFAULT_LIMIT);
            let complete = text.as_bytes()[..end].chunks(piece).any(|piece| reader.feed(piece).unwrap());
            assert!(complete || piece < text.len(), "in pieces of {piece}");
            assert_eq!(reader.finish().unwrap(), data);
        }
    }

    #[test]
    fn the_order_of_the_members_does_not_matter() {
        let mut value = example();
        let snapshots = value.as_object_mut().unwrap().shift_remove("snapshots").unwrap();
        value["snapshots"] = snapshots;
        for (in_order, snapshot) in [(example(), 0), (example(), 1)] {
            assert_eq!(contents(&value, snapshot), contents(&in_order, snapshot));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let entry = json!({"name": "n".repeat(30), "uuid": "u".repeat(30), "index_metadata_lookup": {"i": "x".repeat(2000)}});
        let text =
            json!({"snapshots": [entry], "indices": {"a": {"id": "A", "snapshots": ["u".repeat(30)]}}})
                .to_string();
        let read = |limit: usize| {
            let mut reader = RootReader::new("index-3", limit);
            reader.feed(text.as_bytes())?;
            let data = reader.finish()?;
            let place = data.snapshots[0].place.start as usize..data.snapshots[0].place.end as usize;
            ContentsReader::new(&data, &data.snapshots[0], &text.as_bytes()[place], limit)?.finish()
        };
        for limit in [100, 2000, 2500] {
            assert!(
                matches!(read(limit), Err(Error::TooLarge { .. })) == (limit < 2500),
                "{limit}: {:?}",
                read(limit)
            );
        }
    }

    #[test]
    fn contradictions_and_paths_are_errors() {
        let edits: [fn(&mut Value); 9] = [
            |v| v["snapshots"][1]["uuid"] = "A".into(),
            |v| v["snapshots"][1]["name"] = "a".into(),
            |v| v["snapshots"][0]["uuid"] = "../A".into(),
            |v| v["indices"]["two"]["id"] = "I1".into(),
            |v| v["indices"]["two"]["id"] = "..".into(),
            |v| v["indices"]["two"]["snapshots"] = json!(["Z"]),
            |v| v["index_metadata_identifiers"]["m1"] = "".into(),
            |v| v["snapshots"] = Value::Null,
            |v| v["indices"] = json!([]),
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut value = example();
            edit(&mut value);
            assert!(contents(&value, 0).is_err(), "edit {i}");
        }
        let mut value = example();
        value["index_metadata_identifiers"] = json!({});
        let contents = contents(&value, 0).unwrap();
        assert!(matches!(contents.metadata_blob(&contents.indices[0]), Err(Error::Mismatch { .. })));
        for bytes in [b"".as_slice(), b"{}", b"[]", b"\xff", b"{\"snapshots\":[\"a\"],\"indices\":{}}"] {
            assert!(RepositoryData::parse("index-0", bytes).is_err());
        }
        assert!(super::tests::contents(&json!({"snapshots": [{"name": "a", "uuid": "A"}]}), 0).is_err());
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
        let contents = |indices: &[&str]| Contents::parse(&data, first, text, &info(indices));
        let held = contents(&["b", "naïve"]).unwrap();
        assert_eq!(cross_check(&held, first, &info(&["b", "naïve"])), Ok(()));
        assert_eq!(held.indices[1].shard_dir(2, ""), Ok(ShardDir::InRepository("indices/naïve/2".into())));
        assert_eq!(held.metadata_blob(&held.indices[0]), Ok("first"));
        assert!(contents(&["a/b"]).is_err());
        assert!(contents(&["a", "a"]).is_err());
        assert!(RepositoryData::parse("index", br#"{"snapshots":[],"indices":{}}"#).is_err());
    }

    #[test]
    fn latest_is_eight_bytes() {
        assert_eq!(parse_latest("index.latest", &[0, 0, 0, 0, 0, 0, 1, 2]), Ok(258));
        for bytes in [[].as_slice(), &[0; 7], &[0; 9], &[0xff; 8]] {
            assert!(parse_latest("index.latest", bytes).is_err());
        }
    }
}
