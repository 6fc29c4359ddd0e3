//! Answers to `_mget`: each document that was asked for has at most one source, which is in the answer byte for byte. And
//! whatever bytes a source is, it is taken for the source of its own document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

// The crate around them has a client of clusters, which takes long to build with instrumentation.
#[allow(dead_code)]
#[path = "../../crates/target/src/fetch/answers.rs"]
mod answers;
#[allow(dead_code)]
#[path = "../../crates/target/src/cluster/answers.rs"]
mod cluster;

fuzz_target!(|data: &[u8]| {
    for asked in [1, 2] {
        let Ok(got) = answers::documents(data, asked) else { continue };
        let ids: Vec<String> = got.iter().map(|got| got.id.clone()).collect();
        assert!(answers::are_those(&got, ids.iter().map(String::as_str)));
        let sources = got.iter().filter_map(|got| got.source.as_deref());
        assert!(sources.clone().all(|source| memchr::memmem::find(data, source).is_some()));
        assert!(sources.map(<[u8]>::len).sum::<usize>() <= data.len());
    }
    let _ = serde_json::from_slice::<answers::Found>(data);

    let before = br#"{"docs":[{"_index":"i","_id":"1","_routing":"r","found":true,"_source":"#;
    let answer = [before, data, b"}]}\n"].concat();
    let Ok(got) = answers::documents(&answer, 1) else { return };
    // A source that closes its own document and opens others is seen by their number.
    let [got] = &got[..] else { return };
    assert_eq!((got.index.as_str(), got.id.as_str()), ("i", "1"));
    if serde_json::from_slice::<&RawValue>(data).is_ok_and(|source| source.get() != "null") {
        assert_eq!(got.source.as_deref(), Some(data.trim_ascii()));
    }
});
