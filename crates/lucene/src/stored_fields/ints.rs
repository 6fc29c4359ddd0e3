//! The numbers in the head of a block: fields and bytes of each document.

use crate::input::{Endian, Input};
use crate::packed;
use crate::{Error, ErrorKind, Result};

/// How a block's head has a list of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntsLayout {
    /// A vInt of the bits each takes, then all packed; Lucene 8 and before.
    Packed,
    /// The same, padded to whole words of 64 bits; in the first versions of Lucene 4.
    PackedInWords,
    /// A byte of the bits each takes (8, 16 or 32), then groups of 128 interleaved in words; Lucene's `StoredFieldsInts`.
    Interleaved,
}

/// The size of a group of interleaved numbers.
const GROUP: usize = 128;

impl IntsLayout {
    /// Reads `count` numbers onto the end of `out`. The caller has bounded `count`.
    pub(crate) fn read(self, input: &mut Input<'_>, count: usize, out: &mut Vec<u32>) -> Result<()> {
        if count == 1 {
            out.push(number(input)?);
            return Ok(());
        }
        let at = input.offset();
        let bits = match self {
            Self::Packed | Self::PackedInWords => input.vint()?,
            Self::Interleaved => input.u8()?.into(),
        };
        match (self, bits) {
            (_, 0) => {
                let same = number(input)?;
                out.resize(out.len() + count, same);
            }
            (Self::Packed | Self::PackedInWords, 1..=31) => {
                let padded = if self == Self::Packed { 1 } else { 8 };
                let len = packed::len(count as u64, bits, padded).unwrap_or(usize::MAX);
                let bytes = input.bytes(len)?;
                for i in 0..count as u64 {
                    let n = packed::get(bytes, Endian::Big, bits, i).and_then(|n| u32::try_from(n).ok());
                    out.push(n.ok_or_else(|| input.corrupt("a packed number", "none"))?);
                }
            }
            (Self::Interleaved, 8 | 16 | 32) => {
                let bytes = input.bytes(count * (bits as usize / 8))?;
                interleaved(bytes, bits, out);
                if out.iter().any(|n| *n > i32::MAX.cast_unsigned()) {
                    return Err(Error::corrupt(input.file(), at, "numbers of at least 0", "a negative one"));
                }
            }
            _ => return Err(Error::corrupt(input.file(), at, "a number of bits that numbers have", bits)),
        }
        Ok(())
    }
}

/// Reads the version of packed numbers.
pub(crate) fn packed_version(input: &mut Input<'_>) -> Result<u32> {
    let at = input.offset();
    match input.vint()? {
        version @ 0..=2 => Ok(version),
        other => {
            let message = format!(
                "version {other} of packed integers is not supported; the newest supported version is 2"
            );
            Err(Error::new(ErrorKind::UnsupportedVersion, input.file(), at, message))
        }
    }
}

/// The bytes that packed numbers of this version are padded to.
pub(crate) fn padding(packed_version: u32) -> usize {
    if packed_version == 0 { 8 } else { 1 }
}

/// A vInt that is not negative.
fn number(input: &mut Input<'_>) -> Result<u32> {
    let at = input.offset();
    let n = input.vint()?;
    if n > i32::MAX.cast_unsigned() {
        return Err(Error::corrupt(input.file(), at, "a number of at least 0", n.cast_signed()));
    }
    Ok(n)
}

/// Full groups as words, whose highest bits have the first numbers; then the rest one by one. All little-endian.
fn interleaved(bytes: &[u8], bits: u32, out: &mut Vec<u32>) {
    let (groups, rest) = bytes.split_at(bytes.len() - bytes.len() % (GROUP * bits as usize / 8));
    let mask = u64::MAX >> (64 - bits);
    for group in groups.chunks_exact(GROUP * bits as usize / 8) {
        let words = group.as_chunks::<8>().0;
        for part in (0..64 / bits).rev() {
            out.extend(words.iter().map(|w| (u64::from_le_bytes(*w) >> (part * bits) & mask) as u32));
        }
    }
    for n in rest.chunks_exact(bits as usize / 8) {
        out.push(n.iter().rev().fold(0, |all, b| all << 8 | u32::from(*b)));
    }
}

#[cfg(test)]
pub(super) mod tests;
