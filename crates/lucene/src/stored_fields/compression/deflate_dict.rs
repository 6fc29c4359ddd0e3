//! DEFLATE with a preset dictionary: Lucene's `DeflateWithPresetDictCompressionMode`.
//!
//! The lengths of dictionary and pieces as vInts, then each with its compressed length before it, as a raw DEFLATE stream.

use super::{Decompressor, Output, Pieces};
use crate::input::Input;
use crate::{Error, Result};
use flate2::{Decompress, FlushDecompress, Status};

/// The most bytes that one compressed byte can stand for: four matches of 258 bytes, of two bits each.
const MAX_RATIO: usize = 1032;

#[derive(Debug, Default)]
pub(crate) struct DeflateDict(Inflater);

impl Decompressor for DeflateDict {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        let start = out.len();
        let pieces = Pieces::read(input, len)?;
        self.0.piece(input, pieces.dictionary, start..start, out)?;
        for piece in pieces {
            self.0.piece(input, piece, start..start + pieces.dictionary, out)?;
        }
        Ok(())
    }
}

/// What pieces are decompressed with.
#[derive(Debug)]
pub(crate) struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(false))
    }
}

impl Inflater {
    /// Decompresses one piece of `len` bytes after its compressed length, with that part of the output as dictionary.
    pub(crate) fn piece(
        &mut self,
        input: &mut Input<'_>,
        len: usize,
        dictionary: std::ops::Range<usize>,
        out: &mut Output,
    ) -> Result<()> {
        let compressed_len = input.vint()? as usize;
        let at = input.offset();
        let compressed = input.bytes(compressed_len)?;
        let wrong = |found: &dyn std::fmt::Display| {
            Err(Error::corrupt(input.file(), at, format_args!("{len} bytes compressed with DEFLATE"), found))
        };
        if len > compressed_len.saturating_mul(MAX_RATIO) {
            return wrong(&format_args!("only {compressed_len} bytes"));
        }
        if compressed_len == 0 {
            return Ok(()); // nothing is compressed to nothing
        }
        self.0.reset(false);
        let (written, room) = out.room(len);
        if let Some(dictionary @ [_, ..]) = written.get(dictionary)
            && let Err(e) = self.0.set_dictionary(dictionary)
        {
            return wrong(&e);
        }
        match self.0.decompress(compressed, room, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) => {}
            Ok(_) => return wrong(&"a stream that does not end"),
            Err(e) => return wrong(&e),
        }
        if self.0.total_out() != len as u64 || self.0.total_in() != compressed_len as u64 {
            return wrong(&format_args!(
                "{} bytes from {} of {compressed_len}",
                self.0.total_out(),
                self.0.total_in()
            ));
        }
        out.advance(len);
        Ok(())
    }
}
