//! Chunks as items: `R` holds what never changes, `C` what does; a chunk without `C` was never claimed.

use super::item::{self, Item, Reader, bytes, new_item, number, pack, text, unpack};
use super::keys;
use super::sums::{Share, read_counters};
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::model::{
    AttemptError, Cause, Chunk, ChunkId, ChunkState, Lease, Position, Progress, RangeCrc, RunId,
};
use backfill::ports::StoreError;

/// Bytes of an error's text that are kept.
const MAX_MESSAGE: usize = 4096;

/// Bytes of a range's CRC: the CRC itself and the length that it covers, little end first.
const CRC_BYTES: usize = 12;

/// A chunk with what its items say beside it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) chunk: Chunk,
    /// Raised by each write; 0 for one that was never written.
    pub(super) revision: u64,
    /// The item of sums that it counts in.
    pub(super) stripe: u32,
    /// When its items expire.
    pub(super) ttl: u64,
}

/// The item of what never changes.
pub(super) fn range_item(run: &RunId, chunk: &Chunk, stripe: u32, ttl: u64) -> Result<Item, StoreError> {
    let what = format!("the plan of chunk {}", chunk.id);
    let mut item = new_item(&keys::range(run, &chunk.id), ttl);
    item.insert("ord".to_owned(), number(chunk.order));
    item.insert("stripe".to_owned(), number(stripe));
    item.insert("ranges".to_owned(), bytes(pack(&what, &chunk.ranges)?));
    item::check_size(&what, &item, "plan with other --chunk-size")?;
    Ok(item)
}

/// The item of what changes.
pub(super) fn state_item(run: &RunId, stored: &Stored) -> Result<Item, StoreError> {
    let Stored { chunk, revision, ttl, .. } = stored;
    let mut item = new_item(&keys::chunk(run, &chunk.id), *ttl);
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put("rev", number(revision));
    put("state", text(state_name(&chunk.state)));
    if let ChunkState::Leased(lease) = &chunk.state {
        put("owner", text(&lease.owner));
        put("until", number(lease.until));
    }
    put("epoch", number(chunk.epoch));
    put("idle", number(chunk.idle_claims));
    put("range", number(chunk.progress.cursor.range));
    put("doc", number(chunk.progress.cursor.doc));
    for (name, value) in Share::of(chunk).attributes().into_iter().skip(5).filter(|(_, value)| *value > 0) {
        put(name, number(value));
    }
    if !chunk.progress.crcs.is_empty() {
        let crcs = chunk.progress.crcs.iter();
        let packed = crcs.flat_map(|c| c.crc.to_le_bytes().into_iter().chain(c.len.to_le_bytes()));
        put("crcs", bytes(packed.collect::<Vec<u8>>()));
    }
    if !chunk.progress.damage.is_empty() {
        put("damage", AttributeValue::L(chunk.progress.damage.iter().map(text).collect()));
    }
    if let Some(error) = &chunk.last_error {
        put("cause", text(cause_name(error.cause)));
        put("message", text(shortened(&error.message)));
    }
    item::check_size(&format!("chunk {}", chunk.id), &item, "plan with smaller --chunk-size")?;
    Ok(item)
}

/// The chunk that its items hold.
pub(super) fn read(
    table: &str,
    id: &ChunkId,
    range: &Item,
    state: Option<&Item>,
) -> Result<Stored, StoreError> {
    let range = Reader::new(range, table)?;
    let mut chunk = Chunk::new(id.clone(), unpack(&range.name(), range.bytes("ranges")?)?);
    chunk.order = range.number("ord")?;
    let mut revision = 0;
    if let Some(state) = state {
        let state = Reader::new(state, table)?;
        revision = state.number("rev")?;
        read_state(&mut chunk, &state)?;
    }
    Ok(Stored { chunk, revision, stripe: range.number("stripe")?, ttl: range.number("ttl")? })
}

fn read_state(chunk: &mut Chunk, item: &Reader<'_>) -> Result<(), StoreError> {
    chunk.state = match item.text("state")? {
        "pending" => ChunkState::Pending,
        "leased" => {
            ChunkState::Leased(Lease { owner: item.text("owner")?.to_owned(), until: item.number("until")? })
        }
        "done" => ChunkState::Done,
        "failed" => ChunkState::Failed,
        other => return Err(item.invalid(&format!("a chunk cannot be {other:?}"))),
    };
    chunk.epoch = item.number("epoch")?;
    chunk.idle_claims = item.number("idle")?;
    chunk.progress = Progress {
        cursor: Position { range: item.number("range")?, doc: item.number("doc")? },
        counters: read_counters(item)?,
        crcs: read_crcs(item)?,
        damage: item.texts("damage")?,
    };
    chunk.last_error = read_error(item)?;
    Ok(())
}

fn read_crcs(item: &Reader<'_>) -> Result<Vec<RangeCrc>, StoreError> {
    let packed = item.optional_bytes("crcs")?.unwrap_or_default();
    let (entries, rest) = packed.as_chunks::<CRC_BYTES>();
    if !rest.is_empty() {
        let reason = format!("crcs has {} bytes, where a multiple of {CRC_BYTES} was expected", packed.len());
        return Err(item.invalid(&reason));
    }
    let entry = |e: &[u8; CRC_BYTES]| {
        let [c0, c1, c2, c3, l0, l1, l2, l3, l4, l5, l6, l7] = *e;
        RangeCrc {
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            len: u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]),
        }
    };
    Ok(entries.iter().map(entry).collect())
}

/// The item that tells a chunk's error, if it has one.
pub(super) fn error_item(run: &RunId, stored: &Stored) -> Option<Item> {
    let chunk = &stored.chunk;
    let error = chunk.last_error.as_ref()?;
    let mut item = new_item(&error_key(run, stored)?, stored.ttl);
    item.insert("index".to_owned(), text(&chunk.id.shard.index));
    item.insert("shard".to_owned(), number(chunk.id.shard.shard));
    item.insert("chunk".to_owned(), number(chunk.id.number));
    item.insert("cause".to_owned(), text(cause_name(error.cause)));
    item.insert("message".to_owned(), text(shortened(&error.message)));
    Some(item)
}

/// The key of [`error_item`].
pub(super) fn error_key(run: &RunId, stored: &Stored) -> Option<keys::Key> {
    let chunk = &stored.chunk;
    chunk.last_error.as_ref()?;
    let given_up = chunk.state == ChunkState::Failed;
    Some(keys::error(run, &chunk.id, stored.stripe, chunk.order, given_up))
}

/// The chunk and the error that such an item tells of.
pub(super) fn read_error_item(item: &Reader<'_>) -> Result<(ChunkId, AttemptError), StoreError> {
    let shard =
        backfill::model::ShardId { index: item.text("index")?.to_owned(), shard: item.number("shard")? };
    let error = read_error(item)?.ok_or_else(|| item.invalid("it tells no error"))?;
    Ok((ChunkId { shard, number: item.number("chunk")? }, error))
}

fn read_error(item: &Reader<'_>) -> Result<Option<AttemptError>, StoreError> {
    let cause = match item.optional_text("cause")? {
        None => return Ok(None),
        Some("worker") => Cause::Worker,
        Some("target") => Cause::Target,
        Some("snapshot") => Cause::Snapshot,
        Some(other) => return Err(item.invalid(&format!("an error's cause cannot be {other:?}"))),
    };
    Ok(Some(AttemptError { cause, message: item.text("message")?.to_owned() }))
}

fn state_name(state: &ChunkState) -> &'static str {
    match state {
        ChunkState::Pending => "pending",
        ChunkState::Leased(_) => "leased",
        ChunkState::Done => "done",
        ChunkState::Failed => "failed",
    }
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Worker => "worker",
        Cause::Target => "target",
        Cause::Snapshot => "snapshot",
    }
}

/// A text of which no more is kept than an item can well hold.
fn shortened(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &message[..end])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use backfill::model::{Counters, SegmentRange, ShardId};

    fn chunk(ranges: u32) -> Chunk {
        let range = |n: u32| SegmentRange {
            segment: format!("_{n}"),
            first_doc: n,
            end_doc: n + 100_000,
            start: 0,
            end: 4_000_000_000 + u64::from(n),
            file_len: 4_000_000_000 + u64::from(n),
            file_crc: n.wrapping_mul(2_654_435_761),
        };
        let shard = ShardId { index: "logs-2026.07.21".to_owned(), shard: 3 };
        Chunk {
            order: u64::MAX,
            ..Chunk::new(ChunkId { shard, number: 17 }, (0..ranges).map(range).collect())
        }
    }

    fn run() -> RunId {
        RunId("2026-07-21-14-02-11-93".to_owned())
    }

    fn again(stored: &Stored) -> Chunk {
        let range = range_item(&run(), &stored.chunk, stored.stripe, stored.ttl).unwrap();
        let state = state_item(&run(), stored).unwrap();
        let read = read("t", &stored.chunk.id, &range, Some(&state)).unwrap();
        assert_eq!((read.revision, read.stripe, read.ttl), (stored.revision, stored.stripe, stored.ttl));
        read.chunk
    }

    /// A chunk in the midst of its work, with everything that a record may hold.
    pub(in crate::dynamo) fn busy(ranges: u32) -> Stored {
        let mut chunk = chunk(ranges);
        chunk.claim("an owner", 0, 60).unwrap();
        let crcs = (0..ranges).map(|n| RangeCrc { crc: n, len: u64::from(n) << 33 }).collect();
        chunk.progress = Progress {
            cursor: Position { range: 0, doc: 99_999 },
            counters: Counters {
                indexed: 100_000,
                source_bytes: 1 << 30,
                stored_bytes: 256 << 20,
                requests: 200,
                busy_ms: 60_000,
                ..Counters::default()
            },
            crcs,
            damage: Vec::new(),
        };
        Stored { chunk, revision: 12, stripe: 0, ttl: 1_800_000_000 }
    }

    #[test]
    fn chunks_are_read_as_they_were_written() {
        let mut stored = busy(3);
        assert_eq!(again(&stored), stored.chunk);
        stored.chunk.progress.damage = vec!["one".to_owned(), "two".to_owned()];
        for state in [ChunkState::Pending, ChunkState::Done, ChunkState::Failed] {
            stored.chunk.state = state;
            stored.chunk.last_error = Some(AttemptError { cause: Cause::Target, message: "why".to_owned() });
            assert_eq!(again(&stored), stored.chunk);
        }
        let untouched = chunk(2);
        let range = range_item(&run(), &untouched, 4, 5).unwrap();
        assert_eq!(read("t", &untouched.id, &range, None).unwrap().chunk, untouched);
    }

    #[test]
    fn errors_are_told_and_bounded() {
        let mut stored = busy(1);
        assert!(error_item(&run(), &stored).is_none());
        let message = "ü".repeat(5000);
        stored.chunk.last_error = Some(AttemptError { cause: Cause::Snapshot, message });
        let item = error_item(&run(), &stored).unwrap();
        let (id, error) = read_error_item(&Reader::new(&item, "t").unwrap()).unwrap();
        assert_eq!((id, error.cause), (stored.chunk.id.clone(), Cause::Snapshot));
        assert!(error.message.len() < 4200 && error.message.ends_with("ü…"));
    }

    #[test]
    fn items_are_as_small_as_documented() {
        let sizes = |ranges| {
            let stored = busy(ranges);
            let range = range_item(&run(), &stored.chunk, 0, stored.ttl).unwrap();
            (item::size(&range), item::size(&state_item(&run(), &stored).unwrap()))
        };
        let (range, state) = sizes(1);
        assert!(range < 320 && state < 320, "{range}, {state}");
        let (range, state) = sizes(64);
        assert!(range < 3000 && state < 1100, "{range}, {state}");
    }

    #[test]
    fn damaged_items_are_told_by_their_keys() {
        let stored = busy(1);
        let range = range_item(&run(), &stored.chunk, 0, 5).unwrap();
        for (name, value) in [
            ("state", text("asleep")),
            ("crcs", bytes(vec![0; 13])),
            ("epoch", number(-1)),
            ("cause", text("weather")),
            ("rev", text("1")),
        ] {
            let mut state = state_item(&run(), &stored).unwrap();
            state.insert(name.to_owned(), value);
            let error = read("tab", &stored.chunk.id, &range, Some(&state)).unwrap_err().to_string();
            assert!(error.contains("C#0000000017 of table tab"), "{error}");
        }
    }
}
