//! `.si`: what a segment is. Lucene's `Lucene70SegmentInfoFormat`, `Lucene86…`, `Lucene90…` and `Lucene99…`.
//!
//! All have the same beginning, which is what is read; the sort order at the end is checked for plausibility only.
//! `Lucene99SegmentInfoFormat` inserted a byte without a new codec name or version. The segment's codec can not tell the
//! two apart either, since applications give their codecs other names. So both layouts are tried, and the one that makes
//! sense to its very end is taken.

use crate::codec::{self, Known};
use crate::input::{Endian, Input};
use crate::segments::{SegmentCommit, Version};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

const KNOWN: &[Known] = &[
    Known { codec: "Lucene90SegmentInfo", versions: 0..=0, endian: Endian::Little },
    Known { codec: "Lucene86SegmentInfo", versions: 0..=0, endian: Endian::Big },
    Known { codec: "Lucene70SegmentInfo", versions: 0..=0, endian: Endian::Big },
];
/// How [`KNOWN`] formats say yes and no.
const YES: u8 = 1;
const NO: u8 = 0xff;

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The number of its documents, deleted ones included.
    pub doc_count: u32,
    /// Whether its files are in a compound file.
    pub compound: bool,
    /// Its files as first written: without those of later generations.
    pub files: BTreeSet<String>,
    /// What its codec noted, such as the mode of the stored fields.
    pub attributes: BTreeMap<String, String>,
    /// The version of Lucene that wrote it.
    pub lucene_version: Version,
}

impl SegmentInfo {
    /// Reads a whole `.si` file of the segment that `commit` describes.
    ///
    /// # Errors
    /// When the checksum or the segment's id does not match, the format is not known, or the content is corrupt; also when
    /// `commit` counts more deleted documents than there are.
    pub fn parse(file: &str, bytes: &[u8], commit: &SegmentCommit) -> Result<Self> {
        let (header, mut input, _) = codec::open(file, bytes, KNOWN, commit.id.as_ref(), Some(""))?;
        let lucene_version = version(&mut input)?;
        match input.u8()? {
            0 => {}
            1 => drop(version(&mut input)?),
            other => return Err(input.corrupt("0 or 1 for whether a minimum version follows", other)),
        }
        let at = input.offset();
        let doc_count = input.count32("a number of documents")?;
        if commit.live_count(doc_count).is_none() {
            let deleted = u64::from(commit.del_count) + u64::from(commit.soft_del_count);
            return Err(Error::corrupt(
                file,
                at,
                format_args!("at least the {deleted} deleted documents"),
                doc_count,
            ));
        }
        let compound = yes_or_no(&mut input)?;
        let plain = Rest::read(input.clone(), commit);
        let rest = if header.codec == "Lucene90SegmentInfo" {
            let with_blocks = yes_or_no(&mut input).and_then(|_| Rest::read(input, commit));
            with_blocks.or(plain)?
        } else {
            plain?
        };
        Ok(Self { doc_count, compound, files: rest.files, attributes: rest.attributes, lucene_version })
    }
}

fn version(input: &mut Input<'_>) -> Result<Version> {
    let mut part = || input.count32("a version");
    Ok(Version { major: part()?, minor: part()?, bugfix: part()? })
}

fn yes_or_no(input: &mut Input<'_>) -> Result<bool> {
    match input.u8()? {
        YES => Ok(true),
        NO => Ok(false),
        other => Err(input.corrupt("1 or 255 for yes or no", other)),
    }
}

/// What both layouts have after their flags.
struct Rest {
    files: BTreeSet<String>,
    attributes: BTreeMap<String, String>,
}

impl Rest {
    fn read(mut input: Input<'_>, commit: &SegmentCommit) -> Result<Self> {
        input.string_map()?; // diagnostics
        let at = input.offset();
        let files = input.string_set()?;
        let attributes = input.string_map()?;
        if let Some(other) = files.iter().find(|f| !f.starts_with(&commit.name)) {
            let expected = format_args!("files of segment {}", commit.name);
            return Err(Error::corrupt(input.file(), at, expected, other));
        }
        // The sort order: none, or names of kinds of sort fields, each followed by what that kind wrote.
        if input.vint()? == 0 {
            input.end()?;
        } else if input.string()?.is_empty() {
            return Err(input.corrupt("the name of a kind of sort field", "nothing"));
        }
        Ok(Self { files, attributes })
    }
}
