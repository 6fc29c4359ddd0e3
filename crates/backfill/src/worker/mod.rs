//! The worker: processes one chunk at a time, from claim to checkpointed end.

pub mod acks;
pub mod flow;
