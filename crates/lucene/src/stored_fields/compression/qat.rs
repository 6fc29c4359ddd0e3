//! Pieces that QATzip has compressed, with Intel's hardware or without: `qat_lz4`, `qat_deflate` and `qat_zstd` of
//! OpenSearch's plugin custom-codecs.
//!
//! The length of the pieces, then each after its compressed length. QATzip cuts a piece that is longer than its buffers:
//! such a piece is several LZ4 frames, gzip members or Zstandard frames, one after the other.

use super::{Decompressor, Output, Pieces};
use crate::input::Input;
use crate::{Error, Result};
use std::io::{self, Read};

/// Undoes the compression of pieces.
pub(crate) struct Qat {
    /// For errors.
    name: &'static str,
    /// The most bytes that one compressed byte can stand for.
    max_ratio: usize,
    /// Fills the room from frames, and returns how much of it there was to fill.
    read: fn(&[u8], &mut [u8]) -> io::Result<usize>,
}

impl Qat {
    pub(crate) fn lz4() -> Self {
        Self { name: "LZ4 in frames", max_ratio: 256, read: lz4 }
    }

    pub(crate) fn deflate() -> Self {
        Self { name: "gzip", max_ratio: 1100, read: gzip }
    }

    pub(crate) fn zstd() -> Self {
        Self { name: "Zstandard", max_ratio: super::zstd::MAX_RATIO, read: zstd }
    }

    fn piece(&self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        let compressed_len = input.vint()? as usize;
        let at = input.offset();
        let compressed = input.bytes(compressed_len)?;
        let wrong = |found: &dyn std::fmt::Display| {
            let expected = format_args!("{len} bytes compressed with {}", self.name);
            Err(Error::corrupt(input.file(), at, expected, found))
        };
        if len > compressed_len.saturating_mul(self.max_ratio) {
            return wrong(&format_args!("only {compressed_len} bytes"));
        }
        let (_, room) = out.room(len);
        match (self.read)(compressed, room) {
            Ok(n) if n == len => out.advance(len),
            Ok(n) => return wrong(&format_args!("{n} bytes")),
            Err(error) => return wrong(&error),
        }
        Ok(())
    }
}

impl Decompressor for Qat {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        Pieces::read_without_dictionary(input, len)?.try_for_each(|piece| self.piece(input, piece, out))
    }
}

/// Fills the room as far as the bytes go; an error when they go further.
fn fill(mut from: impl Read, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        // One byte beyond the room, to see that there is none.
        let mut beyond = [0];
        let rest = room.get_mut(filled..).filter(|rest| !rest.is_empty()).unwrap_or(&mut beyond);
        match from.read(rest)? {
            0 => return Ok(filled),
            n if filled + n <= room.len() => filled += n,
            _ => return Err(io::Error::other("more than that")),
        }
    }
}

fn lz4(mut compressed: &[u8], room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while !compressed.is_empty() {
        let frame = lz4_flex::frame::FrameDecoder::new(&mut compressed);
        filled += fill(frame, room.get_mut(filled..).unwrap_or_default())?;
    }
    Ok(filled)
}

fn gzip(compressed: &[u8], room: &mut [u8]) -> io::Result<usize> {
    fill(flate2::bufread::MultiGzDecoder::new(compressed), room)
}

fn zstd(compressed: &[u8], room: &mut [u8]) -> io::Result<usize> {
    ::zstd::bulk::decompress_to_buffer(compressed, room)
}
