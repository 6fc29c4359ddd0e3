//! LZ4 without lengths: Lucene's `CompressionMode.FAST`.
//!
//! A raw LZ4 block whose compressed length nobody states: it ends where as many bytes have come out as were wanted. So the
//! decoder has to tell how many it took, since more blocks follow where documents are large.

use super::{Decompressor, Output};
use crate::input::Input;
use crate::{Error, ErrorKind, Result};

/// The most bytes that one compressed byte can stand for: a byte more in the length of a match.
const MAX_RATIO: usize = 255;
/// The shortest match.
const MIN_MATCH: usize = 4;
/// Copies of up to this many bytes are done as one of so many, where there is room, which is faster than the exact ones.
const WIDE: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Lz4Stream;

impl Decompressor for Lz4Stream {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        let compressed = input.rest();
        if len > compressed.len().saturating_mul(MAX_RATIO) {
            let expected = format_args!("{len} bytes compressed with LZ4");
            return Err(input.corrupt(expected, format_args!("only {} bytes", compressed.len())));
        }
        let (_, room) = out.room(len);
        match decode(compressed, room) {
            Ok(taken) => {
                input.skip(taken as u64)?;
                out.advance(len);
                Ok(())
            }
            Err(Fault { at, what, truncated }) => {
                let offset = input.offset().saturating_add(at as u64);
                let kind = if truncated { ErrorKind::Truncated } else { ErrorKind::Corrupt };
                let message = format!("expected {len} bytes compressed with LZ4, found {what}");
                Err(Error::new(kind, input.file(), offset, message))
            }
        }
    }
}

/// What is wrong, and where in the compressed bytes.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    at: usize,
    what: &'static str,
    truncated: bool,
}

/// Decodes until `out` is full, and returns how many bytes of `compressed` that took.
fn decode(compressed: &[u8], out: &mut [u8]) -> std::result::Result<usize, Fault> {
    let (mut at, mut done) = (0, 0);
    while done < out.len() {
        let token = byte(compressed, &mut at)?;
        let literals = length(compressed, &mut at, token >> 4)?;
        copy_literals(compressed, at, literals, out, done)?;
        at += literals;
        done += literals;
        if done >= out.len() {
            break; // the last literals have no match after them
        }
        let distance = usize::from(byte(compressed, &mut at)?) | usize::from(byte(compressed, &mut at)?) << 8;
        let matched = length(compressed, &mut at, token & 15)?.saturating_add(MIN_MATCH);
        if distance == 0 || distance > done {
            return Err(Fault { at, what: "a match before the first byte", truncated: false });
        }
        if matched > out.len() - done {
            return Err(Fault { at, what: "a match beyond the last byte", truncated: false });
        }
        copy_match(out, done, distance, matched);
        done += matched;
    }
    Ok(at)
}

#[inline]
fn byte(compressed: &[u8], at: &mut usize) -> std::result::Result<u8, Fault> {
    let byte = compressed.get(*at).copied();
    let byte = byte.ok_or(Fault { at: *at, what: "the end of the bytes", truncated: true })?;
    *at += 1;
    Ok(byte)
}

/// A length of which the token has four bits: 15 means that more follow, as long as they are 255.
#[inline]
fn length(compressed: &[u8], at: &mut usize, bits: u8) -> std::result::Result<usize, Fault> {
    let mut length = usize::from(bits);
    if bits == 15 {
        loop {
            let more = byte(compressed, at)?;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Ok(length)
}

#[inline]
fn copy_literals(
    compressed: &[u8],
    at: usize,
    length: usize,
    out: &mut [u8],
    done: usize,
) -> std::result::Result<(), Fault> {
    if length <= WIDE
        && let Some(from) = compressed.get(at..).and_then(|c| c.first_chunk::<WIDE>())
        && let Some(to) = out.get_mut(done..).and_then(|o| o.first_chunk_mut::<WIDE>())
    {
        *to = *from;
        return Ok(());
    }
    let from = compressed.get(at..).and_then(|c| c.get(..length));
    let from = from.ok_or(Fault { at, what: "the end of the bytes", truncated: true })?;
    let to = out.get_mut(done..).and_then(|o| o.get_mut(..length));
    let to = to.ok_or(Fault { at, what: "literals beyond the last byte", truncated: false })?;
    to.copy_from_slice(from);
    Ok(())
}

/// Copies from what is there already. The caller has checked that source and target lie within.
#[inline]
fn copy_match(out: &mut [u8], done: usize, distance: usize, length: usize) {
    let start = done - distance;
    if length <= WIDE && distance >= WIDE && done + WIDE <= out.len() {
        out.copy_within(start..start + WIDE, done);
    } else if distance >= length {
        out.copy_within(start..start + length, done);
    } else {
        // The source runs into the target: what has been copied is a period more to copy from each time.
        let (mut copied, mut period) = (0, distance);
        while copied < length {
            let n = period.min(length - copied);
            out.copy_within(start..start + n, done + copied);
            copied += n;
            period += n;
        }
    }
}

#[cfg(test)]
mod tests;
