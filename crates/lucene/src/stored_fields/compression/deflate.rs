//! DEFLATE: Lucene's `CompressionMode.HIGH_COMPRESSION`. The compressed length, then a raw DEFLATE stream.

use super::deflate_dict::Inflater;
use super::{Decompressor, Output};
use crate::Result;
use crate::input::Input;

#[derive(Default)]
pub(crate) struct Deflate(Inflater);

impl Decompressor for Deflate {
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()> {
        self.0.piece(input, len, out)
    }
}
