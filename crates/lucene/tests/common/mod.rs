//! Reads a whole index from a directory: what every test of real files starts from.

#![allow(dead_code, reason = "each test binary uses a part")]

use lucene::bits::Bits;
use lucene::compound::CompoundEntries;
use lucene::doc_values::{self, DocsWithField};
use lucene::field_infos::FieldInfos;
use lucene::segment_info::SegmentInfo;
use lucene::segments::{SegmentCommit, SegmentInfos, Version};
use lucene::stored_fields::{BlockDecoder, BlockIndex, DataHeader, MAX_HEADER_LEN, StoredDocument};
use lucene::{ErrorKind, Result, live_docs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of an index by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// All cases: their names (version and case) and files.
pub(crate) fn cases() -> Vec<(String, Files)> {
    let mut cases = Vec::new();
    for version in directories(&data()) {
        for case in directories(&version) {
            let name = |p: &Path| p.file_name().unwrap().to_str().unwrap().to_owned();
            cases.push((format!("{}/{}", name(&version), name(&case)), read(&case)));
        }
    }
    assert!(cases.len() >= 15, "only {} cases", cases.len());
    cases
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    all.sort();
    all
}

fn read(path: &Path) -> Files {
    let entries = std::fs::read_dir(path).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().to_str().unwrap().to_owned(), std::fs::read(e.path()).unwrap())).collect()
}

pub(crate) fn segments_file(files: &Files) -> &str {
    files.keys().find(|name| name.starts_with("segments_")).unwrap()
}

/// One of a segment's files, wherever it is: a file of its own, or within the compound file.
pub(crate) struct SegmentFiles<'a> {
    pub(crate) files: &'a Files,
    pub(crate) commit: &'a SegmentCommit,
    pub(crate) compound: Option<CompoundEntries>,
}

impl<'a> SegmentFiles<'a> {
    pub(crate) fn open(files: &'a Files, commit: &'a SegmentCommit, info: &SegmentInfo) -> Result<Self> {
        let compound = if info.compound {
            let cfs_len = own(files, &commit.file(".cfs"))?.len() as u64;
            let name = commit.file(".cfe");
            Some(CompoundEntries::parse(&name, own(files, &name)?, commit.id.as_ref(), cfs_len)?)
        } else {
            None
        };
        Ok(Self { files, commit, compound })
    }

    pub(crate) fn get(&self, name: &str) -> Result<&'a [u8]> {
        let Some(compound) = self.compound.as_ref().filter(|_| !self.files.contains_key(name)) else {
            return own(self.files, name);
        };
        let cfs = own(self.files, &self.commit.file(".cfs"))?;
        let range = name.strip_prefix(&self.commit.name).and_then(|suffix| compound.get(suffix));
        let (offset, length) = range.ok_or_else(|| missing(name))?;
        Ok(&cfs[offset as usize..][..length as usize])
    }
}

/// A file of the index; an error like those of the library when there is none, as a damaged name may lead to.
pub(crate) fn own<'a>(files: &'a Files, name: &str) -> Result<&'a [u8]> {
    files.get(name).map(Vec::as_slice).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> lucene::Error {
    lucene::Error::new(ErrorKind::Corrupt, name, None, "expected a file of this name, found none")
}

/// Reads an index and calls `each` with the fields of its segment and every live document.
pub(crate) fn for_each_live(
    files: &Files,
    mut each: impl FnMut(&FieldInfos, StoredDocument<'_>) -> Result<()>,
) -> Result<()> {
    let name = segments_file(files);
    let infos = SegmentInfos::parse(name, &files[name])?;
    for commit in &infos.segments {
        let name = commit.segment_info_file();
        let info = SegmentInfo::parse(&name, own(files, &name)?, commit)?;
        let segment = SegmentFiles::open(files, commit, &info)?;
        let name = commit.field_infos_file();
        let fields = FieldInfos::parse(&name, segment.get(&name)?, commit)?;
        let live = live(&segment, &info, &fields)?;
        let (header, index) = stored_fields(&segment, &info)?;
        let data_file = commit.file(".fdt");
        let data = segment.get(&data_file)?;
        let mut decoder = BlockDecoder::new(&data_file, &header, &index)?;
        let mut seen = 0;
        for i in 0..index.len() {
            let block = index.block(i)?;
            assert_eq!(index.block_of(block.first_doc)?, i);
            assert_eq!(index.block_of(block.first_doc + block.doc_count - 1)?, i);
            let bytes = &data[block.offset as usize..][..block.length as usize];
            let documents = decoder.decode(&block, bytes)?;
            for document in documents.iter() {
                assert_eq!(document.doc, seen);
                seen += 1;
                if live.get(document.doc) {
                    each(&fields, document)?;
                } else {
                    document.fields().try_for_each(|f| f.map(|_| ()))?;
                }
            }
        }
        assert_eq!(seen, info.doc_count);
    }
    Ok(())
}

/// The live documents of a segment: all without the deleted and the soft-deleted ones.
pub(crate) fn live(segment: &SegmentFiles<'_>, info: &SegmentInfo, fields: &FieldInfos) -> Result<Bits> {
    let commit = segment.commit;
    let mut live = Bits::all(info.doc_count);
    if let (Some(name), Some(generation)) = (commit.live_docs_file(), commit.del_gen) {
        let bytes = own(segment.files, &name)?;
        live =
            live_docs::parse(&name, bytes, commit.id.as_ref(), info.doc_count, commit.del_count, generation)?;
    }
    if let Some(field) =
        fields.soft_deletes().filter(|f| f.doc_values != lucene::field_infos::DocValuesType::None)
    {
        let suffix = field.doc_values_suffix().ok_or_else(|| missing(&field.name))?;
        let name = commit.doc_values_file(field, "dvm").unwrap();
        let bytes = segment.get(&name)?;
        let docs =
            doc_values::docs_with_field(&name, bytes, commit.id.as_ref(), &suffix, fields, field.number)?;
        let data_name = commit.doc_values_file(field, "dvd").unwrap();
        let set = match &docs {
            DocsWithField::Sparse(at) => {
                let data = segment.get(&data_name)?;
                let range =
                    (at.offset as usize).checked_add(at.length as usize).map(|end| at.offset as usize..end);
                range.and_then(|r| data.get(r)).ok_or_else(|| missing(&data_name))?
            }
            _ => &[],
        };
        live.and_not(&docs.decode(&data_name, set, info.doc_count)?);
    }
    let (expected, found) = (commit.live_count(info.doc_count).unwrap(), live.count());
    if expected == found {
        return Ok(live);
    }
    let message = format!("expected {expected} live documents, found {found}");
    Err(lucene::Error::new(ErrorKind::Corrupt, &commit.name, None, message))
}

/// The version of Lucene from which on there is a `.fdm` file.
const BLOCKS_IN_TWO_FILES: Version = Version { major: 8, minor: 5, bugfix: 0 };

pub(crate) fn stored_fields(
    segment: &SegmentFiles<'_>,
    info: &SegmentInfo,
) -> Result<(DataHeader, BlockIndex)> {
    let [fdt, fdm, fdx] = [".fdt", ".fdm", ".fdx"].map(|suffix| segment.commit.file(suffix));
    let data = segment.get(&fdt)?;
    let header =
        DataHeader::parse(&fdt, &data[..data.len().min(MAX_HEADER_LEN)], segment.commit.id.as_ref())?;
    let (index, data_len) = (segment.get(&fdx)?, data.len() as u64);
    let index = if header.id.is_none() || info.lucene_version < BLOCKS_IN_TWO_FILES {
        BlockIndex::parse_without_meta(&fdx, index, info.doc_count, data_len)?
    } else {
        BlockIndex::parse(&fdm, segment.get(&fdm)?, &fdx, index, info.doc_count, data_len)?
    };
    Ok((header, index))
}

/// A document: checksum of its source, and its numbers `i`, `l`, `f` and `d` if it has them, floats as their bits.
pub(crate) type Content = (u32, Option<(i32, i64, u32, u64)>);

/// What is expected of each live document, by its stored id.
pub(crate) type Expected = BTreeMap<Vec<u8>, Content>;

/// What is expected of a case.
pub(crate) fn expected(case: &str) -> Expected {
    let case = case.split('/').next_back().unwrap();
    let text = std::fs::read_to_string(data().join(format!("{case}.tsv"))).unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let line = |line: &str| {
        let columns: Vec<_> = line.split('\t').collect();
        let id = (0..columns[0].len()).step_by(2).map(|i| hex(&columns[0][i..i + 2]) as u8).collect();
        let numbers = columns
            .get(2..6)
            .map(|n| (n[0].parse().unwrap(), n[1].parse().unwrap(), hex(n[2]) as u32, hex(n[3])));
        (id, (hex(columns[1]) as u32, numbers))
    };
    text.lines().map(line).collect()
}

/// Id and content of a live document.
pub(crate) fn found(fields: &FieldInfos, document: StoredDocument<'_>) -> Result<(Vec<u8>, Content)> {
    use lucene::stored_fields::Value;
    let (mut id, mut crc) = (Vec::new(), 0);
    let (mut i, mut l, mut f, mut d) = (None, None, None, None);
    for field in document.fields() {
        let (number, value) = field?;
        let name = fields.by_number(number).map_or("", |f| f.name.as_str());
        match (name, value) {
            ("_id", Value::Bytes(bytes)) => id = bytes.to_vec(),
            // Before ids had a field of their own: the type, a hash, and the id as text.
            ("_uid", Value::String(text)) => {
                id = [b"\xff", text.strip_prefix(b"doc#").unwrap_or(text)].concat()
            }
            ("_source", Value::Bytes(bytes)) => crc = crc32fast::hash(bytes),
            ("i", Value::Int(n)) => i = Some(n),
            ("l", Value::Long(n)) => l = Some(n),
            ("f", Value::Float(n)) => f = Some(n.to_bits()),
            ("d", Value::Double(n)) => d = Some(n.to_bits()),
            _ => {}
        }
    }
    let numbers = i.zip(l).zip(f.zip(d)).map(|((i, l), (f, d))| (i, l, f, d));
    Ok((id, (crc, numbers)))
}

pub(crate) fn live_documents(files: &Files) -> Result<Expected> {
    let mut all = Expected::new();
    for_each_live(files, |fields, document| {
        let (id, what) = found(fields, document)?;
        if let Some(first) = all.insert(id.clone(), what) {
            all.insert([&id[..], b" again"].concat(), first); // nothing that is expected is called so
        }
        Ok(())
    })?;
    Ok(all)
}
