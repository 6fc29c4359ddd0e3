//! A chunk and its checkpoint: the state machine that makes a run safe to kill at any instant.
//!
//! ```text
//! pending ──claim──► leased ──complete──► done
//!    ▲                 │ │
//!    ├──hand back, ────┘ └──the last attempt──► failed
//!    │  or expiry            without progress     │
//!    └──────────────retry─────────────────────────┘
//! ```
//! A claim takes the lease and raises the epoch. Each later write of that worker carries the epoch and is refused
//! when another claim has raised it since, so a worker that was thought dead cannot move the cursor.
//! The cursor only moves forward and never passes a document that is neither acknowledged nor kept as failed.
//!
//! A chunk on which attempt after attempt brings nothing is given up, so that it holds nobody up for ever. Nothing of it
//! is lost: its cursor stays where it is, the run does not end as done, and [`Chunk::retry`] makes it pending again.
//! [`Chunk::redo`] puts a chunk in any state back to its beginning and gives it up, for when the target has lost what
//! was written.

use super::{Counters, Millis, RangeCrc, Settled, ShardId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Attempts in a row without progress after which a chunk is given up.
pub const MAX_IDLE_CLAIMS: u32 = 5;

/// No lease lasts longer, not even that of a function, which ends after 15 minutes. One that seems to was written by a
/// machine whose clock is far ahead of the reader's, or the reader's has been set back. Were it honoured, the chunk of a
/// worker that has died would lie idle for as long as the clocks differ. It counts as expired instead: a chunk is only
/// claimed after its message was delivered, which the queue puts off by its own clock as long as the holder lives, and
/// should both work on it nevertheless, the epoch refuses the writes of the first.
pub const LONGEST_LEASE: Millis = 15 * 60_000;

/// Whether a lease until `until` is in force.
pub fn is_in_force(until: Millis, now: Millis) -> bool {
    until > now && until - now <= LONGEST_LEASE
}

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
    /// What could not be read, with file and range: texts of [`Finding`](super::Finding)s, the first few.
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
    /// Given up: too many attempts in a row brought nothing. Its last error says why.
    Failed,
}

/// Whose fault it was that an attempt ended before the chunk's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The worker broke off, or could not keep its records.
    Worker,
    /// The target could not be written to.
    Target,
    /// The snapshot could not be read, or has changed.
    Snapshot,
}

/// Why an attempt at a chunk ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptError {
    /// Whose fault.
    pub cause: Cause,
    /// What happened, in words.
    pub message: String,
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a worker gives a chunk back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was told to stop. This attempt does not count.
    Stopped,
    /// Its time was up.
    TimeUp,
    /// It cannot go on with this chunk.
    Error(AttemptError),
    /// Nor can anybody else, however often it is tried: the chunk is given up at once.
    Hopeless(AttemptError),
}

/// What becomes of a chunk that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedBack {
    /// It is pending again.
    Pending {
        /// Attempts in a row that brought nothing.
        idle_claims: u32,
    },
    /// That was the last attempt: it is given up.
    Failed,
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
    /// Claims in a row that did not move the cursor, but for those that ended because the worker was told to stop.
    /// Poison shows here, not in the number of deliveries.
    pub idle_claims: u32,
    /// Why the last attempt ended early, if it did with an error.
    pub last_error: Option<AttemptError>,
}

/// Why a claim was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimRefused {
    /// The chunk is done: the message is a duplicate.
    Done,
    /// The chunk was given up, by this very claim perhaps.
    Failed,
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
    /// Failed documents are counted otherwise than a retry saw, or the chunk is not done: nothing was moved.
    #[error(
        "failed documents of chunk {chunk} are not settled: it counts {failed} where a retry saw {} and would move {}, \
         or it is not done",
        settled.seen,
        settled.moved()
    )]
    Unsettled {
        /// The chunk.
        chunk: ChunkId,
        /// What was to be moved.
        settled: Settled,
        /// What the record counts as failed.
        failed: u64,
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

    /// Takes the lease for `owner` until `until`, if nobody else holds it at `now`. A chunk whose workers died one
    /// after the other without a word is given up instead.
    pub fn claim(&mut self, owner: &str, now: Millis, until: Millis) -> Result<(), ClaimRefused> {
        match &self.state {
            ChunkState::Done => return Err(ClaimRefused::Done),
            ChunkState::Failed => return Err(ClaimRefused::Failed),
            ChunkState::Leased(lease) if is_in_force(lease.until, now) => {
                return Err(ClaimRefused::Held { until: lease.until });
            }
            ChunkState::Leased(_) | ChunkState::Pending => {}
        }
        if self.idle_claims >= MAX_IDLE_CLAIMS {
            self.give_up("its workers ended without a word");
            return Err(ClaimRefused::Failed);
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

    /// Records progress and gives the lease back, so that another worker may go on. After too many attempts in a row
    /// without progress the chunk is given up.
    pub fn hand_back(
        &mut self,
        epoch: u64,
        progress: Progress,
        reason: Reason,
    ) -> Result<HandedBack, WriteRefused> {
        self.advance(epoch, progress)?;
        self.state = ChunkState::Pending;
        match reason {
            Reason::Stopped => {
                self.idle_claims = self.idle_claims.saturating_sub(1);
                self.last_error = None;
            }
            Reason::TimeUp if self.idle_claims >= MAX_IDLE_CLAIMS => {
                self.give_up("a worker's time was up each time before any document of it was acknowledged");
            }
            Reason::TimeUp => self.last_error = None,
            Reason::Error(error) => {
                self.last_error = Some(error);
                if self.idle_claims >= MAX_IDLE_CLAIMS {
                    self.state = ChunkState::Failed;
                }
            }
            Reason::Hopeless(error) => {
                self.last_error = Some(error);
                self.state = ChunkState::Failed;
            }
        }
        Ok(match self.state {
            ChunkState::Failed => HandedBack::Failed,
            _ => HandedBack::Pending { idle_claims: self.idle_claims },
        })
    }

    /// Makes a chunk that was given up pending again, with all its attempts. Returns whether it had been given up.
    pub fn retry(&mut self) -> bool {
        let failed = self.state == ChunkState::Failed;
        if failed {
            self.state = ChunkState::Pending;
            self.idle_claims = 0;
        }
        failed
    }

    /// Puts the chunk back to its beginning, unless it was never claimed: nothing of it counts as migrated any more. It is given
    /// up until [`Chunk::retry`]. Its epoch stays, so that whatever was recorded under an earlier claim is recognised.
    pub fn redo(&mut self) {
        if self.epoch == 0 {
            return;
        }
        let planned = Chunk::new(self.id.clone(), std::mem::take(&mut self.ranges));
        let message = "it is to be migrated again".to_owned();
        *self = Chunk {
            order: self.order,
            state: ChunkState::Failed,
            epoch: self.epoch,
            last_error: Some(AttemptError { cause: Cause::Target, message }),
            ..planned
        };
    }

    /// Gives the chunk up after attempts that left no error: the last one that any attempt left is told, too.
    fn give_up(&mut self, how: &str) {
        let before = self.last_error.take();
        let cause = before.as_ref().map_or(Cause::Worker, |error| error.cause);
        let mut message = format!("{} attempts in a row brought nothing: {how}", self.idle_claims);
        if let Some(error) = before {
            message.push_str(&format!("; before that: {error}"));
        }
        self.last_error = Some(AttemptError { cause, message });
        self.state = ChunkState::Failed;
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
        assert_eq!(chunk.hand_back(1, at(0, 6), Reason::TimeUp), Err(lost.clone()));
        assert_eq!(chunk.complete(1, at(1, 0)), Err(lost));
        chunk.save(2, at(0, 7), 180).unwrap();
        chunk.hand_back(2, at(0, 8), Reason::TimeUp).unwrap();
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

    fn error(message: &str) -> AttemptError {
        AttemptError { cause: Cause::Target, message: message.to_owned() }
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

    /// Attempts that end like this, none with progress, until one changes what the chunk is.
    fn attempts(chunk: &mut Chunk, limit: u64, reason: &Reason) -> Option<u64> {
        for n in 1..=limit {
            chunk.claim("a", 0, 60).unwrap();
            let progress = chunk.progress.clone();
            if chunk.hand_back(chunk.epoch, progress, reason.clone()) == Ok(HandedBack::Failed) {
                return Some(n);
            }
        }
        None
    }

    #[test]
    fn attempts_that_bring_nothing_come_to_an_end_but_stops_do_not_count() {
        let last = Some(u64::from(MAX_IDLE_CLAIMS));
        let mut poisoned = chunk();
        assert_eq!(attempts(&mut poisoned, 100, &Reason::Error(error("no"))), last);
        assert_eq!(poisoned.last_error, Some(error("no")));
        assert_eq!(poisoned.claim("a", 0, 60), Err(ClaimRefused::Failed));
        let mut slow = chunk();
        assert_eq!(attempts(&mut slow, 100, &Reason::TimeUp), last);
        assert_eq!(slow.last_error.unwrap().cause, Cause::Worker);
        assert_eq!(attempts(&mut chunk(), 100, &Reason::Stopped), None);
        // One that moves the cursor has them all again.
        let mut steady = chunk();
        for doc in 6..10 {
            assert_eq!(attempts(&mut steady, 4, &Reason::Error(error("no"))), None);
            steady.claim("a", 0, 60).unwrap();
            let left = steady.hand_back(steady.epoch, at(0, doc), Reason::TimeUp);
            assert_eq!(left, Ok(HandedBack::Pending { idle_claims: 0 }));
        }
    }

    #[test]
    fn a_hopeless_chunk_is_given_up_at_once() {
        let mut chunk = chunk();
        chunk.claim("a", 0, 60).unwrap();
        let left = chunk.hand_back(1, at(0, 7), Reason::Hopeless(error("gone")));
        assert_eq!((left, chunk.last_error), (Ok(HandedBack::Failed), Some(error("gone"))));
    }

    #[test]
    fn a_chunk_that_is_done_can_be_put_back_to_its_beginning() {
        let planned = Chunk { order: 7, ..chunk() };
        let mut chunk = planned.clone();
        chunk.redo();
        assert_eq!(chunk, planned, "nothing of it was written");
        chunk.claim("a", 0, 60).unwrap();
        let mut zombie = chunk.clone();
        chunk.complete(1, at(1, 0)).unwrap();
        for _ in 0..2 {
            chunk.redo();
            assert_eq!(chunk.claim("a", 0, 60), Err(ClaimRefused::Failed));
        }
        zombie.state = chunk.state.clone();
        assert!(zombie.complete(1, at(1, 0)).is_err());
        assert!(chunk.retry());
        assert_eq!(Chunk { last_error: None, epoch: 0, ..chunk.clone() }, planned);
        chunk.claim("b", 0, 60).unwrap();
        assert_eq!(chunk.epoch, 2);
    }

    #[test]
    fn a_chunk_whose_workers_die_is_given_up_and_can_be_retried() {
        let mut chunk = chunk();
        chunk.claim("a", 0, 1).unwrap();
        chunk.hand_back(1, at(0, 7), Reason::Error(error("no answer"))).unwrap();
        for now in 0..u64::from(MAX_IDLE_CLAIMS) {
            chunk.claim("a", now * 2, now * 2 + 1).unwrap();
        }
        assert_eq!(chunk.claim("a", 100, 160), Err(ClaimRefused::Failed));
        let told = chunk.last_error.clone().unwrap();
        assert!(told.cause == Cause::Target && told.message.ends_with("before that: no answer"), "{told}");
        // Nobody who was thought dead can write to it.
        assert!(matches!(chunk.complete(chunk.epoch, at(1, 0)), Err(WriteRefused::LeaseLost { .. })));
        assert!(chunk.retry());
        assert!(!chunk.retry());
        assert_eq!(chunk.claim("a", 100, 160), Ok(()));
        assert_eq!((chunk.epoch, chunk.progress.cursor), (7, Position { range: 0, doc: 7 }));
    }
}
