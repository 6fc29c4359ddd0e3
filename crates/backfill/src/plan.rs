//! The planner: from a snapshot to chunks, reading only metadata.
//!
//! For each shard it reads the list of files, and for each segment that has live documents the index of its stored
//! fields and the first and last bytes of the stored-fields data. Lengths and checksums are compared on the way.
//! What cannot be planned is recorded with its shard; the other shards go on.

use crate::chunking::{BlockBoundaries, CHUNK_BYTES, SegmentExtent, cut_segment, pack, queue_rank};
use crate::indices::{Handling, plan_indices};
use crate::model::{
    Chunk, IndexPlan, Millis, MissingShard, Notes, Planning, Run, RunId, RunSpec, RunState, SegmentRange,
    Selection, Shard, ShardId,
};
use crate::source::{IndexSource, OpenedSnapshot, Repository, Segment, ShardSource, SourceError};
use futures::{Stream, StreamExt, TryStreamExt};
use lucene::segment_info::SegmentInfo;
use lucene::segments::SegmentCommit;
use lucene::stored_fields::BlockIndex;
use std::collections::HashSet;
use std::sync::Arc;

/// Segments of a shard planned at once.
const SEGMENTS_AT_ONCE: usize = 4;

/// What a run would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the snapshot.
    pub snapshot: String,
    /// UUID of the snapshot.
    pub snapshot_uuid: String,
    /// The indices that are meant.
    pub indices: Vec<IndexPlan>,
    /// Their shards.
    pub shards: Vec<Shard>,
    /// Their chunks, in the order of the queue.
    pub chunks: Vec<Chunk>,
    /// Shards that the snapshot lacks.
    pub missing_shards: Vec<MissingShard>,
    /// Indices that cannot be migrated at all, each with the reason.
    pub refused: Vec<(String, String)>,
}

/// What became of the planning of one shard.
#[derive(Debug)]
pub enum Planned {
    /// It is planned, perhaps as damaged.
    Shard(Shard, Vec<Chunk>),
    /// It cannot be read for now, although others can. It may be planned later.
    Unreadable(ShardId, SourceError),
}

/// What is known of a run before any of its shards is read.
#[derive(Debug)]
pub struct Outline {
    /// Name of the snapshot.
    pub snapshot: String,
    /// UUID of the snapshot.
    pub snapshot_uuid: String,
    /// The indices that are meant.
    pub indices: Vec<IndexPlan>,
    /// Shards that the snapshot lacks.
    pub missing_shards: Vec<MissingShard>,
    /// Indices that cannot be migrated at all, each with the reason.
    pub refused: Vec<(String, String)>,
    sources: Vec<IndexSource>,
}

/// Finds out which indices of a snapshot are meant, and which of their shards it holds.
pub async fn outline(
    repository: &Repository,
    opened: &OpenedSnapshot,
    selection: &Selection,
    handling: &Handling,
) -> Result<Outline, SourceError> {
    let (mut sources, unreadable) = repository.indices(opened, selection).await?;
    let (indices, mut refused) = plan_indices(&sources, handling);
    refused.extend(unreadable.into_iter().map(|(name, error)| (name, error.finding().clipped().to_string())));
    let kept: HashSet<&str> = indices.iter().map(|plan| plan.name.as_str()).collect();
    sources.retain(|source| kept.contains(source.entry.name.as_str()));
    Ok(Outline {
        snapshot: opened.info.name.clone(),
        snapshot_uuid: opened.info.uuid.clone(),
        indices,
        missing_shards: opened.missing_shards(&sources),
        refused,
        sources,
    })
}

impl Outline {
    /// A new run over what is meant, of which nothing is planned yet.
    pub fn run(&self, id: RunId, spec: RunSpec, workers: u32, now: Millis) -> Run {
        Run {
            id,
            spec,
            state: RunState::Running,
            planning: Planning::Shards,
            desired_workers: workers,
            created: now,
            finished: None,
            indices: self.indices.clone(),
            missing_shards: self.missing_shards.clone(),
            refused: self.refused.clone(),
            damage: Vec::new(),
            notes: Notes::default(),
        }
    }

    /// Plans those shards that are not in `known`: several at once, in the order in which they get ready. What is
    /// not taken is not read, so memory does not grow with the number of shards.
    pub fn shards<'a>(
        &'a self,
        repository: &'a Repository,
        opened: &'a OpenedSnapshot,
        chunk_bytes: u64,
        known: &HashSet<ShardId>,
    ) -> impl Stream<Item = Result<Planned, SourceError>> + use<'a> {
        // A run of an earlier version may have any size.
        let chunk_bytes = chunk_bytes.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end());
        let missing: HashSet<(&str, u32)> =
            self.missing_shards.iter().map(|m| (m.index.as_str(), m.shard)).collect();
        let wanted: Vec<(&IndexSource, u32)> = self
            .sources
            .iter()
            .flat_map(|index| (0..index.metadata.number_of_shards).map(move |shard| (index, shard)))
            .filter(|(index, shard)| {
                let name = &index.entry.name;
                !missing.contains(&(name.as_str(), *shard))
                    && !known.contains(&ShardId { index: name.clone(), shard: *shard })
            })
            .collect();
        futures::stream::iter(wanted)
            .map(move |(index, shard)| async move {
                match plan_shard(repository, opened, index, shard, chunk_bytes).await {
                    Ok((shard, chunks)) => Ok(Planned::Shard(shard, chunks)),
                    Err(error) if error.is_of_one_blob() => {
                        Ok(Planned::Unreadable(ShardId { index: index.entry.name.clone(), shard }, error))
                    }
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(repository.blobs.budget().shards)
    }
}

/// Plans the migration of a selection of a snapshot's indices, all at once: for looking at, and for small runs.
pub async fn plan(
    repository: &Repository,
    opened: &OpenedSnapshot,
    selection: &Selection,
    handling: &Handling,
    chunk_bytes: u64,
) -> Result<Plan, SourceError> {
    let outline = outline(repository, opened, selection, handling).await?;
    let planned = outline.shards(repository, opened, chunk_bytes, &HashSet::new());
    let planned = planned.and_then(async |planned| match planned {
        Planned::Shard(shard, chunks) => Ok((shard, chunks)),
        Planned::Unreadable(_, error) => Err(error),
    });
    let mut planned: Vec<(Shard, Vec<Chunk>)> = planned.try_collect().await?;
    planned.sort_unstable_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    let (shards, chunks): (Vec<Shard>, Vec<Vec<Chunk>>) = planned.into_iter().unzip();
    let mut chunks: Vec<Chunk> = chunks.into_iter().flatten().collect();
    chunks.sort_by_key(|chunk| chunk.order);
    Ok(Plan {
        snapshot: outline.snapshot,
        snapshot_uuid: outline.snapshot_uuid,
        indices: outline.indices,
        shards,
        chunks,
        missing_shards: outline.missing_shards,
        refused: outline.refused,
    })
}

async fn plan_shard(
    repository: &Repository,
    opened: &OpenedSnapshot,
    index: &IndexSource,
    number: u32,
    chunk_bytes: u64,
) -> Result<(Shard, Vec<Chunk>), SourceError> {
    let path = index.shard_dir(number).to_owned();
    let mut shard = Shard::new(ShardId { index: index.entry.name.clone(), shard: number }, path.clone());
    let source = match ShardSource::open(repository.blobs.clone(), &path, &opened.info.uuid).await {
        Ok(source) => Arc::new(source),
        Err(error) if error.is_of_snapshot() => {
            repository.is_there_beside(&error).await?;
            shard.findings = vec![error.finding().clipped()];
            shard.uncounted_segments = 1;
            return Ok((shard, Vec::new()));
        }
        Err(error) => return Err(error),
    };
    shard.manifest_etag = source.manifest_etag.clone();
    let mut ranges = Vec::new();
    let segments = futures::stream::iter(&source.commit.segments)
        .map(async |commit| (commit, plan_segment(&source, commit, chunk_bytes).await))
        .buffered(SEGMENTS_AT_ONCE);
    let mut segments = std::pin::pin!(segments);
    while let Some((commit, planned)) = segments.next().await {
        match planned {
            Ok((live, routed, cut)) => {
                shard.live_docs += u64::from(live);
                shard.routed |= routed;
                ranges.extend(cut);
            }
            Err(error) if error.is_of_snapshot() => {
                repository.is_there_beside(&error).await?;
                let live = source.segment_info(commit).await.ok().map(|info| live_docs(&info, commit));
                shard.lose_segment(&commit.name, live, &error.finding());
            }
            Err(error) => return Err(error),
        }
    }
    let mut chunks = pack(&shard.id, ranges, chunk_bytes);
    shard.stored_bytes = chunks.iter().map(Chunk::stored_bytes).sum();
    shard.chunks = chunks.len() as u32;
    for chunk in &mut chunks {
        chunk.order = queue_rank(&shard.id, chunk.id.number, shard.chunks);
    }
    Ok((shard, chunks))
}

/// Live documents of a segment by its metadata alone.
fn live_docs(info: &SegmentInfo, commit: &SegmentCommit) -> u32 {
    info.doc_count.saturating_sub(commit.del_count).saturating_sub(commit.soft_del_count)
}

/// The live documents of a segment, whether any may have a routing, and its ranges; none if nothing of it is alive.
async fn plan_segment(
    shard: &Arc<ShardSource>,
    commit: &SegmentCommit,
    chunk_bytes: u64,
) -> Result<(u32, bool, Vec<SegmentRange>), SourceError> {
    let segment = Segment::open(shard.clone(), commit).await?;
    let live = segment.live_count();
    if live == 0 {
        return Ok((0, false, Vec::new()));
    }
    let (header, crc, index) =
        futures::join!(segment.data_header(), segment.data_crc(), segment.block_index());
    // An unknown format is told now, not by a worker in the middle of the run, and before what follows from it.
    header?;
    let extent = SegmentExtent {
        name: commit.name.clone(),
        max_doc: segment.info.doc_count,
        file_len: segment.data_len()?,
        file_crc: crc?,
    };
    let index = index?;
    let ranges = cut_segment(&extent, &Blocks { index: &index, segment: &segment }, chunk_bytes)?;
    Ok((live, segment.has_routings(), ranges))
}

struct Blocks<'a> {
    index: &'a BlockIndex,
    segment: &'a Segment,
}

impl BlockBoundaries for Blocks<'_> {
    type Error = SourceError;

    fn at_or_after(&self, offset: u64) -> Result<Option<(u32, u64)>, SourceError> {
        let block = |number| self.index.block(number).map_err(|e| self.segment.error(e));
        let (mut low, mut high) = (0, self.index.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if block(middle)?.offset < offset { low = middle + 1 } else { high = middle }
        }
        if low == self.index.len() {
            return Ok(None);
        }
        let found = block(low)?;
        Ok(Some((found.first_doc, found.offset)))
    }
}
