//! What a retry of failed documents brings: counts that move from `failed` to the others.

use super::chunk::WriteRefused;
use super::{Chunk, ChunkState};
use serde::{Deserialize, Serialize};

/// Failed documents of one chunk that the target has taken after all. Nothing but the three counters changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Settled {
    /// `failed` of the chunk as the retry saw it. Since it only ever falls, and falls by each settling that moves
    /// anything, it also tells settlings apart: one that was applied already does not find its number again.
    pub seen: u64,
    /// Documents that move to `indexed`.
    pub indexed: u64,
    /// Documents that move to `already_there`.
    pub already_there: u64,
}

impl Settled {
    /// Documents that move.
    pub fn moved(&self) -> u64 {
        self.indexed.saturating_add(self.already_there)
    }
}

impl Chunk {
    /// Moves the counts of a chunk that is done, unless `failed` is another number than the retry saw.
    pub fn settle(&mut self, settled: &Settled) -> Result<(), WriteRefused> {
        let counters = &mut self.progress.counters;
        match settled.seen.checked_sub(settled.moved()) {
            Some(left) if self.state == ChunkState::Done && counters.failed == settled.seen => {
                counters.failed = left;
                counters.indexed = counters.indexed.saturating_add(settled.indexed);
                counters.already_there = counters.already_there.saturating_add(settled.already_there);
                Ok(())
            }
            _ => Err(WriteRefused::Unsettled {
                chunk: self.id.clone(),
                settled: *settled,
                failed: counters.failed,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChunkId, Counters, ShardId};

    #[test]
    fn counts_move_once_and_only_when_the_chunk_is_done() {
        let shard = ShardId { index: "i".to_owned(), shard: 0 };
        let mut chunk = Chunk::new(ChunkId { shard, number: 0 }, Vec::new());
        chunk.progress.counters = Counters { indexed: 4, failed: 3, ..Counters::default() };
        let settled = Settled { seen: 3, indexed: 1, already_there: 1 };
        assert!(matches!(chunk.settle(&settled), Err(WriteRefused::Unsettled { failed: 3, .. })));
        chunk.state = ChunkState::Done;
        let more = Settled { seen: 3, indexed: 2, already_there: 2 };
        assert!(chunk.settle(&more).is_err(), "more than failed");
        assert!(chunk.settle(&Settled { seen: 3, indexed: u64::MAX, already_there: 2 }).is_err());
        chunk.settle(&settled).unwrap();
        let expected = Counters { indexed: 5, already_there: 1, failed: 1, ..Counters::default() };
        assert_eq!(chunk.progress.counters, expected);
        assert!(matches!(chunk.settle(&settled), Err(WriteRefused::Unsettled { failed: 1, .. })));
        assert_eq!(chunk.progress.counters, expected);
    }
}
