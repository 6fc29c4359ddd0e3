//! How a shard's stored fields are cut into chunks: large segments at block boundaries, small ones put together.
//!
//! The cut depends only on the segments and the intended size, so that planning twice yields the same chunks.

use crate::model::{Chunk, ChunkId, SegmentRange, ShardId};

/// Ranges in one chunk, at most: keeps its checkpoint record small.
const MAX_RANGES: usize = 64;

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
    let pieces = (segment.file_len.saturating_add(chunk_bytes / 2) / chunk_bytes).max(1);
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

/// Sets the order of all chunks of a run so that the chunks of each shard are spread evenly over the whole run:
/// no shard of the target gets all workers at once, and no large shard is left for the end.
pub fn interleave(chunks: &mut [Chunk]) {
    let mut per_shard = std::collections::HashMap::<ShardId, u64>::new();
    for chunk in chunks.iter() {
        *per_shard.entry(chunk.id.shard.clone()).or_default() += 1;
    }
    // The middle of the chunk's place within its shard, in parts of 2^32.
    let rank = |chunk: &Chunk| {
        let total = per_shard.get(&chunk.id.shard).copied().unwrap_or(1);
        ((2 * u64::from(chunk.id.number) + 1) << 31) / total
    };
    chunks.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.id.cmp(&b.id)));
    for (order, chunk) in chunks.iter_mut().enumerate() {
        chunk.order = order as u64;
    }
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
    fn chunks_of_different_shards_are_interleaved() {
        let chunk = |index: &str, number| Chunk::new(ChunkId { shard: shard(index), number }, Vec::new());
        let mut chunks: Vec<Chunk> =
            (0..4).map(|n| chunk("a", n)).chain((0..2).map(|n| chunk("b", n))).collect();
        interleave(&mut chunks);
        let order: Vec<String> =
            chunks.iter().map(|c| format!("{}{}", c.id.shard.index, c.id.number)).collect();
        assert_eq!(order, ["a0", "b0", "a1", "a2", "b1", "a3"]);
        assert!(chunks.iter().enumerate().all(|(n, c)| c.order == n as u64));
    }
}
