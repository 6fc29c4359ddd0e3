//! `.fdm` and `.fdx`: Lucene's `FieldsIndexReader`, of Lucene 8.5 on. Two monotonic sequences.

use super::{BlockIndex, Sequence, check_data_end};
use crate::codec::{self, FOOTER_LEN, Known};
use crate::input::Endian;
use crate::packed::Monotonic;
use crate::stored_fields::{chunk_size, ints::packed_version};
use crate::{Error, Result};

const META: &[Known] =
    &[Known::little("Lucene90FieldsIndexMeta", 0..=1), Known::big("Lucene85FieldsIndexMeta", 0..=4)];
const INDEX: &[Known] =
    &[Known::little("Lucene90FieldsIndexIdx", 0..=0), Known::big("Lucene85FieldsIndexIdx", 0..=0)];
/// The versions of `Lucene85FieldsIndexMeta` from which on it has what the `.fdt` file had before (Lucene 8.7), and states
/// the number of blocks.
const V85_META: u32 = 3;
const V85_BLOCK_COUNT: u32 = 4;
/// What a `.fdt` file may have behind its blocks: a footer, before Lucene 8.7 after two vLongs.
const AFTER_BLOCKS: std::ops::RangeInclusive<u64> = FOOTER_LEN as u64..=FOOTER_LEN as u64;
const AFTER_BLOCKS_BEFORE_V85_META: std::ops::RangeInclusive<u64> =
    FOOTER_LEN as u64 + 2..=FOOTER_LEN as u64 + 18;

pub(super) fn parse(
    meta_file: &str,
    meta: &[u8],
    index_file: &str,
    index: &[u8],
    max_doc: u32,
    data_len: u64,
) -> Result<BlockIndex> {
    let (header, mut input, known) = codec::open(meta_file, meta, META, None, None)?;
    let (index_header, _, index_known) =
        codec::open(index_file, index, INDEX, header.id.as_ref(), Some(header.suffix))?;
    if index_known.endian != known.endian {
        let expected = format_args!("the index that goes with {}", header.codec);
        return Err(Error::corrupt(index_file, 0, expected, index_header.codec));
    }
    let old = known.endian == Endian::Big;
    let has_rest = !old || header.version >= V85_META;
    let chunk_size = if has_rest { Some(chunk_size(&mut input)?) } else { None };
    if old && has_rest {
        packed_version(&mut input)?;
    }
    let at = input.offset();
    let docs = input.count32("a number of documents")?;
    if docs != max_doc {
        return Err(Error::corrupt(meta_file, at, format_args!("the segment's {max_doc} documents"), docs));
    }
    let shift = input.count32("a block shift")?;
    let at = input.offset();
    let entries = u64::from(input.count32("a number of blocks")?);
    if entries == 0 {
        return Err(Error::corrupt(meta_file, at, "at least the entry for the end", "none"));
    }
    let docs_start = input.count64("an offset")?;
    let mut first_docs = Monotonic::read(&mut input, entries, shift)?;
    let docs_end = input.count64("an offset")?;
    let mut offsets = Monotonic::read(&mut input, entries, shift)?;
    let offsets_end = input.count64("an offset")?;
    let at = input.offset();
    let data_end = input.count64("an offset")?;
    let after = if has_rest { AFTER_BLOCKS } else { AFTER_BLOCKS_BEFORE_V85_META };
    check_data_end(meta_file, at, data_end, after, data_len)?;
    if !old || header.version >= V85_BLOCK_COUNT {
        let at = input.offset();
        let blocks = input.vlong()?;
        if blocks != entries - 1 {
            return Err(Error::corrupt(meta_file, at, format_args!("{} blocks", entries - 1), blocks));
        }
    }
    if has_rest {
        input.vlong()?; // blocks that were flushed before they were full
        input.vlong()?; // their documents
    }
    input.end()?;

    let body_end = index.len().saturating_sub(FOOTER_LEN) as u64;
    let range = |start: u64, end: u64| {
        let inside = start >= index_header.len as u64 && end <= body_end;
        let bytes =
            (usize::try_from(start).ok()).zip(usize::try_from(end).ok()).and_then(|(s, e)| index.get(s..e));
        bytes.filter(|_| inside).ok_or_else(|| {
            let expected = format_args!("packed values within the {body_end} bytes before the footer");
            Error::corrupt(index_file, None, expected, format_args!("{start} to {end}"))
        })
    };
    first_docs.fill(range(docs_start, docs_end)?);
    offsets.fill(range(docs_end, offsets_end)?);
    Ok(BlockIndex {
        file: index_file.to_owned(),
        id: header.id,
        chunk_size,
        max_doc,
        data_end,
        first_docs: Sequence::Monotonic(first_docs),
        offsets: Sequence::Monotonic(offsets),
    })
}
