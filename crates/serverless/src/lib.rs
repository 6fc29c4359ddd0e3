//! The Lambda functions as a library. Each is a value with a `handle` method; the binaries in `functions/` only wire it
//! to the runtime.
//!
//! [`StartFunction`] makes a run of what it is asked for, plans it and fills the queue. [`WorkerFunction`] is given one
//! message at a time and moves that chunk's documents. [`StatusFunction`] tells where the run stands, concludes it, and
//! sends messages again that were lost. All they keep is in the checkpoint table: any of them may be killed at any
//! instant, and called twice at once.

mod blobs;
mod environment;
mod metrics;
mod refusal;
pub mod runtime;
mod settings;
mod start;
mod status;
mod worker;

pub use environment::Environment;
pub use lambda_runtime::Error;
pub use settings::{Settings, SettingsError, TargetAuth};
pub use start::{StartEvent, StartFunction};
pub use status::StatusFunction;
pub use worker::WorkerFunction;
