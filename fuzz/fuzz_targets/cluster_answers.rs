//! What a cluster answers about itself, its indices, aliases and data streams, and the words of its errors.
#![no_main]

use backfill::model::Identity;
use backfill::ports::PlaceKind;
use backfill::secrets::Redactor;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

// The crate around them has a client of clusters, which takes long to build with instrumentation.
#[allow(dead_code)]
#[path = "../../crates/target/src/cluster/answers.rs"]
mod answers;
#[allow(dead_code)]
#[path = "../../crates/target/src/words.rs"]
mod words;

/// Bytes of the longest text that is shown: 300 characters and an ellipsis.
const MAX_SHOWN: usize = 301 * 4;

fuzz_target!(|data: &[u8]| {
    let words = words::Words::of_body(data, &Redactor::default());
    assert!(words.reason.len() <= MAX_SHOWN && words.kind.len() <= MAX_SHOWN);
    assert!(!words.sentence().contains(['\n', '\r', '\u{1b}']));

    if let Ok(main) = serde_json::from_slice::<answers::Main>(data) {
        let _ = answers::ClusterVersion::from(main).to_string();
    }
    if let Ok(count) = serde_json::from_slice::<answers::Count>(data) {
        let _ = (count.count, count.shards.failed);
    }
    if let Ok(rows) = serde_json::from_slice::<Vec<answers::CatIndex>>(data) {
        let columns = answers::CatIndex::COLUMNS.split(',').count();
        assert!(rows.iter().all(|row| row.values().len() == columns));
    }
    if let Ok(aliases) = serde_json::from_slice::<answers::IndexAliases>(data)
        && let PlaceKind::Alias { routing: Some(routing) } = aliases.kind("logs")
    {
        assert!(routing.len() <= data.len());
    }
    let settings = || serde_json::from_slice::<answers::IndexSettings>(data);
    let (Ok(first), Ok(second)) = (settings(), settings()) else { return };
    let behind = answers::Behind::from(first);
    let names: BTreeMap<String, IgnoredAny> = serde_json::from_slice(data).expect("an object");
    assert_eq!(behind.indices.len(), names.len());
    assert_eq!(behind.remembered(None).indices.len(), names.len().min(answers::MAX_NAMES));
    match second.identity() {
        None => assert!(names.is_empty()),
        // Each index has one UUID, or none of them is known.
        Some(Identity::Indices(uuids)) => assert!(uuids.keys().eq(names.keys())),
        Some(Identity::Unknown(_)) => {}
    }
});
