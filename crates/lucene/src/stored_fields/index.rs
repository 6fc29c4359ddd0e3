//! `.fdx`, and from Lucene 8.5 on `.fdm`: the first document and the place of each block.

mod averages;
mod monotonic;

use crate::packed::Monotonic;
use crate::{Error, ErrorKind, Result, SegmentId};
use averages::Averages;

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
/// Takes about as much memory as the files: blocks are looked up in the packed form.
#[derive(Debug, Clone)]
pub struct BlockIndex {
    file: String,
    id: Option<SegmentId>,
    chunk_size: Option<u32>,
    max_doc: u32,
    data_end: u64,
    first_docs: Sequence,
    offsets: Sequence,
}

/// A number for each block, and one for the end.
#[derive(Debug, Clone)]
enum Sequence {
    Monotonic(Monotonic),
    Averages(Averages),
}

impl Sequence {
    fn len(&self) -> u64 {
        match self {
            Self::Monotonic(all) => all.len(),
            Self::Averages(all) => all.len(),
        }
    }

    fn get(&self, i: u64) -> Option<i64> {
        match self {
            Self::Monotonic(all) => all.get(i),
            Self::Averages(all) => all.get(i),
        }
    }
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
        monotonic::parse(meta_file, meta, index_file, index, max_doc, data_len)?.checked()
    }

    /// Reads a whole `.fdx` file of a segment that has no `.fdm` file, which are those of Lucene 8.4 and before; for the rest
    /// as [`Self::parse`].
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_without_meta(index_file: &str, index: &[u8], max_doc: u32, data_len: u64) -> Result<Self> {
        averages::parse(index_file, index, max_doc, data_len)?.checked()
    }

    fn checked(self) -> Result<Self> {
        self.check_ends()?;
        Ok(self)
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
        let range = |sequence: &Sequence, end: u64| {
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

    /// The uncompressed size of a slice of blocks with large documents, in bytes, where it is not in the `.fdt` file itself.
    pub fn chunk_size(&self) -> Option<u32> {
        self.chunk_size
    }

    /// The id of the segment; none before Lucene 5.
    pub fn id(&self) -> Option<SegmentId> {
        self.id
    }

    /// The number of documents in all blocks.
    pub fn max_doc(&self) -> u32 {
        self.max_doc
    }
}

/// Checks that blocks that end at `data_end` are followed by as many bytes as `after` allows, in a `.fdt` file of `data_len`
/// bytes; `at` is where their end was read.
fn check_data_end(
    file: &str,
    at: u64,
    data_end: u64,
    after: std::ops::RangeInclusive<u64>,
    data_len: u64,
) -> Result<()> {
    if data_len.checked_sub(data_end).is_some_and(|n| after.contains(&n)) {
        return Ok(());
    }
    let (least, most) = (after.start(), after.end());
    let to = if least == most { String::new() } else { format!(" to {most}") };
    let message = format!(
        "expected blocks that end {least}{to} bytes before the end of {data_len} bytes, found {data_end} as their end"
    );
    Err(Error::new(ErrorKind::LengthMismatch, file, at, message))
}
