//! `.liv`: which documents of a segment are not deleted. Lucene's `Lucene50LiveDocsFormat` and `Lucene90LiveDocsFormat`.

use crate::bits::Bits;
use crate::codec::{self, Known};
use crate::input::Endian;
use crate::segments::base36;
use crate::{Error, Result, SegmentId};

const KNOWN: &[Known] = &[
    Known { codec: "Lucene90LiveDocs", versions: 0..=0, endian: Endian::Little },
    Known { codec: "Lucene50LiveDocs", versions: 0..=0, endian: Endian::Big },
];

/// Reads a whole `.liv` file of generation `generation` of a segment with this id and `max_doc` documents, of which
/// `expected_deleted` are deleted. The set has the live ones.
///
/// # Errors
/// When checksum, id or generation do not match, the format is not known, or there are not just as many live documents.
pub fn parse(
    file: &str,
    bytes: &[u8],
    id: Option<&SegmentId>,
    max_doc: u32,
    expected_deleted: u32,
    generation: u64,
) -> Result<Bits> {
    let (_, mut input, _) = codec::open(file, bytes, KNOWN, id, Some(&base36(generation)))?;
    let start = input.offset();
    let count = input.bounded(start, Bits::words_for(max_doc) as u64, "a number of 64-bit words", 8)?;
    let words = (0..count).map(|_| input.i64().map(i64::cast_unsigned)).collect::<Result<Vec<_>>>()?;
    input.end()?;
    let live = Bits::from_words(words, max_doc)
        .ok_or_else(|| Error::corrupt(file, start, format_args!("{max_doc} bits"), "bits beyond"))?;
    if max_doc.checked_sub(expected_deleted) != Some(live.count()) {
        let expected = format_args!("{max_doc} documents without {expected_deleted}");
        return Err(Error::corrupt(file, start, expected, format_args!("{} live", live.count())));
    }
    Ok(live)
}
