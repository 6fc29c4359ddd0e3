//! The set of documents: Lucene's `IndexedDISI`, blocks of 65 536 documents, each as what it has most cheaply.

use super::{DocsWithField, Sparse};
use crate::bits::Bits;
use crate::input::{Endian, Input};
use crate::{Error, Result};

const BLOCK: u32 = 65_536;
const WORDS: usize = 1024;
/// The greatest number of documents that a block lists one by one.
const MAX_LISTED: u32 = 4095;
/// The number of the block that ends the set.
const END: u16 = 0x7fff;

impl DocsWithField {
    /// The set itself, of a segment of `max_doc` documents. `bytes` are those of [`Sparse::offset`] and [`Sparse::length`]
    /// of the `.dvd` file (offsets in errors are the file's); otherwise they are not looked at.
    ///
    /// # Errors
    /// When the bytes are no such set, of documents below `max_doc`, of the number that the metadata states.
    pub fn decode(&self, file: &str, bytes: &[u8], max_doc: u32) -> Result<Bits> {
        match self {
            Self::None => Ok(Bits::none(max_doc)),
            Self::All => Ok(Bits::all(max_doc)),
            Self::Sparse(sparse) => sparse.decode(file, bytes, max_doc),
        }
    }
}

impl Sparse {
    fn decode(&self, file: &str, bytes: &[u8], max_doc: u32) -> Result<Bits> {
        if bytes.len() as u64 != self.length {
            let expected = format_args!("the {} bytes of a set of documents", self.length);
            return Err(Error::corrupt(file, self.offset, expected, bytes.len()));
        }
        let mut input = Input::new(file, bytes).at(self.offset).with_endian(self.endian);
        let mut set = Bits::none(max_doc);
        let mut next_block = 0;
        loop {
            let at = input.offset();
            let block = input.i16()?.cast_unsigned();
            let count = u32::from(input.i16()?.cast_unsigned()) + 1;
            if block == END {
                break; // a jump table, which a scan has no need of, may follow
            }
            if u32::from(block) < next_block {
                return Err(Error::corrupt(file, at, format_args!("block {next_block} or later"), block));
            }
            next_block = u32::from(block) + 1;
            if !self.block(&mut input, &mut set, block, count)? {
                let expected = format_args!("documents below {max_doc}");
                return Err(Error::corrupt(file, at, expected, format_args!("others in block {block}")));
            }
        }
        let count = set.count();
        if u64::from(count) != self.count {
            return Err(Error::corrupt(file, self.offset, format_args!("{} documents", self.count), count));
        }
        Ok(set)
    }

    /// Reads a block of `count` documents; false when one of them lies beyond the set.
    fn block(&self, input: &mut Input<'_>, set: &mut Bits, block: u16, count: u32) -> Result<bool> {
        let first_doc = u32::from(block) * BLOCK;
        let first_word = usize::from(block) * WORDS;
        if count == BLOCK {
            return Ok((0..WORDS).all(|i| set.insert_word(first_word + i, u64::MAX)));
        }
        if count <= MAX_LISTED {
            for _ in 0..count {
                if !set.insert(first_doc + u32::from(input.i16()?.cast_unsigned())) {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        if let Some(power) = self.dense_rank_power {
            input.skip(2 * u64::from(BLOCK >> power))?;
        }
        let words = input.bytes(WORDS * 8)?;
        Ok(words.as_chunks::<8>().0.iter().enumerate().all(|(i, word)| {
            let word = if self.endian == Endian::Big {
                u64::from_be_bytes(*word)
            } else {
                u64::from_le_bytes(*word)
            };
            set.insert_word(first_word + i, word)
        }))
    }
}

#[cfg(test)]
mod tests;
