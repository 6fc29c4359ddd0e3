//! `.si`: what a segment is. Lucene's `Lucene62SegmentInfoFormat`, `Lucene70…`, `Lucene86…`, `Lucene90…` and `Lucene99…`, and
//! older ones.
//!
//! All these have the same beginning, which is what is read; the sort order at the end is checked for plausibility only.
//! `Lucene99SegmentInfoFormat` inserted a byte without a new codec name or version. The segment's codec can not tell the
//! two apart either, since applications give their codecs other names. So both layouts are tried, and the one that makes
//! sense to its very end is taken.

mod old;

use crate::codec::{self, Known};
use crate::file_names;
use crate::input::Input;
use crate::segments::{SegmentCommit, Version};
use crate::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};

const KNOWN: &[Known] = &[
    Known::little("Lucene90SegmentInfo", 0..=0),
    Known::big("Lucene86SegmentInfo", 0..=0),
    Known::big("Lucene70SegmentInfo", 0..=0),
    Known::big(LUCENE62, 0..=1),
    Known::big(LUCENE50, 0..=1),
    Known::big(LUCENE46, 0..=1),
    Known::big(LUCENE40, 0..=0),
];
const LUCENE40: &str = "Lucene40SegmentInfo";
const LUCENE46: &str = "Lucene46SegmentInfo";
const LUCENE50: &str = "Lucene50SegmentInfo";
const LUCENE62: &str = "Lucene62SegmentInfo";
/// The codec of segments that Lucene 3 wrote, in a commit of Lucene 4.
const LUCENE_3: &str = "Lucene3x";
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
    /// Its files as first written, without those of later generations. The names begin with the current name of the segment,
    /// even if the segment had another name when the list was written.
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
        if commit.codec == LUCENE_3 {
            let message = "expected a segment of Lucene 4 or later, found one of Lucene 3 (codec Lucene3x)";
            return Err(Error::new(ErrorKind::UnsupportedCodec, file, None, message));
        }
        let (header, mut input, _) = codec::open(file, bytes, KNOWN, commit.id.as_ref(), Some(""))?;
        if [LUCENE40, LUCENE46, LUCENE50].contains(&header.codec) {
            return old::read(input, &header, commit);
        }
        let lucene_version = version(&mut input)?;
        if header.codec != LUCENE62 {
            match input.u8()? {
                0 => {}
                1 => drop(version(&mut input)?),
                other => return Err(input.corrupt("0 or 1 for whether a minimum version follows", other)),
            }
        }
        let doc_count = doc_count(&mut input, commit)?;
        let compound = yes_or_no(&mut input)?;
        let plain = Rest::read(input.clone(), commit);
        let rest = if header.codec == "Lucene90SegmentInfo" {
            let with_blocks = yes_or_no(&mut input).and_then(|_| Rest::read(input, commit));
            with_blocks.or_else(|error| plain.map_err(|other| Error::furthest(error, other)))?
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

fn doc_count(input: &mut Input<'_>, commit: &SegmentCommit) -> Result<u32> {
    let at = input.offset();
    let count = input.count32("a number of documents")?;
    if commit.live_count(count).is_none() {
        let deleted = u64::from(commit.del_count) + u64::from(commit.soft_del_count);
        let expected = format_args!("at least the {deleted} deleted documents");
        return Err(Error::corrupt(input.file(), at, expected, count));
    }
    Ok(count)
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
        let files = file_names::of_segment(&input, at, files, &commit.name)?;
        let attributes = input.string_map()?;
        // The sort order: none, or names of kinds of sort fields, each followed by what that kind wrote.
        if input.vint()? == 0 {
            input.end()?;
        } else if input.string()?.is_empty() {
            return Err(input.corrupt("the name of a kind of sort field", "nothing"));
        }
        Ok(Self { files, attributes })
    }
}
