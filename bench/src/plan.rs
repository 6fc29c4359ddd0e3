//! Planning: what is read before the first document.

use crate::Result;
use crate::blobs::{self, Counts};
use crate::measure::{Measured, Stopwatch, peak};
use crate::pipeline::runtime;
use backfill::indices::Handling;
use backfill::model::Selection;
use backfill::source::Repository;
use clap::Args;
use std::sync::Arc;

#[derive(Args, Clone)]
pub(crate) struct Arguments {
    #[arg(long)]
    repo: String,
    #[arg(long)]
    index: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Measured> {
    let counts = Arc::new(Counts::default());
    let watch = Stopwatch::start();
    let plan = runtime()?.block_on(async {
        let repository = Repository::open(blobs::open(&arguments.repo, counts.clone()).await?).await?;
        let opened = repository.snapshot("latest", false).await?;
        let selection = Selection { patterns: arguments.index.clone(), include_hidden: false };
        Ok::<_, crate::measure::Fault>(
            backfill::plan::plan(&repository, &opened, &selection, &Handling::default(), 256 << 20).await?,
        )
    })?;
    let (wall, cpu) = watch.read();
    if let Some(damage) = plan.shards.iter().find_map(|s| s.damage.as_ref()) {
        return Err(format!("a shard cannot be planned: {damage}").into());
    }
    let (requests, fetched) = counts.read();
    Ok(Measured {
        documents: plan.shards.iter().map(|s| s.live_docs).sum(),
        bytes: fetched,
        wall,
        cpu,
        peak: peak(),
        requests,
        fetched,
        needed: 0,
        shards: plan.shards.len() as u64,
    })
}
