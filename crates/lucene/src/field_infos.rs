//! `.fnm`: the fields of a segment. Lucene's `Lucene60FieldInfosFormat`, `Lucene90…` and `Lucene94…`, and older ones.

mod old;

use crate::codec::{self, Known};
use crate::input::Input;
use crate::segments::{SegmentCommit, base36};
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;

const KNOWN: &[Known] = &[
    Known::little(LUCENE94, 0..=2),
    Known::little(LUCENE90, 0..=0),
    Known::big(LUCENE60, 0..=2),
    Known::big(LUCENE50, 0..=1),
    Known::big(LUCENE46, 0..=2),
    Known::big(LUCENE42, 0..=0),
    Known::big(LUCENE40, 0..=0),
];
const LUCENE40: &str = "Lucene40FieldInfos";
const LUCENE42: &str = "Lucene42FieldInfos";
const LUCENE46: &str = "Lucene46FieldInfos";
const LUCENE50: &str = "Lucene50FieldInfos";
const LUCENE60: &str = "Lucene60FieldInfos";
const LUCENE90: &str = "Lucene90FieldInfos";
const LUCENE94: &str = "Lucene94FieldInfos";
/// The version of [`LUCENE60`] that counts the dimensions of points twice.
const V60_INDEX_DIMENSIONS: u32 = 2;
/// The version of [`LUCENE94`] that has skip indices of doc values.
const V94_SKIP_INDEX: u32 = 2;

/// Fields of a segment, at most: many times what servers allow. Each takes a hundred bytes or more of memory, whatever it takes in
/// the file.
const MOST_FIELDS: usize = 500_000;

const SOFT_DELETES: u8 = 0x8;

/// The kind of a field's doc values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocValuesType {
    /// It has none.
    None,
    /// A number a document.
    Numeric,
    /// Bytes a document.
    Binary,
    /// One of a sorted set of values a document.
    Sorted,
    /// Several of a sorted set of values a document.
    SortedSet,
    /// Several numbers a document.
    SortedNumeric,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfo {
    /// Its name.
    pub name: String,
    /// Its number, by which all other files of the segment call it.
    pub number: u32,
    /// Whether it is the field that marks soft-deleted documents.
    pub soft_deletes: bool,
    /// The kind of its doc values.
    pub doc_values: DocValuesType,
    /// Whether its doc values have a skip index.
    pub doc_values_skip_index: bool,
    /// The generation of its doc values, when they were updated since the segment was written.
    pub doc_values_gen: Option<u64>,
    /// What the codecs noted, such as the format of its doc values.
    pub attributes: BTreeMap<String, String>,
}

impl FieldInfo {
    /// What the names of its doc-values files have after the segment's name, and their headers as suffix, such as
    /// `Lucene90_0` or, of a generation, `1_Lucene90_0`.
    ///
    /// Codecs without a format for each field have nothing or the generation alone there: in OpenSearch, that of indices with a
    /// star-tree. None when the field has no doc values, whatever its attributes say: Elasticsearch's source-only
    /// repositories leave doc values out, and the attributes as they were.
    pub fn doc_values_suffix(&self) -> Option<String> {
        if self.doc_values == DocValuesType::None {
            return None;
        }
        let attribute = |name| self.attributes.get(name).cloned();
        let own =
            attribute("PerFieldDocValuesFormat.format").zip(attribute("PerFieldDocValuesFormat.suffix"));
        let own = own.map(|(format, suffix)| format!("{format}_{suffix}"));
        let parts: Vec<String> = self.doc_values_gen.map(base36).into_iter().chain(own).collect();
        Some(parts.join("_"))
    }
}

/// The fields of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfos {
    by_number: BTreeMap<u32, FieldInfo>,
}

impl FieldInfos {
    /// Reads a whole `.fnm` file: the one that [`SegmentCommit::field_infos_file`] of `commit` names.
    ///
    /// # Errors
    /// When checksum, id or generation do not match, the format is not known, or the content is corrupt.
    pub fn parse(file: &str, bytes: &[u8], commit: &SegmentCommit) -> Result<Self> {
        let suffix = commit.field_infos_suffix();
        let (header, mut input, _) = codec::open(file, bytes, KNOWN, commit.id.as_ref(), Some(&suffix))?;
        let at = input.offset();
        let count = input.counted("a number of fields", 8)?;
        if count > MOST_FIELDS {
            let message = format!("{count} fields are more than the {MOST_FIELDS} that are read");
            return Err(Error::new(ErrorKind::TooLarge, file, at, message));
        }
        let read_field = match header.codec {
            LUCENE40 | LUCENE42 | LUCENE46 | LUCENE50 => old::read_field,
            _ => read_field,
        };
        let mut by_number = BTreeMap::new();
        for _ in 0..count {
            let at = input.offset();
            let field = read_field(&mut input, header.codec, header.version)?;
            if let Some(twice) = by_number.insert(field.number, field) {
                return Err(Error::corrupt(
                    file,
                    at,
                    "each field once",
                    format_args!("{} twice", twice.number),
                ));
            }
        }
        input.end()?;
        Ok(Self { by_number })
    }

    /// The field of this name.
    pub fn by_name(&self, name: &str) -> Option<&FieldInfo> {
        self.iter().find(|f| f.name == name)
    }

    /// The field of this number.
    pub fn by_number(&self, number: u32) -> Option<&FieldInfo> {
        self.by_number.get(&number)
    }

    /// The field that marks soft-deleted documents, if the segment has one.
    pub fn soft_deletes(&self) -> Option<&FieldInfo> {
        self.iter().find(|f| f.soft_deletes)
    }

    /// All fields, by number.
    pub fn iter(&self) -> impl Iterator<Item = &FieldInfo> {
        self.by_number.values()
    }
}

fn doc_values_type(input: &Input<'_>, kind: u8) -> Result<DocValuesType> {
    Ok(match kind {
        0 => DocValuesType::None,
        1 => DocValuesType::Numeric,
        2 => DocValuesType::Binary,
        3 => DocValuesType::Sorted,
        4 => DocValuesType::SortedSet,
        5 => DocValuesType::SortedNumeric,
        other => return Err(input.corrupt("a doc-values type of 0 to 5", other)),
    })
}

fn read_field(input: &mut Input<'_>, codec: &str, version: u32) -> Result<FieldInfo> {
    let name = input.string()?.to_owned();
    let number = input.vint()?;
    let bits = input.u8()?;
    input.u8()?; // what is indexed
    let doc_values = input.u8().and_then(|kind| doc_values_type(input, kind))?;
    let doc_values_skip_index = if codec == LUCENE94 && version >= V94_SKIP_INDEX {
        match input.u8()? {
            0 => false,
            1 => true,
            other => return Err(input.corrupt("a skip-index type of 0 or 1", other)),
        }
    } else {
        false
    };
    let doc_values_gen = input.generation("a doc-values generation")?;
    let attributes = input.string_map()?;
    if input.vint()? != 0 {
        if codec != LUCENE60 || version >= V60_INDEX_DIMENSIONS {
            input.vint()?; // dimensions of points that are indexed
        }
        input.vint()?; // bytes a dimension
    }
    if codec != LUCENE60 {
        input.vint()?; // dimensions of vectors
        input.skip(if codec == LUCENE94 { 2 } else { 1 })?; // their encoding and similarity
    }
    let soft_deletes = bits & SOFT_DELETES != 0;
    Ok(FieldInfo {
        name,
        number,
        soft_deletes,
        doc_values,
        doc_values_skip_index,
        doc_values_gen,
        attributes,
    })
}
