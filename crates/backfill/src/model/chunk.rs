//! A chunk and its checkpoint: the state machine that makes a run safe to kill at any instant.
//!
//! ```text
//! pending ──claim──► leased ──complete──► done
//!    ▲                 │
//!    └──hand back, ────┘
//!       or expiry
//! ```
//! A claim takes the lease and raises the epoch. Each later write of that worker carries the epoch and is refused
//! when another claim has raised it since, so a worker that was thought dead cannot move the cursor.
//! The cursor only moves forward and never passes a document that is neither acknowledged nor kept as failed.

use super::{Counters, Millis, RangeCrc, ShardId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a chunk within a run; the same on every planning of the same snapshot with the same chunk size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The shard it is part of.
    pub shard: ShardId,
    /// Its number within the shard, from 0.
    pub number: u32,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.shard, self.number)
    }
}

/// A contiguous part of one segment, cut at block boundaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRange {
    /// Segment name, e.g. `_0`.
    pub segment: String,
    /// First document (Lucene document number within the segment).
    pub first_doc: u32,
    /// One past the last document.
    pub end_doc: u32,
    /// First byte within the stored-fields data file; 0 for the part that starts the file, header included.
    pub start: u64,
    /// One past the last byte; the file's length for the part that ends it, footer included.
    pub end: u64,
    /// Length of the stored-fields data file.
    pub file_len: u64,
    /// The CRC-32 that the file's footer states.
    pub file_crc: u32,
}

/// A position in a chunk: the document that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Index into the chunk's segment ranges; their number when the chunk is through.
    pub range: u32,
    /// Document within the segment.
    pub doc: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.range, self.doc)
    }
}

/// How far a chunk has come. All of it describes the documents before the cursor, no more and no less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The first document that is not yet acknowledged.
    pub cursor: Position,
    /// What was counted before the cursor.
    pub counters: Counters,
    /// CRC of the bytes consumed of each range before the cursor's; the last entry may be of a range under way
    /// and then ends where the block of the cursor begins.
    pub crcs: Vec<RangeCrc>,
    /// What could not be read, with file and range; the first few.
    pub damage: Vec<String>,
}

/// A worker's hold on a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who holds it.
    pub owner: String,
    /// When it ends unless renewed.
    pub until: Millis,
}

/// Where a chunk stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkState {
    /// To be claimed.
    Pending,
    /// In a worker's hands, or left behind by a dead one until the lease ends.
    Leased(Lease),
    /// Each of its documents was acknowledged or is kept as a failed document.
    Done,
}

/// The durable record of a chunk: its range, cursor, counters and lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its name.
    pub id: ChunkId,
    /// Rank in the queue: chunks of different shards are interleaved.
    pub order: u64,
    /// What it covers, in the order in which it is read.
    pub ranges: Vec<SegmentRange>,
    /// Where it stands.
    pub state: ChunkState,
    /// Raised by each claim; a write with an older epoch is refused.
    pub epoch: u64,
    /// How far it has come.
    pub progress: Progress,
    /// Claims in a row that did not move the cursor. Poison shows here, not in the number of deliveries.
    pub idle_claims: u32,
    /// Why the last attempt ended early, if it did with an error.
    pub last_error: Option<String>,
}

/// Why a claim was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimRefused {
    /// The chunk is done: the message is a duplicate.
    Done,
    /// Another worker holds it until then.
    Held {
        /// The end of the lease.
        until: Millis,
    },
}

/// Why a write of a worker was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefused {
    /// Another claim has taken the chunk over since, or it is done.
    #[error("chunk {chunk} was taken over: this worker holds epoch {held}, the record has epoch {current}")]
    LeaseLost {
        /// The chunk.
        chunk: ChunkId,
        /// The epoch that the worker was given.
        held: u64,
        /// The epoch that the record has.
        current: u64,
    },
    /// The cursor would move backward. A defect of the worker; refused so that nothing is counted twice.
    #[error("the cursor of chunk {chunk} would move back from {from} to {to}")]
    Backward {
        /// The chunk.
        chunk: ChunkId,
        /// Where the cursor is.
        from: Position,
        /// Where it would be put.
        to: Position,
    },
    /// Completion before the cursor has reached the end.
    #[error("chunk {chunk} would be completed at {at}, before its end")]
    Incomplete {
        /// The chunk.
        chunk: ChunkId,
        /// Where its cursor is.
        at: Position,
    },
}

impl Chunk {
    /// A chunk as planned: pending, at its first document.
    pub fn new(id: ChunkId, ranges: Vec<SegmentRange>) -> Chunk {
        let cursor = Position { range: 0, doc: ranges.first().map_or(0, |r| r.first_doc) };
        let progress = Progress { cursor, ..Progress::default() };
        Chunk {
            id,
            order: 0,
            ranges,
            state: ChunkState::Pending,
            epoch: 0,
            progress,
            idle_claims: 0,
            last_error: None,
        }
    }

    /// The position after the last document.
    pub fn end(&self) -> Position {
        Position { range: self.ranges.len() as u32, doc: 0 }
    }

    /// Bytes of stored fields that it covers.
    pub fn stored_bytes(&self) -> u64 {
        self.ranges.iter().map(|r| r.end - r.start).sum()
    }

    /// Takes the lease for `owner` until `until`, if nobody else holds it at `now`.
    pub fn claim(&mut self, owner: &str, now: Millis, until: Millis) -> Result<(), ClaimRefused> {
        match &self.state {
            ChunkState::Done => return Err(ClaimRefused::Done),
            ChunkState::Leased(lease) if lease.until > now => {
                return Err(ClaimRefused::Held { until: lease.until });
            }
            ChunkState::Leased(_) | ChunkState::Pending => {}
        }
        self.state = ChunkState::Leased(Lease { owner: owner.to_owned(), until });
        self.epoch += 1;
        self.idle_claims += 1;
        Ok(())
    }

    /// Records progress and renews the lease.
    pub fn save(&mut self, epoch: u64, progress: Progress, until: Millis) -> Result<(), WriteRefused> {
        self.advance(epoch, progress)?;
        if let ChunkState::Leased(lease) = &mut self.state {
            lease.until = until;
        }
        Ok(())
    }

    /// Records progress and gives the lease back, so that another worker may go on.
    pub fn hand_back(
        &mut self,
        epoch: u64,
        progress: Progress,
        error: Option<String>,
    ) -> Result<(), WriteRefused> {
        self.advance(epoch, progress)?;
        self.state = ChunkState::Pending;
        self.last_error = error;
        Ok(())
    }

    /// Records that everything was acknowledged.
    pub fn complete(&mut self, epoch: u64, progress: Progress) -> Result<(), WriteRefused> {
        if progress.cursor != self.end() {
            self.check_epoch(epoch)?;
            return Err(WriteRefused::Incomplete { chunk: self.id.clone(), at: progress.cursor });
        }
        self.advance(epoch, progress)?;
        self.state = ChunkState::Done;
        self.last_error = None;
        Ok(())
    }

    fn check_epoch(&self, epoch: u64) -> Result<(), WriteRefused> {
        if epoch != self.epoch || !matches!(self.state, ChunkState::Leased(_)) {
            return Err(WriteRefused::LeaseLost { chunk: self.id.clone(), held: epoch, current: self.epoch });
        }
        Ok(())
    }

    fn advance(&mut self, epoch: u64, progress: Progress) -> Result<(), WriteRefused> {
        self.check_epoch(epoch)?;
        if progress.cursor < self.progress.cursor {
            return Err(WriteRefused::Backward {
                chunk: self.id.clone(),
                from: self.progress.cursor,
                to: progress.cursor,
            });
        }
        if progress.cursor > self.progress.cursor {
            self.idle_claims = 0;
        }
        self.progress = progress;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> Chunk {
        let range = SegmentRange {
            segment: "_0".to_owned(),
            first_doc: 5,
            end_doc: 10,
            start: 0,
            end: 100,
            file_len: 100,
            file_crc: 0,
        };
        Chunk::new(ChunkId { shard: ShardId { index: "i".to_owned(), shard: 0 }, number: 0 }, vec![range])
    }

    fn at(range: u32, doc: u32) -> Progress {
        Progress { cursor: Position { range, doc }, ..Progress::default() }
    }

    #[test]
    fn a_lease_keeps_others_away_until_it_ends() {
        let mut chunk = chunk();
        assert_eq!(chunk.claim("a", 0, 60), Ok(()));
        assert_eq!(chunk.claim("b", 59, 119), Err(ClaimRefused::Held { until: 60 }));
        assert_eq!(chunk.claim("b", 60, 120), Ok(()));
        assert_eq!((chunk.epoch, chunk.idle_claims), (2, 2));
    }

    #[test]
    fn a_worker_that_was_thought_dead_cannot_write() {
        let mut chunk = chunk();
        chunk.claim("a", 0, 60).unwrap();
        chunk.claim("b", 60, 120).unwrap();
        let lost = WriteRefused::LeaseLost { chunk: chunk.id.clone(), held: 1, current: 2 };
        assert_eq!(chunk.save(1, at(0, 6), 200), Err(lost.clone()));
        assert_eq!(chunk.hand_back(1, at(0, 6), None), Err(lost.clone()));
        assert_eq!(chunk.complete(1, at(1, 0)), Err(lost));
        chunk.save(2, at(0, 7), 180).unwrap();
        chunk.hand_back(2, at(0, 8), None).unwrap();
        assert!(matches!(chunk.save(2, at(0, 9), 200), Err(WriteRefused::LeaseLost { .. })));
    }

    #[test]
    fn the_cursor_only_moves_forward() {
        let mut chunk = chunk();
        chunk.claim("a", 0, 60).unwrap();
        chunk.save(1, at(0, 8), 120).unwrap();
        assert!(matches!(chunk.save(1, at(0, 7), 120), Err(WriteRefused::Backward { .. })));
        assert_eq!(chunk.progress.cursor, Position { range: 0, doc: 8 });
    }

    #[test]
    fn completion_needs_the_end() {
        let mut chunk = chunk();
        chunk.claim("a", 0, 60).unwrap();
        assert!(matches!(chunk.complete(1, at(0, 9)), Err(WriteRefused::Incomplete { .. })));
        chunk.complete(1, at(1, 0)).unwrap();
        assert_eq!(chunk.state, ChunkState::Done);
        assert_eq!(chunk.claim("b", 1000, 1060), Err(ClaimRefused::Done));
    }

    #[test]
    fn claims_without_progress_are_counted() {
        let mut chunk = chunk();
        for now in 0..3 {
            chunk.claim("a", now * 100, now * 100 + 60).unwrap();
        }
        assert_eq!(chunk.idle_claims, 3);
        chunk.save(3, at(0, 6), 400).unwrap();
        assert_eq!(chunk.idle_claims, 0);
    }
}
