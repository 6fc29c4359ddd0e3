//! The ports of `backfill` on one machine: snapshots in a directory, state in one SQLite file, workers as threads.
//!
//! | port | here |
//! |---|---|
//! | blobs | [`FsBlobs`]: a snapshot repository in a directory |
//! | checkpoints, queue | [`SqliteStore`]: one file, guarded by a [`RunnerLock`] |
//! | failed documents | [`FsFailedDocuments`]: compressed NDJSON beside the state file |
//! | target | [`ExportTarget`]: NDJSON files |
//! | fleet | [`Runner`]: one thread a worker |

mod durable;
pub mod export;
pub mod failed;
pub mod fs_blobs;
pub mod lock;
mod paths;
pub mod runner;
pub mod store;

pub use export::{Compression, ExportTarget};
pub use failed::FsFailedDocuments;
pub use fs_blobs::FsBlobs;
pub use lock::RunnerLock;
pub use runner::{
    LocalFleet, Runner, RunnerEnd, RunnerEvent, WorkerContext, WorkerEnd, WorkerFailure, WorkerFuture,
};
pub use store::{Mode, RunQueue, SqliteStore};
