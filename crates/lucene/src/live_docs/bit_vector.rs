//! `.del`: Lucene's `BitVector` of Lucene 4. All bits, or, where few documents are deleted, only the bytes with a bit that is
//! not like most.

use crate::codec::{self, Known};
use crate::input::Input;
use crate::{Error, Result};

const KNOWN: &[Known] = &[Known::big("BitVector", 0..=2)];
/// The version from which on the bits are of live documents; before, of deleted ones.
const LIVE: u32 = 1;
/// What stands before the header, where a file of older versions has its number of bits.
const HAS_HEADER: i32 = -2;
/// What stands in place of the number of bits where only some bytes follow.
const SPARSE: i32 = -1;

/// Whether a file begins as such a one does.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&HAS_HEADER.to_be_bytes())
}

/// Reads a whole file about `max_doc` documents: where its bits begin, and those of the live documents.
pub(super) fn read(file: &str, bytes: &[u8], max_doc: u32) -> Result<(u64, Vec<u64>)> {
    let mut input = Input::new(file, codec::body(file, bytes)?);
    input.skip(4)?;
    let (header, mut input, _) = codec::open_from(input, KNOWN, None, None)?;
    let live = header.version >= LIVE;
    let start = input.offset();
    let mut size = input.i32()?;
    let sparse = size == SPARSE;
    if sparse {
        size = input.i32()?;
    }
    if u32::try_from(size) != Ok(max_doc) {
        return Err(Error::corrupt(file, start, format_args!("{max_doc} bits"), size));
    }
    let count = input.count32("a number of bits")?;
    let len = max_doc.div_ceil(8) as usize;
    let mut set = if sparse {
        let different = if live { max_doc.saturating_sub(count) } else { count };
        some(&mut input, len, if live { 0xff } else { 0 }, different)?
    } else {
        input.bytes(len)?.to_vec()
    };
    if !live {
        set.iter_mut().for_each(|byte| *byte = !*byte);
    }
    if let (Some(last), used @ 1..) = (set.last_mut(), max_doc % 8)
        && (sparse || !live)
    {
        *last &= (1 << used) - 1;
    }
    input.end()?;
    let words = set.chunks(8).map(|word| word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)));
    Ok((start, words.collect()))
}

/// `len` bytes like `most` but for those that follow, each after its distance from the one before, until they have
/// `different` bits unlike the others.
fn some(input: &mut Input<'_>, len: usize, most: u8, different: u32) -> Result<Vec<u8>> {
    let mut set = vec![most; len];
    let (mut at, mut found) = (0usize, 0);
    while found < different {
        let offset = input.offset();
        at = at.saturating_add(input.vint()? as usize);
        let byte = input.u8()?;
        let Some(place) = set.get_mut(at) else {
            return Err(Error::corrupt(input.file(), offset, format_args!("a byte below {len}"), at));
        };
        *place = byte;
        found += (byte ^ most).count_ones();
    }
    Ok(set)
}
