//! The domain of backfill: what a run is, how a snapshot's shards are cut into chunks, how a chunk's
//! progress is recorded so that nothing is lost, how documents reach a target gently, and what status says.
//!
//! Everything that touches the outside world goes through a trait in [`ports`]; adapters live in other crates.
//! The pure parts ([`model`], [`chunking`], [`worker::acks`], [`worker::flow`], [`encode`]) know neither time nor I/O.

pub mod budget;
pub mod buffers;
pub mod chunking;
pub mod destinations;
pub mod encode;
pub mod failed;
pub mod finish;
pub mod indices;
pub mod limit;
pub mod model;
pub mod patient;
pub mod plan;
pub mod planning;
pub mod ports;
pub mod reconcile;
pub mod secrets;
pub mod source;
pub mod status;
pub mod verify;
pub mod waits;
mod walk;
pub mod worker;

pub use bytes::Bytes;
