//! A snapshot repository: which snapshots it holds, and which indices a snapshot.

use super::bounded::is_too_large;
use super::{BoundedBlobs, SourceError, blob_is_damage};
use crate::model::{MissingShard, Selection};
use crate::ports::{BlobError, Blobs};
use futures::{Stream, StreamExt, TryStreamExt};
use snapshot::global_metadata::GlobalMetadata;
use snapshot::index_metadata::IndexMetadata;
use snapshot::repository::{
    Contents, ContentsReader, IndexEntry, RepositoryData, RootReader, ShardDir, SnapshotEntry, cross_check,
    cross_check_index, parse_latest,
};
use snapshot::selection::{Alias, IndexPatterns, IndexSummary};
use snapshot::snapshot_info::{SnapshotInfo, SnapshotState};
use snapshot::{error::Error, paths};
use std::collections::{HashMap, HashSet};

/// Metadata blobs fetched at once.
const CONCURRENCY: usize = 16;
/// Bytes of a root that are read at once.
const PIECE: u64 = 4 << 20;
/// Pieces of a root that are read while one is parsed.
const PIECES_AHEAD: usize = 3;
/// Missing shards named in an error.
const EXAMPLES: usize = 5;

/// An index's metadata, and the directories of its shards, or why they cannot be read.
type Loaded = (IndexMetadata, Result<Vec<String>, SourceError>);

/// A repository whose list of snapshots has been read.
#[derive(Debug)]
pub struct Repository {
    /// Its blobs.
    pub blobs: BoundedBlobs,
    /// Its snapshots.
    pub root: RepositoryData,
    /// The blob that lists them.
    file: RootFile,
}

/// The root's blob as it was when the snapshots were listed.
#[derive(Debug)]
struct RootFile {
    name: String,
    length: u64,
    etag: String,
}

/// A snapshot whose own metadata has been read and compared with the root.
#[derive(Debug)]
pub struct OpenedSnapshot {
    /// What the root says of it.
    pub entry: SnapshotEntry,
    /// What it says of itself.
    pub info: SnapshotInfo,
    /// Data streams.
    pub global: GlobalMetadata,
    /// Its indices.
    pub contents: Contents,
}

/// An index of a snapshot.
#[derive(Clone, Debug)]
pub struct IndexSource {
    /// What the root says of it.
    pub entry: IndexEntry,
    /// Its settings and mappings.
    pub metadata: IndexMetadata,
    /// The data stream that it backs.
    pub data_stream: Option<String>,
    /// Aliases by which it was chosen and that show only some of its documents.
    pub filtered_aliases: Vec<String>,
    /// Directories of its shards, by number, relative to the repository's root, or with a slash before them to its
    /// store's.
    pub shard_dirs: Vec<String>,
}

/// What a file begins with that Git LFS keeps elsewhere, by version 1 of its specification.
const GIT_LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

impl Repository {
    /// Reads the list of snapshots in the newest root of the repository.
    pub async fn open(blobs: impl Into<BoundedBlobs>) -> Result<Repository, SourceError> {
        let blobs = blobs.into();
        let not_a_repository =
            |why: &str| SourceError::NotARepository { location: blobs.location(), why: why.to_owned() };
        let names = match blobs.ranges().list("", blobs.budget().listing).await {
            Ok(names) => names,
            Err(BlobError::NotFound { .. }) => return Err(not_a_repository("there is no such directory")),
            Err(error) => return Err(error.into()),
        };
        let newest = paths::newest_root(names.iter().map(String::as_str));
        let file = match newest {
            Some(generation) => {
                if let Err(error) = check_latest(&blobs, &names, generation).await {
                    return Err(refuse_pointer(blobs.ranges(), paths::LATEST, error).await);
                }
                paths::root_index(generation)
            }
            // The only root of Elasticsearch 1 and 2; what is left of it beside a newer one says nothing.
            None if names.iter().any(|n| n == paths::ROOT_OF_NAMES) => paths::ROOT_OF_NAMES.to_owned(),
            None => {
                let has = if names.is_empty() {
                    "it contains no files"
                } else {
                    "it has neither a file index-N nor one named index"
                };
                return Err(not_a_repository(&format!(
                    "{has}; give the path that the repository was registered with, which may be a directory within this one"
                )));
            }
        };
        let (length, etag) = blobs.ranges().size(&file).await?;
        let file = RootFile { name: file, length, etag };
        let mut reader = RootReader::new(&file.name, blobs.budget().metadata);
        let read = file.stream(&blobs, 0, |bytes| reader.feed(bytes)).await;
        let read = match read {
            Ok(()) => reader.finish().map_err(|e| located(&blobs, e)),
            Err(error) => Err(error),
        };
        let mut root = match read {
            Ok(root) => root,
            Err(error) => return Err(refuse_pointer(blobs.ranges(), &file.name, error).await),
        };
        root.learn_forms(names.iter().map(String::as_str));
        Ok(Repository { blobs, root, file })
    }

    /// What a snapshot holds: as the root lists it, or as the snapshot itself does where the root lists only names.
    async fn contents(&self, entry: &SnapshotEntry, info: &SnapshotInfo) -> Result<Contents, SourceError> {
        let Some(rest) = self.root.rest else {
            return Contents::of_names(entry, info).map_err(|e| self.located(e));
        };
        let own = self
            .blobs
            .ranges()
            .get_range(&self.file.name, entry.place.clone(), Some(&self.file.etag))
            .await?;
        let reader = ContentsReader::new(&self.root, entry, &own.bytes, self.blobs.budget().metadata);
        let mut reader = reader.map_err(|e| self.located(e))?;
        self.file.stream(&self.blobs, rest, |bytes| reader.feed(bytes).map(|()| false)).await?;
        reader.finish().map_err(|e| self.located(e))
    }

    /// To be asked before something that is missing counts as damage: the whole repository may be out of reach.
    ///
    /// # Errors
    /// When what is missing is not all that is.
    pub async fn is_there_beside(&self, error: &SourceError) -> Result<(), SourceError> {
        if matches!(error, SourceError::Blob(_)) {
            self.blobs.ranges().size(&self.file.name).await?;
        }
        Ok(())
    }

    /// Returns what each snapshot says of itself, in the order of the root. One that cannot be read does not keep the others
    /// back.
    pub fn snapshot_infos(&self) -> impl Stream<Item = (&SnapshotEntry, Result<SnapshotInfo, SourceError>)> {
        self.infos_of(self.root.snapshots.iter())
    }

    fn infos_of<'a>(
        &'a self,
        entries: impl IntoIterator<Item = &'a SnapshotEntry>,
    ) -> impl Stream<Item = (&'a SnapshotEntry, Result<SnapshotInfo, SourceError>)> {
        let entries: Vec<&SnapshotEntry> = entries.into_iter().collect();
        futures::stream::iter(entries)
            .map(async |entry| (entry, self.snapshot_info(info_file(entry)).await))
            .buffered(CONCURRENCY)
    }

    async fn snapshot_info(&self, file: String) -> Result<SnapshotInfo, SourceError> {
        Ok(self.blobs.read(&file, SnapshotInfo::parse_with_limit).await?.0)
    }

    /// Opens a snapshot by its name, or the newest successful one for `latest`. An incomplete one is refused unless
    /// `allow_partial`.
    pub async fn snapshot(&self, name: &str, allow_partial: bool) -> Result<OpenedSnapshot, SourceError> {
        let mut entry = self.root.snapshot(name).map_err(|e| self.located(e))?;
        if entry.name != name && !self.root.undated().is_empty() {
            // Of each snapshot, only when it was taken is kept.
            let dates = |info| SnapshotInfo {
                indices: Vec::new(),
                data_streams: Vec::new(),
                failures: Vec::new(),
                ..info
            };
            let infos: Vec<SnapshotInfo> =
                self.infos_of(self.root.undated()).map(|(_, info)| info.map(dates)).try_collect().await?;
            entry = self.root.latest_by(&infos).map_err(|e| self.located(e))?;
        }
        let info = self.snapshot_info(info_file(entry)).await?;
        let contents = self.contents(entry, &info).await?;
        cross_check(&contents, entry, &info).map_err(|e| self.located(e))?;
        let complete = info.state == SnapshotState::Success && info.failures.is_empty();
        if !complete && !allow_partial {
            let examples = info.failures.iter().take(EXAMPLES).map(|f| format!("[{}][{}]", f.index, f.shard));
            return Err(SourceError::Partial {
                snapshot: info.name.clone(),
                state: info.state.to_string(),
                missing: info.failures.len(),
                examples: examples.collect::<Vec<_>>().join(", "),
            });
        }
        let global_file = entry.form.global_metadata(&entry.uuid);
        let global = match self.blobs.read(&global_file, GlobalMetadata::parse_with_limit).await {
            Ok((global, _)) => global,
            // A snapshot without data streams can do without.
            Err(SourceError::Blob(error)) if blob_is_damage(&error) && info.data_streams.is_empty() => {
                GlobalMetadata::default()
            }
            Err(error) if is_too_large(&error) && info.data_streams.is_empty() => GlobalMetadata::default(),
            Err(error) => return Err(error),
        };
        Ok(OpenedSnapshot { entry: entry.clone(), info, global, contents })
    }

    /// The indices of a snapshot that are meant, in the order of their names. Indices whose metadata is damaged or that
    /// cannot be read are returned apart, each with the reason: they do not keep the others back.
    pub async fn indices(
        &self,
        opened: &OpenedSnapshot,
        selection: &Selection,
    ) -> Result<(Vec<IndexSource>, Vec<(String, SourceError)>), SourceError> {
        let patterns = IndexPatterns::parse(&selection.patterns)
            .map_err(|e| self.located(e))?
            .include_hidden(selection.include_hidden);
        let summary = |entry: &IndexEntry| IndexSummary {
            name: entry.name.clone(),
            hidden: false,
            data_stream: opened.global.data_stream_of(&entry.name).map(|s| s.name.clone()),
            aliases: Vec::new(),
        };
        let mut all: Vec<IndexSummary> = opened.contents.indices.iter().map(summary).collect();
        // Aliases, and whether an index is hidden, stand in its metadata, which is fetched only where it matters.
        let by_name = patterns.names_only(&all);
        let named: HashSet<String> = match by_name {
            true => {
                patterns.select(&all).map_err(|e| self.located(e))?.iter().map(|s| s.name.clone()).collect()
            }
            false => HashSet::new(),
        };
        let candidates = opened.contents.indices.iter().filter(|e| !by_name || named.contains(&e.name));
        let mut loaded: HashMap<&str, (&IndexEntry, Result<Loaded, SourceError>)> =
            futures::stream::iter(candidates)
                .map(|entry| async move {
                    (entry.name.as_str(), (entry, self.index_metadata(opened, entry).await))
                })
                .buffered(CONCURRENCY)
                .collect()
                .await;
        let known = loaded.values().filter_map(|(_, loaded)| loaded.as_ref().ok());
        let aliases: Vec<Alias> = known.flat_map(|(metadata, _)| metadata.aliases.clone()).collect();
        for summary in &mut all {
            match loaded.get(summary.name.as_str()) {
                Some((_, Ok((metadata, _)))) => {
                    summary.hidden = metadata.hidden || metadata.system;
                    summary.aliases = metadata.aliases.clone();
                }
                // It may be behind any of them, and must not be left out without a word.
                Some((_, Err(_))) => summary.aliases.clone_from(&aliases),
                None => {}
            }
        }
        let selected = patterns.select(&all).map_err(|e| self.located(e))?;
        let mut indices = Vec::new();
        let mut refused = Vec::new();
        for summary in selected {
            let Some((entry, loaded)) = loaded.remove(summary.name.as_str()) else { continue };
            let filtered = patterns.filtered_aliases(summary);
            match loaded {
                Ok((metadata, Ok(shard_dirs))) => indices.push(IndexSource {
                    entry: entry.clone(),
                    metadata,
                    data_stream: summary.data_stream.clone(),
                    filtered_aliases: filtered.into_iter().map(str::to_owned).collect(),
                    shard_dirs,
                }),
                Ok((_, Err(error))) | Err(error) if error.is_of_snapshot() => {
                    self.is_there_beside(&error).await?;
                    refused.push((entry.name.clone(), error));
                }
                Ok((_, Err(error))) | Err(error) => return Err(error),
            }
        }
        indices.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
        Ok((indices, refused))
    }

    async fn index_metadata(
        &self,
        opened: &OpenedSnapshot,
        entry: &IndexEntry,
    ) -> Result<Loaded, SourceError> {
        let blob_id = opened.contents.metadata_blob(entry).map_err(|e| self.located(e))?;
        let file = opened.entry.form.index_metadata(&entry.id, blob_id);
        let (metadata, _) = self.blobs.read(&file, IndexMetadata::parse_with_limit).await?;
        let whole = opened.info.state == SnapshotState::Success;
        cross_check_index(&opened.contents, entry, whole, &file, &metadata).map_err(|e| self.located(e))?;
        let own = metadata.ensure_own_data().map_err(|e| self.located(e));
        let dirs = |()| (0..metadata.number_of_shards).map(|shard| self.shard_dir(entry, shard)).collect();
        let dirs = own.and_then(dirs);
        Ok((metadata, dirs))
    }

    fn shard_dir(&self, entry: &IndexEntry, shard: u32) -> Result<String, SourceError> {
        // Of a repository in a directory, that directory is the whole store.
        let location = self.blobs.location();
        let base =
            location.strip_prefix("s3://").and_then(|l| l.split_once('/')).map_or("", |(_, base)| base);
        Ok(match entry.shard_dir(shard, base.trim_matches('/')).map_err(|e| self.located(e))? {
            ShardDir::InRepository(path) => path,
            ShardDir::InStore(path) => format!("/{path}"),
        })
    }

    fn located(&self, error: Error) -> SourceError {
        located(&self.blobs, error)
    }
}

/// The newest root may have been written when the pointer to it was not yet; the other way round, one is missing.
async fn check_latest(blobs: &BoundedBlobs, names: &[String], generation: u64) -> Result<(), SourceError> {
    if !names.iter().any(|n| n == paths::LATEST) {
        return Ok(());
    }
    let (latest, _) = blobs.read(paths::LATEST, |file, bytes, _| parse_latest(file, bytes)).await?;
    if latest > generation {
        return Err(SourceError::Inconsistent {
            location: format!("{}/{}", blobs.location(), paths::LATEST),
            what: format!("it names the root {latest}, but the newest one there is {generation}"),
        });
    }
    Ok(())
}

/// The error for a file that could not be read: often a checkout with Git LFS has only pointers in place of the files.
async fn refuse_pointer(blobs: &dyn Blobs, file: &str, error: SourceError) -> SourceError {
    match blobs.get_range(file, 0..GIT_LFS_POINTER.len() as u64, None).await {
        Ok(blob) if blob.bytes == GIT_LFS_POINTER => SourceError::NotARepository {
            location: blobs.location(),
            why: format!(
                "{file} is a pointer of Git LFS and not the file itself; run `git lfs pull` in that checkout"
            ),
        },
        _ => error,
    }
}

fn info_file(entry: &SnapshotEntry) -> String {
    entry.form.snapshot_info(&entry.uuid)
}

fn located(blobs: &BoundedBlobs, error: Error) -> SourceError {
    SourceError::Snapshot { location: blobs.location(), error: Box::new(error) }
}

impl RootFile {
    /// Gives the bytes from `start` on to `take`, in pieces, until that returns that it needs no more. A few pieces at a
    /// time are in memory.
    async fn stream(
        &self,
        blobs: &BoundedBlobs,
        start: u64,
        mut take: impl FnMut(&[u8]) -> snapshot::Result<bool>,
    ) -> Result<(), SourceError> {
        let starts = (start..self.length).step_by(PIECE as usize);
        let pieces = futures::stream::iter(starts)
            .map(|at| blobs.ranges().get_range(&self.name, at..self.length.min(at + PIECE), Some(&self.etag)))
            .buffered(PIECES_AHEAD);
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.try_next().await? {
            if take(&piece.bytes).map_err(|e| located(blobs, e))? {
                break;
            }
        }
        Ok(())
    }
}

impl IndexSource {
    /// The directory of a shard, relative to the repository's root.
    pub fn shard_dir(&self, shard: u32) -> &str {
        self.shard_dirs.get(shard as usize).map_or("", String::as_str)
    }
}

impl OpenedSnapshot {
    /// The shards of these indices that the snapshot lacks.
    pub fn missing_shards(&self, indices: &[IndexSource]) -> Vec<MissingShard> {
        let meant = |index: &str| indices.iter().any(|i| i.entry.name == index);
        let failures = self.info.failures.iter().filter(|f| meant(&f.index));
        failures
            .map(|f| MissingShard { index: f.index.clone(), shard: f.shard, reason: f.reason.clone() })
            .collect()
    }
}
