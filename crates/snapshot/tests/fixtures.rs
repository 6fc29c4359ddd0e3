//! Repositories that real servers wrote: everything in them is read and is what was put there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::{Repository, contents, fixtures, global, info, metadata, open};
use serde_json::Value;
use snapshot::document::{DocumentReader, Interpreted, Scratch, Source};
use snapshot::error::Error;
use snapshot::index_metadata::{IndexMetadata, SourceHandling};
use snapshot::paths::{self, Form};
use snapshot::repository::{Contents, RepositoryData, SnapshotEntry, cross_check, cross_check_index};
use snapshot::selection::{IndexPatterns, IndexSummary};
use snapshot::shard_paths::{ShardPathType, ShardPaths, list_path};
use snapshot::snapshot_info::{SnapshotInfo, SnapshotState};

/// Index, id and routing of a document.
type Key = (String, String, Option<String>);

fn newest<'a>(repository: &Repository, data: &'a RepositoryData) -> &'a SnapshotEntry {
    let infos: Vec<_> = data.undated().into_iter().map(|e| info(repository, e)).collect();
    match data.latest_by(&infos) {
        Ok(entry) => entry,
        Err(Error::NoSuccessfulSnapshot { .. }) => data.snapshots.last().unwrap(),
        Err(e) => panic!("{e}"),
    }
}

/// Every blob of metadata of every snapshot is read, and the root does not contradict them.
#[test]
fn all_metadata_is_read_and_agrees() {
    for dir in fixtures() {
        let name = dir.display();
        let (repository, data) = open(&dir);
        let about: Value = serde_json::from_slice(&std::fs::read(dir.join("about.json")).unwrap()).unwrap();
        if let Some(snapshots) = about["snapshots"].as_array() {
            let mut listed: Vec<_> = data.snapshots.iter().map(|s| s.name.as_str()).collect();
            let mut known: Vec<_> = snapshots.iter().filter_map(Value::as_str).collect();
            listed.sort_unstable();
            known.sort_unstable();
            assert_eq!(listed, known, "{name}");
        }
        for entry in &data.snapshots {
            let info = info(&repository, entry);
            let contents = contents(&repository, &data, entry);
            cross_check(&contents, entry, &info).unwrap();
            assert_eq!(info.successful_shards == info.total_shards, info.failures.is_empty(), "{name}");
            assert_eq!(info.state == SnapshotState::Success, info.failures.is_empty(), "{name}");
            if let (Some(text), Some(version)) = (about["version"].as_str(), &entry.version) {
                let version = version.to_string();
                let major = text.split('.').next().unwrap();
                assert!(version == text || version.contains(&format!(" {major} ")), "{name}: {version}");
            }
            let streams = global(&repository, entry).data_streams;
            let names: BTreeSet<_> = streams.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(names, info.data_streams.iter().map(String::as_str).collect(), "{name}");
            for backing in streams.iter().flat_map(|s| &s.indices) {
                assert!(info.indices.contains(backing), "{name}: {backing}");
            }
            for index in &contents.indices {
                let metadata = metadata(&repository, &contents, entry, index);
                metadata.ensure_own_data().unwrap();
                if index.shard_path_type != ShardPathType::Fixed {
                    let shards = u32::try_from(index.shards).unwrap();
                    let file = list_path(&index.id, &index.name, shards, index.shard_path_type);
                    let list = ShardPaths::parse(&file, &repository.read(&file)).unwrap();
                    for (shard, dir) in (0..).zip(&list.dirs) {
                        assert_eq!(index.shard_dir(shard, "").unwrap().path(), dir);
                    }
                }
                assert!(metadata.created.is_some() && metadata.uuid.is_some(), "{name}: {}", index.name);
                for shard in 0..metadata.number_of_shards {
                    if info.failures.iter().any(|f| f.index == index.name && f.shard == shard) {
                        continue;
                    }
                    let shard = repository.shard(index, shard, entry);
                    assert_eq!(shard.files.manifest().name, entry.name);
                    shard.files.names().for_each(|file| drop(shard.file(file)));
                }
            }
        }
    }
}

/// Every live document of the newest snapshot is there, once, with the very source that was sent; and nothing else.
#[test]
fn all_documents_are_as_they_were_sent() {
    for dir in fixtures() {
        let Some(expected) = expected(&dir) else { continue };
        let (repository, data) = open(&dir);
        let entry = newest(&repository, &data);
        let info = info(&repository, entry);
        let global = global(&repository, entry);
        let mut found: BTreeMap<Key, Option<String>> = BTreeMap::new();
        let mut unsupported = BTreeSet::new();
        let mut nested = 0;
        let contents = contents(&repository, &data, entry);
        for index in &contents.indices {
            let metadata = metadata(&repository, &contents, entry, index);
            let shown = global.data_stream_of(&index.name).map_or(index.name.as_str(), |s| s.name.as_str());
            for shard in 0..metadata.number_of_shards {
                if info.failures.iter().any(|f| f.index == index.name && f.shard == shard) {
                    continue;
                }
                let supported = repository.shard(index, shard, entry).for_each_live(|fields, document| {
                    let mut scratch = Scratch::default();
                    match DocumentReader::new(fields).read(&document, &mut scratch).unwrap() {
                        Interpreted::NestedChild => {
                            assert!(metadata.mappings.has_nested, "{}", index.name);
                            nested += 1;
                        }
                        Interpreted::Tombstone { .. } => panic!("a tombstone is alive"),
                        Interpreted::Root(root) => {
                            let source = match root.source {
                                Source::Json(json) => Some(String::from_utf8(json.to_vec()).unwrap()),
                                Source::Missing => None,
                                Source::Unreadable { error, .. } => panic!("{}: {error}", root.id),
                            };
                            let handling = &metadata.mappings.sources[0].1;
                            let missing = *handling == SourceHandling::Disabled && !root.recovered;
                            assert_eq!(source.is_none(), missing, "{} {}", index.name, root.id);
                            let key = (shown.to_owned(), root.id.to_owned(), root.routing.map(str::to_owned));
                            // What is kept for recoveries is more than the server returns.
                            let source = if root.recovered { expected[&key].clone() } else { source };
                            assert!(found.insert(key, source).is_none(), "{} twice", root.id);
                        }
                    }
                });
                if !supported {
                    unsupported.insert(shown.to_owned());
                }
            }
        }
        let skip = |key: &Key| unsupported.contains(&key.0);
        let expected: BTreeMap<_, _> = expected.into_iter().filter(|(key, _)| !skip(key)).collect();
        let found: BTreeMap<_, _> = found.into_iter().filter(|(key, _)| !skip(key)).collect();
        for (key, source) in &expected {
            assert_eq!(found.get(key), Some(source), "{}: {key:?}", dir.display());
        }
        assert_eq!(found.len(), expected.len(), "{}", dir.display());
        let note = if unsupported.is_empty() { String::new() } else { format!(", without {unsupported:?}") };
        println!("{}: {} documents, {nested} nested{note}", dir.display(), found.len());
    }
}

fn expected(dir: &Path) -> Option<BTreeMap<Key, Option<String>>> {
    let documents = common::expected_documents(dir)?;
    Some(documents.into_iter().map(|doc| ((doc.index, doc.id, doc.routing), doc.source)).collect())
}

/// Names, wildcards and data streams choose what they should among real indices.
#[test]
fn selections_choose_among_real_indices() {
    for dir in fixtures() {
        let (repository, data) = open(&dir);
        let entry = newest(&repository, &data);
        let global = global(&repository, entry);
        let contents = contents(&repository, &data, entry);
        let available: Vec<_> = contents
            .indices
            .iter()
            .map(|index| {
                let metadata = metadata(&repository, &contents, entry, index);
                IndexSummary {
                    name: metadata.name,
                    hidden: metadata.hidden,
                    data_stream: global.data_stream_of(&index.name).map(|s| s.name.clone()),
                    aliases: metadata.aliases,
                }
            })
            .collect();
        let everything = IndexPatterns::parse("*,.*").unwrap().include_hidden(true);
        assert_eq!(everything.select(&available).unwrap().len(), available.len());
        for index in &available {
            assert_eq!(IndexPatterns::parse(&index.name).unwrap().select(&available).unwrap(), [index]);
        }
        for stream in &global.data_streams {
            let chosen = IndexPatterns::parse(&stream.name).unwrap().select(&available).unwrap();
            assert_eq!(chosen.len(), stream.indices.len());
        }
        let unknown = IndexPatterns::parse("there-is-no-such-index").unwrap().select(&available);
        assert!(matches!(unknown, Err(Error::UnknownIndex { .. })));
    }
}

/// A flipped byte in any blob of metadata is noticed: by its checksum, or because the root contradicts the others.
#[test]
fn damaged_metadata_is_noticed() {
    for dir in fixtures() {
        let (repository, data) = open(&dir);
        let entry = newest(&repository, &data);
        let own = info(&repository, entry);
        let file = entry.form.snapshot_info(&entry.uuid);
        // Before there were containers, there were no checksums.
        let bytes = if entry.form == Form::Plain { Vec::new() } else { repository.read(&file) };
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            let error = SnapshotInfo::parse(&file, &bad).unwrap_err();
            assert_eq!(error.file(), Some(file.as_str()));
        }
        let contents = contents(&repository, &data, entry);
        // The root: whatever still parses must name the same snapshot and indices, or contradict what they say.
        let root = repository.read(&data.file);
        for at in (0..root.len()).step_by(1 + root.len() / 3000) {
            let mut bad = root.clone();
            bad[at] ^= 1 << (at % 7);
            let Ok(damaged) = RepositoryData::parse(&data.file, &bad) else { continue };
            let Ok(other) = damaged.snapshot(&entry.name) else { continue };
            let Ok(held) = Contents::parse(&damaged, other, &bad, &own) else { continue };
            if cross_check(&held, other, &own).is_err() {
                continue;
            }
            for index in &held.indices {
                let Ok(blob) = held.metadata_blob(index) else { continue };
                let path = paths::index_metadata(&index.id, blob);
                let Ok(bytes) = std::fs::read(repository.dir.join(&path)) else { continue };
                let metadata = IndexMetadata::parse(&path, &bytes).unwrap();
                if cross_check_index(&held, index, true, &path, &metadata).is_ok() {
                    let before = contents.index(&index.name).unwrap();
                    assert_eq!(index.id, before.id, "byte {at} of {}", data.file);
                }
            }
        }
    }
}
