//! Zstandard in its three shapes: one frame ([`ZstdFrame`], the format `ZstdStoredFields814`), pieces that each are a frame
//! ([`ZstdPieces`], `CustomStoredFieldsZstdNoDict`), and pieces with a dictionary before them ([`ZstdDict`],
//! `CustomStoredFieldsZstd`).
//!
//! Every frame follows its compressed length. A dictionary is the beginning of the documents themselves: raw content.

use super::{Decompressor, Output, Pieces};
use crate::input::Input;
use crate::{Error, Result};
use std::ops::Range;
use zstd::zstd_safe::{DCtx, get_error_name};

/// The most bytes that one compressed byte can stand for: blocks of 128 KiB, of which each takes at least four bytes.
pub(super) const MAX_RATIO: usize = (128 << 10) / 4;

/// One frame.
#[derive(Default)]
pub(crate) struct ZstdFrame(Frames);

/// The length of the pieces, then each as a frame.
#[derive(Default)]
pub(crate) struct ZstdPieces(Frames);

/// The lengths of dictionary and pieces, then each as a frame; pieces are compressed with the dictionary.
#[derive(Default)]
pub(crate) struct ZstdDict(Frames);

impl Decompressor for ZstdFrame {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        self.0.frame(input, len, 0..0, out)
    }
}

impl Decompressor for ZstdPieces {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        Pieces::read_without_dictionary(input, len)?
            .try_for_each(|piece| self.0.frame(input, piece, 0..0, out))
    }
}

impl Decompressor for ZstdDict {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        let start = out.len();
        let mut pieces = Pieces::read(input, len)?;
        let dictionary = start..start + pieces.dictionary;
        self.0.frame(input, pieces.dictionary, 0..0, out)?;
        pieces.try_for_each(|piece| self.0.frame(input, piece, dictionary.clone(), out))
    }
}

/// What frames are decompressed with.
pub(crate) struct Frames(DCtx<'static>);

impl Default for Frames {
    fn default() -> Self {
        Self(DCtx::create())
    }
}

impl Frames {
    /// Decompresses one frame of `len` bytes after its compressed length, with that part of the output as dictionary.
    pub(crate) fn frame(
        &mut self,
        input: &mut Input<'_>,
        len: usize,
        dictionary: Range<usize>,
        out: &mut Output,
    ) -> Result<()> {
        let compressed_len = input.vint()? as usize;
        let at = input.offset();
        let compressed = input.bytes(compressed_len)?;
        let wrong = |found: &dyn std::fmt::Display| {
            Err(Error::corrupt(
                input.file(),
                at,
                format_args!("{len} bytes compressed with Zstandard"),
                found,
            ))
        };
        if len > compressed_len.saturating_mul(MAX_RATIO) {
            return wrong(&format_args!("only {compressed_len} bytes"));
        }
        if compressed_len == 0 {
            return Ok(()); // nothing is compressed to nothing
        }
        let (written, room) = out.room(len);
        let dictionary = written.get(dictionary).unwrap_or_default();
        match self.0.decompress_using_dict(room, compressed, dictionary) {
            Ok(n) if n == len => out.advance(len),
            Ok(n) => return wrong(&format_args!("{n} bytes")),
            Err(code) => return wrong(&get_error_name(code)),
        }
        Ok(())
    }
}
