//! Shards as items: first their chunks are written, then they themselves, so that a shard is there whole or not at all.

use super::chunks::{self, range_item};
use super::item::{Item, Reader};
use super::keys::{self, Key};
use super::records::{read_shard, shard_item};
use super::runs::no_run;
use super::table::Table;
use backfill::model::{Chunk, ChunkId, RunId, Shard, ShardId};
use backfill::ports::StoreError;
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;

/// Partitions read at once.
const CONCURRENCY: usize = 16;

pub(super) async fn add(table: &Table, run: &RunId, shard: &Shard, plan: &[Chunk]) -> Result<(), StoreError> {
    check(shard, plan)?;
    let (control, there) = (keys::control(run), keys::shard(run, &shard.id));
    let found = table.get_all(&[control.clone(), there.clone()]).await?;
    let control = found.get(&control).ok_or_else(|| no_run(run, table))?;
    if found.contains_key(&there) {
        return Ok(());
    }
    let ttl = Reader::new(control, &table.name)?.number("ttl")?;
    let item = shard_item(run, shard, ttl)?;
    // What is written here never changes, so it may be written again, by another planner at the same time perhaps.
    let total = u32::try_from(plan.len()).unwrap_or(u32::MAX);
    let ranges = plan.iter().map(|chunk| range_item(run, chunk, keys::stripe(chunk.id.number, total), ttl));
    table.put_all(ranges.collect::<Result<_, _>>()?).await?;
    table.put_new(item).await.map(drop)
}

/// Refuses what no planner plans.
fn check(shard: &Shard, plan: &[Chunk]) -> Result<(), StoreError> {
    let defect = |reason: String| StoreError::Invalid {
        what: format!("the plan of shard {}", shard.id),
        reason: format!("{reason}: a defect"),
    };
    if let Some(foreign) = plan.iter().find(|chunk| chunk.id.shard != shard.id) {
        return Err(defect(format!("chunk {} is of another shard", foreign.id)));
    }
    let fresh = |chunk: &&Chunk| {
        **chunk == Chunk { order: chunk.order, ..Chunk::new(chunk.id.clone(), chunk.ranges.clone()) }
    };
    if let Some(begun) = plan.iter().find(|chunk| !fresh(chunk)) {
        return Err(defect(format!("chunk {} was begun already", begun.id)));
    }
    Ok(())
}

pub(super) async fn read(table: &Table, run: &RunId, id: &ShardId) -> Result<Shard, StoreError> {
    let (control, shard) = (keys::control(run), keys::shard(run, id));
    let found = table.get_all(&[control.clone(), shard.clone()]).await?;
    if !found.contains_key(&control) {
        return Err(no_run(run, table));
    }
    let item =
        found.get(&shard).ok_or_else(|| StoreError::NotFound(format!("run {run} has no shard {id}")))?;
    read_shard(&Reader::new(item, &table.name)?)
}

/// Items of all partitions over which shards and sums are spread.
pub(super) async fn spread_items(
    table: &Table,
    run: &RunId,
    between: (&str, &str),
) -> Result<Vec<Item>, StoreError> {
    let partitions: Vec<String> = (0..keys::SPREAD).map(|at| keys::spread_partition(run, at)).collect();
    let reads = partitions.iter().map(|pk| table.query(pk, between, None));
    let reads: Vec<_> = reads.collect();
    let pages: Vec<Vec<Item>> = futures::stream::iter(reads).buffered(CONCURRENCY).try_collect().await?;
    Ok(pages.into_iter().flatten().collect())
}

pub(super) async fn read_all(table: &Table, run: &RunId) -> Result<Vec<Shard>, StoreError> {
    let (items, _) =
        futures::try_join!(spread_items(table, run, keys::SHARDS), super::runs::control(table, run))?;
    let shards = items.iter().map(|item| read_shard(&Reader::new(item, &table.name)?));
    let mut shards: Vec<Shard> = shards.collect::<Result<_, _>>()?;
    shards.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(shards)
}

/// The chunks of a shard that is stored whole.
pub(super) async fn read_chunks(table: &Table, run: &RunId, id: &ShardId) -> Result<Vec<Chunk>, StoreError> {
    let shard = read(table, run, id).await?;
    let mut items: BTreeMap<u32, (Option<Item>, Option<Item>)> = BTreeMap::new();
    for item in table.query(&keys::chunk_partition(run, id), keys::CHUNKS, None).await? {
        let kind = Key::of(&item).and_then(|key| keys::kind_and_number(&key.sk));
        match kind {
            Some(('R', number)) => items.entry(number).or_default().0 = Some(item),
            Some(('C', number)) => items.entry(number).or_default().1 = Some(item),
            _ => {}
        }
    }
    let chunks =
        items.into_iter().filter(|(number, _)| *number < shard.chunks).map(|(number, (range, state))| {
            let id = ChunkId { shard: id.clone(), number };
            let range = range.ok_or_else(|| StoreError::Invalid {
                what: format!("chunk {id} of run {run}"),
                reason: format!("its plan is missing from the table {}; start again with --new", table.name),
            })?;
            chunks::read(&table.name, &id, &range, state.as_ref()).map(|stored| stored.chunk)
        });
    let chunks: Vec<Chunk> = chunks.collect::<Result<_, _>>()?;
    if chunks.len() != shard.chunks as usize {
        return Err(StoreError::Invalid {
            what: format!("shard {id} of run {run}"),
            reason: format!(
                "{} of its {} chunks are in the table {}; they expired or were deleted; start again with --new",
                chunks.len(),
                shard.chunks,
                table.name
            ),
        });
    }
    Ok(chunks)
}

/// Deletes all items of a run but its control item, which is gone already. Shards last, since they tell where the chunks
/// are; chunks of shards that were stored only in part expire with their time.
pub(super) async fn delete(table: &Table, run: &RunId) -> Result<(), StoreError> {
    let items = spread_items(table, run, keys::SHARDS).await?;
    let ids = items.iter().map(|item| Ok(read_shard(&Reader::new(item, &table.name)?)?.id));
    let ids: Vec<ShardId> = ids.collect::<Result<_, StoreError>>()?;
    let deletions = ids.iter().map(|id| delete_partition(table, keys::chunk_partition(run, id)));
    let deletions: Vec<_> = deletions.collect();
    futures::stream::iter(deletions).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    let spread = (0..keys::SPREAD).map(|at| delete_partition(table, keys::spread_partition(run, at)));
    let spread: Vec<_> = spread.collect();
    futures::stream::iter(spread).buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    delete_partition(table, keys::run_partition(run)).await
}

async fn delete_partition(table: &Table, pk: String) -> Result<(), StoreError> {
    table.delete_all(table.keys(&pk, keys::ALL).await?).await
}
