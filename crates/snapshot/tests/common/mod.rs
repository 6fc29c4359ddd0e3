//! Reads a whole repository from a directory, as the product does it over ranges.

// Each of the tests uses a part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use lucene::bits::Bits;
use lucene::compound::CompoundEntries;
use lucene::doc_values::{self, DocsWithField};
use lucene::field_infos::{DocValuesType, FieldInfos};
use lucene::segment_info::SegmentInfo;
use lucene::segments::{SegmentCommit, SegmentInfos};
use lucene::stored_fields::{BlockDecoder, BlockIndex, DataHeader, MAX_HEADER_LEN, StoredDocument};
use lucene::{ErrorKind, live_docs};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use snapshot::files::ShardFiles;
use snapshot::global_metadata::GlobalMetadata;
use snapshot::index_metadata::IndexMetadata;
use snapshot::paths;
use snapshot::repository::{
    Contents, IndexEntry, RepositoryData, SnapshotEntry, cross_check_index, parse_latest,
};
use snapshot::shard_manifest::ShardManifest;
use snapshot::snapshot_info::SnapshotInfo;

/// A repository in a directory.
pub(crate) struct Repository {
    pub(crate) dir: PathBuf,
}

impl Repository {
    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.dir.join(path)).unwrap_or_else(|e| panic!("{}/{path}: {e}", self.dir.display()))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) fn shard<'a>(&'a self, index: &IndexEntry, shard: u32, entry: &SnapshotEntry) -> Shard<'a> {
        let dir = index.shard_dir(shard, "").unwrap();
        let path = entry.form.shard_manifest(dir.path(), &entry.uuid);
        let manifest = ShardManifest::parse(&path, &self.read(&path)).unwrap();
        Shard { repository: self, files: ShardFiles::new(dir.path(), manifest) }
    }
}

/// A shard of a snapshot.
pub(crate) struct Shard<'a> {
    repository: &'a Repository,
    pub(crate) files: ShardFiles,
}

impl Shard<'_> {
    /// A whole file of the shard, checked against the list.
    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        let info = self.files.get(name).unwrap();
        let bytes = match self.files.inline(name).unwrap() {
            Some(inline) => inline.to_vec(),
            None => {
                let mut bytes = Vec::new();
                for piece in self.files.blobs(name).unwrap() {
                    let blob = self.repository.read(&piece.blob);
                    assert_eq!(blob.len() as u64, piece.len(), "{}", piece.blob);
                    bytes.extend_from_slice(&blob);
                }
                bytes
            }
        };
        assert_eq!(bytes.len() as u64, info.length, "{name}");
        // Elasticsearch 1 does not tell who wrote a commit without segments, nor its checksum.
        if info.has_footer() {
            assert_eq!(Some(lucene::codec::verify_checksum(name, &bytes).unwrap()), info.crc(), "{name}");
        }
        bytes
    }

    /// Calls `each` with every live document; false when a segment's format is not supported.
    pub(crate) fn for_each_live(&self, mut each: impl FnMut(&FieldInfos, StoredDocument<'_>)) -> bool {
        let all: BTreeMap<_, _> = self.files.names().map(|n| (n.to_owned(), self.file(n))).collect();
        let name = &self.files.segments_file().unwrap().physical_name;
        let infos = SegmentInfos::parse(name, &all[name]).unwrap();
        infos.segments.iter().all(|commit| Segment { all: &all, commit }.for_each_live(&mut each))
    }
}

struct Segment<'a> {
    all: &'a BTreeMap<String, Vec<u8>>,
    commit: &'a SegmentCommit,
}

impl Segment<'_> {
    fn for_each_live(&self, each: &mut impl FnMut(&FieldInfos, StoredDocument<'_>)) -> bool {
        let (commit, id) = (self.commit, self.commit.id.as_ref());
        let name = commit.segment_info_file();
        let info = SegmentInfo::parse(&name, &self.all[&name], commit).unwrap();
        let name = commit.field_infos_file();
        let fields = FieldInfos::parse(&name, &self.get(&name, &info), commit).unwrap();
        let live = self.live(&info, &fields);
        let data_file = commit.file(".fdt");
        let data = self.get(&data_file, &info);
        let header = match DataHeader::parse(&data_file, &data[..data.len().min(MAX_HEADER_LEN)], id) {
            Ok(header) => header,
            Err(e) if e.kind == ErrorKind::UnsupportedCodec => return false,
            Err(e) => panic!("{e}"),
        };
        let (meta, index) = (commit.file(".fdm"), commit.file(".fdx"));
        let (meta_bytes, index_bytes) = (self.get(&meta, &info), self.get(&index, &info));
        let length = data.len() as u64;
        let blocks =
            BlockIndex::parse(&meta, &meta_bytes, &index, &index_bytes, info.doc_count, length).unwrap();
        let mut decoder = BlockDecoder::new(&data_file, &header, &blocks).unwrap();
        for i in 0..blocks.len() {
            let block = blocks.block(i).unwrap();
            let bytes = &data[block.offset as usize..][..block.length as usize];
            for document in decoder.decode(&block, bytes).unwrap().iter().filter(|d| live.get(d.doc)) {
                each(&fields, document);
            }
        }
        true
    }

    fn get(&self, name: &str, info: &SegmentInfo) -> Vec<u8> {
        if let Some(bytes) = self.all.get(name) {
            return bytes.clone();
        }
        assert!(info.compound, "{name}");
        let (cfs, cfe) = (&self.all[&self.commit.file(".cfs")], self.commit.file(".cfe"));
        let entries =
            CompoundEntries::parse(&cfe, &self.all[&cfe], self.commit.id.as_ref(), cfs.len() as u64).unwrap();
        let suffix = name.strip_prefix(self.commit.name.as_str()).unwrap();
        let (offset, length) = entries.get(suffix).unwrap_or_else(|| panic!("no {name}"));
        cfs[offset as usize..][..length as usize].to_vec()
    }

    fn live(&self, info: &SegmentInfo, fields: &FieldInfos) -> Bits {
        let (commit, id) = (self.commit, self.commit.id.as_ref());
        let mut live = Bits::all(info.doc_count);
        if let (Some(name), Some(generation)) = (commit.live_docs_file(), commit.del_gen) {
            let bytes = &self.all[&name];
            live = live_docs::parse(&name, bytes, id, info.doc_count, commit.del_count, generation).unwrap();
        }
        if let Some(field) = fields.soft_deletes().filter(|f| f.doc_values != DocValuesType::None) {
            let suffix = field.doc_values_suffix().unwrap();
            let name = commit.doc_values_file(field, "dvm").unwrap();
            let bytes = self.get(&name, info);
            let docs = doc_values::docs_with_field(&name, &bytes, id, &suffix, fields, field.number).unwrap();
            let data_name = commit.doc_values_file(field, "dvd").unwrap();
            let set = match &docs {
                DocsWithField::Sparse(at) => {
                    self.get(&data_name, info)[at.offset as usize..][..at.length as usize].to_vec()
                }
                _ => Vec::new(),
            };
            live.and_not(&docs.decode(&data_name, &set, info.doc_count).unwrap());
        }
        live
    }
}

/// Fixtures that are read here, file by file; the end-to-end tests read all.
const READ_HERE: [&str; 7] =
    ["es-7.10.2", "es-8.19.9", "os-1.3.20", "os-2.19.5", "os-3.6.0", "partial", "tiny"];

/// The fixtures: directories with a repository and what it must hold.
///
/// The environment may name another directory of the same form, to try a repository without making it a fixture.
pub(crate) fn fixtures() -> Vec<PathBuf> {
    let root = match std::env::var_os("SNAPSHOT_FIXTURES") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures"),
    };
    let entries = std::fs::read_dir(&root).unwrap();
    let mut all: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.join("repo").is_dir()).collect();
    if std::env::var_os("SNAPSHOT_FIXTURES").is_none() {
        all.retain(|dir| READ_HERE.iter().any(|name| dir.ends_with(name)));
    }
    assert!(!all.is_empty(), "no fixtures in {}", root.display());
    all.sort();
    all
}

pub(crate) fn open(dir: &Path) -> (Repository, RepositoryData) {
    let repository = Repository { dir: dir.join("repo") };
    let names = repository.names();
    let file = match paths::newest_root(names.iter().map(String::as_str)) {
        Some(newest) => {
            let latest = parse_latest(paths::LATEST, &repository.read(paths::LATEST)).unwrap();
            assert!(newest >= latest);
            paths::root_index(newest)
        }
        None => paths::ROOT_OF_NAMES.to_owned(),
    };
    let mut data = RepositoryData::parse(&file, &repository.read(&file)).unwrap();
    data.learn_forms(names.iter().map(String::as_str));
    (repository, data)
}

pub(crate) fn contents(repository: &Repository, data: &RepositoryData, entry: &SnapshotEntry) -> Contents {
    Contents::parse(data, entry, &repository.read(&data.file), &info(repository, entry)).unwrap()
}

pub(crate) fn info(repository: &Repository, entry: &SnapshotEntry) -> SnapshotInfo {
    let file = entry.form.snapshot_info(&entry.uuid);
    SnapshotInfo::parse(&file, &repository.read(&file)).unwrap()
}

pub(crate) fn global(repository: &Repository, entry: &SnapshotEntry) -> GlobalMetadata {
    let file = entry.form.global_metadata(&entry.uuid);
    GlobalMetadata::parse(&file, &repository.read(&file)).unwrap()
}

pub(crate) fn metadata(
    repository: &Repository,
    contents: &Contents,
    entry: &SnapshotEntry,
    index: &IndexEntry,
) -> IndexMetadata {
    let blob = contents.metadata_blob(index).unwrap();
    let file = entry.form.index_metadata(&index.id, blob);
    let metadata = IndexMetadata::parse(&file, &repository.read(&file)).unwrap();
    cross_check_index(contents, index, true, &file, &metadata).unwrap();
    metadata
}

/// The fixture of this name.
pub(crate) fn fixture_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// A document as the server returned it.
pub(crate) struct Expected {
    pub(crate) index: String,
    pub(crate) id: String,
    pub(crate) routing: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) parent: Option<String>,
    /// The exact text.
    pub(crate) source: Option<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_routing")]
    routing: Option<String>,
    #[serde(rename = "_type")]
    kind: Option<String>,
    #[serde(rename = "_parent")]
    parent: Option<String>,
    #[serde(rename = "_source", borrow)]
    source: Option<&'a RawValue>,
}

/// All documents that a fixture must hold; none where it does not say.
pub(crate) fn expected_documents(dir: &Path) -> Option<Vec<Expected>> {
    let plain = dir.join("expected.ndjson");
    let packed = dir.join("expected.ndjson.gz");
    let text = if plain.exists() {
        std::fs::read_to_string(plain).unwrap()
    } else if packed.exists() {
        let mut text = String::new();
        let bytes = std::fs::read(packed).unwrap();
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        text
    } else {
        return None;
    };
    let lines = text.lines().map(|line| {
        let Line { index, id, routing, kind, parent, source } = serde_json::from_str(line).unwrap();
        // The exact text, or a string that holds it.
        let source = source.map(|raw| match serde_json::from_str(raw.get()) {
            Ok(Value::String(text)) => text,
            _ => raw.get().to_owned(),
        });
        Expected { index, id, routing, kind, parent, source }
    });
    Some(lines.collect())
}
