//! The table of formats.

use super::compression::Decompressor;
use super::compression::deflate::Deflate;
use super::compression::deflate_dict::DeflateDict;
use super::compression::lz4_dict::Lz4Dict;
use super::compression::lz4_stream::Lz4Stream;
use super::compression::qat::Qat;
use super::compression::zstd::{ZstdDict, ZstdFrame, ZstdPieces};
use super::document::Numbers;
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
    /// Whether numbers in documents have their full width, which only Lucene 4 gives them.
    pub(crate) fixed_numbers: bool,
    /// How the head of a block has its numbers.
    pub(crate) ints: IntsLayout,
    /// How many flags follow a block's document count, in this version.
    pub(crate) flags: fn(u32) -> u32,
    /// What stands between header and first block, in this version.
    pub(crate) preamble: fn(u32) -> Preamble,
    /// The greatest number of documents in a block.
    pub(crate) max_docs: u32,
    /// Makes what undoes the compression.
    pub(crate) decompressor: fn() -> Box<dyn Decompressor>,
}

/// What a `.fdt` file has between its header and its first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preamble {
    /// Nothing: all is in the metadata of the index.
    None,
    /// The version of the packed numbers.
    PackedVersion,
    /// The size of slices, then the version of the packed numbers.
    ChunkSize,
}

/// The last flag of a block's document count: the block is sliced.
pub(crate) const SLICED: u32 = 1;

/// All formats that are read.
pub(crate) const FORMATS: &[Format] = &[
    Format::lucene90("Lucene90StoredFieldsFastData", 1024, || Box::new(Lz4Dict::default())),
    Format::lucene90("Lucene90StoredFieldsHighData", 4096, || Box::new(DeflateDict::default())),
    Format::lucene90("ZstdStoredFields814", 2048, || Box::new(ZstdFrame::default())),
    Format::lucene90("CustomStoredFieldsZstd", 4096, || Box::new(ZstdDict::default())),
    Format::lucene90("CustomStoredFieldsZstdNoDict", 4096, || Box::new(ZstdPieces::default())),
    Format::lucene90("QatStoredFieldsLz4", 4096, || Box::new(Qat::lz4())),
    Format::lucene90("QatStoredFieldsDeflate", 4096, || Box::new(Qat::deflate())),
    Format::lucene90("QatStoredFieldsZstd", 4096, || Box::new(Qat::zstd())),
    Format::lucene50("Lucene87StoredFieldsFastData", 3..=4, 1024, || Box::new(Lz4Dict::default())),
    Format::lucene50("Lucene87StoredFieldsHighData", 3..=4, 4096, || Box::new(DeflateDict::default())),
    Format::lucene50("Lucene50StoredFieldsFastData", 0..=4, 128, || Box::new(Lz4Stream)),
    Format::lucene50("Lucene50StoredFieldsHighData", 0..=4, 512, || Box::new(Deflate::default())),
    Format {
        codec: "Lucene41StoredFieldsData",
        versions: 0..=2,
        endian: Endian::Big,
        fixed_numbers: true,
        ints: IntsLayout::Packed,
        flags: |_| 0,
        preamble: |version| if version == 0 { Preamble::PackedVersion } else { Preamble::ChunkSize },
        max_docs: 128,
        decompressor: || Box::new(Lz4Stream),
    },
];

impl Format {
    pub(crate) fn numbers(&self) -> Numbers {
        if self.fixed_numbers { Numbers::Fixed } else { Numbers::Variable(self.endian) }
    }

    /// A format with the blocks of Lucene 9 and 10.
    const fn lucene90(
        codec: &'static str,
        max_docs: u32,
        decompressor: fn() -> Box<dyn Decompressor>,
    ) -> Self {
        Self {
            codec,
            versions: 1..=1,
            endian: Endian::Little,
            fixed_numbers: false,
            ints: IntsLayout::Interleaved,
            flags: |_| 2,
            preamble: |_| Preamble::None,
            max_docs,
            decompressor,
        }
    }

    /// A format with the blocks of Lucene 5 to 8.
    const fn lucene50(
        codec: &'static str,
        versions: RangeInclusive<u32>,
        max_docs: u32,
        decompressor: fn() -> Box<dyn Decompressor>,
    ) -> Self {
        Self {
            codec,
            versions,
            endian: Endian::Big,
            fixed_numbers: false,
            ints: IntsLayout::Packed,
            flags: |version| if version >= 4 { 2 } else { 1 },
            preamble: |version| if version >= 3 { Preamble::None } else { Preamble::ChunkSize },
            max_docs,
            decompressor,
        }
    }
}

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
