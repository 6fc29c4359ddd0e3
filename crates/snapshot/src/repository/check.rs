//! The root has no checksum, but it repeats what blobs with a checksum say: a flipped byte shows as a contradiction.

use std::collections::HashSet;

use super::{Contents, IndexEntry, SnapshotEntry};
use crate::error::{Error, Result};
use crate::index_metadata::IndexMetadata;
use crate::snapshot_info::SnapshotInfo;

/// Compares what the root says about a snapshot with what the snapshot says about itself.
pub fn cross_check(contents: &Contents, entry: &SnapshotEntry, info: &SnapshotInfo) -> Result<()> {
    let differs = |what: &str, root: &str, own: &str| {
        Err(Error::mismatch(
            &info.file,
            format!("its {what} is {own:?}, but {} says {root:?}: one of them is damaged", contents.file),
        ))
    };
    if info.name != entry.name {
        return differs("name", &entry.name, &info.name);
    }
    if info.uuid != entry.uuid {
        return differs("uuid", &entry.uuid, &info.uuid);
    }
    if let Some(state) = entry.state.as_ref().filter(|state| **state != info.state) {
        return differs("state", &state.to_string(), &info.state.to_string());
    }
    for (what, root, own) in [
        ("start time", entry.start_millis, info.start_millis),
        ("end time", entry.end_millis, info.end_millis),
    ] {
        if let (Some(root), Some(own)) = (root, own)
            && root != own
        {
            return differs(what, &root.to_string(), &own.to_string());
        }
    }
    let listed: HashSet<_> = contents.indices.iter().map(|i| i.name.as_str()).collect();
    let own: HashSet<_> = info.indices.iter().map(String::as_str).collect();
    let mut different: Vec<_> = listed.symmetric_difference(&own).copied().collect();
    different.sort_unstable();
    match different.first() {
        None => Ok(()),
        Some(first) => Err(Error::mismatch(
            &info.file,
            format!(
                "index {first:?} is {} the snapshot, but {} it in {}: one of them is damaged",
                if own.contains(first) { "in" } else { "not in" },
                if own.contains(first) { "the root does not list" } else { "the root lists" },
                contents.file
            ),
        )),
    }
}

/// Compares what the root says about an index with the metadata of the index; `file` is the metadata's path. `whole`: whether the
/// snapshot holds every shard.
pub fn cross_check_index(
    contents: &Contents,
    entry: &IndexEntry,
    whole: bool,
    file: &str,
    metadata: &IndexMetadata,
) -> Result<()> {
    if metadata.name != entry.name {
        let detail = format!(
            "it describes index {:?}, but {} names it for index {:?}: one of them is damaged",
            metadata.name, contents.file, entry.name
        );
        return Err(Error::mismatch(file, detail));
    }
    // The root lists shards up to the last one that any snapshot holds.
    if whole && entry.shards > 0 && entry.shards < metadata.number_of_shards as usize {
        let detail = format!(
            "index {:?} has {} shards, but {} lists {}",
            entry.name, metadata.number_of_shards, contents.file, entry.shards
        );
        return Err(Error::mismatch(file, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{contents, example, root};
    use super::*;
    use serde_json::{Value, json};

    fn info(edit: impl Fn(&mut Value)) -> SnapshotInfo {
        let mut value =
            json!({"snapshot": {"name": "a", "uuid": "A", "state": "SUCCESS", "indices": ["two", "one"]}});
        edit(&mut value["snapshot"]);
        let bytes = crate::container::build::json(crate::container::SNAPSHOT, &value);
        SnapshotInfo::parse("snap-A.dat", &bytes).unwrap()
    }

    #[test]
    fn a_snapshot_that_lacks_shards_may_have_fewer_in_the_root() {
        let contents = contents(&example(), 0).unwrap();
        let entry = contents.indices.iter().find(|entry| entry.shards > 0).unwrap();
        let metadata = |shards: usize| {
            let value = json!({(entry.name.clone()): {"version": 1, "mappings": [],
                "settings": {"index.number_of_shards": shards.to_string()}}});
            let bytes = crate::container::build::json(crate::container::INDEX_METADATA, &value);
            IndexMetadata::parse("meta-B.dat", &bytes).unwrap()
        };
        for (more, whole, fits) in [(0, true, true), (1, true, false), (1, false, true)] {
            let checked =
                cross_check_index(&contents, entry, whole, "meta-B.dat", &metadata(entry.shards + more));
            assert_eq!(checked.is_ok(), fits, "{more} more, {whole}: {checked:?}");
        }
    }

    #[test]
    fn contradictions_are_noticed() {
        let data = root(&example()).unwrap();
        let (contents, entry) = (contents(&example(), 0).unwrap(), &data.snapshots[0]);
        assert_eq!(cross_check(&contents, entry, &info(|_| {})), Ok(()));
        let edits: [fn(&mut Value); 5] = [
            |v| v["name"] = "b".into(),
            |v| v["uuid"] = "B".into(),
            |v| v["state"] = "PARTIAL".into(),
            |v| v["indices"] = json!(["one"]),
            |v| v["indices"] = json!(["one", "two", "three"]),
        ];
        for (i, edit) in edits.iter().enumerate() {
            let error = cross_check(&contents, entry, &info(edit)).unwrap_err();
            assert!(matches!(error, Error::Mismatch { .. }), "edit {i}");
            assert!(error.to_string().contains("index-3"), "{error}");
        }
    }
}
