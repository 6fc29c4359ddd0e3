//! Compressions of blocks. Another one is another module here, and a row in the table of formats that names it.

pub(crate) mod deflate;
pub(crate) mod deflate_dict;
pub(crate) mod lz4_dict;
pub(crate) mod lz4_stream;
pub(crate) mod qat;
pub(crate) mod zstd;

use crate::Result;
use crate::input::Input;

/// Undoes one compression. May keep state to reuse between calls.
pub(crate) trait Decompressor: Send + Sync {
    /// Decompresses `len` bytes from the cursor onto the end of `out`, and leaves the cursor behind their compressed form.
    ///
    /// The length is only what the input states: `out` must grow no more than compressed bytes that are really there can
    /// yield.
    ///
    /// # Errors
    /// When the compressed bytes are corrupt or yield another length.
    fn decompress(&mut self, input: &mut Input<'_>, len: usize, out: &mut Output) -> Result<()>;
}

/// A buffer that is written from its start again for each block, and keeps its memory, so that a steady state allocates and
/// clears nothing.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    len: usize,
}

impl Output {
    /// Forgets what was written.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// What was written.
    pub(crate) fn written(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// How many bytes were written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Makes room for `n` bytes more, and returns what was written before and the room.
    pub(crate) fn room(&mut self, n: usize) -> (&[u8], &mut [u8]) {
        let end = self.len.saturating_add(n);
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        let (written, rest) = self.bytes.split_at_mut(self.len);
        (written, rest.get_mut(..n).unwrap_or_default())
    }

    /// Makes room for `n` bytes more, and returns it after the last `over` bytes that were written before.
    pub(crate) fn room_over(&mut self, over: usize, n: usize) -> &mut [u8] {
        self.room(n);
        let start = self.len.saturating_sub(over);
        self.bytes.get_mut(start..self.len.saturating_add(n)).unwrap_or_default()
    }

    /// Makes place for `n` bytes more at once, so that a block of many slices does not outgrow its memory again and again.
    pub(crate) fn expect(&mut self, n: usize) {
        let more = self.len.saturating_add(n).saturating_sub(self.bytes.len());
        self.bytes.reserve_exact(more);
    }

    /// Counts `n` bytes of the room as written.
    pub(crate) fn advance(&mut self, n: usize) {
        self.len = self.len.saturating_add(n).min(self.bytes.len());
    }
}

/// The lengths of the pieces that some compressions cut their input into: a dictionary, which is its beginning, then pieces
/// of equal length, each compressed with the dictionary before it; the last may be shorter. Or only pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pieces {
    pub(crate) dictionary: usize,
    each: usize,
    left: usize,
}

impl Pieces {
    /// Reads the lengths from the cursor, for `len` bytes in all.
    pub(crate) fn read(input: &mut Input<'_>, len: usize) -> Result<Self> {
        let at = input.offset();
        let dictionary = input.vint()? as usize;
        Self::read_each(input, at, dictionary, len)
    }

    /// Reads the length of the pieces from the cursor, for `len` bytes in all, where there is no dictionary.
    pub(crate) fn read_without_dictionary(input: &mut Input<'_>, len: usize) -> Result<Self> {
        Self::read_each(input, input.offset(), 0, len)
    }

    fn read_each(input: &mut Input<'_>, at: u64, dictionary: usize, len: usize) -> Result<Self> {
        let each = input.vint()? as usize;
        match len.checked_sub(dictionary) {
            Some(left) if left == 0 || each > 0 => Ok(Self { dictionary, each, left }),
            _ => {
                let expected = format_args!("a dictionary and pieces of {len} bytes in all");
                let found = format_args!("a dictionary of {dictionary} bytes and pieces of {each}");
                Err(crate::Error::corrupt(input.file(), at, expected, found))
            }
        }
    }
}

/// The lengths of the pieces after the dictionary.
impl Iterator for Pieces {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let next = self.each.min(self.left);
        self.left -= next;
        (next > 0).then_some(next)
    }
}
