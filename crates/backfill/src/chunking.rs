//! How a shard's stored fields are cut into chunks: large segments at block boundaries, small ones put together.
//!
//! The cut depends only on the segments and the intended size, so that planning twice yields the same chunks.

use crate::model::{Chunk, ChunkId, SegmentRange, Shard, ShardId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// The sizes of chunks that make sense, in bytes of stored fields. Smaller ones would only be checkpoints: a shard of 50 GB
/// would have more than ten million already at the smallest.
pub const CHUNK_BYTES: std::ops::RangeInclusive<u64> = 4096..=1 << 40;

/// Checks the size of chunks that somebody asks for.
///
/// # Errors
/// When it is out of range: says what is possible.
pub fn check_chunk_bytes(bytes: u64) -> Result<u64, String> {
    if CHUNK_BYTES.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!(
        "chunks of {bytes} bytes are out of range; give from {} bytes (4KiB) to {} (1TiB)",
        CHUNK_BYTES.start(),
        CHUNK_BYTES.end()
    ))
}

/// Ranges in one chunk, at most: keeps its checkpoint record small.
const MAX_RANGES: usize = 64;
/// Ranges of one segment, at most: how long its file is, is only what the snapshot says.
const MAX_PIECES: u64 = 1 << 16;

/// A segment as the cut needs it.
#[derive(Clone, Debug)]
pub struct SegmentExtent {
    /// Segment name.
    pub name: String,
    /// Documents in the segment, deleted ones included.
    pub max_doc: u32,
    /// Length of its stored-fields data file.
    pub file_len: u64,
    /// CRC-32 stated in that file's footer.
    pub file_crc: u32,
}

/// Where blocks begin.
pub trait BlockBoundaries {
    /// What may go wrong when the index is looked at.
    type Error;

    /// The first block that begins at or after `offset`: its first document and its offset. `None` after the last.
    fn at_or_after(&self, offset: u64) -> Result<Option<(u32, u64)>, Self::Error>;
}

/// Cuts one segment into ranges of about `chunk_bytes`, at block boundaries.
pub fn cut_segment<B: BlockBoundaries>(
    segment: &SegmentExtent,
    blocks: &B,
    chunk_bytes: u64,
) -> Result<Vec<SegmentRange>, B::Error> {
    let chunk_bytes = chunk_bytes.max(1);
    let pieces = (segment.file_len.saturating_add(chunk_bytes / 2) / chunk_bytes).clamp(1, MAX_PIECES);
    let mut starts: Vec<(u32, u64)> = vec![(0, 0)];
    for piece in 1..pieces {
        // u128: a product of two file sizes.
        let wanted = (u128::from(segment.file_len) * u128::from(piece) / u128::from(pieces)) as u64;
        match blocks.at_or_after(wanted)? {
            Some((doc, offset)) if doc > starts[starts.len() - 1].0 => starts.push((doc, offset)),
            Some(_) => {}
            None => break,
        }
    }
    let ends = starts.iter().skip(1).copied().chain([(segment.max_doc, segment.file_len)]);
    Ok(starts
        .iter()
        .zip(ends)
        .map(|((first_doc, start), (end_doc, end))| SegmentRange {
            segment: segment.name.clone(),
            first_doc: *first_doc,
            end_doc,
            start: *start,
            end,
            file_len: segment.file_len,
            file_crc: segment.file_crc,
        })
        .collect())
}

/// Puts the ranges of a shard together into chunks of about `chunk_bytes`, in order.
pub fn pack(shard: &ShardId, ranges: Vec<SegmentRange>, chunk_bytes: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut open: Vec<SegmentRange> = Vec::new();
    let mut open_bytes = 0u64;
    let mut close = |ranges: Vec<SegmentRange>| {
        let number = chunks.len() as u32;
        chunks.push(Chunk::new(ChunkId { shard: shard.clone(), number }, ranges));
    };
    for range in ranges {
        let bytes = range.end - range.start;
        let full = open_bytes.saturating_add(bytes) > chunk_bytes || open.len() >= MAX_RANGES;
        if full && !open.is_empty() {
            close(std::mem::take(&mut open));
            open_bytes = 0;
        }
        open_bytes = open_bytes.saturating_add(bytes);
        open.push(range);
    }
    if !open.is_empty() {
        close(open);
    }
    chunks
}

/// The place of a chunk in the queue: the chunks of each shard are spread evenly over the whole run, so that no
/// shard of the target gets all workers at once, and no large shard is left for the end. Depends on nothing but the
/// chunk and its shard, so shards can be planned in any order.
pub fn queue_rank(shard: &ShardId, number: u32, total: u32) -> u64 {
    // The middle of the chunk's place within its shard, in parts of 2^32.
    let middle = ((2 * u64::from(number) + 1) << 31) / u64::from(total.max(1));
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(shard.index.as_bytes());
    hasher.update(&shard.shard.to_le_bytes());
    (middle << 31) | u64::from(hasher.finalize() >> 1)
}

/// All chunks of these shards in the order of the queue, made one by one: the shards are all that is in memory.
pub fn queue_order(shards: &[Shard]) -> impl Iterator<Item = ChunkId> {
    let mut shards: Vec<&Shard> = shards.iter().filter(|shard| shard.chunks > 0).collect();
    shards.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let rank = |shard: &Shard, number| queue_rank(&shard.id, number, shard.chunks);
    let first = shards.iter().enumerate().map(|(at, shard)| Reverse((rank(shard, 0), at, 0)));
    let mut next: BinaryHeap<Reverse<(u64, usize, u32)>> = first.collect();
    std::iter::from_fn(move || {
        let mut top = next.peek_mut()?;
        let Reverse((_, at, number)) = *top;
        let shard = shards[at];
        if number + 1 < shard.chunks {
            *top = Reverse((rank(shard, number + 1), at, number + 1));
        } else {
            PeekMut::pop(top);
        }
        Some(ChunkId { shard: shard.id.clone(), number })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    struct Blocks(Vec<(u32, u64)>);

    impl BlockBoundaries for Blocks {
        type Error = Infallible;
        fn at_or_after(&self, offset: u64) -> Result<Option<(u32, u64)>, Infallible> {
            Ok(self.0.iter().find(|(_, at)| *at >= offset).copied())
        }
    }

    fn shard(index: &str) -> ShardId {
        ShardId { index: index.to_owned(), shard: 0 }
    }

    proptest! {
        #[test]
        fn every_document_and_byte_is_in_exactly_one_chunk(
            segments in proptest::collection::vec(proptest::collection::vec((1u32..50, 1u64..5000), 1..40), 1..20),
            chunk_bytes in 1u64..40_000,
        ) {
            let mut ranges = Vec::new();
            for (n, blocks) in segments.iter().enumerate() {
                let (mut doc, mut at) = (0, 48);
                let mut table = Vec::new();
                for (docs, bytes) in blocks {
                    table.push((doc, at));
                    doc += docs;
                    at += bytes;
                }
                let extent = SegmentExtent { name: format!("_{n}"), max_doc: doc, file_len: at + 16, file_crc: 0 };
                let cut = cut_segment(&extent, &Blocks(table.clone()), chunk_bytes).unwrap();
                prop_assert_eq!((cut[0].first_doc, cut[0].start), (0, 0));
                let last = &cut[cut.len() - 1];
                prop_assert_eq!((last.end_doc, last.end), (doc, at + 16));
                for pair in cut.windows(2) {
                    prop_assert_eq!((pair[0].end_doc, pair[0].end), (pair[1].first_doc, pair[1].start));
                    prop_assert!(table.contains(&(pair[1].first_doc, pair[1].start)));
                }
                let largest = blocks.iter().map(|b| b.1).max().unwrap();
                for range in &cut {
                    prop_assert!(range.end - range.start <= 2 * chunk_bytes + largest + 64);
                }
                ranges.extend(cut);
            }
            let chunks = pack(&shard("i"), ranges.clone(), chunk_bytes);
            let packed: Vec<SegmentRange> = chunks.iter().flat_map(|c| c.ranges.clone()).collect();
            prop_assert_eq!(packed, ranges);
            for chunk in &chunks {
                prop_assert!(chunk.ranges.len() == 1 || chunk.stored_bytes() <= chunk_bytes);
                prop_assert!(chunk.ranges.len() <= MAX_RANGES);
            }
        }
    }

    #[test]
    fn a_length_that_is_a_lie_is_not_cut_without_end() {
        struct Endless;
        impl BlockBoundaries for Endless {
            type Error = Infallible;
            fn at_or_after(&self, offset: u64) -> Result<Option<(u32, u64)>, Infallible> {
                Ok(Some(((offset >> 32) as u32, offset)))
            }
        }
        let segment =
            SegmentExtent { name: "_0".to_owned(), max_doc: 1 << 31, file_len: u64::MAX, file_crc: 0 };
        let cut = cut_segment(&segment, &Endless, 1 << 20).unwrap();
        assert_eq!(cut.len() as u64, MAX_PIECES);
        assert_eq!(cut[cut.len() - 1].end, u64::MAX);
    }

    #[test]
    fn chunks_of_different_shards_are_interleaved() {
        let planned = |index: &str, chunks| Shard {
            id: shard(index),
            path: String::new(),
            manifest_etag: String::new(),
            live_docs: 0,
            stored_bytes: 0,
            chunks,
            findings: Vec::new(),
            damaged_docs: 0,
            uncounted_segments: 0,
            routed: false,
        };
        let shards = [planned("b", 2), planned("empty", 0), planned("a", 4)];
        let order: Vec<ChunkId> = queue_order(&shards).collect();
        let names: Vec<String> = order.iter().map(|c| format!("{}{}", c.shard.index, c.number)).collect();
        assert_eq!(names, ["a0", "b0", "a1", "a2", "b1", "a3"]);
        let total = |id: &ShardId| if id.index == "a" { 4 } else { 2 };
        let ranks: Vec<u64> = order.iter().map(|c| queue_rank(&c.shard, c.number, total(&c.shard))).collect();
        assert!(ranks.is_sorted() && ranks.iter().all(|rank| i64::try_from(*rank).is_ok()));
        // Shards of the same size take turns, in the same order each time.
        let many: Vec<Shard> = (0..50).map(|n| planned(&format!("i{n}"), 3)).collect();
        let order: Vec<ChunkId> = queue_order(&many).collect();
        for round in order.chunks(50) {
            assert!(round.iter().zip(&order).all(|(a, b)| a.shard == b.shard && a.number == round[0].number));
        }
    }
}
