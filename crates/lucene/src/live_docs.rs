//! `.liv`: which documents of a segment are not deleted. Lucene's `Lucene50LiveDocsFormat` and `Lucene90LiveDocsFormat`, and
//! the `.del` files of Lucene 4.

mod bit_vector;

use crate::bits::Bits;
use crate::codec::{self, Known};
use crate::segments::base36;
use crate::{Error, Result, SegmentId};

const KNOWN: &[Known] = &[Known::little("Lucene90LiveDocs", 0..=0), Known::big("Lucene50LiveDocs", 0..=0)];

/// Reads a whole `.liv` or `.del` file of generation `generation` of a segment with this id and `max_doc` documents, of which
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
    let (start, words) = if bit_vector::is_one(bytes) {
        bit_vector::read(file, bytes, max_doc)?
    } else {
        let (_, mut input, _) = codec::open(file, bytes, KNOWN, id, Some(&base36(generation)))?;
        let start = input.offset();
        let count = input.bounded(start, Bits::words_for(max_doc) as u64, "a number of 64-bit words", 8)?;
        let words = (0..count).map(|_| input.i64().map(i64::cast_unsigned)).collect::<Result<Vec<_>>>()?;
        input.end()?;
        (start, words)
    };
    let live = Bits::from_words(words, max_doc)
        .ok_or_else(|| Error::corrupt(file, start, format_args!("{max_doc} bits"), "bits beyond"))?;
    if max_doc.checked_sub(expected_deleted) != Some(live.count()) {
        let expected = format_args!("{max_doc} documents without {expected_deleted}");
        return Err(Error::corrupt(file, start, expected, format_args!("{} live", live.count())));
    }
    Ok(live)
}
