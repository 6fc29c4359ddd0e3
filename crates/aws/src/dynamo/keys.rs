//! The keys of the items. [`super`] says what is where.

use super::item::{Item, text};
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::model::{ChunkId, RunId, ShardId};

/// Partitions over which the sums of a run are spread. Never changes: where an item is follows from it.
pub(super) const SPREAD: u32 = 16;

/// Chunks of a shard that share one item of sums, about, before there is another one.
const CHUNKS_A_STRIPE: u32 = 64;

/// Items of sums of one shard, at most.
const MAX_STRIPES: u32 = 64;

/// The key of an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Key {
    fn new(pk: impl Into<String>, sk: impl Into<String>) -> Key {
        Key { pk: pk.into(), sk: sk.into() }
    }

    /// The key of an item.
    pub(super) fn of(item: &Item) -> Option<Key> {
        let part = |name: &str| match item.get(name) {
            Some(AttributeValue::S(text)) => Some(text.clone()),
            _ => None,
        };
        Some(Key { pk: part("pk")?, sk: part("sk")? })
    }

    /// The key as attributes of an item.
    pub(super) fn attributes(&self) -> Item {
        [("pk".to_owned(), text(&self.pk)), ("sk".to_owned(), text(&self.sk))].into()
    }
}

/// The partition of the list of runs.
pub(super) const LIST: &str = "backfill";

/// An entry of the list of runs, in the order of their creation.
pub(super) fn listed(place: u64) -> Key {
    Key::new(LIST, format!("RUN#{place:010}"))
}

/// First and last sort key of the list of runs.
pub(super) const LISTED: (&str, &str) = ("RUN#", "RUN$");

/// The partition of the run's own items.
pub(super) fn run_partition(run: &RunId) -> String {
    run.0.clone()
}

/// What changes of a run, and is read with each save.
pub(super) fn control(run: &RunId) -> Key {
    Key::new(run_partition(run), CONTROL)
}

/// The damage of a run that has ended.
pub(super) fn damage(run: &RunId) -> Key {
    Key::new(run_partition(run), DAMAGE)
}

/// The notes on a run.
pub(super) fn notes(run: &RunId) -> Key {
    Key::new(run_partition(run), NOTES)
}

/// The points of progress.
pub(super) fn samples(run: &RunId) -> Key {
    Key::new(run_partition(run), SAMPLES)
}

/// A part of what does not change of a run.
pub(super) fn run_part(run: &RunId, part: usize) -> Key {
    Key::new(run_partition(run), format!("{RUN_PART}{part:04}"))
}

/// What one of the workers waits for.
pub(super) fn wait(run: &RunId, owner: &str) -> Key {
    Key::new(run_partition(run), format!("{WAIT}{owner}"))
}

pub(super) const WAIT: &str = "WAIT#";
pub(super) const CONTROL: &str = "CTL";
pub(super) const DAMAGE: &str = "DMG";
pub(super) const NOTES: &str = "NTS";
pub(super) const SAMPLES: &str = "SMP";
pub(super) const RUN_PART: &str = "RUN#";

/// One of the partitions over which shards and sums are spread.
pub(super) fn spread_partition(run: &RunId, at: u32) -> String {
    format!("{run}#s{at}")
}

fn spread(run: &RunId, name: &str) -> String {
    spread_partition(run, crc32fast::hash(name.as_bytes()) % SPREAD)
}

/// A shard as planned.
pub(super) fn shard(run: &RunId, shard: &ShardId) -> Key {
    let name = format!("{}#{}", shard.index, shard.shard);
    Key::new(spread(run, &name), format!("S#{name}"))
}

/// How many items of sums a shard has.
pub(super) fn stripes(chunks: u32) -> u32 {
    chunks.div_ceil(CHUNKS_A_STRIPE).clamp(1, MAX_STRIPES)
}

/// Which item of sums a chunk counts in.
pub(super) fn stripe(number: u32, chunks: u32) -> u32 {
    number % stripes(chunks)
}

/// Sums of chunks of a shard.
pub(super) fn sums(run: &RunId, shard: &ShardId, stripe: u32) -> Key {
    let name = format!("{}#{}#{stripe}", shard.index, shard.shard);
    Key::new(spread(run, &name), format!("T#{name}"))
}

/// The shard whose sums an item has, from its sort key.
pub(super) fn shard_of_sums(sk: &str) -> Option<ShardId> {
    let mut parts = sk.strip_prefix("T#")?.rsplitn(3, '#');
    let (_stripe, shard, index) = (parts.next()?, parts.next()?, parts.next()?);
    Some(ShardId { index: index.to_owned(), shard: shard.parse().ok()? })
}

/// First and last sort key of whatever is in a partition.
pub(super) const ALL: (&str, &str) = (" ", "~");

/// First and last sort key of shards and their sums.
pub(super) const SHARDS_AND_SUMS: (&str, &str) = ("S#", "T$");

/// First and last sort key of shards.
pub(super) const SHARDS: (&str, &str) = ("S#", "S$");

/// Where the error of a chunk is told: those of chunks that were given up apart from the others.
pub(super) fn error(run: &RunId, chunk: &ChunkId, stripe: u32, order: u64, given_up: bool) -> Key {
    let kind = if given_up { "F" } else { "E" };
    let shard = &chunk.shard;
    let sk = format!("{kind}#{order:020}#{}#{}#{}", shard.index, shard.shard, chunk.number);
    Key::new(sums(run, shard, stripe).pk, sk)
}

/// First and last sort key of errors.
pub(super) fn errors(given_up: bool) -> (&'static str, &'static str) {
    if given_up { ("F#", "F$") } else { ("E#", "E$") }
}

/// The partition of the chunks of a shard.
pub(super) fn chunk_partition(run: &RunId, shard: &ShardId) -> String {
    format!("{run}#{}#{}", shard.index, shard.shard)
}

/// What does not change of a chunk.
pub(super) fn range(run: &RunId, chunk: &ChunkId) -> Key {
    Key::new(chunk_partition(run, &chunk.shard), format!("R#{:010}", chunk.number))
}

/// What changes of a chunk.
pub(super) fn chunk(run: &RunId, chunk: &ChunkId) -> Key {
    Key::new(chunk_partition(run, &chunk.shard), format!("C#{:010}", chunk.number))
}

/// First and last sort key of all items of chunks.
pub(super) const CHUNKS: (&str, &str) = ("C#", "R$");

/// Kind and number of a chunk's item, from its sort key.
pub(super) fn kind_and_number(sk: &str) -> Option<(char, u32)> {
    let (kind, number) = sk.split_once('#')?;
    Some((kind.chars().next().filter(|_| kind.len() == 1)?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: &str, shard: u32) -> ShardId {
        ShardId { index: index.to_owned(), shard }
    }

    #[test]
    fn sums_are_spread_over_partitions_and_found_again() {
        let run = RunId("run".to_owned());
        let mut partitions = std::collections::BTreeMap::<String, u32>::new();
        for number in 0..1600 {
            let shard = id(&format!("logs-{}", number % 100), number / 100);
            let key = sums(&run, &shard, 0);
            assert_eq!(shard_of_sums(&key.sk), Some(shard));
            *partitions.entry(key.pk).or_default() += 1;
        }
        assert_eq!(partitions.len(), SPREAD as usize);
        assert!(partitions.values().all(|n| (60..160).contains(n)), "{partitions:?}");
        assert_eq!(shard_of_sums("T#old#name#3#0"), Some(id("old#name", 3)));
        assert_eq!(shard_of_sums("T#x"), None);
    }

    #[test]
    fn a_large_shard_has_several_items_of_sums() {
        assert_eq!([0, 1, 63].map(|n| stripe(n, 64)), [0, 0, 0]);
        assert_eq!([0, 1, 63].map(|n| stripe(n, 128)), [0, 1, 1]);
        assert_eq!(stripe(1_000_001, 2_000_000), 1_000_001 % MAX_STRIPES);
    }

    #[test]
    fn sort_keys_are_in_order() {
        let run = RunId("run".to_owned());
        let chunk_id = |number| ChunkId { shard: id("i", 0), number };
        let (small, large) = (chunk_id(9), chunk_id(10));
        assert!(chunk(&run, &small).sk < chunk(&run, &large).sk);
        assert!(error(&run, &small, 0, 9, true).sk < error(&run, &small, 0, 10, true).sk);
        assert_eq!(kind_and_number(&range(&run, &large).sk), Some(('R', 10)));
        assert_eq!(kind_and_number("RX#1"), None);
        for (between, key) in [
            (CHUNKS, chunk(&run, &small)),
            (CHUNKS, range(&run, &small)),
            (SHARDS, shard(&run, &id("ü", 1))),
            (SHARDS_AND_SUMS, sums(&run, &id("ü", 1), 2)),
            (errors(false), error(&run, &small, 0, 1, false)),
        ] {
            assert!(between.0 < key.sk.as_str() && key.sk.as_str() < between.1, "{key:?}");
        }
    }
}
