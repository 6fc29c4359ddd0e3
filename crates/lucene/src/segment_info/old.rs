//! `.si` of Lucene 4 and 5: Lucene's `Lucene40SegmentInfoFormat`, `Lucene46…` and `Lucene50…`. They know no sort order.

use super::{LUCENE40, LUCENE50, SegmentInfo, doc_count, yes_or_no};
use crate::codec::IndexHeader;
use crate::file_names;
use crate::input::Input;
use crate::segments::{SegmentCommit, Version};
use crate::{Error, Result};

/// The version of [`LUCENE50`] whose sets and maps have their count as a vInt.
const V50_SAFE_MAPS: u32 = 1;

/// Reads a `.si` file from behind its header.
pub(super) fn read(
    mut input: Input<'_>,
    header: &IndexHeader<'_>,
    commit: &SegmentCommit,
) -> Result<SegmentInfo> {
    let lucene_version =
        if header.codec == LUCENE50 { super::version(&mut input)? } else { version(&mut input)? };
    let doc_count = doc_count(&mut input, commit)?;
    let compound = yes_or_no(&mut input)?;
    let safe = header.codec == LUCENE50 && header.version >= V50_SAFE_MAPS;
    let map = |input: &mut Input<'_>| if safe { input.string_map() } else { input.old_string_map() };
    map(&mut input)?; // diagnostics
    if header.codec == LUCENE40 {
        map(&mut input)?; // attributes, of which there were none
    }
    let at = input.offset();
    let files = if safe { input.string_set()? } else { input.old_string_set()? };
    let files = file_names::of_segment(&input, at, files, &commit.name)?;
    let attributes = if header.codec == LUCENE50 { map(&mut input)? } else { Default::default() };
    input.end()?;
    Ok(SegmentInfo { doc_count, compound, files, attributes, lucene_version })
}

/// A version as text: `4.10.4`, or with less or more parts, of which three are taken.
fn version(input: &mut Input<'_>) -> Result<Version> {
    let at = input.offset();
    let text = input.string()?;
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let mut next = |or: Option<u32>| parts.next().unwrap_or(or);
    let version = (|| Some(Version { major: next(None)?, minor: next(Some(0))?, bugfix: next(Some(0))? }))();
    version
        .ok_or_else(|| Error::corrupt(input.file(), at, "a version such as 4.10.4", format_args!("{text:?}")))
}
