//! What one snapshot holds, as the root lists it.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::members::{Kind, Members, Taken, Value, Visitor};
use super::{DEFAULT_LIMIT, IndexEntry, Kept, RepositoryData, SnapshotEntry, of_root, path_part};
use crate::error::{Error, Result};
use crate::pairs::or_default;
use crate::shard_paths::ShardPathType;
use crate::snapshot_info::SnapshotInfo;

/// What one snapshot holds, as the root lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The blob that this was read from.
    pub file: String,
    /// Its indices, in the order of the file.
    pub indices: Vec<IndexEntry>,
    /// Its unique id.
    uuid: String,
    /// Which metadata goes with each index: index id to identifier.
    metadata: HashMap<String, String>,
    /// Those identifiers to the ids of the blobs that hold the metadata.
    blobs: HashMap<String, String>,
}

impl Contents {
    /// What a snapshot holds by a root that is in memory whole; a root that only names its snapshots leaves that to
    /// their own `info`.
    pub fn parse(
        data: &RepositoryData,
        entry: &SnapshotEntry,
        root: &[u8],
        info: &SnapshotInfo,
    ) -> Result<Self> {
        let Some(rest) = data.rest else { return Self::of_names(entry, info) };
        let part = |from: u64, to: u64| {
            let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
            let part = range.and_then(|(from, to)| root.get(from..to));
            part.ok_or_else(|| Error::corrupt(&data.file, "it is shorter than when it was read before"))
        };
        let mut reader =
            ContentsReader::new(data, entry, part(entry.place.start, entry.place.end)?, DEFAULT_LIMIT)?;
        reader.feed(part(rest, root.len() as u64)?)?;
        reader.finish()
    }

    /// What a snapshot says itself that it holds, where the root only names it.
    pub fn of_names(entry: &SnapshotEntry, info: &SnapshotInfo) -> Result<Self> {
        let mut names = HashSet::new();
        let index = |name: &String| {
            path_part(&info.file, "index", name)?;
            if !names.insert(name.clone()) {
                return Err(Error::mismatch(&info.file, format!("index {name:?} is listed twice")));
            }
            Ok(IndexEntry {
                name: name.clone(),
                id: name.clone(),
                shard_path_type: ShardPathType::Fixed,
                shards: 0,
            })
        };
        Ok(Self {
            file: info.file.clone(),
            indices: info.indices.iter().map(index).collect::<Result<_>>()?,
            uuid: entry.uuid.clone(),
            metadata: HashMap::new(),
            blobs: HashMap::new(),
        })
    }

    /// The index of this name.
    pub fn index(&self, name: &str) -> Result<&IndexEntry> {
        self.indices.iter().find(|i| i.name == name).ok_or_else(|| Error::UnknownIndex {
            name: name.to_owned(),
            near: Vec::new(),
            available: self.indices.iter().map(|i| i.name.clone()).collect(),
        })
    }

    /// The id of the blob with the metadata of `index`, for [`crate::paths::index_metadata`].
    pub fn metadata_blob(&self, index: &IndexEntry) -> Result<&str> {
        // Before 7.9, and for indices last changed before, the blob is named after the snapshot.
        let Some(identifier) = self.metadata.get(&index.id) else { return Ok(&self.uuid) };
        self.blobs.get(identifier).map(String::as_str).ok_or_else(|| {
            let detail =
                format!("no blob is listed for the metadata {identifier:?} of index {:?}", index.name);
            Error::mismatch(&self.file, detail)
        })
    }
}

/// Reads what one snapshot holds from a root that arrives in pieces, from [`RepositoryData::rest`] on.
#[derive(Debug)]
pub struct ContentsReader {
    members: Members,
    collected: Collected,
}

#[derive(Debug)]
struct Collected {
    contents: Contents,
    /// The unique ids of all snapshots.
    known: HashSet<String>,
    names: HashSet<String>,
    ids: HashSet<String>,
    /// Identifiers of the metadata of its indices.
    identifiers: HashSet<String>,
    lists_indices: bool,
    kept: Kept,
    /// Where a contradiction was found, the first one.
    refused: Option<Error>,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(default, deserialize_with = "or_default")]
    index_metadata_lookup: HashMap<String, String>,
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

impl SnapshotReference {
    fn uuid(&self) -> &str {
        match self {
            Self::Uuid(uuid) | Self::Named { uuid } => uuid,
        }
    }
}

impl ContentsReader {
    /// A reader for the snapshot `entry` of `data`. `own` are the bytes of the root at [`SnapshotEntry::place`]; what is
    /// kept may take `limit` bytes.
    pub fn new(data: &RepositoryData, entry: &SnapshotEntry, own: &[u8], limit: usize) -> Result<Self> {
        let file = &data.file;
        let lookup: Lookup = serde_json::from_slice(own).map_err(|error| {
            of_root(Error::corrupt_at(
                file,
                entry.place.start,
                format!("in the entry that begins here: {error}"),
            ))
        })?;
        let metadata = lookup.index_metadata_lookup;
        let mut kept = Kept::new(file, limit);
        for (id, identifier) in &metadata {
            kept.add(&[id, identifier])?;
        }
        let members = match data.rest {
            None | Some(0) => Members::new(file, limit),
            Some(rest) => Members::after_member(file, limit, rest),
        };
        Ok(Self {
            members,
            collected: Collected {
                known: data.snapshots.iter().map(|s| s.uuid.clone()).collect(),
                names: HashSet::new(),
                ids: HashSet::new(),
                identifiers: metadata.values().cloned().collect(),
                lists_indices: false,
                kept,
                refused: None,
                contents: Contents {
                    file: file.clone(),
                    indices: Vec::new(),
                    uuid: entry.uuid.clone(),
                    metadata,
                    blobs: HashMap::new(),
                },
            },
        })
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let fed = self.members.feed(bytes, &mut self.collected).map(drop);
        self.collected.refused.take().map_or(fed.map_err(of_root), Err)
    }

    /// What the snapshot holds, once all bytes were given.
    pub fn finish(mut self) -> Result<Contents> {
        let finished = self.members.finish(&mut self.collected);
        self.collected.refused.take().map_or(finished.map_err(of_root), Err)?;
        if !self.collected.lists_indices {
            return Err(of_root(Error::corrupt(&self.collected.contents.file, "it lists no indices")));
        }
        Ok(self.collected.contents)
    }
}

impl Collected {
    /// Takes an index of the snapshot; others are passed over.
    fn index(&mut self, name: &str, raw: RawIndex) -> Result<()> {
        let file = &self.contents.file;
        if let Some(unknown) = raw.snapshots.iter().find(|s| !self.known.contains(s.uuid())) {
            let detail = format!("index {name:?} is in snapshot {:?}, which is not listed", unknown.uuid());
            return Err(Error::mismatch(file, detail));
        }
        if !raw.snapshots.iter().any(|s| s.uuid() == self.contents.uuid) {
            return Ok(());
        }
        path_part(file, "index id", &raw.id)?;
        if !self.names.insert(name.to_owned()) || !self.ids.insert(raw.id.clone()) {
            return Err(Error::mismatch(file, format!("index {name:?} is listed twice")));
        }
        self.kept.add(&[name, name, &raw.id, &raw.id])?;
        self.contents.indices.push(IndexEntry {
            name: name.to_owned(),
            id: raw.id,
            shard_path_type: ShardPathType::of(raw.shard_path_type.unwrap_or(0)),
            shards: raw.shard_generations.len(),
        });
        Ok(())
    }

    /// Takes the blob of metadata that an index of the snapshot has.
    fn blob(&mut self, identifier: &str, blob: String) -> Result<()> {
        if !self.identifiers.contains(identifier) {
            return Ok(());
        }
        path_part(&self.contents.file, "metadata blob", &blob)?;
        self.kept.add(&[identifier, &blob])?;
        self.contents.blobs.insert(identifier.to_owned(), blob);
        Ok(())
    }
}

impl Visitor for Collected {
    fn begin(&mut self, member: &str, kind: Kind) -> std::result::Result<(), String> {
        match (member, kind) {
            ("indices", Kind::Array) => Err("an object of indices was expected".to_owned()),
            ("index_metadata_identifiers", Kind::Array) => {
                Err("an object of identifiers was expected".to_owned())
            }
            ("indices", Kind::Object) => {
                self.lists_indices = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn value(&mut self, member: &str, value: &mut Value<'_>) -> Taken<()> {
        let taken = match (member, value.key.clone()) {
            ("indices", Some(name)) => {
                let raw = value.parse()?;
                self.index(&name, raw)
            }
            ("index_metadata_identifiers", Some(identifier)) => {
                let blob = value.parse()?;
                self.blob(&identifier, blob)
            }
            ("indices" | "index_metadata_identifiers", None) => return value.parse::<()>(),
            _ => return value.parse::<serde::de::IgnoredAny>().map(drop),
        };
        if let Err(error) = taken {
            self.refused.get_or_insert(error);
        }
        Ok(())
    }

    fn end(&mut self, _: &str) -> bool {
        self.refused.is_some()
    }
}
