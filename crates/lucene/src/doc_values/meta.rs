//! The metadata: one entry after another, each a field number, a kind, and what that kind has.

use super::{DocsWithField, Sparse};
use crate::codec::{self, Known};
use crate::field_infos::{FieldInfo, FieldInfos};
use crate::input::Input;
use crate::packed::skip_monotonic;
use crate::{Error, Result, SegmentId};

const LUCENE70: &str = "Lucene70DocValuesMetadata";
const LUCENE80: &str = "Lucene80DocValuesMetadata";
const LUCENE90: &str = "Lucene90DocValuesMetadata";
const KNOWN: &[Known] =
    &[Known::little(LUCENE90, 0..=2), Known::big(LUCENE80, 0..=2), Known::big(LUCENE70, 0..=0)];
/// Versions of [`LUCENE80`]: binary values are compressed; they are where the field's attribute says so.
const V80_COMPRESSED: u32 = 1;
const V80_COMPRESSED_BY_MODE: u32 = 2;
const MODE_80: &str = "Lucene80DocValuesFormat.mode";
/// The version of [`LUCENE90`] that states the largest number of values of a document with the skip index. Version 1 only
/// moved the skip index from the `.dvd` file into a file of its own, `.dvs`.
const V90_MAX_VALUE_COUNT: u32 = 2;
/// What [`LUCENE80`] writes in place of a block shift when a terms dictionary is LZ4-compressed; its shift is then the next.
const TERMS_LZ4_CODE_80: u32 = (6 << 16) | 1;
const TERMS_LZ4_SHIFT: u32 = 6;

/// Which documents have a value of the numeric field number `field`, from a whole `.dvm` file.
///
/// `id` is the segment's, `suffix` what the file's name has between segment and extension
/// ([`FieldInfo::doc_values_suffix`]), `fields` those of the segment.
///
/// # Errors
/// When checksum, id or suffix do not match, the format is not known, the content is corrupt, or it has no numeric field
/// of that number.
pub fn docs_with_field(
    file: &str,
    bytes: &[u8],
    id: Option<&SegmentId>,
    suffix: &str,
    fields: &FieldInfos,
    field: u32,
) -> Result<DocsWithField> {
    let (header, input, _) = codec::open(file, bytes, KNOWN, id, Some(suffix))?;
    let mut meta = Meta { input, codec: header.codec, version: header.version };
    let mut found = None;
    loop {
        let at = meta.input.offset();
        let number = match meta.input.i32()? {
            -1 => break,
            n => n,
        };
        let Some(info) = u32::try_from(number).ok().and_then(|n| fields.by_number(n)) else {
            return Err(Error::corrupt(file, at, "the number of a field of the segment", number));
        };
        let docs = meta.entry(info)?;
        if info.number == field {
            found = docs;
        }
    }
    meta.input.end()?;
    found.ok_or_else(|| Error::corrupt(file, None, format_args!("values of numeric field {field}"), "none"))
}

struct Meta<'a> {
    input: Input<'a>,
    codec: &'a str,
    version: u32,
}

impl Meta<'_> {
    /// Reads an entry, of which only a numeric one says something.
    fn entry(&mut self, info: &FieldInfo) -> Result<Option<DocsWithField>> {
        let kind = self.input.u8()?;
        if info.doc_values_skip_index {
            self.input.skip(8 * 4 + 4 * 2)?; // offset, length, greatest and least value; documents, last document
            if self.codec == LUCENE90 && self.version >= V90_MAX_VALUE_COUNT {
                self.input.skip(4)?;
            }
        }
        match kind {
            0 => return self.numeric().map(|(docs, _)| Some(docs)),
            1 => self.binary(info)?,
            2 => self.sorted()?,
            3 => self.sorted_set()?,
            4 => self.sorted_numeric()?,
            other => return Err(self.input.corrupt("a kind of doc values of 0 to 4", other)),
        }
        Ok(None)
    }

    /// Offset and length of the documents with values, and the power of the rank tables.
    fn docs(&mut self) -> Result<(i64, i64, Option<u8>)> {
        let offset = self.input.i64()?;
        let length = self.input.i64()?;
        if self.codec == LUCENE70 {
            return Ok((offset, length, None));
        }
        self.input.i16()?; // entries of the jump table
        match self.input.u8()? {
            0xff => Ok((offset, length, None)),
            power @ 7..=15 => Ok((offset, length, Some(power))),
            other => Err(self.input.corrupt("a rank power of 7 to 15 or none", other)),
        }
    }

    fn numeric(&mut self) -> Result<(DocsWithField, u64)> {
        let at = self.input.offset();
        let (offset, length, dense_rank_power) = self.docs()?;
        let count = self.input.count64("a number of values")?;
        let docs = match offset {
            -2 => DocsWithField::None,
            -1 => DocsWithField::All,
            _ => {
                let (Ok(offset), Ok(length)) = (u64::try_from(offset), u64::try_from(length)) else {
                    let found = format_args!("{length} bytes from {offset} on");
                    return Err(Error::corrupt(self.input.file(), at, "a set of documents", found));
                };
                DocsWithField::Sparse(Sparse {
                    offset,
                    length,
                    dense_rank_power,
                    endian: self.input.endian(),
                    count,
                })
            }
        };
        let at = self.input.offset();
        let table = self.input.i32()?;
        if table > 256 {
            return Err(Error::corrupt(self.input.file(), at, "a table of at most 256 values", table));
        }
        self.input.skip(u64::try_from(table).unwrap_or(0) * 8)?;
        self.input.u8()?; // bits a value
        self.input.skip(8 * 4)?; // least value, divisor, offset and length of the values
        if self.codec != LUCENE70 {
            self.input.skip(8)?; // offset of the values' jump table
        }
        Ok((docs, count))
    }

    fn binary(&mut self, info: &FieldInfo) -> Result<()> {
        let compressed = self.codec == LUCENE80
            && match self.version {
                V80_COMPRESSED_BY_MODE.. => match info.attributes.get(MODE_80).map(String::as_str) {
                    Some("BEST_COMPRESSION") => true,
                    Some("BEST_SPEED") => false,
                    other => {
                        return Err(self
                            .input
                            .corrupt(format_args!("field attribute {MODE_80}"), format_args!("{other:?}")));
                    }
                },
                version => version >= V80_COMPRESSED,
            };
        self.input.skip(8 * 2)?; // offset and length of the data
        self.docs()?;
        let count = self.input.count32("a number of documents")?;
        let shortest = self.input.i32()?;
        let longest = self.input.i32()?;
        if (compressed && count > 0) || shortest < longest {
            self.input.skip(8)?; // offset of the addresses
            let mut addresses = u64::from(count) + 1;
            if compressed {
                addresses = self.input.vint()?.into();
                self.input.vint()?; // documents a block
                self.input.vint()?; // longest block
            }
            self.addresses(addresses)?;
        }
        Ok(())
    }

    /// Addresses that follow their block shift, and their length.
    fn addresses(&mut self, count: u64) -> Result<()> {
        let shift = self.input.vint()?;
        skip_monotonic(&mut self.input, count, shift)?;
        self.input.skip(8)
    }

    fn sorted(&mut self) -> Result<()> {
        if self.codec == LUCENE90 {
            self.numeric()?;
        } else {
            self.docs()?;
            self.input.skip(4 + 1 + 8 * 2)?; // documents; bits, offset and length of the ordinals
        }
        self.terms()
    }

    fn sorted_set(&mut self) -> Result<()> {
        match self.input.u8()? {
            0 => return self.sorted(),
            1 => {}
            other => {
                return Err(self.input.corrupt("0 or 1 for whether documents have several values", other));
            }
        }
        if self.codec == LUCENE90 {
            self.sorted_numeric()?;
        } else {
            self.docs()?;
            self.input.skip(1 + 8 * 2)?; // bits, offset and length of the ordinals
            let count = self.input.count32("a number of documents")?;
            self.input.skip(8)?; // offset of the addresses
            self.addresses(u64::from(count) + 1)?;
        }
        self.terms()
    }

    fn sorted_numeric(&mut self) -> Result<()> {
        let (_, values) = self.numeric()?;
        let count = self.input.count32("a number of documents")?;
        if u64::from(count) != values {
            self.input.skip(8)?; // offset of the addresses
            self.addresses(u64::from(count) + 1)?;
        }
        Ok(())
    }

    /// A terms dictionary.
    fn terms(&mut self) -> Result<()> {
        let size = self.input.vlong()?;
        let (block_shift, lz4) = if self.codec == LUCENE90 {
            (TERMS_LZ4_SHIFT, true)
        } else {
            match self.input.count32("a block shift")? {
                TERMS_LZ4_CODE_80 if self.codec == LUCENE80 => (TERMS_LZ4_SHIFT, true),
                shift => (shift, false),
            }
        };
        let shift = self.input.count32("a block shift")?;
        let blocks = self.blocks_of(size, block_shift)?;
        skip_monotonic(&mut self.input, blocks, shift)?;
        self.input.skip(if lz4 { 8 } else { 4 })?; // longest term, and longest block
        self.input.skip(8 * 4)?; // offsets and lengths of terms and addresses
        let index_shift = self.input.count32("a block shift")?;
        let entries = self.blocks_of(size, index_shift)?.saturating_add(1);
        skip_monotonic(&mut self.input, entries, shift)?;
        self.input.skip(8 * 4) // offsets and lengths of the index and its addresses
    }

    fn blocks_of(&self, count: u64, shift: u32) -> Result<u64> {
        match 1u64.checked_shl(shift) {
            Some(size) => Ok(count.div_ceil(size)),
            None => Err(self.input.corrupt("a block shift below 64", shift)),
        }
    }
}
