//! The fleet port on one machine, from outside of the process that runs the workers.

use crate::lock::RunnerLock;
use crate::store::SqliteStore;
use async_trait::async_trait;
use backfill::ports::{Checkpoints, Fleet, FleetState, StoreError};

/// Whatever process runs workers on a state file, if any does: it follows what the file says.
#[derive(Clone, Debug)]
pub struct LocalFleet {
    store: SqliteStore,
}

impl LocalFleet {
    /// The fleet that works on this state file.
    pub fn new(store: SqliteStore) -> LocalFleet {
        LocalFleet { store }
    }
}

#[async_trait]
impl Fleet for LocalFleet {
    async fn state(&self) -> Result<FleetState, StoreError> {
        // Looked at first: a runner that ends in between has written its last by then.
        let active = RunnerLock::is_held(self.store.path());
        let desired = self.store.latest_run().await?.map_or(0, |run| run.desired_workers);
        Ok(FleetState { active, desired, stopped: !active, warnings: Vec::new() })
    }

    async fn scale(&self, workers: u32) -> Result<(), StoreError> {
        match self.store.latest_run().await? {
            Some(run) => self.store.set_desired_workers(&run.id, workers).await,
            None => Ok(()),
        }
    }

    /// Nothing to do: the runner sees that the run is stopped, and ends.
    async fn stop(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
