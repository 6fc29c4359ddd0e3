//! The compressed pieces within a block of stored fields, found apart from the reader that is measured: what the
//! bare decompressor is given.

use crate::Result;
use std::ops::Range;

/// How a block is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Lz4,
    Deflate,
    Zstd,
}

/// One compressed piece.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Its place in the block.
    pub(crate) compressed: Range<usize>,
    /// What it decompresses to, within what the block does.
    pub(crate) plain: Range<usize>,
    /// The dictionary, likewise.
    pub(crate) dictionary: Range<usize>,
}

/// The pieces of a block of `count` documents that decompresses to `length` bytes.
pub(crate) fn pieces(
    block: &[u8],
    codec: Codec,
    interleaved: bool,
    count: u32,
    chunk_size: usize,
    length: usize,
) -> Result<Vec<Piece>> {
    let mut at = Cursor { bytes: block, pos: 0 };
    at.vint()?;
    let sliced = at.vint()? & 1 != 0;
    for _ in ["fields", "lengths"] {
        at.numbers(interleaved, count as usize)?;
    }
    let (mut pieces, mut start) = (Vec::new(), 0);
    let slice = if sliced { chunk_size } else { length.max(1) };
    while start < length {
        let end = length.min(start + slice);
        at.slice(codec, start..end, &mut pieces)?;
        start = end;
    }
    if at.pos != block.len() {
        return Err(format!("{} bytes of a block are left", block.len() - at.pos).into());
    }
    Ok(pieces)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Result<u8> {
        self.pos += 1;
        Ok(*self.bytes.get(self.pos - 1).ok_or("a block ends too soon")?)
    }

    fn vint(&mut self) -> Result<usize> {
        let (mut n, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            n |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return Ok(n);
            }
        }
    }

    fn skip(&mut self, length: usize) -> Range<usize> {
        self.pos += length;
        self.pos - length..self.pos
    }

    /// Passes over a list of numbers.
    fn numbers(&mut self, interleaved: bool, count: usize) -> Result<()> {
        if count == 1 {
            return self.vint().map(drop);
        }
        let bits = if interleaved { usize::from(self.byte()?) } else { self.vint()? };
        if bits == 0 {
            self.vint()?;
        }
        self.skip((count * bits).div_ceil(8));
        Ok(())
    }

    fn slice(&mut self, codec: Codec, plain: Range<usize>, pieces: &mut Vec<Piece>) -> Result<()> {
        if codec == Codec::Zstd {
            let length = self.vint()?;
            let compressed = self.skip(length);
            pieces.push(Piece { compressed, plain: plain.clone(), dictionary: plain.start..plain.start });
            return Ok(());
        }
        let (dictionary, each) = (self.vint()?, self.vint()?);
        let dictionary = plain.start..plain.start + dictionary;
        let mut ranges = Vec::from([dictionary.clone()]);
        ranges
            .extend((dictionary.end..plain.end).step_by(each.max(1)).map(|at| at..plain.end.min(at + each)));
        let mut lengths = Vec::new();
        if codec == Codec::Lz4 {
            for _ in &ranges {
                lengths.push(self.vint()?);
            }
        }
        for (n, plain) in ranges.into_iter().enumerate() {
            let length = match lengths.get(n) {
                Some(length) => *length,
                None => self.vint()?,
            };
            let compressed = self.skip(length);
            if !plain.is_empty() {
                let dictionary = if n == 0 { plain.start..plain.start } else { dictionary.clone() };
                pieces.push(Piece { compressed, plain, dictionary });
            }
        }
        Ok(())
    }
}
