//! Answers to bulk requests: the same items and outcomes in whatever pieces they arrive, one for each document, bounded, and
//! JSON wherever the answer is.
#![no_main]

use backfill::encode::{Document, Encoder, Encoding};
use backfill::model::{Position, WriteMode};
use backfill::ports::{Batch, ItemOutcome, Refusal};
use backfill::secrets::Redactor;
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

// The crate around them has a client of clusters, which takes long to build with instrumentation.
#[allow(dead_code)]
#[path = "../../crates/target/src/classify/items.rs"]
mod items;
#[allow(dead_code)]
#[path = "../../crates/target/src/classify/stream.rs"]
mod stream;
#[allow(dead_code)]
#[path = "../../crates/target/src/words.rs"]
mod words;

/// Bytes that an item may have: as many as the module keeps, and the part that was the last one.
const MAX_ITEM: usize = (64 << 10) + (1 << 20);
/// Bytes that all reasons together may have.
const ROOM: usize = 2000;
/// Documents of a request, at most.
const MAX_DOCUMENTS: usize = 64;

struct Fault;

impl From<stream::Fault> for Fault {
    fn from(_: stream::Fault) -> Fault {
        Fault
    }
}

fn split(answer: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let mut splitter = stream::Splitter::new();
    let mut items = Vec::new();
    for part in answer.chunks(piece) {
        splitter.push(part, |piece| {
            let item = match piece {
                stream::Piece::Guess(item) if serde_json::from_slice::<IgnoredAny>(item).is_err() => {
                    return Ok(false);
                }
                stream::Piece::Guess(item) | stream::Piece::Item(item) => item,
            };
            assert!(item.len() <= MAX_ITEM);
            items.push(item.to_vec());
            Ok::<_, Fault>(true)
        })?;
    }
    splitter.finish()?;
    Ok(items)
}

/// A request whose documents have the ids in these items.
fn request(items: &[Vec<u8>]) -> Batch {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "_id", default)]
        id: String,
    }
    let mut encoder = Encoder::new(Encoding::Bulk, WriteMode::Index, "index");
    for item in items.iter().take(MAX_DOCUMENTS) {
        let named = serde_json::from_slice::<BTreeMap<String, Named>>(item).unwrap_or_default();
        let id = named.into_values().next().map(|named| named.id).unwrap_or_default();
        let document = Document {
            index: None,
            id: &id,
            routing: None,
            doc_type: None,
            parent: None,
            timestamp: None,
            expires: None,
            source: b"{}",
        };
        encoder.push(Position::default(), &document);
    }
    encoder.take()
}

fn judge(answer: &[u8], batch: &Batch, piece: usize) -> Result<items::Judged, items::Halt> {
    let redactor = Redactor::default();
    let sent = items::Sent { batch, destination: "index", mode: WriteMode::Index, redactor: &redactor };
    let mut judging = items::Answer::new(sent, ROOM);
    for part in answer.chunks(piece) {
        judging.push(part)?;
    }
    judging.finish()
}

fuzz_target!(|answer: &[u8]| {
    let piece = answer.len() % 97 + 1;
    let found = split(answer, piece);
    let whole = split(answer, usize::MAX);
    assert_eq!(found.as_ref().ok(), whole.as_ref().ok());
    let Ok(found) = found else { return };

    let batch = request(&found);
    let judged = judge(answer, &batch, piece);
    assert_eq!(judged.as_ref().ok(), judge(answer, &batch, usize::MAX).as_ref().ok());
    if let Ok(judged) = judged {
        assert_eq!(judged.items.len(), batch.entries.len());
        let reasons = judged.items.iter().map(|outcome| match outcome {
            ItemOutcome::Failed { reason, .. }
            | ItemOutcome::Refused(Refusal::Blocked(reason) | Refusal::Fault(reason)) => reason.len(),
            _ => 0,
        });
        // Where nothing is left, a reason is "…".
        assert!(reasons.sum::<usize>() <= ROOM + 3 * batch.entries.len());
    }

    // Where the parser of JSON understands the answer, it sees the same items, long strings apart.
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        items: Vec<BTreeMap<String, &'a RawValue>>,
    }
    if let Ok(answer) = serde_json::from_slice::<Whole<'_>>(answer) {
        assert_eq!(found.len(), answer.items.len());
        for item in found {
            let _: BTreeMap<String, &RawValue> = serde_json::from_slice(&item).expect("an item stays JSON");
        }
    }
});
