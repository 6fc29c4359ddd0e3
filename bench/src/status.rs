//! What a status reads: a run of many shards, summed up from a table of DynamoDB.

use crate::Result;
use crate::measure::{Measured, Stopwatch, median, peak};
use crate::pipeline::runtime;
use aws::{DynamoCheckpoints, Sdk, SdkOptions};
use backfill::ports::Checkpoints;
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;

const TABLE: &str = "bench";
/// Requests at once while the run is stored.
const AT_ONCE: usize = 16;
/// Chunks in the hands of workers.
const HELD: usize = 1000;
/// Statuses that are asked for; the median time counts.
pub(crate) const ASKED: usize = 9;

#[derive(Args, Clone)]
pub(crate) struct Arguments {
    /// Address of DynamoDB, or of what speaks its protocol
    #[arg(long)]
    dynamodb: String,
    #[arg(long)]
    shards: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Measured> {
    runtime()?.block_on(async {
        let options = SdkOptions { endpoint: Some(arguments.dynamodb.clone()), ..SdkOptions::default() };
        let client = Sdk::load(&options).await?.dynamodb();
        conformance::create_table(&client, TABLE).await;
        let store = DynamoCheckpoints::new(client, TABLE);
        // A plan has two indices.
        let (run, shards, chunks) = conformance::plan("bench", arguments.shards / 2, 1);
        store.create_run(&run, None).await?;
        let by_shard: HashMap<_, _> = chunks.iter().map(|chunk| (&chunk.id.shard, chunk)).collect();
        let stored = futures::stream::iter(&shards).map(|shard| {
            let (store, run, own) = (&store, &run.id, by_shard.get(&shard.id).copied());
            async move { store.add_shard(run, shard, own.map_or(&[], std::slice::from_ref)).await }
        });
        stored.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        let held = futures::stream::iter(chunks.iter().take(HELD))
            .map(|chunk| store.claim(&run.id, &chunk.id, "bench", 0, 60));
        held.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;

        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for _ in 0..ASKED {
            let watch = Stopwatch::start();
            let summary = store.summary(&run.id, 0).await?;
            let (wall, cpu) = watch.read();
            let (found, held) = (summary.chunks_total, summary.chunks_leased);
            if (found, held) != (chunks.len() as u64, chunks.len().min(HELD) as u64) {
                return Err(format!("{found} chunks of {}, {held} of {HELD} held", chunks.len()).into());
            }
            walls.push(wall);
            cpus.push(cpu);
        }
        Ok(Measured {
            wall: median(walls),
            cpu: median(cpus),
            peak: peak()?,
            shards: shards.len() as u64,
            ..Measured::default()
        })
    })
}
