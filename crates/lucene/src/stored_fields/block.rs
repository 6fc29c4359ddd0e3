//! A block: a head with the number of fields and the length of each document, then all documents, compressed together.

use super::compression::{Decompressor, Output};
use super::document::{Numbers, StoredDocument};
use super::format::{Format, SLICED};
use super::ints::{IntsLayout, padding};
use super::{Block, BlockIndex, DataHeader};
use crate::input::Input;
use crate::{Error, ErrorKind, Result};

/// How many bytes a compressed one stands for, in most blocks at most.
const USUAL_RATIO: usize = 8;

/// Decodes blocks of one `.fdt` file, one after another, reusing its memory.
pub struct BlockDecoder {
    file: String,
    format: &'static Format,
    flags: u32,
    ints: IntsLayout,
    chunk_size: usize,
    limit: usize,
    decompressor: Box<dyn Decompressor>,
    field_counts: Vec<u32>,
    ends: Vec<u32>,
    output: Output,
}

impl std::fmt::Debug for BlockDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockDecoder")
            .field("file", &self.file)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl BlockDecoder {
    /// A decoder for the `.fdt` file that has this header and this index.
    ///
    /// # Errors
    /// When header and index are of different segments or formats.
    pub fn new(file: &str, header: &DataHeader, index: &BlockIndex) -> Result<Self> {
        if header.id != index.id() {
            let text =
                |id: Option<crate::SegmentId>| id.map_or("none".to_owned(), |id| crate::codec::hex(&id));
            let expected = format_args!("the segment id of its index, {}", text(index.id()));
            return Err(Error::corrupt(file, 0, expected, text(header.id)));
        }
        Ok(Self::with_chunk_size(file, header, index.chunk_size()))
    }

    /// A decoder for the `.fdt` file that has this header and an index of this [`BlockIndex::chunk_size`]: for workers that
    /// are told where blocks are and have not read the index.
    pub fn with_chunk_size(file: &str, header: &DataHeader, chunk_size: Option<u32>) -> Self {
        let padded = padding(header.packed_version.unwrap_or(1)) > 1;
        Self {
            file: file.to_owned(),
            format: header.format,
            flags: (header.format.flags)(header.version),
            ints: if padded { IntsLayout::PackedInWords } else { header.format.ints },
            // Without one, nothing is sliced.
            chunk_size: header.chunk_size.or(chunk_size).map_or(usize::MAX, |size| (size as usize).max(1)),
            limit: usize::MAX,
            decompressor: (header.format.decompressor)(),
            field_counts: Vec::new(),
            ends: Vec::new(),
            output: Output::default(),
        }
    }

    /// The same for blocks of which at most `limit` bytes are to be decompressed. The documents beyond them are
    /// [cut off](Documents::cut_off): a few bytes may stand for gigabytes.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Decodes a block from its `bytes`, which are those of [`Block::offset`] and [`Block::length`] of the file.
    ///
    /// # Errors
    /// When the bytes are not of this block or are corrupt. The decoder may be used again.
    pub fn decode(&mut self, block: &Block, bytes: &[u8]) -> Result<Documents<'_>> {
        if bytes.len() as u64 != block.length {
            let message = format!("expected the {} bytes of a block, found {}", block.length, bytes.len());
            return Err(Error::new(ErrorKind::Truncated, &self.file, block.offset, message));
        }
        let file = std::mem::take(&mut self.file);
        let mut input = Input::new(&file, bytes).at(block.offset).with_endian(self.format.endian);
        let result = self.read(&mut input, block);
        self.file = file;
        result?;
        let bytes = self.output.written();
        let (all, size) = (self.ends.len(), self.ends.last().map_or(0, |end| *end as usize));
        let whole = if bytes.len() == size {
            all
        } else {
            self.ends.partition_point(|end| *end as usize <= bytes.len())
        };
        Ok(Documents {
            file: &self.file,
            first_doc: block.first_doc,
            numbers: self.format.numbers(),
            field_counts: &self.field_counts,
            ends: &self.ends,
            whole,
            bytes,
        })
    }

    fn read(&mut self, input: &mut Input<'_>, block: &Block) -> Result<()> {
        let (sliced, len) = self.head(input, block)?;
        self.output.clear();
        if len == 0 {
            return Ok(()); // empty documents only: what a compression makes of nothing needs no look
        }
        let slice = if sliced { self.chunk_size } else { len };
        // The length is only what the head states; few documents are compressed to less than that part.
        self.output.expect(len.min(self.limit).min(input.remaining().saturating_mul(USUAL_RATIO)));
        while self.output.len() < len {
            let next = slice.min(len - self.output.len());
            let before = self.output.len();
            if before + next > self.limit {
                return Ok(());
            }
            self.decompressor.decompress(input, next, &mut self.output)?;
            if self.output.len() != before + next {
                return Err(input.corrupt(format_args!("{next} bytes"), self.output.len() - before));
            }
        }
        input.end()
    }

    /// Reads the head, and returns whether the block is sliced and how long all documents are.
    fn head(&mut self, input: &mut Input<'_>, block: &Block) -> Result<(bool, usize)> {
        let start = input.offset();
        let first_doc = input.vint()?;
        let token = input.vint()?;
        let doc_count = token >> self.flags;
        if (first_doc, doc_count) != (block.first_doc, block.doc_count) {
            let expected =
                format_args!("a block of {} documents from {} on", block.doc_count, block.first_doc);
            return Err(Error::corrupt(
                input.file(),
                start,
                expected,
                format_args!("{doc_count} from {first_doc} on"),
            ));
        }
        if doc_count == 0 || doc_count > self.format.max_docs {
            let expected = format_args!("a block of 1 to {} documents", self.format.max_docs);
            return Err(Error::corrupt(input.file(), start, expected, doc_count));
        }
        if first_doc.checked_add(doc_count).is_none() {
            let found = format_args!("{doc_count} from {first_doc} on");
            return Err(Error::corrupt(input.file(), start, "documents with numbers of 32 bits", found));
        }
        let count = doc_count as usize;
        self.field_counts.clear();
        self.ints.read(input, count, &mut self.field_counts)?;
        self.ends.clear();
        self.ints.read(input, count, &mut self.ends)?;
        let mut end = 0u32;
        for (i, (fields, length)) in self.field_counts.iter().zip(&mut self.ends).enumerate() {
            let next = end.checked_add(*length).filter(|n| *n <= i32::MAX.cast_unsigned());
            let Some(next) = next.filter(|_| (*length == 0) == (*fields == 0)) else {
                let found =
                    format_args!("document {i} of {fields} fields in {length} bytes after {end} bytes");
                return Err(Error::corrupt(
                    input.file(),
                    start,
                    "documents of fields, below 2 GiB in all",
                    found,
                ));
            };
            end = next;
            *length = next;
        }
        let len = end as usize;
        let sliced = match self.flags {
            // Where no flag says so, the length does.
            0 => len / 2 >= self.chunk_size,
            _ => token & SLICED != 0,
        };
        Ok((sliced, len))
    }
}

/// The documents of a block.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'a> {
    file: &'a str,
    first_doc: u32,
    numbers: Numbers,
    field_counts: &'a [u32],
    ends: &'a [u32],
    whole: usize,
    bytes: &'a [u8],
}

impl<'a> Documents<'a> {
    /// How many they are, without those that were [cut off](Self::cut_off).
    pub fn len(&self) -> usize {
        self.whole
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The number of the first one in the segment.
    pub fn first_doc(&self) -> u32 {
        self.first_doc
    }

    /// The uncompressed size of all, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Document `i` of the block.
    ///
    /// # Errors
    /// When the block has fewer.
    pub fn get(&self, i: usize) -> Result<StoredDocument<'a>> {
        if i < self.len() {
            return Ok(self.at(i));
        }
        let expected = format_args!("a document below {} of a block", self.len());
        Err(Error::corrupt(self.file, None, expected, i))
    }

    /// All of them, in order: always as many as [`Self::len`] says, which is as many as the index says unless some were cut
    /// off.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = StoredDocument<'a>> + use<'a> {
        let this = *self;
        (0..this.len()).map(move |i| this.at(i))
    }

    /// The documents that do not lie within [the limit](BlockDecoder::with_limit): as much of each as does, and the size that
    /// it would have. The fields of such a document end with an error.
    pub fn cut_off(&self) -> impl Iterator<Item = (StoredDocument<'a>, usize)> + use<'a> {
        let this = *self;
        (this.whole..this.ends.len()).map(move |i| {
            let start = i.checked_sub(1).map_or(0, |before| this.ends[before]) as usize;
            let end = this.ends[i] as usize;
            let bytes = this.bytes.get(start..end.min(this.bytes.len())).unwrap_or_default();
            let (doc, fields) = (this.first_doc + i as u32, this.field_counts[i]);
            (StoredDocument::new(this.file, doc, fields, this.numbers, bytes), end - start)
        })
    }

    /// Document `i`, which the block has. [`BlockDecoder::decode`] has seen to it that nothing here can fail: there is a
    /// number of fields and an end for each, ends ascend to that of the bytes, and numbers do not overflow.
    fn at(&self, i: usize) -> StoredDocument<'a> {
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        let bytes = &self.bytes[start as usize..self.ends[i] as usize];
        StoredDocument::new(self.file, self.first_doc + i as u32, self.field_counts[i], self.numbers, bytes)
    }
}
