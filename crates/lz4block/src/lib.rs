//! Decompresses LZ4 blocks. The work is done by `lz4_flex`.
//!
//! This is a crate of its own since the compiler takes the loop of `lz4_flex` into the function that calls it only where
//! nothing else in the crate calls it: a reader of LZ4 frames beside it makes it a call with the state in memory, a
//! fifteenth slower.

pub use lz4_flex::block::DecompressError;
use lz4_flex::block::{decompress_into, decompress_into_with_dict};

/// Decompresses a block into `out`, which is to be as long as what it yields; matches may reach back into `dictionary`. Says how
/// many bytes were written.
///
/// # Errors
/// When the block is corrupt or yields more than there is room for.
// By itself: inlined into the loop of a caller, it becomes a quarter slower.
#[inline(never)]
pub fn decompress(block: &[u8], out: &mut [u8], dictionary: &[u8]) -> Result<usize, DecompressError> {
    if dictionary.is_empty() {
        decompress_into(block, out)
    } else {
        decompress_into_with_dict(block, out, dictionary)
    }
}
