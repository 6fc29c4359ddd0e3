//! Where things are in a repository: paths of blobs, relative to its root.
//!
//! | written by | root | of a snapshot | of an index | of a shard |
//! |---|---|---|---|---|
//! | Elasticsearch 1 | `index` | `snapshot-<name>`, `metadata-<name>` | `indices/<name>/snapshot-<snapshot>` | `…/0/snapshot-<snapshot>` |
//! | Elasticsearch 2 | `index` | `snap-<name>.dat`, `meta-<name>.dat` | `indices/<name>/meta-<snapshot>.dat` | `…/0/snap-<snapshot>.dat` |
//! | Elasticsearch 5 and later, OpenSearch | `index-<N>` | `snap-<uuid>.dat`, `meta-<uuid>.dat` | `indices/<id>/meta-<blob>.dat` | `…/0/snap-<uuid>.dat` |
//!
//! A repository that outlived its cluster's upgrades holds snapshots of several kinds. Where names stand for ids, they
//! are taken as such: so only [`Form`] is left to tell the first two apart.

/// The root of Elasticsearch 1 and 2: names of snapshots, and no more.
pub const ROOT_OF_NAMES: &str = "index";

/// The blob that holds the newest root generation as eight big-endian bytes.
pub const LATEST: &str = "index.latest";

/// The folder under which every index has its own.
pub const INDICES: &str = "indices";

/// The repository's root document of generation `n`.
pub fn root_index(n: u64) -> String {
    format!("index-{n}")
}

/// How the blobs of one snapshot are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// `snap-<id>.dat` and `meta-<id>.dat`, since Elasticsearch 2.0.
    #[default]
    Contained,
    /// `snapshot-<name>` and `metadata-<name>`, before.
    Plain,
}

impl Form {
    /// What a snapshot says about itself.
    pub fn snapshot_info(self, id: &str) -> String {
        match self {
            Self::Contained => format!("snap-{id}.dat"),
            Self::Plain => format!("snapshot-{id}"),
        }
    }

    /// The cluster's metadata at the time of a snapshot.
    pub fn global_metadata(self, id: &str) -> String {
        match self {
            Self::Contained => format!("meta-{id}.dat"),
            Self::Plain => format!("metadata-{id}"),
        }
    }

    /// The metadata of an index; `blob_id` is what [`crate::repository::RepositoryData::index_metadata_blob`] names.
    pub fn index_metadata(self, index_id: &str, blob_id: &str) -> String {
        match self {
            Self::Contained => format!("{INDICES}/{index_id}/meta-{blob_id}.dat"),
            Self::Plain => format!("{INDICES}/{index_id}/snapshot-{blob_id}"),
        }
    }

    /// The list of a shard's files in a snapshot; `dir` is the folder of the shard.
    pub fn shard_manifest(self, dir: &str, snapshot_id: &str) -> String {
        format!("{dir}/{}", self.snapshot_info(snapshot_id))
    }
}

/// What a snapshot says about itself, since Elasticsearch 2.0.
pub fn snapshot_info(snapshot_id: &str) -> String {
    Form::Contained.snapshot_info(snapshot_id)
}

/// The cluster's metadata at the time of a snapshot, since Elasticsearch 2.0.
pub fn global_metadata(snapshot_id: &str) -> String {
    Form::Contained.global_metadata(snapshot_id)
}

/// The metadata of an index, since Elasticsearch 2.0; `blob_id` is what
/// [`crate::repository::RepositoryData::index_metadata_blob`] names.
pub fn index_metadata(index_id: &str, blob_id: &str) -> String {
    Form::Contained.index_metadata(index_id, blob_id)
}

/// The folder of a shard, without a slash at its end, unless its path is hashed: [`crate::shard_paths`] tells.
pub fn shard_dir(index_id: &str, shard: u32) -> String {
    format!("{INDICES}/{index_id}/{shard}")
}

/// The list of a shard's files in a snapshot, in the folder that [`shard_dir`] names.
pub fn shard_manifest(index_id: &str, shard: u32, snapshot_id: &str) -> String {
    Form::Contained.shard_manifest(&shard_dir(index_id, shard), snapshot_id)
}

/// What stands in the place of a shard's list of files when its data stayed in a remote store.
pub fn shallow_shard_manifest(dir: &str, snapshot_id: &str) -> String {
    format!("{dir}/shallow-snap-{snapshot_id}.dat")
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
        assert_eq!(shallow_shard_manifest("indices/I/3", "U"), "indices/I/3/shallow-snap-U.dat");
        assert_eq!(Form::Plain.snapshot_info("s"), "snapshot-s");
        assert_eq!(Form::Plain.global_metadata("s"), "metadata-s");
        assert_eq!(Form::Plain.index_metadata("logs", "s"), "indices/logs/snapshot-s");
        assert_eq!(Form::Plain.shard_manifest("indices/logs/0", "s"), "indices/logs/0/snapshot-s");
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
