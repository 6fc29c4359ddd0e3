//! Where things are in a repository: paths of blobs, relative to its root.
//!
//! This is the layout that Elasticsearch writes since 7.9 (and reads back to 5.0) and that OpenSearch writes.

/// The blob that holds the newest root generation as eight big-endian bytes.
pub const LATEST: &str = "index.latest";

/// The folder under which every index has its own.
pub const INDICES: &str = "indices";

/// The repository's root document of generation `n`.
pub fn root_index(n: u64) -> String {
    format!("index-{n}")
}

/// What a snapshot says about itself.
pub fn snapshot_info(snapshot_uuid: &str) -> String {
    format!("snap-{snapshot_uuid}.dat")
}

/// The cluster's metadata at the time of a snapshot.
pub fn global_metadata(snapshot_uuid: &str) -> String {
    format!("meta-{snapshot_uuid}.dat")
}

/// The metadata of an index; `blob_id` is what [`crate::repository::RepositoryData::index_metadata_blob`] names.
pub fn index_metadata(index_id: &str, blob_id: &str) -> String {
    format!("{INDICES}/{index_id}/meta-{blob_id}.dat")
}

/// The folder of a shard, without a slash at its end, unless its path is hashed: [`crate::shard_paths`] tells.
pub fn shard_dir(index_id: &str, shard: u32) -> String {
    format!("{INDICES}/{index_id}/{shard}")
}

/// The list of a shard's files in a snapshot, in the folder that [`shard_dir`] names.
pub fn shard_manifest(index_id: &str, shard: u32, snapshot_uuid: &str) -> String {
    format!("{}/snap-{snapshot_uuid}.dat", shard_dir(index_id, shard))
}

/// What stands in the place of [`shard_manifest`] when the shard's data stayed in a remote store.
pub fn shallow_shard_manifest(index_id: &str, shard: u32, snapshot_uuid: &str) -> String {
    format!("{}/shallow-snap-{snapshot_uuid}.dat", shard_dir(index_id, shard))
}

/// The generation that a name such as `index-12` means; `None` for any other name.
///
/// Folders before the name are allowed, so that a listing may be given as it is.
pub fn root_generation(name: &str) -> Option<u64> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let digits = name.strip_prefix("index-")?;
    // "index-007" and "index-+7" are not names that a server writes.
    let canonical = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

/// The newest root generation among the names of a listing of the repository's root.
pub fn newest_root<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<u64> {
    names.into_iter().filter_map(root_generation).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_where_servers_write_them() {
        assert_eq!(root_index(12), "index-12");
        assert_eq!(snapshot_info("U"), "snap-U.dat");
        assert_eq!(global_metadata("U"), "meta-U.dat");
        assert_eq!(index_metadata("I", "B"), "indices/I/meta-B.dat");
        assert_eq!(shard_manifest("I", 3, "U"), "indices/I/3/snap-U.dat");
        assert_eq!(shallow_shard_manifest("I", 3, "U"), "indices/I/3/shallow-snap-U.dat");
    }

    #[test]
    fn newest_root_is_numeric_and_ignores_the_rest() {
        assert_eq!(newest_root(["index-9", "index-10", "index.latest", "index-x", "index-"]), Some(10));
        assert_eq!(newest_root(["repo/index-3", "repo/index-2"]), Some(3));
        assert_eq!(newest_root(["index-0"]), Some(0));
        assert_eq!(newest_root(["index-01", "index-+2", "index-99999999999999999999", "snap-a.dat"]), None);
        assert_eq!(newest_root([]), None);
    }
}
