//! The table of formats.

use super::compression::Decompressor;
use super::compression::deflate_dict::DeflateDict;
use super::compression::lz4_dict::Lz4Dict;
use super::compression::zstd::{ZstdDict, ZstdFrame, ZstdPieces};
use super::ints::IntsLayout;
use crate::input::Endian;
use std::fmt;
use std::ops::RangeInclusive;

/// A format of `.fdt` files.
///
/// Two formats are the same when their codec names are.
pub struct Format {
    /// The codec name in the header.
    pub codec: &'static str,
    /// The versions that are read.
    pub(crate) versions: RangeInclusive<u32>,
    /// The byte order of fixed-width numbers, in blocks and in documents.
    pub(crate) endian: Endian,
    /// How the head of a block has its numbers.
    pub(crate) ints: IntsLayout,
    /// From this version on, a block's document count is followed by two flags rather than one.
    pub(crate) two_flags_from: u32,
    /// The greatest number of documents in a block.
    pub(crate) max_docs: u32,
    /// Makes what undoes the compression.
    pub(crate) decompressor: fn() -> Box<dyn Decompressor>,
}

/// All formats that are read.
pub(crate) const FORMATS: &[Format] = &[
    Format {
        codec: "Lucene90StoredFieldsFastData",
        versions: 1..=1,
        endian: Endian::Little,
        ints: IntsLayout::Interleaved,
        two_flags_from: 1,
        max_docs: 1024,
        decompressor: || Box::new(Lz4Dict::default()),
    },
    Format {
        codec: "Lucene90StoredFieldsHighData",
        versions: 1..=1,
        endian: Endian::Little,
        ints: IntsLayout::Interleaved,
        two_flags_from: 1,
        max_docs: 4096,
        decompressor: || Box::new(DeflateDict::default()),
    },
    Format {
        codec: "ZstdStoredFields814",
        versions: 1..=1,
        endian: Endian::Little,
        ints: IntsLayout::Interleaved,
        two_flags_from: 1,
        max_docs: 2048,
        decompressor: || Box::new(ZstdFrame::default()),
    },
    Format {
        codec: "CustomStoredFieldsZstd",
        versions: 1..=1,
        endian: Endian::Little,
        ints: IntsLayout::Interleaved,
        two_flags_from: 1,
        max_docs: 4096,
        decompressor: || Box::new(ZstdDict::default()),
    },
    Format {
        codec: "CustomStoredFieldsZstdNoDict",
        versions: 1..=1,
        endian: Endian::Little,
        ints: IntsLayout::Interleaved,
        two_flags_from: 1,
        max_docs: 4096,
        decompressor: || Box::new(ZstdPieces::default()),
    },
    Format {
        codec: "Lucene87StoredFieldsFastData",
        versions: 3..=4,
        endian: Endian::Big,
        ints: IntsLayout::Packed,
        two_flags_from: 4,
        max_docs: 1024,
        decompressor: || Box::new(Lz4Dict::default()),
    },
    Format {
        codec: "Lucene87StoredFieldsHighData",
        versions: 3..=4,
        endian: Endian::Big,
        ints: IntsLayout::Packed,
        two_flags_from: 4,
        max_docs: 4096,
        decompressor: || Box::new(DeflateDict::default()),
    },
];

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.codec == other.codec
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codec)
    }
}
