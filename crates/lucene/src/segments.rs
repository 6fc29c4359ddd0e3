//! `segments_N`: the segments of a commit. Lucene's `SegmentInfos`, formats 0 to 10 (Lucene 4.0 to 10).

mod old;

use crate::codec::{self, Known};
use crate::field_infos::FieldInfo;
use crate::file_names;
use crate::input::Input;
use crate::{Error, ErrorKind, Result, SegmentId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The formats read. Their body is big-endian in every version.
const KNOWN: &[Known] = &[Known::big("segments", 0..=10)];
/// Segments of a shard, at most: merges keep them to some dozens.
const MOST_SEGMENTS: usize = 100_000;
const V70: u32 = 7;
const V72_COUNTER_IS_VLONG: u32 = 8;
const V74_SOFT_DELETES: u32 = 9;
const V86_COMMIT_IDS: u32 = 10;

/// A version of Lucene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The major version.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
    /// The bug-fix version.
    pub bugfix: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.bugfix)
    }
}

/// A commit of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfos {
    /// The N of `segments_N`, which is written in base 36.
    pub generation: u64,
    /// The version of Lucene that wrote the commit; stated from 5.3 on.
    pub lucene_version: Option<Version>,
    /// The major version of Lucene that created the index; stated from 7.0 on.
    pub index_created_major: Option<u32>,
    /// The segments, in the order of the commit.
    pub segments: Vec<SegmentCommit>,
    /// What the application stored with the commit.
    pub user_data: BTreeMap<String, String>,
}

/// What a commit says of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentCommit {
    /// The name, which its files begin with, such as `_a`.
    pub name: String,
    /// The id in the headers of its files; none before Lucene 5.
    pub id: Option<SegmentId>,
    /// The name of the codec that wrote it: a hint only, since codecs of applications wrap those of Lucene.
    pub codec: String,
    /// The generation of its live-docs file, when documents were deleted.
    pub del_gen: Option<u64>,
    /// The number of deleted documents: those not in the live-docs file.
    pub del_count: u32,
    /// The number of documents that are soft-deleted and not counted in [`Self::del_count`]; 0 before Lucene 7.4.
    pub soft_del_count: u32,
    /// The generation of its field infos, when doc values were updated.
    pub field_infos_gen: Option<u64>,
    /// The generation of its last doc-values update.
    pub doc_values_gen: Option<u64>,
    /// The files of the current generation of field infos.
    pub field_infos_files: BTreeSet<String>,
    /// The files of the current generation of doc values, by field number.
    pub doc_values_files: BTreeMap<u32, BTreeSet<String>>,
}

impl SegmentInfos {
    /// Reads a whole `segments_N` file.
    ///
    /// # Errors
    /// When the checksum does not match, the format's version is not 0 to 10, or the content is corrupt.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        old::refuse_lucene_3(file, bytes)?;
        let (header, mut input, _) = codec::open(file, bytes, KNOWN, None, None)?;
        if header.version < V70 {
            return old::read(file, bytes, &header, input);
        }
        let generation = u64::from_str_radix(header.suffix, 36).map_err(|_| {
            Error::corrupt(file, 0, "a generation in base 36", format_args!("{:?}", header.suffix))
        })?;
        let lucene_version = Some(version(&mut input)?);
        let index_created_major = Some(input.vint()?);
        input.i64()?; // the number of changes so far
        if header.version >= V72_COUNTER_IS_VLONG {
            input.vlong()?;
        } else {
            input.i32()?;
        }
        let at = input.offset();
        let count = input.counted32("a number of segments", 32)?;
        if count > MOST_SEGMENTS {
            let message = format!("{count} segments are more than the {MOST_SEGMENTS} that are read");
            return Err(Error::new(ErrorKind::TooLarge, file, at, message));
        }
        if count > 0 {
            version(&mut input)?; // of the oldest segment
        }
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(SegmentCommit::read(&mut input, header.version)?);
        }
        let user_data = input.string_map()?;
        input.end()?;
        Ok(Self { generation, lucene_version, index_created_major, segments, user_data })
    }
}

fn version(input: &mut Input<'_>) -> Result<Version> {
    Ok(Version { major: input.vint()?, minor: input.vint()?, bugfix: input.vint()? })
}

/// The files of doc values by field number.
type FilesByField = BTreeMap<u32, BTreeSet<String>>;

/// Reads the names of the files that belong to later generations: those of the field infos, and those of doc values by field
/// number.
fn generations<'a>(
    input: &mut Input<'a>,
    segment: &str,
    set: fn(&mut Input<'a>) -> Result<BTreeSet<String>>,
) -> Result<(BTreeSet<String>, FilesByField)> {
    let files = |input: &mut Input<'a>| {
        let at = input.offset();
        let listed = set(input)?;
        file_names::of_segment(input, at, listed, segment)
    };
    let field_infos = files(input)?;
    let count = input.counted32("a number of fields", 5)?;
    let doc_values = (0..count).map(|_| Ok((input.count32("a field number")?, files(input)?)));
    Ok((field_infos, doc_values.collect::<Result<_>>()?))
}

impl SegmentCommit {
    fn read(input: &mut Input<'_>, format: u32) -> Result<Self> {
        let name = input.string()?.to_owned();
        let mut id = [0; 16];
        id.copy_from_slice(input.bytes(16)?);
        let codec = input.string()?.to_owned();
        let del_gen = input.generation("a live-docs generation")?;
        let del_count = input.count32("a number of deleted documents")?;
        let field_infos_gen = input.generation("a field-infos generation")?;
        let doc_values_gen = input.generation("a doc-values generation")?;
        let soft_del_count = if format >= V74_SOFT_DELETES {
            input.count32("a number of soft-deleted documents")?
        } else {
            0
        };
        if format >= V86_COMMIT_IDS {
            match input.u8()? {
                0 => {}
                1 => input.skip(16)?,
                other => return Err(input.corrupt("0 or 1 for whether an id follows", other)),
            }
        }
        let (field_infos_files, doc_values_files) = generations(input, &name, Input::string_set)?;
        Ok(Self {
            name,
            id: Some(id),
            codec,
            del_gen,
            del_count,
            soft_del_count,
            field_infos_gen,
            doc_values_gen,
            field_infos_files,
            doc_values_files,
        })
    }

    /// The name of one of the segment's own files, such as `_a.fdt` for `.fdt`.
    pub fn file(&self, suffix_and_extension: &str) -> String {
        format!("{}{suffix_and_extension}", self.name)
    }

    /// The name of the segment-info file.
    pub fn segment_info_file(&self) -> String {
        self.file(".si")
    }

    /// The name of the live-docs file, such as `_a_1.liv` (`_a_1.del` before Lucene 5), if the segment has one. It is never
    /// in the compound file.
    pub fn live_docs_file(&self) -> Option<String> {
        let extension = if self.id.is_some() { "liv" } else { "del" };
        self.del_gen.map(|g| format!("{}_{}.{extension}", self.name, base36(g)))
    }

    /// The suffix in the header of the field-infos file: its generation in base 36, or nothing.
    pub fn field_infos_suffix(&self) -> String {
        self.field_infos_gen.map(base36).unwrap_or_default()
    }

    /// The name of the field-infos file to read: `_a.fnm`, or of a generation `_a_1.fnm`, which is never in the compound
    /// file.
    pub fn field_infos_file(&self) -> String {
        self.field_infos_gen.map_or_else(|| self.file(".fnm"), |g| format!("{}_{}.fnm", self.name, base36(g)))
    }

    /// The name of the file with `field`'s doc values and this extension (`dvm` or `dvd`), if it has doc values:
    /// `_a_Lucene90_0.dvm`, or of a generation `_a_1_Lucene90_0.dvm`, which is never in the compound file. Without a format
    /// for each field these are `_a.dvm` and `_a_1.dvm`.
    pub fn doc_values_file(&self, field: &FieldInfo, extension: &str) -> Option<String> {
        field.doc_values_suffix().map(|suffix| match suffix.as_str() {
            "" => self.file(&format!(".{extension}")),
            suffix => self.file(&format!("_{suffix}.{extension}")),
        })
    }

    /// The documents alive in a segment of `doc_count` documents, or nothing when more are deleted than there are.
    pub fn live_count(&self, doc_count: u32) -> Option<u32> {
        doc_count.checked_sub(self.del_count)?.checked_sub(self.soft_del_count)
    }
}

/// A generation as it stands in file names.
pub fn base36(mut n: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut text = Vec::new();
    loop {
        text.push(char::from(DIGITS[(n % 36) as usize]));
        n /= 36;
        if n == 0 {
            return text.iter().rev().collect();
        }
    }
}
