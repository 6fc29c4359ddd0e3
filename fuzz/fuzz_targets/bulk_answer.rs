//! Answers to bulk requests, cut into items as they arrive: the same items however they arrive, each bounded and, if the
//! answer is JSON, JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

// The crate around it has a client of clusters, which takes long to build with instrumentation.
#[allow(dead_code)]
#[path = "../../crates/target/src/classify/stream.rs"]
mod stream;

/// Bytes that an item may have: as many as the module keeps, and the part that was the last one.
const MOST: usize = (64 << 10) + (1 << 20);

struct Fault;

impl From<stream::Fault> for Fault {
    fn from(_: stream::Fault) -> Fault {
        Fault
    }
}

fn items(answer: &[u8], part: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let mut splitter = stream::Splitter::new();
    let mut items = Vec::new();
    for part in answer.chunks(part) {
        splitter.push(part, |item| {
            assert!(item.len() <= MOST);
            items.push(item.to_vec());
            Ok::<_, Fault>(())
        })?;
    }
    splitter.finish()?;
    Ok(items)
}

fuzz_target!(|answer: &[u8]| {
    let found = items(answer, answer.len() % 97 + 1);
    let whole = items(answer, usize::MAX);
    assert_eq!(found.as_ref().ok(), whole.as_ref().ok());
    // Where the parser of JSON understands the answer, it sees the same items, long strings apart.
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        items: Vec<BTreeMap<String, &'a RawValue>>,
    }
    if let (Ok(found), Ok(answer)) = (found, serde_json::from_slice::<Answer<'_>>(answer)) {
        assert_eq!(found.len(), answer.items.len());
        for item in found {
            let _: BTreeMap<String, &RawValue> = serde_json::from_slice(&item).expect("an item stays JSON");
        }
    }
});
