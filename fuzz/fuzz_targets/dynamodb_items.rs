//! Items of the checkpoint table: whatever attributes they have, they are read or refused. What is read is written again as
//! items that mean the same.
//!
//! An input is a list of items as JSON, in the form that DynamoDB has for them. A compressed record is also written as
//! `{"J": …}`, since hardly any arbitrary bytes would be one.
#![no_main]

use aws_sdk_dynamodb::types::AttributeValue;
use backfill::model::{ChunkId, RunId, ShardId};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use item::{Item, Reader, bytes, number, pack, text};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

// The crate around them has the other SDKs of AWS, which take long to build with instrumentation.
#[allow(dead_code)]
#[path = "../../crates/aws/src/dynamo/chunks.rs"]
mod chunks;
#[allow(dead_code)]
#[path = "../../crates/aws/src/dynamo/item.rs"]
mod item;
#[allow(dead_code)]
#[path = "../../crates/aws/src/dynamo/keys.rs"]
mod keys;
#[allow(dead_code)]
#[path = "../../crates/aws/src/dynamo/records.rs"]
mod records;
#[allow(dead_code)]
#[path = "../../crates/aws/src/dynamo/sums.rs"]
mod sums;

/// The name of the table.
const TABLE: &str = "table";

fn attribute(value: &Value) -> Option<AttributeValue> {
    let (kind, value) = value.as_object()?.iter().next()?;
    Some(match (kind.as_str(), value) {
        ("S", Value::String(value)) => text(value),
        ("N", Value::String(value)) => number(value),
        ("B", Value::String(value)) => bytes(BASE64_STANDARD.decode(value).ok()?),
        ("J", value) => bytes(pack("a record", value).expect("JSON can be compressed")),
        ("L", Value::Array(list)) => AttributeValue::L(list.iter().filter_map(attribute).collect()),
        _ => AttributeValue::Null(true),
    })
}

fuzz_target!(|data: &[u8]| {
    let Ok(items) = serde_json::from_slice::<Vec<serde_json::Map<String, Value>>>(data) else { return };
    let items: Vec<Item> = items
        .iter()
        .map(|item| item.iter().filter_map(|(name, value)| Some((name.clone(), attribute(value)?))).collect())
        .collect();
    for item in &items {
        let _ = (item::size(item), keys::Key::of(item));
        let Ok(reader) = Reader::new(item, TABLE) else { continue };
        let _ = (records::read_control(&reader), records::read_notes(&reader), reader.name());
        let _ = (chunks::read_error_item(&reader), sums::Share::read(&reader));
        if let Ok(sk) = reader.sort_key() {
            let _ = (keys::shard_of_sums(sk), keys::kind_and_number(sk));
        }
        if let Ok(shard) = records::read_shard(&reader)
            && let Ok(again) = records::shard_item(&run_id(), &shard, 1)
        {
            let again = Reader::new(&again, TABLE).expect("an item of this version");
            assert_eq!(records::read_shard(&again).expect("a shard that was written"), shard);
        }
    }
    chunk(&items);
    run(&items);
});

fn run_id() -> RunId {
    RunId("run".to_owned())
}

fn chunk(items: &[Item]) {
    let Some((range, rest)) = items.split_first() else { return };
    let shard = ShardId { index: "i".to_owned(), shard: 3 };
    let id = ChunkId { shard, number: 17 };
    let Ok(stored) = chunks::read(TABLE, &id, range, rest.first()) else { return };
    let (Ok(range), Ok(state)) = (
        chunks::range_item(&run_id(), &stored.chunk, stored.stripe, stored.ttl),
        chunks::state_item(&run_id(), &stored),
    ) else {
        return;
    };
    let _ = (chunks::error_item(&run_id(), &stored), sums::lease_end(&stored.chunk));
    let mut again = chunks::read(TABLE, &id, &range, Some(&state)).expect("a chunk that was written");
    assert_eq!((again.revision, again.stripe, again.ttl), (stored.revision, stored.stripe, stored.ttl));
    // The message of an error may be shortened.
    again.chunk.last_error.clone_from(&stored.chunk.last_error);
    assert_eq!(again.chunk, stored.chunk);
}

fn run(items: &[Item]) {
    let id = items.iter().find_map(keys::Key::of).map_or_else(run_id, |key| RunId(key.pk));
    let Ok(Some(stored)) = records::run(&id, items, TABLE) else { return };
    assert!(stored.samples.len() <= records::SAMPLES);
    let run = stored.run;
    let Ok(mut again) = records::parts(&run) else { return };
    again.push(records::control_item(&run, again.len(), 0).expect("an item of a run"));
    let again = records::run(&run.id, &again, TABLE).expect("a run that was written").expect("its control");
    assert_eq!((again.run.id, again.run.state, again.run.spec), (run.id, run.state, run.spec));
}
