//! The list of snapshots in a root.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::members::{Kind, Members, Taken, Value, Visitor};
use super::{Kept, RepositoryData, SnapshotEntry, of_root, path_part};
use crate::container;
use crate::error::{Error, Result};
use crate::paths::{Form, ROOT_OF_NAMES};
use crate::snapshot_info::SnapshotState;
use crate::version::{Version, VersionId};

/// Reads the list of snapshots in a root that arrives in pieces.
#[derive(Debug)]
pub struct RootReader {
    file: String,
    limit: usize,
    form: RootForm,
}

#[derive(Debug)]
enum RootForm {
    /// `index`, which may be compressed, and is short: all of it.
    Names(Vec<u8>),
    /// `index-<N>`.
    Listed { members: Members, snapshots: Box<Snapshots> },
}

#[derive(Debug)]
struct Snapshots {
    entries: Option<Vec<SnapshotEntry>>,
    kept: Kept,
    /// The list has ended.
    ended: bool,
    /// Something that concerns the contents of snapshots came before the list.
    passed_contents: bool,
    refused: Option<Error>,
}

#[derive(Deserialize)]
struct RawSnapshot<'a> {
    name: String,
    uuid: String,
    state: Option<SnapshotState>,
    version: Option<Version>,
    index_version: Option<VersionId>,
    start_time_millis: Option<i64>,
    end_time_millis: Option<i64>,
    /// By far the largest part, and passed over.
    #[serde(borrow)]
    #[allow(dead_code, reason = "so that it is known by its name and skipped in one go")]
    index_metadata_lookup: Option<&'a RawValue>,
}

/// A root that only names its snapshots.
#[derive(Deserialize)]
struct Names {
    snapshots: Vec<String>,
    indices: Option<serde::de::IgnoredAny>,
}

impl RootReader {
    /// A reader of the blob `file`, whose entries may take `limit` bytes of memory.
    pub fn new(file: &str, limit: usize) -> Self {
        let form = if file.rsplit('/').next() == Some(ROOT_OF_NAMES) {
            RootForm::Names(Vec::new())
        } else {
            let kept = Kept::new(file, limit);
            RootForm::Listed {
                members: Members::new(file, limit),
                snapshots: Box::new(Snapshots {
                    entries: None,
                    kept,
                    ended: false,
                    passed_contents: false,
                    refused: None,
                }),
            }
        };
        Self { file: file.to_owned(), limit, form }
    }

    /// Takes the next bytes. Returns whether no more are needed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<bool> {
        match &mut self.form {
            RootForm::Names(all) => {
                if all.len() + bytes.len() > self.limit {
                    return Err(Error::TooLarge { file: self.file.clone(), limit: self.limit as u64 });
                }
                all.extend_from_slice(bytes);
                Ok(false)
            }
            RootForm::Listed { snapshots, .. } if snapshots.complete() => Ok(true),
            RootForm::Listed { members, snapshots } => {
                let fed = members.feed(bytes, snapshots.as_mut());
                snapshots.refused.take().map_or(fed, Err).map_err(of_root)
            }
        }
    }

    /// The list of snapshots, once [`Self::feed`] needs no more bytes or there are none.
    pub fn finish(self) -> Result<RepositoryData> {
        let file = self.file;
        let (snapshots, rest) = match self.form {
            RootForm::Names(bytes) => (names(&file, &bytes, self.limit).map_err(of_root)?, None),
            RootForm::Listed { mut members, mut snapshots } => {
                if !snapshots.complete() {
                    let finished = members.finish(snapshots.as_mut());
                    snapshots.refused.take().map_or(finished, Err).map_err(of_root)?;
                }
                let rest = if snapshots.passed_contents { 0 } else { members.position() };
                let entries = snapshots
                    .entries
                    .ok_or_else(|| of_root(Error::corrupt(&file, "it lists no snapshots")))?;
                (entries, Some(rest))
            }
        };
        let mut uuids = HashSet::new();
        let mut names = HashSet::new();
        for entry in &snapshots {
            path_part(&file, "snapshot uuid", &entry.uuid)?;
            if !uuids.insert(entry.uuid.as_str()) || !names.insert(entry.name.as_str()) {
                return Err(Error::mismatch(&file, format!("snapshot {:?} is listed twice", entry.name)));
            }
        }
        Ok(RepositoryData { file, snapshots, rest })
    }
}

/// The snapshots in a root of names.
fn names(file: &str, bytes: &[u8], limit: usize) -> Result<Vec<SnapshotEntry>> {
    let Names { snapshots, indices } = container::parse_body(file, bytes, limit)?;
    if indices.is_some() {
        return Err(Error::corrupt(file, "it lists indices, which its kind does not"));
    }
    let mut kept = Kept::new(file, limit);
    let entry = |name: String| {
        kept.add(&[&name, &name])?;
        Ok(SnapshotEntry {
            uuid: name.clone(),
            name,
            form: Form::default(),
            state: None,
            version: None,
            start_millis: None,
            end_millis: None,
            place: 0..0,
        })
    };
    snapshots.into_iter().map(entry).collect()
}

impl Snapshots {
    fn complete(&self) -> bool {
        self.ended && !self.passed_contents
    }
}

impl Visitor for Snapshots {
    fn begin(&mut self, member: &str, kind: Kind) -> std::result::Result<(), String> {
        match member {
            "snapshots" if kind != Kind::Array => Err("a list of snapshots was expected".to_owned()),
            "snapshots" => {
                self.entries = Some(Vec::new());
                Ok(())
            }
            _ => {
                self.passed_contents |= self.entries.is_none() && kind != Kind::Scalar;
                Ok(())
            }
        }
    }

    fn value(&mut self, member: &str, value: &mut Value<'_>) -> Taken<()> {
        if member != "snapshots" {
            return value.parse::<serde::de::IgnoredAny>().map(drop);
        }
        let raw: RawSnapshot<'_> = value.parse()?;
        if self.refused.is_none() {
            self.refused = self.kept.add(&[&raw.name, &raw.uuid]).err();
        }
        let Some(entries) = self.entries.as_mut().filter(|_| self.refused.is_none()) else { return Ok(()) };
        entries.push(SnapshotEntry {
            name: raw.name,
            uuid: raw.uuid,
            form: Form::default(),
            state: raw.state,
            version: raw.index_version.map(Version::Id).or(raw.version),
            start_millis: raw.start_time_millis,
            end_millis: raw.end_time_millis,
            place: value.offset..value.offset + value.len() as u64,
        });
        Ok(())
    }

    fn end(&mut self, member: &str) -> bool {
        self.ended |= member == "snapshots";
        self.complete()
    }
}
