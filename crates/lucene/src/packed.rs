//! Numbers packed into as many bits each as the greatest needs, and the monotonic sequences made of them.
//!
//! Lucene's `DirectReader` (little-endian from Lucene 9, big-endian before), `PackedInts` in its `PACKED` format (as the
//! big-endian one), and `DirectMonotonicReader`.

use crate::input::{Endian, Input};
use crate::{Error, Result};

/// Number `index` of those packed into `bits` (at most 64) bits each, or nothing when `packed` ends before it.
///
/// Little-endian numbers fill each byte from its lowest bit, big-endian ones from its highest.
#[inline]
pub(crate) fn get(packed: &[u8], endian: Endian, bits: u32, index: u64) -> Option<u64> {
    if bits == 0 {
        return Some(0);
    }
    let first_bit = index.checked_mul(bits.into())?;
    let shift = u32::try_from(first_bit % 8).ok()?;
    // Most numbers are small and lie far from the end.
    if bits <= u64::BITS - 8
        && let Some(word) = packed.get(usize::try_from(first_bit / 8).ok()?..)?.first_chunk()
    {
        return Some(match endian {
            Endian::Little => u64::from_le_bytes(*word) >> shift & u64::MAX >> (u64::BITS - bits),
            Endian::Big => u64::from_be_bytes(*word) << shift >> (u64::BITS - bits),
        });
    }
    let width = usize::try_from((shift + bits).div_ceil(8)).ok()?;
    let bytes = packed.get(usize::try_from(first_bit / 8).ok()?..)?.get(..width)?;
    let mut number = 0u128;
    let mask = (1u128 << bits) - 1;
    match endian {
        Endian::Little => {
            for b in bytes.iter().rev() {
                number = number << 8 | u128::from(*b);
            }
            number >>= shift;
        }
        Endian::Big => {
            for b in bytes {
                number = number << 8 | u128::from(*b);
            }
            number >>= (width * 8) as u32 - shift - bits;
        }
    }
    u64::try_from(number & mask).ok()
}

/// The length of `count` numbers of so many bits, padded to a multiple of `padded` bytes.
pub(crate) fn len(count: u64, bits: u32, padded: usize) -> Option<usize> {
    let bytes = count.checked_mul(bits.into())?.div_ceil(8);
    usize::try_from(bytes).ok()?.checked_next_multiple_of(padded)
}

/// The length of a block's record in the metadata of a monotonic sequence, in bytes.
const META_LEN: usize = 21;

/// The number of blocks of `1 << shift` values that `count` values take.
fn blocks(input: &Input<'_>, at: u64, count: u64, shift: u32) -> Result<usize> {
    let Some(size) = 1u64.checked_shl(shift) else {
        return Err(Error::corrupt(input.file(), at, "a block shift below 64", shift));
    };
    input.bounded(at, count.div_ceil(size), "a number of blocks of a monotonic sequence", META_LEN)
}

/// Passes over the metadata of a monotonic sequence of `count` values in blocks of `1 << shift`.
pub(crate) fn skip_monotonic(input: &mut Input<'_>, count: u64, shift: u32) -> Result<()> {
    let n = blocks(input, input.offset(), count, shift)?;
    input.skip((n * META_LEN) as u64)
}

/// A sequence of numbers that never fall, stored in blocks as a line (least value and average increment) and the packed
/// distances of the values from it. It stays packed, and is decoded value by value.
#[derive(Debug, Clone)]
pub(crate) struct Monotonic {
    shift: u32,
    count: u64,
    endian: Endian,
    blocks: Vec<Line>,
    packed: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Line {
    min: i64,
    average: f32,
    offset: u64,
    bits: u8,
}

impl Monotonic {
    /// Reads the metadata of a sequence of `count` values in blocks of `1 << shift`. The values come with [`Self::fill`].
    pub(crate) fn read(input: &mut Input<'_>, count: u64, shift: u32) -> Result<Self> {
        let n = blocks(input, input.offset(), count, shift)?;
        let mut lines = Vec::with_capacity(n);
        for _ in 0..n {
            let min = input.i64()?;
            let average = f32::from_bits(input.i32()?.cast_unsigned());
            let offset = input.count64("an offset of packed values")?;
            let bits = input.u8()?;
            if !matches!(bits, 0 | 1 | 2 | 4 | 8 | 12 | 16 | 20 | 24 | 28 | 32 | 40 | 48 | 56 | 64) {
                return Err(input.corrupt("a number of bits that packed values have", bits));
            }
            lines.push(Line { min, average, offset, bits });
        }
        Ok(Self { shift, count, endian: input.endian(), blocks: lines, packed: Vec::new() })
    }

    /// Hands over the packed values.
    pub(crate) fn fill(&mut self, packed: &[u8]) {
        self.packed = packed.to_vec();
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Value `index`, or nothing when there are fewer or the packed bytes end before it.
    ///
    /// The line is evaluated in single precision, as the writer does: anything else is off by some bytes.
    pub(crate) fn get(&self, index: u64) -> Option<i64> {
        if index >= self.count {
            return None;
        }
        let line = self.blocks.get(usize::try_from(index.checked_shr(self.shift)?).ok()?)?;
        let within = index & (1u64 << self.shift).wrapping_sub(1);
        let packed =
            if line.bits == 0 { &[] } else { self.packed.get(usize::try_from(line.offset).ok()?..)? };
        let distance = get(packed, self.endian, line.bits.into(), within)?;
        let on_line = (line.average * within as f32) as i64;
        Some(line.min.wrapping_add(on_line).wrapping_add(distance.cast_signed()))
    }
}

#[cfg(test)]
mod tests;
