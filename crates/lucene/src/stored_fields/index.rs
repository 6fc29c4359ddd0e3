//! `.fdm` and `.fdx`: the first document and the place of each block. Lucene's `FieldsIndexReader`, of Lucene 8.7 on.

use crate::codec::{self, FOOTER_LEN, Known};
use crate::input::Endian;
use crate::packed::Monotonic;
use crate::{Error, Result, SegmentId};

const META: &[Known] = &[
    Known { codec: "Lucene90FieldsIndexMeta", versions: 0..=1, endian: Endian::Little },
    Known { codec: "Lucene85FieldsIndexMeta", versions: 3..=4, endian: Endian::Big },
];
const INDEX: &[Known] = &[
    Known { codec: "Lucene90FieldsIndexIdx", versions: 0..=0, endian: Endian::Little },
    Known { codec: "Lucene85FieldsIndexIdx", versions: 0..=0, endian: Endian::Big },
];
/// The version of `Lucene85FieldsIndexMeta` that states the number of blocks.
const V85_BLOCK_COUNT: u32 = 4;

/// A block of documents in a `.fdt` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    /// Its first document.
    pub first_doc: u32,
    /// The number of its documents.
    pub doc_count: u32,
    /// Where it begins, in bytes from the start of the `.fdt` file.
    pub offset: u64,
    /// Its length, in bytes.
    pub length: u64,
}

/// Where each block of a `.fdt` file is.
///
/// Takes about as much memory as the two files: blocks are looked up in the packed form.
#[derive(Debug, Clone)]
pub struct BlockIndex {
    file: String,
    id: SegmentId,
    chunk_size: u32,
    max_doc: u32,
    data_end: u64,
    first_docs: Monotonic,
    offsets: Monotonic,
}

impl BlockIndex {
    /// Reads a whole `.fdm` and a whole `.fdx` file, of a segment of `max_doc` documents (deleted ones included) whose
    /// `.fdt` file is `data_len` bytes long.
    ///
    /// # Errors
    /// When a checksum does not match, the format is not known, the content is corrupt, or the two files do not belong
    /// together, to a segment of as many documents, and to a `.fdt` file of that length.
    pub fn parse(
        meta_file: &str,
        meta: &[u8],
        index_file: &str,
        index: &[u8],
        max_doc: u32,
        data_len: u64,
    ) -> Result<Self> {
        let (header, mut input, known) = codec::open(meta_file, meta, META, None, None)?;
        let (index_header, _, index_known) =
            codec::open(index_file, index, INDEX, Some(&header.id), Some(header.suffix))?;
        if index_known.endian != known.endian {
            let expected = format_args!("the index that goes with {}", header.codec);
            return Err(Error::corrupt(index_file, 0, expected, index_header.codec));
        }
        let old = known.endian == Endian::Big;
        let at = input.offset();
        let chunk_size = input.vint()?;
        if chunk_size == 0 || chunk_size > i32::MAX.cast_unsigned() {
            return Err(Error::corrupt(meta_file, at, "a positive chunk size", chunk_size));
        }
        if old {
            match input.vint()? {
                1 | 2 => {}
                other => return Err(input.corrupt("packed integers of version 1 or 2", other)),
            }
        }
        let at = input.offset();
        let docs = input.count32("a number of documents")?;
        if docs != max_doc {
            return Err(Error::corrupt(
                meta_file,
                at,
                format_args!("the segment's {max_doc} documents"),
                docs,
            ));
        }
        let shift = input.count32("a block shift")?;
        let at = input.offset();
        let entries = u64::from(input.count32("a number of blocks")?);
        if entries == 0 {
            return Err(Error::corrupt(meta_file, at, "at least the entry for the end", "none"));
        }
        let docs_start = input.count64("an offset")?;
        let mut first_docs = Monotonic::read(&mut input, entries, shift)?;
        let docs_end = input.count64("an offset")?;
        let mut offsets = Monotonic::read(&mut input, entries, shift)?;
        let offsets_end = input.count64("an offset")?;
        let at = input.offset();
        let data_end = input.count64("an offset")?;
        if data_end.checked_add(FOOTER_LEN as u64) != Some(data_len) {
            let expected =
                format_args!("blocks that end {FOOTER_LEN} bytes before the end of {data_len} bytes");
            return Err(Error::corrupt(meta_file, at, expected, format_args!("{data_end} as their end")));
        }
        if !old || header.version >= V85_BLOCK_COUNT {
            let at = input.offset();
            let blocks = input.vlong()?;
            if blocks != entries - 1 {
                return Err(Error::corrupt(meta_file, at, format_args!("{} blocks", entries - 1), blocks));
            }
        }
        input.vlong()?; // blocks that were flushed before they were full
        input.vlong()?; // their documents
        input.end()?;

        let body_end = index.len().saturating_sub(FOOTER_LEN) as u64;
        let range = |start: u64, end: u64| {
            let inside = start >= index_header.len as u64 && end <= body_end;
            let bytes = (usize::try_from(start).ok())
                .zip(usize::try_from(end).ok())
                .and_then(|(s, e)| index.get(s..e));
            bytes.filter(|_| inside).ok_or_else(|| {
                let expected = format_args!("packed values within the {body_end} bytes before the footer");
                Error::corrupt(index_file, None, expected, format_args!("{start} to {end}"))
            })
        };
        first_docs.fill(range(docs_start, docs_end)?);
        offsets.fill(range(docs_end, offsets_end)?);
        let file = index_file.to_owned();
        let this = Self { file, id: header.id, chunk_size, max_doc, data_end, first_docs, offsets };
        this.check_ends()?;
        Ok(this)
    }

    /// Checks that the blocks are of all documents and bytes.
    fn check_ends(&self) -> Result<()> {
        let last = self.len() as u64;
        let (first_doc, end_doc) = (self.first_docs.get(0), self.first_docs.get(last));
        if first_doc != Some(0) || end_doc != Some(self.max_doc.into()) {
            let expected = format_args!("documents 0 to {}", self.max_doc);
            return Err(Error::corrupt(
                &self.file,
                None,
                expected,
                format_args!("{first_doc:?} to {end_doc:?}"),
            ));
        }
        let end = self.offsets.get(last);
        if end.and_then(|end| u64::try_from(end).ok()) != Some(self.data_end) {
            let expected = format_args!("blocks that end at {}", self.data_end);
            return Err(Error::corrupt(&self.file, None, expected, format_args!("{end:?}")));
        }
        Ok(())
    }

    /// The number of blocks.
    pub fn len(&self) -> usize {
        usize::try_from(self.offsets.len().saturating_sub(1)).unwrap_or(usize::MAX)
    }

    /// Whether there are no blocks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Block `i`.
    ///
    /// # Errors
    /// When there is none, or what the index says of it does not lie between the one before and the one after.
    pub fn block(&self, i: usize) -> Result<Block> {
        let range = |sequence: &Monotonic, end: u64| {
            let start = u64::try_from(sequence.get(i as u64)?).ok()?;
            let next = u64::try_from(sequence.get((i as u64).checked_add(1)?)?).ok()?;
            let length = next.checked_sub(start).filter(|length| *length > 0 && next <= end)?;
            Some((start, length))
        };
        let docs = range(&self.first_docs, self.max_doc.into())
            .and_then(|(first, count)| Some((u32::try_from(first).ok()?, u32::try_from(count).ok()?)));
        match (docs, range(&self.offsets, self.data_end)) {
            (Some((first_doc, doc_count)), Some((offset, length))) => {
                Ok(Block { first_doc, doc_count, offset, length })
            }
            _ => {
                let expected =
                    format_args!("block {i} of {} with ascending documents and offsets", self.len());
                let docs =
                    self.first_docs.get(i as u64).zip(self.first_docs.get((i as u64).saturating_add(1)));
                let bytes = self.offsets.get(i as u64).zip(self.offsets.get((i as u64).saturating_add(1)));
                let found = format_args!("documents {docs:?}, bytes {bytes:?}");
                Err(Error::corrupt(&self.file, None, expected, found))
            }
        }
    }

    /// The number of the block that has document `doc`.
    ///
    /// # Errors
    /// When the segment has no such document, or the index is corrupt there.
    pub fn block_of(&self, doc: u32) -> Result<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_docs.get(middle as u64).is_some_and(|first| first <= i64::from(doc)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = low.saturating_sub(1);
        let block = self.block(found)?;
        match doc.checked_sub(block.first_doc) {
            Some(within) if within < block.doc_count => Ok(found),
            _ => {
                let expected = format_args!("a document below {}", self.max_doc);
                Err(Error::corrupt(&self.file, None, expected, doc))
            }
        }
    }

    /// Where the last block ends, in bytes from the start of the `.fdt` file.
    pub fn data_end(&self) -> u64 {
        self.data_end
    }

    /// The uncompressed size of a slice of blocks with large documents, in bytes.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The id of the segment.
    pub fn id(&self) -> &SegmentId {
        &self.id
    }

    /// The number of documents in all blocks.
    pub fn max_doc(&self) -> u32 {
        self.max_doc
    }
}
