//! What status says, from the sums that completing transactions keep: no chunk is read.

use super::chunks::read_error_item;
use super::item::Reader;
use super::keys;
use super::records::read_shard;
use super::runs;
use super::shards::spread_items;
use super::sums::{Share, is_lease};
use super::table::Table;
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::model::chunk::is_in_force;
use backfill::model::{AttemptError, ChunkId, Millis, RunId, Shard, ShardId};
use backfill::ports::{ShardSums, StoreError, Summary};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Errors of chunks that a summary names.
const ERRORS: usize = 10;

/// Everything that the partitions of sums hold.
#[derive(Default)]
struct Sums {
    shards: Vec<Shard>,
    by_shard: HashMap<ShardId, Share>,
    leased: u64,
    /// Partitions with errors of chunks that were not given up, and of those that were.
    erring: BTreeSet<String>,
    given_up: BTreeSet<String>,
}

async fn read_sums(table: &Table, run: &RunId, now: Millis) -> Result<Sums, StoreError> {
    let mut sums = Sums::default();
    for item in spread_items(table, run, keys::SHARDS_AND_SUMS).await? {
        let reader = Reader::new(&item, &table.name)?;
        let sk = reader.sort_key()?;
        if sk.starts_with("S#") {
            sums.shards.push(read_shard(&reader)?);
            continue;
        }
        let shard = keys::shard_of_sums(sk).ok_or_else(|| reader.invalid("its key names no shard"))?;
        let share = Share::read(&reader)?;
        let leases = item.iter().filter(|(name, value)| is_lease(name) && ends_after(value, now));
        sums.leased += leases.count() as u64;
        if share.erring > 0 {
            sums.erring.insert(reader.text("pk")?.to_owned());
        }
        if share.given_up > 0 {
            sums.given_up.insert(reader.text("pk")?.to_owned());
        }
        sums.by_shard.entry(shard).or_default().add(&share);
    }
    sums.shards.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(sums)
}

fn ends_after(lease: &AttributeValue, now: Millis) -> bool {
    lease.as_n().is_ok_and(|until| until.parse::<Millis>().is_ok_and(|until| is_in_force(until, now)))
}

/// The errors of chunks in these partitions, in the order of the chunks.
pub(super) async fn errors(
    table: &Table,
    partitions: impl IntoIterator<Item = &String>,
    given_up: bool,
    limit: Option<usize>,
) -> Result<Vec<(ChunkId, AttemptError)>, StoreError> {
    let reads = partitions.into_iter().map(|pk| table.query(pk, keys::errors(given_up), limit));
    let mut found = BTreeMap::new();
    for item in futures::future::try_join_all(reads).await?.into_iter().flatten() {
        let reader = Reader::new(&item, &table.name)?;
        found.insert(reader.sort_key()?.to_owned(), read_error_item(&reader)?);
    }
    Ok(found.into_values().take(limit.unwrap_or(usize::MAX)).collect())
}

/// Aggregates a run at `now`.
pub(super) async fn summary(table: &Table, id: &RunId, now: Millis) -> Result<Summary, StoreError> {
    let (stored, sums) = futures::try_join!(runs::read(table, id), read_sums(table, id, now))?;
    let (last_errors, given_up) = futures::try_join!(
        errors(table, &sums.erring, false, Some(ERRORS)),
        errors(table, &sums.given_up, true, Some(ERRORS)),
    )?;
    let shards = sums.shards.into_iter().map(|shard| {
        let share = sums.by_shard.get(&shard.id).copied().unwrap_or_default();
        ShardSums {
            id: shard.id,
            live_docs: shard.live_docs,
            stored_bytes: shard.stored_bytes,
            findings: shard.findings,
            damaged_docs: shard.damaged_docs,
            uncounted_segments: shard.uncounted_segments,
            chunks: u64::from(shard.chunks),
            claimed: share.claimed,
            done: share.done,
            given_up: share.given_up,
            damaged: share.broken,
            counters: share.counters,
        }
    });
    Ok(Summary {
        chunks_leased: sums.leased,
        last_errors,
        given_up,
        samples: stored.samples,
        waits: stored.waits.into_iter().filter(|(_, until)| *until > now).map(|(wait, _)| wait).collect(),
        ..Summary::of(stored.run, shards)
    })
}
