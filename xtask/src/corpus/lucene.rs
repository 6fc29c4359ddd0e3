//! Files of real indices: those that lie unpacked among the tests of the crate `lucene`, for each version of Lucene.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lucene::compound::CompoundEntries;
use lucene::doc_values::{DocsWithField, docs_with_field};
use lucene::field_infos::{DocValuesType, FieldInfo, FieldInfos};
use lucene::segment_info::SegmentInfo;
use lucene::segments::{SegmentCommit, SegmentInfos};
use lucene::stored_fields::{BlockIndex, DataHeader, MAX_HEADER_LEN};

use super::formats::{self, Format};
use super::{Corpus, sorted};
use crate::Result;

/// The indices, each in a directory of a version.
const INDICES: &str = "crates/lucene/tests/data";
/// What every header and every footer begin with.
const MAGIC: [u8; 4] = [0x3f, 0xd7, 0x6c, 0x17];
const FOOTER_MAGIC: [u8; 4] = [0xc0, 0x28, 0x93, 0xe8];
const FOOTER: usize = 16;
/// Bytes of an id in a header.
const ID: usize = 16;
/// What a bit vector has before its header.
const BEFORE_BIT_VECTOR: [u8; 4] = [0xff, 0xff, 0xff, 0xfe];

/// The files of an index by name.
type Files = BTreeMap<String, Vec<u8>>;

pub(super) fn files(corpus: &mut Corpus) -> Result<()> {
    for version in sorted(Path::new(INDICES))? {
        if version.is_dir() {
            for index in sorted(&version)? {
                let mut files = Files::new();
                for path in sorted(&index)? {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    files.insert(name, fs::read(path)?);
                }
                add_index(corpus, &files)?;
            }
        }
    }
    Ok(())
}

fn add_index(corpus: &mut Corpus, files: &Files) -> Result<()> {
    let Some((name, bytes)) = files.iter().find(|(name, _)| name.starts_with("segments_")) else {
        return Ok(());
    };
    add(corpus, "segments", formats::SEGMENTS, &[], bytes);
    for commit in SegmentInfos::parse(name, bytes)?.segments {
        let name = commit.segment_info_file();
        let info = SegmentInfo::parse(&name, &files[&name], &commit)?;
        let (own, cfs_len) = of_segment(files, &commit)?;
        for (name, bytes) in &own {
            match name.rsplit('.').next().unwrap_or_default() {
                "si" => add(corpus, "segment_info", formats::SEGMENT_INFO, &[], bytes),
                "fnm" => add(corpus, "field_infos", formats::FIELD_INFOS, &[], bytes),
                "cfe" => {
                    let cfs_len = u32::try_from(cfs_len).unwrap_or_default().to_le_bytes();
                    add(corpus, "compound", formats::COMPOUND, &cfs_len, bytes);
                }
                // Those of earlier commits may still be there.
                "liv" | "del" if commit.live_docs_file().as_ref() == Some(name) => {
                    // The number of documents is read from the upper three bytes.
                    let max_doc = (info.doc_count << 8).to_le_bytes();
                    let choices = [&max_doc[..], &[commit.del_count as u8]].concat();
                    add(corpus, "live_docs", formats::LIVE_DOCS, &choices, bytes);
                }
                _ => {}
            }
        }
        add_doc_values(corpus, &own, &commit, &info)?;
        add_stored_fields(corpus, &own, &commit, &info)?;
    }
    Ok(())
}

/// Adds each file with metadata of doc values: the number of a field in it, the number of documents, the kinds of all fields,
/// and the set of documents that it leads to.
fn add_doc_values(
    corpus: &mut Corpus,
    files: &Files,
    commit: &SegmentCommit,
    info: &SegmentInfo,
) -> Result<()> {
    let name = commit.field_infos_file();
    let fields = FieldInfos::parse(&name, &files[&name], commit)?;
    let last = fields.iter().last().map_or(0, |field| field.number + 1);
    let kinds: Vec<u8> = (0..last).map(|number| fields.by_number(number).map_or(0, kind)).collect();
    let Ok(count) = u16::try_from(kinds.len()) else { return Ok(()) };
    for field in fields.iter().filter(|field| field.doc_values == DocValuesType::Numeric) {
        let (Some(name), Some(suffix)) = (commit.doc_values_file(field, "dvm"), field.doc_values_suffix())
        else {
            continue;
        };
        let meta = &files[&name];
        // Applications have formats of their own, which are not read.
        let read = docs_with_field(&name, meta, commit.id.as_ref(), &suffix, &fields, field.number);
        let Ok(docs) = read else { continue };
        let set = match docs {
            DocsWithField::Sparse(at) => {
                let data = &files[&commit.doc_values_file(field, "dvd").unwrap_or_default()];
                &data[at.offset as usize..][..at.length as usize]
            }
            _ => &[],
        };
        let (Ok(number), Ok(length)) = (u8::try_from(field.number), u16::try_from(set.len())) else {
            continue;
        };
        let choices = [
            &[number][..],
            &info.doc_count.to_le_bytes(),
            &count.to_le_bytes(),
            &kinds,
            &length.to_le_bytes(),
            set,
        ];
        add(corpus, "doc_values", formats::DOC_VALUES, &choices.concat(), meta);
    }
    Ok(())
}

/// The kind of doc values as the target reads it: three bits, and one each for a skip index and for compressed binary values.
fn kind(field: &FieldInfo) -> u8 {
    let compressed =
        field.attributes.get("Lucene80DocValuesFormat.mode").is_some_and(|mode| mode == "BEST_COMPRESSION");
    field.doc_values as u8 | u8::from(field.doc_values_skip_index) << 3 | u8::from(compressed) << 4
}

/// The files of a segment, those in the compound file included, and the length of that one.
fn of_segment(files: &Files, commit: &SegmentCommit) -> Result<(Files, u64)> {
    let after_name =
        |name: &str| name.strip_prefix(&commit.name).is_some_and(|rest| rest.starts_with(['.', '_']));
    let mut own: Files =
        files.iter().filter(|(name, _)| after_name(name)).map(|(n, b)| (n.clone(), b.clone())).collect();
    let Some(cfs) = files.get(&commit.file(".cfs")) else { return Ok((own, 0)) };
    let name = commit.file(".cfe");
    let entries = CompoundEntries::parse(&name, &files[&name], commit.id.as_ref(), cfs.len() as u64)?;
    for (suffix, (offset, length)) in entries.iter() {
        let part = &cfs[offset as usize..][..length as usize];
        own.insert(commit.file(suffix), part.to_vec());
    }
    Ok((own, cfs.len() as u64))
}

fn add_stored_fields(
    corpus: &mut Corpus,
    files: &Files,
    commit: &SegmentCommit,
    info: &SegmentInfo,
) -> Result<()> {
    let [data_name, index_name, meta_name] = [".fdt", ".fdx", ".fdm"].map(|suffix| commit.file(suffix));
    let (data, index) = (&files[&data_name], &files[&index_name]);
    let (max_doc, data_len) = (info.doc_count, data.len() as u64);
    let choices = [max_doc.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    let blocks = match files.get(&meta_name) {
        Some(meta) => {
            if let (Some((codec, version, body)), Some((_, _, packed))) = (body(meta), body(index))
                && let Some(choice) = formats::STORED_FIELDS_INDEX.iter().position(|(name, number)| {
                    codec.strip_suffix("Meta") == Some(*name) && u32::from(*number) == version
                })
                && let Ok(length) = u16::try_from(packed.len())
            {
                let input = [&[choice as u8], &choices[..], &length.to_le_bytes(), packed, body].concat();
                corpus.add_of_kind("stored_fields_index", &format!("{codec}-{version}"), input);
            }
            BlockIndex::parse(&meta_name, meta, &index_name, index, max_doc, data_len)?
        }
        None => {
            add(corpus, "stored_fields_index", formats::STORED_FIELDS_INDEX, &choices, index);
            BlockIndex::parse_without_meta(&index_name, index, max_doc, data_len)?
        }
    };
    let first = &data[..data.len().min(MAX_HEADER_LEN)];
    let header = DataHeader::parse(&data_name, first, commit.id.as_ref())?;
    let Some(choice) = choice(formats::STORED_FIELDS, header.format.codec, header.version) else {
        return Ok(());
    };
    for number in 0..blocks.len().min(2) {
        let block = blocks.block(number)?;
        let bytes = &data[block.offset as usize..][..block.length as usize];
        // The number of the first document, and that of documents with a bit or two, stand before the rest.
        let Some((_, rest)) = v_int(bytes) else { continue };
        let Some((token, rest)) = v_int(rest) else { continue };
        let Ok(documents) = u8::try_from(block.doc_count.saturating_sub(1)) else { continue };
        // Slices of 16 KiB.
        let slices = [2]
            .into_iter()
            .filter(|_| header.format.codec != "Lucene41StoredFieldsData" || header.version > 0);
        let mut input = vec![choice];
        input.extend(slices);
        input.extend(blocks.chunk_size().unwrap_or(1 << 14).to_le_bytes());
        // Nothing for the first of two blocks but the numbers of it; this is the second.
        input.extend([0, 0, 0, 0, documents, token as u8 & 1]);
        input.extend(rest);
        corpus.add_of_kind("stored_fields_block", header.format.codec, input);
    }
    Ok(())
}

/// Adds an input from a whole file: the choice of its format, other choices, and its body.
fn add(corpus: &mut Corpus, target: &'static str, formats: &[Format], choices: &[u8], file: &[u8]) {
    if let Some((codec, version, body)) = body(file)
        && let Some(choice) = choice(formats, &codec, version)
    {
        corpus.add_of_kind(target, &format!("{codec}-{version}"), [&[choice], choices, body].concat());
    }
}

/// The number by which an input chooses a format.
pub(super) fn choice(formats: &[Format], codec: &str, version: u32) -> Option<u8> {
    let place = formats.iter().position(|(name, number)| *name == codec && u32::from(*number) == version);
    place.and_then(|place| u8::try_from(place).ok())
}

/// The codec of a file, its version, and what is between header and footer.
pub(super) fn body(file: &[u8]) -> Option<(String, u32, &[u8])> {
    let file = file.strip_prefix(&BEFORE_BIT_VECTOR).unwrap_or(file);
    let (length, rest) = file.strip_prefix(&MAGIC)?.split_first()?;
    let (codec, rest) = rest.split_at_checked(usize::from(*length))?;
    let codec = std::str::from_utf8(codec).ok()?.to_owned();
    let (version, mut rest) = rest.split_first_chunk()?;
    let version = u32::from_be_bytes(*version);
    if has_id(&codec, version) {
        let (length, suffix) = rest.get(ID..)?.split_first()?;
        rest = suffix.get(usize::from(*length)..)?;
    }
    let end = rest.len().checked_sub(FOOTER);
    Some((
        codec,
        version,
        end.filter(|end| rest[*end..].starts_with(&FOOTER_MAGIC)).map_or(rest, |end| &rest[..end]),
    ))
}

/// Whether a header has an id and a suffix: Lucene 4 did not write them, and metadata blobs have none.
fn has_id(codec: &str, version: u32) -> bool {
    match codec {
        "segments" => version >= 4,
        "snapshot" | "metadata" | "index-metadata" | "CompoundFileWriterEntries" | "BitVector" => false,
        _ => !codec.starts_with("Lucene4"),
    }
}

/// The vInt at the beginning, and what follows.
fn v_int(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        number |= u32::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}
