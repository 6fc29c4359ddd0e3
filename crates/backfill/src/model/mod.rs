//! The records of a run: what is stored durably, and the state machine that its chunks follow.
//!
//! All of them are plain data with `serde` forms; an adapter may store them as it likes as long as the
//! transitions in [`chunk`] are applied atomically.

pub mod chunk;
pub mod counters;
pub mod crc;
pub mod differences;
pub mod document;
pub mod finding;
pub mod notes;
pub mod run;
pub mod settled;
pub mod shard;
pub mod wait;

pub use chunk::{
    AttemptError, Cause, Chunk, ChunkId, ChunkState, HandedBack, Lease, Position, Progress, Reason,
    SegmentRange,
};
pub use counters::Counters;
pub use crc::RangeCrc;
pub use document::{DocumentPlan, FieldName, FilteredSources, TimeFields, Types, TypesChoice, index_of_type};
pub use finding::{Finding, FindingKind};
pub use notes::{Amendment, Identity, Notes};
pub use run::{MissingShard, Planning, Run, RunId, RunSpec, RunState, Selection, WriteMode};
pub use settled::Settled;
pub use shard::{IndexPlan, Shard, ShardId, clipped};
pub use wait::{Wait, WaitCause};

/// Milliseconds since the Unix epoch. Passed in by the caller: the model has no clock.
pub type Millis = u64;
