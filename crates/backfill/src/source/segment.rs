//! A segment of a shard: where its stored fields lie, and which of its documents are alive.

use super::{ShardSource, SourceError};
use crate::budget::Budget;
use crate::model::RangeCrc;
use crate::model::crc::CHECKSUM_FIELD;
use bytes::Bytes;
use lucene::bits::Bits;
use lucene::codec::{CheckedPart, FOOTER_LEN, is_without_footer, parse_footer};
use lucene::compound::CompoundEntries;
use lucene::doc_values::{DocsWithField, docs_with_field};
use lucene::field_infos::{FieldInfo, FieldInfos};
use lucene::file_names;
use lucene::live_docs;
use lucene::segment_info::SegmentInfo;
use lucene::segments::SegmentCommit;
use lucene::stored_fields::{BlockIndex, DataHeader};
use std::ops::Range;
use std::sync::Arc;

/// Enough for the header of a stored-fields data file.
const HEADER_PROBE: u64 = 128;
/// Bytes of a compound file that are fetched with its entries: a small one whole, and of a larger one the small files, which
/// Lucene 9 puts first. Each of them would cost a request, which takes longer than these bytes.
const COMPOUND_HEAD: u64 = 64 << 10;
/// Bytes read at once of a file that has to be read whole.
const PIECE: u64 = 8 << 20;
/// A doc-values file up to this size is checked against its checksum before a set of documents in it is trusted. Each worker
/// of the segment has to read all of it for that.
const MAX_CHECKED_DOC_VALUES: u64 = 256 << 20;

/// A segment whose metadata has been read.
#[derive(Debug)]
pub struct Segment {
    files: SegmentFiles,
    /// Its number of documents, files and attributes.
    pub info: SegmentInfo,
    /// Its fields.
    pub fields: FieldInfos,
}

/// The files of a segment, in a compound file or not.
#[derive(Debug)]
struct SegmentFiles {
    shard: Arc<ShardSource>,
    commit: SegmentCommit,
    compound: Option<Compound>,
}

/// A compound file.
#[derive(Debug)]
struct Compound {
    /// Its name.
    file: String,
    entries: CompoundEntries,
    /// Its first bytes.
    head: Bytes,
}

/// A Lucene file as it lies in the snapshot: by itself, or within a compound file.
#[derive(Clone, Debug)]
struct FileSlice {
    /// File of the snapshot's list.
    physical: String,
    /// Where in it.
    range: Range<u64>,
    /// Its own name.
    name: String,
}

impl FileSlice {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Segment {
    /// Reads the metadata of a segment: its `.si`, `.cfe` and `.fnm`.
    pub async fn open(shard: Arc<ShardSource>, commit: &SegmentCommit) -> Result<Segment, SourceError> {
        let store = &shard.store;
        let info = shard.segment_info(commit).await?;
        let compound = if info.compound {
            let (cfe, cfs) = (commit.file(".cfe"), commit.file(".cfs"));
            let length = store.len(&cfs)?;
            let head = store.read_range(&cfs, 0..length.min(COMPOUND_HEAD));
            let (bytes, head) = futures::try_join!(store.read(&cfe), head)?;
            let entries = CompoundEntries::parse(&cfe, &bytes, commit.id.as_ref(), length);
            Some(Compound { file: cfs, entries: entries.map_err(|e| store.lucene(e))?, head })
        } else {
            None
        };
        let files = SegmentFiles { shard: shard.clone(), commit: commit.clone(), compound };
        let fields_file = commit.field_infos_file();
        let bytes = files.read(&fields_file).await?;
        let fields = FieldInfos::parse(&fields_file, &bytes, commit).map_err(|e| store.lucene(e))?;
        Ok(Segment { files, info, fields })
    }

    /// What the commit says of it.
    pub fn commit(&self) -> &SegmentCommit {
        &self.files.commit
    }

    /// Documents that are alive by the commit: neither deleted nor soft-deleted. Nested children count.
    pub fn live_count(&self) -> u32 {
        // SegmentInfo::parse has refused a commit for which this is nothing.
        self.files.commit.live_count(self.info.doc_count).unwrap_or(0)
    }

    /// Whether documents of it have a routing, or a parent that becomes one: servers add these fields with the first such
    /// document.
    pub fn has_routings(&self) -> bool {
        ["_routing", "_parent"].into_iter().any(|name| self.fields.by_name(name).is_some())
    }

    /// Name of the stored-fields data file.
    pub fn data_file(&self) -> String {
        self.files.commit.file(".fdt")
    }

    /// Length of the stored-fields data file.
    pub fn data_len(&self) -> Result<u64, SourceError> {
        Ok(self.files.locate(&self.data_file())?.len())
    }

    /// A range of the stored-fields data file.
    pub async fn read_data(&self, range: Range<u64>) -> Result<Bytes, SourceError> {
        self.files.read_slice(&self.files.locate(&self.data_file())?, range).await
    }

    /// The header of the stored-fields data file, which tells its format.
    pub async fn data_header(&self) -> Result<DataHeader, SourceError> {
        let file = self.data_file();
        let bytes = self.read_data(0..HEADER_PROBE.min(self.data_len()?)).await?;
        DataHeader::parse(&file, &bytes, self.files.commit.id.as_ref()).map_err(|e| self.error(e))
    }

    /// The CRC-32 that the footer of the stored-fields data file states; for files of the snapshot's list it is
    /// compared with that list, and so is that of a compound file. Where the file has no footer, as before Lucene 4.8, it is
    /// that of all bytes but the last ones, as many as the checksum of a footer takes: so it has to be read once.
    pub async fn data_crc(&self) -> Result<u32, SourceError> {
        let slice = self.files.locate(&self.data_file())?;
        // Only segments of Lucene 4 have no id: with all others, nothing needs to be fetched to know.
        if self.files.commit.id.is_none() {
            let first = self.files.read_slice(&slice, 0..HEADER_PROBE.min(slice.len())).await?;
            if is_without_footer(&slice.name, &first) {
                return self.whole_data_crc(&slice).await;
            }
        }
        let (crc, of_whole) = self.files.footers(&slice).await?;
        self.files.shard.store.compare_checksum(&slice.physical, of_whole)?;
        Ok(crc)
    }

    async fn whole_data_crc(&self, slice: &FileSlice) -> Result<u32, SourceError> {
        let (mut crc, end) = (RangeCrc::default(), slice.len().saturating_sub(CHECKSUM_FIELD));
        while crc.len < end {
            let piece = self.files.read_slice(slice, crc.len..end.min(crc.len + PIECE)).await?;
            if piece.is_empty() {
                return Err(self.files.shard.store.damaged(&slice.name, "it ends before its length"));
            }
            crc = crc.update(&piece);
        }
        Ok(crc.crc)
    }

    /// The index of the stored fields: where each block begins.
    pub async fn block_index(&self) -> Result<BlockIndex, SourceError> {
        let (meta_file, index_file) = (self.files.commit.file(".fdm"), self.files.commit.file(".fdx"));
        // Lucene 8.4 and before had everything in one file.
        let has_meta = self.files.locate(&meta_file).is_ok();
        let meta = async { if has_meta { self.files.read(&meta_file).await.map(Some) } else { Ok(None) } };
        let (index, meta) = futures::join!(self.files.read(&index_file), meta);
        // In a fixed order: the same damage is the same error each time.
        let index = index?;
        let (max_doc, data_len) = (self.info.doc_count, self.data_len()?);
        let parsed = match meta? {
            Some(meta) => BlockIndex::parse(&meta_file, &meta, &index_file, &index, max_doc, data_len),
            None => BlockIndex::parse_without_meta(&index_file, &index, max_doc, data_len),
        };
        parsed.map_err(|e| self.error(e))
    }

    /// Which documents are alive: not deleted, not soft-deleted. Nested children count.
    pub async fn live_docs(&self) -> Result<Bits, SourceError> {
        let (live, soft_deleted) = futures::join!(self.not_deleted(), self.soft_deleted());
        let mut live = live?;
        if let Some(deleted) = soft_deleted? {
            live.and_not(&deleted);
        }
        if live.count() != self.live_count() {
            let what = format!(
                "{} documents are alive by its deletions, but {} by the commit",
                live.count(),
                self.live_count()
            );
            return Err(self.files.shard.store.inconsistent(&self.files.commit.name, &what));
        }
        Ok(live)
    }

    /// Which documents are not deleted, soft-deleted ones included.
    async fn not_deleted(&self) -> Result<Bits, SourceError> {
        let (commit, max_doc) = (&self.files.commit, self.info.doc_count);
        let (Some(file), Some(generation)) = (commit.live_docs_file(), commit.del_gen) else {
            return Ok(Bits::all(max_doc));
        };
        let bytes = self.files.read(&file).await?;
        live_docs::parse(&file, &bytes, commit.id.as_ref(), max_doc, commit.del_count, generation)
            .map_err(|e| self.error(e))
    }

    async fn soft_deleted(&self) -> Result<Option<Bits>, SourceError> {
        match self.fields.soft_deletes() {
            Some(field) => self.docs_with_field(field).await,
            None => Ok(None),
        }
    }

    /// Which documents are root documents, by the field that only they have; `None` where the segment has no such field.
    pub async fn root_docs(&self) -> Result<Option<Bits>, SourceError> {
        match self.fields.by_name("_primary_term") {
            Some(field) => self.docs_with_field(field).await,
            None => Ok(None),
        }
    }

    async fn docs_with_field(&self, field: &FieldInfo) -> Result<Option<Bits>, SourceError> {
        let suffix = field.doc_values_suffix();
        let files = self
            .files
            .commit
            .doc_values_file(field, "dvm")
            .zip(self.files.commit.doc_values_file(field, "dvd"));
        let (Some(suffix), Some((meta_file, data_file))) = (suffix, files) else {
            return Ok(None);
        };
        let meta = self.files.read(&meta_file).await?;
        let docs = docs_with_field(
            &meta_file,
            &meta,
            self.files.commit.id.as_ref(),
            &suffix,
            &self.fields,
            field.number,
        )
        .map_err(|e| self.error(e))?;
        let bytes = match &docs {
            DocsWithField::None | DocsWithField::All => Bytes::new(),
            DocsWithField::Sparse(sparse) => {
                let end = sparse.offset.checked_add(sparse.length);
                let length = self.files.locate(&data_file)?.len();
                let Some(end) = end.filter(|end| *end <= length) else {
                    let what = format!("{meta_file} refers to bytes beyond its end");
                    return Err(self.files.shard.store.damaged(&data_file, &what));
                };
                if length <= MAX_CHECKED_DOC_VALUES {
                    self.files.read_part(&data_file, sparse.offset..end).await?
                } else {
                    let slice = self.files.locate(&data_file)?;
                    self.files.read_slice(&slice, sparse.offset..end).await?
                }
            }
        };
        let bits = docs.decode(&data_file, &bytes, self.info.doc_count).map_err(|e| self.error(e))?;
        Ok(Some(bits))
    }

    /// Gives an error in a file of the segment its place.
    pub fn error(&self, error: lucene::Error) -> SourceError {
        self.files.shard.store.lucene(error)
    }

    /// How much memory what is read of it may take.
    pub fn budget(&self) -> &Budget {
        self.files.shard.store.budget()
    }

    /// Where the segment is, for messages.
    pub fn location(&self) -> String {
        self.files.shard.store.location()
    }
}

impl SegmentFiles {
    /// The checksums that two footers state: that of a file, and that of the file of the snapshot's list that it lies in.
    async fn footers(&self, slice: &FileSlice) -> Result<(u32, u32), SourceError> {
        if slice.physical == slice.name {
            let crc = self.footer(slice).await?;
            return Ok((crc, crc));
        }
        let whole = FileSlice {
            range: 0..self.shard.store.len(&slice.physical)?,
            name: slice.physical.clone(),
            physical: slice.physical.clone(),
        };
        // The largest file comes last in a compound file of Lucene 9, and that is often this one: one request for both.
        let (first, last) = (self.footer_range(slice)?.start + slice.range.start, self.footer_range(&whole)?);
        if last.end - first > COMPOUND_HEAD {
            return futures::try_join!(self.footer(slice), self.footer(&whole));
        }
        let tail = self.read_slice(&whole, first..last.end).await?;
        let parse = |name, bytes| parse_footer(name, bytes).map_err(|e| self.shard.store.lucene(e));
        let crc = parse(&slice.name, tail.get(..FOOTER_LEN).unwrap_or(&tail))?;
        let of_whole = tail.len().saturating_sub(FOOTER_LEN);
        Ok((crc, parse(&slice.physical, tail.get(of_whole..).unwrap_or(&tail))?))
    }

    async fn footer(&self, slice: &FileSlice) -> Result<u32, SourceError> {
        let bytes = self.read_slice(slice, self.footer_range(slice)?).await?;
        parse_footer(&slice.name, &bytes).map_err(|e| self.shard.store.lucene(e))
    }

    /// Where in a file its footer lies.
    fn footer_range(&self, slice: &FileSlice) -> Result<Range<u64>, SourceError> {
        let length = slice.len();
        let start = length
            .checked_sub(FOOTER_LEN as u64)
            .ok_or_else(|| self.shard.store.damaged(&slice.name, &format!("{length} bytes are too few")))?;
        Ok(start..length)
    }

    /// A whole file of the segment, its checksum verified.
    async fn read(&self, file: &str) -> Result<Bytes, SourceError> {
        let slice = self.locate(file)?;
        if slice.physical == slice.name {
            return self.shard.store.read(file).await;
        }
        self.shard.store.check_length(file, slice.len())?;
        let bytes = self.read_slice(&slice, 0..slice.len()).await?;
        lucene::codec::verify_checksum_if_any(file, &bytes).map_err(|e| self.shard.store.lucene(e))?;
        Ok(bytes)
    }

    /// A part of a file that has a footer, the checksum of the whole verified. Of the rest, a piece at a time is in memory.
    async fn read_part(&self, file: &str, part: Range<u64>) -> Result<Bytes, SourceError> {
        let slice = self.locate(file)?;
        let store = &self.shard.store;
        store.check_length(file, part.end.saturating_sub(part.start))?;
        let mut checked = CheckedPart::new(file, slice.len(), part, PIECE);
        while let Some(next) = checked.next() {
            let piece = self.read_slice(&slice, next).await?;
            checked.take(&piece).map_err(|e| store.lucene(e))?;
        }
        let (bytes, crc) = checked.finish().map_err(|e| store.lucene(e))?;
        if slice.physical == slice.name {
            store.compare_checksum(file, crc)?;
        }
        Ok(bytes.into())
    }

    async fn read_slice(&self, slice: &FileSlice, range: Range<u64>) -> Result<Bytes, SourceError> {
        let start = slice.range.start.saturating_add(range.start);
        let end = slice.range.start.saturating_add(range.end);
        if start > end || end > slice.range.end {
            return Err(self
                .shard
                .store
                .damaged(&slice.name, &format!("it does not have the bytes {range:?}")));
        }
        let head = self.compound.as_ref().filter(|c| c.file == slice.physical).map(|c| &c.head);
        match head.filter(|head| end <= head.len() as u64) {
            Some(head) => Ok(head.slice(start as usize..end as usize)),
            None => self.shard.store.read_range(&slice.physical, start..end).await,
        }
    }

    /// Where a file of the segment lies. Files of later generations are never in the compound file.
    fn locate(&self, file: &str) -> Result<FileSlice, SourceError> {
        let in_compound = self
            .compound
            .as_ref()
            .zip(file_names::suffix(file))
            .and_then(|(compound, suffix)| Some((compound, compound.entries.get(suffix)?)));
        if let Some((compound, (offset, length))) = in_compound {
            // CompoundEntries::parse has checked that this lies within the file.
            let range = offset..offset.saturating_add(length);
            return Ok(FileSlice { physical: compound.file.clone(), range, name: file.to_owned() });
        }
        let length = self.shard.store.len(file)?;
        Ok(FileSlice { physical: file.to_owned(), range: 0..length, name: file.to_owned() })
    }
}
