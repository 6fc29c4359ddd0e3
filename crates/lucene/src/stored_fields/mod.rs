//! Stored fields: `.fdt` has the documents, in compressed blocks; `.fdm` and `.fdx` say where each block is.
//!
//! ```text
//! DataHeader   which format the .fdt file has, from its first bytes
//! BlockIndex   where each block is, from .fdm and .fdx: any range of documents is a range of bytes
//! BlockDecoder turns the bytes of one block into its documents
//! ```
//!
//! A format is a row of the table in `format`: the codec name in the `.fdt` header, and what its blocks and
//! their compression are. Follows Lucene's `Lucene41StoredFieldsFormat`, `Lucene50…`, `Lucene87…` and `Lucene90…`, and the
//! formats of others that differ from the last in the compression only.

mod block;
mod compression;
mod document;
mod format;
mod header;
mod index;
mod ints;

pub use block::{BlockDecoder, Documents};
pub use document::{Fields, StoredDocument, Value};
pub use format::Format;
pub use header::{DataHeader, MAX_HEADER_LEN};
pub use index::{Block, BlockIndex};

use crate::input::Input;
use crate::{Error, Result};

/// Reads the size of slices.
fn chunk_size(input: &mut Input<'_>) -> Result<u32> {
    let at = input.offset();
    match input.vint()? {
        size if size > 0 && size <= i32::MAX.cast_unsigned() => Ok(size),
        other => Err(Error::corrupt(input.file(), at, "a positive chunk size", other)),
    }
}
