//! `.fdx` alone: Lucene's `CompressingStoredFieldsIndexReader` of Lucene 4.1 to 8.4.
//!
//! Groups of blocks, each group with its first document, the average number of documents a block and the packed distances
//! from it, and the same for offsets.

use super::{BlockIndex, Sequence, check_data_end};
use crate::Result;
use crate::codec::{self, FOOTER_LEN, Known};
use crate::input::{Endian, Input, zigzag64};
use crate::packed;
use crate::stored_fields::ints::{packed_version, padding};

const LUCENE41: &str = "Lucene41StoredFieldsIndex";
const KNOWN: &[Known] = &[
    Known::big("Lucene50StoredFieldsFastIndex", 0..=1),
    Known::big("Lucene50StoredFieldsHighIndex", 0..=1),
    Known::big(LUCENE41, 0..=2),
];
/// The version of [`LUCENE41`] that has footers and states where the blocks end.
const V41_CHECKSUM: u32 = 2;
/// The version of Lucene 5's formats that counts the blocks behind them in the `.fdt` file.
const V50_BLOCK_COUNTS: u32 = 1;
/// The least size of a group: a number of blocks, and twice first value, average, bits, and a byte of distances.
const MIN_GROUP: usize = 1 + 2 * 4;

/// A number for each block, and one for the end.
#[derive(Debug, Clone)]
pub(super) struct Averages {
    groups: Vec<Group>,
    packed: Vec<u8>,
    /// The number of blocks.
    blocks: u64,
    end: i64,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    first_block: u64,
    base: i64,
    average: i64,
    bits: u32,
    /// Where its distances begin in the packed bytes.
    start: usize,
}

impl Averages {
    pub(super) fn len(&self) -> u64 {
        self.blocks.saturating_add(1)
    }

    pub(super) fn get(&self, i: u64) -> Option<i64> {
        if i >= self.blocks {
            return (i == self.blocks).then_some(self.end);
        }
        let group = self.groups.partition_point(|g| g.first_block <= i).checked_sub(1)?;
        let group = self.groups.get(group)?;
        let within = i - group.first_block;
        let distance = packed::get(self.packed.get(group.start..)?, Endian::Big, group.bits, within)?;
        let on_line = group.average.wrapping_mul(within.cast_signed());
        Some(group.base.wrapping_add(on_line).wrapping_add(zigzag64(distance)))
    }

    /// Reads the part of a group that is of one kind of number, from behind its first value.
    fn group(
        &mut self,
        input: &mut Input<'_>,
        blocks: u64,
        base: u64,
        max_bits: u32,
        padded: usize,
    ) -> Result<()> {
        let average = input.vlong()?.cast_signed();
        let at = input.offset();
        let bits = input.vint()?;
        if bits > max_bits {
            return Err(crate::Error::corrupt(
                input.file(),
                at,
                format_args!("distances of at most {max_bits} bits"),
                bits,
            ));
        }
        let distances = input.bytes(packed::len(blocks, bits, padded).unwrap_or(usize::MAX))?;
        let (first_block, start) = (self.blocks, self.packed.len());
        self.groups.push(Group { first_block, base: base.cast_signed(), average, bits, start });
        self.packed.extend_from_slice(distances);
        self.blocks = self.blocks.saturating_add(blocks);
        Ok(())
    }
}

pub(super) fn parse(file: &str, bytes: &[u8], max_doc: u32, data_len: u64) -> Result<BlockIndex> {
    let (header, mut input, _) = codec::open(file, bytes, KNOWN, None, None)?;
    let padded = padding(packed_version(&mut input)?);
    let empty = |end: i64| Averages { groups: Vec::new(), packed: Vec::new(), blocks: 0, end };
    let (mut first_docs, mut offsets) = (empty(max_doc.into()), empty(0));
    loop {
        let at = input.offset();
        let blocks = u64::from(input.vint()?);
        if blocks == 0 {
            break;
        }
        // Nothing is allocated by this number: distances that are all the same take no bytes, others are there.
        if blocks > u64::from(max_doc) || input.remaining() < MIN_GROUP - 1 {
            let expected = format_args!("at most {max_doc} blocks");
            return Err(crate::Error::corrupt(file, at, expected, blocks));
        }
        let base = input.vint()?.into();
        first_docs.group(&mut input, blocks, base, 32, padded)?;
        let base = input.vlong()?;
        offsets.group(&mut input, blocks, base, 64, padded)?;
    }
    let at = input.offset();
    let has_footers = header.codec != LUCENE41 || header.version >= V41_CHECKSUM;
    let data_end = if has_footers { input.vlong()? } else { data_len };
    input.end()?;
    let footer = if has_footers { FOOTER_LEN as u64 } else { 0 };
    let counts = if header.codec != LUCENE41 && header.version >= V50_BLOCK_COUNTS { 2..=18 } else { 0..=0 };
    check_data_end(file, at, data_end, counts.start() + footer..=counts.end() + footer, data_len)?;
    offsets.end = data_end.cast_signed();
    Ok(BlockIndex {
        file: file.to_owned(),
        id: header.id,
        chunk_size: None,
        max_doc,
        data_end,
        first_docs: Sequence::Averages(first_docs),
        offsets: Sequence::Averages(offsets),
    })
}
