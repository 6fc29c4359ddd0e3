//! LZ4 with a preset dictionary: Lucene's `LZ4WithPresetDictCompressionMode`.
//!
//! The lengths of dictionary and pieces as vInts, the compressed length of each, then each as a raw LZ4 block.

use super::{Decompressor, Output, Pieces};
use crate::input::Input;
use crate::{Error, Result};
use lz4block::{DecompressError, decompress};

/// The most bytes that one compressed byte can stand for: a byte more in the length of a match.
const MAX_RATIO: usize = 255;

#[derive(Debug, Default)]
pub(crate) struct Lz4Dict {
    compressed_lengths: Vec<usize>,
}

impl Decompressor for Lz4Dict {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        let pieces = Pieces::read(input, len)?;
        let dictionary = input.vint()? as usize;
        self.compressed_lengths.clear();
        for _ in pieces {
            // Each takes a byte of input, which bounds how many there can be.
            self.compressed_lengths.push(input.vint()? as usize);
        }
        let start = out.len();
        let (at, compressed) = (input.offset(), input.bytes(dictionary)?);
        let (_, free) = room(input, at, compressed, pieces.dictionary, out)?;
        check(input, at, pieces.dictionary, decompress(compressed, free, &[]))?;
        out.advance(pieces.dictionary);
        for (piece, length) in pieces.zip(&self.compressed_lengths) {
            let (at, compressed) = (input.offset(), input.bytes(*length)?);
            let (written, free) = room(input, at, compressed, piece, out)?;
            let dictionary =
                written.get(start..).and_then(|d| d.get(..pieces.dictionary)).unwrap_or_default();
            check(input, at, piece, decompress(compressed, free, dictionary))?;
            out.advance(piece);
        }
        Ok(())
    }
}

/// Room for `len` bytes, if so many can come of these compressed ones.
fn room<'o>(
    input: &Input<'_>,
    at: u64,
    compressed: &[u8],
    len: usize,
    out: &'o mut Output,
) -> Result<(&'o [u8], &'o mut [u8])> {
    if len > compressed.len().saturating_mul(MAX_RATIO) {
        let expected = format_args!("{len} bytes compressed with LZ4");
        return Err(Error::corrupt(
            input.file(),
            at,
            expected,
            format_args!("only {} bytes", compressed.len()),
        ));
    }
    Ok(out.room(len))
}

fn check(
    input: &Input<'_>,
    at: u64,
    len: usize,
    result: std::result::Result<usize, DecompressError>,
) -> Result<()> {
    match result {
        Ok(n) if n == len => Ok(()),
        Ok(n) => Err(Error::corrupt(input.file(), at, format_args!("{len} bytes compressed with LZ4"), n)),
        Err(e) => Err(Error::corrupt(input.file(), at, format_args!("{len} bytes compressed with LZ4"), e)),
    }
}
