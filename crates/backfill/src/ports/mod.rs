//! The ports: what the domain needs of the outside world. Each has an adapter for one machine and one for AWS.

pub mod blobs;
pub mod checkpoints;
pub mod clock;
pub mod failed;
pub mod fleet;
pub mod queue;
pub mod target;

pub use blobs::{Blob, BlobError, Blobs};
pub use checkpoints::{
    Checkpoints, ClaimOutcome, Creation, IndexSummary, RetryLease, RunControl, Sample, ShardCounts,
    ShardSums, StoreError, Summary,
};
pub use clock::{Clock, SteadyClock, SystemClock};
pub use failed::{FailedDocument, FailedDocuments, FailedPart, StoredPart};
pub use fleet::{Fleet, FleetState};
pub use queue::{Message, Queue};
pub use target::{
    Acknowledge, Batch, BatchEntry, ChunkWriter, ItemOutcome, Place, PlaceKind, Refusal, Reply, Target,
    TargetError,
};
