//! Reads a chunk from its cursor to its end: fetches, checks, decodes, and encodes documents into batches.
//!
//! Damage is contained: a block that cannot be decoded costs its own documents, a file that cannot be read those of
//! its range; both are counted and described, and reading goes on with what follows.

use super::Worker;
use super::acks::{MAX_DAMAGE, Stretch};
use super::deliver::failed_document;
use super::feed::Feed;
use super::flow::Flow;
use crate::encode::{Document, Encoder, Encoding};
use crate::model::crc::CHECKSUM_FIELD;
use crate::model::{Chunk, Finding, IndexPlan, Position, RangeCrc, RunId, SegmentRange, Types};
use crate::ports::{Batch, BlobError, Checkpoints, StoreError};
use crate::source::{BoundedBlobs, Segment, ShardSource, SourceError};
use lucene::bits::Bits;
use lucene::stored_fields::{Block, BlockDecoder, StoredDocument};
use snapshot::document::{DocumentReader, Interpreted, Root, Scratch, Source};
use snapshot::masked_vectors::MaskedVectors;
use snapshot::source::{Check, Rules};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::Sender;

/// Bytes read without a document to send after which the cursor is moved all the same.
const QUIET_BYTES: u64 = 64 << 20;
/// Bytes gone through after which the deliveries get their turn: often enough for them, and seldom enough that asking the system
/// what has arrived meanwhile costs little.
const TURN_BYTES: usize = 128 << 10;
/// Documents failed while reading after which a batch is closed, so that their records stay few in memory, and their bytes.
const MAX_FAILED: (usize, usize) = (500, 8 << 20);
/// Why a document of a time series has no id.
const DROPPED_ID: &str =
    "its _id is not stored: Elasticsearch drops it when it merges time series, and mostly its _source, too";

/// Documents and what is known of the stretch they come from.
#[derive(Debug)]
pub struct Work {
    /// What was read.
    pub stretch: Stretch,
    /// What is to be sent; may be empty.
    pub batch: Batch,
}

/// Why a chunk cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The repository cannot be used.
    #[error(transparent)]
    Blob(BlobError),
    /// The snapshot is not the one that was planned.
    #[error("{0}")]
    Changed(String),
    /// The checkpoint store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The receiver has gone: nobody wants more.
struct Unwanted;

enum Stop {
    Unwanted,
    Error(ReadError),
}

impl From<Unwanted> for Stop {
    fn from(_: Unwanted) -> Stop {
        Stop::Unwanted
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Stop {
        Stop::Error(error)
    }
}

/// Reads one chunk.
pub(super) struct ChunkReader {
    run: RunId,
    snapshot_uuid: String,
    blobs: BoundedBlobs,
    checkpoints: Arc<dyn Checkpoints>,
    fetch_bytes: u64,
    fetch_ahead: usize,
    rules: Rules,
    chunk: Arc<Chunk>,
    index: Arc<IndexPlan>,
    out: Output,
}

impl ChunkReader {
    pub(super) fn new(
        worker: &Worker,
        chunk: Arc<Chunk>,
        index: Arc<IndexPlan>,
        flow: Arc<Mutex<Flow>>,
    ) -> ChunkReader {
        let stored_bytes = chunk.progress.counters.stored_bytes;
        ChunkReader {
            run: worker.run.id.clone(),
            snapshot_uuid: worker.run.spec.snapshot_uuid.clone(),
            blobs: BoundedBlobs::new(worker.blobs.clone(), worker.options.budget),
            checkpoints: worker.checkpoints.clone(),
            fetch_bytes: worker.options.fetch_bytes,
            fetch_ahead: worker.options.fetch_ahead,
            rules: Rules {
                // The lines of an export are read by anything, a bulk request by a target that parses each source.
                check: match worker.target.encoding() {
                    Encoding::Bulk => Check::Framing,
                    Encoding::Export => Check::Complete,
                },
                limit: worker.options.budget.document,
            },
            out: Output {
                encoder: Encoder::new(
                    worker.target.encoding(),
                    worker.run.write_mode(&index),
                    &index.destination,
                )
                .with_buffers(worker.buffers.clone(), worker.options.flow.max_batch_bytes),
                stretch: Stretch { stored_bytes, ..Stretch::default() },
                emitted_bytes: stored_bytes,
                consumed: stored_bytes,
                chunk: chunk.clone(),
                batch_bytes: 0,
                flow,
                failed_bytes: 0,
                scratch: Scratch::default(),
            },
            chunk,
            index,
        }
    }

    /// Sends the chunk's documents, batch by batch, and ends with a piece whose end is the chunk's.
    pub(super) async fn run(mut self, sender: Sender<Result<Work, ReadError>>) {
        if let Err(Stop::Error(error)) = self.read(&sender).await {
            // If nobody listens any more, nobody wants to know.
            let _ = sender.send(Err(error)).await;
        }
    }

    async fn read(&mut self, sender: &Sender<Result<Work, ReadError>>) -> Result<(), Stop> {
        let chunk = self.chunk.clone();
        let cursor = chunk.progress.cursor;
        if cursor < chunk.end() {
            let shard = self.open_shard().await?;
            for (number, range) in chunk.ranges.iter().enumerate().skip(cursor.range as usize) {
                let number = number as u32;
                let from =
                    if number == cursor.range { cursor.doc.max(range.first_doc) } else { range.first_doc };
                let crc =
                    chunk.progress.crcs.get(number as usize).copied().filter(|_| number == cursor.range);
                let mut at =
                    RangeReader { number, range, next_doc: from, crc: crc.unwrap_or_default(), live: None };
                match self.read_range(&shard, &mut at, sender).await {
                    Ok(()) => {}
                    Err(RangeStop::Stop(stop)) => return Err(stop),
                    Err(RangeStop::Finding(finding)) => {
                        self.out.skip(&at, at.next_doc..range.end_doc, finding)
                    }
                    Err(RangeStop::Gone(what)) => {
                        // The whole repository may be out of reach for a moment: then this fails, too, and the chunk is
                        // tried again.
                        self.open_shard().await?;
                        let finding = Finding::damaged(what.to_string());
                        self.out.skip(&at, at.next_doc..range.end_doc, finding);
                    }
                }
                self.out.stretch.crcs.push((number, at.crc));
                self.out.consumed += CHECKSUM_FIELD * u64::from(at.range.end == at.range.file_len);
            }
        }
        self.out.emit(chunk.end(), None, sender).await?;
        Ok(())
    }

    async fn open_shard(&self) -> Result<Arc<ShardSource>, ReadError> {
        let record = self.checkpoints.shard(&self.run, &self.chunk.id.shard).await?;
        let shard = ShardSource::open(self.blobs.clone(), &record.path, &self.snapshot_uuid).await.map_err(
            |error| {
                match error {
                    SourceError::Blob(error) if !crate::source::blob_is_damage(&error) => {
                        ReadError::Blob(error)
                    }
                    // It could be read when the run was planned.
                    error => {
                        ReadError::Changed(format!("the snapshot changed since the run was planned: {error}"))
                    }
                }
            },
        )?;
        if shard.manifest_etag != record.manifest_etag {
            let location = shard.store.location();
            return Err(ReadError::Changed(format!(
                "{location}: the snapshot changed since the run was planned"
            )));
        }
        Ok(Arc::new(shard))
    }

    async fn read_range(
        &mut self,
        shard: &Arc<ShardSource>,
        at: &mut RangeReader<'_>,
        sender: &Sender<Result<Work, ReadError>>,
    ) -> Result<(), RangeStop> {
        let range = at.range;
        let commit = shard.commit.segments.iter().find(|s| s.name == range.segment).ok_or_else(|| {
            RangeStop::Stop(Stop::Error(ReadError::Changed(format!(
                "{}: segment {} is gone: the snapshot changed since the run was planned",
                shard.store.location(),
                range.segment
            ))))
        })?;
        let segment = Arc::new(Segment::open(shard.clone(), commit).await?);
        let mut offset = range.start + at.crc.len;
        // Begins now: what the data is needs not be known to fetch it. Its errors show when it is taken.
        let mut feed = self.feed(&segment, offset..range.end);
        let (live, index, header) =
            futures::join!(segment.live_docs(), segment.block_index(), segment.data_header());
        // In a fixed order: the same damage is the same error each time.
        let (live, index, header) = (live?, index?, header?);
        let file = format!("{}/{}", segment.location(), segment.data_file());
        let live = at.live.insert(live).clone();
        let documents = Sources {
            reader: DocumentReader::new(&segment.fields).with_rules(self.rules),
            masked: MaskedVectors::of(
                &segment.info.attributes,
                segment.fields.iter().map(|f| &f.attributes),
                &self.index.documents.masked_vectors,
            ),
            plan: self.index.clone(),
        };
        let decoder = BlockDecoder::new(&file, &header, &index).map_err(stop_in(&segment))?;
        let mut decoder = decoder.with_limit(self.rules.limit);
        let (mut number, mut since_turn) = (0, 0);
        if offset > 0 {
            // The checksum may lag behind the cursor by a block: what was not consumed by the one is by the other.
            number = index
                .block_of(at.next_doc.min(range.end_doc.saturating_sub(1)))
                .map_err(stop_in(&segment))?;
            while number > 0 && index.block(number).map_err(stop_in(&segment))?.offset > offset {
                number -= 1;
            }
        }
        while number < index.len() {
            let block = index.block(number).map_err(stop_in(&segment))?;
            if block.first_doc >= range.end_doc {
                break;
            }
            number += 1;
            // Before the first block lies the file's header; afterwards blocks adjoin.
            let gap =
                block.offset.checked_sub(offset).filter(|gap| *gap == 0 || offset == 0).ok_or_else(|| {
                    RangeStop::Finding(Finding::unreadable(format!(
                        "{file}: block at {} where {offset} was expected",
                        block.offset
                    )))
                })?;
            let most = gap.max(block.length);
            if most > (self.blobs.budget().document as u64).saturating_mul(2) {
                let what = format!("{file}: block at {}: {most} bytes are more than one has", block.offset);
                return Err(RangeStop::Finding(Finding::unreadable(what)));
            }
            let head = feed.take(gap).await?;
            self.out.consume(&head, at);
            let bytes = feed.take(block.length).await?;
            offset = block.offset + block.length;
            self.out.ask_flow();
            // The cursor may come to lie within this block: then it is read again, so its bytes do not count yet.
            let before = (at.number, at.crc);
            let docs = at.next_doc.max(block.first_doc)..end_of(&block).min(range.end_doc);
            // Where nothing is alive, nothing needs to be decoded; damage there shows by the checksum all the same.
            let decoded = live.any(docs.clone()).then(|| decoder.decode(&block, &bytes));
            match decoded {
                None => self.out.pass_over(at, docs, before, sender).await?,
                Some(Ok(stored)) => {
                    since_turn += stored.size();
                    for document in stored.iter().filter(|document| docs.contains(&document.doc)) {
                        let position = Position { range: at.number, doc: document.doc };
                        if live.get(document.doc) {
                            self.out.push(position, &document, &documents);
                        }
                        at.next_doc = document.doc + 1;
                        if self.out.is_full() {
                            self.out.emit(at.position(), Some(before), sender).await?;
                        }
                    }
                    for (document, size) in stored.cut_off().filter(|(d, _)| docs.contains(&d.doc)) {
                        let position = Position { range: at.number, doc: document.doc };
                        if live.get(document.doc) {
                            self.out.fail_too_large(position, &document, size, &documents);
                        }
                        at.next_doc = document.doc + 1;
                        if self.out.is_full() {
                            self.out.emit(at.position(), Some(before), sender).await?;
                        }
                    }
                }
                Some(Err(error)) => {
                    self.out.skip(at, docs, segment.error(error).finding());
                }
            }
            at.next_doc = at.next_doc.max(end_of(&block));
            // Where there is no footer, blocks reach to where the checksum would be, which covers all before.
            let covered = range.file_len.saturating_sub(CHECKSUM_FIELD).saturating_sub(block.offset);
            self.out.consume(bytes.get(..covered as usize).unwrap_or(&bytes), at);
            since_turn += bytes.len();
            if since_turn >= TURN_BYTES {
                // Let the deliveries proceed: they may share this thread.
                tokio::task::yield_now().await;
                since_turn = 0;
            }
        }
        self.read_tail(&mut feed, offset, at, &file).await
    }

    /// Begins to fetch a range of a segment's stored-fields data file.
    fn feed(&self, segment: &Arc<Segment>, range: std::ops::Range<u64>) -> Feed {
        let segment = segment.clone();
        Feed::new(range, self.fetch_bytes, self.fetch_ahead, move |piece| {
            let segment = segment.clone();
            Box::pin(async move { segment.read_data(piece).await })
        })
    }

    /// What lies behind the last block of a file: counts and the footer, under the same checksum.
    async fn read_tail(
        &mut self,
        feed: &mut Feed,
        offset: u64,
        at: &mut RangeReader<'_>,
        file: &str,
    ) -> Result<(), RangeStop> {
        let range = at.range;
        let has_footer = offset <= range.file_len.saturating_sub(CHECKSUM_FIELD);
        if range.end != range.file_len || !has_footer {
            return Ok(());
        }
        let tail = feed.take(range.end.saturating_sub(offset)).await?;
        let Some((covered, stated)) = tail.split_last_chunk::<{ CHECKSUM_FIELD as usize }>() else {
            let what = format!("{file}: ends within its footer");
            return Err(RangeStop::Finding(Finding::damaged(what)));
        };
        self.out.consume(covered, at);
        if u64::from_be_bytes(*stated) != u64::from(range.file_crc) {
            let what = format!("{file}: its footer changed since the run was planned");
            self.out.stretch.damage.push(Finding::damaged(what).to_string());
        }
        Ok(())
    }
}

fn end_of(block: &Block) -> u32 {
    block.first_doc.saturating_add(block.doc_count)
}

/// Where the reading of a range stands.
struct RangeReader<'a> {
    number: u32,
    range: &'a SegmentRange,
    /// The first document that is not read yet.
    next_doc: u32,
    /// CRC of the bytes consumed.
    crc: RangeCrc,
    live: Option<Bits>,
}

impl RangeReader<'_> {
    fn position(&self) -> Position {
        Position { range: self.number, doc: self.next_doc }
    }
}

/// Why the reading of a range ended early.
enum RangeStop {
    Stop(Stop),
    /// The rest of the range cannot be read.
    Finding(Finding),
    /// A blob is not there, or ends too early.
    Gone(BlobError),
}

impl From<SourceError> for RangeStop {
    fn from(error: SourceError) -> RangeStop {
        match error {
            SourceError::Blob(error @ (BlobError::NotFound { .. } | BlobError::Short { .. })) => {
                RangeStop::Gone(error)
            }
            error @ SourceError::Blob(BlobError::TooLarge { .. }) => RangeStop::Finding(error.finding()),
            // Whether what was written in its place is the same shows when it is read: by its checksum in the end.
            SourceError::Blob(error) => RangeStop::Stop(Stop::Error(ReadError::Blob(error))),
            error => RangeStop::Finding(error.finding()),
        }
    }
}

impl From<Unwanted> for RangeStop {
    fn from(_: Unwanted) -> RangeStop {
        RangeStop::Stop(Stop::Unwanted)
    }
}

/// Gives a Lucene error its place.
fn stop_in(segment: &Segment) -> impl Fn(lucene::Error) -> RangeStop + '_ {
    move |error| segment.error(error).into()
}

/// What is to be known of a segment and its index to read its documents.
struct Sources {
    reader: DocumentReader,
    masked: MaskedVectors,
    plan: Arc<IndexPlan>,
}

/// Gathers documents into batches.
struct Output {
    chunk: Arc<Chunk>,
    encoder: Encoder,
    stretch: Stretch,
    /// Bytes of the chunk consumed in all, and when the last piece was sent.
    consumed: u64,
    emitted_bytes: u64,
    flow: Arc<Mutex<Flow>>,
    /// Bytes that a batch should have, as of the beginning of the block or batch.
    batch_bytes: usize,
    /// Bytes of the failed documents of the stretch.
    failed_bytes: usize,
    scratch: Scratch,
}

impl Output {
    fn consume(&mut self, bytes: &[u8], at: &mut RangeReader<'_>) {
        at.crc = at.crc.update(bytes);
        self.consumed += bytes.len() as u64;
    }

    fn push(&mut self, position: Position, document: &StoredDocument<'_>, sources: &Sources) {
        let mut scratch = std::mem::take(&mut self.scratch);
        match sources.reader.read(document, &mut scratch) {
            Ok(Interpreted::Root(root)) => self.push_root(position, &root, sources),
            Ok(Interpreted::NestedChild) if sources.plan.documents.time_series => {
                self.fail(position, &sources.plan, "missing_id", DROPPED_ID);
            }
            Ok(Interpreted::NestedChild) => self.stretch.counters.nested += 1,
            // Tombstones are soft-deleted, so one that is alive is a document of which nothing else is left.
            Ok(Interpreted::Tombstone { source, routing }) => {
                let (index, routing) = (&sources.plan.destination, routing.map(str::to_owned));
                let why = if sources.plan.documents.time_series {
                    DROPPED_ID
                } else {
                    "it has no _id: it is a tombstone"
                };
                self.fail_at(index, position, None, routing, Some(source), "missing_id", why);
            }
            Err(error) => {
                self.fail(position, &sources.plan, "unreadable_document", &error.to_string());
            }
        }
        self.scratch = scratch;
    }

    fn push_root(&mut self, position: Position, root: &Root<'_>, sources: &Sources) {
        let Sources { masked, plan, .. } = sources;
        let index = plan.destination_of(root.doc_type);
        let routing = plan.documents.routing_of(root);
        let (error_type, reason, source) = match &root.source {
            Source::Json(source) if routing.is_err() => {
                let why = routing.as_ref().err().map(ToString::to_string).unwrap_or_default();
                (
                    "unknown_routing",
                    format!("its routing is in its source, and is not found there: {why}"),
                    Some(*source),
                )
            }
            Source::Json(source)
                if plan.documents.withholds(root.doc_type, root.recovered)
                    || (masked.leave_no_trace() && !root.recovered && !plan.documents.send_filtered) =>
            {
                (
                    "partial_source",
                    "the index stores only a part of _source (includes, excludes, or no vectors)".to_owned(),
                    Some(*source),
                )
            }
            // Vectors could be put in again here; the mask in their place must not reach the target.
            Source::Json(source) => match (masked.missing_in(source).filter(|_| !root.recovered), index) {
                (Some(field), _) => {
                    let why = format!("the index stores _source without the vector of {field}");
                    ("masked_source", why, Some(*source))
                }
                (None, Some(index)) => {
                    let routing = routing.as_ref().ok().and_then(|routing| routing.as_deref());
                    return self.push_source(position, root, routing, source, index, plan);
                }
                (None, None) => {
                    let doc_type = root.doc_type.unwrap_or_default();
                    let why = format!("the mappings of the index have no type {doc_type:?}");
                    ("unknown_type", why, Some(*source))
                }
            },
            // Here a source could be built again from doc values and other stored fields.
            Source::Missing => ("missing_source", "the index does not store _source".to_owned(), None),
            Source::Unreadable { raw, error } => ("unreadable_source", error.to_string(), Some(*raw)),
        };
        let (id, routing) = (Some(root.id.to_owned()), routing.ok().flatten().map(Cow::into_owned));
        let index = index.unwrap_or(&plan.destination).to_owned();
        self.fail_at(&index, position, id, routing, source, error_type, &reason);
    }

    fn push_source(
        &mut self,
        position: Position,
        root: &Root<'_>,
        routing: Option<&str>,
        source: &[u8],
        index: &str,
        plan: &IndexPlan,
    ) {
        self.stretch.counters.source_bytes += source.len() as u64;
        let sent = plan.documents.sent(root, source);
        let document = Document {
            index: (index != plan.destination).then_some(index),
            id: root.id,
            routing,
            doc_type: root.doc_type.filter(|_| plan.documents.types == Types::Kept),
            parent: root.parent,
            timestamp: root.timestamp,
            expires: root.expires,
            source: &sent,
        };
        self.encoder.push(position, &document);
    }

    /// Records a document that would take more memory than is allowed.
    fn fail_too_large(
        &mut self,
        position: Position,
        document: &StoredDocument<'_>,
        size: usize,
        sources: &Sources,
    ) {
        let mut scratch = Scratch::default();
        let (id, routing) = sources.reader.identify(document, &mut scratch);
        let (id, routing) = (id.map(str::to_owned), routing.map(str::to_owned));
        let why = format!("its stored fields take {size} bytes, which is more than a worker reads at once");
        self.fail_at(&sources.plan.destination, position, id, routing, None, "document_too_large", &why);
    }

    /// Records a document of which no more is known than where it is.
    fn fail(&mut self, position: Position, plan: &IndexPlan, error_type: &str, reason: &str) {
        self.fail_at(&plan.destination, position, None, None, None, error_type, reason);
    }

    #[expect(clippy::too_many_arguments, reason = "each is a field of the record")]
    fn fail_at(
        &mut self,
        destination: &str,
        position: Position,
        id: Option<String>,
        routing: Option<String>,
        source: Option<&[u8]>,
        error_type: &str,
        reason: &str,
    ) {
        let failed = failed_document(
            &self.chunk,
            destination,
            position,
            id,
            routing,
            source,
            error_type.to_owned(),
            reason.to_owned(),
        );
        self.failed_bytes += failed.bytes();
        self.stretch.failed.push(failed);
    }

    /// Passes over documents of which none is alive. The bytes of their blocks may be many: the cursor is moved all the same.
    async fn pass_over(
        &mut self,
        at: &mut RangeReader<'_>,
        docs: std::ops::Range<u32>,
        crc: (u32, RangeCrc),
        sender: &Sender<Result<Work, ReadError>>,
    ) -> Result<(), Unwanted> {
        at.next_doc = at.next_doc.max(docs.end);
        if self.is_full() {
            self.emit(at.position(), Some(crc), sender).await?;
        }
        Ok(())
    }

    /// Counts documents that cannot be read, and records why.
    fn skip(&mut self, at: &RangeReader<'_>, docs: std::ops::Range<u32>, finding: Finding) {
        let damaged = match &at.live {
            Some(live) => docs.clone().filter(|doc| live.get(*doc)).count() as u64,
            None => u64::from(docs.end.saturating_sub(docs.start)),
        };
        self.stretch.counters.damaged += damaged;
        let segment = &at.range.segment;
        let (first, last) = (docs.start, docs.end.saturating_sub(1));
        if self.stretch.damage.len() < MAX_DAMAGE {
            let what = finding.clipped();
            self.stretch
                .damage
                .push(format!("{what}; lost: {damaged} documents of segment {segment}, {first} to {last}"));
        }
    }

    /// Asks how large batches should be now; not for each document, since that takes a lock.
    fn ask_flow(&mut self) {
        self.batch_bytes = self.flow.lock().unwrap_or_else(PoisonError::into_inner).batch_bytes();
    }

    fn is_full(&self) -> bool {
        self.encoder.len() >= self.batch_bytes
            || self.stretch.failed.len() >= MAX_FAILED.0
            || self.failed_bytes >= MAX_FAILED.1
            || self.consumed - self.emitted_bytes >= QUIET_BYTES
    }

    /// Sends what was gathered. `end` is the position after it; `crc` that of its range up to the block of `end`.
    async fn emit(
        &mut self,
        end: Position,
        crc: Option<(u32, RangeCrc)>,
        sender: &Sender<Result<Work, ReadError>>,
    ) -> Result<(), Unwanted> {
        let mut stretch = std::mem::take(&mut self.stretch);
        stretch.end = end;
        stretch.crcs.extend(crc);
        stretch.stored_bytes = self.consumed;
        self.emitted_bytes = self.consumed;
        self.failed_bytes = 0;
        let batch = self.encoder.take();
        sender.send(Ok(Work { stretch, batch })).await.map_err(|_| Unwanted)?;
        // Nothing is gathered beside a batch that waits: documents may be large, and while the target is slower there is no
        // hurry.
        drop(sender.reserve().await.map_err(|_| Unwanted)?);
        // That may have taken long.
        self.ask_flow();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
