//! Bulk bodies that were built beforehand: the full batches of a steady pipeline.

use crate::Result;
use crate::pipeline::{Job, Manner};
use crate::target::{Body, Memory};
use backfill::ports::Target;
use clap::Args;
use std::sync::Arc;

/// What they are built from.
#[derive(Args, Clone)]
pub(crate) struct Source {
    #[arg(long)]
    pub(crate) repo: String,
    #[arg(long)]
    pub(crate) index: String,
}

impl Source {
    /// All bodies for the index.
    pub(crate) fn bodies(&self) -> Result<Vec<Body>> {
        let dir = tempfile::tempdir()?;
        let job = Job::prepare(&self.repo, &self.index, 256 << 20, dir.path(), Arc::default())?;
        let memory = Memory::keeping();
        job.work(&Manner::steady(), Arc::default(), &(Arc::new(memory.clone()) as Arc<dyn Target>))?;
        Ok(memory.take())
    }
}
