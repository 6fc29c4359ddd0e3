//! Where the shards of an index lie, when OpenSearch (2.17 and later, by default since 3.0) hashes their paths.
//!
//! | type | folder of a shard |
//! |---|---|
//! | fixed | `<base path>/indices/<index id>/<shard>` |
//! | hashed infix | `<base path>/<hash>/indices/<index id>/<shard>` |
//! | hashed prefix | `<hash>/<base path>/indices/<index id>/<shard>` |
//!
//! So with a hashed prefix shards lie outside of the base path, where all other blobs are. The hash is the FNV-1a of
//! the shard's number and the index id: six of its bits as a character of Base64, fourteen as binary digits.
//!
//! A repository also holds a list of the folders of each index ([`ShardPaths`]), which is right even where an
//! administrator set a prefix of their own.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::paths;

/// The folder of the lists.
pub const FOLDER: &str = "snapshot_shard_paths";

/// The one way of hashing that there is.
const FNV_1A_COMPOSITE: u64 = 1;

/// How the folders of an index's shards are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ShardPathType {
    /// `indices/<id>/<shard>`.
    #[default]
    Fixed,
    /// A hash before the base path of the repository.
    HashedPrefix,
    /// A hash between the base path of the repository and the rest.
    HashedInfix,
    /// A number that this program does not know.
    Other(u64),
}

impl ShardPathType {
    pub(crate) fn of(code: u64) -> Self {
        match code {
            0 => Self::Fixed,
            1 => Self::HashedPrefix,
            2 => Self::HashedInfix,
            other => Self::Other(other),
        }
    }

    fn code(self) -> u64 {
        match self {
            Self::Fixed => 0,
            Self::HashedPrefix => 1,
            Self::HashedInfix => 2,
            Self::Other(other) => other,
        }
    }

    /// The name that the repository setting has for it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Fixed => "fixed".to_owned(),
            Self::HashedPrefix => "hashed_prefix".to_owned(),
            Self::HashedInfix => "hashed_infix".to_owned(),
            Self::Other(other) => format!("number {other}"),
        }
    }
}

/// A folder of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ShardDir {
    /// Relative to the repository root, as all other paths.
    InRepository(String),
    /// Relative to the root of the store (the bucket): outside of the repository's base path.
    InStore(String),
}

impl ShardDir {
    /// The path, whatever it is relative to.
    pub fn path(&self) -> &str {
        match self {
            Self::InRepository(path) | Self::InStore(path) => path,
        }
    }
}

/// The folder of a shard, for a repository with this base path in its store (empty when it is the whole store).
pub(crate) fn shard_dir(
    kind: ShardPathType,
    index: &str,
    id: &str,
    shard: u32,
    base: &str,
) -> Result<ShardDir> {
    let fixed = paths::shard_dir(id, shard);
    let base = base.trim_matches('/');
    Ok(match kind {
        ShardPathType::Fixed => ShardDir::InRepository(fixed),
        ShardPathType::HashedInfix => ShardDir::InRepository(format!("{}/{fixed}", hash(id, shard))),
        ShardPathType::HashedPrefix if base.is_empty() => {
            ShardDir::InRepository(format!("{}/{fixed}", hash(id, shard)))
        }
        ShardPathType::HashedPrefix => ShardDir::InStore(format!("{}/{base}/{fixed}", hash(id, shard))),
        ShardPathType::Other(code) => {
            let what = format!(
                "its shards lie under paths of a kind that this program does not know (shard_path_type {code}); take \
                 the snapshot into a repository with the setting shard_path_type=fixed"
            );
            return Err(Error::unsupported(index, what));
        }
    })
}

fn hash(index_id: &str, shard: u32) -> String {
    const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let text = format!("{shard}{index_id}");
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let character = char::from(BASE64[(hash >> 58) as usize]);
    format!("{character}{:014b}", hash >> 44 & 0x3fff)
}

/// The path of an index's list; its shards are as many as the index ever had in this repository.
pub fn list_path(index_id: &str, index_name: &str, shards: u32, kind: ShardPathType) -> String {
    format!("{FOLDER}/snapshot_path_{index_id}.{index_name}.{shards}.{}.{FNV_1A_COMPOSITE}", kind.code())
}

/// The list of the folders of an index's shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardPaths {
    /// The id of the index.
    pub index_id: String,
    /// Its name.
    pub index_name: String,
    /// How the folders are named.
    pub path_type: ShardPathType,
    /// For each shard its folder, relative to the root of the store, without slashes at either end.
    pub dirs: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "indexId")]
    index_id: String,
    #[serde(rename = "indexName")]
    index_name: String,
    number_of_shards: usize,
    shard_path_type: u64,
    paths: Vec<String>,
}

impl ShardPaths {
    /// Reads a list; `file` is its path, for errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let raw: File = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(file, format!("not a list of the paths of shards: {e}")))?;
        if raw.paths.len() != raw.number_of_shards {
            let detail = format!("{} paths for {} shards", raw.paths.len(), raw.number_of_shards);
            return Err(Error::mismatch(file, detail));
        }
        let dirs: Vec<_> = raw.paths.iter().map(|path| path.trim_matches('/').to_owned()).collect();
        for (shard, dir) in dirs.iter().enumerate() {
            let end = format!("{}/{}/{shard}", paths::INDICES, raw.index_id);
            let own = dir.strip_suffix(&end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
            if !own
                || dir.split('/').any(|part| matches!(part, "" | "." | ".."))
                || dir.contains(['\\', '\0'])
            {
                return Err(Error::corrupt(file, format!("{dir:?} is no folder of shard {shard}")));
            }
        }
        Ok(Self {
            index_id: raw.index_id,
            index_name: raw.index_name,
            path_type: ShardPathType::of(raw.shard_path_type),
            dirs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// From a repository that OpenSearch 3.6.0 wrote.
    const ID: &str = "1WhZY4QpSGy_eIZqvXRNUg";

    #[test]
    fn folders_are_where_servers_put_them() {
        let dir = |kind, base| shard_dir(kind, "x", ID, 0, base).unwrap();
        let fixed = format!("indices/{ID}/0");
        let hashed = format!("w01101111100101/{fixed}");
        assert_eq!(dir(ShardPathType::Fixed, "a/b"), ShardDir::InRepository(fixed.clone()));
        assert_eq!(dir(ShardPathType::HashedInfix, "a/b"), ShardDir::InRepository(hashed.clone()));
        assert_eq!(dir(ShardPathType::HashedPrefix, "/"), ShardDir::InRepository(hashed));
        let outside = format!("w01101111100101/a/b/{fixed}");
        assert_eq!(dir(ShardPathType::HashedPrefix, "/a/b/"), ShardDir::InStore(outside.clone()));
        assert_eq!(dir(ShardPathType::HashedPrefix, "a/b").path(), outside);
        assert!(matches!(shard_dir(ShardPathType::Other(7), "x", ID, 0, ""), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn lists_are_read_and_checked() {
        let list = |path: &str, shards: u32| {
            let value = json!({"indexId": ID, "indexName": "x", "number_of_shards": shards, "shard_path_type": 1,
                "shard_path_hash_algorithm": 1, "paths": [path]});
            ShardPaths::parse("list", value.to_string().as_bytes())
        };
        let good = list(&format!("w0/base/indices/{ID}/0/"), 1).unwrap();
        assert_eq!(good.dirs, [format!("w0/base/indices/{ID}/0")]);
        assert_eq!((good.path_type, good.index_name.as_str()), (ShardPathType::HashedPrefix, "x"));
        assert!(list(&format!("indices/{ID}/0"), 1).is_ok());
        assert!(list(&format!("indices/{ID}/0"), 2).is_err());
        for bad in [
            "",
            "indices/other/0",
            &format!("../indices/{ID}/0"),
            &format!("xindices/{ID}/0"),
            &format!("a//indices/{ID}/0"),
        ] {
            assert!(list(bad, 1).is_err(), "{bad}");
        }
        assert_eq!(
            list_path(ID, ".dotted", 1, ShardPathType::HashedPrefix),
            format!("snapshot_shard_paths/snapshot_path_{ID}..dotted.1.1.1")
        );
    }
}
