//! Planning: what is read before the first document, and stored.

use crate::Result;
use crate::blobs::{Counts, Pace};
use crate::measure::{Measured, Stopwatch, peak};
use crate::pipeline::Job;
use clap::Args;
use std::sync::Arc;

#[derive(Args, Clone)]
pub(crate) struct Arguments {
    #[arg(long)]
    repo: String,
    #[arg(long)]
    index: String,
    #[command(flatten)]
    pace: Pace,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let counts = Arc::new(Counts::slowed(arguments.pace));
    let watch = Stopwatch::start();
    let job = Job::prepare(&arguments.repo, &arguments.index, 256 << 20, dir.path(), counts.clone())?;
    let (wall, cpu) = watch.read();
    let (requests, fetched) = counts.read();
    let (shards, segments) = job.planned()?;
    Ok(Measured {
        bytes: fetched,
        wall,
        cpu,
        peak: peak()?,
        requests,
        fetched,
        shards,
        segments,
        ..Measured::default()
    })
}
