//! The fleet: what runs workers, and how many of them.

use super::StoreError;
use async_trait::async_trait;

/// How a fleet is set, as it is and not as it was asked for: someone may have changed it by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetState {
    /// Whether anything is there to run workers at all.
    pub active: bool,
    /// Workers wanted.
    pub desired: u32,
    /// Whether no worker starts until it is scaled again: as a stop leaves it, or one of the two that broke off half-way; not
    /// where it was only scaled to none by hand.
    pub stopped: bool,
    /// Settings that do not fit together, each with what to do about it.
    pub warnings: Vec<String>,
}

/// Runs workers.
#[async_trait]
pub trait Fleet: Send + Sync + std::fmt::Debug {
    /// How it is set.
    async fn state(&self) -> Result<FleetState, StoreError>;

    /// Sets how many workers are wanted. Workers come and go by themselves afterwards.
    async fn scale(&self, workers: u32) -> Result<(), StoreError>;

    /// Starts no more workers. Those at work see the state of their run, and hand back.
    async fn stop(&self) -> Result<(), StoreError>;
}
